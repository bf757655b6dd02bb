"""Connections and nodes that fail while calls are under way."""

import asyncio
import gc
import os
import signal
import time
import weakref
from collections.abc import AsyncIterator, Callable

import pytest
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.embedded.node import Node
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.observation.metrics import STORE_REFUSALS
from instantaudience_server.observation.telemetry import Event
from instantaudience_server.store.cluster import commands
from instantaudience_server.store.cluster.batch import Listed, Part
from instantaudience_server.store.interfaces.memberships import NEVER
from instantaudience_server.store.keys import key_slot, mark_key
from instantaudience_server.store.membership_store import ClusterMembershipStore
from structlog.testing import capture_logs
from support.cluster.nodes import on_all_nodes, on_node, pids_of, whole
from support.cluster.running import connected
from support.cluster.users import for_each, of_users, user_key, user_of_slots, write
from support.service.processes import needs_proc, standing_still
from support.waiting import eventually, seconds_from_now, until

KEYS = [user_key(user_id) for user_id in range(1, 201)]
KEY_OF_NODE = [user_of_slots(0, 5460), user_of_slots(5461, 10922), user_of_slots(10923, 16383)]
NODES = pytest.mark.parametrize("number", [0, 1, 2])

Signal = Callable[[Node, signal.Signals], None]


@pytest.fixture
async def send(embedded: EmbeddedCluster) -> AsyncIterator[Signal]:
    """Sends a signal to a node; when the test is over, every node runs and serves again."""

    def to_node(node: Node, number: signal.Signals) -> None:
        os.kill(node.child.pid, number)

    yield to_node
    for node in embedded.nodes:
        if node.child.returncode is None:
            to_node(node, signal.SIGCONT)
    await whole(embedded)


async def test_calls_survive_lost_connections(store: ClusterMembershipStore, embedded: EmbeddedCluster) -> None:
    slices = [KEYS[start::20] for start in range(20)]
    counts = [0] * len(slices)
    killing = True

    async def keep_writing(number: int) -> None:
        while killing:
            count = counts[number] + 1
            changes = for_each(slices[number], {NEVER: {count: count, 100_000: count}})
            await write(store, changes, seconds_from_now(20))
            counts[number] = count

    writers = [asyncio.create_task(keep_writing(number)) for number in range(len(slices))]
    killed = 0
    while killed < 10 or min(counts) < 2:
        before = sum(counts)
        killed += sum(await on_all_nodes(embedded, "CLIENT", "KILL", "TYPE", "normal"))
        # On a busy machine, a connection that was just made would be lost before it was of use.
        await until(lambda: sum(counts) > before)  # noqa: B023 - it is over before there is another one
    killing = False
    await asyncio.gather(*writers)
    for keys, count in zip(slices, counts, strict=True):
        joined = {segment: (segment, NEVER) for segment in range(1, count + 1)}
        assert await store.read(keys, seconds_from_now()) == [{**joined, 100_000: (count, NEVER)}] * len(keys)


@pytest.mark.parametrize(
    ("fault", "repair"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),  # OOM
        (
            ("CONFIG", "SET", "min-replicas-to-write", "1"),
            ("CONFIG", "SET", "min-replicas-to-write", "0"),
        ),  # NOREPLICAS
    ],
    ids=["OOM", "NOREPLICAS"],
)
async def test_not_now_is_asked_again(
    store: ClusterMembershipStore, embedded: EmbeddedCluster, fault: tuple[str, ...], repair: tuple[str, ...]
) -> None:
    await on_all_nodes(embedded, *fault)
    try:
        with pytest.raises(AudienceError) as failed:
            await write(store, for_each(KEYS, {NEVER: {1: 1}}), seconds_from_now(0.15))
        assert failed.value.reason is Reason.UNAVAILABLE
        waiting = asyncio.create_task(write(store, for_each(KEYS, {NEVER: {1: 1}}), seconds_from_now(20)))
        await asyncio.sleep(0.05)
        assert not waiting.done()
    finally:
        await on_all_nodes(embedded, *repair)
    await waiting
    assert await store.read(KEYS, seconds_from_now()) == [{1: (1, NEVER)}] * len(KEYS)


