"""The catalog in the cluster (see `interfaces.catalog.CatalogStore`).

All of it is in one slot, so that a change, its place in the order of changes and the rules across objects (unique
names, owners) are one atomic step on one node. Workers answer from memory, and ask the cluster only for changes.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from instantaudience_server.errors import unavailable
from instantaudience_server.store import keys
from instantaudience_server.store.cluster import commands
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.catalog import Change, Kind, NextChanges, Outcome, Page, Version, Write

CHANGES_KEPT = 250_000
"""The approximate length of the stream: how many changes a worker may be behind before it has to load everything anew.
It is more than an import makes while a worker loads a million segments."""
CHANGES_AT_ONCE = 250
"""Changes in one answer; a worker applies them in about 3 ms."""
RECORDS_AT_ONCE = 2000
"""Objects in one page; reading them keeps the node busy for about a millisecond."""
CHANGES_LOOKED_THROUGH = 1000
"""The most changes that `WRITE` searches for one of a kind. Where there are more since `alone_since`, it assumes that
one is among them."""
ANSWERS_KEPT_SECONDS = 120
"""How long the answer to a command is kept in case that the command is sent again: longer than any deadline."""

OBJECTS = {
    Kind.MEMBER: keys.CATALOG_MEMBERS,
    Kind.USER: keys.CATALOG_USERS,
    Kind.SEGMENT: keys.CATALOG_SEGMENTS,
}

WRITE = """
local objects = {member = KEYS[1], user = KEYS[2], segment = KEYS[3]}
local owned, names, hashes, version, changes, ids, partial, seeding, answer = unpack(KEYS, 4, 12)
local changes_kept, looked_through, answer_kept, command, seeds = unpack(ARGV, 1, 5)
local answered = redis.call('GET', answer)
if answered then return answered end
if redis.call('GET', partial) then return redis.error_reply('TRYAGAIN The catalog is being restored') end
local is_over = seeds == '1' and not redis.call('GET', seeding)
local function record(kind, id, data)
  local number = tonumber(string.match(redis.call('GET', version) or '0-0', '^%d+')) + 1
  local entry = string.format('%d-%s', number, command)
  redis.call('XADD', changes, 'MAXLEN', '~', changes_kept, entry, 'kind', kind, 'id', id, 'data', data)
  redis.call('SET', version, entry)
end
local looked = {}
local function look_for_others(kind, since)
  local found = redis.call('XRANGE', changes, since, '+', 'COUNT', looked_through + 1)
  if #found > tonumber(looked_through) or not found[1] or found[1][1] ~= since then return true end
  for i = 2, #found do
    if found[i][2][2] == kind then return true end
  end
  return false
end
local function others_changed(kind, since)
  if since == '' then return false end
  local asked = kind .. since
  if looked[asked] == nil then looked[asked] = look_for_others(kind, since) end
  return looked[asked]
