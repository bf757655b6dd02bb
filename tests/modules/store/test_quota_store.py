"""Quota windows in the cluster: what is admitted, whatever is lost on the way (docs/adr/0011-quotas.md)."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.store import keys
from instantaudience_server.store.cluster import commands
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.quotas import Admissions, Counts, Quota
from instantaudience_server.store.quota_store import ADMIT, KEPT_MS, ClusterQuotaStore
from redis.asyncio import RedisCluster
from support.cluster.nodes import down, on_node, owner_of
from support.cluster.running import connected, running_node
from support.parts.quotas import Windows
from support.waiting import eventually, seconds_from_now

LIMITS = Counts(100, 1000)
MEMBER = 123
members = itertools.count(1000)
KEY = keys.quota_key(MEMBER, Quota.POSTS)
Answered = TypeVar("Answered")


@pytest.fixture
def quota_store(cluster: Cluster) -> ClusterQuotaStore:
    return ClusterQuotaStore(cluster, worker="w1")


async def ask(store: ClusterQuotaStore, *calls: int, limits: Counts = LIMITS, member: int = MEMBER) -> Admissions:
    return await store.ask(member, Quota.POSTS, calls, limits, seconds_from_now())


async def node_seconds(plain: RedisCluster) -> float:
    """The clock of the node that holds the member's window."""
    second, microseconds = await plain.execute_command("TIME", target_nodes=plain.get_node_from_key(KEY.decode()))
    return float(second) + microseconds / 1e6


async def window_with(plain: RedisCluster, seconds: float) -> None:
    """Until a window has begun that lasts at least so long."""

    async def lasts() -> None:
        assert (await node_seconds(plain)) % 1 < 1 - seconds

    await eventually(lasts)


async def in_one_window(plain: RedisCluster, ask_all: Callable[[int], Awaitable[Answered]]) -> Answered:
    """What is answered in one window that nothing was asked of before; it gets its second."""
    while True:
        await plain.delete(KEY)
        second = int(await node_seconds(plain))
        answered = await ask_all(second)
        if int(await node_seconds(plain)) == second:
            return answered


async def window_after(plain: RedisCluster, second: int) -> None:
    """Until a later window has begun."""

    async def has_begun() -> None:
        assert await node_seconds(plain) > second + 1

    await eventually(has_begun)


