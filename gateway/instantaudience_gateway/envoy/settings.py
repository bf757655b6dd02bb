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

    The service is behind the gateway, in workers that listen on `upstream_sockets`, or inside it: then `application` is
    the ASGI application that pyvoy runs in this Envoy (`module:attribute`), and `upstream_sockets` is empty.
    `grpc_port` is a second port to serve, where workers have none of their own. `tls`: the ports speak TLS alone.
    `passes_json`: the workers read the JSON of the calls that are hot (`contract/json_forms.py`) themselves.
    `admin_socket` is where Envoy's admin interface listens, open to the owner alone. `call_timeout_seconds` is the
    deadline that REST calls get (`grpc-timeout` to the server); the gateway itself gives up `grace_seconds` later, on
    callers who still send too. A request's headers may take `headers_seconds`.
    `idle_seconds` is how long nothing may happen on a REST call; slow readers get it each time they take something.
    `connection_seconds` is the age at which a connection is asked to end (GOAWAY, `Connection: close`), so that the
    load of long-lived ones spreads over workers that share a port. `trusted_hops` proxies in front say in
    `x-forwarded-for` where calls are from; with none, that is who comes here. Pages of the `allowed_origins` may call
    (CORS). `connect`: calls of the Connect protocol are taken. `max_connections` and `max_active_calls` bound memory: a
    connection past the first is refused, a call past the second answered with 503. So is every call while more than
    `heap_bytes` are in use (None: as much as is usual); where the service is inside, what it uses is in that. A
    connection of HTTP/2 has at most `max_streams` (more wait), a request headers of `max_header_bytes` (rounded up to
    KB).
    `access_log`: every request is logged. Files go to servers that listen on `upload_sockets`, and one may take
    `upload_seconds`; where there are none, they are refused. `upload_marks` is the file of what the URLs begin with
    that were handed out lately.
    """

    http_host: str
    http_port: int
    admin_socket: Path
    upstream_sockets: tuple[Path, ...] = ()
    application: str | None = None
    grpc_port: int | None = None
    tls: GatewayTls | None = None
    passes_json: bool = False
    upload_sockets: tuple[Path, ...] = ()
    upload_marks: Path
    upload_seconds: float
    body_limit_bytes: int
    answer_limit_bytes: int = 64 * 1_048_576
    call_timeout_seconds: float
    grace_seconds: float = 1.0
    headers_seconds: float = 10.0
    idle_seconds: float = 60.0
    connection_seconds: float = 60.0
    trusted_hops: int = 0
    allowed_origins: tuple[str, ...] = ()
    connect: bool = False
    max_connections: int
    max_streams: int
    max_active_calls: int
    max_header_bytes: int
    heap_bytes: int | None = None
    access_log: bool = False


def seconds(value: float) -> str:
    """A duration, as Envoy's configuration has it."""
    return f"{value:.3f}s"
