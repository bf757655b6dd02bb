"""Whether the service can serve."""

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.embedded.node import HOST
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.health import LOOK_SECONDS, HealthService
from instantaudience_server.observation.metrics import CLUSTER_NODES, WORKER
from instantaudience_server.observation.telemetry import Event
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.health import Problem
from instantaudience_server.store.node_states import ClusterNodeStates
from redis.asyncio import RedisCluster
from structlog.testing import capture_logs
from support.cluster.nodes import carried_out, whole
from support.waiting import seconds_from_now

OBSERVABILITY = Path(__file__).parents[2] / "docs/observability.md"


@pytest.fixture
def health(cluster: Cluster) -> HealthService:
    return HealthService(ClusterNodeStates(cluster))


def count_of(problem: str) -> float:
    """How many nodes the metric says have it."""
    return CLUSTER_NODES.labels(WORKER, problem)._value.get()


async def test_a_change_is_reported_once(embedded: EmbeddedCluster, health: HealthService) -> None:
    reports: asyncio.Queue[bool] = asyncio.Queue()
    node = embedded.nodes[1]
    with capture_logs() as logs:
        watching = asyncio.create_task(health.watch(reports.put_nowait))
        try:
            async with asyncio.timeout(20):
                assert await reports.get()
                os.kill(node.child.pid, signal.SIGSTOP)
                assert not await reports.get()
                assert [count_of(each) for each in ("none", Problem.NO_ANSWER)] == [2, 1]
                os.kill(node.child.pid, signal.SIGCONT)
                assert await reports.get()
                assert [count_of(each) for each in ("none", Problem.NO_ANSWER)] == [3, 0]
        finally:
            os.kill(node.child.pid, signal.SIGCONT)
            watching.cancel()
    assert reports.empty()
    with pytest.raises(asyncio.CancelledError):
        await watching
    name = f"{HOST}:{node.port}"
    told = [(entry["event"], entry.get("node"), entry.get("problem")) for entry in logs]
    assert told == [
        (Event.HEALTH_CHANGED, None, None),
        (Event.NODE_TAKES_NO_WRITES, name, Problem.NO_ANSWER),
        (Event.HEALTH_CHANGED, None, None),
        (Event.NODE_TAKES_WRITES, name, None),
        (Event.HEALTH_CHANGED, None, None),
    ]
    await whole(embedded)


async def test_a_check_takes_a_second_at_most(
    embedded: EmbeddedCluster, health: HealthService, cluster: Cluster
) -> None:
    node = embedded.nodes[2]
    assert len(await health.check(seconds_from_now(60))) == 3
    assert await health.is_serving()
    os.kill(node.child.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(4 * LOOK_SECONDS):
            with pytest.raises(AudienceError) as failed:
                await HealthService(ClusterNodeStates(cluster)).check(seconds_from_now(60))
            assert not await HealthService(ClusterNodeStates(cluster)).is_serving()
    finally:
        os.kill(node.child.pid, signal.SIGCONT)
    assert failed.value.reason is Reason.UNAVAILABLE
    assert failed.value.message == f"not ready, waiting for: {HOST}:{node.port} (no_answer)"
    await whole(embedded)


async def test_a_server_that_ends_is_not_ready(health: HealthService) -> None:
    health.drain()
    with pytest.raises(AudienceError, match="about to end") as failed:
        await health.check(seconds_from_now())
    assert failed.value.reason is Reason.UNAVAILABLE


async def test_who_asks_at_the_same_time_shares_one_look(health: HealthService, plain: RedisCluster) -> None:
    before = await carried_out(plain, "eval")
    found = await asyncio.gather(*(health.check(seconds_from_now()) for _ in range(50)))
    assert all(states == found[0] for states in found)
    assert await carried_out(plain, "eval") - before == len(found[0]) == 3


async def test_who_leaves_a_look_leaves_it_to_the_others(embedded: EmbeddedCluster, health: HealthService) -> None:
    node = embedded.nodes[2]
    os.kill(node.child.pid, signal.SIGSTOP)
    try:
        leaving = asyncio.create_task(health.check(seconds_from_now(60)))
        late = asyncio.create_task(health.check(seconds_from_now(0.05)))
        staying = asyncio.create_task(health.check(seconds_from_now(60)))
        with pytest.raises(AudienceError, match="within the call's time"):
            await late
        leaving.cancel()
        with pytest.raises(AudienceError, match="waiting for"):
            await staying
    finally:
        os.kill(node.child.pid, signal.SIGCONT)
    assert leaving.cancelled()
    await whole(embedded)


async def test_who_asked_before_a_server_ends_is_told_so(embedded: EmbeddedCluster, health: HealthService) -> None:
    checking = asyncio.create_task(health.check(seconds_from_now()))
    await asyncio.sleep(0)
    health.drain()
    with pytest.raises(AudienceError, match="about to end"):
        await checking


def test_operators_are_told_what_to_do_about_each_word() -> None:
    _, _, section = OBSERVABILITY.read_text().partition("\n## Health\n")
    rows = re.findall(r"^\| (`[^|]+) \|", section.partition("\n## ")[0], re.MULTILINE)
    assert sorted(re.findall(r"\w+", " ".join(rows))) == sorted(Problem)
