"""What an acknowledgement means: on a replica, on the disk (docs/adr/0030-durability.md). Real nodes, real replicas."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hiredis import ReplyError
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.memberships import forgetting as forgetting_module
from instantaudience_server.memberships.forgetting import Forgetting
from instantaudience_server.passwords.hashing import Passwords
from instantaudience_server.settings import Durability
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.cluster.commands import wait_for_replicas
from instantaudience_server.store.cluster.confirming import confirmation
from instantaudience_server.store.external_id_store import ClusterExternalIdStore
from instantaudience_server.store.interfaces.catalog import Kind, Write
from instantaudience_server.store.interfaces.jobs import KEPT_MS, Job, Phase
from instantaudience_server.store.interfaces.memberships import NEVER, REMOVE
from instantaudience_server.store.interfaces.sessions import Session
from instantaudience_server.store.interfaces.suppressions import ALL_MEMBERS
from instantaudience_server.store.jobs.job_store import ClusterJobStore
from instantaudience_server.store.keys import (
    CATALOG_VERSION,
    SLOTS,
    external_id_key,
    key_slot,
    mark_key,
)
from instantaudience_server.store.membership_store import ClusterMembershipStore
from instantaudience_server.store.restore_store import ClusterRestoreStore
from instantaudience_server.store.session_store import ClusterSessionStore
from instantaudience_server.store.suppression_store import ClusterSuppressionStore
from instantaudience_server.store.whole_keys import Kind as WholeKind
from instantaudience_server.store.whole_keys import Part, WholeKeys
from support.clocks import FakeClock
from support.cluster.nodes import on_all_nodes
from support.cluster.replicated import ReplicatedCluster, replica_stopped, replicated_cluster
from support.cluster.running import connected, writing_to_disk
from support.cluster.users import for_each, user_key, write
from support.parts.callers import caller
from support.parts.catalogs import OWN, begin, catalog_worker
from support.waiting import eventually, seconds_from_now

KEYS = [user_key(number) for number in range(200)]
KEY = user_key(1000)
REPLICA, DISK = Durability.REPLICA, Durability.DISK
END_MS = (int(time.time()) + 86_400) * 1000 + KEPT_MS
"""The time of something that is far ahead."""
REFUSED = ReplyError("MOVED 7 a:1")


@pytest.fixture(scope="module")
async def replicated(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ReplicatedCluster]:
    async with replicated_cluster(tmp_path_factory.mktemp("replicated")) as cluster:
        yield cluster


@asynccontextmanager
async def worker(replicated: ReplicatedCluster, durability: Durability) -> AsyncIterator[ClusterMembershipStore]:
    async with connected(replicated.url, durability=durability) as cluster:
        yield ClusterMembershipStore(cluster)


def test_every_slot_has_a_key_for_marks() -> None:
    assert [key_slot(mark_key(slot)) for slot in range(SLOTS)] == list(range(SLOTS))


def test_what_counts_as_confirmed(subtests: pytest.Subtests) -> None:
    """Of so many replicas; where there is none, nothing is on one."""
    for durability, replicas, replies, given in [
        (REPLICA, 0, (b"OK", 0), False),
        (REPLICA, 0, (b"OK", 1), True),
        (REPLICA, 2, (b"OK", 1), False),
        (REPLICA, 1, (REFUSED, 1), False),
        (REPLICA, 1, (b"OK", REFUSED), False),
        (DISK, 0, (b"OK", [1, 0]), True),
        (DISK, 0, (b"OK", [0, 1]), False),
        (DISK, 1, (b"OK", [1, 0]), False),
        (DISK, 1, (b"OK", [1, 1]), True),
        (DISK, 1, (REFUSED, [1, 1]), False),
    ]:
        with subtests.test(durability=durability, replicas=replicas, replies=replies, given=given):
            assert confirmation(durability, replicas=replicas, wait_seconds=1).given(replies) is given


def test_no_connection_waits_for_ever_for_a_confirmation() -> None:
    """Which is what a node takes 0 ms for."""
    assert confirmation(REPLICA, replicas=0, wait_seconds=0.0001).waiting == wait_for_replicas(1, 1)


@pytest.mark.parametrize("durability", Durability)
async def test_what_is_confirmed_is_written(replicated: ReplicatedCluster, durability: Durability) -> None:
    """Everything at once, and one after the other; and it is read."""
    async with worker(replicated, durability) as store:
        await write(store, for_each(KEYS, {NEVER: {1: 5, 2: 6}}), seconds_from_now(20))
        await asyncio.gather(*(write(store, for_each([key], {REMOVE: {2: 0}}), seconds_from_now(20)) for key in KEYS))
        assert await store.read(KEYS, seconds_from_now(20)) == [{1: (5, NEVER)}] * len(KEYS)


@pytest.mark.parametrize("durability", [REPLICA, DISK])
async def test_without_a_replica_nothing_is_acknowledged(replicated: ReplicatedCluster, durability: Durability) -> None:
    """Whoever says nothing of it is not kept, nor is the node's other work. With the replica, it is made good."""
    async with worker(replicated, durability) as store:
        await write(store, for_each([KEY], {NEVER: {1: 1}}), seconds_from_now(20))
        async with replica_stopped(replicated, KEY):
            with pytest.raises(AudienceError) as failed:
                await write(store, for_each([KEY], {NEVER: {1: 2}}), seconds_from_now(1))
            assert failed.value.reason is Reason.UNAVAILABLE
            writing = store.write(for_each([KEY], {NEVER: {1: 3}}), seconds_from_now(30))
            plain = store.write(for_each([KEY], {NEVER: {3: 3}}), seconds_from_now(20), Durability.PRIMARY)
            await plain.done
            assert not plain.failures()
            assert not writing.done.done()
            assert writing.unwritten() == {KEY}
        await writing.done
        assert not writing.failures()


