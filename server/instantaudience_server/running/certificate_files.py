"""Hands certificates to workers and gateway, and again whenever the files that the settings name have changed.

They get copies, in a directory of the supervisor's that only its owner can read. The copies always belong together and
are complete, while an operator may replace the original files one after the other.
"""

import asyncio
import contextlib
import json
import math
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import structlog
from instantaudience_gateway.envoy.settings import GatewayTls
from instantaudience_gateway.envoy.tls import clients_secret, own_secret, server_secret

from instantaudience_server import private_files
from instantaudience_server.processes import StartError
from instantaudience_server.running.certificates import CertificateError, Certificates, names_of, read_certificates
from instantaudience_server.running.own_certificate import OwnCertificate
from instantaudience_server.settings import Settings
from instantaudience_server.telemetry import Event

log = structlog.get_logger()

LOOK_SECONDS = 1.0
"""How often to check whether a file has changed."""

_Seen = list[tuple[int, int, int] | None]
"""For each file, what tells it from a former one: modification time in ns, size, inode; None: it cannot be read."""


class CertificateFiles:
    """Copies of the files that the settings name, in `directory`, which is created.

    `calls_itself`: the gateway connects to its own port, and therefore needs a client certificate if callers do.
    """

    def __init__(self, settings: Settings, directory: Path, *, calls_itself: bool) -> None:
        self._settings = settings
        named = (settings.tls_cert, settings.tls_key, settings.client_ca, settings.client_crl)
        self._originals = [path for path in named if path is not None]
        self._seen: _Seen = []
        self._holds = (-math.inf, math.inf)
        """From when to when the copies are valid (Unix times): from when they were read to when the next CA of callers
        ends, which is then left out. Where the clock was set back before the first, they are read again too."""
        self.names: list[str] = []
        """The hosts that the server's certificate is for; set by `open`."""
        self.for_workers = directory / "certificates.json"
        """The file for `follow`."""
        self._server, self._clients = directory / "server.json", directory / "clients.json"
        has_own = calls_itself and settings.client_ca is not None
        self._own = OwnCertificate.new() if has_own else None
        self._own_file = directory / "own.json"
        directory.mkdir(mode=0o700)

    @property
    def for_gateway(self) -> GatewayTls:
        """The files from which Envoy reads the certificates."""
        clients = None if self._settings.client_ca is None else self._clients
        own = None if self._own is None else self._own_file
        return GatewayTls(self._server, clients, self._settings.client_certificates == "required", own)

    async def open(self) -> None:
        """Copy the files for the first time.

        Raises:
            StartError: a file cannot be used.
        """
        if self._own is not None:
            private_files.write(self._own_file, json.dumps(own_secret(self._own.certificate, self._own.key)))
        try:
            await asyncio.to_thread(self._copy)
        except CertificateError as error:
            raise StartError(str(error)) from error

    async def keep(self) -> None:
        """Copy the files again whenever one has changed and all can be used; runs forever.

        A failed attempt is repeated even if no file changes, as the cause may be a permission or a full disk.
        """
        failed = ""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            changed = [_look(path) for path in self._originals] != self._seen
            read_at, end = self._holds
            if not (changed or failed) and read_at <= time.time() < end:
                continue
            try:
                await asyncio.to_thread(self._copy)
                failed = ""
            except (CertificateError, OSError) as error:
                if changed or str(error) != failed:
                    log.error(Event.CERTIFICATES_UNUSABLE, error=str(error))
                failed = str(error)

    def _copy(self) -> None:
        now = time.time()
        self._seen, self._holds = [_look(path) for path in self._originals], (now, math.inf)
        read = read_certificates(self._settings, now)
        private_files.write(self._server, json.dumps(server_secret(read.chain, read.key)))
        if read.client_ca is not None:
            private_files.write(self._clients, json.dumps(self._clients_secret(read.client_ca, read.client_crl)))
        private_files.write(self.for_workers, read.model_dump_json())
        self.names = names_of(read.chain)
        self._holds = now, read.ends.get("client_ca", math.inf)
        log.info(Event.CERTIFICATES_READ, ends=read.ends)

    def _clients_secret(self, ca: str, crl: str | None) -> dict[str, Any]:
        own = self._own
        if own is None:
            return clients_secret(ca, crl)
        return clients_secret(f"{ca}\n{own.certificate}", None if crl is None else f"{crl}\n{own.revoked}")


async def follow(path: Path, take: Callable[[Certificates], None]) -> None:
    """Call `take` with the certificates in a supervisor's copy, now and whenever it has changed; runs forever.

    If `take` raises ValueError, the former certificates stay in use, and the error is logged.
    """
    seen: tuple[int, int, int] | None = None
    while True:
        now = _look(path)
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


def _look(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
