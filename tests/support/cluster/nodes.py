"""Commands to single nodes of a cluster, and slot migrations."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.embedded.node import HOST
from instantaudience_server.store.keys import SLOTS
from redis.asyncio import Redis, RedisCluster

from support.waiting import eventually


async def on_node(port: int, *words: Any, password: str | None = None) -> Any:
    """Send a command to one node."""
    async with Redis(host=HOST, port=port, password=password, decode_responses=True) as client:
        return await client.execute_command(*words)


async def on_all_nodes(embedded: EmbeddedCluster, *words: Any) -> list[Any]:
    """Send a command to each node."""
    return [await on_node(port, *words) for port in embedded.ports]


async def carried_out(plain: RedisCluster, command: str) -> int:
    """How often the nodes have executed a command."""
    answers = await plain.info("commandstats", target_nodes=RedisCluster.PRIMARIES)
    return sum(node.get(f"cmdstat_{command}", {"calls": 0})["calls"] for node in answers.values())


def pids_of(embedded: EmbeddedCluster) -> list[int]:
    """The process IDs of the nodes."""
    return [node.child.pid for node in embedded.nodes]


async def whole(embedded: EmbeddedCluster) -> None:
    """Wait until every node serves, and sees all slots covered."""

    async def check() -> None:
        for info in await on_all_nodes(embedded, "CLUSTER INFO"):
            assert info["cluster_state"] == "ok"
            assert (info["cluster_slots_ok"], info["cluster_slots_pfail"]) == (str(SLOTS), "0")

    await eventually(check)


async def down(port: int) -> None:
    """Wait until a node reports that the cluster is down."""

    async def check() -> None:
        assert (await on_node(port, "CLUSTER INFO"))["cluster_state"] == "fail"

    await eventually(check)


async def owner_of(embedded: EmbeddedCluster, slot: int) -> int:
    """The port of the node that serves a slot."""
    for first, last, primary, *_ in await on_node(embedded.ports[0], "CLUSTER", "SLOTS"):
        if first <= slot <= last:
            return int(primary[1])
    raise AssertionError(f"nobody serves slot {slot}")


class Ported(Protocol):
    """A cluster whose nodes have these client ports."""

    @property
    def ports(self) -> tuple[int, ...]: ...


class Migration:
    """The migration of a slot from one node to another, step by step (see CLUSTER SETSLOT)."""

    def __init__(self, cluster: Ported, slot: int, source: int, target: int) -> None:
        self._embedded = cluster
        self._slot = slot
        self._source = source
        self._target = target

    async def begin(self) -> None:
        """From now on, the source answers ASK for keys that it does not hold."""
        source_id, target_id = [await on_node(port, "CLUSTER", "MYID") for port in (self._source, self._target)]
        await on_node(self._target, "CLUSTER", "SETSLOT", self._slot, "IMPORTING", source_id)
        await on_node(self._source, "CLUSTER", "SETSLOT", self._slot, "MIGRATING", target_id)

    async def move_keys(self, most: float = math.inf) -> int:
        """Move every key, or at most `most`, one by one; returns how many were moved."""
        moved = 0
        while moved < most and (keys := await on_node(self._source, "CLUSTER", "GETKEYSINSLOT", self._slot, 1)):
            await on_node(self._source, "MIGRATE", HOST, self._target, keys[0], 0, 5000)
            moved += 1
        return moved

    async def end(self) -> None:
        """From now on, the source answers MOVED."""
        target_id = await on_node(self._target, "CLUSTER", "MYID")
        others = [port for port in self._embedded.ports if port not in (self._source, self._target)]
        for port in (self._target, self._source, *others):
            await on_node(port, "CLUSTER", "SETSLOT", self._slot, "NODE", target_id)

    async def carry_out(self) -> None:
        """All steps, one after the other."""
        await self.begin()
        await self.move_keys()
        await self.end()


async def away_from_owner(cluster: Ported, slot: int) -> Migration:
    """The migration of a slot from the node that serves it to another one."""
    source = await owner_of(cluster, slot)
    return Migration(cluster, slot, source, next(port for port in cluster.ports if port != source))


@asynccontextmanager
async def migration_of(cluster: EmbeddedCluster, slot: int) -> AsyncIterator[Migration]:
    """Prepare the migration of a slot; at the end, the slot is moved back."""
    source = await owner_of(cluster, slot)
    try:
        yield await away_from_owner(cluster, slot)
    finally:
        await on_all_nodes(cluster, "CLUSTER", "SETSLOT", slot, "STABLE")
        if (owner := await owner_of(cluster, slot)) != source:
            await Migration(cluster, slot, owner, source).carry_out()
        await whole(cluster)
