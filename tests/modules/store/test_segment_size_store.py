"""Sizes of segments in the cluster: what is left out changes nothing, on every product."""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.process.clock import MS_PER_HOUR
from instantaudience_server.store import segment_size_store
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.segment_sizes import Joined
from instantaudience_server.store.keys import key_slot, segment_size_key
from instantaudience_server.store.segment_size_store import MS_PER_WEEK, ClusterSegmentSizeStore
from instantaudience_server.store.sizes.hyperloglog import REGISTERS, numbers_of, places_of
from instantaudience_server.transport.hosts import native
from redis.asyncio import RedisCluster
from support.cluster.nodes import down, on_node, owner_of
from support.cluster.running import connected, running_node
from support.cluster.users import native_keys, user_key
from support.waiting import eventually, seconds_from_now

NOW_MS = time.time_ns() // 1_000_000
WEEK = NOW_MS // MS_PER_WEEK
PLAIN_KEY = b"h:{plain}"
LARGEST_ERROR = 0.02


@pytest.fixture
def sizes(cluster: Cluster) -> ClusterSegmentSizeStore:
    return ClusterSegmentSizeStore(cluster)


def users(first: int, count: int) -> list[bytes]:
    return [user_key(user_id) for user_id in range(first, first + count)]


async def add(sizes: ClusterSegmentSizeStore, *joined: Joined, now_ms: int = NOW_MS) -> int:
    """Take and send each; how many commands that took."""
    sent = 0
    for each in joined:
        sizes.take(each, now_ms)
        sent += await sizes.send(seconds_from_now())
    assert sizes.waiting == 0
    return sent


async def count(sizes: ClusterSegmentSizeStore, *segment_ids: int, now_ms: int = NOW_MS) -> list[int]:
    return await sizes.count(segment_ids, now_ms, seconds_from_now())


async def registers(plain: RedisCluster, key: bytes) -> list[int]:
    """The registers of a HyperLogLog, as the server has them."""
    node = plain.get_node_from_key(key.decode())
    ranks: list[int] = await plain.execute_command("PFDEBUG", "GETREG", key, target_nodes=node)
    return ranks


async def add_plainly(plain: RedisCluster, keys: Iterable[bytes]) -> None:
    """Every user, one element each, as anybody would."""
    numbers = [number.tobytes() for number in numbers_of(list(keys))]
    for start in range(0, len(numbers), 1000):
        await plain.pfadd(PLAIN_KEY, *numbers[start : start + 1000])


async def test_a_user_raises_the_register_that_is_expected(plain: RedisCluster) -> None:
    keys = users(1, 20_000) + [b"m:i:%08x-d1a5-49ef-ad1c-2d9230ebcd13" % number for number in range(20_000)]
    await add_plainly(plain, keys)
    expected = [0] * REGISTERS
    for index, rank in zip(*places_of(numbers_of(keys)), strict=True):
        expected[index] = max(expected[index], int(rank))
    assert await registers(plain, PLAIN_KEY) == expected


@pytest.mark.parametrize(
    "read",
    [list, pytest.param(native_keys, marks=pytest.mark.skipif(native.missing() is not None, reason="no extension"))],
)
async def test_what_is_left_out_changes_no_register(
    sizes: ClusterSegmentSizeStore, plain: RedisCluster, read: Callable[[list[bytes]], Sequence[bytes]]
) -> None:
    """A hundred thousand users, in calls of all sizes, many of them again and again, and hardly any is sent."""
    choose = random.Random(1)
    other_segments = tuple(range(100, 150))
    added: list[bytes] = []
    sent = additions = 0
    while len(added) < 400_000:
        some = users(choose.randrange(100_000), choose.choice((1, 7, 1000)))
        pieces = {(1, *other_segments): some[::2], (1,): some[1::2]}
        joined: Joined = {segments: [read(each)] for segments, each in pieces.items() if each}
        sizes.take(joined, NOW_MS)
        sent += sizes.waiting
        additions += len(some) + len(other_segments) * len(some[::2])
        added += some
        await sizes.send(seconds_from_now())
    await add_plainly(plain, dict.fromkeys(added))
    assert await registers(plain, segment_size_key(1, WEEK)) == await registers(plain, PLAIN_KEY)
    assert await count(sizes, 1) == [await plain.pfcount(PLAIN_KEY)]
    assert sent < additions / 4


SIZES = (1, 2, 10, 100, 1000, 10_000, 200_000)


