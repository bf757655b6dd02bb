"""What members sent, by hours, in the cluster: each addition counts once (docs/adr/0014-usage.md)."""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.usage import (
    MOST_LINE_BYTES,
    MOST_LINES,
    Addition,
    CallFailure,
    HourUsage,
    Lines,
    Skip,
    Tally,
)
from instantaudience_server.store.keys import key_slot, usage_key, usage_lines_key
from instantaudience_server.store.usage_store import KEPT_SECONDS, NUMBER_KEPT_MS, ClusterUsageStore
from redis.asyncio import RedisCluster
from support.cluster.nodes import migration_of, on_all_nodes, on_node, owner_of, pids_of
from support.cluster.running import connected
from support.parts.reports import TALLY
from support.service.processes import needs_proc, standing_still
from support.waiting import seconds_from_now

MEMBER, OTHER = 123, 124
HOUR = 494_000
KEY = usage_key(MEMBER, HOUR).decode()
LINES_KEY = usage_lines_key(MEMBER, HOUR, "errors").decode()
hours = itertools.count(HOUR + 1000)


@pytest.fixture
def usage_store(cluster: Cluster) -> ClusterUsageStore:
    return ClusterUsageStore(cluster, "w1")


def lines(*numbers: int) -> list[str]:
    return [f"line {number}" for number in numbers]


async def add(
    store: ClusterUsageStore,
    number: int,
    tally: Tally = TALLY,
    *,
    errors: Sequence[str] = (),
    segments: Sequence[str] = (),
    hour: int = HOUR,
    member: int = MEMBER,
) -> None:
    await store.add(Addition(member, hour, number, tally, Lines(errors, segments)), seconds_from_now())


async def read(store: ClusterUsageStore, hour: int = HOUR, *, with_lines: bool = True) -> HourUsage | None:
    (usage,) = await store.read(MEMBER, [hour], seconds_from_now(), with_lines=with_lines)
    return usage


def usage_of(tally: Tally, errors: Sequence[str] = (), segments: Sequence[str] = ()) -> HourUsage:
    return HourUsage(tally, Lines(list(errors), list(segments)))


async def test_an_hour_that_nothing_was_sent_in(usage_store: ClusterUsageStore) -> None:
    assert await read(usage_store) is None
    assert await usage_store.read(MEMBER, [], seconds_from_now(), with_lines=True) == []


async def test_an_overload_leaves_nothing_uncounted(usage_store: ClusterUsageStore, embedded: EmbeddedCluster) -> None:
    async with connected(embedded.url, max_pending_bytes=1) as busy:
        await add(ClusterUsageStore(busy, "w2"), 1)
    assert await read(usage_store) == usage_of(TALLY)


async def test_an_addition(usage_store: ClusterUsageStore) -> None:
    await add(usage_store, 1, errors=lines(1, 2), segments=lines(3))
    assert await read(usage_store) == usage_of(TALLY, lines(1, 2), lines(3))
    without = await read(usage_store, with_lines=False)
    assert without == HourUsage(TALLY, Lines())


@pytest.mark.parametrize("name", Tally._fields)
async def test_a_single_counter(usage_store: ClusterUsageStore, name: str) -> None:
    tally = Tally()._replace(**{name: 2**53})
    await add(usage_store, 1, tally)
    await add(usage_store, 2, tally._replace(**{name: 1}))
    assert await read(usage_store) == usage_of(tally._replace(**{name: 2**53 + 1}))


async def test_reasons_add_up(usage_store: ClusterUsageStore) -> None:
    for number, reasons in enumerate([dict.fromkeys((*CallFailure, *Skip), 1), {Skip.INVALID_DOMAIN: 2}], 1):
        addition = Addition(MEMBER, HOUR, number, Tally(calls=1), Lines(), reasons)
        await usage_store.add(addition, seconds_from_now())
    found = await read(usage_store, with_lines=False)
    assert found is not None
    assert found.reasons == {**dict.fromkeys((*CallFailure, *Skip), 1), Skip.INVALID_DOMAIN: 3}


async def test_additions_add_up_and_the_newest_lines_come_last(usage_store: ClusterUsageStore) -> None:
    await add(usage_store, 1, Tally(calls=1), errors=lines(1))
    await add(usage_store, 2, Tally(calls=2, valid_users=5), errors=lines(2, 3), segments=lines(4))
    await add(usage_store, 3, Tally(calls=4))
    assert await read(usage_store) == usage_of(Tally(calls=7, valid_users=5), lines(1, 2, 3), lines(4))