class Raw:
    """The script, with a number of one's own choice for the question."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def ask(self, worker: str, number: int, *calls: int, limits: Counts = LIMITS) -> list[object]:
        command = commands.evaluate(ADMIT, [KEY], worker, number, *limits, KEPT_MS, *calls)
        (reply,) = await self._cluster.execute([command], seconds_from_now())
        calls_admitted, units, _, refused = reply
        return [calls_admitted, units, refused.decode()]


ROWS = {
    "one": (LIMITS, [1], [True], (1, 1)),
    "no users": (LIMITS, [0], [True], (1, 0)),
    "as many calls as may be": (Counts(3, 10), [1, 1, 1], [True] * 3, (3, 3)),
    "a call too many": (Counts(3, 10), [1, 1, 1, 1, 0], [True] * 3 + [False] * 2, (3, 3)),
    "as many users as may be": (Counts(9, 10), [4, 6], [True, True], (2, 10)),
    "a user too many": (Counts(9, 10), [4, 7], [True, False], (1, 4)),
    "what does not fit is not counted, and a smaller one fits": (
        Counts(9, 10),
        [4, 7, 6],
        [True, False, True],
        (2, 10),
    ),
    "larger than any window": (Counts(9, 10), [11, 10], [False, True], (1, 10)),
    "the largest limits": (Counts(2**31 - 1, 2**31 - 1), [2**31 - 1, 1], [True, False], (1, 2**31 - 1)),
}


@pytest.mark.parametrize("row", ROWS)
async def test_a_window_takes_what_fits_in_order(quota_store: ClusterQuotaStore, plain: RedisCluster, row: str) -> None:
    limits, calls, admitted, counts = ROWS[row]
    answer = await in_one_window(plain, lambda _: ask(quota_store, *calls, limits=limits))
    assert (answer.admitted, answer.counts) == (admitted, counts)


async def test_workers_share_a_window_and_members_and_quotas_do_not(cluster: Cluster, plain: RedisCluster) -> None:
    first, second = ClusterQuotaStore(cluster, "w1"), ClusterQuotaStore(cluster, "w2")

    async def ask_both(_: int) -> list[Admissions]:
        return [await ask(store, *[1] * 60) for store in (first, second)]

    one, other = await in_one_window(plain, ask_both)
    assert one.counts == (60, 60)
    assert (other.counts, other.admitted) == ((100, 100), [True] * 40 + [False] * 20)
    assert (await ask(second, 1, member=124)).counts == (1, 1)
    assert (await first.ask(MEMBER, Quota.GETS, [1], LIMITS, seconds_from_now())).counts == (1, 1)


async def test_the_next_second_is_the_next_window(quota_store: ClusterQuotaStore, plain: RedisCluster) -> None:
    await window_with(plain, 0.5)
    before = await node_seconds(plain)
    full = await ask(quota_store, *[1] * 101)
    after = await node_seconds(plain)
    assert full.admitted[99:] == [True, False]
    assert int(before) + 1 - after <= full.left_seconds <= int(before) + 1 - before
    await window_after(plain, int(before))
    assert (await ask(quota_store, 1)).admitted == [True]


async def test_a_question_that_is_sent_again_counts_once(cluster: Cluster, plain: RedisCluster) -> None:
    raw = Raw(cluster)
    calls = [900, 200, 50, 51]
    questions: list[tuple[str, int, list[int], list[object]]] = [
        ("w1", 7, calls, [2, 950, "0101"]),
        ("w2", 7, [1], [3, 951, ""]),  # another worker's question is another question
        ("w1", 7, calls, [3, 951, "0101"]),
        ("w1", 6, [1], [3, 951, "0101"]),  # of a lost connection, late: nobody waits for it
        ("w1", 8, [1], [4, 952, ""]),
    ]

    async def ask_all(_: int) -> list[list[object]]:
        return [await raw.ask(worker, number, *asked) for worker, number, asked, _ in questions]

    assert await in_one_window(plain, ask_all) == [answer for *_, answer in questions]


async def test_a_question_that_is_sent_again_in_a_later_window_counts_once(
    cluster: Cluster, plain: RedisCluster
) -> None:
    raw = Raw(cluster)
    await window_with(plain, 0.5)
    before = int(await node_seconds(plain))
    assert await raw.ask("w1", 1, *[1] * 101) == [100, 100, "0" * 100 + "1"]
    await window_after(plain, before)
    assert await raw.ask("w1", 1, *[1] * 101) == [0, 0, "0" * 100 + "1"]
    assert await raw.ask("w1", 2, 1) == [1, 1, ""]


@pytest.mark.parametrize(("ahead_seconds", "calls"), [(-1, 1), (0, 8), (1, 8), (2, 8), (3, 1), (3600, 1)])
async def test_a_clock_that_was_set_back_a_little_opens_no_window_twice(
    cluster: Cluster, plain: RedisCluster, ahead_seconds: int, calls: int
) -> None:
    """And one that was set back far does not keep a member out."""

    async def set_back(second: int) -> list[object]:
        await plain.hset(KEY, mapping={"second": second + ahead_seconds, "calls": 7, "units": 70})
        return await Raw(cluster).ask("w1", 1, 1)

    assert (await in_one_window(plain, set_back))[0] == calls


async def test_a_window_is_kept_a_minute_and_then_goes_by_itself(
    quota_store: ClusterQuotaStore, plain: RedisCluster
) -> None:
    await ask(quota_store, 1)
    names = [b"second", b"calls", b"units", b"w1"]
    assert sorted(await plain.hkeys(KEY)) == sorted(names)
    left = await plain.execute_command("HPTTL", KEY, "FIELDS", 4, *names)
    assert all(KEPT_MS - 5000 < each <= KEPT_MS for each in left)


@given(
    questions=st.lists(st.tuples(st.sampled_from("abc"), st.lists(st.integers(0, 12), min_size=1, max_size=8))),
    limits=st.builds(Counts, st.integers(1, 12), st.integers(1, 40)),
)
async def test_any_questions_are_answered_as_the_model_does(
    cluster: Cluster, plain: RedisCluster, questions: list[tuple[str, list[int]]], limits: Counts
) -> None:
    stores = {worker: ClusterQuotaStore(cluster, worker) for worker in "abc"}
    began = ended = -1
    while began != ended or began < 0:  # all in one window
        member, began = next(members), int(time.time())
        answers = [await ask(stores[worker], *calls, limits=limits, member=member) for worker, calls in questions]
        ended = int(time.time())
    model = Windows()
    for (_, calls), answer in zip(questions, answers, strict=True):
        expected = await model.ask(member, Quota.POSTS, calls, limits, 0)
        assert (answer.admitted, answer.counts) == (expected.admitted, expected.counts)


async def test_no_window_admits_more_than_its_limit_when_connections_break(
    embedded: EmbeddedCluster, plain: RedisCluster
) -> None:
    """Each question counted once: the answers add up to what the windows hold."""
    limits = Counts(70, 10_000)
    async with AsyncExitStack() as stack:
        stores = [
            ClusterQuotaStore(await stack.enter_async_context(connected(embedded.url)), worker) for worker in "abcd"
        ]
        while True:
            admitted, most = await flooded(embedded, plain, stores, limits)
            # The last counts of windows that are full are known; on a busy machine, one may not get full.
            if all(most.get(second, 0) >= limits.calls for second in range(min(most), max(most))):
                break
    assert max(most.values()) == limits.calls
    assert admitted == sum(most.values())


async def flooded(
    embedded: EmbeddedCluster, plain: RedisCluster, stores: Sequence[ClusterQuotaStore], limits: Counts
) -> tuple[int, dict[int, int]]:
    """Workers ask without a pause for three windows, and lose their connections all the time; how many of their calls
    were admitted, and what each window has counted when it was looked at last."""
    port = await owner_of(embedded, keys.key_slot(KEY))
    await window_with(plain, 0.9)
    await plain.delete(KEY)
    admitted, most = 0, {int(await node_seconds(plain)): 0}
    stop = time.monotonic() + 3

    async def work(store: ClusterQuotaStore) -> None:
        nonlocal admitted
        while time.monotonic() < stop:
            # Longer than a busy machine takes to connect so often.
            answer = await store.ask(MEMBER, Quota.POSTS, [1] * 7, limits, seconds_from_now(60))
            admitted += sum(answer.admitted)

    async def disturb() -> None:
        while time.monotonic() < stop:
            await on_node(port, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await asyncio.sleep(0.05)

    async def look() -> None:
        second, calls = await plain.hmget(KEY, "second", "calls")
        if second is not None:
            most[int(second)] = max(most.get(int(second), 0), int(calls))

    async def watch() -> None:
        while time.monotonic() < stop:
            await look()
            await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as tasks:
        for store in stores:
            tasks.create_task(work(store))
        tasks.create_task(disturb())
        tasks.create_task(watch())
    await look()
    return admitted, most


async def test_a_cluster_that_is_down_is_unavailable(product: str, tmp_path: Path) -> None:
    """Also where it answers reads then: a script that writes must not begin."""
    config = ("cluster-enabled yes", "cluster-allow-reads-when-down yes")
    async with running_node(product, tmp_path, *config) as port, connected(f"redis://127.0.0.1:{port}") as cluster:
        store = ClusterQuotaStore(cluster, "w1")

        async def answers() -> None:
            with contextlib.suppress(AudienceError):
                await store.ask(MEMBER, Quota.POSTS, [1], LIMITS, seconds_from_now(0.2))
                return
            raise AssertionError

        await eventually(answers)
        away = (keys.key_slot(KEY) + 1) % keys.SLOTS
        await on_node(port, "CLUSTER", "DELSLOTS", away)
        await down(port)
        with pytest.raises(AudienceError) as failed:
            await store.ask(MEMBER, Quota.POSTS, [1], LIMITS, seconds_from_now(0.3))
        assert failed.value.reason is Reason.UNAVAILABLE


async def test_a_question_that_nobody_answers_is_unavailable(quota_store: ClusterQuotaStore) -> None:
    with pytest.raises(AudienceError) as failed:
        await quota_store.ask(MEMBER, Quota.POSTS, [1], LIMITS, seconds_from_now(-1))
    assert failed.value.reason is Reason.UNAVAILABLE


async def test_what_is_used(quota_store: ClusterQuotaStore, cluster: Cluster, plain: RedisCluster) -> None:
    """By all workers, in the window under way; looking changes nothing."""
    other = ClusterQuotaStore(cluster, "w2")

    async def used(quota: Quota = Quota.POSTS, member: int = MEMBER) -> Counts:
        return await other.used(member, quota, seconds_from_now())

    assert await used() == (0, 0)
    await window_with(plain, 0.5)
    before = await node_seconds(plain)
    await ask(quota_store, 3, 4)
    await ask(other, 5)
    assert [await used() for _ in range(3)] == [(3, 12)] * 3
    assert await used(Quota.GETS) == (0, 0)
    assert await used(member=124) == (0, 0)
    assert (await ask(quota_store, 1)).counts == (4, 13)
    await window_after(plain, int(before))
    assert await used() == (0, 0)


@pytest.mark.parametrize(("seconds", "counts"), [(0, (7, 9)), (1, (7, 9)), (2, (7, 9)), (4, (0, 0)), (-1, (0, 0))])
async def test_what_is_used_after_the_clock_was_set(
    quota_store: ClusterQuotaStore, plain: RedisCluster, seconds: int, counts: Counts
) -> None:
    """A window that is ahead of the node's clock by up to two seconds stands, as for those who ask."""

    async def used_then(second: int) -> Counts:
        await plain.hset(KEY.decode(), mapping={"second": second + seconds, "calls": 7, "units": 9})
        return await quota_store.used(MEMBER, Quota.POSTS, seconds_from_now())

    assert await in_one_window(plain, used_then) == counts


async def test_windows_go_on_where_the_memory_is_full(
    quota_store: ClusterQuotaStore, embedded: EmbeddedCluster
) -> None:
    """Reads need them, and free what is full no less than before."""
    member = next(members)
    port = await owner_of(embedded, keys.key_slot(keys.quota_key(member, Quota.POSTS)))
    await on_node(port, "CONFIG", "SET", "maxmemory", "1")
    try:
        assert (await ask(quota_store, 1, 2, member=member)).admitted == [True, True]
        assert (await quota_store.used(member, Quota.POSTS, seconds_from_now())).calls <= 2
    finally:
        await on_node(port, "CONFIG", "SET", "maxmemory", "0")
