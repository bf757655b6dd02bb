"""Hands certificates on to workers and gateway, whole, whenever the files that the settings name have changed.

What is handed on is a copy, in a directory of the supervisor's that is open to its owner alone: files that are replaced
one after the other, or are half written, are seen by nobody else.
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
"""How often it is looked whether a file has changed."""

_Seen = list[tuple[int, int, int] | None]
"""What tells a file from the one that was there before: when it was changed, its size, its number."""


class CertificateFiles:
    """Copies of the files that the settings name, in a directory, which is made.

    `calls_itself`: the gateway comes to its own port, and has to show a certificate there as others do.
    """

    def __init__(self, settings: Settings, directory: Path, *, calls_itself: bool) -> None:
        self._settings = settings
        named = (settings.tls_cert, settings.tls_key, settings.client_ca, settings.client_crl)
        self._originals = [path for path in named if path is not None]
        self._seen: _Seen = []
        self._holds = (-math.inf, math.inf)
        """When they were read, and when the next CA of callers ends (Unix time): it is left out then, and keeps nothing
        from being used. It has not ended where the clock was set back."""
        self.names: list[str] = []
        """The hosts that the server's is for; valid once open."""
        self.for_workers = directory / "certificates.json"
        """What `follow` reads."""
        self._server, self._clients = directory / "server.json", directory / "clients.json"
        has_own = calls_itself and settings.client_ca is not None
        self._own = OwnCertificate.new() if has_own else None
        self._own_file = directory / "own.json"
        directory.mkdir(mode=0o700)

    @property
    def for_gateway(self) -> GatewayTls:
        """Where Envoy reads them."""
        clients = None if self._settings.client_ca is None else self._clients
        own = None if self._own is None else self._own_file
        return GatewayTls(self._server, clients, self._settings.client_certificates == "required", own)

    async def open(self) -> None:
        """Copy what there is now.

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
        """Copy them again whenever one has changed, and all can be used; forever.

        What has failed is tried again although nothing has changed: somebody has let the service read a file, or the
        disk has room for the copy again.
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
    """Tell of what a supervisor has copied, now and whenever it has changed; forever.

    Where `take` raises ValueError, something that the former ones had is used on.
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
    """What Python's own TLS needs for what a supervisor has copied."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def context(self) -> ssl.SSLContext:
        """For the next connection alone: it resumes no session of another one, which would bring a certificate along
        that may have ended meanwhile.
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
        """A file for its owner alone, as `ssl` takes keys and lists from files only."""
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
