"""The way to the cluster while nothing is wrong with it: order, batching, bounds, cancellation, the end."""

import asyncio
import gc
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest
import uvloop
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.embedded.node import HOST
from instantaudience_server.errors import AudienceError, Reason, RefusedCommandError
from instantaudience_server.observation.telemetry import Event
from instantaudience_server.store.cluster import commands
from instantaudience_server.store.cluster.batch import Batch, Part, Single
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.memberships import NEVER
from instantaudience_server.store.keys import key_slot
from instantaudience_server.store.membership_store import ClusterMembershipStore
from redis.asyncio import Redis, RedisCluster
from structlog.testing import capture_logs
from support.cluster.nodes import on_all_nodes
from support.cluster.running import all_take_writes, connected
from support.cluster.users import for_each, of_users, user_key, write
from support.waiting import eventually, seconds_from_now

KEYS = [user_key(user_id) for user_id in range(1, 1001)]


async def test_each_of_many_concurrent_calls_gets_its_own_replies(store: ClusterMembershipStore) -> None:
    await write(
        store, of_users({key: {NEVER: {1: index, 2: -index}} for index, key in enumerate(KEYS)}), seconds_from_now()
    )

    async def check(index: int) -> None:
        # Calls of one, two and three users, over all nodes, some of users that are not there.
        asked = [KEYS[index], *[KEYS[-index], user_key(9_000_000 + index)][: index % 3]]
        expected = [{1: (index, NEVER), 2: (-index, NEVER)}]
        expected += [{1: (len(KEYS) - index, NEVER), 2: (index - len(KEYS), NEVER)}, {}][: index % 3]
        assert await store.read(asked, seconds_from_now(20)) == expected
        await write(store, of_users({KEYS[index]: {NEVER: {3: index}}}), seconds_from_now(20))
        (read,) = await store.read([KEYS[index]], seconds_from_now(20))
        assert read[3] == (index, NEVER)

    await asyncio.gather(*(check(index) for index in range(1, len(KEYS))))


async def test_all_calls_of_a_turn_go_out_in_one_write_a_node(
    store: ClusterMembershipStore, embedded: EmbeddedCluster
) -> None:
    users = KEYS[:60]
    await write(store, for_each(users, {NEVER: {1: 1}}), seconds_from_now())  # every connection stands now
    async with AsyncExitStack() as stack:
        watchers = [await stack.enter_async_context(Redis(host=HOST, port=port)) for port in embedded.ports]

        async def reads() -> list[int]:
            """How often each node has read from a connection, this question included."""
            return [(await watcher.info("stats"))["total_reads_processed"] for watcher in watchers]

        await reads()  # the watchers' own connections stand, too
        before = await reads()
        await asyncio.gather(
            *(write(store, of_users({key: {NEVER: {1: 2, 2: 2}}}), seconds_from_now()) for key in users)
        )
        after = await reads()
    assert [last - first for first, last in zip(before, after, strict=True)] == [2, 2, 2]  # the write and the question


async def test_past_its_bound_calls_are_refused_at_once(embedded: EmbeddedCluster, plain: RedisCluster) -> None:
    async with connected(embedded.url, max_pending_bytes=20_000) as cluster:
        store = ClusterMembershipStore(cluster)
        many, few = for_each(KEYS[:80], {NEVER: {1: 1}}), of_users({KEYS[-1]: {NEVER: {1: 2}}})
        pending = asyncio.create_task(write(store, many, seconds_from_now()))
        await asyncio.sleep(0)
        with pytest.raises(AudienceError, match="overloaded") as refused:
            await write(store, many, seconds_from_now(60))
        assert not pending.done()
        assert refused.value.reason is Reason.UNAVAILABLE
        assert refused.value.retry_after_seconds == 1
        await write(store, few, seconds_from_now())  # there is room for this
        await pending
        await write(store, many, seconds_from_now())
        with pytest.raises(AudienceError, match="overloaded"):
            await write(store, for_each(KEYS, {NEVER: {1: 1}}), seconds_from_now())
        assert await store.read([KEYS[-1]], seconds_from_now()) == [{1: (2, NEVER)}]


