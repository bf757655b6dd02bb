"""Sizes of segments: how many users joined them lately."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

Joined = Mapping[tuple[int, ...], Sequence[Sequence[bytes]]]
"""IDs of segments → the keys of the users who join all of them, in several sequences."""


class Joins(NamedTuple):
    """Users who join segments, as a list of memberships in which those of a segment are consecutive.

    `users` are the users' numbers (`sizes.hyperloglog.numbers_of`, 64 bits each), `segments` the segments' IDs. For
    each membership, `segment_places` and `user_places` have its positions in `segments` and `users`, 32 bits each. All
    numbers are in the machine's byte order.
    """

    users: bytes
    segments: Sequence[int]
    segment_places: bytes
    user_places: bytes


class SegmentSizeStore(Protocol):
    """Estimates of how many distinct users joined each segment in the last weeks.

    `take` only collects additions, and `send` sends them; an addition is kept until the cluster has confirmed it.
    """

    waiting: int
    """About how many additions are to be sent, without those that cannot change an estimate."""

    def take(self, joined: Joined, now_ms: int) -> None:
        """Note that users join segments at `now_ms` (Unix time in ms)."""

    def take_joins(self, joins: Joins, now_ms: int) -> None:
        """As `take`, for a list of memberships."""

    async def send(self, deadline: float) -> int:
        """Send the additions that were taken; returns how many commands that took. It must not be called while another
        call runs. After UNAVAILABLE, some additions still wait."""

    async def count(self, segment_ids: Sequence[int], now_ms: int, deadline: float) -> list[int]:
        """Estimate how many distinct users joined each segment in the weeks before `now_ms` (Unix time in ms)."""
