"""Creates, changes and deletes objects of the catalog in the cluster (source: catalog.proto, CatalogService)."""

import asyncio
import copy
from collections.abc import Callable, Iterable, Iterator, Set
from itertools import count, takewhile
from typing import Any, TypeVar

from instantaudience.v1 import catalog_pb2 as pb

from instantaudience_server.catalog import records, rules
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.catalog.records import Object
from instantaudience_server.errors import AudienceError, Reason, invalid, unavailable
from instantaudience_server.process.clock import Clock
from instantaudience_server.store.interfaces.catalog import CatalogStore, Kind, Outcome, Version, Write

New = TypeVar("New", bound=Object)
Check = Callable[[Any], None]
"""Inspects the current object, and raises if the caller may not change it."""

ATTEMPTS = 5
"""How often an import, or a change of a password that depends on the former one, is retried after a conflict with
another editor. Other changes are retried until their deadline: with each conflict, some editor makes progress."""


class CatalogEditor:
    """Makes single changes to the catalog. Deadlines are times of the event loop's clock, in seconds.

    Every method returns when this worker's catalog has the change too, so that its later calls see it. If the cluster
    fails in between, UNAVAILABLE is raised although the change was made.
    """

    def __init__(self, store: CatalogStore, feed: CatalogFeed, clock: Clock) -> None:
        self._store = store
        self._feed = feed
        self._clock = clock

    async def create(self, message: New, deadline: float, password_hash: str | None = None) -> New:
        """Add an object, with the next free ID if it has none; returns it with `id` and `etag`.

        Fields that only the service sets (`etag`, `token_generation`, `last_modified`) are ignored.

        Raises:
            AudienceError: SYNTAX, the object breaks a rule; INTEGRITY, its ID or unique name is taken; NOT_FOUND, a
                member that it names does not exist; UNAVAILABLE.
        """
        kind = records.kind_of(message)
        created = rules.complete(message)
        rules.check(created)
        references = rules.references(created)
        is_chosen = bool(created.id)
        while True:
            if is_chosen and (await self._store.find(kind, [created.id], deadline))[0] is not None:
                raise _refusal(Outcome.CONFLICT, created)
            await check_references(self._store, references, deadline)
            alone_since = await self._check_certificates(None, created, deadline)
            if not is_chosen:
                created.id = await self._store.allocate_id(kind, deadline)
            former = await self._store.former_generation(deadline) if kind is Kind.USER else 0
            records.stamp(created, self._clock.now_ms(), is_new=True, former_generation=former)
            write = write_of(None, created, password_hash, references)._replace(alone_since=alone_since)
            if await self._write(write, created, deadline) is Outcome.DONE:
                break
            # Conflict: an import has taken the allocated ID, or what was checked has changed. Try again.
        await self._feed.catch_up(deadline)
        return _with_etag(created)

    async def update(
        self,
        kind: Kind,
        object_id: int,
        edit: Callable[[Any], None],
        etag: str,
        deadline: float,
        password_hash: str | None = None,
        *,
        hash_before: str | None = None,
        check: Check | None = None,
        named: str = "id",
    ) -> Object:
        """Change an object by `edit`, which modifies the message that it is given; returns the new object.

        `check` sees exactly the object that is changed. With an `etag`, the object is changed only if it still has it;
        without, `edit` is called again on what another editor has written meanwhile. If nothing changes, `etag` and
        `last_modified` stay. `hash_before` is as in `Write`. `named` is the field to name in NOT_FOUND.

        Raises:
            AudienceError: NOT_FOUND; CHANGED_MEANWHILE, with an `etag` or `hash_before`; SYNTAX, the object would break
                a rule; INTEGRITY, the unique name is taken; UNAVAILABLE, also if others are faster until the deadline.
        """
        for attempt in _until(deadline):
            if hash_before is not None and attempt == ATTEMPTS:
                raise _changed_meanwhile(kind, object_id)
            before = await self._read(kind, object_id, etag, deadline, check, named)
            after = _edited(before, edit)
            unchanged = records.encode(after) == records.encode(before)
            if unchanged and password_hash is None:
                await self._store.confirm(deadline)
                break
            added = rules.references(after) - rules.references(before)
            alone_since = await self._check_certificates(before, after, deadline)
            if not unchanged:
                await check_references(self._store, added, deadline)
                records.stamp(after, self._clock.now_ms(), is_new=False)
            write = write_of(before, after, password_hash, added)
            write = write._replace(hash_before=hash_before, alone_since=alone_since)
            if await self._write(write, after, deadline) is Outcome.DONE:
                break
        else:
            raise _others_are_faster(kind, object_id)
        await self._feed.catch_up(deadline)
        return _with_etag(after)

    async def delete(
        self, kind: Kind, object_id: int, etag: str, deadline: float, *, check: Check | None = None
    ) -> None:
        """Remove an object; `etag` and `check` as in `update`.

        Raises:
            AudienceError: NOT_FOUND; CHANGED_MEANWHILE, with an `etag`; IN_USE, a member owns users or segments, or
                another member names it; UNAVAILABLE.
        """
        for _ in _until(deadline):
            before = await self._read(kind, object_id, etag, deadline, check)
            write = write_of(before, None)
            if isinstance(before, pb.User):
                await self._store.note_generation(before.token_generation, deadline)
            if kind is Kind.MEMBER:
                write = write._replace(alone_since=await self._check_unnamed(object_id, deadline))
            if await self._write(write, before, deadline) is Outcome.DONE:
                break
        else:
            raise _others_are_faster(kind, object_id)
        await self._feed.catch_up(deadline)

    async def _read(
        self, kind: Kind, object_id: int, etag: str, deadline: float, check: Check | None, named: str = "id"
    ) -> Object:
        (data,) = await self._store.find(kind, [object_id], deadline)
        if data is None:
            raise not_found(kind, object_id, named)
        message = records.decode(kind, data)
        if check is not None:
            check(message)
        if etag not in ("", message.etag):
            raise _changed_meanwhile(kind, object_id)
        return message

    async def _write(self, write: Write, message: Object, deadline: float) -> Outcome:
        """Make a write. Returns DONE, or CONFLICT or NO_MEMBER, after which the caller has to check again.

        Raises:
            AudienceError: the error of any other outcome; UNAVAILABLE.
        """
        (outcome,) = await self._store.write([write], deadline)
        if outcome not in (Outcome.DONE, Outcome.CONFLICT, Outcome.NO_MEMBER):
            raise _refusal(outcome, message)
        return outcome

    async def _check_certificates(self, before: Object | None, after: Object, deadline: float) -> Version:
        """Check that no other user has the new names in certificates. Returns the version of the catalog at which none
        has; empty if there are no new names.

        Raises:
            AudienceError: INTEGRITY, UNAVAILABLE.
        """
        known = before.certificate_names if isinstance(before, pb.User) else ()
        if not isinstance(after, pb.User) or set(after.certificate_names) <= set(known):
            return b""
        await self._feed.catch_up(deadline)
        check_certificates(after, self._feed.catalog.owners_of_certificate)
        return self._feed.version

    async def _check_unnamed(self, member_id: int, deadline: float) -> Version:
        """Check that no other member names a member that is to be deleted: if its ID was given again, the name would
        mean another company. Returns the version of the catalog at which none does.

        Raises:
            AudienceError: IN_USE, UNAVAILABLE.
        """
        await self._feed.catch_up(deadline)
        for member in self._feed.catalog.members.values():
            if member.id != member_id and member_id in {*member.segment_access, member.external_member_id}:
                text = f"Member {member_id} is in use: member {member.id} names it"
                raise AudienceError(Reason.IN_USE, text, field="id")
        return self._feed.version


