"""Who joins segments is noted beside the calls, and told some seconds later (docs/adr/0015-segment-sizes.md)."""

import asyncio
import time
from collections.abc import Mapping, Sequence

import pytest
from instantaudience_server import segment_sizes
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.segment_sizes import MEMBERSHIPS_AT_ONCE, MOST_USERS, USERS_AT_ONCE, SegmentSizes
from instantaudience_server.store import keys
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.memberships import NEVER, REMOVE, Changes
from instantaudience_server.store.interfaces.segment_sizes import Joined
from instantaudience_server.store.segment_size_store import MS_PER_WEEK, ClusterSegmentSizeStore
from prometheus_client import REGISTRY
from redis.asyncio import RedisCluster
from support.clocks import FakeClock
from support.cluster.nodes import carried_out, on_all_nodes, on_node, owner_of
from support.cluster.users import for_each, of_users, user_key
from support.waiting import eventually, seconds_from_now

MARGIN_SECONDS = 10.0
"""What a busy machine may take longer; the cluster is away for a minute."""
SOON = time.time_ns() // 1_000_000 + 3_600_000


class Peer:
    """Another worker's store: it tells sizes as they are now, and adds users at once."""

    def __init__(self, cluster: Cluster, clock: FakeClock) -> None:
        self._store = ClusterSegmentSizeStore(cluster)
        self._clock = clock

    async def sizes(self, segment_ids: Sequence[int]) -> list[int]:
        return await self._store.count(segment_ids, self._clock.now_ms(), seconds_from_now())

    async def expect(self, expected: Mapping[int, int]) -> None:
        """Wait until sizes are right, to two percent."""

        async def check() -> None:
            assert await self.sizes(list(expected)) == [pytest.approx(size, rel=0.02) for size in expected.values()]

        await eventually(check)

    async def add(self, segment_id: int, user_id: int) -> None:
        self._store.take({(segment_id,): [[user_key(user_id)]]}, self._clock.now_ms())
        await self._store.send(seconds_from_now())


@pytest.fixture
def sizes(sizes: SegmentSizes, monkeypatch: pytest.MonkeyPatch) -> SegmentSizes:
    """Those of the fixture for all tests; a cluster on a busy machine has time to tell them."""
    monkeypatch.setattr(segment_sizes, "READ_SECONDS", MARGIN_SECONDS)
    return sizes


@pytest.fixture
async def peer(cluster: Cluster, clock: FakeClock) -> Peer:
    return Peer(cluster, clock)


def joining(first: int, count: int, *segment_ids: int) -> Changes:
    """Users who join segments."""
    user_keys = [user_key(user_id) for user_id in range(first, first + count)]
    return for_each(user_keys, {SOON: dict.fromkeys(segment_ids, 1)})


CHANGES: dict[str, tuple[Changes, dict[int, int]]] = {
    "one user": (joining(1, 1, 10001), {10001: 1}),
    "users with the same segments": (joining(1, 3, 1, 2), {1: 3, 2: 3}),
    "users with others": ([*joining(1, 3, 1, 2), *joining(4, 2, 2, 3), *joining(6, 1, 1, 2)], {1: 4, 2: 6, 3: 2}),
    "several ends": (for_each([user_key(1)], {SOON: {1: 0}, NEVER: {2: 0}, SOON + 1: {3: 0}}), {1: 1, 2: 1, 3: 1}),
    "who leaves": (
        of_users({user_key(1): {REMOVE: {1: 0}}, user_key(2): {REMOVE: {1: 0}, NEVER: {2: 0}}}),
        {1: 0, 2: 1},
    ),
    "nobody": ([], {1: 0}),
    "devices": (for_each([b"m:i:a", b"m:a:a", b"m:p:1"], {NEVER: {1: 1}}), {1: 3}),
    "the largest IDs": (for_each([b"m:p:18446744073709551615"], {NEVER: {2**31 - 1: 1}}), {2**31 - 1: 1}),
}


