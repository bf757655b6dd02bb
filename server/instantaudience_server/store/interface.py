"""What the services ask of the store; they know nothing of Redis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

NEVER = 0
"""As an end: the membership never ends."""
REMOVE = -1
"""As an end: the user leaves the segment."""

UserChanges = Mapping[int, Mapping[int, int]]
"""What to write for a user: end → segment ID → value. An end is a Unix time in ms, `NEVER` or `REMOVE`; a segment
stands under one end."""

Changes = Mapping[bytes, UserChanges]
"""What to write, by user key. Users with the same changes share one object, which is then encoded once."""

Memberships = dict[int, tuple[int, int]]
"""What stands: segment ID → (value, end). An end is a Unix time in ms or `NEVER`."""


@dataclass(frozen=True, slots=True)
class Session:
    """A token's session: whose it is, and when it was issued (Unix time in ms)."""

    user_id: int
    issued_ms: int


class MembershipStore(Protocol):
    """Memberships, and the external IDs that lead to them. Deadlines are times of the event loop's clock, in seconds.

    Every method raises AudienceError UNAVAILABLE when the cluster has not answered by the deadline.
    """

    async def write(self, changes: Changes, deadline: float) -> None:
        """Apply changes; returns when the cluster has taken every one. All changes of a user with one end are atomic.

        Changes of one user are carried out in the order of the calls, as long as its slot stays where it is.
        """

    async def read(self, keys: Sequence[bytes], deadline: float) -> list[Memberships]:
        """Read users' live memberships, in the order of the keys; empty where there are none."""

    async def resolve_external_ids(self, keys: Sequence[bytes], deadline: float) -> list[str | None]:
        """The platform user IDs that external IDs map to, in the order of the keys; None where there is none."""


class SessionStore(Protocol):
    """Sessions by the hash of their token, and recent sign-ins. Deadlines and errors as in MembershipStore."""

    async def create(self, token_hash: str, session: Session, end_ms: int, deadline: float) -> None:
        """Keep a session until `end_ms` (Unix time in ms)."""

    async def find(self, token_hash: str, deadline: float) -> Session | None:
        """The session, or None when there is none or it has ended."""

    async def extend(self, token_hash: str, end_ms: int, deadline: float) -> None:
        """Let a session end at `end_ms` (Unix time in ms) instead; nothing happens when it is gone."""

    async def count_sign_in(
        self, user_id: int, token_hash: str, now_ms: int, window_ms: int, limit: int, deadline: float
    ) -> int:
        """Count the sign-in that leads to a token, unless `limit` of them lie in the window that ends now.

        Returns 0 when it was counted, otherwise how long to wait in ms.
        """


class StoreHealth(Protocol):
    """Whether the store can serve."""

    async def ping(self, deadline: float) -> None:
        """Return when every part of the store has answered; raises AudienceError UNAVAILABLE otherwise."""
