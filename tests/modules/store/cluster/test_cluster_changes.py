"""Slots that move while calls are under way: MOVED and ASK (the cluster specification, "Redirection")."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.errors import AudienceError
from instantaudience_server.observation.metrics import STORE_PRIMARY_CHANGES
from instantaudience_server.store import catalog_store
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from instantaudience_server.store.cluster import routes
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.cluster.topology import MOVE
from instantaudience_server.store.interfaces.catalog import Kind, Outcome, Write
from instantaudience_server.store.interfaces.jobs import Job, Phase
from instantaudience_server.store.interfaces.memberships import NEVER, REMOVE
from instantaudience_server.store.jobs.job_store import ClusterJobStore
from instantaudience_server.store.keys import (
    CATALOG_CHANGES,
    CATALOG_MEMBERS,
    CATALOG_SEGMENTS,
    JOB_NUMBERS,
    SUPPRESSING_MEMBERS,
    key_slot,
)
from instantaudience_server.store.membership_store import ClusterMembershipStore
from instantaudience_server.store.suppression_store import ClusterSuppressionStore
from instantaudience_server.store.whole_keys import Kind as KeyKind
from instantaudience_server.store.whole_keys import WholeKeys
from redis.asyncio import RedisCluster
from support.cluster.nodes import Migration, migration_of, on_all_nodes, on_node, owner_of, whole
from support.cluster.running import connected, writing_to_disk
from support.cluster.users import for_each, of_users, users_of_slot, write
from support.waiting import eventually, seconds_from_now

SLOT = 100
KEYS = users_of_slot(SLOT, 12)


@pytest.fixture
async def migration(embedded: EmbeddedCluster) -> AsyncIterator[Migration]:
    """The slot is to move; when the test is over, it is where it was."""
    async with migration_of(embedded, SLOT) as migration:
        yield migration


async def errors(embedded: EmbeddedCluster, name: str) -> int:
    """How often all nodes have answered with an error."""
    stats: list[dict[str, Any]] = await on_all_nodes(embedded, "INFO", "errorstats")
    return sum(node.get(f"errorstat_{name}", {"count": 0})["count"] for node in stats)


async def test_a_slot_that_has_moved_is_followed_and_learnt(
    store: ClusterMembershipStore, embedded: EmbeddedCluster, migration: Migration
) -> None:
    await write(store, for_each(KEYS, {NEVER: {1: 1}}), seconds_from_now())
    await migration.begin()
    assert await migration.move_keys() == len(KEYS)
    await migration.end()
    before = await errors(embedded, "MOVED")
    await write(store, for_each(KEYS, {NEVER: {2: 2}}), seconds_from_now())
    assert await errors(embedded, "MOVED") > before
    await asyncio.sleep(0)
    before = await errors(embedded, "MOVED")
    assert await store.read(KEYS, seconds_from_now()) == [{1: (1, NEVER), 2: (2, NEVER)}] * len(KEYS)
    assert await errors(embedded, "MOVED") == before


async def test_a_move_is_counted_that_is_met_just_after_the_topology_was_asked_for(
    cluster: Cluster, store: ClusterMembershipStore, migration: Migration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the pause that follows an answer: that answer is from before the move."""
    monkeypatch.setattr(routes, "REFRESH_PAUSE_SECONDS", 1)
    await migration.begin()
    cluster.routes.look_again()
    await asyncio.sleep(0.5)
    await migration.end()
    moves = STORE_PRIMARY_CHANGES.labels(MOVE)
    before = moves._value.get()
    await write(store, for_each(KEYS[:1], {NEVER: {1: 1}}), seconds_from_now())

    async def counted() -> None:
        assert moves._value.get() == before + 1

    await eventually(counted)


