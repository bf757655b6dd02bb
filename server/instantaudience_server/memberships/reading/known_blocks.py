"""Lists of blocks without fault, and what they change: campaigns repeat themselves, in a request and from one to the
next (docs/adr/0006-users-stay-encoded.md)."""

from collections.abc import Mapping
from typing import NamedTuple

from instantaudience_server.catalog.catalog import Catalog, Member
from instantaudience_server.clock import MS_PER_MINUTE
from instantaudience_server.memberships.reading import rules
from instantaudience_server.store.interfaces.memberships import NEVER, REMOVE, UserChanges

MOST_BYTES = 16 * 2**20
"""What a worker keeps, about."""
LIST_BYTES, BLOCK_BYTES = 1000, 120
"""What a list costs beyond its encoded bytes, and each of its blocks, about."""


class Blocks(NamedTuple):
    """A user's blocks: how many are valid, and what they change.

    `by_lifetime`: lifetime → segment ID → value. A lifetime is minutes, `NEVER` or `REMOVE`; a segment stands under
    one of them.
    """

    valid: int
    by_lifetime: Mapping[int, Mapping[int, int]]

    @property
    def adds(self) -> int:
        """Memberships that are added."""
        return sum([len(values) for lifetime, values in self.by_lifetime.items() if lifetime != REMOVE])

    @property
    def removes(self) -> int:
        """Memberships that are removed."""
        return len(self.by_lifetime.get(REMOVE, ()))

    def changes(self, now_ms: int) -> UserChanges:
        """What to write for a user, when the request was read at `now_ms` (Unix time in ms)."""
        return {
            now_ms + lifetime * MS_PER_MINUTE if lifetime > 0 else lifetime: values
            for lifetime, values in self.by_lifetime.items()
        }


def lifetime_of(expiration: int) -> int:
    """What an expiration means: minutes, NEVER or REMOVE (source: contract, "What applying does")."""
    if 0 < expiration <= rules.LONGEST_EXPIRATION_MINUTES:
        return expiration
    return REMOVE if expiration == rules.LEAVE else NEVER


def blocks_of(valid: int, memberships: Mapping[int, tuple[int, int]]) -> Blocks:
    """Blocks, of which so many are valid, that change these memberships: segment ID → (expiration, value)."""
    lasting = {segment_id: (lifetime_of(expiration), value) for segment_id, (expiration, value) in memberships.items()}
    return Blocks(valid, grouped(lasting))


def grouped(memberships: Mapping[int, tuple[int, int]]) -> dict[int, dict[int, int]]:
    """Segment ID → (lifetime or end, value) as lifetime or end → segment ID → value."""
    groups: dict[int, dict[int, int]] = {}
    for segment_id, (lifetime, value) in memberships.items():
        groups.setdefault(lifetime, {})[segment_id] = value
    return groups


class Repeated:
    """Users that stand in a request more than once: of a segment that one has twice, the last one counts."""

    def __init__(self) -> None:
        self._memberships: dict[bytes, dict[int, tuple[int, int]]] = {}

    def add(self, changes: dict[bytes, UserChanges], key: bytes, later: UserChanges) -> None:
        """Put a user's changes, or what comes after those that it has, into the `changes` of all users; these are whole
        when `merge` is called."""
        if changes.setdefault(key, later) is later:
            return
        memberships = self._memberships.get(key)
        if memberships is None:
            memberships = self._memberships[key] = _ungrouped(changes[key])
            changes[key] = {}  # which is no list of blocks that may come again
        memberships |= _ungrouped(later)

    def merge(self, changes: dict[bytes, UserChanges]) -> None:
        """Put what was noted into the changes of all users."""
        for key, memberships in self._memberships.items():
            changes[key] = grouped(memberships)


def _ungrouped(changes: UserChanges) -> dict[int, tuple[int, int]]:
    """The inverse of `grouped`: segment ID → (end, value)."""
    return {segment_id: (end, value) for end, values in changes.items() for segment_id, value in values.items()}


_NOBODY: tuple[None, dict[bytes, Blocks]] = (None, {})


class KnownBlocks:
    """Lists of blocks that had no fault when a member sent them, by their encoded bytes; all are forgotten when the
    catalog changes, and when they are too many."""

    def __init__(self, catalog: Catalog, *, most_bytes: int = MOST_BYTES) -> None:
        self._catalog = catalog
        self._most_bytes = most_bytes
        self._forget()

    def find(self, member: Member, encoded: bytes) -> Blocks | None:
        """What is known of a list."""
        if self._version != self._catalog.version:
            self._forget()
        of, known = self._members.get(member.id, _NOBODY)
        # A call that began before its member was changed still has the member as it was.
        return known.get(encoded) if of is member else None

    def keep(self, member: Member, encoded: bytes, blocks: Blocks) -> None:
        """Keep a list that was read now, for this member, as the catalog is."""
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
