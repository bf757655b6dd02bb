"""Imports a catalog file into the cluster at start, if its catalog is empty; later, the file is not used any more."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from instantaudience.v1 import catalog_pb2 as pb

from instantaudience_server.catalog import records
from instantaudience_server.catalog.editor import write_of
from instantaudience_server.catalog.files.file import CatalogEntries, CatalogError, Entry, object_of
from instantaudience_server.process.threads import Progress
from instantaudience_server.store.interfaces.catalog import CatalogStore, Kind, Outcome, Version, Write

OBJECTS_AT_ONCE = 100
STORE_SECONDS = 5.0
"""How long the cluster may take for one batch."""

HashPassword = Callable[[str], str]


class Seeded(NamedTuple):
    """How many entries were added, and which could not be (`user 7`), as another object has their name."""

    added: int
    left_out: list[str]


async def seed(
    store: CatalogStore,
    entries: CatalogEntries,
    hash_password: HashPassword,
    now_ms: int,
    progress: Progress,
    *,
    add_missing: bool = False,
) -> Seeded:
    """Add entries to the cluster's catalog if that is empty.

    An import that was interrupted is completed the next time. If several machines start at once, the first one that
    completes the import ends it for all, and later changes to the catalog are kept. With `add_missing`, the catalog
    need not be empty. In either case, entries are left out whose ID exists, or whose unique name another object has;
    with `add_missing`, also users with a name in certificates that another user has. The latter two are told where
    `add_missing` asks for entries; else, another machine may have added them. Only passwords of new users are hashed.
    `progress` counts entries.

    Raises:
        AudienceError: UNAVAILABLE.
        CatalogError: a new user has no password.
    """
    if not add_missing and not await store.begin_seeding(_deadline()):
        return Seeded(0, [])
    added = done = 0
    left_out: list[str] = []
    for entries_of_kind in entries.lists.values():
        for start in range(0, len(entries_of_kind), OBJECTS_AT_ONCE):
            batch = entries_of_kind[start : start + OBJECTS_AT_ONCE]
            part = await _seed(store, batch, hash_password, now_ms, seeds=not add_missing)
            added += part.added
            if add_missing:
                left_out += part.left_out
            done += len(batch)
            progress(done, entries.size)
    await store.end_seeding(_deadline())
    return Seeded(added, left_out)


async def _seed(
    store: CatalogStore, batch: Sequence[Entry], hash_password: HashPassword, now_ms: int, *, seeds: bool
) -> Seeded:
    kind = records.kind_of(object_of(batch[0]))
    ids = [object_of(entry).id for entry in batch]
    found = await store.find(kind, ids, _deadline())
    missing = [entry for entry, record in zip(batch, found, strict=True) if record is None]
    former = await store.former_generation(_deadline()) if kind is Kind.USER and missing else 0
    writes = [await _write(entry, hash_password, now_ms, former) for entry in missing]
    if not seeds and any(map(_certificate_names, missing)):
        version, taken = await _taken_certificate_names(store)
        writes = [
            write._replace(alone_since=version) if names else write
            for write, names in zip(writes, map(_certificate_names, missing), strict=True)
            if taken.isdisjoint(names)
        ]
    outcomes = await store.write(writes, _deadline(), seeds=seeds)
    added = {write.id for write, outcome in zip(writes, outcomes, strict=True) if outcome is Outcome.DONE}
    left_out = [f"{kind} {each}" for each in (object_of(entry).id for entry in missing) if each not in added]
    return Seeded(len(added), left_out)


def _certificate_names(entry: Entry) -> Sequence[str]:
    return entry.user.certificate_names if isinstance(entry, pb.ImportedUser) else ()


async def _taken_certificate_names(store: CatalogStore) -> tuple[Version, set[str]]:
    """The names in certificates that users have, and a version of the catalog from before they were read."""
    version = await store.version(_deadline())
    taken: set[str] = set()
    async with contextlib.aclosing(store.load(STORE_SECONDS)) as pages:
        async for kind, page in pages:
            if kind is Kind.SEGMENT:
                break
            if kind is Kind.USER:
                taken.update(*(pb.User.FromString(data).certificate_names for data in page))
    return version, taken


async def _write(entry: Entry, hash_password: HashPassword, now_ms: int, former_generation: int) -> Write:
    message = object_of(entry)
    records.stamp(message, now_ms, is_new=True, former_generation=former_generation)
    password_hash = await _hash_of(entry, hash_password) if isinstance(entry, pb.ImportedUser) else None
    return write_of(None, message, password_hash)


async def _hash_of(entry: pb.ImportedUser, hash_password: HashPassword) -> str:
    if entry.password_hash:
        return entry.password_hash
    if not entry.password:
        raise CatalogError(
            f"user {entry.user.username} (id {entry.user.id}) is not in the cluster yet: it needs 'password' or "
            "'password_hash'"
        )
    # In a thread, because it takes some 50 ms, and the start must remain interruptible.
    return await asyncio.to_thread(hash_password, entry.password)


def _deadline() -> float:
    return asyncio.get_running_loop().time() + STORE_SECONDS