async def test_without_a_replica_nobody_is_suppressed(replicated: ReplicatedCluster) -> None:
    """What people were promised must outlive a failover like any membership. With the replica, it is made good."""
    async with connected(replicated.url, durability=REPLICA) as cluster:
        store = ClusterSuppressionStore(cluster)

        async def suppress(seconds: float) -> None:
            await store.suppress(1, [KEY], 0, NEVER, (10**9, 10**9), "a", seconds_from_now(seconds))

        async with replica_stopped(replicated, KEY):
            with pytest.raises(AudienceError) as failed:
                await suppress(1)
            assert failed.value.reason is Reason.UNAVAILABLE
        await suppress(20)
        assert await store.find(1, [KEY], seconds_from_now(20)) == (frozenset([KEY]), {})
        await store.lift(1, [KEY], 0, "b", seconds_from_now(20))


async def create_session(cluster: Cluster, deadline: float) -> None:
    await ClusterSessionStore(cluster).create("hash", Session(1, 2, 0), END_MS, deadline)


async def end_session(cluster: Cluster, deadline: float) -> None:
    await ClusterSessionStore(cluster).remove("hash", deadline)


async def write_to_the_catalog(cluster: Cluster, deadline: float) -> None:
    await ClusterCatalogStore(cluster).write([Write(Kind.MEMBER, 1, None, b"member")], deadline)


async def map_external_id(cluster: Cluster, deadline: float) -> None:
    await ClusterExternalIdStore(cluster).map([external_id_key(1, "a")], "12", END_MS, deadline)


async def forget_external_id(cluster: Cluster, deadline: float) -> None:
    await ClusterExternalIdStore(cluster).forget([external_id_key(1, "a")], deadline)


async def create_job(cluster: Cluster, deadline: float) -> None:
    job = Job("job", 0, 1, Phase.STARTING, END_MS - KEPT_MS, END_MS - KEPT_MS, END_MS)
    await ClusterJobStore(cluster).create(job, "url", deadline)


async def begin_restore(cluster: Cluster, deadline: float) -> None:
    await ClusterRestoreStore(cluster, "ours", lambda: deadline).hold()


async def put_back(cluster: Cluster, deadline: float) -> None:
    part = Part(WholeKind.HASH, KEY, NEVER, [b"1", b"1", NEVER])
    await WholeKeys(cluster, lambda: deadline).put_back([part], END_MS)


async def forget_before_it_is_put_back(cluster: Cluster, deadline: float) -> None:
    await WholeKeys(cluster, lambda: deadline).forget([KEY])


KEEPING = (
    *(create_session, end_session, write_to_the_catalog, map_external_id, forget_external_id, create_job),
    *(begin_restore, put_back, forget_before_it_is_put_back),
)


