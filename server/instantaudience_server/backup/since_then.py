"""Reconciles a restored backup with what happened in the cluster since the backup was taken."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from instantaudience_server.backup.connection import Connection, deadline
from instantaudience_server.catalog.records import generation_of, revoke_all
from instantaudience_server.memberships.forgetting import AGAIN_MS
from instantaudience_server.store import keys
from instantaudience_server.store.catalog_store import random_name
from instantaudience_server.store.interfaces.memberships import NEVER
from instantaudience_server.store.suppression_store import new_name
from instantaudience_server.store.whole_keys import Kind, Part, WholeKeys


async def note_generations(stored: WholeKeys, now_ms: int) -> int:
    """Note the token generations of the users whom the restore is about to remove, as if each was deleted. Returns the
    largest generation of these users and of those that were deleted before."""
    largest = 0
    async for parts in stored.read(Kind.HASH, [keys.CATALOG_IDS, keys.CATALOG_USERS]):
        for part in parts:
            for name, value in zip(part.values[::3], part.values[1::3], strict=True):
                if part.key == keys.CATALOG_USERS:
                    largest = max(largest, generation_of(bytes(value)))
                elif name == keys.CATALOG_GENERATION:
                    largest = max(largest, int(value))
    if largest:
        noted = Part(Kind.HASH, keys.CATALOG_IDS, NEVER, [keys.CATALOG_GENERATION, b"%d" % largest, NEVER])
        await stored.put_back([noted], now_ms)
    return largest


def with_tokens_revoked(users: Part, now_ms: int, former_generation: int) -> Part:
    """The catalog's users with all their tokens revoked, and those of other users who had the same IDs since.

    Restoring the generations alone would make tokens valid again that were revoked since the backup.
    `former_generation` is the largest generation that any user had since.
    """
    values = list(users.values)
    values[1::3] = [revoke_all(bytes(data), now_ms, former_generation) for data in users.values[1::3]]
    return users._replace(values=values)


def with_another_version(parts: Sequence[Part]) -> list[Part]:
    """The catalog's newest change and its version under a new name, so that workers which know the former version load
    the catalog again."""
    name = random_name()
    return [part._replace(values=(b"%b-%d" % (_number(part), name), *part.values[1:])) for part in parts]


def _number(part: Part) -> bytes:
    """The number of the change in a stream's entry or a version."""
    return bytes(part.values[0]).partition(b"-")[0]


async def with_larger_ids(stored: WholeKeys, largest: Part) -> Part:
    """The largest IDs that were in use at the backup or since. A new segment that got the ID of one created since would
    have that segment's users."""
    since: defaultdict[bytes | int, int] = defaultdict(int)
    async for parts in stored.read(Kind.HASH, [largest.key]):
        for part in parts:
            since.update(zip(part.values[::3], map(int, part.values[1::3]), strict=True))
    values = list(largest.values)
    for index in range(0, len(values), 3):
        values[index + 1] = max(int(values[index + 1]), since[values[index]])
    return largest._replace(values=values)


async def suppress_again(connection: Connection, now_ms: int) -> None:
    """Suppress all users again who were suppressed at the backup or since. Their memberships may have been restored;
    workers then remove these once more. This also completes suppressions that the backup has in part, because they were
    made while it was taken. The version is written even if no user is suppressed: without one, workers would take the
    list of members for lost.

    Raises:
        AudienceError: a part of the cluster did not answer for too long.
    """
    names = await connection.keys.names([keys.key_slot(keys.SUPPRESSED_USERS)])
    registries = [name for name in names if name.startswith(keys.SUPPRESSED_USERS)]
    async for parts in connection.keys.read(Kind.SORTED_SET, registries):
        for part in parts:
            await _suppress_users(connection, part, now_ms)
    version = Part(Kind.STRING, keys.SUPPRESSIONS_VERSION, NEVER, [new_name().encode()])
    await connection.keys.put_back([version], now_ms)


async def _suppress_users(connection: Connection, registry: Part, now_ms: int) -> None:
    member_id = int(registry.key.removeprefix(keys.SUPPRESSED_USERS))
    by_end: defaultdict[int, list[bytes]] = defaultdict(list)
    for user_key, score in zip(registry.values[::2], registry.values[1::2], strict=True):
        end = float(score)
        by_end[NEVER if end == float("inf") else int(end)].append(bytes(user_key))
    live = {end_ms: users for end_ms, users in by_end.items() if end_ms == NEVER or end_ms > now_ms}
    await asyncio.gather(
        *(
            connection.suppressions.suppress(member_id, users, now_ms, end_ms, AGAIN_MS, new_name(), deadline())
            for end_ms, users in (live or {NEVER: []}).items()  # with no users, this only drops what has ended
        )
    )
