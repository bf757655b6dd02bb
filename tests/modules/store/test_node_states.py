"""Which nodes take writes, and why the others do not, on every server product."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.embedded.node import HOST
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.health import NodeState, Problem
from instantaudience_server.store.node_states import ClusterNodeStates
from redis.asyncio import Redis
from support.cluster.nodes import on_node, whole
from support.cluster.running import all_take_writes, connected
from support.service.processes import standing_still
from support.waiting import eventually, seconds_from_now

SECONDS = 0.5


async def problems(cluster: Cluster) -> dict[str, Problem]:
    states = await ClusterNodeStates(cluster).look(seconds_from_now(SECONDS))
    return {name: problem for name, problem in states if problem is not None}


async def assert_problem(cluster: Cluster, name: str, problem: Problem) -> None:
    """This one and no other; on a busy machine, a node may answer late."""

    async def alone() -> None:
        assert await problems(cluster) == {name: problem}

    await eventually(alone)


@asynccontextmanager
async def configured(port: int, directive: str, value: str) -> AsyncIterator[None]:
    """A node with another setting than before."""
    before = (await on_node(port, "CONFIG", "GET", directive))[directive]
    await on_node(port, "CONFIG", "SET", directive, value)
    try:
        yield
    finally:
        await on_node(port, "CONFIG", "SET", directive, before)


async def test_every_primary_is_asked_once(cluster: Cluster, embedded: EmbeddedCluster) -> None:
    states = await ClusterNodeStates(cluster).look(seconds_from_now())
    assert sorted(states) == sorted(NodeState(f"{HOST}:{port}", None) for port in embedded.ports)


async def test_when_no_time_is_left_nobody_has_answered(cluster: Cluster, embedded: EmbeddedCluster) -> None:
    """It is no error, which would end whoever looks again and again, or a worker that starts."""
    states = await ClusterNodeStates(cluster).look(seconds_from_now(-1))
    assert sorted(states) == sorted(NodeState(f"{HOST}:{port}", Problem.NO_ANSWER) for port in embedded.ports)


async def test_a_node_that_stands_still_does_not_answer(cluster: Cluster, embedded: EmbeddedCluster) -> None:
    node = embedded.nodes[2]
    assert await all_take_writes(cluster)
    with standing_still(node.child.pid):
        await assert_problem(cluster, f"{HOST}:{node.port}", Problem.NO_ANSWER)
    await whole(embedded)
    assert await all_take_writes(cluster)


async def test_a_node_that_is_gone_is_missed(cluster: Cluster, embedded: EmbeddedCluster) -> None:
    node = embedded.nodes[1]
    assert await all_take_writes(cluster)
    node.child.kill()
    # It is started again after 0.2 s, and takes no writes for two seconds then.
    seen = await problems(cluster)
    assert seen.keys() == {f"{HOST}:{node.port}"}
    assert set(seen.values()) <= {Problem.NO_CONNECTION, Problem.NO_ANSWER, Problem.LOADING, Problem.CLUSTERDOWN}

    async def back() -> None:
        assert await all_take_writes(cluster)

    await eventually(back)
    await whole(embedded)


@pytest.mark.parametrize(
    ("directive", "value", "problem"),
    [("maxmemory", "1", Problem.OOM), ("min-replicas-to-write", "1", Problem.NOREPLICAS)],
)
async def test_a_node_that_takes_no_writes_says_why(
    cluster: Cluster, embedded: EmbeddedCluster, directive: str, value: str, problem: Problem
) -> None:
    port = embedded.ports[0]
    async with configured(port, directive, value):
        await assert_problem(cluster, f"{HOST}:{port}", problem)
    assert await all_take_writes(cluster)


async def test_a_password_that_has_changed_is_told(embedded: EmbeddedCluster) -> None:
    """Connections that stand go on; new ones are refused."""
    port = embedded.ports[0]
    async with connected(embedded.url) as cluster, Redis(host=HOST, port=port) as admin:
        assert await all_take_writes(cluster)
        await admin.execute_command("ACL", "SETUSER", "default", "resetpass", ">other")
        try:
            await admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await assert_problem(cluster, f"{HOST}:{port}", Problem.NO_ACCESS)
        finally:
            await admin.execute_command("ACL", "SETUSER", "default", "nopass")

        async def back() -> None:
            assert await all_take_writes(cluster)

        await eventually(back)


async def test_slots_that_nobody_serves_are_told(embedded: EmbeddedCluster) -> None:
    port = embedded.ports[0]
    async with connected(embedded.url) as cluster:
        for other in embedded.ports:
            await on_node(other, "CLUSTER", "DELSLOTSRANGE", 100, 102)
        try:
            cluster.routes.look_again()

            async def noticed() -> None:
                assert (await problems(cluster)).get("slots 100-102") is Problem.NO_PRIMARY

            await eventually(noticed)
        finally:
            await on_node(port, "CLUSTER", "ADDSLOTSRANGE", 100, 102)

        async def back() -> None:
            assert await all_take_writes(cluster)

        await eventually(back)
    await whole(embedded)