async def test_what_else_is_kept_is_as_durable(replicated: ReplicatedCluster) -> None:
    """With the replicas, it is made good."""
    replicas = [node for node in replicated.nodes if await node.role() == "slave"]
    async with connected(replicated.url, durability=REPLICA) as cluster:
        for replica in replicas:
            replica.signal(signal.SIGSTOP)
        try:
            failed = await asyncio.gather(
                *(keep(cluster, seconds_from_now(2)) for keep in KEEPING), return_exceptions=True
            )
        finally:
            for replica in replicas:
                replica.signal(signal.SIGCONT)
            await replicated.whole()
        reasons = {keep: getattr(error, "reason", None) for keep, error in zip(KEEPING, failed, strict=True)}
        assert reasons == dict.fromkeys(KEEPING, Reason.UNAVAILABLE)
        for keep in KEEPING:
            await keep(cluster, seconds_from_now(20))


async def test_a_member_may_want_more_than_the_service(replicated: ReplicatedCluster) -> None:
    async with worker(replicated, Durability.PRIMARY) as store, replica_stopped(replicated, KEY):
        await write(store, for_each([KEY], {NEVER: {1: 1}}), seconds_from_now(20))
        writing = store.write(for_each([KEY], {NEVER: {1: 2}}), seconds_from_now(1), REPLICA)
        await writing.done
        assert list(writing.failures()) == [KEY]


async def test_what_changes_nothing_waits_for_what_did(replicated: ReplicatedCluster) -> None:
    """A command that is sent again over a new connection writes nothing any more: it must not count before the one that
    did has arrived."""
    async with worker(replicated, Durability.PRIMARY) as plain, worker(replicated, REPLICA) as store:
        await write(plain, for_each([KEY], {NEVER: {1: 1}}), seconds_from_now(20))
        async with replica_stopped(replicated, KEY):
            await write(plain, for_each([KEY], {REMOVE: {1: 0}}), seconds_from_now(20))
            with pytest.raises(AudienceError):
                await write(store, for_each([KEY], {REMOVE: {1: 0}}), seconds_from_now(1))


async def test_who_was_removed_without_a_confirmation_is_not_confirmed_by_the_next_attempt(
    replicated: ReplicatedCluster,
) -> None:
    """It finds the user in no segment any more: a failover would bring the membership back all the same."""
    async with worker(replicated, Durability.PRIMARY) as store, connected(replicated.url) as cluster:
        forgetting = Forgetting(
            CatalogFeed(ClusterCatalogStore(cluster), Catalog()), store, ClusterSuppressionStore(cluster)
        )
        await write(store, for_each([KEY], {NEVER: {1: 1}}), seconds_from_now(20))
        async with replica_stopped(replicated, KEY):
            for _ in range(2):
                with pytest.raises(AudienceError):
                    await forgetting.remove([KEY], ALL_MEMBERS, seconds_from_now(1), REPLICA)
            assert await store.read([KEY], seconds_from_now(20)) == [{}]
        assert await forgetting.remove([KEY], ALL_MEMBERS, seconds_from_now(20), REPLICA) == [[]]


async def test_what_was_changed_without_a_confirmation_is_not_confirmed_by_the_next_attempt(
    replicated: ReplicatedCluster, passwords: Passwords, clock: FakeClock
) -> None:
    """It finds the object of the catalog as it is to be."""
    for node in replicated.nodes:
        if await node.role() == "master":
            await node.ask("FLUSHALL")

    def rename(member: pb.Member) -> None:
        member.name = "after"

    async with (
        connected(replicated.url, durability=REPLICA) as cluster,
        catalog_worker(cluster, clock, passwords) as catalog,
    ):
        await begin(catalog)

        async def change(seconds: float) -> None:
            await catalog.editor.update(Kind.MEMBER, OWN, rename, "", seconds_from_now(seconds))

        async def put(seconds: float) -> pb.ImportCatalogResponse:
            request = pb.ImportCatalogRequest(members=[pb.Member(id=OWN, name="after")])
            admin = caller("admin", catalog.feed.catalog)
            return await catalog.importing.put(request, admin, seconds_from_now(seconds))

        async with replica_stopped(replicated, CATALOG_VERSION):
            for attempt in (change, change, put):
                with pytest.raises(AudienceError):
                    await attempt(1)
        await change(20)
        assert (await put(20)).unchanged == 1


