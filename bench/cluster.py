"""The cluster of a benchmark: starting, filling and inspecting it."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from instantaudience_server.clock import SystemClock
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.embedded.node import HOST
from instantaudience_server.store.interfaces.memberships import Alike, Changes
from instantaudience_server.store.keys import PLATFORM_PREFIX, membership_key
from instantaudience_server.store.membership_store import ClusterMembershipStore, ClusterWriting
from redis.asyncio import Redis
from support.cluster import running

from bench import processes
from bench.workload import CAMPAIGNS, EXPIRATION_MINUTES, FIRST_USER, POOL, Shape

STALLED_SECONDS = 60.0
AT_ONCE = 1000
UNDER_WAY = 8
"""How many users are written at once, and how many such writes are in flight."""
connected = partial(running.connected, max_pending_bytes=2**30, stalled_seconds=STALLED_SECONDS)
"""Opens the service's own client of a cluster."""
LOOK_SECONDS = 0.2
STEADY = {"auto-aof-rewrite-percentage": "0"}
"""Disables rewrites of append-only files, which would occupy nodes for seconds, and by chance affect only one of the
contenders."""


class Holding(NamedTuple):
    """Totals of all nodes, in bytes: memory in use and resident, append-only files, bytes received and sent so far; and
    CPU time in seconds."""

    used: int
    resident: int
    files: int
    received: int
    sent: int
    processor_seconds: float


@asynccontextmanager
async def running_cluster(config: Mapping[str, str] | None = None) -> AsyncIterator[tuple[Path, EmbeddedCluster]]:
    """Run an embedded cluster with additional configuration of its nodes; yields its directory, which others may use
    too, and the cluster."""
    with TemporaryDirectory(prefix="instant-audience-bench-") as name:
        directory = Path(name)
        cluster = EmbeddedCluster(directory / "data", extra_config=config)
        await cluster.start()
        try:
            yield directory, cluster
        finally:
            await cluster.stop()


async def fill(url: str, places: Sequence[int], blocks: int, *, first_segment: int = 1) -> None:
    """Write the users with these places in the pool, as calls with this many blocks would."""
    async with connected(url) as cluster:
        store, under_way = ClusterMembershipStore(cluster), deque[ClusterWriting]()
        for start in range(0, len(places), AT_ONCE):
            changes = _changes(places[start : start + AT_ONCE], blocks, first_segment)
            deadline = asyncio.get_running_loop().time() + STALLED_SECONDS
            under_way.append(store.write(changes, deadline))
            if len(under_way) == UNDER_WAY:
                await _written(under_way.popleft())
        for writing in under_way:
            await _written(writing)


async def fill_anew(embedded: EmbeddedCluster, blocks: int) -> None:
    """Delete all users, and write those of the pool with this many blocks each, in random order.

    Nodes keep users in memory in the order of their creation, and real calls do not name them in that order, so the
    users of a call are not adjacent in memory.
    """
    for port in embedded.ports:
        async with Redis(host=HOST, port=port) as node, node.pipeline(transaction=False) as removal:
            async for key in node.scan_iter(f"{PLATFORM_PREFIX.decode()}*", count=AT_ONCE):
                removal.unlink(key)
            await removal.execute()
    await fill(embedded.url, random.Random(POOL).sample(range(POOL), POOL), blocks)


async def look(embedded: EmbeddedCluster) -> Holding:
    """Inspect all nodes, once none of them is rewriting its file."""
    infos = [await _info(port) for port in embedded.ports]
    while any(info["aof_rewrite_in_progress"] for info in infos):
        await asyncio.sleep(LOOK_SECONDS)
        infos = [await _info(port) for port in embedded.ports]
    names = ("used_memory", "used_memory_rss", "aof_current_size", "total_net_input_bytes", "total_net_output_bytes")
    used, resident, files, received, sent = (sum(info[name] for info in infos) for name in names)
    busy = processes.processor_seconds(node.child.pid for node in embedded.nodes)
    return Holding(used, resident, files, received, sent, busy)


def _changes(places: Sequence[int], blocks: int, first_segment: int) -> Changes:
    end_ms = SystemClock().now_ms() + EXPIRATION_MINUTES * 60_000
    changes = []
    for campaign in range(CAMPAIGNS):
        keys = [membership_key(b"p", b"%d" % (FIRST_USER + place)) for place in places if place % CAMPAIGNS == campaign]
        values = {segment_id + first_segment - 1: value for segment_id, value in Shape(1, blocks).blocks_of(campaign)}
        changes.append(Alike(keys, {end_ms: values}))
    return changes


async def _written(writing: ClusterWriting) -> None:
    await writing.done
    for error in writing.failures().values():
        raise error


async def _info(port: int) -> dict[str, int]:
    async with Redis(host=HOST, port=port) as client:
        return dict(await client.info())
