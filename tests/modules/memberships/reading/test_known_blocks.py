"""Lists of blocks that are known from earlier requests mean what they would mean if they were read anew."""

import time
from collections.abc import Iterable, Sequence

import pytest
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.catalog.records import Object, encode, kind_of
from instantaudience_server.memberships.reading.known_blocks import Blocks, KnownBlocks, Repeated, blocks_of
from instantaudience_server.store.interfaces.catalog import Kind, Record
from instantaudience_server.store.interfaces.memberships import NEVER, REMOVE, UserChanges
from support.clocks import NOW_MS

BLOCKS = blocks_of(1, {10: (5, 1)})
OTHER = blocks_of(2, {10: (0, 1), 20: (0, 2)})


def records(*messages: Object) -> Iterable[Record]:
    return [Record(kind_of(message), encode(message)) for message in messages]


@pytest.fixture
def catalog() -> Catalog:
    return Catalog(records(pb.Member(id=1), pb.Member(id=2), pb.Segment(id=10, member_id=1)))


@pytest.fixture
def known(catalog: Catalog) -> KnownBlocks:
    known = KnownBlocks(catalog)
    known.keep(catalog.members[1], b"a list", BLOCKS)
    return known


def test_ends_count_from_the_moment_the_request_was_read(subtests: pytest.Subtests) -> None:
    for expiration, end in [
        (1, NOW_MS + 60_000),
        (0, NEVER),
        (-1, REMOVE),
        (525_600_000, NOW_MS + 525_600_000 * 60_000),
        (525_600_001, NEVER),
    ]:
        with subtests.test(expiration=expiration, end=end):
            blocks = blocks_of(1, {10: (expiration, 7)})
            assert blocks.changes(NOW_MS) == {end: {10: 7}}
            later = end + 5 if end > 0 else end
            assert blocks.changes(NOW_MS + 5) == {later: {10: 7}}


def test_memberships_are_counted() -> None:
    memberships = {1: (-1, 0), 2: (0, 0), 3: (5, 1), 4: (5, 2), 5: (525_600_001, 3)}
    assert blocks_of(7, memberships) == Blocks(7, by_lifetime={REMOVE: {1: 0}, NEVER: {2: 0, 5: 3}, 5: {3: 1, 4: 2}})
    assert blocks_of(0, {}) == Blocks(0, {})


def test_a_list_is_known_to_the_member_that_sent_it(catalog: Catalog, known: KnownBlocks) -> None:
    assert known.find(catalog.members[1], b"a list") is BLOCKS
    assert known.find(catalog.members[1], b"another") is None
    assert known.find(catalog.members[2], b"a list") is None
    known.keep(catalog.members[2], b"a list", OTHER)
    assert known.find(catalog.members[1], b"a list") is BLOCKS
    assert known.find(catalog.members[2], b"a list") is OTHER


@pytest.mark.parametrize("changed", [pb.Segment(id=10, member_id=1, state=pb.SEGMENT_STATE_INACTIVE), pb.Member(id=2)])
def test_a_change_of_the_catalog_is_forgetting(catalog: Catalog, known: KnownBlocks, changed: Object) -> None:
    catalog.put(records(changed))
    assert known.find(catalog.members[1], b"a list") is None
    known.keep(catalog.members[1], b"a list", OTHER)
    assert known.find(catalog.members[1], b"a list") is OTHER
    catalog.remove(Kind.SEGMENT, 10)
    assert known.find(catalog.members[1], b"a list") is None


def test_a_call_that_began_before_its_member_changed_teaches_later_ones_nothing(
    catalog: Catalog, known: KnownBlocks
) -> None:
    before = catalog.members[1]
    catalog.put(records(pb.Member(id=1, default_expiration=5)))
    known.keep(before, b"a list", BLOCKS)
    assert known.find(catalog.members[1], b"a list") is None
    known.keep(catalog.members[1], b"a list", OTHER)
    assert known.find(before, b"a list") is None


def test_what_is_kept_is_bounded(catalog: Catalog) -> None:
    known = KnownBlocks(catalog, most_bytes=100_000)
    member = catalog.members[1]
    lists = [b"list %d" % number for number in range(1000)]
    for each in lists:
        known.keep(member, each, BLOCKS)
        assert known.find(member, each) is BLOCKS
        assert sum(known.find(member, other) is not None for other in lists) <= 100


def merged(repeated: Sequence[UserChanges]) -> UserChanges:
    """What a user changes that stands in a request so often."""
    users = {b"m:p:1": repeated[0]}
    others = Repeated()
    for changes in repeated[1:]:
        others.add(users, b"m:p:1", changes)
    others.merge(users)
    return users[b"m:p:1"]


def test_of_a_user_that_stands_often_the_last_changes_count() -> None:
    stays, leaves, other = {NEVER: {10: 1}}, {REMOVE: {10: 0}}, {NEVER: {20: 2}}
    assert merged([stays, leaves, other, stays]) == {NEVER: {10: 1, 20: 2}}
    assert merged([stays, other, leaves]) == {REMOVE: {10: 0}, NEVER: {20: 2}}


def test_a_user_that_stands_often_costs_as_much_as_many_users() -> None:
    started = time.process_time()
    changes = merged([{NEVER: dict.fromkeys(range(50 * each, 50 * each + 50), 1)} for each in range(2000)])
    assert time.process_time() - started < 2.0  # ten seconds and more where each time costs as much as all before
    assert changes == {NEVER: dict.fromkeys(range(100_000), 1)}
