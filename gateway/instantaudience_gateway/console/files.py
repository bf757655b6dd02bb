"""The console: the files of `console/`, which the gateway serves under `/console` as they are.

`tools/vendor-chart` brings the charting library among them. What the console does stands in docs/console.md.
"""

import functools
import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).with_name("page")
PAGE_PATH = "/console"
"""Where the page is; the files that it needs are below."""
ALIAS_PATH = "/console/"
"""Leads to the page."""
HOME_PATH = "/"
"""Leads browsers to the page; for others there is nothing."""

CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What the console may consist of; another kind of file stops the start."""

CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
"""Only our own files, nothing inline; no frames around the page; no text that becomes markup or a script (source:
https://www.w3.org/TR/CSP3/, https://www.w3.org/TR/trusted-types/)."""

HEADERS = {
    # Asked again each time, and answered with 304 mostly: after an update nobody runs old and new files together.
    "cache-control": "no-cache",
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "vary": "accept-encoding",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""What every file's answer has."""


@dataclass(frozen=True, slots=True)
class ConsoleFile:
    """A file, ready to be served. `etag` is weak: it stands for both bodies."""

    content_type: str
    etag: str
    body: bytes
    gzip_body: bytes


def _file(path: Path) -> ConsoleFile:
    content_type = CONTENT_TYPES.get(path.suffix)
    if content_type is None:
        raise ValueError(f"{path.name}: the console has no such files; add the ending to CONTENT_TYPES")
    body = path.read_bytes()
    etag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
    return ConsoleFile(content_type, etag, body, gzip.compress(body, mtime=0))


@functools.cache
def files() -> Mapping[str, ConsoleFile]:
    """Path → file, for every path below `/console`.

    Raises ValueError when there is a file whose content type nobody knows.
    """
    found = {path.relative_to(ROOT).as_posix(): _file(path) for path in sorted(ROOT.rglob("*")) if path.is_file()}
    page = found.pop("index.html")
    return {PAGE_PATH: page} | {f"{PAGE_PATH}/{name}": file for name, file in found.items()}
