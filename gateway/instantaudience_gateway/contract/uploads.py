"""The Lua filter of uploads (`uploads.lua`): whether their URL was handed out lately."""

from pathlib import Path

from instantaudience_server.settings import UPLOAD_PATH

from instantaudience_gateway.contract.lua import Literal, lua_literal

MARKED_KEY, MARKED = "x-instant-audience-upload", "marked"
"""The header that says so, within the gateway."""
_SOURCE = Path(__file__).with_name("uploads.lua")


def uploads_script(marks: Path) -> str:
    """The filter's source; it finds the marks of URLs in this file."""
    tables: Literal = {
        "path": UPLOAD_PATH,
        "file": str(marks),
        "header": MARKED_KEY,
        "marked": MARKED,
    }
    return f"local UPLOADS = {lua_literal(tables)}\n{_SOURCE.read_text(encoding='utf-8')}"
