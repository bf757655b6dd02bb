"""How large segments are."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

Joined = Mapping[tuple[int, ...], Sequence[Sequence[bytes]]]
"""Keys of users who join segments, in pieces, by the IDs of these segments."""


class Joins(NamedTuple):
    """Who joins segments, one membership after the other, those of a segment in a row.

    `users` are their numbers (`sizes.hyperloglog.numbers_of`, 64 bits each), `segments` IDs. Of each membership,
    `segment_places` and `user_places` have the places of both there, 32 bits each, in the machine's order.
    """

    users: bytes
    segments: Sequence[int]
    segment_places: bytes
    user_places: bytes


class SegmentSizeStore(Protocol):
    """About how many users ever joined a segment lately.

    What is taken is sent by `send` alone, and none of it may be lost before the cluster has confirmed it.
    """

    waiting: int
    """How many additions are to be sent, about; what cannot change a size is not among them."""

    def take(self, joined: Joined, now_ms: int) -> None:
        """Note that users join segments at `now_ms` (Unix time in ms)."""

    def take_joins(self, joins: Joins, now_ms: int) -> None:
        """As `take`, of many memberships at once."""

    async def send(self, deadline: float) -> int:
        """Add to the cluster what was taken, once at a time; returns how many commands that took.

        After UNAVAILABLE, some of it still waits.
        """

    async def count(self, segment_ids: Sequence[int], now_ms: int, deadline: float) -> list[int]:
        """How many different users joined each segment in the weeks before `now_ms` (Unix time in ms)."""
