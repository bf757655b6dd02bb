"""What the services ask of the store; they know nothing of Redis.

For the catalog and usage see `catalog_interface` and `usage_interface`.
"""

import asyncio
import enum
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from instantaudience_server.settings import Durability
from instantaudience_server.store.groups import PackedChanges, PackedCommands

NEVER = 0
"""As an end: the membership never ends."""
REMOVE = -1
"""As an end: the user leaves the segment."""

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


@dataclass(frozen=True, slots=True)
class Session:
    """A token's session: whose it is, and when it was issued (Unix time in ms).

    `generation` is how often the user's tokens had been revoked by then; one of an earlier generation is worth nothing.
    """

    user_id: int
    issued_ms: int
    generation: int


class Writing(Protocol):
    """Changes under way."""

    @property
    def done(self) -> "asyncio.Future[None]":
        """Done when the cluster has answered for every change, or the deadline is over."""

    def failures(self) -> Mapping[bytes, Exception]:
        """Users whose changes are not confirmed at the deadline (AudienceError UNAVAILABLE) or were refused (anything
        else), by their keys, once `done`; some of their changes may have been made."""

    def unwritten(self) -> Collection[bytes]:
        """The keys of users whose changes are not confirmed now."""


class MembershipStore(Protocol):
    """Memberships, and the external IDs that lead to them. Deadlines are times of the event loop's clock, in seconds.

    Every method raises AudienceError UNAVAILABLE when the cluster has not answered by the deadline.
    """

    def write(
        self,
        changes: Changes | PackedChanges,
        deadline: float,
        durability: Durability | None = None,
        packed: Sequence[PackedCommands] = (),
    ) -> Writing:
        """Begin to apply changes, and those that are `packed` already, of other users; they are written when they are
        where `durability` wants them (None: as the service does). All changes of a user with one end are atomic.

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


class SessionStore(Protocol):
    """Sessions by the hash of their token, and recent sign-ins. Deadlines and errors as in MembershipStore."""

    async def create(self, token_hash: str, session: Session, end_ms: int, deadline: float) -> None:
        """Keep a session until `end_ms` (Unix time in ms)."""

    async def find(self, token_hash: str, deadline: float) -> Session | None:
        """The session, or None when there is none or it has ended."""

    async def extend(self, token_hash: str, end_ms: int, deadline: float) -> None:
        """Let a session end at `end_ms` (Unix time in ms) instead; nothing happens when it is gone."""

    async def remove(self, token_hash: str, deadline: float) -> None:
        """End a session; one that is gone is no error."""

    async def count_sign_in(
        self, user_id: int, token_hash: str, now_ms: int, window_ms: int, limit: int, deadline: float
    ) -> int:
        """Count the sign-in that leads to a token, unless `limit` of them lie in the window that ends now.

        Returns 0 when it was counted, otherwise how long to wait in ms.
        """

    async def withdraw_sign_in(self, user_id: int, token_hash: str, deadline: float) -> None:
        """Count the sign-in that leads to a token no longer; one that is not counted is no error."""


class Problem(enum.StrEnum):
    """Why a node of the cluster takes no writes."""

    NO_ANSWER = "no_answer"
    """It has not answered in time."""
    NO_CONNECTION = "no_connection"
    NO_ACCESS = "no_access"
    """It refuses the user or the password."""
    NO_PRIMARY = "no_primary"
    """Nobody serves these slots."""
    NO_CONFIRMATION = "no_confirmation"
    """Too few replicas, or disks, have taken a write in time (`Durability`)."""
    OTHER = "other"
    # What it answers itself (https://redis.io/docs/latest/develop/reference/protocol-spec/, "Simple errors").
    OOM = "OOM"
    MISCONF = "MISCONF"
    READONLY = "READONLY"
    NOREPLICAS = "NOREPLICAS"
    CLUSTERDOWN = "CLUSTERDOWN"
    MASTERDOWN = "MASTERDOWN"
    LOADING = "LOADING"
    TRYAGAIN = "TRYAGAIN"
    BUSY = "BUSY"
    NOPERM = "NOPERM"
    WRONGTYPE = "WRONGTYPE"


class NodeState(NamedTuple):
    """A node by its address (`slots …` where slots have none), and why it takes no writes; None: it does."""

    name: str
    problem: Problem | None


class GuessStore(Protocol):
    """Guesses of passwords, by whom and of whom: `subject`. Deadlines and errors as in MembershipStore."""

    async def begin_guess(
        self, subject: str, name: str, now_ms: int, window_ms: int, limit: int, deadline: float
    ) -> int | None:
        """Count the guess of that name, unless `limit` of them lie in the window that ends now.

        The name begins with the Unix time in ms until which it is under way; from then on it counts as wrong. Returns 0
        when it was counted; None when some are under way, which may make room; otherwise how long to wait in ms.
        """

    async def end_guess(self, subject: str, name: str, deadline: float, *, wrong: bool) -> None:
        """Say what a guess was; one that was right is forgotten."""


class StoreHealth(Protocol):
    """Whether the store can serve."""

    async def look(self, deadline: float) -> list[NodeState]:
        """Whether each part of the store takes writes; those that have not answered by the deadline do not."""


class ExternalIdStore(Protocol):
    """What external IDs mean; `memberships/identity.py` makes the keys. Deadlines and errors as in MembershipStore."""

    async def map(self, keys: Sequence[bytes], user_id: str, end_ms: int, deadline: float) -> None:
        """Let external IDs mean a platform user until `end_ms` (Unix time in ms)."""

    async def resolve(self, keys: Sequence[bytes], deadline: float) -> list[tuple[str, int] | None]:
        """Users and ends (Unix time in ms, NEVER), in the order of the keys; None where there is none."""

    async def forget(self, keys: Sequence[bytes], deadline: float) -> int:
        """Forget external IDs; returns how many were known. (A repetition after a lost answer may count fewer.)"""


class Quota(enum.StrEnum):
    """What is counted of a member."""

    POSTS = "posts"
    """Requests to apply memberships, and their users."""
    GETS = "gets"
    """Requests to read."""


class Counts(NamedTuple):
    """How many calls, and how many units (users, for example), are or may be admitted in a window."""

    calls: int
    units: int


class Admissions(NamedTuple):
    """What became of calls: whether each was admitted, in their order, and all that was admitted in the window so far.

    `left_seconds` is how long the window lasted on when the cluster answered.
    """

    admitted: Sequence[bool]
    counts: Counts
    left_seconds: float


class QuotaStore(Protocol):
    """Windows of one second, counted over all workers. Deadlines and errors as in MembershipStore."""

    def ask(
        self, member_id: int, quota: Quota, calls: Sequence[int], limits: Counts, deadline: float
    ) -> "asyncio.Future[Admissions]":
        """Admit calls, each given by its units, in this order, as far as the window has room for them; the question has
        gone out when this returns.

        A call that does not fit is not counted, and a later one may fit. Of one member and quota, at most one question
        may be under way; one whose answer got lost inside the store counts once.
        """

    async def used(self, member_id: int, quota: Quota, deadline: float) -> Counts:
        """What is admitted so far in the window under way."""


Joined = Mapping[tuple[int, ...], Sequence[Sequence[bytes]]]
"""Keys of users who join segments, in pieces, by the IDs of these segments."""


class Joins(NamedTuple):
    """Who joins segments, one membership after the other, those of a segment in a row.

    `users` are their numbers (`hyperloglog.numbers_of`, 64 bits each), `segments` IDs. Of each membership,
    `segment_places` and `user_places` have the places of both there, 32 bits each, in the machine's order.
    """

    users: bytes
    segments: Sequence[int]
    segment_places: bytes
    user_places: bytes


class SegmentSizeStore(Protocol):
    """About how many users ever joined a segment lately. Deadlines and errors as in MembershipStore.

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