async def test_a_cancelled_call_drops_what_was_not_sent(store: ClusterMembershipStore) -> None:
    await write(store, for_each(KEYS[:10], {NEVER: {1: 1}}), seconds_from_now())
    cancelled = asyncio.create_task(write(store, for_each(KEYS[:10], {NEVER: {1: 2}}), seconds_from_now()))
    kept = asyncio.create_task(write(store, of_users({KEYS[0]: {NEVER: {2: 2}}}), seconds_from_now()))
    asyncio.get_running_loop().call_soon(cancelled.cancel)  # it has been queued by then, and not sent
    await kept
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert await store.read(KEYS[:2], seconds_from_now()) == [{1: (1, NEVER), 2: (2, NEVER)}, {1: (1, NEVER)}]


async def test_a_call_that_is_cancelled_under_way_does_not_disturb_others(store: ClusterMembershipStore) -> None:
    await write(store, of_users({key: {NEVER: {1: index}} for index, key in enumerate(KEYS)}), seconds_from_now())
    reads = [asyncio.create_task(store.read([key], seconds_from_now())) for key in KEYS]
    await asyncio.sleep(0.001)
    for read in reads[::2]:
        read.cancel()
    answers = await asyncio.gather(*reads, return_exceptions=True)
    assert answers[1::2] == [[{1: (index, NEVER)}] for index in range(1, len(KEYS), 2)]


async def test_a_deadline_that_is_over_is_unavailable(store: ClusterMembershipStore) -> None:
    """It does not say that sending the call again is safe: the command may be one that makes a segment."""
    with pytest.raises(AudienceError, match=r"the cluster did not answer in time$") as failed:
        await write(store, of_users({KEYS[0]: {NEVER: {1: 1}}}), seconds_from_now(-1))
    assert failed.value.reason is Reason.UNAVAILABLE
    assert failed.value.retry_after_seconds == 1


async def test_a_refused_command_is_a_defect_whose_log_names_no_user(
    store: ClusterMembershipStore, plain: RedisCluster
) -> None:
    await plain.set(KEYS[5], "no hash")
    with capture_logs() as logs, pytest.raises(RuntimeError, match=r"^127\.0\.0\.1:\d+ refused a command: WRONGTYPE$"):
        await write(store, for_each(KEYS[:10], {NEVER: {1: 1}}), seconds_from_now())
    (entry,) = logs
    assert (entry["event"], entry["error"]) == (Event.STORE_COMMAND_REFUSED, "WRONGTYPE")
    assert entry["slot"] == key_slot(KEYS[5])  # by which the key is found
    assert set(entry) == {"event", "error", "node", "slot", "log_level"}
    assert await store.read([KEYS[0]], seconds_from_now()) == [{1: (1, NEVER)}]