def write_of(
    before: Object | None,
    after: Object | None,
    password_hash: str | None = None,
    references: Iterable[tuple[str, int]] = (),
) -> Write:
    """The store's write that replaces `before` with `after`, at most one of which is None (see `Write`). `references`
    are the members that have to exist (see `rules.references`)."""
    message = after or before
    assert message is not None
    return Write(
        kind=records.kind_of(message),
        id=message.id,
        before=None if before is None else records.encode(before),
        after=None if after is None else records.encode(after),
        owner_id=records.owner_id(message),
        name_before=None if before is None else records.unique_name(before),
        name_after=None if after is None else records.unique_name(after),
        password_hash=password_hash,
        named={member_id for _, member_id in references},
    )


def check_kept(before: Object, after: Object) -> None:
    """Check that an edit keeps the fields that cannot change, `id` and `member_id`.

    Raises:
        AudienceError: SYNTAX.
    """
    for field, old, new in (
        ("id", before.id, after.id),
        ("member_id", records.owner_id(before), records.owner_id(after)),
    ):
        if old != new:
            raise invalid(field, "cannot be changed", of=records.kind_of(after))


async def check_references(store: CatalogStore, references: Iterable[tuple[str, int]], deadline: float) -> None:
    """Check that the members exist that fields name (see `rules.references`).

    Raises:
        AudienceError: NOT_FOUND, with the field; UNAVAILABLE.
    """
    named = sorted(references)
    found = await store.find(Kind.MEMBER, [member_id for _, member_id in named], deadline)
    for (field, member_id), data in zip(named, found, strict=True):
        if data is None:
            raise not_found(Kind.MEMBER, member_id, field)


