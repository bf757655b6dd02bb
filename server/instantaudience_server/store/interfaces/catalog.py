"""The catalog: its objects, and changes to them."""

import enum
from collections.abc import AsyncGenerator, Collection, Sequence
from typing import NamedTuple, Protocol


class Kind(enum.StrEnum):
    """A kind of objects of the catalog."""

    MEMBER = "member"
    USER = "user"
    SEGMENT = "segment"


class Record(NamedTuple):
    """An object of the catalog: `data` is its serialised message, without `etag`."""

    kind: Kind
    data: bytes


Version = bytes
"""A state of the catalog, named by the change that led to it; empty before the first one. Versions are unique to their
history of changes: one of another catalog, or of a history that a failover cut off, is never equal to one of this.
"""

Page = tuple[Kind, Sequence[bytes]]
"""Some objects of one kind: their serialised messages, without `etag`."""


class Change(NamedTuple):
    """A change of an object, and the version that it led to. `data` is the object's new serialised message; None: it
    was deleted."""

    version: Version
    kind: Kind
    object_id: int
    data: bytes | None


class NextChanges(NamedTuple):
    """The next changes, oldest first; `are_all`: there were no more when the cluster answered."""

    changes: Sequence[Change]
    are_all: bool


class Write(NamedTuple):
    """A conditional change: replace `before` (None: the object does not exist) with `after` (None: delete it).

    `owner_id` is the member that a user or a segment belongs to (0 for members). `name_before` and `name_after` are the
    object's unique name (see `catalog/records.py`), None where it has none. `password_hash` is a user's new hash (None:
    it stays as it is), which replaces only `hash_before` (None: any). `named` are the IDs of members that must exist,
    or be created by the same command. `alone_since` (empty: no condition) is the version at which all objects of the
    kind were checked: none of them may have changed since, except by writes of the same command. `givers` are the IDs
    of users who give up names in certificates that this user takes: their writes must be made by the same command.
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
    """The outcome of a write."""

    DONE = enum.auto()
    """The change was made."""
    CONFLICT = enum.auto()
    """The object is not `before`, its hash is not `hash_before`, or another object of the kind may have changed since
    `alone_since`; or the seeding has ended (`CatalogStore.write`)."""
    NAME_TAKEN = enum.auto()
    """Another object has the unique name, or the write of one of the `givers` is not made."""
    NO_OWNER = enum.auto()
    """The owner does not exist."""
    NO_MEMBER = enum.auto()
    """One of the members in `named` does not exist."""
    IN_USE = enum.auto()
    """The member to delete still owns users or segments."""


class CatalogStore(Protocol):
    """The catalog, shared by all workers."""

    async def version(self, deadline: float) -> Version:
        """The current version."""

    def load(self, page_seconds: float) -> AsyncGenerator[Page, None]:
        """Read everything, page by page, each within `page_seconds`.

        An object that changes meanwhile may come in either state, or twice: follow `changes` from a version that was
        read before.

        Raises:
            AudienceError: UNAVAILABLE, also while a backup is being restored and the catalog is partial.
        """

    async def changes(self, after: Version, deadline: float) -> NextChanges | None:
        """The next changes after a version. None when they are no longer kept, or the catalog is another one: it has to
        be loaded again."""

    async def find(self, kind: Kind, ids: Sequence[int], deadline: float) -> list[bytes | None]:
        """The current serialised objects, in the order of the IDs; None where there is none."""

    async def password_hashes(self, user_ids: Sequence[int], deadline: float) -> list[str | None]:
        """Users' password hashes, in the order of the IDs; None where there is none."""

    async def credentials(self, user_id: int, deadline: float) -> tuple[bytes | None, str | None]:
        """A serialised user and the hash of its password, in one round trip; each None where there is none.

        The user is read first: where the password changes in between, the new hash comes with the older
        `token_generation`.
        """

    async def credentials_by_name(self, name: str, deadline: float) -> tuple[bytes | None, str | None]:
        """As `credentials`, of the user that has a unique name (see `catalog/records.py`).

        It takes the same work whether there is such a user or not, so that its duration does not tell.
        """

    async def write(self, writes: Sequence[Write], deadline: float, *, seeds: bool = False) -> list[Outcome]:
        """Make changes in order, each at most once and independently of the outcomes of the others, but for `named` and
        `givers`; unique names may pass from one object to another in any order. After UNAVAILABLE, they may have been
        made. With `seeds`, they are made only until the seeding ends; afterwards, all are CONFLICT.

        Keeps the node that has the catalog busy: 3 ms for a hundred writes.
        """

    async def confirm(self, deadline: float) -> None:
        """Wait until all that was written before has the service's durability: for who finds that nothing is left to
        write, perhaps because an earlier attempt that failed has written it."""

    async def note_generation(self, generation: int, deadline: float) -> None:
        """Note the `token_generation` of a user that is about to be deleted."""

    async def former_generation(self, deadline: float) -> int:
        """The largest `token_generation` that was noted; 0 where there was none."""

    async def begin_seeding(self, deadline: float) -> bool:
        """Begin a seeding (the import of a file into an empty catalog), or join one that has not ended. False where the
        catalog is not empty and no seeding is under way."""

    async def end_seeding(self, deadline: float) -> None:
        """End the seeding."""

    async def allocate_id(self, kind: Kind, deadline: float) -> int:
        """An ID that no object of this kind has or had."""
