"""What a worker knows of the HyperLogLogs in the cluster, so that it need not send what would change nothing."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from instantaudience_server.store.interfaces.segment_sizes import Joined
from instantaudience_server.store.sizes.hyperloglog import REGISTERS, Indexes, Ranks

MOST_SEGMENTS = 1000
"""Segments whose registers are known, at most: those that got users last. 16 KB each."""
KNOWN_AFTER = 500
"""Additions to a segment before its registers are known: fewer are sent faster than they are noted."""
MOST_COUNTED = 50_000
"""Segments whose additions are counted up to `KNOWN_AFTER`, about."""
FEW = 256
"""Memberships of users with the same segments, below which they are looked at together with those of others."""

Segments = NDArray[np.int64]
"""Segment IDs."""

_UNKNOWN = 0
"""The row of segments whose registers are not known; all of it stays 0."""


class Additions(NamedTuple):
    """What may raise a register: segments, and beside each the position of the user that joins it."""

    segments: Segments
    users: Indexes


class Registers:
    """Registers that are at least as high in the cluster, or will be when it has taken what is on its way."""

    def __init__(self, *, most_segments: int = MOST_SEGMENTS, known_after: int = KNOWN_AFTER) -> None:
        rows = most_segments + 1
        self._most_segments = most_segments
        self._known_after = known_after
        # Cleared where it lies when it is forgotten: a second array beside it, for a moment each hour, would stay with
        # Envoy's allocator.
        self._ranks = np.zeros(rows * REGISTERS, np.uint8)
        self._rows: dict[int, int] = {}
        self._segments = [0] * rows
        self._used = np.zeros(rows, np.int64)
        self._turn = 0
        self._counts: Counter[int] = Counter()

    def forget(self) -> None:
        """Know nothing any more."""
        self._ranks[: (len(self._rows) + 1) * REGISTERS] = 0
        self._rows.clear()
        self._used[:] = 0
        self._turn = 0
        self._counts.clear()

    def add(self, joined: Joined, indexes: Indexes, ranks: Ranks) -> Additions:
        """Note additions, and say which of them may raise a register: these must go to the cluster.

        `indexes` and `ranks` are those of the users of `joined`, in its order; so are positions.
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

    def add_listed(
        self,
        segment_ids: Sequence[int],
        segment_places: NDArray[np.uint32],
        users: Indexes,
        indexes: Indexes,
        ranks: Ranks,
    ) -> Additions:
        """As `add`, of a list of memberships: places in `segment_ids`, and beside each the position of the user."""
        self._turn += 1
        rows = self._rows_of(segment_ids)[segment_places]
        return self._add_rows(rows, np.array(segment_ids, np.int64)[segment_places], users, indexes, ranks)

    def count(self, segment_id: int, additions: int) -> None:
        """Count what is sent to a segment; one with much traffic becomes known."""
        if segment_id in self._rows:
            return
        if len(self._counts) >= MOST_COUNTED:
            self._counts.clear()
        self._counts[segment_id] += additions
        if self._counts[segment_id] >= self._known_after:
            del self._counts[segment_id]
            self._make_row(segment_id)

    def _add_many(self, segment_ids: tuple[int, ...], first: int, indexes: Indexes, ranks: Ranks) -> Additions:
        """Every user joins every segment: a table of both."""
        places = self._rows_of(segment_ids)[:, np.newaxis] * REGISTERS + indexes
        raising = np.flatnonzero(self._ranks.take(places) < ranks)
        segments, users = np.divmod(raising, len(indexes))
        self._raise(places.ravel()[raising], ranks[users])
        return Additions(np.array(segment_ids, np.int64)[segments], users + first)

    def _add_few(self, few: list[tuple[tuple[int, ...], int, int]], indexes: Indexes, ranks: Ranks) -> Additions:
        """Users that share their segments with few others, each group by its first user and size: as a list of
        memberships."""
        segment_ids = [segment_id for each, _, _ in few for segment_id in each]
        widths = np.array([len(each) for each, _, _ in few])
        firsts, sizes = np.array([(first, size) for _, first, size in few]).T
        # A row for each user, and then a membership for each of its segments.
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
        """Memberships, of rows and segments beside positions of users."""
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
        """Give a segment a row: a free one, or that of the segment that got no user for the longest time."""
        row = len(self._rows) + 1
        if row > self._most_segments:
            row = 1 + int(self._used[1:].argmin())
            del self._rows[self._segments[row]]
            self._ranks[row * REGISTERS : (row + 1) * REGISTERS] = 0
        self._rows[segment_id] = row
        self._segments[row] = segment_id
        self._used[row] = self._turn


def _ranges(firsts: Indexes, sizes: Indexes) -> Indexes:
    """Ranges of whole numbers, one behind the other, each by its first and how many it has."""
    before = np.cumsum(sizes) - sizes
    ranges: Indexes = np.arange(sizes.sum()) + np.repeat(firsts - before, sizes)
    return ranges