def check_certificates(message: Object, owners_of: Callable[[str], Set[int]]) -> None:
    """Check that no other user has a user's names in certificates; a name of two users would identify neither.
    `owners_of` returns the IDs of the users who have a name.

    Raises:
        AudienceError: INTEGRITY.
    """
    if not isinstance(message, pb.User):
        return
    for name in message.certificate_names:
        for owner in sorted(owners_of(name) - {message.id}):
            text = f"'certificate_names': user {owner} has '{name}'"
            raise AudienceError(Reason.INTEGRITY, text, field="certificate_names")


def not_found(kind: Kind, object_id: int, field: str = "id") -> AudienceError:
    """The error for an object that does not exist; `field` is where the request names it."""
    return AudienceError(Reason.NOT_FOUND, f"'{field}': there is no {kind} {object_id}", field=field)


def no_such_code(member_id: int) -> AudienceError:
    """The error for a code that no segment of the member has."""
    return AudienceError(Reason.NOT_FOUND, f"'code': member {member_id} has no segment with this code", field="code")


def refusal_of(outcome: Outcome, message: Object) -> tuple[Reason, str, str]:
    """Why a write of this object was refused: reason, message, field."""
    kind, owner = records.kind_of(message), records.owner_id(message)
    taken = "'username' is taken" if kind is Kind.USER else f"'code' is taken in member {owner}, whatever its case"
    name = "username" if kind is Kind.USER else "code"
    return {
        Outcome.CONFLICT: (Reason.INTEGRITY, f"'id' is taken: there is a {kind} {message.id}", "id"),
        Outcome.NAME_TAKEN: (Reason.INTEGRITY, taken, name),
        Outcome.NO_OWNER: (Reason.NOT_FOUND, f"'member_id': there is no member {owner}", "member_id"),
        Outcome.IN_USE: (Reason.IN_USE, f"Member {message.id} is in use: it has users or segments", "id"),
    }[outcome]


def _refusal(outcome: Outcome, message: Object) -> AudienceError:
    reason, text, field = refusal_of(outcome, message)
    return AudienceError(reason, text, field=field)


def _until(deadline: float) -> Iterator[int]:
    """Count attempts from 0 on, until the deadline."""
    time = asyncio.get_running_loop().time
    return takewhile(lambda _: time() < deadline, count())


def _others_are_faster(kind: Kind, object_id: int) -> AudienceError:
    return unavailable(f"The {kind} {object_id} is being changed by others all the time")


def _changed_meanwhile(kind: Kind, object_id: int) -> AudienceError:
    text = f"The {kind} {object_id} was changed meanwhile: read it again, and repeat the change with its new 'etag'"
    return AudienceError(Reason.CHANGED_MEANWHILE, text, field="etag")


def _edited(before: Object, edit: Callable[[Any], None]) -> Object:
    after = copy.deepcopy(before)
    edit(after)
    rules.tidy(after)
    check_kept(before, after)
    rules.check(after)
    return after


def _with_etag(message: New) -> New:
    message.etag = records.etag_of(records.encode(message))
    return message
