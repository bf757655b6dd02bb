"""Serves the metrics of all workers: a process that the supervisor starts, so that it needs no threads itself.

It takes requests on a socket that it inherits: the port stays open while this process is started again. What it is told
comes on standard input, as workers have it.
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

from instantaudience_server.metrics import MergedMetrics
from instantaudience_server.running.certificate_files import ServerContext
from instantaudience_server.running.gateway_metrics import GatewayMetrics
from instantaudience_server.telemetry import Event, configure_logging

log = structlog.get_logger()

PATH = "/metrics"
SERVER = "instant-audience"
SILENT_SECONDS = 10.0
"""How long a caller may send or take nothing."""
CONNECTION_SECONDS = 30.0
"""How long a connection may last: each has a thread, for one request."""
MOST_CONNECTIONS = 20
"""For one more, the oldest is closed."""


class MetricsConfig(BaseModel):
    """What the server of the metrics is told, as JSON on its standard input."""

    listening: int
    """The number of the socket."""
    directory: Path
    """Where the workers write their metrics."""
    admin_sockets: dict[str, Path]
    """The Envoys' admin sockets, by the label that each Envoy has in the metrics."""
    certificates: Path | None
    """What there is for TLS (`certificate_files.ServerContext`); None: there is none."""
    log_level: str
    log_format: str


class _Server(ThreadingHTTPServer):
    def __init__(self, listening: socket.socket, handler: type[MetricsHandler]) -> None:
        super().__init__(("", 0), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self._open: dict[socket.socket, tuple[float, socket.socket]] = {}
        """When each connection has begun, and another handle to it: TLS takes the first one away."""

    def process_request(self, request: Any, client_address: Any) -> None:
        if len(self._open) >= MOST_CONNECTIONS:
            self._end(next(iter(self._open.copy()), None))
        self._open[request] = (time.monotonic(), request.dup())
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Called twice a second, and after each connection."""
        for request, (began, _) in self._open.copy().items():
            if began + CONNECTION_SECONDS <= time.monotonic():
                self._end(request)

    def shutdown_request(self, request: Any) -> None:
        self._end(request)
        super().shutdown_request(request)

    def _end(self, request: socket.socket | None) -> None:
        """Whoever waits for it waits no longer."""
        _, handle = self._open.pop(request, (0.0, None))  # type: ignore[arg-type]
        if handle is not None:
            with handle, contextlib.suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.warning(Event.METRICS_NOT_SERVED, exc_info=True)


def server_of(
    listening: socket.socket, directory: Path, admin_sockets: Mapping[str, Path], tls: ServerContext | None
) -> ThreadingHTTPServer:
    """Answers `GET /metrics` with what lies in the directory, and what the Envoys with these admin sockets say, each
    under its label."""
    merged = CollectorRegistry()
    merged.register(MergedMetrics(directory))
    merged.register(GatewayMetrics(admin_sockets))

    class Handler(MetricsHandler):
        registry = merged
        timeout = SILENT_SECONDS

        def version_string(self) -> str:
            """What `Server` says: nothing of what is inside."""
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


if __name__ == "__main__":
    main()
