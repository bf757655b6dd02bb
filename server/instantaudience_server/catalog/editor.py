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
from instantaudience_server.clock import Clock
from instantaudience_server.errors import AudienceError, Reason, invalid, unavailable
from instantaudience_server.store.interfaces.catalog import CatalogStore, Kind, Outcome, Version, Write

New = TypeVar("New", bound=Object)
Check = Callable[[Any], None]
"""Looks at an object as it stands, and raises what keeps the caller from it."""

ATTEMPTS = 5
"""How often an import, or a change of a password that is bound to the one before, is made anew on what another editor
has written meanwhile. Other changes are until their deadline: each time, somebody's was made."""


class CatalogEditor:
    """Makes one change at a time. Deadlines are times of the event loop's clock, in seconds.

    Every method ends when this worker's catalog has taken the change over: its later calls see it. When the cluster
    goes away in between, UNAVAILABLE is raised although the change was made.
    """

    def __init__(self, store: CatalogStore, feed: CatalogFeed, clock: Clock) -> None:
        self._store = store
        self._feed = feed
        self._clock = clock

    async def create(self, message: New, deadline: float, password_hash: str | None = None) -> New:
        """Add an object, under the next free ID where it has none; returns it with `id` and `etag`.

        What only the service says (`etag`, `token_generation`, `last_modified`) is ignored.

        Raises:
            AudienceError: SYNTAX, when it breaks a rule; INTEGRITY, when the ID or the unique name is taken; NOT_FOUND,
                when there is no such member; UNAVAILABLE.
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
            # An import, which chooses IDs, was faster with this one, or what was looked at has changed.
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
        """Change an object: `edit` changes the message it is given; returns what stands then.

        What `check` lets pass is changed, as it stood then. With an `etag`, only an object that still has it is
        changed; without, `edit` is called again on what another editor has written meanwhile. A change that changes
        nothing is none: `etag` and `last_modified` stay. `hash_before` is as in `Write`. `named` is where the request
        names the object.

        Raises:
            AudienceError: NOT_FOUND; CHANGED_MEANWHILE, with an `etag` or `hash_before`; SYNTAX, when the object would
                break a rule; INTEGRITY, when the unique name is taken; UNAVAILABLE, also when others are always faster.
        """
        for attempt in _until(deadline):
            if hash_before is not None and attempt == ATTEMPTS:
                raise _changed_meanwhile(kind, object_id)
            before = await self._read(kind, object_id, etag, deadline, check, named)
            after = _edited(before, edit)
            unchanged = records.encode(after) == records.encode(before)
            if unchanged and password_hash is None:
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
            AudienceError: NOT_FOUND; CHANGED_MEANWHILE, with an `etag`; IN_USE, for a member that owns something or
                that another member names; UNAVAILABLE.
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
        """Make a write of an object: DONE, or CONFLICT or NO_MEMBER, of which the reason has to be looked for."""
        (outcome,) = await self._store.write([write], deadline)
        if outcome not in (Outcome.DONE, Outcome.CONFLICT, Outcome.NO_MEMBER):
            raise _refusal(outcome, message)
        return outcome

    async def _check_certificates(self, before: Object | None, after: Object, deadline: float) -> Version:
        """Refuse new names in certificates that another user has. Returns the version of the catalog in which none has
        them; empty where there are none."""
        known = before.certificate_names if isinstance(before, pb.User) else ()
        if not isinstance(after, pb.User) or set(after.certificate_names) <= set(known):
            return b""
        await self._feed.catch_up(deadline)
        check_certificates(after, self._feed.catalog.owners_of_certificate)
        return self._feed.version

    async def _check_unnamed(self, member_id: int, deadline: float) -> Version:
        """Refuse to delete a member that another one names: its ID, given again, would mean another company. Returns
        the version of the catalog in which none does."""
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
    """The store's write that replaces an object by another (see `Write`); not both are None. `references` are those
    that must exist (see `rules.references`)."""
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
    """Check what can never change.

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
    """Check that members exist that fields name (see `rules.references`).

    Raises:
        AudienceError: NOT_FOUND, with the field; UNAVAILABLE.
    """
    named = sorted(references)
    found = await store.find(Kind.MEMBER, [member_id for _, member_id in named], deadline)
    for (field, member_id), data in zip(named, found, strict=True):
        if data is None:
            raise not_found(Kind.MEMBER, member_id, field)


def check_certificates(message: Object, owners_of: Callable[[str], Set[int]]) -> None:
    """Refuse a name in certificates that another user has, as far as this worker knows. A name of two would be
    nobody's; `owners_of` tells the users that have one.

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
    """There is no such object; `field` is where the request names it."""
    return AudienceError(Reason.NOT_FOUND, f"'{field}': there is no {kind} {object_id}", field=field)


def no_such_code(member_id: int) -> AudienceError:
    """A member has no segment with the code that the request names."""
    return AudienceError(Reason.NOT_FOUND, f"'code': member {member_id} has no segment with this code", field="code")


def refusal_of(outcome: Outcome, message: Object) -> tuple[Reason, str, str]:
    """Why a write of this object was not made: reason, text, field."""
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
    """Counts the attempts of a change."""
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
