"""The service's settings and their checks. `commands/serve.py` reads them: flags override the environment, which
overrides the file, which overrides the defaults here."""

import contextlib
import enum
import ipaddress
import os
import sys
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_serializer, field_validator, model_validator

_CORES = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


class Durability(enum.StrEnum):
    """Where a write must have arrived before it is acknowledged (ADR 30)."""

    PRIMARY = "primary"
    """The primary's memory."""
    REPLICA = "replica"
    """The primary's memory and a replica's."""
    DISK = "disk"
    """The primary's disk and, where there are replicas, a replica's disk."""


HostMode = Literal["auto", "native", "grpcio"]
ClientCertificates = Literal["required", "optional"]
_ORIGIN = r"https?://[a-z0-9.\[\]:-]+"
Origins = Annotated[str, Field(pattern=rf"^({_ORIGIN}(, ?{_ORIGIN})*)?$")]
"""Comma-separated origins as browsers write them: scheme, host, and the port where it is not the scheme's default."""
Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseModel):
    """The settings of `instant-audience serve`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    catalog: Path | None = None
    """A YAML file with members, users and segments, for a cluster whose catalog is empty."""
    demo: bool = False
    """Use the demo catalog, whose passwords are public, in place of a `catalog` file."""
    add_missing: bool = False
    """Add the file's members, users and segments that the catalog lacks, even when the catalog is not empty."""
    redis: SecretStr | None = None
    """The URL of a Redis Cluster, `redis://` or `rediss://` (TLS), naming one of its nodes, or several separated by
    commas; it may hold a password. None: the embedded cluster."""
    durability: Durability = Durability.PRIMARY
    """What an acknowledgement means, for members without a setting of their own."""
    data_dir: Path = Path("data")
    """The directory in which the embedded cluster keeps its files."""
    host: str = "127.0.0.1"
    """The address to listen on."""
    trusted_hops: Annotated[int, Field(ge=0, le=16)] = 0
    """The number of trusted proxies in front of the gateway, each of which appends to `x-forwarded-for`. The caller's
    address is the one that the first of them has seen."""
    allowed_origins: Origins = ""
    """The origins (`https://app.example.com`) whose pages may call over REST and gRPC-Web from browsers (CORS)."""
    http_port: Port = 8080
    """REST and gRPC through the gateway. 0: any free port."""
    grpc_port: Port = 50051
    """gRPC straight to the workers. 0: any free port."""
    metrics_port: Port | None = None
    """Metrics for Prometheus. 0: any free port. None: they are not served."""
    tls_cert: Path | None = None
    """The server certificate, followed by the intermediate ones (PEM). None: no TLS. Like the files below, it is read
    again when it changes."""
    tls_key: Path | None = None
    """The certificate's private key (PEM, without a passphrase)."""
    client_ca: Path | None = None
    """The CA certificates that callers' certificates must chain to (PEM). None: callers are not asked for any."""
    client_crl: Path | None = None
    """The revocation lists (PEM), one from each CA that signs callers' certificates."""
    client_certificates: ClientCertificates = "required"
    """Whether callers need a certificate, where `client_ca` is given."""
    insecure: bool = False
    """Listen beyond this machine without TLS."""
    host_mode: HostMode = "auto"
    """The host, which serves calls: `native` (in Rust) or `grpcio` (in Python); `auto`: native where it is built."""
    workers: Annotated[int, Field(ge=1, le=256)] = _CORES
    """Worker processes."""
    call_timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 5.0
    """The deadline of calls whose caller sets none, and the upper bound on every call's deadline."""
    drain_seconds: Annotated[float, Field(ge=0, le=600)] = 10.0
    """How long calls in flight may take to finish during shutdown."""
    drain_wait: Annotated[float, Field(ge=0, le=600)] = 0.0
    """How long, in seconds, the listeners stay open during shutdown once the service reports that it is not ready, so
    that load balancers notice and send their calls elsewhere."""
    stalled_seconds: Annotated[float, Field(gt=0, le=60)] = 2.0
    """How long a node of the cluster may leave commands unanswered before its connection is replaced."""
    max_pending_bytes: Annotated[int, Field(ge=2**20)] = 64 * 2**20
    """The most bytes of commands that may await the cluster in one worker; past that, calls get 503 at once."""
    stream_window: Annotated[int, Field(ge=1, le=10_000)] = 64
    """The most requests of one stream that are processed at the same time."""
    max_connections: Annotated[int, Field(ge=10, le=1_000_000)] = 10_000
    """The most connections to the gateway, and to the gRPC port of a native worker; more are refused."""
    max_connections_of_address: Annotated[int, Field(ge=1, le=1_000_000)] = 2_500
    """The most connections from one address to the gRPC port of a native worker."""
    max_streams: Annotated[int, Field(ge=1, le=1000)] = 100
    """The most concurrent streams of an HTTP/2 connection; more wait."""
    max_header_bytes: Annotated[int, Field(ge=8192, le=61_440)] = 61_440
    """The largest request headers; on the gRPC port of a native worker at most 16 KB."""
    max_active_calls: Annotated[int, Field(ge=10, le=1_000_000)] = 20_000
    """The most calls in flight from the gateway to the workers; more get 503."""
    max_gateway_bytes: Annotated[int, Field(ge=32 * 2**20, le=2**40)] | None = None
    """The memory in use in the gateway past which new calls get 503. None: 320 MB."""
    max_running_calls: Annotated[int, Field(ge=1, le=10_000)] = 64
    """The most calls that run at once in a worker; others wait for their turn."""
    max_waiting_calls: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """The most calls that wait for their turn in a worker; more get 503."""
    batch_workers: Annotated[int, Field(ge=1, le=64)] = 1
    """The number of processes that receive files and apply them."""
    batch_store: str | None = None
    """The URL of the store of files: `file:///…`, `s3://bucket/…`, … None: a folder in `data_dir`."""
    batch_upload_seconds: Annotated[float, Field(gt=0, le=86_400)] = 5400.0
    """The longest that an upload may take; members may have shorter limits."""
    public_url: Annotated[str, Field(pattern=r"^https?://[^/?#\s]+$")] | None = None
    """Scheme and host of the upload URLs that callers get. None: those of the caller's request."""
    location: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")] = "local"
    """The last part of the tokens issued here."""
    traces_endpoint: Annotated[str, Field(pattern=r"^https?://[^?#\s]+$")] | None = None
    """The OpenTelemetry collector that traces are sent to over HTTP. None: as OpenTelemetry's environment variables
    say."""
    traces_ratio: Annotated[float, Field(ge=0, le=1)] = 0.01
    """The share of calls that is traced, among those whose callers made no sampling decision."""
    access_log: bool = False
    """Whether the log has a line for every call, and one for every request at the gateway."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe events that are logged."""
    log_format: Literal["auto", "json", "text"] = "auto"
    """How events are logged: as JSON, or as lines for people. `auto`: lines on a terminal, JSON elsewhere."""

    @model_validator(mode="after")
    def _replicas(self) -> "Settings":
        if self.redis is None and self.durability is Durability.REPLICA:
            raise ValueError("--durability replica needs --redis: the embedded cluster has no replicas")
        return self

    @model_validator(mode="after")
    def _one_catalog(self) -> "Settings":
        if self.demo and self.catalog is not None:
            raise ValueError("--catalog and --demo cannot be used together")
        if self.add_missing and self.catalog is None and not self.demo:
            raise ValueError("--add-missing needs --catalog, whose entries it adds")
        return self

    @model_validator(mode="after")
    def _own_ports(self) -> "Settings":
        flags: dict[int, str] = {}
        for name in ("http_port", "grpc_port", "metrics_port"):
            port, flag = getattr(self, name), f"--{name.replace('_', '-')}"
            if port and flags.setdefault(port, flag) != flag:
                raise ValueError(f"{flags[port]} and {flag} are both {port}: each needs a port of its own, or 0")
        return self

    @model_validator(mode="after")
    def _private(self) -> "Settings":
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key are needed together")
        if self.client_ca is not None and self.tls_cert is None:
            raise ValueError("--client-ca needs --tls-cert and --tls-key")
        if self.client_crl is not None and self.client_ca is None:
            raise ValueError("--client-crl needs --client-ca")
        if self.tls_cert is None and not self.insecure and not ipaddress.ip_address(self.host).is_loopback:
            raise ValueError(
                f"--host {self.host} is beyond this machine: give --tls-cert and --tls-key, or --insecure where "
                "something else encrypts"
            )
        return self

    @field_validator("catalog", "data_dir", "tls_cert", "tls_key", "client_ca", "client_crl")
    @classmethod
    def _written(cls, path: Path | None) -> Path | None:
        if path is not None:
            whole = path
            with contextlib.suppress(FileNotFoundError):  # the current directory is gone, which who needs it tells
                whole = path.absolute()
            _check_path(str(whole))
        return path

    @field_validator("host")
    @classmethod
    def _address(cls, host: str) -> str:
        """The address in its usual form: `::` for `0::0`."""
        try:
            return str(ipaddress.ip_address(host))
        except ValueError:
            raise ValueError("must be an address, such as 127.0.0.1, 0.0.0.0 or ::, and not a name") from None

    @field_validator("redis")
    @classmethod
    def _nodes(cls, url: SecretStr | None) -> SecretStr | None:
        try:
            parts = None if url is None else urlsplit(url.get_secret_value())
        except ValueError:  # not passed on, as its message may hold a password
            parts = urlsplit("")
        if parts is not None and not (parts.scheme in ("redis", "rediss") and parts.hostname):
            raise ValueError("must be the URL of a node, or of several: redis://HOST:6379,OTHER:6379, or rediss://")
        if url is not None:
            _check_places(url.get_secret_value())
        return url

    @field_validator("allowed_origins")
    @classmethod
    def _places(cls, origins: str) -> str:
        for each in _origins_in(origins):
            _check_places(each)
        return origins

    @field_validator("public_url", "traces_endpoint")
    @classmethod
    def _place(cls, url: str | None) -> str | None:
        if url is not None:
            _check_places(url)
        return url

    @field_serializer("redis", when_used="json-unless-none")
    def _without_secrets(self, url: SecretStr) -> str:
        parts = urlsplit(url.get_secret_value())
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    @field_validator("batch_store")
    @classmethod
    def _known_store(cls, url: str | None) -> str | None:
        _check_path(url or "")
        parts = urlsplit(url or "")
        if parts.scheme == "file":
            if parts.netloc or not parts.path.startswith("/"):
                raise ValueError("must name a folder by its whole path: file:///var/lib/files")
        elif url is not None and not (parts.scheme in STORE_SCHEMES and parts.netloc):
            others = ", ".join(f"{each}://BUCKET" for each in STORE_SCHEMES if each != "file")
            raise ValueError(f"must be a URL that begins with file:///, {others}")
        return url

    @property
    def origins(self) -> tuple[str, ...]:
        """The allowed origins."""
        return _origins_in(self.allowed_origins)

    @property
    def file_store_url(self) -> str:
        """The URL of the store of files."""
        return self.batch_store or (self.data_dir.absolute() / "batch-files").as_uri()


