"""Memberships: what changes of them, and what stands."""

import asyncio
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from typing import NamedTuple, Protocol

from instantaudience_server.settings import Durability
from instantaudience_server.store.interfaces.groups import PackedChanges, PackedCommands

NEVER = 0
"""The end of a membership that never ends."""
REMOVE = -1
"""The end that has the user leave the segment."""

NOT_CONFIRMED = "the cluster did not answer in time; sending the call again is safe"
"""What UNAVAILABLE says of changes of which nobody knows whether they were made."""

UserChanges = Mapping[int, Mapping[int, int]]
"""What to write for a user: end → segment ID → value. An end is a Unix time in ms, `NEVER` or `REMOVE`; a segment
stands under one end."""


def joins(changes: UserChanges) -> bool:
    """Whether a user joins a segment by changes."""
    return len(changes) > (REMOVE in changes)


class Alike(NamedTuple):
    """Users with the same changes, by their keys. These changes are encoded once for all of them."""

    keys: Sequence[bytes]
    changes: UserChanges


Changes = Sequence[Alike]
"""What to write. No user stands twice."""

Memberships = dict[int, tuple[int, int]]
"""What stands: segment ID → (value, end). An end is a Unix time in ms or `NEVER`."""


class Writing(Protocol):
    """Changes under way."""

    @property
    def done(self) -> "asyncio.Future[None]":
        """Done when the cluster has answered for every change, or the deadline is over."""

    @property
    def unanswered(self) -> int:
        """How many changes the cluster has not answered for now."""

    def failures(self) -> Mapping[bytes, Exception]:
        """Users whose changes are not confirmed at the deadline (AudienceError UNAVAILABLE) or were refused (anything
        else), by their keys, once `done`; some of their changes may have been made."""

    def unwritten(self) -> Collection[bytes]:
        """The keys of users whose changes are not confirmed now."""


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
        """Begin to apply changes, and those that are `packed` already, of other users; they are written when they are
        where `durability` wants them (None: as the service does). All changes of a user with one end are atomic.

        Nothing goes out past the deadline, nor where `may_go` says no, which is asked each time at the last moment.

        Changes of one user are carried out in the order of the calls, as long as its slot stays where it is.

        Raises:
            AudienceError: UNAVAILABLE, nothing was changed.
        """

    def pack(self, changes: Changes) -> Generator[None, None, PackedChanges]:
        """Prepare many changes for `write`; where it yields, other calls may have their turn."""

    async def read(self, keys: Sequence[bytes], deadline: float) -> list[Memberships]:
        """Read users' live memberships, in the order of the keys; empty where there are none."""

    async def resolve_external_ids(self, keys: Sequence[bytes], deadline: float) -> list[str | None]:
        """The platform user IDs that external IDs map to, in the order of the keys; None where there is none."""
