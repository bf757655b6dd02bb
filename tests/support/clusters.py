"""Real clusters for tests, and ways to look at them and to disturb them."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.embedded.node import HOST
from instantaudience_server.processes import Child, Program, free_ports
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.cluster.topology import Topology
from instantaudience_server.store.interfaces.memberships import Alike, Changes, MembershipStore, UserChanges
from instantaudience_server.store.keys import SLOTS, key_slot
from instantaudience_server.store.node_states import ClusterNodeStates
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisError
from support.redis_servers import server_binaries


@asynccontextmanager
async def running_cluster(product: str, data_dir: Path) -> AsyncIterator[EmbeddedCluster]:
    """Three primaries, on free ports."""
    cluster = EmbeddedCluster(data_dir, server_binaries()[product], {"appendfsync": "no"})
    await cluster.start()
    try:
        yield cluster
    finally:
        await cluster.stop()


@asynccontextmanager
async def running_node(product: str, directory: Path, *config: str) -> AsyncIterator[int]:
    """A single server with these lines of configuration; its port. `cluster-enabled yes` gives it all slots."""
    port, bus_port = free_ports(HOST, 2)
    lines = [f"port {port}", f"bind {HOST}", f"dir {directory}", 'save ""', *config]
    clustered = "cluster-enabled yes" in config
    if clustered:
        lines.append(f"cluster-port {bus_port}")
    program = Program("node", [server_binaries()[product], "-"], stdin="\n".join([*lines, ""]).encode())
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
    """The service's way to a cluster."""
    topology = Topology(url, connect_timeout_seconds=connect_timeout_seconds)
    cluster = Cluster(topology, max_pending_bytes=max_pending_bytes, stalled_seconds=stalled_seconds, **options)
    try:
        await cluster.open()
        yield cluster
    finally:
        await cluster.close()


@asynccontextmanager
async def emptied(embedded: EmbeddedCluster) -> AsyncIterator[RedisCluster]:
    """redis-py's way to a cluster, which holds nothing any more."""
    async with RedisCluster.from_url(embedded.url) as plain:
        await plain.flushall(target_nodes=RedisCluster.PRIMARIES)
        yield plain


async def all_take_writes(cluster: Cluster) -> bool:
    """Whether every slot has a primary that takes writes."""
    states = await ClusterNodeStates(cluster).look(seconds_from_now())
    return all(state.problem is None for state in states)


def seconds_from_now(seconds: float = 5.0) -> float:
    """A deadline."""
    return asyncio.get_running_loop().time() + seconds


async def eventually(check: Callable[[], Awaitable[Any]], seconds: float = 20.0) -> Any:
    """Until the check passes: neither fails nor loses its connection. Raises why it did not last, after so long."""
    last: Exception | None = None
    try:
        async with asyncio.timeout(seconds) as limit:
            while True:
                try:
                    return await check()
                except (AssertionError, RedisError) as error:
                    last = error
                await asyncio.sleep(0.02)
    except TimeoutError:
        if last is None or not limit.expired():
            raise
        raise last from None


async def on_node(port: int, *words: Any, password: str | None = None) -> Any:
    """One command to one node."""
    async with Redis(host=HOST, port=port, password=password, decode_responses=True) as client:
        return await client.execute_command(*words)


async def on_all_nodes(embedded: EmbeddedCluster, *words: Any) -> list[Any]:
    """One command to each node."""
    return [await on_node(port, *words) for port in embedded.ports]


def pids_of(embedded: EmbeddedCluster) -> list[int]:
    """The nodes' processes."""
    return [node.child.pid for node in embedded.nodes]


async def whole(embedded: EmbeddedCluster) -> None:
    """Wait until every node serves and sees all slots."""

    async def check() -> None:
        for info in await on_all_nodes(embedded, "CLUSTER INFO"):
            assert info["cluster_state"] == "ok"
            assert (info["cluster_slots_ok"], info["cluster_slots_pfail"]) == (str(SLOTS), "0")

    await eventually(check)


async def owner_of(embedded: EmbeddedCluster, slot: int) -> int:
    """The port of the node that serves a slot."""
    for first, last, primary, *_ in await on_node(embedded.ports[0], "CLUSTER", "SLOTS"):
        if first <= slot <= last:
            return int(primary[1])
    raise AssertionError(f"nobody serves slot {slot}")


def for_each(keys: Iterable[bytes], user_changes: UserChanges) -> Changes:
    """The same changes for each user."""
    return [Alike(list(keys), user_changes)]


def of_users(changes: Mapping[bytes, UserChanges]) -> Changes:
    """Changes of each user by itself."""
    return [Alike([key], user_changes) for key, user_changes in changes.items()]


def user_key(user_id: int) -> bytes:
    """The key of a platform user (design, "Storage")."""
    return b"m:p:%d" % user_id


def users_of_slot(slot: int, count: int) -> list[bytes]:
    """The keys of platform users that live in one slot."""
    keys: list[bytes] = []
    user_id = 0
    while len(keys) < count:
        user_id += 1
        key = user_key(user_id)
        if key_slot(key) == slot:
            keys.append(key)
    return keys


def user_of_slots(first: int, last: int) -> bytes:
    """The key of a platform user that lives in a range of slots."""
    user_ids = iter(range(1, 10**6))
    return next(key for user_id in user_ids if first <= key_slot(key := user_key(user_id)) <= last)


def users_of_slots(first: int, last: int, count: int) -> list[str]:
    """Platform users that live in a range of slots."""
    user_ids = (user_id for user_id in range(1, 10**6) if first <= key_slot(user_key(user_id)) <= last)
    return [str(user_id) for user_id in islice(user_ids, count)]


class Ported(Protocol):
    """A cluster whose nodes have these client ports."""

    @property
    def ports(self) -> tuple[int, ...]: ...


class Migration:
    """A slot on its way from one node to another, step by step (CLUSTER SETSLOT's documentation)."""

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
        """Move every key, or so many, one by one; how many there were."""
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


@asynccontextmanager
async def migration_of(cluster: EmbeddedCluster, slot: int) -> AsyncIterator[Migration]:
    """The slot is to move; at the end, it is where it was."""
    source = await owner_of(cluster, slot)
    target = next(port for port in cluster.ports if port != source)
    try:
        yield Migration(cluster, slot, source, target)
    finally:
        await on_all_nodes(cluster, "CLUSTER", "SETSLOT", slot, "STABLE")
        if await owner_of(cluster, slot) != source:
            back = Migration(cluster, slot, target, source)
            await back.begin()
            await back.move_keys()
            await back.end()
        await whole(cluster)


async def write(store: MembershipStore, changes: Changes, deadline: float) -> None:
    """Write all; raises what the first one that was not written failed with."""
    writing = store.write(changes, deadline)
    await writing.done
    for error in writing.failures().values():
        raise error
