"""The main module of the process that serves the metrics of all workers. It is a process of its own because the
supervisor must not have threads.

It inherits its listening socket, so that the port stays open while the process is restarted. It reads its configuration
from standard input, as workers do.
"""

import contextlib
import socket
import sys
import time
from collections.abc import Mapping
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog
from prometheus_client import CollectorRegistry, MetricsHandler
from pydantic import BaseModel

from instantaudience_server.observation.metrics import MergedMetrics
from instantaudience_server.observation.telemetry import Event, configure_logging
from instantaudience_server.running.certificates.certificate_copies import ServerContext
from instantaudience_server.running.gateway_metrics import GatewayMetrics

log = structlog.get_logger()

PATH = "/metrics"
SERVER = "instant-audience"
SILENT_SECONDS = 10.0
"""How long a caller may send or receive nothing."""
CONNECTION_SECONDS = 30.0
"""How long a connection may last; each has a thread, and serves one request."""
MOST_CONNECTIONS = 20
"""The most connections; for a further one, the oldest is closed."""


class MetricsConfig(BaseModel):
    """The configuration of the process, which it reads as JSON from its standard input."""

    listening: int
    """The file descriptor of the listening socket."""
    directory: Path
    """The directory into which the workers write their metrics."""
    admin_sockets: dict[str, Path]
    """Label in the metrics → the Envoy's admin socket."""
    certificates: Path | None
    """The file with the certificates (`certificate_copies.ServerContext`); None: no TLS."""
    log_level: str
    log_format: str


class _Server(ThreadingHTTPServer):
    def __init__(self, listening: socket.socket, handler: type[MetricsHandler]) -> None:
        super().__init__(("", 0), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self._open: dict[socket.socket, tuple[float, socket.socket]] = {}
        """Connection → when it began, and a duplicate of the socket, as TLS detaches the original one."""

    def process_request(self, request: Any, client_address: Any) -> None:
        if len(self._open) >= MOST_CONNECTIONS:
            for oldest in list(self._open)[:1]:  # none, if all have just ended
                self._end(oldest)
        self._open[request] = (time.monotonic(), request.dup())
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Close connections that last too long; `socketserver` calls this twice a second, and after each connection."""
        for request, (began, _) in self._open.copy().items():
            if began + CONNECTION_SECONDS <= time.monotonic():
                self._end(request)

    def shutdown_request(self, request: Any) -> None:
        self._end(request)
        super().shutdown_request(request)

    def _end(self, request: socket.socket) -> None:
        """Shut a connection down, which ends its thread's waiting."""
        _, handle = self._open.pop(request, (0.0, None))
        if handle is not None:
            with handle, contextlib.suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.warning(Event.METRICS_NOT_SERVED, exc_info=True)


def server_of(
    listening: socket.socket, directory: Path, admin_sockets: Mapping[str, Path], tls: ServerContext | None
) -> ThreadingHTTPServer:
    """A server that answers `GET /metrics` with the workers' metrics in the directory and those of the Envoys, by their
    labels."""
    merged = CollectorRegistry()
    merged.register(MergedMetrics(directory))
    merged.register(GatewayMetrics(admin_sockets))

    class Handler(MetricsHandler):
        registry = merged
        timeout = SILENT_SECONDS

        def version_string(self) -> str:
            """The `Server` header, without versions of Python and its modules."""
            return SERVER

        def setup(self) -> None:
            if tls is not None:
                self.request.settimeout(SILENT_SECONDS)
                self.request = tls.context().wrap_socket(self.request, server_side=True)
            super().setup()

        def finish(self) -> None:
            super().finish()
            if tls is not None:
                self.request.close()

        def do_GET(self) -> None:  # noqa: N802 - http.server calls it so
            if urlsplit(self.path).path == PATH:
                super().do_GET()
            else:
                self.send_error(404)

    return _Server(listening, Handler)


def main() -> None:
    """Read the configuration from standard input and serve."""
    config = MetricsConfig.model_validate_json(sys.stdin.buffer.read())
    configure_logging(config.log_level, config.log_format)
    tls = None if config.certificates is None else ServerContext(config.certificates)
    server_of(socket.socket(fileno=config.listening), config.directory, config.admin_sockets, tls).serve_forever()
