"""Static files of a page, as the gateway serves them."""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
"""The types of files that pages may have; any other stops the start."""

HEADERS = {
    # Revalidated each time, mostly with a 304, so that after an update nobody runs old and new files together.
    "cache-control": "no-cache",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "vary": "accept-encoding",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Headers of every file's response, besides the policy of its page."""

OWN_FILES_ONLY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
    "form-action 'none'",
)
"""A Content-Security-Policy: only our own files, nothing inline, no embedding in frames (source:
https://www.w3.org/TR/CSP3/)."""


LARGE_BYTES = 500_000
"""Larger files are served by Envoy itself: Lua would hold a copy in each of Envoy's threads."""


@dataclass(frozen=True, slots=True)
class ServedFile:
    """A file, ready to be served. `etag` is weak, since it stands for both bodies. `policy` is its page's CSP."""

    content_type: str
    etag: str
    body: bytes
    gzip_body: bytes
    policy: str

    @property
    def is_large(self) -> bool:
        """Whether Envoy itself has to serve the file."""
        return len(self.body) > LARGE_BYTES


def page(root: Path, page_path: str, policy: str) -> Mapping[str, ServedFile]:
    """Path → file: `index.html` at the page's path, all others below it.

    Raises:
        ValueError: a file has an unknown type.
    """
    paths = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}
    found = {f"{page_path}/{name}": _file(path, policy) for name, path in paths.items()}
    return {page_path: found.pop(f"{page_path}/index.html")} | found


def _file(path: Path, policy: str) -> ServedFile:
    content_type = CONTENT_TYPES.get(path.suffix)
    if content_type is None:
        raise ValueError(f"{path.name}: pages have no such files; add the ending to CONTENT_TYPES")
    body = path.read_bytes()
    etag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
    return ServedFile(content_type, etag, body, gzip.compress(body, mtime=0), policy)
