"""Suppressed users in the cluster (see `interfaces.suppressions.SuppressionStore`); docs/adr/0028-suppression.md shows
that none of them stays in a segment.

A suppression is kept twice: as a note in the member's sorted set of suppressed users, and as a marker, a field of the
hash beside the user's memberships.
"""

import secrets
from collections.abc import Collection, Sequence
from typing import Any

from instantaudience_server.store import keys, lua
from instantaudience_server.store.cluster import commands
from instantaudience_server.store.cluster.batch import Listed
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.cluster.commands import Command
from instantaudience_server.store.interfaces.memberships import NEVER
from instantaudience_server.store.interfaces.suppressions import ALL_MEMBERS, Due, Found

NAME_BYTES = 8
DUE_AT_ONCE = 100
SEGMENTS_AT_ONCE = 1000
"""The most segments in one removal: Lua's stack takes some 8,000 arguments."""

CHANGE = (
    lua.CLOCK
    + """
local members, version, due, registry = unpack(KEYS)
local name, member, now, end_ms = unpack(ARGV, 1, 4)
local node_ms, ends = now_ms(), {}
for i = 7, #ARGV do
  if end_ms == '' then
    redis.call('ZREM', registry, ARGV[i])
  else
    redis.call('ZADD', registry, 'GT', end_ms, ARGV[i])
    ends[#ends + 1] = redis.call('ZSCORE', registry, ARGV[i])
    for round = 5, 6 do redis.call('ZADD', due, node_ms + ARGV[round], round .. ' ' .. member .. ' ' .. ARGV[i]) end
  end
end
redis.call('ZREMRANGEBYSCORE', registry, '-inf', math.min(now, node_ms))
local last = redis.call('ZRANGE', registry, -1, -1, 'WITHSCORES')[2]
if last then
  redis.call('HSET', members, member, last)
  redis.call('PEXPIREAT', registry, last == 'inf' and 253402300799000 or math.max(last, node_ms) + 86400000)
else
  redis.call('HDEL', members, member)
end
redis.call('SET', version, redis.sha1hex((redis.call('GET', version) or '') .. name))
return ends
"""
)
"""Notes that users are suppressed, or that they no longer are.

Keys: members, version, due, the member's suppressed users. Arguments: a random name, the member, now (Unix time in
ms), the suppressions' end (likewise; `inf`: never; empty: lift them), two delays in ms after which the users are to be
removed once more, and the users' keys. The delays count by the node's clock, as workers' clocks may differ.

The new version is made of the former one and the name: a request may make several changes, or one again after a lost
answer, and whoever has read the members in between must notice what others have changed since.

Answers when each suppression ends, which may be later than asked for: only lifting shortens one. (Of those that are
lifted it answers nothing.) Notes are dropped when they have ended by both clocks, the worker's and the node's. Users
whose suppression is lifted stay due, because the request that suppressed them may still be about to write its marker.
The whole set expires a day after its last suppression has ended; one without an end is kept until the year 9999."""

NOTED = """
local found = {}
for i, user in ipairs(ARGV) do found[i] = redis.call('ZSCORE', KEYS[1], user) or '' end
return found
"""
"""Keys: the member's suppressed users. Arguments: users. Answers when each suppression ends; empty where there is
none."""

DUE = (
    lua.CLOCK
    + """
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms(), 'WITHSCORES', 'LIMIT', ARGV[1], ARGV[2])
"""
)
"""Answers users that are due, each followed by since when. Arguments: how many to skip, how many to answer at most."""

DONE = """
if redis.call('ZSCORE', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('ZREM', KEYS[1], ARGV[1]) end
return 1
"""
"""Arguments: an entry of the users that are due, and since when it was due. An entry with another time by now stays:
the user was suppressed again, and is to be removed after that, too."""

REMOVE = """
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then return 0 end
return redis.call('HDEL', KEYS[1], unpack(ARGV, 2))
"""
"""Removes a user from segments, if the user is suppressed. Keys: the user's memberships and markers. Arguments: the
member for which the user must be suppressed, and segment IDs."""


