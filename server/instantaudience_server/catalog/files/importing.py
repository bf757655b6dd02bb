"""Imports many objects into the catalog with one request (source: catalog.proto, ImportCatalog)."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence, Set
from typing import NamedTuple

from instantaudience.v1 import catalog_pb2 as pb

from instantaudience_server.catalog import records, rules
from instantaudience_server.catalog.access import Caller, require_admin
from instantaudience_server.catalog.editor import (
    ATTEMPTS,
    check_certificates,
    check_kept,
    check_references,
    refusal_of,
    write_of,
)
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.catalog.records import Object
from instantaudience_server.errors import AudienceError, Reason, invalid, required
from instantaudience_server.passwords.hashing import HASH_RULE, Passwords, is_password_hash
from instantaudience_server.process.clock import Clock
from instantaudience_server.store.interfaces.catalog import CatalogStore, Kind, Outcome, Write

OBJECTS_AT_ONCE = 100
"""How many objects are checked, compared and written before other calls run."""
CHANGED = "It was changed meanwhile; import it again"
_LATER = (Outcome.NAME_TAKEN, Outcome.NO_MEMBER)
"""Outcomes that writing other objects of the request may change."""


class _Entry(NamedTuple):
    """An object to import, and its path in the request."""

    path: str
    message: Object
    password: str | None = None
    password_hash: str | None = None


class _Step(NamedTuple):
    """What to do about an entry. `write` is None if the object is unchanged. `certificates`: the entry is a user with
    names in certificates, which no other user may have."""

    entry: _Entry
    certificates: bool
    write: Write | None


class ImportService:
    """Imports the objects of a request. Deadlines are times of the event loop's clock, in seconds."""

    def __init__(self, store: CatalogStore, feed: CatalogFeed, passwords: Passwords, clock: Clock) -> None:
        self._store = store
        self._feed = feed
        self._passwords = passwords
        self._clock = clock

    async def put(self, request: pb.ImportCatalogRequest, caller: Caller, deadline: float) -> pb.ImportCatalogResponse:
        """Create the objects that are missing, change those that differ, and leave the others alone. Afterwards, this
        worker's catalog has all changes.

        The time until `deadline` applies to each access to the cluster and to each password, so that a request with
        many plain passwords may take longer as a whole (`Passwords` checks them one by one).

        Raises:
            AudienceError: UNAUTH, without the role `admin`; SYNTAX, for too many objects; UNAVAILABLE: some objects may
                have been imported, and sending the request again is safe.
        """
        require_admin(caller)
        entries = list(_entries(request))
        if len(entries) > rules.MOST_IMPORTED:
            raise AudienceError(Reason.SYNTAX, f"A request must hold at most {rules.MOST_IMPORTED} objects")
        putting = _Putting(request, self._store, self._feed, self._passwords, self._clock, deadline)
        for part in (entries[: len(request.members)], entries[len(request.members) :]):
            for start in range(0, len(part), OBJECTS_AT_ONCE):
                await putting.put(part[start : start + OBJECTS_AT_ONCE])
            await putting.put_late()
        if putting.result.unchanged:
            await self._store.confirm(putting.deadline())
        await self._feed.catch_up(putting.deadline())
        return putting.result