async def test_what_is_answered_leaves_no_garbage_to_be_collected(
    cluster: Cluster, store: ClusterMembershipStore
) -> None:
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        await write(store, of_users({key: {NEVER: {1: 2}} for key in KEYS[:20]}), seconds_from_now())
        assert await cluster.ask(commands.get(b"{x}none"), seconds_from_now(), bool) is False
        gc.collect()
        assert not [each for each in gc.garbage if isinstance(each, Batch | Part)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


class TestQuestions:
    """Commands that are asked without a task."""

    async def test_the_reply_is_read(self, cluster: Cluster, plain: RedisCluster) -> None:
        await plain.set(KEYS[0], "5")
        assert await cluster.ask(commands.get(KEYS[0]), seconds_from_now(), int) == 5

    @pytest.mark.parametrize(("value", "expected"), [(None, TypeError), ("no number", ValueError)])
    async def test_a_reply_that_cannot_be_read_disturbs_no_others(
        self, value: str | None, expected: type[Exception], cluster: Cluster, plain: RedisCluster
    ) -> None:
        if value is not None:
            await plain.set(KEYS[0], value)
        unread = cluster.ask(commands.get(KEYS[0]), seconds_from_now(), int)
        other = cluster.ask(commands.get(KEYS[0]), seconds_from_now(), bool)
        assert await other is bool(value)
        with pytest.raises(expected):
            await unread

    async def test_one_that_is_refused_is_a_defect(self, cluster: Cluster, plain: RedisCluster) -> None:
        await plain.set(KEYS[0], "no hash")
        with pytest.raises(RefusedCommandError, match="WRONGTYPE"):
            await cluster.ask(commands.read_hash(KEYS[0]), seconds_from_now(), len)

    async def test_one_that_is_not_begun_fails_like_one_that_is_not_answered(
        self, embedded: EmbeddedCluster, plain: RedisCluster
    ) -> None:
        async with connected(embedded.url, max_pending_bytes=1) as cluster:
            overloaded = cluster.ask(commands.get(KEYS[0]), seconds_from_now(), bool)
            late = cluster.ask(commands.get(KEYS[0]), seconds_from_now(-1), bool, bounded=False)
            for question in (overloaded, late):
                with pytest.raises(AudienceError) as failed:
                    await question
                assert failed.value.reason is Reason.UNAVAILABLE
            assert await cluster.ask(commands.get(KEYS[0]), seconds_from_now(), bool, bounded=False) is False

    @pytest.mark.parametrize("loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
    def test_one_whose_time_is_over_when_the_process_goes_on_is_not_sent(
        self, embedded: EmbeddedCluster, plain: RedisCluster, loop: Callable[[], asyncio.AbstractEventLoop]
    ) -> None:
        """Others have gone on while it stood still, as when a machine is paused: they must not be overtaken. Neither
        loop knows at the end of a turn how late it is."""

        async def check() -> None:
            async with connected(embedded.url) as cluster:
                await cluster.ask(commands.get(KEYS[0]), seconds_from_now(), bool)  # the connection stands now
                late = cluster.ask(commands.increment_field(KEYS[0], "n"), seconds_from_now(0.05), int)
                lost = cluster.begin([Single(commands.increment_field(KEYS[0], "n"))], seconds_from_now(), may_go=bool)
                time.sleep(0.06)  # noqa: ASYNC251 - it stands still
                with pytest.raises(AudienceError, match="did not answer in time"):
                    await late
                lost.done.cancel()
                assert await cluster.ask(commands.increment_field(KEYS[0], "n"), seconds_from_now(), int) == 1

        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(check())

    async def test_one_that_is_cancelled_is_not_sent(self, cluster: Cluster) -> None:
        await cluster.ask(commands.get(KEYS[0]), seconds_from_now(), bool)  # the connection stands now
        cluster.ask(commands.increment_field(KEYS[0], "n"), seconds_from_now(), int).cancel()
        assert await cluster.ask(commands.increment_field(KEYS[0], "n"), seconds_from_now(), int) == 1
        assert cluster.pending_bytes == 0


async def test_a_live_cluster_takes_writes(cluster: Cluster) -> None:
    assert await all_take_writes(cluster)


async def test_after_its_end_nothing_is_open(embedded: EmbeddedCluster) -> None:
    async def clients() -> int:
        return sum(len(found.splitlines()) for found in await on_all_nodes(embedded, "CLIENT", "LIST"))

    before = await clients()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with connected(embedded.url) as cluster:
            store = ClusterMembershipStore(cluster)
            await write(store, for_each(KEYS, {NEVER: {1: 1}}), seconds_from_now())
            assert await clients() >= before + 3
            left = asyncio.create_task(store.read(KEYS, seconds_from_now(60)))
            await asyncio.sleep(0)
        with pytest.raises(AudienceError) as failed:
            await left
        assert failed.value.reason is Reason.UNAVAILABLE
        with pytest.raises(AudienceError):
            await store.read(KEYS, seconds_from_now())
        gc.collect()

        async def all_are_gone() -> None:
            assert await clients() <= before

        await eventually(all_are_gone)
    assert [str(warning.message) for warning in caught] == []
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert [task for task in others if "instantaudience_server/store/" in repr(task)] == []


def test_works_on_the_event_loop_of_the_workers(embedded: EmbeddedCluster) -> None:
    """Workers run on uvloop, whose transports are not asyncio's."""

    async def use() -> list[dict[int, tuple[int, int]]]:
        async with connected(embedded.url) as cluster:
            store = ClusterMembershipStore(cluster)
            await write(store, for_each(KEYS[:100], {NEVER: {1: 5}}), seconds_from_now())
            for _ in range(3):
                await on_all_nodes(embedded, "CLIENT", "KILL", "TYPE", "normal")
                await write(store, for_each(KEYS[:100], {NEVER: {2: 6}}), seconds_from_now())
            return await store.read(KEYS[:100], seconds_from_now())

    results = []
    thread = threading.Thread(target=lambda: results.append(uvloop.run(use())))
    thread.start()
    thread.join()
    assert results == [[{1: (5, NEVER), 2: (6, NEVER)}] * 100]
