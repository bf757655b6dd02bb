"""`serve`: runs the service; its options are the settings."""

import asyncio
import os
import signal
from typing import Any

import click
import structlog

from instantaudience_server.catalog.files.file import CatalogError
from instantaudience_server.commands.endings import ending_signals
from instantaudience_server.commands.settings_options import FILE, config_option, data_dir_option, read_settings
from instantaudience_server.commands.settings_options import option as _option
from instantaudience_server.commands.welcome import welcome
from instantaudience_server.observation.telemetry import Event, configure_logging
from instantaudience_server.process.lean_imports import UNUSED_BY_PROCESSES, lean_imports
from instantaudience_server.process.processes import PortInUseError, StartError
from instantaudience_server.settings import Settings


@click.command(short_help="Run the service.")
@config_option
@_option(
    "--catalog",
    "Begin an empty catalog with this YAML file: members, users, segments.",
    type=FILE,
    metavar="FILE",
)
@_option("--demo", "Likewise with the demo catalog. Its passwords are public: for trying out only.", is_flag=True)
@_option("--add-missing", "Add what the catalog lacks of the file although it is not empty.", is_flag=True)
@_option(
    "--redis",
    "Use this Redis Cluster (redis:// or rediss://; nodes between commas) rather than the embedded one.",
    metavar="URL",
)
@_option("--durability", "What has taken a write before it is acknowledged: primary, replica, disk.")
@data_dir_option
@_option("--host", "Address to listen on.")
@_option("--allowed-origins", "Origins, with commas between, whose pages may call from browsers (CORS).")
@_option("--trusted-hops", "Proxies in front that say in x-forwarded-for where calls are from.", type=int)
@_option("--tls-cert", "TLS with this certificate chain (PEM); read again when it changes.", type=FILE, metavar="FILE")
@_option("--tls-key", "The certificate's key (PEM).", type=FILE, metavar="FILE")
@_option("--client-ca", "Take callers' certificates that these CAs vouch for (PEM).", type=FILE, metavar="FILE")
@_option("--client-crl", "Refuse callers' certificates that these lists revoke (PEM).", type=FILE, metavar="FILE")
@_option("--client-certificates", "Whether callers need one, with --client-ca: required, optional.")
@_option("--insecure", "Listen beyond this machine without TLS.", is_flag=True)
@_option("--http-port", "Port for REST and gRPC, through the gateway. 0: any free one.", type=int)
@_option("--grpc-port", "Port for gRPC straight to the workers. 0: any free one.", type=int)
@_option("--metrics-port", "Port for Prometheus's GET /metrics; not served where not set. 0: any free one.", type=int)
@_option("--host-mode", "What serves calls: native (Rust) or grpcio; auto: native where it is built.")
@_option("--workers", "Worker processes; one a core where not set.", type=int)
@_option("--call-timeout-seconds", "Longest time for a call.", type=float)
@_option("--drain-seconds", "How long calls in flight may take at the end.", type=float)
@_option("--drain-wait", "Seconds that listeners stay open at the end, while readiness says no.", type=float)
@_option("--stalled-seconds", "Silence after which a cluster node's connection is replaced.", type=float)
@_option("--max-pending-bytes", "Commands waiting for the cluster in one worker, at most.", type=int)
@_option("--stream-window", "Requests of one stream under way at most.", type=int)
@_option("--max-connections", "Connections to the gateway, and to a native worker's gRPC port, at most.", type=int)
@_option("--max-connections-of-address", "Those of one address to a native worker's gRPC port.", type=int)
@_option("--max-streams", "Streams of an HTTP/2 connection at most.", type=int)
@_option("--max-header-bytes", "Headers of a request, at most.", type=int)
@_option("--max-active-calls", "Calls under way from the gateway to the workers, at most.", type=int)
@_option("--max-gateway-bytes", "Memory in use in the gateway past which calls get 503.", type=int)
@_option("--max-running-calls", "Calls that run at once in one worker.", type=int)
@_option("--max-waiting-calls", "Calls that wait for their turn in one worker, at most.", type=int)
@_option("--batch-workers", "Processes that receive files and apply them.", type=int)
@_option(
    "--batch-store",
    "Where files are until they are applied: file:, s3:, gs:, az:; a folder in --data-dir where not set.",
    metavar="URL",
)
@_option("--batch-upload-seconds", "Longest time for an upload.", type=float)
@_option("--public-url", "Scheme and host of upload URLs; those that the caller used where not set.", metavar="URL")
@_option("--location", "The last part of tokens issued here.")
@_option("--traces-endpoint", "Send traces to this OpenTelemetry collector (OTLP over HTTP).", metavar="URL")
@_option("--traces-ratio", "Share of the calls to trace whose callers do not say.", type=float)
@_option("--access-log", "Log every call, and every request at the gateway.", is_flag=True)
@_option("--log-level", "Least severe events to log: debug, info, warning, error.")
@_option("--log-format", "How events are logged: json, text; auto: text on a terminal.")
def serve(**options: Any) -> None:
    """Run the service until SIGTERM or Ctrl-C, or until its terminal is closed, then drain.

    Without --redis, it starts a three-node cluster of its own that keeps its data in --data-dir.

    The catalog is in the cluster, and `instant-audience catalog`, `member`, `user` and `segment` change it. The first
    account, which these need to sign in, comes from --catalog.
    """
    settings = read_settings(options)
    # Child processes inherit the environment, and need none of this: it may contain the cluster's password.
    for name in [each for each in os.environ if each.startswith("INSTANT_AUDIENCE_")]:
        del os.environ[name]
    os.umask(0o077)  # files that callers upload, among others, are for nobody else on this machine
    configure_logging(settings.log_level, settings.log_format)
    # Imported here: importing all that serves takes longer than showing the options.
    with lean_imports(UNUSED_BY_PROCESSES):
        from instantaudience_server.embedded.server import EmbeddedClusterError
        from instantaudience_server.store.cluster.topology import StoreUnusableError

    try:
        asyncio.run(_serve(settings))
    except PortInUseError as error:
        ports = {settings.grpc_port: "--grpc-port", settings.metrics_port: "--metrics-port"}
        flag = {**ports, settings.http_port: "--http-port"}[error.port]
        raise click.ClickException(f"{error}; choose another with {flag}, or 0 for any free one") from error
    except (CatalogError, EmbeddedClusterError, StoreUnusableError, StartError) as error:
        raise click.ClickException(str(error)) from error


async def _serve(settings: Settings) -> None:
    with lean_imports(UNUSED_BY_PROCESSES):
        from instantaudience_server.running.machine.service_manager import READY, STOPPING, ServiceManager
        from instantaudience_server.running.supervisor import Service

    manager = ServiceManager(os.environ)
    stop = asyncio.Event()
    for number in (signal.SIGINT, *ending_signals()):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    service = Service(settings, progress=_step)
    starting = asyncio.create_task(service.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.wait((starting,))
        return
    try:
        welcome(settings, await starting)
        manager.tell(READY)
        await stopping
        manager.tell(STOPPING)
        _step("draining")
    finally:
        stopping.cancel()
        await service.stop()


def _step(step: str) -> None:
    """Log a step of the start or the end."""
    structlog.get_logger().info(Event.SERVICE_STEP, step=step)
