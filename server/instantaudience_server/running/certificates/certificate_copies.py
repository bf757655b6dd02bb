"""Reads the supervisor's copies of the certificates (`certificate_files`), in workers and the metrics' server.

What checks certificates is not imported here: that would take a tenth of the metrics' server's start.
"""

import asyncio
import contextlib
import ssl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog
from pydantic import BaseModel, Field

from instantaudience_server.observation.telemetry import Event

log = structlog.get_logger()

LOOK_SECONDS = 1.0
"""How often to check whether a file has changed."""

Seen = tuple[int, int, int]
"""What tells a file from a former one: modification time in ns, size, inode."""


class Certificates(BaseModel):
    """The contents of the files, as PEM. `ends` has, for each file, when its first certificate or list ends (Unix
    time)."""

    chain: str
    key: str = Field(repr=False)
    client_ca: str | None
    client_crl: str | None
    clients_required: bool
    ends: dict[str, float]


async def follow(path: Path, take: Callable[[Certificates], None]) -> None:
    """Call `take` with the certificates in a supervisor's copy, now and whenever it has changed; runs forever.

    If `take` raises ValueError, the former certificates stay in use, and the error is logged.
    """
    seen: Seen | None = None
    while True:
        now = look(path)
        if now != seen and now is not None:
            seen = now
            try:
                take(Certificates.model_validate_json(await asyncio.to_thread(path.read_bytes)))
            except ValueError as error:
                log.error(Event.CERTIFICATES_UNUSABLE, error=str(error))
        await asyncio.sleep(LOOK_SECONDS)


class ServerContext:
    """Makes contexts for Python's `ssl` from a supervisor's copy."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def context(self) -> ssl.SSLContext:
        """A context for a single connection. Shared by several, it would let them resume a TLS session, with a client
        certificate that may have expired since.
        """
        certificates = Certificates.model_validate_json(self._path.read_bytes())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with self._file(certificates.key + "\n" + certificates.chain) as pair:
            context.load_cert_chain(pair)
        if certificates.client_ca is not None:
            context.load_verify_locations(cadata=certificates.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED if certificates.clients_required else ssl.CERT_OPTIONAL
        if certificates.client_crl is not None:
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
            with self._file(certificates.client_crl) as lists:
                context.load_verify_locations(lists)
        return context

    @contextlib.contextmanager
    def _file(self, text: str) -> Iterator[str]:
        """A temporary file that only its owner can read: `ssl` takes keys and revocation lists from files only."""
        with tempfile.NamedTemporaryFile("w", dir=self._path.parent) as made:
            made.write(text)
            made.flush()
            yield made.name


def look(path: Path) -> Seen | None:
    """What tells a file from a former one; None if it cannot be read."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
