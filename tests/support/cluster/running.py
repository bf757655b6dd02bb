"""Starting clusters and nodes, and clients for them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.embedded.node import HOST
from instantaudience_server.process.processes import Child, Program, free_ports
from instantaudience_server.settings import Durability
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.cluster.topology import Topology
from instantaudience_server.store.keys import SLOTS
from instantaudience_server.store.membership_store import ClusterMembershipStore
from instantaudience_server.store.node_states import ClusterNodeStates
from redis.asyncio import Redis, RedisCluster

from support.cluster.nodes import on_all_nodes
from support.cluster.servers import server_binary
from support.waiting import eventually, seconds_from_now


@asynccontextmanager
async def running_cluster(product: str, data_dir: Path) -> AsyncIterator[EmbeddedCluster]:
    """Run a cluster of three primaries, on free ports."""
    cluster = EmbeddedCluster(data_dir, server_binary(product), {"appendfsync": "no"})
    await cluster.start()
    try:
        yield cluster
    finally:
        await cluster.stop()


@asynccontextmanager
async def running_node(product: str, directory: Path, *config: str) -> AsyncIterator[int]:
    """Run a single server with these lines of configuration; yields its port. `cluster-enabled yes` assigns all slots
    to it."""
    port, bus_port = free_ports(HOST, 2)
    lines = [f"port {port}", f"bind {HOST}", f"dir {directory}", 'save ""', *config]
    clustered = "cluster-enabled yes" in config
    if clustered:
        lines.append(f"cluster-port {bus_port}")
    program = Program("node", [server_binary(product), "-"], stdin="\n".join([*lines, ""]).encode())
    child = await Child.start(program)
    try:
        async with Redis(host=HOST, port=port) as client:
            await eventually(client.ping)
            if clustered:
                await client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
        yield port
    finally:
        await child.stop(grace_seconds=10)


@asynccontextmanager
async def connected(
    url: str,
    *,
    max_pending_bytes: int = 2**26,
    stalled_seconds: float = 2.0,
    connect_timeout_seconds: float = 1.0,
    **options: Any,
) -> AsyncIterator[Cluster]:
    """Open the service's own client of a cluster."""
    topology = Topology(url, connect_timeout_seconds=connect_timeout_seconds)
    cluster = Cluster(topology, max_pending_bytes=max_pending_bytes, stalled_seconds=stalled_seconds, **options)
    try:
        await cluster.open()
        yield cluster
    finally:
        await cluster.close()


@asynccontextmanager
async def writing_to_disk(embedded: EmbeddedCluster, sync: str) -> AsyncIterator[ClusterMembershipStore]:
    """A store with durability `DISK`; nodes sync by this policy (`appendfsync`) meanwhile."""
    await on_all_nodes(embedded, "CONFIG", "SET", "appendfsync", sync)
    try:
        async with connected(embedded.url, durability=Durability.DISK, confirming_replicas=0) as cluster:
            yield ClusterMembershipStore(cluster)
    finally:
        await on_all_nodes(embedded, "CONFIG", "SET", "appendfsync", "no")


@asynccontextmanager
async def emptied(embedded: EmbeddedCluster) -> AsyncIterator[RedisCluster]:
    """Empty a cluster; yields a redis-py client of it."""
    async with RedisCluster.from_url(embedded.url) as plain:
        await plain.flushall(target_nodes=RedisCluster.PRIMARIES)
        yield plain


def send_again(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, have the service's client send everything twice, as if each first answer had been lost."""
    execute = cluster.execute

    async def sent_again(*arguments: Any, **options: Any) -> Any:
        await execute(*arguments, **options)
        return await execute(*arguments, **options)

    monkeypatch.setattr(cluster, "execute", sent_again)


async def all_take_writes(cluster: Cluster) -> bool:
    """Whether every slot has a primary that accepts writes."""
    states = await ClusterNodeStates(cluster).look(seconds_from_now())
    return all(state.problem is None for state in states)