async def test_hours_and_members_are_apart_and_come_in_order(usage_store: ClusterUsageStore) -> None:
    await add(usage_store, 1, Tally(calls=1))
    await add(usage_store, 2, Tally(calls=2), hour=HOUR + 2)
    await add(usage_store, 3, Tally(calls=4), member=OTHER)
    asked = [HOUR + 2, HOUR + 1, HOUR, HOUR + 2]
    found = await usage_store.read(MEMBER, asked, seconds_from_now(), with_lines=False)
    assert [usage and usage.tally.calls for usage in found] == [2, None, 1, 2]


async def test_the_same_number_counts_once(usage_store: ClusterUsageStore) -> None:
    """And so does one that comes late, on a connection given up long ago."""
    await add(usage_store, 5, errors=lines(1))
    for number in (5, 4, 1):
        await add(usage_store, number, errors=lines(2), segments=lines(3))
    assert await read(usage_store) == usage_of(TALLY, lines(1))
    await add(usage_store, 6, Tally(calls=1), errors=lines(2))
    assert await read(usage_store) == usage_of(TALLY._replace(calls=10), lines(1, 2))


async def test_workers_have_numbers_of_their_own(usage_store: ClusterUsageStore, cluster: Cluster) -> None:
    for store in (usage_store, ClusterUsageStore(cluster, "w2"), ClusterUsageStore(cluster, "calls")):
        await add(store, 1, Tally(calls=1), errors=lines(1))
    assert await read(usage_store) == usage_of(Tally(calls=3), lines(1, 1, 1))


ADDED: dict[str, list[int]] = {
    "as many as are kept": [MOST_LINES],
    "one more": [MOST_LINES, 1],
    "one by one": [1] * (MOST_LINES + 3),
    "many at once": [3, MOST_LINES],
    "across the limit": [150, 149],
    "nothing more": [MOST_LINES, 0, 0],
}


@pytest.mark.parametrize("counts", ADDED.values(), ids=ADDED)
@pytest.mark.parametrize("kind", ["errors", "segments"])
async def test_the_newest_lines_are_kept(usage_store: ClusterUsageStore, kind: str, counts: list[int]) -> None:
    numbers, sent = itertools.count(1), list[str]()
    for number, count in enumerate(counts, 1):
        more = [f"line {next(numbers)}" for _ in range(count)]
        sent += more
        given_lines: Any = {kind: more}
        await add(usage_store, number, Tally(calls=1), **given_lines)
    usage = await read(usage_store)
    assert usage is not None
    assert getattr(usage.lines, kind) == sent[-MOST_LINES:]
    assert usage.tally.calls == len(counts)


async def test_the_newest_lines_of_so_many_bytes_are_kept(usage_store: ClusterUsageStore) -> None:
    sent = [f"{number:010}" + "é" * 995 for number in range(90)]  # 2000 bytes
    for number, start in enumerate((0, 20, 40, 41, 60), 1):
        await add(usage_store, number, errors=sent[start : start + 20], segments=["short"])
        usage = await read(usage_store)
        assert usage is not None
        assert sum(len(line.encode()) + 1 for line in usage.lines.errors) <= MOST_LINE_BYTES
    assert usage.lines == Lines((sent[41:61] + sent[60:80])[-29:], ["short"] * 5)


async def test_a_text_is_cut_now_and_then(usage_store: ClusterUsageStore, plain: RedisCluster) -> None:
    sent = [f"{number:05}" + "x" * 1495 for number in range(200)]
    sizes = []
    for number, line in enumerate(sent, 1):
        await add(usage_store, number, errors=[line])
        sizes.append(await plain.strlen(LINES_KEY))
        usage = await read(usage_store)
        assert usage is not None
        assert usage.lines.errors == sent[max(0, number - 39) : number]
    assert 1.9 * MOST_LINE_BYTES < max(sizes) <= 2 * MOST_LINE_BYTES
    assert sum(after < before for before, after in itertools.pairwise(sizes)) == 3