async def test_sizes_are_right_to_two_percent(sizes: ClusterSegmentSizeStore) -> None:
    first = 1
    for segment_id, size in enumerate(SIZES, 1):
        for start in range(first, first + size, 5000):
            sizes.take({(segment_id,): [users(start, min(5000, first + size - start))]}, NOW_MS)
        first += size
    await sizes.send(seconds_from_now())
    for size, counted in zip(SIZES, await count(sizes, *range(1, len(SIZES) + 1)), strict=True):
        assert counted == pytest.approx(size, rel=LARGEST_ERROR)
    assert await count(sizes, 99) == [0]


async def test_a_user_counts_once(sizes: ClusterSegmentSizeStore, cluster: Cluster) -> None:
    """Also where another worker adds it, and in another week."""
    other = ClusterSegmentSizeStore(cluster)
    await add(sizes, {(1, 2): [users(1, 3)]}, {(1, 2): [users(1, 3)], (1,): [users(1, 3)]})
    await add(other, {(2, 1): [users(2, 3)]})
    await add(sizes, {(1,): [users(1, 4)]}, now_ms=NOW_MS - MS_PER_WEEK)
    assert await count(sizes, 1, 2) == await count(other, 1, 2) == [4, 4]


WEEKS_BACK = [(0, 1), (1, 1), (4, 1), (5, 0), (-1, 0)]


@pytest.mark.parametrize(("weeks_back", "counted"), WEEKS_BACK)
async def test_this_week_and_the_four_before_count(
    sizes: ClusterSegmentSizeStore, cluster: Cluster, weeks_back: int, counted: int
) -> None:
    await add(sizes, {(1,): [users(1, 1)]})
    assert await count(sizes, 1, now_ms=NOW_MS + weeks_back * MS_PER_WEEK) == [counted]


async def test_keys_end_when_they_are_no_longer_counted(sizes: ClusterSegmentSizeStore, plain: RedisCluster) -> None:
    await add(sizes, {(1,): [users(1, 1)]}, {(1,): [users(2, 1)]})
    end = await plain.pexpiretime(segment_size_key(1, WEEK))
    assert end == (WEEK + 5) * MS_PER_WEEK
    assert 28 * 86_400_000 < end - NOW_MS <= 35 * 86_400_000


async def test_a_new_week_begins_with_nothing_known(sizes: ClusterSegmentSizeStore, plain: RedisCluster) -> None:
    joined = {(1,): [users(1, 2000)]}
    await add(sizes, joined, joined)
    sizes.take(joined, NOW_MS)
    assert sizes.waiting == 0  # all of it is known
    next_week_ms = (WEEK + 1) * MS_PER_WEEK
    await add(sizes, joined, now_ms=next_week_ms)
    assert await registers(plain, segment_size_key(1, WEEK + 1)) == await registers(plain, segment_size_key(1, WEEK))
    assert await plain.pexpiretime(segment_size_key(1, WEEK + 1)) == (WEEK + 6) * MS_PER_WEEK


async def test_keys_of_a_week_that_begins_while_additions_are_under_way_end_too(
    sizes: ClusterSegmentSizeStore, plain: RedisCluster
) -> None:
    sizes.take({(1,): [users(1, 10)]}, NOW_MS)
    sending = asyncio.ensure_future(sizes.send(seconds_from_now()))
    await asyncio.sleep(0)
    sizes.take({(1,): [users(11, 10)]}, (WEEK + 1) * MS_PER_WEEK)
    await sending
    assert sizes.waiting == 0
    for week in (WEEK, WEEK + 1):
        assert await plain.pexpiretime(segment_size_key(1, week)) == (week + 5) * MS_PER_WEEK


