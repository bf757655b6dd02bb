"""A worker's catalog follows the cluster's, whatever happens to the cluster."""

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.catalog import feed as catalog_feed
from instantaudience_server.catalog import records as catalog_records
from instantaudience_server.catalog.catalog import Account, Catalog, Member
from instantaudience_server.catalog.editor import write_of
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.catalog.records import Object
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.observation.metrics import CATALOG_RELOADS
from instantaudience_server.observation.telemetry import Event
from instantaudience_server.process.garbage import spare_all
from instantaudience_server.store import catalog_store
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.catalog import Kind, NextChanges, Outcome, Page, Version, Write
from instantaudience_server.store.keys import (
    CATALOG_CHANGES,
    CATALOG_MEMBERS,
    CATALOG_PARTIAL,
    CATALOG_SEGMENTS,
    CATALOG_VERSION,
    key_slot,
)
from redis.asyncio import RedisCluster
from structlog.testing import capture_logs
from structlog.typing import EventDict
from support.cluster.nodes import owner_of, whole
from support.waiting import eventually, seconds_from_now

VISIBLE_SECONDS = 1.0 + 2.0
"""How soon a change is known (contract, "/segment"); a busy machine may take longer."""
MEMBER = pb.Member(id=1, name="One")
USER = pb.User(id=1, username="ann", member_id=1)
MANY = [
    *(pb.Member(id=number, name=f"Member {number}") for number in range(1, 1001)),
    *(pb.User(id=number, username=f"user{number}", member_id=1) for number in range(1, 1001)),
]


class CountingStore(ClusterCatalogStore):
    """Counts the questions for changes."""

    asked = 0

    async def changes(self, after: Version, deadline: float) -> NextChanges | None:
        """Ask."""
        self.asked += 1
        return await super().changes(after, deadline)


class Worker:
    """A worker's catalog and feed."""

    def __init__(self, store: ClusterCatalogStore) -> None:
        self.catalog = Catalog()
        self.feed = CatalogFeed(store, self.catalog)

    @asynccontextmanager
    async def following(self) -> AsyncIterator["Worker"]:
        """While it follows."""
        await self.feed.load()
        task = asyncio.create_task(self.feed.follow())
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.fixture
def store(cluster: Cluster) -> CountingStore:
    return CountingStore(cluster)


@pytest.fixture
async def worker(store: CountingStore) -> Worker:
    return Worker(store)


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    """What is logged."""
    with capture_logs() as events:
        yield events


@pytest.fixture
async def node(embedded: EmbeddedCluster, plain: RedisCluster) -> AsyncIterator[int]:
    """The process that holds the catalog; it runs again at the end."""
    port = await owner_of(embedded, key_slot(CATALOG_VERSION))
    process = embedded.nodes[embedded.ports.index(port)].child.pid
    yield process
    os.kill(process, signal.SIGCONT)
    await whole(embedded)


def segment(segment_id: int, code: str | None = None) -> pb.Segment:
    return pb.Segment(id=segment_id, member_id=1, code=code)


async def create(store: ClusterCatalogStore, *messages: Object) -> None:
    await write(store, *(write_of(None, message) for message in messages))


async def write(store: ClusterCatalogStore, *writes: Write) -> None:
    assert set(await store.write(writes, seconds_from_now())) == {Outcome.DONE}


def catalog_events(logs: list[EventDict]) -> list[str]:
    """The events about the catalog, in order."""
    return [event["event"] for event in logs if event["event"] in (Event.CATALOG_STALE, Event.CATALOG_CURRENT)]


