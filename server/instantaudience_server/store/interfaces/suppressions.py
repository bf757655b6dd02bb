"""Users that members must not add to segments."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

ALL_MEMBERS = 0
"""The `member_id` of suppressions that hold for every member."""


class Due(NamedTuple):
    """A suppressed user who is to be removed from a member's segments once more. `name` identifies the entry, and
    `since`, when it became due, tells it from a later one of the same name."""

    member_id: int
    user_key: bytes
    name: bytes
    since: bytes


class Found(NamedTuple):
    """The keys of the users who are suppressed, and user's key → the error, for those about whom it is unknown."""

    suppressed: frozenset[bytes]
    failures: Mapping[bytes, Exception]

    def known_of_all(self) -> frozenset[bytes]:
        """The suppressed users, where no user is left about whom it is unknown.

        Raises:
            Exception: the first of the failures.
        """
        for error in self.failures.values():
            raise error
        return self.suppressed


class SuppressionStore(Protocol):
    """Suppressions. Users are given by the keys of their memberships; a member may be `ALL_MEMBERS`."""

    async def version(self, deadline: float) -> bytes:
        """The version of what `members` returns; it changes whenever that does."""

    async def members(self, deadline: float) -> dict[int, int]:
        """The members that have suppressed users, and the latest end of their suppressions (Unix time in ms, `NEVER`).

        An end may be past.
        """

    async def find(self, member_id: int, user_keys: Sequence[bytes], deadline: float) -> Found:
        """The users who are suppressed now, for the member or for all members.

        `Found.failures` has AudienceError UNAVAILABLE for users that were not looked up by the deadline, and another
        exception for those that a node refused to look up.

        Raises:
            AudienceError: UNAVAILABLE; no user was looked up.
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
        """Suppress users until `end_ms` (Unix time in ms, or `NEVER`), and have them removed once more after each of
        the two delays of `again_ms` (ms).

        Users who are suppressed for longer stay so: only `lift` shortens that. `name` is a random one for the new
        version.
        """

    async def lift(self, member_id: int, user_keys: Sequence[bytes], now_ms: int, name: str, deadline: float) -> bool:
        """End the suppression of users; for `ALL_MEMBERS`, also those for each member. `name` is as in `suppress`.

        Returns whether any of them was suppressed at `now_ms` (Unix time in ms).
        """

    async def due(self, deadline: float, passed_over: int = 0) -> list[Due]:
        """Some of the users who are due for removal, the longest due first, without the first `passed_over`."""

    async def remove(self, due: Due, segment_ids: Sequence[int], deadline: float) -> None:
        """Remove a user from segments if it is still suppressed for the member, and delete the entry, unless the user
        was suppressed again meanwhile."""
