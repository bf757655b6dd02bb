"""What happens to workers, on every host: callers that reconnect and send again lose nothing."""

import asyncio
import os
import resource
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

import pytest
from instantaudience_server.running.ground import AGAIN_SECONDS
from instantaudience_server.store.keys import CATALOG_VERSION, key_slot
from support.cluster.replicated import ReplicatedCluster
from support.service.metrics import scrape
from support.service.processes import Process, descendants, needs_proc
from support.service.restarts import Restarted
from support.service.running import HOST_MODES, Service, new_directory, running_service
from support.service.traffic import ARGUMENTS, WORKERS, Traffic
from support.service.workers import WORKER_COMMAND
from support.waiting import eventually

pytestmark = [pytest.mark.wide, pytest.mark.alone, needs_proc, pytest.mark.timeout(300)]

HOST = "127.0.0.1"
BACK_SECONDS = 30.0
DRAIN_SECONDS = 10.0
"""What calls under way have at the end, unless somebody says otherwise."""
NOTICED_SECONDS = 2.0 + 8.0
"""A worker that stands still is out of the way after two seconds; a busy machine may take longer."""


@pytest.fixture(scope="module", params=HOST_MODES)
async def hosted(request: pytest.FixtureRequest, replicated: ReplicatedCluster) -> AsyncIterator[Service]:
    """The service on a host."""
    async with running_service("--redis", replicated.url, *ARGUMENTS, host_mode=request.param) as running:
        yield running


def workers_of(service: Service) -> list[Process]:
    return [found for found in descendants(service.process.pid) if WORKER_COMMAND in found.command]


def starts_of(service: Service) -> int:
    return [event["event"] for event in service.events].count("worker_ready")


async def assert_back(service: Service, starts: int) -> None:
    """Another worker has begun to serve, so that there are as many as before."""

    async def check() -> None:
        assert starts_of(service) > starts
        assert len(workers_of(service)) == WORKERS

    await eventually(check, BACK_SECONDS)


async def is_killed(service: Service, worker: Process) -> None:
    os.kill(worker.pid, signal.SIGKILL)


async def is_stopped(service: Service, worker: Process) -> None:
    """Nobody lets it go on: it is noticed, and killed."""
    os.kill(worker.pid, signal.SIGSTOP)

    async def out_of_the_way() -> None:
        assert not worker.alive

    await eventually(out_of_the_way, NOTICED_SECONDS)
    noticed = [event["pid"] for event in service.events if event["event"] == "process_stands_still"]
    assert worker.pid in noticed


async def is_drained(service: Service, worker: Process) -> None:
    """It ends by itself, as it would with the whole service."""
    os.kill(worker.pid, signal.SIGTERM)


@pytest.mark.parametrize("what", [is_killed, is_stopped, is_drained])
async def test_a_worker(
    hosted: Service, replicated: ReplicatedCluster, what: Callable[[Service, Process], Awaitable[None]]
) -> None:
    """Another one takes its place."""
    starts = starts_of(hosted)
    traffic = Traffic([hosted], replicated.url, await hosted.token(), retries=True)
    async with traffic.running():
        await what(hosted, workers_of(hosted)[0])
        await assert_back(hosted, starts)
    await traffic.assert_nothing_is_lost()
    assert traffic.failed == []
    assert "Traceback" not in hosted.log


async def test_what_goes_on_beside_calls_is_begun_anew(hosted: Service) -> None:
    """It is noticed when it meets a defect: here, that no file can be opened. The worker serves on."""
    worker, ends = workers_of(hosted)[0], exits_of(hosted)

    async def defects() -> float:
        return (await scrape(hosted)).total("background_defects_total")

    async def noticed(times: float) -> None:
        assert await defects() >= times

    former = await defects()
    limits = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        await eventually(partial(noticed, former + 2), BACK_SECONDS)
    finally:
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, limits)
    await asyncio.sleep(AGAIN_SECONDS)
    before = await defects()
    await asyncio.sleep(3 * AGAIN_SECONDS)
    assert (await defects(), exits_of(hosted)) == (before, ends)
    assert "memory.give_back" in [event["work"] for event in hosted.events if event["event"] == "background_defect"]
    assert worker.alive