async def test_who_is_due_to_be_removed_stays_so_until_that_is_confirmed(
    replicated: ReplicatedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting_module, "ANSWER_SECONDS", 0.5)
    async with connected(replicated.url, durability=REPLICA) as cluster:
        store, memberships = ClusterSuppressionStore(cluster), ClusterMembershipStore(cluster)
        forgetting = Forgetting(CatalogFeed(ClusterCatalogStore(cluster), Catalog()), memberships, store)
        await store.suppress(ALL_MEMBERS, [KEY], 0, NEVER, (0, 10**9), "a", seconds_from_now(20))
        sweeping = asyncio.create_task(asyncio.sleep(0))
        try:
            async with replica_stopped(replicated, KEY):
                writing = memberships.write(for_each([KEY], {NEVER: {1: 1}}), seconds_from_now(20), Durability.PRIMARY)
                await writing.done
                sweeping = asyncio.create_task(forgetting.sweep())

                async def is_removed() -> None:
                    assert await memberships.read([KEY], seconds_from_now(20)) == [{}]

                await eventually(is_removed)
                await asyncio.sleep(4)  # enough for several attempts
                assert await store.due(seconds_from_now(20))

            async def is_struck_off() -> None:
                assert not await store.due(seconds_from_now(20))

            await eventually(is_struck_off, 30)
        finally:
            sweeping.cancel()
            await asyncio.wait([sweeping])
            await store.lift(ALL_MEMBERS, [KEY], 0, "b", seconds_from_now(20))


async def test_connections_that_break_lose_no_confirmation(replicated: ReplicatedCluster) -> None:
    async with worker(replicated, REPLICA) as store:
        stop = time.monotonic() + 2

        async def disturb() -> None:
            while time.monotonic() < stop:
                for node in replicated.nodes:
                    await node.ask("CLIENT", "KILL", "TYPE", "normal")
                await asyncio.sleep(0.1)

        disturbing = asyncio.create_task(disturb())
        value = 0
        while time.monotonic() < stop:
            value += 1
            await write(store, for_each(KEYS[:50], {NEVER: {1: value}}), seconds_from_now(20))
        await disturbing
        found = await store.read(KEYS[:50], seconds_from_now(20))
        assert [each[1] for each in found] == [(value, NEVER)] * 50


async def test_the_disk_of_a_cluster_without_replicas(embedded: EmbeddedCluster, cluster: Cluster) -> None:
    async with writing_to_disk(embedded, "always") as store:
        await write(store, for_each(KEYS, {NEVER: {1: 1}}), seconds_from_now(20))
        assert await store.read(KEYS[:1], seconds_from_now()) == [{1: (1, NEVER)}]


async def test_what_comes_while_a_confirmation_is_awaited_is_confirmed_together(
    embedded: EmbeddedCluster, cluster: Cluster
) -> None:
    """One after the other, these would wait for a second each."""
    async with writing_to_disk(embedded, "everysec") as store:
        batches = []
        for value in range(30):
            batches.append(store.write(for_each([KEY], {NEVER: {1: value}}), seconds_from_now(10)))
            await asyncio.sleep(0.01)
        await asyncio.wait([batch.done for batch in batches])
        assert not any(batch.failures() for batch in batches)
        assert await store.read([KEY], seconds_from_now()) == [{1: (29, NEVER)}]


async def test_where_the_memory_is_full_what_makes_room_is_confirmed(
    embedded: EmbeddedCluster, cluster: Cluster
) -> None:
    async with writing_to_disk(embedded, "always") as store:
        try:
            await write(store, for_each(KEYS, {NEVER: {1: 1, 2: 2}}), seconds_from_now(20))
            await on_all_nodes(embedded, "CONFIG", "SET", "maxmemory", 1)
            await write(store, for_each(KEYS, {REMOVE: {1: 0}}), seconds_from_now(20))
            with pytest.raises(AudienceError):
                await write(store, for_each(KEYS, {NEVER: {1: 1}}), seconds_from_now(0.2))
            assert await store.read(KEYS, seconds_from_now()) == [{2: (2, NEVER)}] * len(KEYS)
        finally:
            await on_all_nodes(embedded, "CONFIG", "SET", "maxmemory", 0)
