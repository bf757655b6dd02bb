"""Memberships of users in segments: writing and reading them."""

import asyncio
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from typing import NamedTuple, Protocol

from instantaudience_server.settings import Durability
from instantaudience_server.store.interfaces.groups import PackedChanges, PackedCommands

NEVER = 0
"""The end of a membership that never ends."""
REMOVE = -1
"""The pseudo-end by which a change removes the user from the segment."""

NOT_CONFIRMED = "the cluster did not answer in time; sending the call again is safe"
"""The message of UNAVAILABLE where changes of memberships may or may not have been made."""

UserChanges = Mapping[int, Mapping[int, int]]
"""Changes to a user's memberships: end → segment ID → value. An end is a Unix time in ms, `NEVER` or `REMOVE`; each
segment is under one end only."""


def joins(changes: UserChanges) -> bool:
    """Whether the changes add the user to a segment, or prolong a membership."""
    return len(changes) > (REMOVE in changes)


class Alike(NamedTuple):
    """Users, by their keys, who get the same changes, which are encoded once for all of them."""

    keys: Sequence[bytes]
    changes: UserChanges


Changes = Sequence[Alike]
"""Changes to memberships. No user is in it twice."""

Memberships = dict[int, tuple[int, int]]
"""A user's memberships: segment ID → (value, end). An end is a Unix time in ms or `NEVER`."""


class Writing(Protocol):
    """Changes that are being written."""

    @property
    def done(self) -> "asyncio.Future[None]":
        """Done when the cluster has answered every command, or the deadline has passed."""

    @property
    def unanswered(self) -> int:
        """How many commands are not answered yet."""

    def failures(self) -> Mapping[bytes, Exception]:
        """Once `done`: user's key → the error, for users whose changes were not confirmed by the deadline
        (AudienceError UNAVAILABLE) or were refused (any other exception). Some of their changes may have been made."""

    def unwritten(self) -> Collection[bytes]:
        """The keys of the users whose changes are not all confirmed yet."""


class MembershipStore(Protocol):
    """Memberships, and the external IDs that lead to them."""

    def write(
        self,
        changes: Changes | PackedChanges,
        deadline: float,
        durability: Durability | None = None,
        packed: Sequence[PackedCommands] = (),
        may_go: Callable[[], bool] | None = None,
    ) -> Writing:
        """Begin to write changes, and those of other users that are `packed` already. They count as written once they
        have the `durability` (None: the service's). A user's changes with the same end are made atomically.

        Nothing is sent after the deadline, nor when `may_go` returns False, which is called right before each sending.

        Changes of one user are carried out in the order of the calls, as long as none has to be sent again.

        Raises:
            AudienceError: UNAVAILABLE; nothing was changed.
        """

    def pack(self, changes: Changes) -> Generator[None, None, PackedChanges]:
        """Encode many changes for `write`, in steps: the generator yields where other calls may have their turn, and
        returns the result."""

    async def read(self, keys: Sequence[bytes], deadline: float) -> list[Memberships]:
        """Read users' live memberships, in the order of the keys; empty where there are none."""

    async def resolve_external_ids(self, keys: Sequence[bytes], deadline: float) -> list[str | None]:
        """The platform user IDs that external IDs map to, in the order of the keys; None where there is none."""
