"""Hands certificates to workers and gateway, and again whenever the files that the settings name have changed.

They get copies, in a directory of the supervisor's that only its owner can read. The copies always belong together and
are complete, while an operator may replace the original files one after the other.
"""

import asyncio
import json
import math
import time
from pathlib import Path

import structlog
from instantaudience_gateway.envoy.settings import GatewayTls
from instantaudience_gateway.envoy.tls import clients_secret, server_secret

from instantaudience_server.observation.telemetry import Event
from instantaudience_server.process import private_files
from instantaudience_server.process.processes import StartError
from instantaudience_server.running.certificates.certificate_copies import LOOK_SECONDS, Seen, look
from instantaudience_server.running.certificates.certificates import CertificateError, names_of, read_certificates
from instantaudience_server.settings import Settings

log = structlog.get_logger()


class CertificateFiles:
    """Copies of the files that the settings name, in `directory`, which is created."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        self._settings = settings
        named = (settings.tls_cert, settings.tls_key, settings.client_ca, settings.client_crl)
        self._originals = [path for path in named if path is not None]
        self._seen: list[Seen | None] = []
        self._holds = (-math.inf, math.inf)
        """From when to when the copies are valid (Unix times): from when they were read to when the next CA of callers
        ends, which is then left out. Where the clock was set back before the first, they are read again too."""
        self.names: list[str] = []
        """The hosts that the server's certificate is for; set by `open`."""
        self.for_workers = directory / "certificates.json"
        """The file for `follow`."""
        self._server, self._clients = directory / "server.json", directory / "clients.json"
        directory.mkdir(mode=0o700)

    @property
    def for_gateway(self) -> GatewayTls:
        """The files from which Envoy reads the certificates."""
        clients = None if self._settings.client_ca is None else self._clients
        return GatewayTls(self._server, clients, self._settings.client_certificates == "required")

    async def open(self) -> None:
        """Copy the files for the first time.

        Raises:
            StartError: a file cannot be used.
        """
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
            changed = [look(path) for path in self._originals] != self._seen
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
        self._seen, self._holds = [look(path) for path in self._originals], (now, math.inf)
        read = read_certificates(self._settings, now)
        private_files.write(self._server, json.dumps(server_secret(read.chain, read.key)))
        if read.client_ca is not None:
            private_files.write(self._clients, json.dumps(clients_secret(read.client_ca, read.client_crl)))
        private_files.write(self.for_workers, read.model_dump_json())
        self.names = names_of(read.chain)
        self._holds = now, read.ends.get("client_ca", math.inf)
        log.info(Event.CERTIFICATES_READ, ends=read.ends)