end
local writes, times, giving, taking, by_object = {}, {}, {}, {}, {}
for i = 6, #ARGV, 12 do
  local w = {}
  w.kind, w.id, w.before, w.after, w.owner, w.old_name, w.new_name, w.hash, w.old_hash, w.named, w.alone_since,
    w.givers = unpack(ARGV, i, i + 11)
  writes[#writes + 1] = w
  w.object = w.kind .. w.id
  by_object[w.object] = w
  w.is_late = others_changed(w.kind, w.alone_since)
  times[w.object] = (times[w.object] or 0) + 1
  if w.old_name ~= w.new_name then giving[w.old_name] = w end
end
local verdict, is_contested
local function is_made(w) return w and times[w.object] == 1 and verdict(w) == 'DONE' end
local function takes_name(w)
  local name = w.new_name
  if name == '' then return true end
  if taking[name] then
    is_contested = true
    return false
  end
  local holder, giver = redis.call('HGET', names, name) or w.id, giving[name]
  taking[name] = w
  if holder == w.id or giver and giver.id == holder and is_made(giver) then return true end
  taking[name] = nil
  return false
end
local function will_be_there(object)
  local w = by_object[object]
  return w and w.after ~= '' and is_made(w)
end
local function givers_give(w)
  for user in string.gmatch(w.givers, '%d+') do
    if not will_be_there('user' .. user) then return false end
  end
  return true
end
local function why_not(w)
  if is_over then return 'CONFLICT' end
  if (redis.call('HGET', objects[w.kind], w.id) or '') ~= w.before then return 'CONFLICT' end
  if w.old_hash ~= '' and redis.call('HGET', hashes, w.id) ~= w.old_hash then return 'CONFLICT' end
  if w.is_late then return 'CONFLICT' end
  if w.after ~= '' and w.owner ~= '0' and redis.call('HEXISTS', objects.member, w.owner) == 0 then return 'NO_OWNER' end
  for id in string.gmatch(w.named, '%d+') do
    if redis.call('HEXISTS', objects.member, id) == 0 and not will_be_there('member' .. id) then return 'NO_MEMBER' end
  end
  if w.after == '' and w.kind == 'member' and redis.call('HEXISTS', owned, w.id) == 1 then return 'IN_USE' end
  if not givers_give(w) or not takes_name(w) then return 'NAME_TAKEN' end
end
local looked_at
verdict = function(w)
  if not w.verdict then
    looked_at[#looked_at + 1] = w
    w.verdict = 'DONE'
    w.verdict = why_not(w) or 'DONE'
  end
  return w.verdict
end
local function write(w)
  looked_at, is_contested = {}, false
  if verdict(w) ~= 'DONE' then
    for _, other in ipairs(looked_at) do
      if other.verdict == 'DONE' then
        other.verdict, taking[other.new_name] = nil, nil
      elseif is_contested and other ~= w then
        other.verdict = nil
      end
    end
    return
  end
  local kind, id, owner = w.kind, w.id, w.owner
  record(kind, id, w.after)
  if w.old_name ~= w.new_name then
    if redis.call('HGET', names, w.old_name) == id then redis.call('HDEL', names, w.old_name) end
    if w.new_name ~= '' then redis.call('HSET', names, w.new_name, id) end
  end
  taking[w.new_name] = nil
  if w.before == '' then
    local largest = tonumber(redis.call('HGET', ids, kind) or 0)
    if tonumber(id) > largest and tonumber(id) < 2000000000 then redis.call('HSET', ids, kind, id) end
    if owner ~= '0' then redis.call('HINCRBY', owned, owner, 1) end
  end
  if w.after == '' then
    redis.call('HDEL', objects[kind], id)
    if kind == 'user' then redis.call('HDEL', hashes, id) end
    if owner ~= '0' and redis.call('HINCRBY', owned, owner, -1) == 0 then redis.call('HDEL', owned, owner) end
  else
    redis.call('HSET', objects[kind], id, w.after)
    if w.hash ~= '' then redis.call('HSET', hashes, id, w.hash) end
  end
end
local outcomes = {}
for i, w in ipairs(writes) do
  write(w)
  outcomes[i] = w.verdict
end
local answered_now = table.concat(outcomes, ' ')
redis.call('SET', answer, answered_now, 'EX', answer_kept)
return answered_now
"""
"""Makes writes in order and answers their outcomes, separated by spaces.

Keys: `keys.CATALOG_WRITTEN`, `keys.catalog_answer_key`. Arguments: how many changes to keep, how many to search, how
many seconds to keep the answer, the command's random name, which is part of the IDs of its changes, and 1 where it
seeds; then twelve for each write (`_arguments`), empty strings for what is absent.

Names may change hands in any order, in circles too: a name counts as free if a later write of the same command gives it
up and will itself be made. To know that, `verdict` judges the later write ahead of its turn, recursively; it must be
the only write of its object. Two further conditions look ahead in the same way: the users in `givers`, who have to give
up names in certificates, and members that are named before the command creates them.

Each write is judged once: what is judged ahead keeps its verdict, and the name that it takes, until its turn. While a
write is being judged, it counts as made; that is what closes a circle. If it is refused after all, so is everything
that led to it, up to the write whose turn it is. Then all that was found to be possible on the way is forgotten: it may
have counted on the refused one. So is all else that was found on the way, where a name was refused that another write
was to take: that may have been one of the refused.
"""

CREDENTIALS = """
if redis.call('GET', KEYS[4]) then return redis.error_reply('TRYAGAIN The catalog is being restored') end
local id = redis.call('HGET', KEYS[1], ARGV[1]) or ''
return {redis.call('HGET', KEYS[2], id), redis.call('HGET', KEYS[3], id)}
"""
"""Argument: a unique name. Answers the serialised user that has it, and the hash of the user's password."""

NOTE_GENERATION = """
if tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
"""
"""Raises a field to a token generation. Arguments: the field, the generation. The field is in the hash of the largest
IDs because a restore lowers neither of them."""

BEGIN_SEEDING = """
if redis.call('GET', KEYS[3]) then return redis.error_reply('TRYAGAIN The catalog is being restored') end
if not redis.call('GET', KEYS[1]) then redis.call('SET', KEYS[2], '1') end
return redis.call('GET', KEYS[2])
"""
"""Keys: version, seeding, partial. Notes that a seeding is under way where the catalog is empty. Answers '1' where one
is, also if it began earlier; else nothing."""


def random_name() -> int:
    """A random name for a command. It becomes the second part of stream IDs, which has 64 bits."""
    return secrets.randbits(63)


class ClusterCatalogStore:
    """Hashes of objects, unique names and passwords, and a stream of changes.

    `name_command` makes a unique name for each command that writes; the script recognises by it a command that is sent
    again after a lost answer.
    """

    def __init__(self, cluster: Cluster, name_command: Callable[[], int] = random_name) -> None:
        self._cluster = cluster
        self._name_command = name_command

    async def version(self, deadline: float) -> Version:
        """Get the newest change's ID."""
        return await self._ask(commands.get(keys.CATALOG_VERSION), deadline) or b""

    async def is_partial(self, deadline: float) -> bool:
        """Whether a restore writes the catalog, or was cut short while it did (docs/deployment.md, "Backup and
        restore")."""
        return await self._ask(commands.get(keys.CATALOG_PARTIAL), deadline) is not None

    async def load(self, page_seconds: float) -> AsyncGenerator[Page, None]:
        """Scan the hashes of members, users and segments, in this order. The next page is read while the caller uses
        the one before.

        The last thing is a check that the catalog is whole: a partial one has no version that would give it away.
        """
        for kind, key in OBJECTS.items():
            page = asyncio.create_task(self._scan(key, b"0", page_seconds))
            try:
                while True:
                    cursor, records = await page
                    last = cursor == b"0"
                    if not last:
                        page = asyncio.create_task(self._scan(key, cursor, page_seconds))
                    yield kind, records
                    if last:
                        break
            finally:
                page.cancel()
        await self._check_whole(asyncio.get_running_loop().time() + page_seconds)

    async def _find(self, key: bytes, ids: Sequence[int], deadline: float) -> list[bytes | None]:
        if not ids:
            return []
        (found,) = await self._cluster.execute([commands.get_fields(key, ids)], deadline)
        if None in found:
            await self._check_whole(deadline)
        return list(found)

    async def _check_whole(self, deadline: float) -> None:
        """Make sure that what was not found does not exist, rather than being about to be restored from a backup.

        Raises:
            AudienceError: UNAVAILABLE, the catalog is there in part.
        """
        if await self.is_partial(deadline):
            raise unavailable("a backup is being put back; nothing is lost")

    async def _scan(self, key: bytes, cursor: bytes, seconds: float) -> tuple[bytes, list[bytes]]:
        """Read a page of a hash: the cursor of the next page, and the values."""
        command = commands.scan_hash(key, cursor, RECORDS_AT_ONCE)
        cursor, pairs = await self._ask(command, asyncio.get_running_loop().time() + seconds)
        return cursor, pairs[1::2]

    async def _ask(self, command: commands.Command, deadline: float) -> Any:
        (reply,) = await self._cluster.execute([command], deadline, bounded=False)
        return reply

    async def changes(self, after: Version, deadline: float) -> NextChanges | None:
        """Read the stream from the change `after` on, which must still be there: that shows that none is missing."""
        if await self.version(deadline) == after:
            return NextChanges([], are_all=True)
        command = commands.read_stream(keys.CATALOG_CHANGES, after or b"-", CHANGES_AT_ONCE + bool(after))
        entries = await self._ask(command, deadline)
        if after:
            if not entries or entries[0][0] != after:
                return None
            del entries[0]
        elif entries and not entries[0][0].startswith(b"1-"):
            return None
        changes = [_change(entry_id, fields) for entry_id, fields in entries]
        return NextChanges(changes, are_all=len(changes) < CHANGES_AT_ONCE) if changes else None

    async def find(self, kind: Kind, ids: Sequence[int], deadline: float) -> list[bytes | None]:
        """Get records."""
        return await self._find(OBJECTS[kind], ids, deadline)

    async def password_hashes(self, user_ids: Sequence[int], deadline: float) -> list[str | None]:
        """Get hashes."""
        return [_text(value) for value in await self._find(keys.CATALOG_PASSWORDS, user_ids, deadline)]

    async def credentials(self, user_id: int, deadline: float) -> tuple[bytes | None, str | None]:
        """Get both fields, the user first, from the node that has the catalog."""
        asked = [commands.get_fields(key, [user_id]) for key in (keys.CATALOG_USERS, keys.CATALOG_PASSWORDS)]
        (user,), (password_hash,) = await self._cluster.execute(asked, deadline)
        if None in (user, password_hash):
            await self._check_whole(deadline)
        return user, _text(password_hash)

    async def credentials_by_name(self, name: str, deadline: float) -> tuple[bytes | None, str | None]:
        """Run the script that looks the name up."""
        script_keys = [keys.CATALOG_NAMES, keys.CATALOG_USERS, keys.CATALOG_PASSWORDS, keys.CATALOG_PARTIAL]
        ((user, password_hash),) = await self._cluster.execute(
            [commands.evaluate(CREDENTIALS, script_keys, name)], deadline
        )
        return user, _text(password_hash)

    async def write(self, writes: Sequence[Write], deadline: float, *, seeds: bool = False) -> list[Outcome]:
        """Run `WRITE`."""
        if not writes:
            return []
        name = self._name_command()
        command = commands.evaluate(
            WRITE,
            [*keys.CATALOG_WRITTEN, keys.catalog_answer_key(name)],
            *(CHANGES_KEPT, CHANGES_LOOKED_THROUGH, ANSWERS_KEPT_SECONDS, name, int(seeds)),
            *(argument for write in writes for argument in _arguments(write)),
        )
        (answer,) = await self._cluster.execute([command], deadline, durability=self._cluster.durability)
        return [Outcome[word] for word in answer.decode().split()]

    async def confirm(self, deadline: float) -> None:
        """Read something from the same node, as a command that has to be confirmed (see `cluster.confirming`)."""
        command = commands.get(keys.CATALOG_VERSION)
        await self._cluster.execute([command], deadline, durability=self._cluster.durability)

    async def note_generation(self, generation: int, deadline: float) -> None:
        """Run the script."""
        command = commands.evaluate(NOTE_GENERATION, [keys.CATALOG_IDS], keys.CATALOG_GENERATION, generation)
        await self._cluster.execute([command], deadline, durability=self._cluster.durability)

    async def former_generation(self, deadline: float) -> int:
        """Get the field."""
        ((generation,),) = await self._cluster.execute(
            [commands.get_fields(keys.CATALOG_IDS, [keys.CATALOG_GENERATION])], deadline
        )
        return int(generation or 0)

    async def begin_seeding(self, deadline: float) -> bool:
        """Run `BEGIN_SEEDING`."""
        script_keys = [keys.CATALOG_VERSION, keys.CATALOG_SEEDING, keys.CATALOG_PARTIAL]
        return await self._ask(commands.evaluate(BEGIN_SEEDING, script_keys), deadline) is not None

    async def end_seeding(self, deadline: float) -> None:
        """Delete the note."""
        await self._ask(commands.delete(keys.CATALOG_SEEDING), deadline)

    async def allocate_id(self, kind: Kind, deadline: float) -> int:
        """Increment the largest ID, skipping those in use: the script does not count IDs from 2,000,000,000 on."""
        while True:
            command = commands.increment_field(keys.CATALOG_IDS, kind)
            (number,) = await self._cluster.execute([command], deadline)
            if (await self.find(kind, [number], deadline))[0] is None:
                return int(number)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def _change(entry_id: bytes, fields: Sequence[bytes]) -> Change:
    kind, object_id, data = fields[1::2]
    return Change(entry_id, Kind(kind.decode()), int(object_id), data or None)


def _arguments(write: Write) -> tuple[int | str | bytes, ...]:
    return (
        write.kind,
        write.id,
        write.before or b"",
        write.after or b"",
        write.owner_id,
        write.name_before or "",
        write.name_after or "",
        write.password_hash or "",
        write.hash_before or "",
        " ".join(map(str, write.named)),
        write.alone_since,
        " ".join(map(str, write.givers)),
    )
