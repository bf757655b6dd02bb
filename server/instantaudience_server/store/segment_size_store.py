"""How many users joined segments, in the cluster (see `interfaces.segment_sizes.SegmentSizeStore`;
docs/adr/0015-segment-sizes.md)."""

from array import array
from collections.abc import Sequence
from itertools import filterfalse

import numpy as np

from instantaudience_server.process.clock import MS_PER_HOUR
from instantaudience_server.store import keys
from instantaudience_server.store.cluster import commands
from instantaudience_server.store.cluster.batch import Listed
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.segment_sizes import Joined, Joins
from instantaudience_server.store.native_keys import are_native
from instantaudience_server.store.sizes import hyperloglog
from instantaudience_server.store.sizes.registers import Additions, Registers

MS_PER_WEEK = 7 * 86_400_000
WEEKS = 5
"""How many weeks are counted: the current one and those before it. So a user counts for 28 to 35 days."""
ADDITIONS_AT_ONCE = 10_000
SEGMENTS_AT_ONCE = 500
"""The most additions, and segments, that are sent at once (except that one segment's additions are sent together):
about 2 ms of the worker's time and of a node's."""
ADDITIONS_OF_A_COMMAND = 1000
"""The most additions in one command, as the node does nothing else while it runs."""
MOST_LASTING = 50_000
"""About how many keys are remembered to have an expiry."""


class ClusterSegmentSizeStore:
    """One HyperLogLog for each segment and week, which expires when the week is no longer counted."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._registers = Registers()
        self._hour = self._week = 0
        self._waiting: dict[int, array[int]] = {}
        """Segment ID → the numbers of the users to be added."""
        self._lasting: set[int] = set()
        """Segments whose key of this week is known to have an expiry."""
        self.waiting = 0

    def take(self, joined: Joined, now_ms: int) -> None:
        """Keep the additions that may raise a register."""
        self._look_at_the_hour(now_ms)
        others = {}
        for segment_ids, pieces in joined.items():
            if native := list(filter(are_native, pieces)):
                for segment_id, numbers in self._registers.add_native(segment_ids, native):
                    self._wait_for(segment_id, numbers)
            if left := list(filterfalse(are_native, pieces)):
                others[segment_ids] = left
        if others:
            users = hyperloglog.numbers_of([key for pieces in others.values() for piece in pieces for key in piece])
            self._wait(self._registers.add(others, *hyperloglog.places_of(users)), users)

    def take_joins(self, joins: Joins, now_ms: int) -> None:
        """Keep the additions that may raise a register."""
        self._look_at_the_hour(now_ms)
        users = np.frombuffer(joins.users, np.uint64)
        segment_places = np.frombuffer(joins.segment_places, np.uint32)
        user_places = np.frombuffer(joins.user_places, np.uint32).astype(np.intp)
        indexes, ranks = hyperloglog.places_of(users)
        self._wait(self._registers.add_listed(joins.segments, segment_places, user_places, indexes, ranks), users)

    def _look_at_the_hour(self, now_ms: int) -> None:
        """Forget the known registers at the start of each hour, so that users who were lost in a failover are missing
        for no longer than that."""
        if now_ms // MS_PER_HOUR != self._hour:
            self._hour, self._week = now_ms // MS_PER_HOUR, now_ms // MS_PER_WEEK
            self._registers.forget()
            self._lasting.clear()

    def _wait(self, additions: Additions, users: hyperloglog.Numbers) -> None:
        """Keep additions until they are sent; `additions.users` are positions in `users`."""
        order = np.argsort(additions.segments, kind="stable")
        segments = additions.segments[order]
        numbers = users[additions.users[order]]
        starts = np.flatnonzero(np.diff(segments, prepend=-1))
        ends = np.append(starts[1:], len(segments))
        for segment_id, start, end in zip(segments[starts].tolist(), starts.tolist(), ends.tolist(), strict=False):
            self._wait_for(segment_id, numbers[start:end].tobytes())

    def _wait_for(self, segment_id: int, numbers: bytes) -> None:
        """Keep additions to a segment until they are sent: the users' numbers."""
        waiting = self._waiting.get(segment_id)
        if waiting is None:
            waiting = self._waiting[segment_id] = array("Q")
        waiting.frombytes(numbers)
        self.waiting += len(numbers) // waiting.itemsize

    async def send(self, deadline: float) -> int:
        """Send the additions of some segments at a time. Those that are not confirmed are kept, behind all others: a
        node that is away holds up the segments in its own slots only."""
        sent = 0
        while self._waiting:
            sending: dict[int, int] = {}
            room = ADDITIONS_AT_ONCE
            for segment_id, waiting in self._waiting.items():
                sending[segment_id] = len(waiting)
                room -= len(waiting)
                if room <= 0 or len(sending) == SEGMENTS_AT_ONCE:
                    break
            week, (packed, segments) = self._week, self._pack(sending)
            batch = self._cluster.begin([Listed(packed)], deadline)
            await batch.done
            sent += len(packed)
            failures = batch.failures()
            failed = {segments[index] for failure in failures for index in failure.indexes}
            self._confirm({each: count for each, count in sending.items() if each not in failed}, week)
            for segment_id in failed:
                self._waiting[segment_id] = self._waiting.pop(segment_id)
            for failure in failures:
                raise failure.error
        return sent

    async def count(self, segment_ids: Sequence[int], now_ms: int, deadline: float) -> list[int]:
        """Ask about all segments in one round trip."""
        week = now_ms // MS_PER_WEEK
        weeks = range(week, week - WEEKS, -1)
        asked = [
            commands.count_distinct([keys.segment_size_key(segment_id, each) for each in weeks])
            for segment_id in segment_ids
        ]
        return await self._cluster.execute(asked, deadline)

    def _pack(self, sending: dict[int, int]) -> tuple[list[commands.Command], list[int]]:
        """The commands that send additions (`sending` is segment ID → how many, from the first one on), and the segment
        of each command."""
        numbers = b"".join([self._waiting[segment_id] for segment_id in sending])
        arguments = hyperloglog.pack(np.frombuffer(numbers, np.uint64))
        packed: list[commands.Command] = []
        segments: list[int] = []
        first = 0
        for segment_id, count in sending.items():
            key = keys.segment_size_key(segment_id, self._week)
            for start in range(first, first + count, ADDITIONS_OF_A_COMMAND):
                end = min(start + ADDITIONS_OF_A_COMMAND, first + count)
                packed.append(commands.add_distinct(key, end - start, arguments[start:end].tobytes()))
            if segment_id not in self._lasting:
                packed.append(commands.expire_at(key, (self._week + WEEKS) * MS_PER_WEEK))
            segments += [segment_id] * (len(packed) - len(segments))
            first += count
        return packed, segments

    def _confirm(self, sent: dict[int, int], week: int) -> None:
        """Drop the additions that the cluster has taken (segment ID → how many, from the first one on). They were sent
        for `week`, which may be over by now."""
        if len(self._lasting) >= MOST_LASTING:
            self._lasting.clear()
        if week == self._week:
            self._lasting |= sent.keys()
        for segment_id, count in sent.items():
            self._registers.count(segment_id, count)
            self.waiting -= count
            del self._waiting[segment_id][:count]
            if not self._waiting[segment_id]:
                del self._waiting[segment_id]
