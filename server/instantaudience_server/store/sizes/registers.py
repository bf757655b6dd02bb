"""The registers of the cluster's HyperLogLogs, as far as a worker knows them from its own additions."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from instantaudience_server.store.interfaces.segment_sizes import Joined
from instantaudience_server.store.sizes.hyperloglog import REGISTERS, Indexes, Ranks

if TYPE_CHECKING:
    from instantaudience_native import KnownRanks, UserKeys

MOST_SEGMENTS = 1000
"""The most segments whose registers are kept, 16 KB each: those that got users last."""
KNOWN_AFTER = 500
"""How many additions to a segment are sent before its registers are kept; for fewer, sending is cheaper."""
MOST_COUNTED = 50_000
"""About how many segments' additions are counted up to `KNOWN_AFTER`."""
FEW = 256
"""Users with the same segments are handled together with others if they have fewer memberships than this."""

Segments = NDArray[np.int64]
"""Segment IDs."""

_UNKNOWN = 0
"""The row shared by the segments whose registers are not kept; it stays 0, so that all their additions are sent."""


class Additions(NamedTuple):
    """Memberships that may raise a register: their segments' IDs and, in the same order, their users' positions."""

    segments: Segments
    users: Indexes


class Registers:
    """Lower bounds of the cluster's registers: each register there is at least as high as here, or will be once the
    additions that `add` returned have arrived. A segment whose registers are kept has a row of `REGISTERS` ranks."""

    def __init__(self, *, most_segments: int = MOST_SEGMENTS, known_after: int = KNOWN_AFTER) -> None:
        rows = most_segments + 1
        self._most_segments = most_segments
        self._known_after = known_after
        # `forget` clears it in place: Envoy's allocator would not give back the memory of a second array that existed
        # beside it for a moment each hour.
        self._ranks = np.zeros(rows * REGISTERS, np.uint8)
        self._native_ranks: KnownRanks | None = None
        """What `add_native` has added; the rows are those of `_ranks`."""
        self._rows: dict[int, int] = {}
        self._segments = [0] * rows
        self._used = np.zeros(rows, np.int64)
        self._turn = 0
        self._counts: Counter[int] = Counter()

    def forget(self) -> None:
        """Forget all registers and counts."""
        self._ranks[: (len(self._rows) + 1) * REGISTERS] = 0
        self._native_ranks = None
        self._rows.clear()
        self._used[:] = 0
        self._turn = 0
        self._counts.clear()

    def add(self, joined: Joined, indexes: Indexes, ranks: Ranks) -> Additions:
        """Note additions, and return those that may raise a register and therefore have to be sent.

        `indexes` and `ranks` are those of the users of `joined`, in its order. Positions are in these arrays.
        """
        self._turn += 1
        found: list[Additions] = []
        few: list[tuple[tuple[int, ...], int, int]] = []
        first = 0
        for segment_ids, pieces in joined.items():
            users = sum(map(len, pieces))
            after = first + users
            if len(segment_ids) * users < FEW:
                few.append((segment_ids, first, users))
            else:
                found.append(self._add_many(segment_ids, first, indexes[first:after], ranks[first:after]))
            first = after
        if few:
            found.append(self._add_few(few, indexes, ranks))
        return Additions(
            np.concatenate([each.segments for each in found]), np.concatenate([each.users for each in found])
        )

    def add_native(self, segment_ids: Sequence[int], pieces: "Sequence[UserKeys]") -> Iterator[tuple[int, bytes]]:
        """As `add`, for users whose keys the extension has, and who join all of these segments.

        Yields segments' IDs and the numbers of users who may raise a register there, 64 bits each, in the machine's
        byte order.
        """
        if self._native_ranks is None:
            from instantaudience_native import KnownRanks  # where it is missing, there are no such keys

            self._native_ranks = KnownRanks(self._most_segments + 1)
        self._turn += 1
        rows = self._rows_of(segment_ids).tolist()
        for users in pieces:
            for place, numbers in self._native_ranks.add(rows, users):
                yield segment_ids[place], numbers

    def add_listed(
        self,
        segment_ids: Sequence[int],
        segment_places: NDArray[np.uint32],
        users: Indexes,
        indexes: Indexes,
        ranks: Ranks,
    ) -> Additions:
        """As `add`, for a list of memberships: positions in `segment_ids` and, in the same order, of the users."""
        self._turn += 1
        rows = self._rows_of(segment_ids)[segment_places]
        return self._add_rows(rows, np.array(segment_ids, np.int64)[segment_places], users, indexes, ranks)

    def count(self, segment_id: int, additions: int) -> None:
        """Count additions that were sent for a segment; after `known_after`, its registers are kept."""
        if segment_id in self._rows:
            return
        if len(self._counts) >= MOST_COUNTED:
            self._counts.clear()
        self._counts[segment_id] += additions
        if self._counts[segment_id] >= self._known_after:
            del self._counts[segment_id]
            self._make_row(segment_id)

    def _add_many(self, segment_ids: tuple[int, ...], first: int, indexes: Indexes, ranks: Ranks) -> Additions:
        """Note that every user joins every segment, by a table of segments and users. `first` is the position of the
        first user."""
        places = self._rows_of(segment_ids)[:, np.newaxis] * REGISTERS + indexes
        raising = np.flatnonzero(self._ranks.take(places) < ranks)
        segments, users = np.divmod(raising, len(indexes))
        self._raise(places.ravel()[raising], ranks[users])
        return Additions(np.array(segment_ids, np.int64)[segments], users + first)

    def _add_few(self, few: list[tuple[tuple[int, ...], int, int]], indexes: Indexes, ranks: Ranks) -> Additions:
        """Note small groups of users, each given by its segments, the position of its first user, and its size, by one
        list of all their memberships."""
        segment_ids = [segment_id for each, _, _ in few for segment_id in each]
        widths = np.array([len(each) for each, _, _ in few])
        firsts, sizes = np.array([(first, size) for _, first, size in few]).T
        # First an item for each user, then one for each of the user's memberships.
        users = _ranges(firsts, sizes)
        user_widths = np.repeat(widths, sizes)
        places = _ranges(np.repeat(np.cumsum(widths) - widths, sizes), user_widths)
        return self._add_rows(
            self._rows_of(segment_ids)[places],
            np.array(segment_ids, np.int64)[places],
            np.repeat(users, user_widths),
            indexes,
            ranks,
        )

    def _add_rows(self, rows: Indexes, segments: Segments, users: Indexes, indexes: Indexes, ranks: Ranks) -> Additions:
        """Note memberships: the rows and IDs of their segments and the positions of their users, in the same order."""
        places = rows * REGISTERS + indexes[users]
        raising = np.flatnonzero(self._ranks.take(places) < ranks[users])
        users = users[raising]
        self._raise(places[raising], ranks[users])
        return Additions(segments[raising], users)

    def _rows_of(self, segment_ids: Sequence[int]) -> Indexes:
        row = self._rows.get
        rows = np.array([row(segment_id, _UNKNOWN) for segment_id in segment_ids], np.intp)
        self._used[rows] = self._turn
        return rows

    def _raise(self, places: Indexes, ranks: Ranks) -> None:
        known = places >= REGISTERS
        np.maximum.at(self._ranks, places[known], ranks[known])

    def _make_row(self, segment_id: int) -> None:
        """Give a segment a row: a free one, or that of the segment that has got no user for the longest time."""
        row = len(self._rows) + 1
        if row > self._most_segments:
            row = 1 + int(np.argmin(self._used[1:]))
            del self._rows[self._segments[row]]
            self._ranks[row * REGISTERS : (row + 1) * REGISTERS] = 0
            if self._native_ranks is not None:
                self._native_ranks.clear(row)
        self._rows[segment_id] = row
        self._segments[row] = segment_id
        self._used[row] = self._turn


def _ranges(firsts: Indexes, sizes: Indexes) -> Indexes:
    """Concatenated ranges of integers, each given by its first number and its size."""
    before = np.cumsum(sizes) - sizes
    ranges: Indexes = np.arange(sizes.sum()) + np.repeat(firsts - before, sizes)
    return ranges