async def test_a_slot_under_way_is_written_on_both_nodes(
    store: ClusterMembershipStore, embedded: EmbeddedCluster, migration: Migration
) -> None:
    """Users that have not moved yet are served by the source, others and new ones by the target, after ASKING."""
    there, new = KEYS[:6], KEYS[6:]
    await write(store, for_each(there, {NEVER: {1: 1, 9: 9}}), seconds_from_now())
    await migration.begin()
    asked, moved = await errors(embedded, "ASK"), await errors(embedded, "MOVED")
    await write(store, for_each(KEYS, {NEVER: {2: 2}, REMOVE: {9: 0}}), seconds_from_now())
    assert await errors(embedded, "ASK") > asked
    assert await errors(embedded, "MOVED") == moved
    assert await store.read(KEYS, seconds_from_now()) == [
        *[{1: (1, NEVER), 2: (2, NEVER)}] * len(there),
        *[{2: (2, NEVER)}] * len(new),
    ]
    assert await migration.move_keys() == len(there)
    await write(store, for_each(KEYS, {NEVER: {3: 3}}), seconds_from_now())
    await migration.end()
    assert await store.read(KEYS, seconds_from_now()) == [
        *[{1: (1, NEVER), 2: (2, NEVER), 3: (3, NEVER)}] * len(there),
        *[{2: (2, NEVER), 3: (3, NEVER)}] * len(new),
    ]


async def test_no_write_is_lost_or_fails_while_a_slot_moves(
    cluster: Cluster, embedded: EmbeddedCluster, migration: Migration
) -> None:
    store = ClusterMembershipStore(cluster)
    counts = dict.fromkeys(KEYS, 0)
    moving = True

    async def keep_writing(key: bytes) -> None:
        """Join one more segment with each call."""
        while moving:
            count = counts[key] + 1
            await write(store, of_users({key: {NEVER: {count: count, 100_000: count}}}), seconds_from_now())
            counts[key] = count

    async def each_has_written_again() -> None:
        before = dict(counts)

        async def has_written() -> None:
            assert all(counts[key] > before[key] for key in KEYS)

        await eventually(has_written)

    writers = [asyncio.create_task(keep_writing(key)) for key in KEYS]
    await each_has_written_again()
    await migration.begin()
    await each_has_written_again()
    await migration.move_keys()
    await migration.end()
    await each_has_written_again()
    await write(store, of_users({KEYS[0]: {NEVER: {100_001: 1}}}), seconds_from_now())
    moving = False
    await asyncio.gather(*writers)
    read = await store.read(KEYS, seconds_from_now())
    for memberships, count in zip(read, counts.values(), strict=True):
        memberships.pop(100_001, None)
        assert memberships == {
            **{segment: (segment, NEVER) for segment in range(1, count + 1)},
            100_000: (count, NEVER),
        }


async def test_what_is_confirmed_is_written_while_its_slot_moves(
    embedded: EmbeddedCluster, cluster: Cluster, migration: Migration
) -> None:
    """Neither node takes a mark in that slot: the source says ASK, as it has none there, and the target MOVED."""
    there, new = KEYS[:6], KEYS[6:]
    plain = ClusterMembershipStore(cluster)
    await write(plain, for_each(there, {NEVER: {1: 1}}), seconds_from_now())
    async with writing_to_disk(embedded, "always") as store:
        await migration.begin()
        for keys in (there, new, KEYS):
            await write(store, for_each(keys, {NEVER: {2: 2}}), seconds_from_now())
        assert await migration.move_keys() == len(there)
        await migration.end()
        await write(store, for_each(KEYS, {NEVER: {3: 3}}), seconds_from_now())
        found = await store.read(KEYS, seconds_from_now())
    assert found[:6] == [{1: (1, NEVER), 2: (2, NEVER), 3: (3, NEVER)}] * 6
    assert found[6:] == [{2: (2, NEVER), 3: (3, NEVER)}] * 6


async def change_catalog(cluster: Cluster, number: int, deadline: float) -> None:
    owner = Write(Kind.MEMBER, number, None, b"owner")
    assert await ClusterCatalogStore(cluster).write([owner], deadline) == [Outcome.DONE]