def _check_path(path: str) -> None:
    """Check that workers can be told a path, which they are in JSON, and nodes, which are in a line for it.

    Raises:
        ValueError: it has bytes that are no UTF-8, for which Python has surrogates, or a line break.
    """
    if any("\ud800" <= each <= "\udfff" for each in path) or "\n" in path:
        raise ValueError("must be a path in UTF-8 without line breaks, from the root on")


def _origins_in(text: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in text.split(",") if each)


def _check_places(url: str) -> None:
    """Check the host and port of a URL, or of each node where it names several, separated by commas.

    Raises:
        ValueError: a host is missing, or a port is out of range. The message quotes nothing of the URL, which may hold
            a password.
    """
    try:
        named = urlsplit(url).netloc.rpartition("@")[2].split(",")
        is_good = all(each.hostname and each.port != 0 for each in (urlsplit(f"//{place}") for place in named))
    except ValueError:
        is_good = False
    if not is_good:
        raise ValueError("must name a host, with a port from 1 to 65535 or without one")


LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not to listen on
"""Wildcard listen address → the address at which this machine itself reaches that listener."""
STORE_SCHEMES = ("file", "s3", "gs", "az")
"""The URL schemes of `batch_store`."""
UPLOAD_PATH = "/batch-segment-upload/"
"""The prefix of upload paths."""
UPLOAD_SILENT_SECONDS = 60.0
"""How long an upload may send nothing before it fails."""
GATEWAY_BYTES = 320 * 2**20
"""The default of `max_gateway_bytes`."""
BODY_LIMIT_BYTES = 1_048_576
"""The largest request: 1 MB (source: contract, "Limits")."""
MESSAGE_LIMIT_BYTES = 4 * BODY_LIMIT_BYTES
"""The largest gRPC message that is read at all. A message between `BODY_LIMIT_BYTES` and this is refused on its own, so
that a stream goes on; a larger one ends the call."""
MOST_HEADER_BYTES = 16_384
"""The largest request headers on a worker's gRPC port, as in gRPC's own servers."""
CONNECT_TIMEOUT_SECONDS = 1.0
"""The longest that opening a connection to a node of the cluster may take."""