async def test_a_worker_starts_while_the_catalogs_node_is_away(hosted: Service, replicated: ReplicatedCluster) -> None:
    """It waits, and does not end; the other one serves on, and says what is waited for."""
    catalog_node = await replicated.primary_of(key_slot(CATALOG_VERSION))
    starts, ends = starts_of(hosted), exits_of(hosted)
    for node in (catalog_node, await replicated.replica_of(catalog_node)):
        node.signal(signal.SIGSTOP)
    try:
        os.kill(workers_of(hosted)[0].pid, signal.SIGKILL)

        async def waits() -> None:
            assert [event["event"] for event in hosted.events].count("catalog_stale") > 1
            async with hosted.http() as http:
                answer = await http.get("/readyz")
            assert answer.status_code == 503
            assert f"{HOST}:{catalog_node.port} (" in answer.text

        await eventually(waits, BACK_SECONDS)
        await asyncio.sleep(1)
        assert (starts_of(hosted), exits_of(hosted)) == (starts, ends + 1)
    finally:
        for node in replicated.nodes:
            node.signal(signal.SIGCONT)
    await assert_back(hosted, starts)
    await replicated.whole()
    assert "Traceback" not in hosted.log


@pytest.mark.parametrize("host_mode", HOST_MODES)
async def test_the_end_comes_while_a_worker_waits_for_the_catalogs_node(
    host_mode: str, replicated: ReplicatedCluster
) -> None:
    """It serves nobody, so nobody waits for it."""
    async with running_service("--redis", replicated.url, *ARGUMENTS, host_mode=host_mode) as service:
        catalog_node = await replicated.primary_of(key_slot(CATALOG_VERSION))
        for node in (catalog_node, await replicated.replica_of(catalog_node)):
            node.signal(signal.SIGSTOP)
        try:
            os.kill(workers_of(service)[0].pid, signal.SIGKILL)

            async def another_waits() -> None:
                said = [event["event"] for event in service.events]
                assert "process_restarted" in said
                assert said.count("catalog_stale") == WORKERS + 1

            await eventually(another_waits, BACK_SECONDS)
            began = time.monotonic()
            assert await service.stop() == 0
            took = time.monotonic() - began
        finally:
            for node in replicated.nodes:
                node.signal(signal.SIGCONT)
        assert took < DRAIN_SECONDS
        assert "process_killed" not in service.log
        assert "Traceback" not in service.log
    await replicated.whole()


def exits_of(service: Service) -> int:
    return [event["event"] for event in service.events].count("process_exited")


async def test_services_are_restarted_one_after_the_other(replicated: ReplicatedCluster) -> None:
    """One on each host. Each says first that it is not ready, and takes calls still; and it may start again at once."""
    async with AsyncExitStack() as stack:
        services = [
            Restarted(await stack.enter_async_context(new_directory()), replicated.url, host) for host in HOST_MODES
        ]
        try:
            running = await asyncio.gather(*(service.start() for service in services))
            traffic = Traffic(running, replicated.url, await running[0].token(), retries=True)
            async with traffic.running():
                for number, service in enumerate(services):
                    ending = asyncio.create_task(service.stop())
                    await assert_turned(running[number])
                    await ending
                    assert running[number].process.returncode == 0
                    await service.start()
            await traffic.assert_nothing_is_lost()
            assert traffic.failed == []
        finally:
            await asyncio.gather(*(service.stop() for service in services))


async def assert_turned(service: Service) -> None:
    """Readiness says no, while the service still answers."""

    async def check() -> None:
        async with service.http() as http:
            answer = await http.get("/readyz")
            assert answer.status_code == 503
            assert "about to end" in answer.text
            assert (await http.get("/healthz")).status_code == 200

    await eventually(check, 5)