async def suppress(cluster: Cluster, number: int, deadline: float) -> None:
    user = users_of_slot(SLOT + number, 1)
    await ClusterSuppressionStore(cluster).suppress(number, user, 1, NEVER, (1, 2), f"{number}", deadline)


async def create_job(cluster: Cluster, number: int, deadline: float) -> None:
    now_ms = time.time_ns() // 1_000_000
    job = Job(f"job{number}", 0, 1, Phase.STARTING, now_ms, now_ms, now_ms + 60_000)
    made = await ClusterJobStore(cluster).create(job, f"url{number}", deadline)
    assert made is not None
    assert made.number == number


async def catalog_changes(plain: RedisCluster) -> int:
    assert await plain.hlen(CATALOG_MEMBERS) == await plain.xlen(CATALOG_CHANGES)
    return int(await plain.xlen(CATALOG_CHANGES))


async def suppressing_members(plain: RedisCluster) -> int:
    return int(await plain.hlen(SUPPRESSING_MEMBERS))


async def created_jobs(plain: RedisCluster) -> int:
    return int(await plain.get(JOB_NUMBERS))


@pytest.mark.parametrize(
    ("change", "made", "key"),
    [
        (change_catalog, catalog_changes, CATALOG_MEMBERS),
        (suppress, suppressing_members, SUPPRESSING_MEMBERS),
        (create_job, created_jobs, JOB_NUMBERS),
    ],
    ids=["catalog", "suppressions", "jobs"],
)
async def test_what_touches_several_keys_waits_for_its_slot_and_is_made_once(
    cluster: Cluster,
    embedded: EmbeddedCluster,
    plain: RedisCluster,
    change: Callable[[Cluster, int, float], Awaitable[None]],
    made: Callable[[RedisCluster], Awaitable[int]],
    key: bytes,
) -> None:
    """Until its deadline; then nothing is made."""
    await change(cluster, 1, seconds_from_now())
    async with migration_of(embedded, key_slot(key)) as migration:
        await migration.begin()
        await migration.move_keys(1)
        with pytest.raises(AudienceError):
            await change(cluster, 2, seconds_from_now(0.3))
        waiting = asyncio.ensure_future(change(cluster, 2, seconds_from_now(60)))
        before = await errors(embedded, "TRYAGAIN")

        async def was_asked() -> None:
            assert await errors(embedded, "TRYAGAIN") > before

        await eventually(was_asked)
        await migration.move_keys()
        assert not waiting.done()
        await migration.end()
        await waiting
    assert await made(plain) == 2


async def of_memberships(cluster: Cluster, key: bytes) -> set[int]:
    (memberships,) = await ClusterMembershipStore(cluster).read([key], seconds_from_now())
    return set(memberships)


async def of_catalog(cluster: Cluster, _: bytes) -> set[int]:
    return {int(record) async for _, page in ClusterCatalogStore(cluster).load(5) for record in page}


async def of_backup(cluster: Cluster, key: bytes) -> set[int]:
    parts = WholeKeys(cluster, seconds_from_now).read(KeyKind.HASH, [key])
    return {int(field) async for found in parts for part in found for field in part.values[::3]}


