"""The catalog: its objects, and changes of them."""

import enum
from collections.abc import AsyncIterator, Collection, Sequence
from typing import NamedTuple, Protocol


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
    what nobody else of its kind may have (see `catalog/records.py`), None where there is nothing such.
    `password_hash` is set with a user (None: it stays as it is), in the place of `hash_before` alone (None: of any).
    `named` are members that must be there, or be made by the same command. What was found out about all of its kind, in
    the version `alone_since`, must hold still: none of the kind may have changed since, but by writes of the same
    command. `givers` are users of which it takes names in certificates: their writes must be made by the same command.
    """

    kind: Kind
    id: int
    before: bytes | None
    after: bytes | None
    owner_id: int = 0
    name_before: str | None = None
    name_after: str | None = None
    password_hash: str | None = None
    hash_before: str | None = None
    named: Collection[int] = ()
    alone_since: Version = b""
    givers: Collection[int] = ()


class Outcome(enum.Enum):
    """What became of a write."""

    DONE = enum.auto()
    """The change was made."""
    CONFLICT = enum.auto()
    """Something else stands there than `before`, or `hash_before`; or another one of its kind may have changed since
    `alone_since`."""
    NAME_TAKEN = enum.auto()
    """Another object has the unique name, or one of the `givers` does not give."""
    NO_OWNER = enum.auto()
    """There is no such member."""
    NO_MEMBER = enum.auto()
    """There is no such member among those that are named."""
    IN_USE = enum.auto()
    """The member to delete still owns users or segments."""


class CatalogStore(Protocol):
    """The catalog, shared by all workers."""

    async def version(self, deadline: float) -> Version:
        """The state of the catalog now."""

    def load(self, page_seconds: float) -> AsyncIterator[Page]:
        """Read everything, a page at a time, each within `page_seconds`.

        What changes meanwhile may come in either state, or twice: follow `changes` from the version before.

        Raises:
            AudienceError: UNAVAILABLE, also while a backup is being put back: there is a part of a catalog then.
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
        """The user that has a unique name (see `catalog/records.py`) now, and its password's hash.

        Whether there is one makes no difference to the work.
        """

    async def write(self, writes: Sequence[Write], deadline: float, *, seeds: bool = False) -> list[Outcome]:
        """Make changes, in order, each by itself and none twice; names may change places among them, in whatever order.
        After UNAVAILABLE, they may have been made. With `seeds`, they are made while a seeding has not ended, whoever
        ends it; CONFLICT afterwards.

        The node that has the catalog does nothing else meanwhile, 3 ms for a hundred.
        """

    async def note_generation(self, generation: int, deadline: float) -> None:
        """A user with this `token_generation` is about to go."""

    async def former_generation(self, deadline: float) -> int:
        """The largest `token_generation` that was noted; 0 where there was none."""

    async def begin_seeding(self, deadline: float) -> bool:
        """Whether the catalog is empty, or was when a seeding began that has not ended."""

    async def end_seeding(self, deadline: float) -> None:
        """From now on, the catalog is not empty any more."""

    async def allocate_id(self, kind: Kind, deadline: float) -> int:
        """An ID that no object of this kind has or had."""