async def test_what_a_node_lost_is_added_again_an_hour_later(
    sizes: ClusterSegmentSizeStore, plain: RedisCluster
) -> None:
    joined = {(1,): [users(1, 2000)]}
    await add(sizes, joined, joined)
    await plain.delete(segment_size_key(1, WEEK))
    later_ms = (NOW_MS // MS_PER_WEEK) * MS_PER_WEEK + (NOW_MS % MS_PER_WEEK + MS_PER_HOUR) % MS_PER_WEEK
    await add(sizes, joined, now_ms=later_ms)
    assert await count(sizes, 1) == [pytest.approx(2000, rel=LARGEST_ERROR)]
    assert await plain.pexpiretime(segment_size_key(1, WEEK)) == (WEEK + 5) * MS_PER_WEEK


async def test_many_additions_are_sent_in_pieces(sizes: ClusterSegmentSizeStore, plain: RedisCluster) -> None:
    """No command is so large that a node does nothing else for long."""
    sizes.take({(1,): [users(1, 25_001)], tuple(range(2, 1200)): [users(1, 1)]}, NOW_MS)
    assert sizes.waiting == 25_001 + 1198
    assert await sizes.send(seconds_from_now()) == 26 + 1198 + 1199  # PFADD, and as many expiries as segments
    await add_plainly(plain, users(1, 25_001))
    assert await registers(plain, segment_size_key(1, WEEK)) == await registers(plain, PLAIN_KEY)
    assert await count(sizes, *range(2, 1200)) == [1] * 1198


async def test_what_was_not_confirmed_is_sent_again(
    embedded: EmbeddedCluster, sizes: ClusterSegmentSizeStore, plain: RedisCluster
) -> None:
    owners = [await owner_of(embedded, key_slot(segment_size_key(each, WEEK))) for each in range(1, 6)]
    port = owners[0]
    sizes.take({(1, 2, 3, 4, 5): [users(1, 2000)]}, NOW_MS)
    await on_node(port, "CLIENT", "PAUSE", 60_000, "WRITE")
    with pytest.raises(AudienceError) as failed:
        await sizes.send(seconds_from_now(0.3))
    assert failed.value.reason is Reason.UNAVAILABLE
    assert sizes.waiting == 2000 * owners.count(port)
    sizes.take({(1,): [users(2001, 2000)]}, NOW_MS)
    await on_node(port, "CLIENT", "UNPAUSE")
    await sizes.send(seconds_from_now())
    assert sizes.waiting == 0
    await add_plainly(plain, users(1, 4000))
    assert await registers(plain, segment_size_key(1, WEEK)) == await registers(plain, PLAIN_KEY)
    assert (await count(sizes, 2, 5)) == [pytest.approx(2000, rel=LARGEST_ERROR)] * 2


async def test_sending_that_is_cancelled_loses_nothing(
    embedded: EmbeddedCluster, sizes: ClusterSegmentSizeStore
) -> None:
    port = await owner_of(embedded, key_slot(segment_size_key(1, WEEK)))
    sizes.take({(1,): [users(1, 10)]}, NOW_MS)
    await on_node(port, "CLIENT", "PAUSE", 60_000, "WRITE")
    sending = asyncio.ensure_future(sizes.send(seconds_from_now()))
    await asyncio.sleep(0)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await on_node(port, "CLIENT", "UNPAUSE")
    assert sizes.waiting == 10
    await sizes.send(seconds_from_now())
    assert await count(sizes, 1) == [10]


async def test_sizes_that_nobody_tells_are_unavailable(product: str, tmp_path: Path) -> None:
    async with (
        running_node(product, tmp_path, "cluster-enabled yes") as port,
        connected(f"redis://127.0.0.1:{port}") as cluster,
    ):
        sizes = ClusterSegmentSizeStore(cluster)
        await eventually(lambda: add(sizes, {(1,): [users(1, 1)]}))
        await on_node(port, "CLUSTER", "DELSLOTS", key_slot(segment_size_key(2, WEEK)))
        await down(port)
        with pytest.raises(AudienceError) as failed:
            await sizes.count([1], NOW_MS, seconds_from_now(0.3))
        assert failed.value.reason is Reason.UNAVAILABLE


@pytest.mark.parametrize("additions_at_once", [segment_size_store.ADDITIONS_AT_ONCE, 5])
async def test_segments_of_a_node_that_is_away_hold_up_no_others(
    additions_at_once: int, embedded: EmbeddedCluster, sizes: ClusterSegmentSizeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither those that are sent with them nor those behind them: else those wait, too, and are left out at last."""
    monkeypatch.setattr(segment_size_store, "ADDITIONS_AT_ONCE", additions_at_once)
    owners = {each: await owner_of(embedded, key_slot(segment_size_key(each, WEEK))) for each in range(1, 40)}
    away = next(each for each, owner in owners.items() if owner == owners[1])
    there = next(each for each, owner in owners.items() if owner != owners[1])
    await on_node(owners[away], "CLIENT", "PAUSE", 60_000, "WRITE")
    try:
        sizes.take({(away,): [users(1, 10)]}, NOW_MS)
        sizes.take({(there,): [users(1, 20)]}, NOW_MS)
        for _ in range(2):
            with pytest.raises(AudienceError):
                await sizes.send(seconds_from_now(0.5))
        assert (sizes.waiting, await count(sizes, there)) == (10, [20])
    finally:
        await on_node(owners[away], "CLIENT", "UNPAUSE")
    await sizes.send(seconds_from_now())
    assert (sizes.waiting, await count(sizes, away)) == (0, [10])
