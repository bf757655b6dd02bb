"""Lists, reads and writes whole keys with their expiries, for backups.

DUMP and RESTORE would not do: what one product or version dumps, another need not accept.
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
"""The most keys of a slot of which one script reads a part (about a thousand fields each). In a slot that is migrating,
it is one: where each node has some of several keys, neither answers."""
ALL = 2**31 - 1
LIST = "return redis.call('CLUSTER', 'GETKEYSINSLOT', ARGV[1], ARGV[2])"
"""Lists keys of a slot. Keys: one of the slot that does not exist. Arguments: the slot, the most keys to answer."""
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
"""Reads a part of each of some keys. Arguments: the keys' kind, and for each key the cursor to read from. Answers for
each: its expiry, the next cursor, the part, and for a hash the expiry of each field."""
ADD_ENTRY = """
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('XADD', KEYS[1], unpack(ARGV)) end
return 1
"""
"""Adds an entry to a stream that does not exist yet: sent again after a lost answer, it changes nothing."""


class Kind(enum.StrEnum):
    """The type of a key, as TYPE names it."""

    STRING = "string"
    HASH = "hash"
    SORTED_SET = "zset"
    STREAM = "stream"


class Part(NamedTuple):
    """A key's content, or a part of it. `end_ms` is when the key expires (Unix time in ms, or `NEVER`).

    `values` is flat: of a string, the value; of a hash, each field's name, value and end; of a sorted set, members and
    scores; of a stream, the ID of the newest entry, then its fields and values. Older entries are for workers that
    follow the stream, and a restored cluster has none.
    """

    kind: Kind
    key: bytes
    end_ms: int
    values: Sequence[bytes | int]


class WholeKeys:
    """Reads keys and writes them back. Each request waits for a node that does not answer until the deadline that
    `deadline` returns when it is made, and then raises AudienceError."""

    def __init__(self, cluster: Cluster, deadline: Callable[[], float]) -> None:
        self._cluster = cluster
        self._deadline = deadline
        self._moving: set[int] = set()
        """Slots whose keys were spread over two nodes when they were last listed."""

    async def names(self, slots: Sequence[int]) -> list[bytes]:
        """The keys in some slots.

        While a slot is migrating, each of two nodes has some of its keys. The plain command goes to the source node.
        The script names a key that does not exist, and is therefore redirected (ASK) to the target.
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
        """The kind of each key; None where it no longer exists."""
        replies = await self._execute([(key_slot(key), pack((b"TYPE", key))) for key in keys])
        return [None if reply == b"none" else Kind(reply.decode()) for reply in replies]

    async def read(self, kind: Kind, keys: Sequence[bytes]) -> AsyncIterator[list[Part]]:
        """Read keys of one kind, part by part. A field and its end, or a value and its key's end, are of the same
        moment. What is deleted or expires meanwhile may be left out."""
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
        """Write parts, but for what has ended by `now_ms`. Other fields of a hash stay as they are; so do all members
        that a sorted set has already."""
        writes = [command for part in parts for command in _writes(part, now_ms)]
        await self._execute(writes, self._cluster.durability)

    def _lots(self, keys: Iterable[bytes]) -> list[list[bytes]]:
        """Group keys into lots, each of one slot and of at most `KEYS_AT_ONCE`."""
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
    """A part as bytes: a RESP array (https://redis.io/docs/latest/develop/reference/protocol-spec/). Encoded parts may
    be concatenated."""
    return pack((part.kind.value, part.key, part.end_ms, *part.values))


def decoded(data: bytes) -> Iterator[Part]:
    """The parts in bytes made by `encoded`."""
    reader = hiredis.Reader()
    reader.feed(data)
    while (found := reader.gets()) is not False:
        kind, key, end_ms, *values = found
        yield Part(Kind(kind.decode()), key, int(end_ms), values)


def live_fields(part: Part, now_ms: int) -> int:
    """How many fields of a hash's part have not ended."""
    return sum(1 for end in part.values[2::3] if not _has_ended(int(end), now_ms))


def _has_ended(end_ms: int, now_ms: int) -> bool:
    return end_ms != NEVER and end_ms <= now_ms


def _with_ends(flat: Sequence[bytes], ends: Sequence[int]) -> list[bytes | int]:
    """Fields, values and ends, flat; `flat` has the fields and values. Fields that no longer exist are left out."""
    values: list[bytes | int] = []
    for field, value, end in zip(flat[::2], flat[1::2], ends, strict=True):
        if end != commands.GONE:
            values += (field, value, max(end, NEVER))
    return values


def _writes(part: Part, now_ms: int) -> Iterator[Command]:
    """The commands that write a part, but for what has ended."""
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
