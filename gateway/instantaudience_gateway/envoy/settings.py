"""What the gateway's configuration depends on."""

from dataclasses import dataclass
from pathlib import Path

CLUSTER = "workers"
"""The name of the way to the service."""
UPLOADS = "uploads"
"""The name of the way to those who receive files."""
UNMARKED_UPLOADS = "unmarked-uploads"
"""Of the same way for those whose URL was not handed out lately."""
STAT_PREFIX = "ingress"
"""Of the statistics of the public port: `http.ingress.…`."""

TYPES = "type.googleapis.com/envoy.extensions"
"""Where the types of Envoy's extensions are."""


@dataclass(frozen=True, slots=True)
class GatewayTls:
    """Where the gateway reads its certificate, and who vouches for callers' (None: they are asked for none).

    `tls.py` makes the files' contents; they are read again when others take their places (by renaming).
    `clients_required`: callers need a certificate. `own` is what the gateway shows at its own port; None: nothing.
    """

    server: Path
    clients: Path | None = None
    clients_required: bool = True
    own: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """What the gateway's configuration depends on.

    The service is behind the gateway, in workers that listen on `upstream_sockets`, or inside it, as `application`.
    """

    http_host: str
    http_port: int
    grpc_port: int | None = None
    """A second port, which serves the same; None where workers have one of their own."""
    admin_socket: Path
    """Where Envoy's admin interface listens, open to the owner alone."""
    upstream_sockets: tuple[Path, ...] = ()
    application: str | None = None
    """The ASGI application that pyvoy runs in this Envoy (`module:attribute`); then there are no `upstream_sockets`."""
    tls: GatewayTls | None = None
    """With it, the ports speak TLS alone."""
    passes_json: bool = False
    """Whether the workers read the JSON of the calls that are hot (`contract/json_forms.py`) themselves."""
    upload_sockets: tuple[Path, ...] = ()
    """Where those who receive files listen; where there are none, files are refused."""
    upload_marks: Path
    """The file of what the URLs of uploads begin with that were handed out lately."""
    upload_seconds: float
    """How long a file may take."""
    body_limit_bytes: int
    answer_limit_bytes: int = 64 * 1_048_576
    call_timeout_seconds: float
    """The deadline that REST calls get (`grpc-timeout` to the server)."""
    grace_seconds: float = 1.0
    """How much later the gateway itself gives a REST call up, also one whose caller still sends."""
    headers_seconds: float = 10.0
    """How long a request's headers may take."""
    idle_seconds: float = 60.0
    """How long nothing may happen on a REST call; slow readers get it each time they take something."""
    connection_seconds: float = 60.0
    """The age at which a connection is asked to end (GOAWAY, `Connection: close`), so that the load of long-lived ones
    spreads over workers that share a port."""
    trusted_hops: int = 0
    """Proxies in front that say in `x-forwarded-for` where calls are from; with none, that is who comes here."""
    allowed_origins: tuple[str, ...] = ()
    """Whose pages may call (CORS)."""
    connect: bool = False
    """Whether calls of the Connect protocol are taken."""
    max_connections: int
    """A connection past them is refused."""
    max_active_calls: int
    """A call past them is answered with 503."""
    max_streams: int
    """Of an HTTP/2 connection; more wait."""
    max_header_bytes: int
    """Of a request, rounded up to KB."""
    heap_bytes: int | None = None
    """While more is in use, calls are answered with 503; None: a usual bound. A service inside is part of it."""
    access_log: bool = False
    """Whether every request is logged."""


def seconds(value: float) -> str:
    """A duration, as Envoy's configuration has it."""
    return f"{value:.3f}s"