async def test_lines_are_kept_as_they_are(usage_store: ClusterUsageStore) -> None:
    """Whatever Lua takes for a pattern, and other alphabets."""
    odd = ["%d+ (a) [b] %", "", " ", "é日😀", "\\n", "\r", "\x00", "\x1b[31m"]
    await add(usage_store, 1, errors=odd[:4])
    await add(usage_store, 2, errors=odd[4:])
    usage = await read(usage_store)
    assert usage is not None
    assert usage.lines.errors == odd


async def test_an_hour_is_kept_for_thirty_days_after_its_last_addition(
    usage_store: ClusterUsageStore, plain: RedisCluster
) -> None:
    for number in (1, 2):
        await add(usage_store, number, errors=lines(number))
        assert KEPT_SECONDS == 30 * 86_400
        for key in (KEY, LINES_KEY):
            assert KEPT_SECONDS - 60 < await plain.ttl(key) <= KEPT_SECONDS
            await plain.expire(key, 5)


async def test_a_worker_s_number_goes_before_the_hour_does(usage_store: ClusterUsageStore, plain: RedisCluster) -> None:
    await add(usage_store, 1)
    fields = await plain.hkeys(KEY)
    (number,) = [field for field in fields if b"w1" in field]
    (left,) = await plain.hpttl(KEY, number)
    assert NUMBER_KEPT_MS - 60_000 < left <= NUMBER_KEPT_MS
    await plain.hpexpire(KEY, 1, number)
    assert await read(usage_store) == usage_of(TALLY)


