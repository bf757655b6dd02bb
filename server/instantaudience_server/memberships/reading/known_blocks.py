"""Remembers lists of blocks without warnings, and what they change (docs/adr/0006-users-stay-encoded.md).

Campaigns send the same list for many users, in a request and from one to the next.
"""

from collections.abc import Mapping
from typing import NamedTuple

from instantaudience_server.catalog.catalog import Catalog, Member
from instantaudience_server.memberships.reading import rules
from instantaudience_server.process.clock import MS_PER_MINUTE
from instantaudience_server.store.interfaces.memberships import NEVER, REMOVE, UserChanges

MOST_BYTES = 16 * 2**20
"""About how much memory a worker uses for known lists."""
LIST_BYTES, BLOCK_BYTES = 1000, 120
"""About how much memory a list takes beyond its encoded bytes, and each of its blocks."""


class Blocks(NamedTuple):
    """A user's blocks: how many are valid, and what they change.

    `by_lifetime`: lifetime → segment ID → value. A lifetime is in minutes, or `NEVER` or `REMOVE`; each segment has
    one.
    """

    valid: int
    by_lifetime: Mapping[int, Mapping[int, int]]

    @property
    def adds(self) -> int:
        """The number of memberships that are added."""
        return sum([len(values) for lifetime, values in self.by_lifetime.items() if lifetime != REMOVE])

    @property
    def removes(self) -> int:
        """The number of memberships that are removed."""
        return len(self.by_lifetime.get(REMOVE, ()))

    def changes(self, now_ms: int) -> UserChanges:
        """The changes to write for a user if the request was read at `now_ms` (Unix time in ms)."""
        return {
            now_ms + lifetime * MS_PER_MINUTE if lifetime > 0 else lifetime: values
            for lifetime, values in self.by_lifetime.items()
        }


def lifetime_of(expiration: int) -> int:
    """The lifetime that an expiration means: minutes, NEVER or REMOVE (source: contract, "What applying does")."""
    if 0 < expiration <= rules.LONGEST_EXPIRATION_MINUTES:
        return expiration
    return REMOVE if expiration == rules.LEAVE else NEVER


def blocks_of(valid: int, memberships: Mapping[int, tuple[int, int]]) -> Blocks:
    """Make `Blocks` of the number of valid ones and of their memberships: segment ID → (expiration, value)."""
    lasting = {segment_id: (lifetime_of(expiration), value) for segment_id, (expiration, value) in memberships.items()}
    return Blocks(valid, grouped(lasting))


def grouped(memberships: Mapping[int, tuple[int, int]]) -> dict[int, dict[int, int]]:
    """Regroup segment ID → (lifetime or end, value) as lifetime or end → segment ID → value."""
    groups: dict[int, dict[int, int]] = {}
    for segment_id, (lifetime, value) in memberships.items():
        groups.setdefault(lifetime, {})[segment_id] = value
    return groups


class Repeated:
    """Merges the changes of users that a request has more than once: for each segment, the last block counts."""

    def __init__(self) -> None:
        self._memberships: dict[bytes, dict[int, tuple[int, int]]] = {}

    def add(self, changes: dict[bytes, UserChanges], key: bytes, later: UserChanges) -> None:
        """Add a user's changes to `changes`. If the user is there already, its entry is complete only after `merge`."""
        if changes.setdefault(key, later) is later:
            return
        memberships = self._memberships.get(key)
        if memberships is None:
            memberships = self._memberships[key] = _ungrouped(changes[key])
            changes[key] = {}  # a new object: the one that was here may be shared with other users
        memberships |= _ungrouped(later)

    def merge(self, changes: dict[bytes, UserChanges]) -> None:
        """Complete the entries of repeated users in `changes`."""
        for key, memberships in self._memberships.items():
            changes[key] = grouped(memberships)


def _ungrouped(changes: UserChanges) -> dict[int, tuple[int, int]]:
    """The inverse of `grouped`: segment ID → (end, value)."""
    return {segment_id: (end, value) for end, values in changes.items() for segment_id, value in values.items()}


_NOBODY: tuple[None, dict[bytes, Blocks]] = (None, {})


class KnownBlocks:
    """Lists of blocks that gave no warning when a member sent them, by member and encoded bytes.

    All are dropped when the catalog changes, and when they take more than `most_bytes`.
    """

    def __init__(self, catalog: Catalog, *, most_bytes: int = MOST_BYTES) -> None:
        self._catalog = catalog
        self._most_bytes = most_bytes
        self._forget()

    def find(self, member: Member, encoded: bytes) -> Blocks | None:
        """The blocks of an encoded list, if the member has sent it before."""
        if self._version != self._catalog.version:
            self._forget()
        of, known = self._members.get(member.id, _NOBODY)
        # A call that began before its member was changed still has the member as it was.
        return known.get(encoded) if of is member else None

    def keep(self, member: Member, encoded: bytes, blocks: Blocks) -> None:
        """Remember a list that the member has sent, and that was read according to the present catalog."""
        size = LIST_BYTES + len(encoded) + BLOCK_BYTES * blocks.valid
        if self._version != self._catalog.version or self._bytes + size > self._most_bytes:
            self._forget()
        self._bytes += size
        of, known = self._members.get(member.id, _NOBODY)
        if of is not member:
            known = {}
            self._members[member.id] = member, known
        known[encoded] = blocks

    def _forget(self) -> None:
        self._version = self._catalog.version
        self._members: dict[int, tuple[Member | None, dict[bytes, Blocks]]] = {}
        self._bytes = 0
