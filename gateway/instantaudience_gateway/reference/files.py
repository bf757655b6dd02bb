"""The reference: the OpenAPI document (made by `make generate`), and Swagger UI, which shows it.

`tools/vendor-pages` brings Swagger UI.
"""

import functools
from collections.abc import Mapping
from pathlib import Path

from instantaudience_gateway.files.served import OWN_FILES_ONLY, ServedFile, page

ROOT = Path(__file__).with_name("page")
PAGE_PATH = "/docs"
"""Where the page is; the files that it needs are below."""
ALIAS_PATH = "/docs/"
"""Leads to the page."""
DOCUMENT_PATH = "/openapi.json"
"""Where the OpenAPI document is."""

CONTENT_SECURITY_POLICY = "; ".join(OWN_FILES_ONLY)
"""Swagger UI makes markup of text (which it cleans), so it cannot have the console's trusted types."""


@functools.cache
def files() -> Mapping[str, ServedFile]:
    """Path → file, for the document and every path below `/docs`."""
    found = dict(page(ROOT, PAGE_PATH, CONTENT_SECURITY_POLICY))
    return found | {DOCUMENT_PATH: found.pop(f"{PAGE_PATH}{DOCUMENT_PATH}")}
