"""Processes that somebody has stopped are killed, or go on; nobody else is touched."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.passwords.hashing import Passwords
from instantaudience_server.process.processes import Child, Program
from instantaudience_server.running.ground import WorkerConfig
from instantaudience_server.running.machine import standstill
from instantaudience_server.running.machine.standstill import STOPPED, Watched
from instantaudience_server.running.supervisor import Service
from instantaudience_server.settings import Settings
from support.parts.callers import quick_hash
from support.service.processes import descendants, needs_proc
from support.service.running import new_directory
from support.waiting import eventually, seconds_from_now

pytestmark = [pytest.mark.process, pytest.mark.wide, needs_proc]


@asynccontextmanager
async def running(name: str) -> AsyncIterator[Child]:
    """A process that waits for its end."""
    child = await Child.start(Program(name, [sys.executable, "-c", "import signal; signal.pause()"]))
    try:
        yield child
    finally:
        child.kill()
        await child.wait()


@asynccontextmanager
async def watched(*processes: Watched, seconds: float = standstill.SERVER_SECONDS) -> AsyncIterator[None]:
    watching = asyncio.create_task(standstill.watch(lambda: processes, seconds))
    yield
    watching.cancel()
    await asyncio.wait([watching])


async def stop(pid: int) -> None:
    """Have it stand still."""
    os.kill(pid, signal.SIGSTOP)

    async def stands_still() -> None:
        assert standstill._state(pid) == STOPPED

    await eventually(stands_still)


async def goes_on(pid: int) -> None:
    assert standstill._state(pid) not in ("", STOPPED)


async def test_who_stands_still_is_killed_and_nobody_else() -> None:
    async with running("still") as still, running("busy") as busy:
        await stop(still.pid)
        async with watched(*(Watched(each.program.name, each.pid, each.kill) for each in (still, busy))):
            assert await asyncio.wait_for(still.wait(), 20) == -signal.SIGKILL
        assert busy.returncode is None


async def test_who_has_the_only_copy_of_something_goes_on() -> None:
    async with running("node") as node:
        await stop(node.pid)
        async with watched(Watched("node", node.pid, node.go_on)):
            await eventually(lambda: goes_on(node.pid))
        assert node.returncode is None


async def test_who_is_stopped_for_a_moment_is_left_alone() -> None:
    async with running("node") as node:
        await stop(node.pid)
        async with watched(Watched("node", node.pid, node.kill), seconds=600):
            await asyncio.sleep(2 * standstill.LOOK_SECONDS)
        assert node.returncode is None


async def test_what_hashes_passwords_is_replaced() -> None:
    passwords = Passwords()
    try:
        former = passwords.pid
        await stop(former)
        async with watched(Watched("hasher", former, passwords.kill)):
            await eventually(lambda: is_gone(former))
        assert await passwords.matches("secret", quick_hash("secret"), seconds_from_now())
        assert passwords.pid != former
    finally:
        passwords.close()


async def is_gone(pid: int) -> None:
    assert standstill._state(pid) in ("", "Z")


async def test_a_service_looks_after_its_nodes_and_hashers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standstill, "NODE_SECONDS", standstill.SERVER_SECONDS)
    async with new_directory() as directory:
        settings = {"demo": True, "workers": 1, "http_port": 0, "grpc_port": 0, "data_dir": directory}
        service = Service(Settings.model_validate(settings), progress=lambda _: None)
        others = {each.pid for each in descendants(os.getpid())}
        await service.start()
        try:
            started = [each for each in descendants(os.getpid()) if each.pid not in others]
            (hasher,) = [each.pid for each in started if "/hashing.lock" in each.command]
            assert service._cluster is not None
            node = service._cluster.nodes[0].child.pid
            await stop(hasher)
            await stop(node)
            await eventually(lambda: is_gone(hasher))
            await eventually(lambda: goes_on(node))
        finally:
            await service.stop()


STUCK = """
import asyncio, re
from instantaudience_server.running import {module} as process
from instantaudience_server.running.machine import standstill

class Stop:
    async def wait(self):
        await asyncio.sleep(0.1)
        {stuck}

standstill.STUCK_SECONDS = 6.0
process.asked_to_stop = Stop
process.main()
"""
"""A process of the service; when it is ready, a piece of work in its event loop comes to no end."""


@pytest.mark.parametrize("module", ["worker", "batch_worker"])
@pytest.mark.parametrize(
    "stuck", ["while True: pass", "re.match('(a+)+b', 40 * 'a')"], ids=["runs", "keeps Python's lock"]
)
async def test_who_comes_to_no_end_ends_and_says_where_it_was(
    embedded: EmbeddedCluster, tmp_path: Path, module: str, stuck: str
) -> None:
    settings = Settings.model_validate({"data_dir": tmp_path, "batch_store": (tmp_path / "files").as_uri()})
    addresses = {"worker": f"unix:{tmp_path}/socket", "batch_worker": f"{tmp_path}/socket"}
    config = WorkerConfig(
        number=0,
        settings=settings,
        redis=embedded.url,
        host="grpcio",
        addresses=[addresses[module]],
        upload_marks=tmp_path / "marks",
    )
    code = STUCK.format(module=module, stuck=stuck)
    argv = [sys.executable, "-c", code]
    output = tmp_path / "output"
    child = await Child.start(Program(module, argv, stdin=config.model_dump_json().encode(), output=output))
    try:
        assert await asyncio.wait_for(child.wait(), 120) == 1
    finally:
        child.kill()
    words = output.read_text()
    assert "worker_ready" in words
    assert re.search(r"Timeout \(0:00:06\)!.* in wait$", words, re.DOTALL | re.MULTILINE)


async def test_who_is_busy_piece_by_piece_goes_on() -> None:
    code = """
import asyncio, time
from instantaudience_server.running.machine import standstill

async def work():
    beside = asyncio.create_task(standstill.end_when_stuck())
    end = time.monotonic() + 2
    while time.monotonic() < end:
        time.sleep(0.1)
        await asyncio.sleep(0)
    beside.cancel()
    await asyncio.wait([beside])
    time.sleep(1)

standstill.STUCK_SECONDS = 0.5
asyncio.run(work())
"""
    child = await Child.start(Program("busy", [sys.executable, "-c", code]))
    assert await asyncio.wait_for(child.wait(), 60) == 0