class _Putting:
    """The state of a request that is being imported."""

    def __init__(
        self,
        request: pb.ImportCatalogRequest,
        store: CatalogStore,
        feed: CatalogFeed,
        passwords: Passwords,
        clock: Clock,
        deadline: float,
    ) -> None:
        self.result = pb.ImportCatalogResponse()
        self._store = store
        self._feed = feed
        self._passwords = passwords
        self._clock = clock
        self._time: Callable[[], float] = asyncio.get_running_loop().time
        self._seconds = deadline - self._time()
        # For users in the request, the names in certificates that the request gives them count, not the stored ones.
        self._users = {imported.user.id for imported in request.users}
        self._certificates: defaultdict[str, set[int]] = defaultdict(set)
        for imported in request.users:
            for name in imported.user.certificate_names:
                self._certificates[name].add(imported.user.id)
        self._paths: dict[tuple[Kind, int], str] = {}
        self._late: list[_Entry] = []
        """Entries to try again at the end: another object has their name, or they name members that do not exist
        yet."""

    def deadline(self) -> float:
        """The deadline of an access to the cluster, or of a password, that begins now."""
        return self._time() + self._seconds

    async def put(self, entries: Sequence[_Entry]) -> None:
        """Import entries, and note the outcome in `result`, except of those that are left to `put_late`."""
        self._late += await self._put(list(self._checked(entries)))

    async def put_late(self) -> None:
        """Import the entries that were left, together: names that others had may be free now, or be exchanged, and
        members may exist now, or name each other."""
        late, self._late = self._late, []
        for entry in await self._put(late):
            with self._telling(entry):
                check_certificates(entry.message, self._feed.catalog.owners_of_certificate)
                await check_references(self._store, rules.references(entry.message), self.deadline())
                # Members have no name that can be taken: the member that this one names has just been created.
                is_member = isinstance(entry.message, pb.Member)
                self._tell(entry, CHANGED if is_member else refusal_of(Outcome.NAME_TAKEN, entry.message)[1])

    async def _put(self, entries: Sequence[_Entry]) -> list[_Entry]:
        """Import checked entries; returns those with an outcome in `_LATER`."""
        changed, late = entries, list[_Entry]()
        for _ in range(ATTEMPTS):
            outcomes = await self._carry_out(await self._plan([*changed, *late]))
            changed = [entry for entry, outcome in outcomes if outcome is Outcome.CONFLICT]
            late = [entry for entry, outcome in outcomes if outcome in _LATER]
            if not changed:
                break
        for entry in changed:
            self._tell(entry, CHANGED)
        return late

    async def _carry_out(self, steps: Sequence[_Step]) -> list[tuple[_Entry, Outcome]]:
        """Make the writes of some steps, count what was done, and note problems. Returns the outcomes of the writes."""
        entries = [step.entry for step in steps if step.write is not None]
        writes = [step.write for step in steps if step.write is not None]
        self.result.unchanged += len(steps) - len(writes)
        outcomes = await self._store.write(writes, self.deadline())
        for entry, write, outcome in zip(entries, writes, outcomes, strict=True):
            if outcome is Outcome.DONE:
                self.result.created += write.before is None
                self.result.changed += write.before is not None
            elif outcome is not Outcome.CONFLICT and outcome not in _LATER:
                self._tell(entry, refusal_of(outcome, entry.message)[1])
        return list(zip(entries, outcomes, strict=True))

    async def _plan(self, entries: Sequence[_Entry]) -> list[_Step]:
        """Compare entries with the stored objects; those that cannot be imported become problems in `result`."""
        steps: list[_Step] = []
        stored = await self._read(entries)
        hashes = await self._read_hashes(entries)
        new_users = any(isinstance(entry.message, pb.User) and _key(entry) not in stored for entry in entries)
        former = await self._store.former_generation(self.deadline()) if new_users else 0
        for entry in entries:
            with self._telling(entry):
                steps.append(await self._step(entry, stored.get(_key(entry)), hashes.get(entry.message.id), former))
        if any(step.certificates for step in steps):
            await self._feed.catch_up(self.deadline())
        return list(self._alone(steps))

    def _alone(self, steps: Sequence[_Step]) -> Iterator[_Step]:
        """The steps without those whose names in certificates another user has, by this worker's catalog. Writes are
        made conditional on its version."""
        for step in steps:
            if step.write is None or not step.certificates:
                yield step
                continue
            with self._telling(step.entry):
                check_certificates(step.entry.message, self._owners_of_certificate)
                givers = self._givers(step.entry.message)
                yield step._replace(write=step.write._replace(alone_since=self._feed.version, givers=givers))

    async def _step(
        self, entry: _Entry, before: Object | None, stored_hash: str | None, former_generation: int
    ) -> _Step:
        message = entry.message
        references = rules.references(message)
        if before is not None:
            references -= rules.references(before)
            check_kept(before, message)
        if before is None and isinstance(message, pb.User) and entry.password is entry.password_hash is None:
            raise AudienceError(Reason.SYNTAX, "'password' or 'password_hash' is required for a new user")
        if isinstance(message, pb.User):
            # Cleared because an entry that is planned again still has those of the last time.
            message.ClearField("public_keys")
            if isinstance(before, pb.User):
                message.token_generation = before.token_generation
                message.public_keys.extend(before.public_keys)
        if isinstance(message, pb.Segment) and isinstance(before, pb.Segment):
            message.last_modified.CopyFrom(before.last_modified)
        same = before is not None and records.encode(message) == records.encode(before)
        new_hash = await self._new_hash(entry, None if before is None else stored_hash)
        if same and new_hash is None:
            return _Step(entry, certificates=False, write=None)
        records.stamp(message, self._clock.now_ms(), is_new=before is None, former_generation=former_generation)
        certificates = not same and isinstance(message, pb.User) and bool(message.certificate_names)
        return _Step(entry, certificates, write_of(before, message, new_hash, references))

    def _givers(self, message: Object) -> Set[int]:
        """The other users who still have a user's names in certificates, and give them up in this request."""
        names = message.certificate_names if isinstance(message, pb.User) else ()
        owners = [self._feed.catalog.owners_of_certificate(name) for name in names]
        return set[int]().union(*owners) - {message.id}

    def _owners_of_certificate(self, name: str) -> Set[int]:
        """The users who have a name in certificates once the whole request is imported."""
        return (self._feed.catalog.owners_of_certificate(name) - self._users) | self._certificates.get(name, set())

    async def _new_hash(self, entry: _Entry, stored_hash: str | None) -> str | None:
        """The hash to set; None if the stored one is right, or the entry has neither a password nor a hash."""
        if entry.password_hash is not None:
            return None if entry.password_hash == stored_hash else entry.password_hash
        if entry.password is None:
            return None
        if stored_hash and await self._passwords.matches(entry.password, stored_hash, self.deadline()):
            return None
        return await self._passwords.hash(entry.password, self.deadline())

    async def _read(self, entries: Sequence[_Entry]) -> dict[tuple[Kind, int], Object]:
        """The stored objects with the entries' IDs."""
        stored: dict[tuple[Kind, int], Object] = {}
        for kind in dict.fromkeys(kind for kind, _ in map(_key, entries)):
            ids = [entry.message.id for entry in entries if _key(entry)[0] is kind]
            found = await self._store.find(kind, ids, self.deadline())
            stored |= {
                (kind, object_id): records.decode(kind, data)
                for object_id, data in zip(ids, found, strict=True)
                if data is not None
            }
        return stored

    async def _read_hashes(self, entries: Sequence[_Entry]) -> dict[int, str | None]:
        ids = [entry.message.id for entry in entries if isinstance(entry.message, pb.User)]
        return dict(zip(ids, await self._store.password_hashes(ids, self.deadline()), strict=True))

    def _checked(self, entries: Sequence[_Entry]) -> Iterator[_Entry]:
        """The entries that pass the checks that need no stored objects; the others become problems in `result`."""
        for entry in entries:
            with self._telling(entry):
                _check(entry)
                first = self._paths.setdefault(_key(entry), entry.path)
                if first != entry.path:
                    raise AudienceError(Reason.SYNTAX, f"'id' {entry.message.id} stands at {first} too")
                yield entry

    @contextlib.contextmanager
    def _telling(self, entry: _Entry) -> Iterator[None]:
        """Turn an error in the block into a problem of the entry; UNAVAILABLE, which concerns the whole request,
        propagates."""
        try:
            yield
        except AudienceError as error:
            if error.reason is Reason.UNAVAILABLE:
                raise
            self._tell(entry, error.message)

    def _tell(self, entry: _Entry, text: str) -> None:
        self.result.problems.add(path=entry.path, message=text)


def _entries(request: pb.ImportCatalogRequest) -> Iterator[_Entry]:
    for index, member in enumerate(request.members):
        yield _Entry(f"members[{index}]", rules.complete(member))
    for index, imported in enumerate(request.users):
        user = rules.complete(imported.user)
        secret = imported.WhichOneof("secret")
        yield _Entry(f"users[{index}]", user, **({secret: getattr(imported, secret)} if secret else {}))
    for index, segment in enumerate(request.segments):
        yield _Entry(f"segments[{index}]", rules.complete(segment))


def _key(entry: _Entry) -> tuple[Kind, int]:
    return records.kind_of(entry.message), entry.message.id


def _check(entry: _Entry) -> None:
    if not entry.message.id:
        raise required("id")
    rules.check(entry.message)
    if entry.password is not None:
        rules.check_password(entry.password)
    if entry.password_hash is not None and not is_password_hash(entry.password_hash):
        raise invalid("password_hash", HASH_RULE)