async def test_each_node_is_named_with_its_own_problem(
    store: ClusterMembershipStore, embedded: EmbeddedCluster
) -> None:
    full, lonely, _ = embedded.ports
    await on_node(full, "CONFIG", "SET", "maxmemory", "1")
    await on_node(lonely, "CONFIG", "SET", "min-replicas-to-write", "1")
    try:
        with pytest.raises(AudienceError) as failed:
            await write(store, for_each(KEY_OF_NODE, {NEVER: {1: 1}}), seconds_from_now(0.5))
    finally:
        await on_node(full, "CONFIG", "SET", "maxmemory", "0")
        await on_node(lonely, "CONFIG", "SET", "min-replicas-to-write", "0")
    assert set(failed.value.nodes) == {f"127.0.0.1:{full} (OOM)", f"127.0.0.1:{lonely} (NOREPLICAS)"}


async def test_a_slot_that_no_node_serves_is_named(store: ClusterMembershipStore, embedded: EmbeddedCluster) -> None:
    key = user_of_slots(0, 5460)
    slot = key_slot(key)
    for port in embedded.ports:
        await on_node(port, "CLUSTER", "DELSLOTS", slot)
    try:
        with pytest.raises(AudienceError) as failed:
            await write(store, for_each([key], {NEVER: {1: 1}}), seconds_from_now(2))
    finally:
        await on_node(embedded.ports[0], "CLUSTER", "ADDSLOTS", slot)
        await whole(embedded)
    assert failed.value.nodes == [f"slot {slot} (no_primary)"]


async def test_what_is_asked_again_and_again_is_kept_once(embedded: EmbeddedCluster) -> None:
    """While a node refuses it: what waits is bounded, and how often it was asked is not counted."""
    listed = [commands.set_string_until(key, b"", 1) for key in KEYS]

    def refusals() -> float:
        return sum(STORE_REFUSALS.labels(f"127.0.0.1:{port}", "OOM")._value.get() for port in embedded.ports)

    async with connected(embedded.url) as cluster:
        await on_all_nodes(embedded, "CONFIG", "SET", "maxmemory", "1")
        try:
            before = refusals()
            batch = cluster.begin([Listed(listed)], seconds_from_now(60))

            async def was_asked_often() -> None:
                assert refusals() >= before + 12 * len(KEYS)

            await eventually(was_asked_often, 50)
            parts = [each for each in gc.get_objects() if isinstance(each, Part) and each.batch is batch]
            assert len(KEYS) <= len(parts) < 5 * len(KEYS)
        finally:
            await on_all_nodes(embedded, "CONFIG", "SET", "maxmemory", "0")
        await batch.done
        assert not batch.failures()


async def test_a_node_that_stands_still_is_unavailable_and_comes_back(embedded: EmbeddedCluster, send: Signal) -> None:
    async with connected(embedded.url, stalled_seconds=0.5, connect_timeout_seconds=0.5) as cluster:
        store = ClusterMembershipStore(cluster)
        await write(store, for_each(KEY_OF_NODE, {NEVER: {1: 1}}), seconds_from_now())
        send(embedded.nodes[1], signal.SIGSTOP)
        before = time.monotonic()
        with pytest.raises(AudienceError) as failed:
            await write(store, for_each(KEY_OF_NODE, {NEVER: {1: 2}}), seconds_from_now(2))
        assert failed.value.reason is Reason.UNAVAILABLE
        assert failed.value.retry_after_seconds
        assert [each.partition(" ")[0] for each in failed.value.nodes] == [f"127.0.0.1:{embedded.ports[1]}"]
        assert 1.9 < time.monotonic() - before < 6
        await write(store, for_each([KEY_OF_NODE[0], KEY_OF_NODE[2]], {NEVER: {1: 3}}), seconds_from_now())
        waiting = asyncio.create_task(write(store, of_users({KEY_OF_NODE[1]: {NEVER: {1: 4}}}), seconds_from_now(10)))
        await asyncio.sleep(0.6)
        send(embedded.nodes[1], signal.SIGCONT)
        await waiting
        assert [read[1] for read in await store.read(KEY_OF_NODE, seconds_from_now())] == [
            (3, NEVER),
            (4, NEVER),
            (3, NEVER),
        ]


