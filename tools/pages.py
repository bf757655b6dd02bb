"""The libraries of the web pages, which are in the repository as released: `tools/vendor-pages` downloads them."""

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
    "BSD-3-Clause": "Redistribution and use in source and binary forms, with or without modification, are permitted",
    "MIT": "Permission is hereby granted, free of charge, to any person obtaining a copy",
}
"""Licence → characteristic words of its text."""


def libraries() -> list[tuple[str, str, str]]:
    """Their names in npm, versions, and licences."""
    brought = re.findall(r"^unpack (\S+)@(\S+) ", (ROOT / "tools/vendor-pages").read_text(), re.MULTILINE)
    return [
        (name, version, licence_in(PAGES / LICENCE_FILES[name]) if name in LICENCE_FILES else "not told")
        for name, version in brought
    ]


def licence_in(file: Path) -> str:
    """The licence whose text is in this file."""
    text = " ".join(file.read_text(encoding="utf-8").split())
    return next((licence for licence, words in LICENCES.items() if words in text), "not told")
