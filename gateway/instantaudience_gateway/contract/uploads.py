"""The Lua filter for uploads (`uploads.lua`): checks whether their URL was issued recently."""

from pathlib import Path

from instantaudience_server.settings import UPLOAD_PATH

from instantaudience_gateway.contract.lua import Literal, lua_literal

MARKED_KEY, MARKED = "x-instant-audience-upload", "marked"
"""The header that the filter sets, within the gateway."""
_SOURCE = Path(__file__).with_name("uploads.lua")


def uploads_script(marks: Path) -> str:
    """The filter's source; `marks` is the file with the valid marks."""
    tables: Literal = {
        "path": UPLOAD_PATH,
        "file": str(marks),
        "header": MARKED_KEY,
        "marked": MARKED,
    }
    return f"local UPLOADS = {lua_literal(tables)}\n{_SOURCE.read_text(encoding='utf-8')}"
