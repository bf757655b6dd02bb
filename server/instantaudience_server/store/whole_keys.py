"""Keys as a whole, for backups: which there are, what they hold and until when, and how that is put back.

Not by DUMP and RESTORE: what one product or version dumps, another one need not take.
"""

import enum
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import hiredis

from instantaudience_server.settings import Durability
from instantaudience_server.store import lua
from instantaudience_server.store.cluster import commands
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.cluster.commands import Command, pack
from instantaudience_server.store.interfaces.memberships import NEVER
from instantaudience_server.store.keys import key_slot, mark_key

KEYS_AT_ONCE = 20
"""How many keys' parts, of about a thousand fields at most each, a node reads in one go. Of a slot that moves, it is
one: neither node answers about several keys where each has some of them."""
ALL = 2**31 - 1
LIST = "return redis.call('CLUSTER', 'GETKEYSINSLOT', ARGV[1], ARGV[2])"
"""Arguments: a slot, which a key is of that nobody has, and how many of its keys are wanted."""
READ = (
    lua.SCAN
    + """
local kind, scans, found = ARGV[1], {hash = 'HSCAN', zset = 'ZSCAN'}, {}
for i, key in ipairs(KEYS) do
  local cursor, values, ends = '0', {}, {}
  if scans[kind] then
    local function part(from) return redis.call(scans[kind], key, from, 'COUNT', 1000) end
    cursor, values = unpack(scan(part, ARGV[i + 1]))
  elseif kind == 'string' then
    values = {redis.call('GET', key) or nil}
  else
    local entry = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
    if entry then values = {entry[1], unpack(entry[2])} end
  end
  if kind == 'hash' and #values > 0 then
    local names = {}
    for j = 1, #values, 2 do names[#names + 1] = values[j] end
    ends = redis.call('HPEXPIRETIME', key, 'FIELDS', #names, unpack(names))
  end
  found[i] = {redis.call('PEXPIRETIME', key), cursor, values, ends}
end
return found
"""
)
"""Arguments: what the keys are, and for each the cursor to go on from. For each: when it ends, the next cursor, what it
holds, and of a hash when each field ends."""
ADD_ENTRY = """
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('XADD', KEYS[1], unpack(ARGV)) end
return 1
"""
"""A stream's entry; sent again after a lost answer, it is there."""


class Kind(enum.StrEnum):
    """What TYPE says of a key."""

    STRING = "string"
    HASH = "hash"
    SORTED_SET = "zset"
    STREAM = "stream"


class Part(NamedTuple):
    """What a key holds, or a part of it. `end_ms`: when the key ends (Unix time in ms, `NEVER`).

    `values`: of a string, the value; of a hash, for each field its name, its value and its end; of a sorted set,
    members and scores; of a stream, the newest entry's ID, then its fields and values: the others are for followers,
    which a cluster that is put back has none of.
    """

    kind: Kind
    key: bytes
    end_ms: int
    values: Sequence[bytes | int]


