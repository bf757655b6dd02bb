"""What need not be sent: leaving it out must change nothing in the cluster."""

from array import array
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience_server.store.sizes.hyperloglog import numbers_of, places_of
from instantaudience_server.store.sizes.registers import FEW, MOST_COUNTED, Additions, Registers
from instantaudience_server.transport.hosts import native
from support.cluster.users import native_keys

Joining = dict[tuple[int, ...], list[bytes]]


def user_keys(first: int, count: int) -> list[bytes]:
    return [b"m:p:%d" % user_id for user_id in range(first, first + count)]


def add(registers: Registers, joined: Joining) -> Additions:
    pieces = {segments: [keys[:1], keys[1:]] for segments, keys in joined.items()}
    return registers.add(pieces, *places_of(numbers_of([key for keys in joined.values() for key in keys])))


def send(registers: Registers, joined: Joining) -> list[tuple[int, bytes]]:
    """Add, and count what is sent as the store does: segments and users."""
    additions = add(registers, joined)
    keys = [key for keys in joined.values() for key in keys]
    sent = [(segment, keys[user]) for segment, user in zip(*map(np.ndarray.tolist, additions), strict=True)]
    return counted(registers, sent)


def send_native(registers: Registers, joined: Joining) -> list[tuple[int, bytes]]:
    """As `send`, for keys that the extension has."""
    sent = []
    for segments, keys in joined.items():
        by_number = dict(zip(numbers_of(keys).tolist(), keys, strict=True))
        pieces = [native_keys(piece) for piece in (keys[:1], keys[1:]) if piece]
        for segment, numbers in registers.add_native(segments, pieces):
            sent += [(segment, by_number[number]) for number in array("Q", numbers)]
    return counted(registers, sent)


def counted(registers: Registers, sent: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    for segment, _ in sent:
        registers.count(segment, 1)
    return sent


Send = Callable[[Registers, Joining], list[tuple[int, bytes]]]

in_both_ways = pytest.mark.parametrize(
    "send",
    [send, pytest.param(send_native, marks=pytest.mark.skipif(native.missing() is not None, reason="no extension"))],
)


def crowded() -> dict[bytes, tuple[int, int]]:
    """Users who share a few registers, each with its register and rank."""
    keys = user_keys(1, 200_000)
    places = zip(keys, *map(np.ndarray.tolist, places_of(numbers_of(keys))), strict=True)
    return {key: (index, rank) for key, index, rank in places if index < 8}


CROWD = crowded()
CROWD_KEYS = list(CROWD)


class Model:
    """Registers as the cluster has them: the highest rank of each."""

    def __init__(self) -> None:
        self.ranks: defaultdict[tuple[int, int], int] = defaultdict(int)

    def add(self, segment: int, key: bytes) -> None:
        index, rank = CROWD[key]
        self.ranks[segment, index] = max(self.ranks[segment, index], rank)


segment_sets = st.lists(st.integers(1, 6), min_size=1, max_size=6, unique=True).map(tuple)
some_of_the_crowd = st.builds(
    lambda first, count: CROWD_KEYS[first : first + count], st.integers(0, len(CROWD) - 1), st.integers(1, len(CROWD))
)
joinings = st.dictionaries(segment_sets, some_of_the_crowd, min_size=1, max_size=5)


@in_both_ways
@given(calls=st.lists(joinings, max_size=12), most_segments=st.integers(1, 4), known_after=st.integers(1, 40))
def test_nothing_is_left_out_that_would_raise_a_register(
    send: Send, calls: list[Joining], most_segments: int, known_after: int
) -> None:
    """Also where segments lose their places to others."""
    registers = Registers(most_segments=most_segments, known_after=known_after)
    everything, sent = Model(), Model()
    for joined in calls:
        for segments, keys in joined.items():
            for segment in segments:
                for key in keys:
                    everything.add(segment, key)
        for segment, key in send(registers, joined):
            sent.add(segment, key)
        assert sent.ranks == everything.ranks


@in_both_ways
@pytest.mark.parametrize("segments", [(1,), tuple(range(1, 101))], ids=["few", "many"])
def test_what_is_known_is_not_sent_again(segments: tuple[int, ...], send: Send) -> None:
    registers = Registers(known_after=10)
    joined = {segments: user_keys(1, 20)}
    assert (len(segments) * 20 >= FEW) == (len(segments) > 1)
    every = sorted((segment, key) for segment in segments for key in joined[segments])
    assert sorted(send(registers, joined)) == every  # nothing is known
    assert sorted(send(registers, joined)) == every  # nothing was, when these were sent
    assert send(registers, joined) == []
    more = {segments: user_keys(1, 40)}
    assert sorted(send(registers, more)) == sorted((segment, key) for segment in segments for key in user_keys(21, 20))
    registers.forget()
    assert sorted(send(registers, joined)) == every


@in_both_ways
def test_little_traffic_does_not_push_out_much(send: Send) -> None:
    """A segment that is used stays known, whatever comes beside it; the one that was used least lately goes."""
    registers = Registers(most_segments=2, known_after=10)
    busy, idle = {(1,): user_keys(1, 10)}, {(2,): user_keys(1, 10)}
    for joined in (busy, idle, busy, idle):
        send(registers, joined)
    for segment in range(10, 20):
        assert send(registers, busy) == []
        send(registers, {(segment,): user_keys(1, 9)})  # too few to be known
    assert send(registers, idle) == []
    send(registers, busy)
    send(registers, {(3,): user_keys(1, 10)})
    send(registers, {(3,): user_keys(1, 10)})
    assert send(registers, {(3,): user_keys(1, 10)}) == []
    assert send(registers, busy) == []
    assert len(send(registers, idle)) == 10


def test_counts_are_kept_for_so_many_segments() -> None:
    registers = Registers(known_after=2)
    for others in (MOST_COUNTED - 2, MOST_COUNTED):
        registers.forget()
        registers.count(1, 1)
        for segment in range(2, 2 + others):
            registers.count(segment, 1)
        registers.count(1, 1)
        is_known = others < MOST_COUNTED
        sent = [len(add(registers, {(1,): user_keys(1, 5)}).users) for _ in range(2)]
        assert sent == ([5, 0] if is_known else [5, 5])