async def test_when_all_nodes_stand_still_the_service_says_so_and_comes_back(
    embedded: EmbeddedCluster, send: Signal
) -> None:
    async with connected(embedded.url, stalled_seconds=0.3, connect_timeout_seconds=0.3) as cluster:
        store = ClusterMembershipStore(cluster)
        await write(store, for_each(KEY_OF_NODE, {NEVER: {1: 1}}), seconds_from_now())
        with capture_logs() as logs:
            for node in embedded.nodes:
                send(node, signal.SIGSTOP)
            with pytest.raises(AudienceError) as failed:
                await write(store, for_each(KEY_OF_NODE, {NEVER: {1: 2}}), seconds_from_now(3))
            for node in embedded.nodes:
                send(node, signal.SIGCONT)
            await write(store, for_each(KEY_OF_NODE, {NEVER: {1: 3}}), seconds_from_now(20))

            async def known() -> None:
                # Once each, however often the nodes were asked. On a busy machine, they may be late again after that.
                told = [entry["event"] for entry in logs]
                assert told[:2] == [Event.STORE_TOPOLOGY_UNKNOWN, Event.STORE_TOPOLOGY_KNOWN]

            await eventually(known)
        assert failed.value.reason is Reason.UNAVAILABLE


async def test_a_stalled_connection_is_replaced(embedded: EmbeddedCluster, send: Signal) -> None:
    """A node may answer a new connection while an old one is dead: firewalls forget them."""
    node = embedded.nodes[0]

    async def service_connections() -> set[str]:
        listed: str = await on_node(node.port, "CLIENT", "LIST", "TYPE", "NORMAL")
        fields = [dict(pair.split("=", 1) for pair in line.split(" ")) for line in listed.splitlines()]
        return {client["id"] for client in fields if client["cmd"] == "hsetex"}

    async with connected(embedded.url, stalled_seconds=0.2, connect_timeout_seconds=2.0) as cluster:
        store = ClusterMembershipStore(cluster)
        await write(store, of_users({KEY_OF_NODE[0]: {NEVER: {1: 1}}}), seconds_from_now())
        before = await service_connections()
        assert before
        send(node, signal.SIGSTOP)
        waiting = asyncio.create_task(write(store, of_users({KEY_OF_NODE[0]: {NEVER: {1: 2}}}), seconds_from_now(10)))
        await asyncio.sleep(0.5)
        send(node, signal.SIGCONT)
        await waiting

        async def replaced() -> None:
            assert not before & await service_connections()

        await eventually(replaced)


class _Watched(Listed):
    """Commands of which it can be seen whether anybody keeps them."""

    __slots__ = ("__weakref__",)


@needs_proc
async def test_what_is_given_up_is_not_kept_for_a_node_that_takes_nothing(embedded: EmbeddedCluster) -> None:
    """As long as it takes: what waits is bounded, and what nobody waits for any more is not counted."""
    command = commands.set_string_until(mark_key(0), bytes(100_000), 1)

    async with connected(embedded.url, stalled_seconds=60) as cluster:

        async def give_up(count: int) -> list[weakref.ref[_Watched]]:
            groups = [_Watched([command]) for _ in range(count)]
            batches = [cluster.begin([group], seconds_from_now(0.5)) for group in groups]
            await asyncio.wait([batch.done for batch in batches])
            return [weakref.ref(group) for group in groups]

        await cluster.execute([command], seconds_from_now())
        with standing_still(*pids_of(embedded)):
            await give_up(100)  # so much that the connection takes no more
            given_up = await give_up(300)

            async def are_let_go() -> None:
                await give_up(300)
                gc.collect()
                assert not any(each() for each in given_up)

            await eventually(are_let_go)
    await whole(embedded)


async def test_a_killed_node_takes_only_its_slots_with_it_until_it_is_back(
    store: ClusterMembershipStore, embedded: EmbeddedCluster, send: Signal
) -> None:
    await write(store, for_each(KEY_OF_NODE, {NEVER: {1: 1}}), seconds_from_now())
    send(embedded.nodes[2], signal.SIGKILL)
    with pytest.raises(AudienceError) as failed:
        await write(store, for_each(KEY_OF_NODE, {NEVER: {1: 2}}), seconds_from_now(0.5))
    assert failed.value.reason is Reason.UNAVAILABLE
    # It loads its data, and takes no writes for two seconds then; calls with time wait for it, others do not.
    waiting = asyncio.create_task(write(store, of_users({KEY_OF_NODE[2]: {NEVER: {2: 4}}}), seconds_from_now(60)))
    others = 0
    while not waiting.done():
        await write(store, for_each(KEY_OF_NODE[:2], {NEVER: {1: 3}}), seconds_from_now(20))
        others += 1
    await waiting
    assert others > 3
    (read,) = await store.read([KEY_OF_NODE[2]], seconds_from_now())
    assert read[2] == (4, NEVER)
