"""What the services ask of the store; they know nothing of Redis."""

import enum
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

NEVER = 0
"""As an end: the membership never ends."""
REMOVE = -1
"""As an end: the user leaves the segment."""

UserChanges = Mapping[int, Mapping[int, int]]
"""What to write for a user: end → segment ID → value. An end is a Unix time in ms, `NEVER` or `REMOVE`; a segment
stands under one end."""


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


class Kind(enum.StrEnum):
    """What the catalog holds."""

    MEMBER = "member"
    USER = "user"
    SEGMENT = "segment"


class Record(NamedTuple):
    """An object of the catalog: `data` is its serialised message, without `etag`."""

    kind: Kind
    data: bytes


Version = bytes
"""A state of the catalog, named by the last change that led to it; empty before the first one. Every history of changes
has versions of its own: those of another catalog, or of one that lost changes in a failover, are never taken for ours.
"""

Page = tuple[Kind, Sequence[bytes]]
"""Some objects of one kind: their serialised messages, without `etag`."""


class Change(NamedTuple):
    """A change of the catalog, and the version it led to; `data` is what stands since then, None after a deletion."""

    version: Version
    kind: Kind
    object_id: int
    data: bytes | None


class NextChanges(NamedTuple):
    """The next changes, oldest first; `are_all` says that there were no more when the cluster answered."""

    changes: Sequence[Change]
    are_all: bool


class Write(NamedTuple):
    """A change to make: replace exactly `before` (None: nothing is there) with `after` (None: delete).

    `owner_id` is the member that a user or a segment belongs to (0 for members). `name_before` and `name_after` are
    what nobody else of its kind may have (see `catalog_records.unique_name`), None where there is nothing such.
    `password_hash` is set with a user (None: it stays as it is).
    """

    kind: Kind
    id: int
    before: bytes | None
    after: bytes | None
    owner_id: int = 0
    name_before: str | None = None
    name_after: str | None = None
    password_hash: str | None = None


class Outcome(enum.Enum):
    """What became of a write."""

    DONE = enum.auto()
    """It was made."""
    CONFLICT = enum.auto()
    """Something else stands there than `before`."""
    NAME_TAKEN = enum.auto()
    """Another object has the unique name."""
    NO_OWNER = enum.auto()
    """There is no such member."""
    IN_USE = enum.auto()
    """The member to delete still owns users or segments."""


class CatalogStore(Protocol):
    """The catalog, shared by all workers. Deadlines and errors as in MembershipStore."""

    async def version(self, deadline: float) -> Version:
        """The state of the catalog now."""

    def load(self, page_seconds: float) -> AsyncIterator[Page]:
        """Read everything, a page at a time, each within `page_seconds`.

        What changes meanwhile may come in either state, or twice: follow `changes` from the version before.
        """

    async def changes(self, after: Version, deadline: float) -> NextChanges | None:
        """The next changes after a version.

        None when they are no longer kept, or the catalog is another one: load it again.
        """

    async def find(self, kind: Kind, ids: Sequence[int], deadline: float) -> list[bytes | None]:
        """Objects as they are now, in the order of the IDs; None where there is none."""

    async def password_hashes(self, user_ids: Sequence[int], deadline: float) -> list[str | None]:
        """Users' password hashes, in the order of the IDs; None where there is none."""

    async def credentials(self, user_id: int, deadline: float) -> tuple[bytes | None, str | None]:
        """A user and its password's hash, in one round trip; each None where there is none.

        The user is read first: a password that is changed in between comes with an older `token_generation`.
        """

    async def credentials_by_name(self, name: str, deadline: float) -> tuple[bytes | None, str | None]:
        """The user that has a unique name (see `catalog_records.unique_user_name`) now, and its password's hash.

        Whether there is one makes no difference to the work.
        """

    async def write(self, writes: Sequence[Write], deadline: float) -> list[Outcome]:
        """Make changes, in order, each by itself and none twice. After UNAVAILABLE, some may have been made."""

    async def allocate_id(self, kind: Kind, deadline: float) -> int:
        """An ID that no object of this kind has or had."""


class ExternalIdStore(Protocol):
    """What external IDs mean; keys are those of `identity.external_key`. Deadlines and errors as in MembershipStore."""

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

    async def ask(
        self, member_id: int, quota: Quota, calls: Sequence[int], limits: Counts, deadline: float
    ) -> Admissions:
        """Admit calls, each given by its units, in this order, as far as the window has room for them.

        A call that does not fit is not counted, and a later one may fit. Of one member and quota, at most one question
        may be under way; one whose answer got lost inside the store counts once.
        """

    async def used(self, member_id: int, quota: Quota, deadline: float) -> Counts:
        """What is admitted so far in the window under way."""


class Tally(NamedTuple):
    """What is counted of a member's calls (source: contract, "GET /rt-segment-processed").

    `calls`, which the contract does not have, are those that were applied.
    """

    calls: int = 0
    valid_users: int = 0
    valid_adds: int = 0
    valid_removes: int = 0
    invalid_users: int = 0
    invalid_segments: int = 0
    unauth_segments: int = 0
    inactive_segments: int = 0
    other_errors: int = 0


MOST_LINES = 200
"""Lines that an hour keeps of each kind: the newest."""


class Lines(NamedTuple):
    """Samples of what was not applied, and of what was; oldest first. No line has a line break."""

    errors: Sequence[str] = ()
    segments: Sequence[str] = ()


class HourUsage(NamedTuple):
    """What a member sent in an hour."""

    tally: Tally
    lines: Lines


class Addition(NamedTuple):
    """What to add to an hour of a member. An hour is given by how many had passed since 1970 when it began (UTC).

    `number` is larger than that of this worker's earlier additions to the hour.
    """

    member_id: int
    hour: int
    number: int
    tally: Tally
    lines: Lines


class UsageStore(Protocol):
    """What members sent, by hours, which are kept for 30 days. Deadlines and errors as in MembershipStore."""

    async def add(self, addition: Addition, deadline: float) -> None:
        """Add to an hour. After UNAVAILABLE, the same addition may be sent again: it counts once.

        Of one member and hour, a worker may have at most one addition under way, and must not leave one for another
        before it is answered.
        """

    async def read(
        self, member_id: int, hours: Sequence[int], deadline: float, *, with_lines: bool
    ) -> list[HourUsage | None]:
        """Read hours, in their order; None where nothing was sent. Without lines, these are empty."""


Joined = Mapping[tuple[int, ...], Sequence[bytes]]
"""Keys of users who join segments, by the IDs of these segments."""


class SegmentSizeStore(Protocol):
    """About how many users ever joined a segment lately. Deadlines and errors as in MembershipStore.

    What is taken is sent by `send` alone, and none of it may be lost before the cluster has confirmed it.
    """

    waiting: int
    """How many additions are to be sent, about; what cannot change a size is not among them."""

    def take(self, joined: Joined, now_ms: int) -> None:
        """Note that users join segments at `now_ms` (Unix time in ms)."""

    async def send(self, deadline: float) -> int:
        """Add to the cluster what was taken, once at a time; returns how many commands that took.

        After UNAVAILABLE, some of it still waits.
        """

    async def count(self, segment_ids: Sequence[int], now_ms: int, deadline: float) -> list[int]:
        """How many different users joined each segment in the weeks before `now_ms` (Unix time in ms)."""