class WholeKeys:
    """Reads keys and puts them back. Every question waits for a node that is away, until what `deadline`
    gives when it is asked; then it raises AudienceError."""

    def __init__(self, cluster: Cluster, deadline: Callable[[], float]) -> None:
        self._cluster = cluster
        self._deadline = deadline
        self._moving: set[int] = set()
        """Slots whose keys two nodes have, as they were listed last."""

    async def names(self, slots: Sequence[int]) -> list[bytes]:
        """The keys in slots.

        Of a slot that moves, either node lists what it has. The one that keys leave is asked first. The other one is
        where a question about a key leads that is not there: unlike one about a slot, it is redirected.
        """
        listed = await self._execute([(slot, pack((b"CLUSTER", b"GETKEYSINSLOT", slot, ALL))) for slot in slots])
        led_to = await self._execute(
            [commands.evaluate(LIST, [mark_key(slot)], slot, ALL, flags=commands.NO_WRITES) for slot in slots]
        )
        found: list[bytes] = []
        for slot, one, other in zip(slots, map(set, listed), map(set, led_to), strict=True):
            if one == other:
                self._moving.discard(slot)
            else:
                self._moving.add(slot)
            found += one | other
        return found

    async def kinds(self, keys: Sequence[bytes]) -> list[Kind | None]:
        """What each key is; None: it has gone."""
        replies = await self._execute([(key_slot(key), pack((b"TYPE", key))) for key in keys])
        return [None if reply == b"none" else Kind(reply.decode()) for reply in replies]

    async def read(self, kind: Kind, keys: Sequence[bytes]) -> AsyncIterator[list[Part]]:
        """Read keys of one kind, in parts: a field with its end, and a value with its key's, as they stood together.
        What goes meanwhile is left out."""
        cursors = dict.fromkeys(keys, b"0")
        while cursors:
            lots = self._lots(cursors)
            questions = [
                commands.evaluate(READ, lot, kind, *(cursors[key] for key in lot), flags=commands.NO_WRITES)
                for lot in lots
            ]
            cursors, parts = {}, []
            for lot, found in zip(lots, await self._execute(questions), strict=True):
                for key, (end_ms, cursor, values, ends) in zip(lot, found, strict=True):
                    if cursor != b"0":
                        cursors[key] = cursor
                    if values:
                        flat = values if kind is not Kind.HASH else _with_ends(values, ends)
                        parts.append(Part(kind, key, max(end_ms, NEVER), flat))
            yield parts

    async def forget(self, keys: Sequence[bytes]) -> None:
        """Delete keys."""
        await self._execute([commands.delete(key) for key in keys], self._cluster.durability)

    async def put_back(self, parts: Sequence[Part], now_ms: int) -> None:
        """Write what has not ended; of other fields that a hash has, and of members that a sorted set has, nothing
        changes."""
        writes = [command for part in parts for command in _writes(part, now_ms)]
        await self._execute(writes, self._cluster.durability)

    def _lots(self, keys: Iterable[bytes]) -> list[list[bytes]]:
        """Keys of one slot each, not many."""
        by_slot: defaultdict[int, list[bytes]] = defaultdict(list)
        for key in keys:
            by_slot[key_slot(key)].append(key)
        lots: list[list[bytes]] = []
        for slot, found in by_slot.items():
            most = 1 if slot in self._moving else KEYS_AT_ONCE
            lots += [found[start : start + most] for start in range(0, len(found), most)]
        return lots

    async def _execute(self, asked: Sequence[Command], durability: Durability = Durability.PRIMARY) -> list[Any]:
        if not asked:
            return []
        return await self._cluster.execute(asked, self._deadline(), durability=durability)


def encoded(part: Part) -> bytes:
    """A part as bytes, of which several may follow each other: an array as RESP has it
    (https://redis.io/docs/latest/develop/reference/protocol-spec/)."""
    return pack((part.kind.value, part.key, part.end_ms, *part.values))


def decoded(data: bytes) -> Iterator[Part]:
    """The parts in what `encoded` has made."""
    reader = hiredis.Reader()
    reader.feed(data)
    while (found := reader.gets()) is not False:
        kind, key, end_ms, *values = found
        yield Part(Kind(kind.decode()), key, int(end_ms), values)


def live_fields(part: Part, now_ms: int) -> int:
    """How many fields of a hash have not ended."""
    return sum(1 for end in part.values[2::3] if not _has_ended(int(end), now_ms))


def _has_ended(end_ms: int, now_ms: int) -> bool:
    return end_ms != NEVER and end_ms <= now_ms


def _with_ends(flat: Sequence[bytes], ends: Sequence[int]) -> list[bytes | int]:
    """Fields and values, each with its end."""
    values: list[bytes | int] = []
    for field, value, end in zip(flat[::2], flat[1::2], ends, strict=True):
        if end != commands.GONE:
            values += (field, value, max(end, NEVER))
    return values


def _writes(part: Part, now_ms: int) -> Iterator[Command]:
    """The commands that put a part back."""
    if _has_ended(part.end_ms, now_ms):
        return
    slot, key, values = key_slot(part.key), part.key, part.values
    if part.kind is Kind.HASH:
        by_end: dict[int, list[bytes | int]] = {}
        for field, value, end in zip(values[::3], values[1::3], values[2::3], strict=True):
            by_end.setdefault(int(end), []).extend((field, value))
        for end, pairs in by_end.items():
            if not _has_ended(end, now_ms):
                expiry = () if end == NEVER else (b"PXAT", end)
                yield (slot, pack((b"HSETEX", key, *expiry, b"FIELDS", len(pairs) // 2, *pairs)))
    elif part.kind is Kind.STRING:
        yield (slot, pack((b"SET", key, *values)))
    elif part.kind is Kind.SORTED_SET:
        scored = [each for member, score in zip(values[::2], values[1::2], strict=True) for each in (score, member)]
        yield (slot, pack((b"ZADD", key, b"NX", *scored)))
    else:
        yield commands.evaluate(ADD_ENTRY, [key], *values)
    if part.end_ms != NEVER:
        yield commands.expire_at(key, part.end_ms)
