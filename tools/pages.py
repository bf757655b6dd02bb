"""The libraries of the pages, which stand in the repository as they were released: `tools/vendor-pages` brings them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "gateway/instantaudience_gateway"
LICENCE_FILES = {
    "chart.js": "console/page/third_party/chart.js/LICENSE.md",
    "@kurkle/color": "console/page/third_party/chart.js/LICENSE-color.md",
    "swagger-ui-dist": "reference/page/third_party/swagger-ui/LICENSE.txt",
}
LICENCES = {
    "Apache-2.0": "Apache License Version 2.0",
    "MIT": "Permission is hereby granted, free of charge, to any person obtaining a copy",
}
"""What stands in their texts."""


def libraries() -> list[tuple[str, str, str]]:
    """Their names in npm, their versions, and their licences."""
    brought = re.findall(r"^unpack (\S+)@(\S+) ", (ROOT / "tools/vendor-pages").read_text(), re.MULTILINE)
    return [(name, version, _licence(name)) for name, version in brought]


def _licence(name: str) -> str:
    if name not in LICENCE_FILES:
        return "not told"
    text = " ".join((PAGES / LICENCE_FILES[name]).read_text(encoding="utf-8").split())
    return next((licence for licence, words in LICENCES.items() if words in text), "not told")