class TestLoading:
    async def test_everything_is_read(
        self, store: CountingStore, worker: Worker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(catalog_store, "RECORDS_AT_ONCE", 300)
        await create(store, MEMBER, USER, *(segment(number, f"c{number}") for number in range(1, 2001)))
        await worker.feed.load()
        assert list(worker.catalog.members) == [1]
        assert [account.username for account in worker.catalog.accounts.values()] == ["ann"]
        assert worker.catalog.count_segments() == 2000
        for number in range(1, 2001):
            assert worker.catalog.segment_by_code(1, f"c{number}") == worker.catalog.segment(number)
        assert worker.feed.current_until > 0

    async def test_what_changes_meanwhile_is_read_too(
        self, store: CountingStore, worker: Worker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(catalog_store, "RECORDS_AT_ONCE", 20)
        first = [segment(number, f"old{number}") for number in range(1, 1001)]
        await create(store, MEMBER, *first)
        loading = asyncio.create_task(worker.feed.load())
        rounds = 0
        while not loading.done():
            old = first[rounds]
            new = segment(old.id, f"new{old.id}")
            other = first[-1 - rounds]
            await write(store, write_of(old, new), write_of(other, None), write_of(None, segment(5000 + rounds)))
            rounds += 1
        await loading
        await worker.feed.catch_up(seconds_from_now())
        assert rounds > 3
        fresh = Worker(store)
        await fresh.feed.load()
        known, anew = [await each.catalog.page_of_segments(limit=2000) for each in (worker, fresh)]
        assert known == anew
        assert worker.catalog.segment_by_code(1, "old1") is None
        assert worker.catalog.segment(1000) is None
        assert worker.catalog.count_segments() == 1000

    async def test_calls_are_not_held_up_by_a_load(self, store: CountingStore, worker: Worker) -> None:
        await create(store, MEMBER, *(segment(number, f"c{number}") for number in range(1, 10_001)))
        loading = asyncio.create_task(worker.feed.load())
        turns = 0
        while not loading.done():
            await asyncio.sleep(0)
            turns += 1
        await loading
        assert turns > 10_000 / catalog_feed.RECORDS_AT_ONCE

    async def test_a_page_that_is_late_does_not_begin_it_anew(
        self, cluster: Cluster, node: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of a million segments, one of two thousand pages came late on a busy machine, again and again."""
        monkeypatch.setattr(catalog_store, "RECORDS_AT_ONCE", 300)
        begun = 0

        class Standing(ClusterCatalogStore):
            async def load(self, page_seconds: float) -> AsyncGenerator[Page, None]:
                nonlocal begun
                begun += 1
                async for page in super().load(page_seconds):
                    if page[0] is Kind.MEMBER and begun == 1:
                        os.kill(node, signal.SIGSTOP)
                        late = catalog_feed.ANSWER_SECONDS + 0.5
                        asyncio.get_running_loop().call_later(late, os.kill, node, signal.SIGCONT)
                    yield page

        store = Standing(cluster)
        await create(store, MEMBER, *(segment(number) for number in range(1, 2001)))
        worker = Worker(store)
        await worker.feed.load()
        assert worker.catalog.count_segments() == 2000
        assert begun == 1

    async def test_while_the_cluster_is_away_it_waits(self, store: CountingStore, worker: Worker, node: int) -> None:
        await create(store, MEMBER)
        os.kill(node, signal.SIGSTOP)
        with capture_logs() as logs:
            loading = asyncio.create_task(worker.feed.load())

            async def said() -> None:
                assert catalog_events(logs) == [Event.CATALOG_STALE]

            await eventually(said)
            os.kill(node, signal.SIGCONT)
            await loading
        assert list(worker.catalog.members) == [1]
        assert catalog_events(logs) == [Event.CATALOG_STALE, Event.CATALOG_CURRENT]

    async def test_why_it_waits_is_logged(self, store: CountingStore, worker: Worker, plain: RedisCluster) -> None:
        """As a restore was cut short: nothing in the log told that from a node that is away."""
        await create(store, MEMBER)
        await plain.set(CATALOG_PARTIAL, "name of a restore")
        with capture_logs() as logs:
            loading = asyncio.create_task(worker.feed.load())
            await eventually(lambda: says(logs, Event.CATALOG_STALE))
            await plain.delete(CATALOG_PARTIAL)
            await loading
        assert [each["error"] for each in logs if "error" in each] == ["a backup is being put back; nothing is lost"]


class TestCatchingUp:
    async def test_the_last_of_an_objects_changes_counts(self, store: CountingStore, worker: Worker) -> None:
        await worker.feed.load()
        a, b = segment(1, "a"), segment(1, "b")
        steps = [(None, a), (a, b), (b, None), (None, a), (a, b)]
        await create(store, MEMBER, USER, segment(2))
        await write(store, *(write_of(*step) for step in steps))
        await write(store, write_of(segment(2), None), write_of(USER, None))
        await worker.feed.catch_up(seconds_from_now())
        found = worker.catalog.segment(1)
        assert found is not None
        assert worker.catalog.segment_by_code(1, "b") == found
        assert (found.code, worker.catalog.segment(2), worker.catalog.accounts) == ("b", None, {})

    async def test_it_takes_more_changes_than_come_at_once(self, store: CountingStore, worker: Worker) -> None:
        await worker.feed.load()
        count = 3 * catalog_store.CHANGES_AT_ONCE
        await create(store, MEMBER, *(segment(number) for number in range(1, count)))
        await worker.feed.catch_up(seconds_from_now())
        assert worker.catalog.count_segments() == count - 1

    async def test_calls_at_once_share_questions_and_each_knows_its_change(self, store: CountingStore) -> None:
        worker = Worker(store)
        await create(store, MEMBER)
        await worker.feed.load()
        store.asked = 0

        async def change(number: int) -> None:
            await create(store, segment(number))
            await worker.feed.catch_up(seconds_from_now())
            assert worker.catalog.segment(number) is not None

        await asyncio.gather(*(change(number) for number in range(1, 101)))
        assert 0 < store.asked < 100

    async def test_an_answer_says_nothing_of_what_changed_while_it_was_on_its_way(
        self, store: CountingStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        worker, changes, later = Worker(store), store.changes, list[asyncio.Task[None]]()
        await create(store, MEMBER)
        await worker.feed.load()

        async def changes_late(after: Version, deadline: float) -> NextChanges | None:
            found = await changes(after, deadline)
            if not later:
                await create(store, segment(1))
                later.append(asyncio.create_task(worker.feed.catch_up(seconds_from_now())))
                await asyncio.sleep(0.01)
            return found

        monkeypatch.setattr(store, "changes", changes_late)
        await worker.feed.catch_up(seconds_from_now())
        assert worker.catalog.segment(1) is None
        await later[0]
        assert worker.catalog.segment(1) is not None

    async def test_it_ends_by_its_deadline(self, worker: Worker, node: int) -> None:
        await worker.feed.load()
        os.kill(node, signal.SIGSTOP)
        async with asyncio.timeout(catalog_feed.ANSWER_SECONDS):
            for seconds in (0.2, 0, -1):
                with pytest.raises(AudienceError) as error:
                    await worker.feed.catch_up(seconds_from_now(seconds))
                assert error.value.reason is Reason.UNAVAILABLE

    async def test_until_its_deadline_it_asks_again(self, store: CountingStore, worker: Worker, node: int) -> None:
        """A change that was made is not told as failed because one answer is late."""
        await worker.feed.load()
        await create(store, MEMBER)
        store.asked = 0
        os.kill(node, signal.SIGSTOP)
        catching_up = asyncio.create_task(worker.feed.catch_up(seconds_from_now(60)))

        async def has_asked_again() -> None:
            assert store.asked > 1

        await eventually(has_asked_again)
        os.kill(node, signal.SIGCONT)
        await catching_up
        assert list(worker.catalog.members) == [MEMBER.id]

    async def test_it_does_not_wait_for_a_load(
        self, store: CountingStore, worker: Worker, plain: RedisCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await create(store, MEMBER)
        await worker.feed.load()
        await create(store, *(segment(number) for number in range(1, 5)))
        await plain.xtrim(CATALOG_CHANGES, maxlen=1, approximate=False)
        with pytest.raises(AudienceError) as error:
            await worker.feed.catch_up(seconds_from_now())
        assert error.value.reason is Reason.UNAVAILABLE
        assert worker.catalog.count_segments() == 0
        monkeypatch.setattr(catalog_store, "RECORDS_AT_ONCE", 1)
        loading = asyncio.create_task(worker.feed.load())
        await asyncio.sleep(0)
        with pytest.raises(AudienceError):
            await worker.feed.catch_up(seconds_from_now(0))
        await loading
        await worker.feed.catch_up(seconds_from_now())
        assert worker.catalog.count_segments() == 4


class TestGarbageCollection:
    """It stopped a worker for 0.1 s each time, once the catalog had got 100,000 members."""

    @pytest.fixture(autouse=True)
    def _spares_often(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setattr(catalog_feed, "UNSPARED_RECORDS", 400)
        yield
        gc.unfreeze()
        spare_all()

    async def test_it_does_not_look_at_what_was_loaded(self, store: CountingStore, worker: Worker) -> None:
        await create(store, *MANY)
        await worker.feed.load()
        assert (len(worker.catalog.members), len(worker.catalog.accounts)) == (1000, 1000)
        assert looked_at() <= 400

    async def test_it_does_not_look_at_what_came_since(self, store: CountingStore, worker: Worker) -> None:
        await worker.feed.load()
        await create(store, *MANY)
        await worker.feed.catch_up(seconds_from_now())
        assert (len(worker.catalog.members), len(worker.catalog.accounts)) == (1000, 1000)
        assert looked_at() <= 400

    async def test_a_catalog_that_is_replaced_leaves_nothing(self, store: CountingStore, worker: Worker) -> None:
        await create(store, *MANY)
        await worker.feed.load()
        first = gc.get_freeze_count()
        for _ in range(10):
            await worker.feed.load()
        assert gc.get_freeze_count() < first + 1000


def looked_at() -> int:
    """How many members and accounts the garbage collector looks at."""
    return sum(isinstance(each, Member | Account) for each in gc.get_objects())


class TestFollowing:
    async def test_a_change_is_known_within_a_second(
        self, store: CountingStore, worker: Worker, logs: list[EventDict]
    ) -> None:
        async with worker.following():
            await create(store, MEMBER)
            for number in range(1, 11):
                await create(store, segment(number, f"c{number}"))
                await eventually(lambda code=f"c{number}": knows(worker, code), VISIBLE_SECONDS)
        assert catalog_events(logs) == []

    async def test_one_that_has_fallen_behind_reads_everything_anew(
        self, store: CountingStore, worker: Worker, plain: RedisCluster, logs: list[EventDict]
    ) -> None:
        await create(store, MEMBER, USER, segment(1, "a"), segment(2, "b"))
        async with worker.following():
            assert worker.catalog.segment_by_code(1, "a") is not None
            version, reloads = worker.catalog.version, CATALOG_RELOADS._value.get()
            # Both in one step, so that it cannot follow in between.
            await plain.execute_command(
                *("EVAL", REWRITE, 2, "c:{catalog}:segments", CATALOG_CHANGES),
                catalog_records.encode(segment(3, "c")),
                *("c:{catalog}:version",),
            )

            await eventually(lambda: knows(worker, "c"))
            assert CATALOG_RELOADS._value.get() == reloads + 1
            assert worker.catalog.version > version
            assert [worker.catalog.segment(1), worker.catalog.segment_by_code(1, "a")] == [None, None]
            assert list(worker.catalog.accounts) == [1]
            await create(store, segment(4, "d"))
            await eventually(lambda: knows(worker, "d"))
        assert catalog_events(logs) == []

    async def test_without_the_cluster_it_serves_what_it_knows_and_says_so_once(
        self, store: CountingStore, worker: Worker, node: int, logs: list[EventDict]
    ) -> None:
        await create(store, MEMBER, segment(1, "a"))
        async with worker.following():
            os.kill(node, signal.SIGSTOP)
            await eventually(lambda: says(logs, Event.CATALOG_STALE))
            asked = store.asked

            async def asks_on() -> None:
                assert store.asked >= asked + 2

            await eventually(asks_on)
            assert worker.catalog.segment_by_code(1, "a") == worker.catalog.segment(1) is not None
            os.kill(node, signal.SIGCONT)
            await eventually(lambda: says(logs, Event.CATALOG_STALE, Event.CATALOG_CURRENT))
            await create(store, segment(2, "b"))
            await eventually(lambda: knows(worker, "b"))
        assert catalog_events(logs) == [Event.CATALOG_STALE, Event.CATALOG_CURRENT]

    async def test_while_another_catalog_is_put_in_its_place_it_serves_what_it_knows(
        self, store: CountingStore, worker: Worker, plain: RedisCluster, logs: list[EventDict]
    ) -> None:
        """A restore deletes what there is, and writes the version last."""
        await create(store, MEMBER, segment(1, "a"))
        async with worker.following():
            await plain.delete(CATALOG_SEGMENTS, CATALOG_MEMBERS, CATALOG_CHANGES, CATALOG_VERSION)
            await plain.hset(CATALOG_SEGMENTS, "2", catalog_records.encode(segment(2, "b")))
            await eventually(lambda: says(logs, Event.CATALOG_STALE))
            assert worker.catalog.segment_by_code(1, "a") == worker.catalog.segment(1) is not None
            with pytest.raises(AudienceError):
                await worker.feed.catch_up(seconds_from_now())
            await plain.xadd(CATALOG_CHANGES, {"kind": "segment", "id": "2", "data": ""}, "900-1")
            await plain.set(CATALOG_VERSION, "900-1")
            await eventually(lambda: knows(worker, "b"))
            assert worker.catalog.segment(1) is None
        assert catalog_events(logs) == [Event.CATALOG_STALE, Event.CATALOG_CURRENT]

    async def test_a_defect_does_not_end_it(
        self, store: CountingStore, worker: Worker, plain: RedisCluster, logs: list[EventDict]
    ) -> None:
        await create(store, MEMBER, segment(1))
        async with worker.following():
            version = await plain.get(CATALOG_VERSION)
            await plain.delete(CATALOG_VERSION)
            await plain.rpush(CATALOG_VERSION, "of another type")
            await eventually(lambda: says(logs, Event.CATALOG_STALE))
            (event,) = (event for event in logs if event["event"] == Event.CATALOG_STALE)
            assert isinstance(event["exc_info"], RuntimeError)
            assert worker.catalog.segment(1) is not None
            await plain.delete(CATALOG_VERSION)
            await plain.set(CATALOG_VERSION, version)
            await eventually(lambda: says(logs, Event.CATALOG_STALE, Event.CATALOG_CURRENT))


REWRITE = """
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], '3', ARGV[1])
redis.call('XADD', KEYS[2], '900-1', 'kind', 'segment', 'id', '3', 'data', ARGV[1])
redis.call('SET', ARGV[2], '900-1')
"""
"""Leaves one segment and one change, as if there had been many."""


async def says(logs: list[EventDict], *events: Event) -> None:
    assert catalog_events(logs) == list(events)


async def knows(worker: Worker, code: str) -> None:
    assert worker.catalog.segment_by_code(1, code) is not None
