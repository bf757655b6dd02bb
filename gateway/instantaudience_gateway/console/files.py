"""The console: the files of `console/page/`, which the gateway serves under `/console`.

`tools/vendor-pages` brings the charting library among them. What the console does stands in docs/console.md.
"""

import functools
from collections.abc import Mapping
from pathlib import Path

from instantaudience_gateway.files.served import OWN_FILES_ONLY, ServedFile, page

ROOT = Path(__file__).with_name("page")
PAGE_PATH = "/console"
"""Where the page is; the files that it needs are below."""
ALIAS_PATH = "/console/"
"""Leads to the page."""
HOME_PATH = "/"
"""Leads browsers to the page; for others there is nothing."""

CONTENT_SECURITY_POLICY = "; ".join([*OWN_FILES_ONLY, "require-trusted-types-for 'script'", "trusted-types 'none'"])
"""No text becomes markup or a script either (source: https://www.w3.org/TR/trusted-types/)."""


@functools.cache
def files() -> Mapping[str, ServedFile]:
    """Path → file, for every path below `/console`."""
    return page(ROOT, PAGE_PATH, CONTENT_SECURITY_POLICY)