@pytest.mark.parametrize(
    ("fields", "key", "questions"),
    [(of_memberships, KEYS[0], 3), (of_catalog, CATALOG_SEGMENTS, 4), (of_backup, KEYS[0], 2)],
)
async def test_a_hash_is_read_whole_whose_slot_moves_meanwhile(
    cluster: Cluster,
    embedded: EmbeddedCluster,
    plain: RedisCluster,
    fields: Callable[[Cluster, bytes], Awaitable[set[int]]],
    key: bytes,
    questions: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After two of its parts: the node that has it then places its fields otherwise, and the other's cursor means
    nothing to it. A failover and a restart are the same to who reads."""
    numbers = range(1, 3001)
    await plain.hset(key.decode(), mapping={str(number): str(number) for number in numbers})  # type: ignore[misc]
    monkeypatch.setattr(catalog_store, "RECORDS_AT_ONCE", 1000)
    execute, asked = cluster.execute, itertools.count(1)
    async with migration_of(embedded, key_slot(key)) as migration:

        async def answered(*arguments: Any, **options: Any) -> list[Any]:
            replies = await execute(*arguments, **options)
            if next(asked) == questions:
                await migration.begin()
                await migration.move_keys()
                await migration.end()
            return replies

        monkeypatch.setattr(cluster, "execute", answered)
        assert await fields(cluster, key) == set(numbers)


async def test_a_slot_that_nobody_serves_is_unavailable_until_somebody_does(
    store: ClusterMembershipStore, embedded: EmbeddedCluster
) -> None:
    """The node answers CLUSTERDOWN; other slots do not notice."""
    owner = await owner_of(embedded, SLOT)
    await write(store, for_each(KEYS, {NEVER: {1: 1}}), seconds_from_now())
    await on_node(owner, "CLUSTER", "DELSLOTS", SLOT)
    try:
        waiting = asyncio.create_task(write(store, for_each(KEYS, {NEVER: {2: 2}}), seconds_from_now(20)))
        (other,) = users_of_slot(SLOT + 1, 1)
        await write(store, of_users({other: {NEVER: {1: 1}}}), seconds_from_now())
        while not await errors(embedded, "CLUSTERDOWN"):  # noqa: ASYNC110 - it tells no one
            await asyncio.sleep(0.01)
        assert not waiting.done()
    finally:
        await on_node(owner, "CLUSTER", "ADDSLOTS", SLOT)
    await waiting
    assert await store.read(KEYS, seconds_from_now()) == [{1: (1, NEVER), 2: (2, NEVER)}] * len(KEYS)


async def test_starts_on_a_cluster_of_which_a_slot_is_not_served(embedded: EmbeddedCluster) -> None:
    owner = await owner_of(embedded, SLOT)
    await on_node(owner, "CLUSTER", "DELSLOTS", SLOT)
    try:
        async with connected(embedded.url) as cluster:
            store = ClusterMembershipStore(cluster)
            (other,) = users_of_slot(SLOT + 1, 1)
            await write(store, of_users({other: {NEVER: {1: 1}}}), seconds_from_now())
            waiting = asyncio.create_task(write(store, for_each(KEYS, {NEVER: {2: 2}}), seconds_from_now(20)))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            await on_node(owner, "CLUSTER", "ADDSLOTS", SLOT)
            await waiting
    finally:
        if await slots_missing(embedded):
            await on_node(owner, "CLUSTER", "ADDSLOTS", SLOT)
        await whole(embedded)


async def slots_missing(embedded: EmbeddedCluster) -> bool:
    return any(info["cluster_slots_assigned"] != "16384" for info in await on_all_nodes(embedded, "CLUSTER INFO"))


async def test_nodes_that_disagree_are_not_asked_without_a_pause(
    store: ClusterMembershipStore, embedded: EmbeddedCluster
) -> None:
    """Each says that the other one serves the slot; until it is settled, to follow both would take all time."""
    owner = await owner_of(embedded, SLOT)
    other = next(port for port in embedded.ports if port != owner)

    async def owner_says(port: int) -> None:
        await on_node(owner, "CLUSTER", "SETSLOT", SLOT, "NODE", await on_node(port, "CLUSTER", "MYID"))

    before = await errors(embedded, "MOVED")
    await owner_says(other)
    try:
        writing = asyncio.create_task(write(store, for_each(KEYS[:1], {NEVER: {1: 1}}), seconds_from_now(20)))

        async def are_asked_again() -> None:
            assert await errors(embedded, "MOVED") > before + 8

        await eventually(are_asked_again)
        assert await errors(embedded, "MOVED") < before + 100
    finally:
        await owner_says(owner)
    await writing
    await whole(embedded)