def new_name() -> str:
    """A random name for a new version of the list of suppressing members."""
    return secrets.token_hex(NAME_BYTES)


class ClusterSuppressionStore:
    """Markers in a hash beside each suppressed user's memberships (field = member, with its own expiry); in one slot,
    the notes, the users that are due, and the members that have suppressed users. Writes have the service's
    durability."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def version(self, deadline: float) -> bytes:
        """See `interfaces.suppressions.SuppressionStore`."""
        (name,) = await self._cluster.execute([commands.get(keys.SUPPRESSIONS_VERSION)], deadline, bounded=False)
        return name or b""

    async def members(self, deadline: float) -> dict[int, int]:
        """See `interfaces.suppressions.SuppressionStore`."""
        command = commands.read_hash(keys.SUPPRESSING_MEMBERS)
        (pairs,) = await self._cluster.execute([command], deadline, bounded=False)
        return {int(member): _end(end) for member, end in zip(pairs[::2], pairs[1::2], strict=True)}

    async def find(self, member_id: int, user_keys: Sequence[bytes], deadline: float) -> Found:
        """Read each user's markers, in one round trip."""
        fields = ALL_MEMBERS, member_id
        asked = Listed([commands.get_fields(keys.suppression_key(key), fields) for key in user_keys])
        batch = self._cluster.begin([asked], deadline)
        await batch.done
        failures = {user_keys[index]: error for _, indexes, error in batch.failures() for index in indexes}
        suppressed = [key for key, found in zip(user_keys, asked.replies, strict=True) if any(found or ())]
        return Found(frozenset(suppressed), failures)

    async def suppress(
        self,
        member_id: int,
        user_keys: Sequence[bytes],
        now_ms: int,
        end_ms: int,
        again_ms: tuple[int, int],
        name: str,
        deadline: float,
    ) -> None:
        """Write the notes, and by them the removals that are due, and then the markers; repeat where the notes have
        changed in between, because a suppression was lifted or prolonged."""
        end = "inf" if end_ms == NEVER else end_ms
        while True:
            ends = await self._change(member_id, user_keys, now_ms, end, again_ms, name, deadline)
            markers = [
                commands.set_field_until(keys.suppression_key(key), member_id, _end(until))
                for key, until in zip(user_keys, ends, strict=True)
            ]
            await self._write(markers, deadline)
            if await self._noted(member_id, user_keys, deadline) == ends:
                break

    async def lift(self, member_id: int, user_keys: Sequence[bytes], now_ms: int, name: str, deadline: float) -> bool:
        """Read the notes, as what deletes them may be sent again after a lost answer. Delete the markers, so that
        nothing removes the users any more, and then the notes; repeat where markers have been written in between."""
        members: Collection[int] = (member_id,)
        if member_id == ALL_MEMBERS:
            asked = [commands.field_names(keys.suppression_key(key)) for key in user_keys]
            found = await self._cluster.execute(asked, deadline)
            marked = {int(member) for fields in found for member in fields}
            members = {ALL_MEMBERS, *marked, *await self._noting(user_keys, deadline)}
        notes = [_noted(each, user_keys) for each in members]
        markers = [commands.remove_fields(keys.suppression_key(key), members) for key in user_keys]
        asked = [commands.get_fields(keys.suppression_key(key), members) for key in user_keys]
        were_suppressed = False
        while True:
            for ends in await self._cluster.execute(notes, deadline):
                were_suppressed |= any(end and float(end) > now_ms for end in ends)
            await self._write(markers, deadline)
            for each in members:
                await self._change(each, user_keys, now_ms, "", (0, 0), name, deadline)
            if not any(map(any, await self._cluster.execute(asked, deadline))):
                return were_suppressed

    async def due(self, deadline: float, passed_over: int = 0) -> list[Due]:
        """See `interfaces.suppressions.SuppressionStore`."""
        command = commands.evaluate(DUE, [keys.SUPPRESSIONS_DUE], passed_over, DUE_AT_ONCE, flags=commands.NO_WRITES)
        (entries,) = await self._cluster.execute([command], deadline, bounded=False)
        found = []
        for entry, since in zip(entries[::2], entries[1::2], strict=True):
            _, member_id, user_key = entry.split(b" ", 2)
            found.append(Due(int(member_id), user_key, entry, since))
        return found

    async def remove(self, due: Due, segment_ids: Sequence[int], deadline: float) -> None:
        """Make marker and note agree, remove the user if it is still suppressed, and take it off the list of what is
        due."""
        await self._complete(due, deadline)
        script_keys = [due.user_key, keys.suppression_key(due.user_key)]
        lots = [segment_ids[first : first + SEGMENTS_AT_ONCE] for first in range(0, len(segment_ids), SEGMENTS_AT_ONCE)]
        removals = [
            commands.evaluate(REMOVE, script_keys, due.member_id, *lot, flags=commands.ALLOW_OOM) for lot in lots
        ]
        await self._write(removals, deadline)
        done = commands.evaluate(DONE, [keys.SUPPRESSIONS_DUE], due.name, due.since, flags=commands.ALLOW_OOM)
        await self._cluster.execute([done], deadline)

    async def _complete(self, due: Due, deadline: float) -> None:
        """Make the user's marker agree with the note. They differ where a worker died between writing the two, or where
        two requests overlapped. A request that changes either of them meanwhile is noticed here, or checks again
        itself."""
        marker = keys.suppression_key(due.user_key)
        ((said,),) = await self._cluster.execute([commands.get_fields(marker, [due.member_id])], deadline)
        (end,) = await self._noted(due.member_id, [due.user_key], deadline)
        if bool(said) == bool(end):
            return
        written = None
        while written != end:
            if end:
                write = commands.set_field_until(marker, due.member_id, _end(end))
            else:
                write = commands.remove_fields(marker, [due.member_id])
            await self._write([write], deadline)
            written = end
            (end,) = await self._noted(due.member_id, [due.user_key], deadline)

    async def _noting(self, user_keys: Sequence[bytes], deadline: float) -> list[int]:
        """The members that have a note about any of the users, whether there is a marker or not."""
        members = list(await self.members(deadline))
        noted = [_noted(member, user_keys) for member in members]
        found = await self._cluster.execute(noted, deadline)
        return [member for member, ends in zip(members, found, strict=True) if any(ends)]

    async def _noted(self, member_id: int, user_keys: Sequence[bytes], deadline: float) -> list[bytes]:
        """When the users' suppressions end, by the notes; empty where there is none."""
        (found,) = await self._cluster.execute([_noted(member_id, user_keys)], deadline)
        return list(found)

    async def _change(
        self,
        member_id: int,
        user_keys: Sequence[bytes],
        now_ms: int,
        end: int | str,
        again_ms: tuple[int, int],
        name: str,
        deadline: float,
    ) -> list[bytes]:
        """Run `CHANGE`."""
        script_keys = [
            *(keys.SUPPRESSING_MEMBERS, keys.SUPPRESSIONS_VERSION, keys.SUPPRESSIONS_DUE),
            keys.suppressed_users_key(member_id),
        ]
        flags = "" if end else commands.ALLOW_OOM
        command = commands.evaluate(
            CHANGE, script_keys, name, member_id, now_ms, end, *again_ms, *user_keys, flags=flags
        )
        (ends,) = await self._write([command], deadline)
        return list(ends)

    async def _write(self, written: Sequence[Command], deadline: float) -> Sequence[Any]:
        return await self._cluster.execute(written, deadline, durability=self._cluster.durability)


def _noted(member_id: int, user_keys: Sequence[bytes]) -> Command:
    return commands.evaluate(NOTED, [keys.suppressed_users_key(member_id)], *user_keys, flags=commands.NO_WRITES)


def _end(score: bytes) -> int:
    return NEVER if score == b"inf" else int(float(score))
