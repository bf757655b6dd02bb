"""Serves the metrics of all workers: a process that the supervisor starts, so that it needs no threads itself.

It takes requests on a socket that it inherits: the port stays open while this process is started again.
"""

import socket
import sys
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog
from prometheus_client import CollectorRegistry, MetricsHandler

from instantaudience_server.metrics import MergedMetrics
from instantaudience_server.running.certificate_files import ServerContext
from instantaudience_server.telemetry import Event, configure_logging

log = structlog.get_logger()

PATH = "/metrics"
REQUEST_SECONDS = 10.0
"""How long a request may take to arrive."""


class _Server(ThreadingHTTPServer):
    def __init__(self, listening: socket.socket, handler: type[MetricsHandler]) -> None:
        super().__init__(("", 0), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.warning(Event.METRICS_NOT_SERVED, exc_info=True)


def serve(listening: socket.socket, directory: Path, tls: ServerContext | None) -> None:
    """Answer `GET /metrics` forever, with what lies in the directory."""
    merged = CollectorRegistry()
    merged.register(MergedMetrics(directory))

    class Handler(MetricsHandler):
        registry = merged
        timeout = REQUEST_SECONDS

        def setup(self) -> None:
            if tls is not None:
                self.request.settimeout(REQUEST_SECONDS)
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

    _Server(listening, Handler).serve_forever()


def main(descriptor: str, directory: str, log_level: str, log_format: str, certificates: str = "") -> None:
    """Serve on the listening socket with this number; with TLS where there is a file of certificates."""
    configure_logging(log_level, log_format)
    tls = ServerContext(Path(certificates)) if certificates else None
    serve(socket.socket(fileno=int(descriptor)), Path(directory), tls)


if __name__ == "__main__":
    main(*sys.argv[1:])
