"""The settings of the gateway's configuration."""

from dataclasses import dataclass
from pathlib import Path

CLUSTER = "workers"
"""Name of the cluster of workers."""
UPLOADS = "uploads"
"""Name of the cluster of batch processes."""
UNMARKED_UPLOADS = "unmarked-uploads"
"""Name of the same cluster for uploads whose URL was not issued recently."""
STAT_PREFIX = "ingress"
"""Prefix of the public port's statistics: `http.ingress.…`."""

TYPES = "type.googleapis.com/envoy.extensions"
"""Package of the types of Envoy's extensions."""


@dataclass(frozen=True, slots=True)
class GatewayTls:
    """The gateway's TLS files. `clients` has the CAs of client certificates (None: no certificates are requested).

    `tls.py` makes the files' contents. Envoy reads the files again when they are replaced by renaming.
    `clients_required`: callers need a certificate.
    """

    server: Path
    clients: Path | None = None
    clients_required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """The settings of the gateway's configuration.

    The service is behind the gateway, in workers that listen on `upstream_sockets`.
    """

    http_host: str
    http_port: int
    grpc_port: int | None = None
    """A second port, which serves the same; None if workers have their own."""
    admin_socket: Path
    """The unix socket of Envoy's admin interface, accessible to the owner alone."""
    upstream_sockets: tuple[Path, ...]
    tls: GatewayTls | None = None
    """If set, the ports accept TLS only."""
    passes_json: bool = False
    """Whether the workers read the JSON of frequent calls themselves (`contract/json_forms.py`)."""
    max_unary_calls: int | None = None
    """Maximum number of unary calls in flight, for workers that cannot refuse calls cheaply; more are answered with
    503. None: no bound but `max_active_calls`."""
    upload_sockets: tuple[Path, ...] = ()
    """The sockets of the batch processes; if there are none, uploads are refused."""
    upload_marks: Path
    """The file with the marks of recently issued upload URLs."""
    upload_seconds: float
    """Maximum duration of an upload."""
    body_limit_bytes: int
    answer_limit_bytes: int = 64 * 1_048_576
    call_timeout_seconds: float
    """The deadline of REST calls (`grpc-timeout` to the server)."""
    grace_seconds: float = 1.0
    """How much later the gateway itself ends a REST call, even if the caller is still sending."""
    headers_seconds: float = 10.0
    """Timeout for a request's headers."""
    idle_seconds: float = 60.0
    """Idle timeout of a REST call; slow readers restart it whenever they read something."""
    connection_seconds: float = 60.0
    """The age at which a connection is closed gracefully (GOAWAY, `Connection: close`), so that long-lived ones spread
    over the workers that share a port. Up to a tenth is added by chance."""
    trusted_hops: int = 0
    """Number of proxies in front that add the caller to `x-forwarded-for`; with 0, the peer is the caller."""
    allowed_origins: tuple[str, ...] = ()
    """Origins whose pages may call (CORS)."""
    max_connections: int
    """Maximum number of connections; more are refused."""
    max_active_calls: int
    """Maximum number of calls in flight; more are answered with 503."""
    max_streams: int
    """Maximum number of streams per HTTP/2 connection; more wait."""
    max_header_bytes: int
    """Maximum size of a request's headers, rounded up to KB."""
    heap_bytes: int | None = None
    """Memory in use above which calls are answered with 503; None: the default."""
    access_log: bool = False
    """Whether every request is logged."""


def seconds(value: float) -> str:
    """A duration in the format of Envoy's configuration."""
    return f"{value:.3f}s"