async def test_one_round_trip_whatever_is_read(
    usage_store: ClusterUsageStore, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(usage_store, 1)
    batches: list[int] = []
    execute = cluster.execute

    async def counted(commands: Any, deadline: float, *, bounded: bool = True) -> list[Any]:
        batches.append(len(commands))
        return await execute(commands, deadline, bounded=bounded)

    monkeypatch.setattr(cluster, "execute", counted)
    found = await usage_store.read(MEMBER, range(HOUR - 335, HOUR + 1), seconds_from_now(), with_lines=True)
    assert batches == [3 * 336]
    assert [usage is not None for usage in found] == [False] * 335 + [True]


async def test_reading_much_lets_others_run(usage_store: ClusterUsageStore) -> None:
    """Two weeks of hours full of lines: some 14 MB."""
    full = ["x" * 100 for _ in range(MOST_LINES)]
    span = range(HOUR - 335, HOUR + 1)
    for hour in span:
        await add(usage_store, 1, errors=full, segments=full, hour=hour)
    turns, reading = 0, asyncio.create_task(usage_store.read(MEMBER, span, seconds_from_now(30), with_lines=True))
    replies_taken = 0
    while not reading.done():
        turns += 1
        await asyncio.sleep(0)
        replies_taken = turns
    assert [usage.lines.errors == full for usage in reading.result() if usage] == [True] * 336
    assert replies_taken > 336 // 16


async def test_a_lost_answer(usage_store: ClusterUsageStore, embedded: EmbeddedCluster) -> None:
    """The connection goes while additions are under way: each is sent again inside the store, and counts once."""
    port = await owner_of(embedded, await on_node(embedded.ports[0], "CLUSTER", "KEYSLOT", KEY))
    for number in range(1, 21):
        await on_node(port, "CLIENT", "PAUSE", 30, "WRITE")
        adding = asyncio.create_task(add(usage_store, number, Tally(calls=1), errors=lines(number)))
        await asyncio.sleep(0)
        await on_node(port, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await adding
    assert await read(usage_store) == usage_of(Tally(calls=20), lines(*range(1, 21)))


async def test_a_slot_on_its_way(usage_store: ClusterUsageStore, embedded: EmbeddedCluster) -> None:
    """What is counted waits for none of its keys to arrive, nor for the end; lines that would are left out."""
    numbers, more = itertools.count(1), Tally(calls=1)
    await add(usage_store, next(numbers), more, segments=["before"])
    async with migration_of(embedded, key_slot(usage_key(MEMBER, HOUR))) as migration:
        await migration.begin()
        await add(usage_store, next(numbers), more, segments=["begun"])
        await add(usage_store, next(numbers), more, errors=["the first one"], segments=["left out"])
        await add(usage_store, 1, TALLY, segments=lines(1), hour=HOUR + 1)
        await migration.move_keys(1)
        await add(usage_store, next(numbers), more)
        await migration.move_keys()
        await add(usage_store, next(numbers), more, segments=["moved"])
        await migration.end()
        await add(usage_store, next(numbers), more, errors=["ended"])
        assert await read(usage_store) == usage_of(Tally(calls=6), ["ended"], ["before", "begun", "moved"])
        assert await read(usage_store, HOUR + 1) == usage_of(TALLY)


async def test_a_full_memory_keeps_nothing_waiting(usage_store: ClusterUsageStore, embedded: EmbeddedCluster) -> None:
    """Calls that take users out make room, and are counted before they are answered; lines are left out."""
    await add(usage_store, 1, Tally(calls=1), segments=["before"])
    await on_all_nodes(embedded, "CONFIG", "SET", "maxmemory", 1)
    try:
        await add(usage_store, 2, Tally(calls=1, valid_removes=3), segments=["left out"])
        await add(usage_store, 2, Tally(calls=1), segments=["left out"])
        await add(usage_store, 3, Tally(calls=1), hour=HOUR + 1)
    finally:
        await on_all_nodes(embedded, "CONFIG", "SET", "maxmemory", 0)
    await add(usage_store, 4, Tally(calls=1), segments=["after"])
    assert await read(usage_store) == usage_of(Tally(calls=3, valid_removes=3), (), ["before", "after"])
    assert await read(usage_store, HOUR + 1) == usage_of(Tally(calls=1))


async def test_workers_at_once(cluster: Cluster) -> None:
    stores = [ClusterUsageStore(cluster, f"w{number}") for number in range(4)]

    async def work(store: ClusterUsageStore) -> None:
        for number in range(1, 51):
            await add(store, number, Tally(calls=1, valid_adds=number), errors=lines(number))

    await asyncio.gather(*map(work, stores))
    usage = await read(stores[0])
    assert usage is not None
    assert usage.tally == Tally(calls=200, valid_adds=4 * 1275)
    assert sorted(usage.lines.errors) == sorted(lines(*range(1, 51)) * 4)


@needs_proc
async def test_after_the_deadline(embedded: EmbeddedCluster, plain: RedisCluster) -> None:
    """It may have been added; sent again, it counts once."""
    assert await plain.dbsize() == 0
    async with connected(embedded.url) as cluster:
        store = ClusterUsageStore(cluster, "w1")
        await add(store, 1)
        with standing_still(*pids_of(embedded)), pytest.raises(AudienceError) as caught:
            await store.add(Addition(MEMBER, HOUR, 2, Tally(calls=1), Lines()), seconds_from_now(0.05))
        assert caught.value.reason is Reason.UNAVAILABLE
        await add(store, 2, Tally(calls=1))
        assert await read(store) == usage_of(TALLY._replace(calls=10))


text_lines = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=9), max_size=90
)
counts = st.integers(0, 2**31)
steps = st.lists(
    st.tuples(
        st.sampled_from(["w1", "w2"]),
        st.booleans(),
        st.builds(Tally, *[counts] * len(Tally._fields)),
        text_lines,
        text_lines,
    ),
    max_size=12,
)


@given(steps=steps)
async def test_whatever_comes_it_is_what_a_model_says(cluster: Cluster, steps: list[Any]) -> None:
    """Workers add, and some send what they added again."""
    hour, numbers = next(hours), {"w1": 0, "w2": 0}
    stores = {worker: ClusterUsageStore(cluster, worker) for worker in numbers}
    tallies, errors, segments = [Tally()], list[str](), list[str]()
    for worker, again, tally, more_errors, more_segments in steps:
        numbers[worker] += 1
        for _ in range(1 + again):
            await add(stores[worker], numbers[worker], tally, errors=more_errors, segments=more_segments, hour=hour)
        tallies.append(tally)
        errors += more_errors
        segments += more_segments
    total = Tally(*map(sum, zip(*tallies, strict=True)))
    usage = await read(stores["w1"], hour)
    if total == Tally():
        assert usage is None
        return
    assert usage is not None
    assert usage.tally == total
    # A text of one empty line is no text.
    assert [line for line in usage.lines.errors if line] == [line for line in errors[-MOST_LINES:] if line]
    assert [line for line in usage.lines.segments if line] == [line for line in segments[-MOST_LINES:] if line]