@pytest.mark.parametrize(("changes", "expected"), CHANGES.values(), ids=CHANGES)
async def test_who_counts(sizes: SegmentSizes, peer: Peer, changes: Changes, expected: dict[int, int]) -> None:
    sizes.note(changes)
    sizes.note(changes)  # of a call that was sent again
    sizes.note(joining(1, 1, 99))
    await peer.expect({99: 1} | expected)
    assert await sizes.estimates(expected, seconds_from_now()) == expected


async def test_many_calls_of_all_kinds(sizes: SegmentSizes, peer: Peer) -> None:
    """More than are worked off at once, by users and by memberships."""
    assert USERS_AT_ONCE < 30 * 900
    assert MEMBERSHIPS_AT_ONCE < 80 * 1000
    for call in range(30):
        sizes.note(joining(900 * call + 1, 900, 1))
    sizes.note(joining(1, 80, *range(1000, 2000)))
    for user_id in range(1, 500):
        sizes.note(for_each([user_key(user_id)], {NEVER: {2: 1, 3000 + user_id: 1}}))
    alone = {3000 + user_id: 1 for user_id in range(1, 500)}
    await peer.expect({1: 30 * 900, 2: 499} | dict.fromkeys(range(1000, 2000), 80) | alone)


async def test_a_large_call_is_worked_off_in_pieces(
    sizes: SegmentSizes, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each user has segments of its own: this takes longest."""
    take = ClusterSegmentSizeStore.take
    taken = []

    def noted(store: ClusterSegmentSizeStore, joined: Joined, now_ms: int) -> None:
        taken.append(sum(len(segment_ids) * sum(map(len, users)) for segment_ids, users in joined.items()))
        take(store, joined, now_ms)

    monkeypatch.setattr(ClusterSegmentSizeStore, "take", noted)
    users, segments = 1000, 80
    sizes.note(
        of_users(
            {
                user_key(user_id): {NEVER: dict.fromkeys([1, *range(10 * user_id, 10 * user_id + segments - 1)], 1)}
                for user_id in range(1, users + 1)
            }
        )
    )
    await peer.expect({1: users, 10 * users: 1 + (segments - 2) // 10})
    assert sum(taken) == users * segments
    assert max(taken) < MEMBERSHIPS_AT_ONCE + segments


def left_out() -> float:
    """Users that were left out so far."""
    return REGISTRY.get_sample_value("instant_audience_segment_size_users_left_out_total") or 0.0


async def test_what_waits_is_bounded(sizes: SegmentSizes, peer: Peer) -> None:
    """And there is room again, when it was worked off."""
    before = left_out()
    sizes.note(joining(1, MOST_USERS, 1))
    assert left_out() == before
    sizes.note(joining(1, 7, 2))
    assert left_out() == before + 7
    await sizes.make_room()
    sizes.note(joining(1, MOST_USERS // 2, 3))
    sizes.note(joining(1, 7, 2))
    assert left_out() == before + 7
    await peer.expect({1: MOST_USERS, 2: 7, 3: MOST_USERS // 2})


async def test_a_cluster_that_takes_nothing_does_not_hold_up_a_file(
    sizes: SegmentSizes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its users are left out."""
    monkeypatch.setattr(segment_sizes, "MOST_WAITING", 0)
    monkeypatch.setattr(segment_sizes, "GATHER_SECONDS", 0.001)
    sizes.note(joining(1, MOST_USERS, 1))
    async with asyncio.timeout(MARGIN_SECONDS):
        await sizes.make_room()


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 50])
async def test_the_end_sends_what_is_left(
    cluster: Cluster, clock: FakeClock, peer: Peer, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    """Also of what is being worked off at that moment."""
    monkeypatch.setattr(segment_sizes, "GATHER_SECONDS", 0)
    sizes = SegmentSizes(ClusterSegmentSizeStore(cluster), clock)
    for call in range(30):
        sizes.note(joining(900 * call + 1, 900, 1))
    for _ in range(turns):
        await asyncio.sleep(0)
    await sizes.close()
    assert await peer.sizes([1]) == [pytest.approx(30 * 900, rel=0.02)]


async def test_a_cluster_that_is_away_delays_nobody(
    embedded: EmbeddedCluster, cluster: Cluster, clock: FakeClock
) -> None:
    sizes = SegmentSizes(ClusterSegmentSizeStore(cluster), clock)
    await on_all_nodes(embedded, "CLIENT", "PAUSE", 60_000, "WRITE")
    try:
        sizes.note(joining(1, 10, 1))
        async with asyncio.timeout(segment_sizes.READ_SECONDS + MARGIN_SECONDS):
            assert await sizes.estimates([1, 2], seconds_from_now()) == {}
        async with asyncio.timeout(MARGIN_SECONDS):
            assert await sizes.estimates([2, 3], seconds_from_now(0.05)) == {}
        async with asyncio.timeout(segment_sizes.CLOSE_SECONDS + MARGIN_SECONDS):
            await sizes.close()
    finally:
        await on_all_nodes(embedded, "CLIENT", "UNPAUSE")


async def test_what_the_cluster_does_not_take_is_sent_again(
    embedded: EmbeddedCluster,
    cluster: Cluster,
    clock: FakeClock,
    peer: Peer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(segment_sizes, "SEND_SECONDS", 0.1)
    monkeypatch.setattr(segment_sizes, "RETRY_SECONDS", 0.05)
    store = ClusterSegmentSizeStore(cluster)
    sizes = SegmentSizes(store, clock)
    key = keys.segment_size_key(1, clock.now_ms() // MS_PER_WEEK)
    port = await owner_of(embedded, keys.key_slot(key))
    await on_node(port, "CLIENT", "PAUSE", 60_000, "WRITE")
    for first, waiting in ((1, 10), (11, 20)):
        sizes.note(joining(first, 10, 1))

        async def waits(waiting: int = waiting) -> None:
            assert store.waiting == waiting

        await eventually(waits)
    await on_node(port, "CLIENT", "UNPAUSE")
    await peer.expect({1: 20})
    await sizes.close()
    assert store.waiting == 0


@pytest.mark.parametrize("command", ["PFADD", "PFCOUNT"])
async def test_a_cluster_that_refuses_fails_nobody(
    embedded: EmbeddedCluster, sizes: SegmentSizes, peer: Peer, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """A cluster whose ACL is of an older version."""
    monkeypatch.setattr(segment_sizes, "RETRY_SECONDS", 0.05)
    await on_all_nodes(embedded, "ACL", "SETUSER", "default", f"-{command}")
    try:
        sizes.note(joining(1, 3, 1))
        estimates = await sizes.estimates([1], seconds_from_now())
        assert estimates == ({} if command == "PFCOUNT" else {1: 0})
    finally:
        await on_all_nodes(embedded, "ACL", "SETUSER", "default", f"+{command}")
    await peer.expect({1: 3})


async def test_sizes_are_good_for_some_seconds(
    sizes: SegmentSizes, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await sizes.estimates([1], seconds_from_now()) == {1: 0}
    await peer.add(1, 1)
    assert await sizes.estimates([1, 2], seconds_from_now()) == {1: 0, 2: 0}
    monkeypatch.setattr(segment_sizes, "FRESH_SECONDS", 0)
    assert await sizes.estimates([3], seconds_from_now()) == {3: 0}
    await peer.add(3, 1)
    assert await sizes.estimates([3, 1], seconds_from_now()) == {3: 1, 1: 0}


async def test_many_who_ask_are_one_question(sizes: SegmentSizes, plain: RedisCluster) -> None:
    before = await carried_out(plain, "pfcount")
    pages = [range(1, 101)] * 500 + [range(51, 151)] * 500
    answers = await asyncio.gather(*[sizes.estimates(page, seconds_from_now()) for page in pages])
    assert [answer.keys() for answer in answers] == [set(page) for page in pages]
    assert await carried_out(plain, "pfcount") == before + 150


async def test_sizes_that_are_kept_are_bounded(
    sizes: SegmentSizes, plain: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_sizes, "MOST_FRESH", 150)
    before = await carried_out(plain, "pfcount")
    for _ in range(2):
        for page in (range(1, 101), range(101, 201)):  # each pushes out the other
            assert len(await sizes.estimates(page, seconds_from_now())) == 100
    assert await carried_out(plain, "pfcount") == before + 400
    assert len(await sizes.estimates(range(101, 201), seconds_from_now())) == 100
    assert await carried_out(plain, "pfcount") == before + 400
