"""The files of the console (`console/page/`), which the gateway serves under `/console`.

`tools/vendor-pages` adds the charting library to them. docs/console.md describes what the console does.
"""

import functools
from collections.abc import Mapping
from pathlib import Path

from instantaudience_gateway.files.served import OWN_FILES_ONLY, ServedFile, page

ROOT = Path(__file__).with_name("page")
PAGE_PATH = "/console"
"""Path of the page; its other files are below it."""
ALIAS_PATH = "/console/"
"""Redirects to the page."""
HOME_PATH = "/"
"""Redirects browsers to the page; 404 for other clients."""

CONTENT_SECURITY_POLICY = "; ".join([*OWN_FILES_ONLY, "require-trusted-types-for 'script'", "trusted-types 'none'"])
"""Trusted Types: no text becomes markup or a script (source: https://www.w3.org/TR/trusted-types/)."""


@functools.cache
def files() -> Mapping[str, ServedFile]:
    """Path → file, for `/console` and every path below it."""
    return page(ROOT, PAGE_PATH, CONTENT_SECURITY_POLICY)
