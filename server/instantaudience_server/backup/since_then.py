"""What a cluster knows that a backup is put back into, and the backup does not: for it is older."""

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
    """Note the token generations of users that are about to go, as if each was deleted; the largest one of these and
    of those that went before."""
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
    """The catalog's users, with all their tokens revoked, and those of whoever had the same ID since.

    Tokens that were revoked since the backup would count again, and later ones could not be revoked: what tells both
    goes back with the catalog. `former_generation`: the largest one that any user had since.
    """
    values = list(users.values)
    values[1::3] = [revoke_all(bytes(data), now_ms, former_generation) for data in users.values[1::3]]
    return users._replace(values=values)


def with_another_version(parts: Sequence[Part]) -> list[Part]:
    """The catalog's newest change and its version, by another name: workers that know the former one read it anew."""
    name = random_name()
    return [part._replace(values=(b"%b-%d" % (_number(part), name), *part.values[1:])) for part in parts]


def _number(part: Part) -> bytes:
    """How many changes led to it."""
    return bytes(part.values[0]).partition(b"-")[0]


async def with_larger_ids(stored: WholeKeys, largest: Part) -> Part:
    """The largest IDs that were in use then or since. A segment with the ID of a later one would have its users."""
    since: defaultdict[bytes | int, int] = defaultdict(int)
    async for parts in stored.read(Kind.HASH, [largest.key]):
        for part in parts:
            since.update(zip(part.values[::3], map(int, part.values[1::3]), strict=True))
    values = list(largest.values)
    for index in range(0, len(values), 3):
        values[index + 1] = max(int(values[index + 1]), since[values[index]])
    return largest._replace(values=values)


async def suppress_again(connection: Connection, now_ms: int) -> None:
    """Suppress everybody anew who was suppressed then or has been since: their memberships may have come back, which
    workers then remove once more. It also makes whole what was suppressed while the backup was taken. Workers hear of
    it although nobody may be: where there is no version any more, they take what they know for lost.

    Raises:
        AudienceError: a part of the cluster was away for too long.
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
            for end_ms, users in (live or {NEVER: []}).items()  # of nobody, what has ended is forgotten
        )
    )
