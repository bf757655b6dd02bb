"""The API reference: the OpenAPI document (made by `make generate`), and Swagger UI, which shows it.

`tools/vendor-pages` adds Swagger UI.
"""

import functools
from collections.abc import Mapping
from pathlib import Path

from instantaudience_gateway.files.served import OWN_FILES_ONLY, ServedFile, page

ROOT = Path(__file__).with_name("page")
PAGE_PATH = "/docs"
"""Path of the page; its other files are below it."""
ALIAS_PATH = "/docs/"
"""Redirects to the page."""
DOCUMENT_PATH = "/openapi.json"
"""Path of the OpenAPI document."""

CONTENT_SECURITY_POLICY = "; ".join(OWN_FILES_ONLY)
"""Swagger UI creates markup from text (which it sanitises), so the console's Trusted Types cannot be used."""


@functools.cache
def files() -> Mapping[str, ServedFile]:
    """Path → file, for the document and every path below `/docs`."""
    found = dict(page(ROOT, PAGE_PATH, CONTENT_SECURITY_POLICY))
    return found | {DOCUMENT_PATH: found.pop(f"{PAGE_PATH}{DOCUMENT_PATH}")}
