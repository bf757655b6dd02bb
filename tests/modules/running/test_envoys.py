"""Envoys at the end: which of them is waited for while it does not answer."""

import asyncio
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from instantaudience_gateway.envoy import admin
from instantaudience_gateway.envoy.settings import GatewaySettings
from instantaudience_server.process.processes import Child, Program, Supervised, reserve_port
from instantaudience_server.running import envoys
from instantaudience_server.running.envoys import Envoys, envoy_command
from instantaudience_server.running.starting import listens
from support.gateway.running import Upstream, body_for, serving
from support.parts.limits import GATEWAY_LIMITS
from support.service.processes import standing_still
from support.service.running import new_directory
from support.waiting import eventually, until

pytestmark = pytest.mark.process

HOST = "127.0.0.1"
SILENT = """
import pathlib, socket, sys, time
pathlib.Path(sys.argv[1]).unlink(missing_ok=True)
with socket.socket(socket.AF_UNIX) as listening:
    listening.bind(sys.argv[1])
    listening.listen()
    time.sleep(600)
"""
"""Listens on an admin socket, and never answers: as an Envoy does whose worker waits for the catalog."""


@asynccontextmanager
async def running(directory: Path, port: int, then: str = "") -> AsyncIterator[tuple[Supervised, Path]]:
    """A supervised Envoy in front of `worker.sock`, and its admin socket; `then` is run when it is started again."""
    socket = directory / "admin.sock"
    settings = GatewaySettings(
        http_host=HOST,
        http_port=port,
        upstream_sockets=(directory / "worker.sock",),
        admin_socket=socket,
        **GATEWAY_LIMITS,
    )
    command = shlex.join(map(str, envoy_command(directory / "envoy.json", settings, concurrency=1)))
    script = f"[ -e began ] && {then}; touch began; exec {command}" if then else f"exec {command}"
    server = Supervised(await Child.start(Program("gateway", ["sh", "-c", f"cd {directory}; {script}"])))
    try:
        yield server, socket
    finally:
        await server.stop(grace_seconds=0)


async def kill(server: Supervised) -> None:
    """It is started again."""
    (former := server.child).kill()
    await until(lambda: server.child is not former)


@pytest.mark.parametrize("was_killed", [False, True], ids=["", "was killed before"])
async def test_one_that_was_ready_is_waited_for(monkeypatch: pytest.MonkeyPatch, was_killed: bool) -> None:
    """On a busy machine it was taken for one that has crashed, and ended with its calls."""
    monkeypatch.setattr(envoys, "LOOK_SECONDS", 0.02)
    upstream, all_of_them = Upstream(), Envoys()
    with reserve_port(HOST, 0) as reserved:
        port = reserved.getsockname()[1]
        async with (
            new_directory() as directory,
            serving(upstream, directory / "worker.sock"),
            running(directory, port) as (server, socket),
            httpx.AsyncClient(base_url=f"http://{HOST}:{port}", headers={"authorization": "any"}, timeout=60) as http,
        ):
            await all_of_them.await_ready(server, socket)
            watching = asyncio.create_task(all_of_them.watch())
            try:
                if was_killed:
                    await kill(server)
                    await until(lambda: all_of_them._all[0].ready_pid == server.child.pid)
            finally:
                watching.cancel()
            call = asyncio.create_task(http.post("/rt-segment", content=body_for("wait:")))
            await upstream.has_calls(1)
            monkeypatch.setattr(admin, "ANSWER_SECONDS", 0.1)
            with standing_still(server.child.pid):
                draining = asyncio.create_task(all_of_them.drain(60))
                done, _ = await asyncio.wait([draining], timeout=10 * admin.ANSWER_SECONDS)
            assert not done
            monkeypatch.setattr(admin, "ANSWER_SECONDS", 10.0)
            upstream.release.set()
            assert (await call).status_code == 200
            await draining


async def test_one_that_has_not_been_ready_since_it_was_started_again_is_not_waited_for() -> None:
    """The end waited for it for as long as a drain may take."""
    all_of_them = Envoys()
    with reserve_port(HOST, 0) as reserved:
        silent = f"exec {shlex.join([sys.executable, '-c', SILENT, 'admin.sock'])}"
        async with (
            new_directory() as directory,
            running(directory, reserved.getsockname()[1], then=silent) as (server, socket),
        ):
            await all_of_them.await_ready(server, socket)
            await kill(server)

            async def is_silent() -> None:
                assert await listens(socket)

            await eventually(is_silent)
            watching = asyncio.create_task(all_of_them.watch())
            try:
                await asyncio.sleep(2 * admin.ANSWER_SECONDS)  # it is asked, and does not answer
            finally:
                watching.cancel()
            async with asyncio.timeout(30):
                await all_of_them.drain(600)
