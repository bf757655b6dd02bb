"""Users that members must not add to segments."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

ALL_MEMBERS = 0
"""The member of a suppression that holds for every member."""


class Due(NamedTuple):
    """A suppressed user that is to be removed from a member's segments once more; `name` tells it from others, and
    `since` one that it has been suppressed for from a later one."""

    member_id: int
    user_key: bytes
    name: bytes
    since: bytes


class Found(NamedTuple):
    """What is known of users: those that are suppressed, and those of which it is not known, and why."""

    suppressed: frozenset[bytes]
    failures: Mapping[bytes, Exception]


class SuppressionStore(Protocol):
    """Suppressions. Users are given by the keys of their memberships; a member may be `ALL_MEMBERS`."""

    async def version(self, deadline: float) -> bytes:
        """A name of what `members` would tell; it changes whenever that does."""

    async def members(self, deadline: float) -> dict[int, int]:
        """The members that have suppressed users, and the latest end of their suppressions (Unix time in ms, `NEVER`).

        An end may be past.
        """

    async def find(self, member_id: int, user_keys: Sequence[bytes], deadline: float) -> Found:
        """Those that are suppressed now, for the member or for all.

        Users that are not known at the deadline have failed (AudienceError UNAVAILABLE), as those that were refused
        (anything else).

        Raises:
            AudienceError: UNAVAILABLE, nothing is known.
        """

    async def suppress(
        self,
        member_id: int,
        user_keys: Sequence[bytes],
        now_ms: int,
        end_ms: int,
        again_ms: tuple[int, int],
        name: str,
        deadline: float,
    ) -> None:
        """Suppress users until `end_ms` (Unix time in ms, `NEVER`), and let them be due after each of two times (ms).

        Those that are suppressed for longer stay so: only `lift` ends that.
        A random `name` tells what is known then from what was before.
        """

    async def lift(self, member_id: int, user_keys: Sequence[bytes], now_ms: int, name: str, deadline: float) -> None:
        """End the suppression of users, and let them be due no more. For `ALL_MEMBERS`, that of each member too."""

    async def due(self, deadline: float, passed_over: int = 0) -> list[Due]:
        """Some of those that are due, those first that have been so for longest; so many of these are passed over."""

    async def remove(self, due: Due, segment_ids: Sequence[int], deadline: float) -> None:
        """Take a user out of segments, if it is suppressed for the member still; it is due no more, unless it was
        suppressed anew meanwhile."""
