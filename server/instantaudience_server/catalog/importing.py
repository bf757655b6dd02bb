"""Puts many objects into the catalog at once (source: catalog.proto, ImportCatalog)."""

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
from instantaudience_server.clock import Clock
from instantaudience_server.errors import AudienceError, Reason, invalid, required
from instantaudience_server.passwords.hashing import HASH_RULE, Passwords, is_password_hash
from instantaudience_server.store.interfaces.catalog import CatalogStore, Kind, Outcome, Write

OBJECTS_AT_ONCE = 100
"""Objects that are checked, compared and written together: in between, other calls run."""
_LATER = (Outcome.NAME_TAKEN, Outcome.NO_MEMBER)
"""What others of the request may end."""


class _Entry(NamedTuple):
    """An object to put, and where it stands in the request."""

    path: str
    message: Object
    password: str | None = None
    password_hash: str | None = None


class _Step(NamedTuple):
    """What is to be done about an entry; no write when everything is as it should be. `certificates`: it is a user with
    names in them, which nobody else may have."""

    entry: _Entry
    is_new: bool
    certificates: bool
    write: Write | None


class ImportService:
    """Puts the objects of one request after the other. Deadlines are times of the event loop's clock, in seconds."""

    def __init__(self, store: CatalogStore, feed: CatalogFeed, passwords: Passwords, clock: Clock) -> None:
        self._store = store
        self._feed = feed
        self._passwords = passwords
        self._clock = clock

    async def put(self, request: pb.ImportCatalogRequest, caller: Caller, deadline: float) -> pb.ImportCatalogResponse:
        """Create what is missing, change what differs, and leave the rest alone; then this worker knows it all.

        The time until `deadline` is what each question to the cluster and each password may take: a request with many
        plain passwords takes longer as a whole (`Passwords` checks them one by one).

        Raises:
            AudienceError: UNAUTH, without the role `admin`; SYNTAX, for too many objects; UNAVAILABLE: some objects may
                have been put then, and sending the request again is safe.
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
        await self._feed.catch_up(putting.deadline())
        return putting.result


class _Putting:
    """One request under way."""

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
        # Of its users, what the request says of their certificates counts, not what stands.
        self._users = {imported.user.id for imported in request.users}
        self._certificates: defaultdict[str, set[int]] = defaultdict(set)
        for imported in request.users:
            for name in imported.user.certificate_names:
                self._certificates[name].add(imported.user.id)
        self._paths: dict[tuple[Kind, int], str] = {}
        self._late: list[_Entry] = []
        """Entries to try again at the end: another object had their name, or they named members that were not there
        yet."""

    def deadline(self) -> float:
        """For what is asked now."""
        return self._time() + self._seconds

    async def put(self, entries: Sequence[_Entry]) -> None:
        """Put entries, and say in `result` what became of each that is not left to `put_late`."""
        self._late += await self._put(list(self._checked(entries)))

    async def put_late(self) -> None:
        """Put what was left, together: names that others had may be free now, or change places, and members be there,
        or name each other."""
        late, self._late = self._late, []
        for entry in await self._put(late):
            with self._telling(entry):
                check_certificates(entry.message, self._feed.catalog.owners_of_certificate)
                await check_references(self._store, rules.references(entry.message), self.deadline())
                self._tell(entry, refusal_of(Outcome.NAME_TAKEN, entry.message)[1])

    async def _put(self, entries: Sequence[_Entry]) -> list[_Entry]:
        """Put entries that were checked; returns those that others of the request may let pass."""
        changed, late = entries, list[_Entry]()
        for _ in range(ATTEMPTS):
            outcomes = await self._carry_out(await self._plan([*changed, *late]))
            changed = [entry for entry, outcome in outcomes if outcome is Outcome.CONFLICT]
            late = [entry for entry, outcome in outcomes if outcome in _LATER]
            if not changed:
                break
        for entry in changed:
            self._tell(entry, "It was changed meanwhile; import it again")
        return late

    async def _carry_out(self, steps: Sequence[_Step]) -> list[tuple[_Entry, Outcome]]:
        """Write what is to be written, and count what is done."""
        self.result.unchanged += sum(step.write is None for step in steps)
        writes = [step.write for step in steps if step.write is not None]
        outcomes = iter(await self._store.write(writes, self.deadline()))
        carried_out = [(step, next(outcomes)) for step in steps if step.write is not None]
        for step, outcome in carried_out:
            if outcome is Outcome.DONE:
                self.result.created += step.is_new
                self.result.changed += not step.is_new
            elif outcome is not Outcome.CONFLICT and outcome not in _LATER:
                self._tell(step.entry, refusal_of(outcome, step.entry.message)[1])
        return [(step.entry, outcome) for step, outcome in carried_out]

    async def _plan(self, entries: Sequence[_Entry]) -> list[_Step]:
        """Compare entries with what stands; those that cannot be put are told of."""
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
        """The steps whose names in certificates no other user has, as of the catalog's version that is known now."""
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
            # An entry that is planned again has those of the time before.
            message.ClearField("public_keys")
            if isinstance(before, pb.User):
                message.token_generation = before.token_generation
                message.public_keys.extend(before.public_keys)
        if isinstance(message, pb.Segment) and isinstance(before, pb.Segment):
            message.last_modified.CopyFrom(before.last_modified)
        same = before is not None and records.encode(message) == records.encode(before)
        new_hash = await self._new_hash(entry, None if before is None else stored_hash)
        if same and new_hash is None:
            return _Step(entry, is_new=False, certificates=False, write=None)
        records.stamp(message, self._clock.now_ms(), is_new=before is None, former_generation=former_generation)
        certificates = not same and isinstance(message, pb.User) and bool(message.certificate_names)
        return _Step(entry, before is None, certificates, write_of(before, message, new_hash, references))

    def _givers(self, message: Object) -> Set[int]:
        """Others that have a user's names in certificates until they are put."""
        names = message.certificate_names if isinstance(message, pb.User) else ()
        owners = [self._feed.catalog.owners_of_certificate(name) for name in names]
        return set[int]().union(*owners) - {message.id}

    def _owners_of_certificate(self, name: str) -> Set[int]:
        """The users that have a name in certificates when all is put."""
        return (self._feed.catalog.owners_of_certificate(name) - self._users) | self._certificates.get(name, set())

    async def _new_hash(self, entry: _Entry, stored_hash: str | None) -> str | None:
        """The hash to set; None when the stored one is right, or nothing is said of it."""
        if entry.password_hash is not None:
            return None if entry.password_hash == stored_hash else entry.password_hash
        if entry.password is None:
            return None
        if stored_hash and await self._passwords.matches(entry.password, stored_hash, self.deadline()):
            return None
        return await self._passwords.hash(entry.password, self.deadline())

    async def _read(self, entries: Sequence[_Entry]) -> dict[tuple[Kind, int], Object]:
        """The objects that stand under the entries' IDs."""
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
        """The entries that can be put, as far as can be said without looking at what stands."""
        for entry in entries:
            with self._telling(entry):
                _check(entry)
                first = self._paths.setdefault(_key(entry), entry.path)
                if first != entry.path:
                    raise AudienceError(Reason.SYNTAX, f"'id' {entry.message.id} stands at {first} too")
                yield entry

    @contextlib.contextmanager
    def _telling(self, entry: _Entry) -> Iterator[None]:
        """What keeps an entry from being put is a problem of this entry alone; an outage is the whole request's."""
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
