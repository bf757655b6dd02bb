"""What a cluster knows of a backup that is being put into it: whose turn it is, and that its catalog is there in part.

All of it lies in the catalog's slot.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from instantaudience_server.errors import STORE_FAILURES
from instantaudience_server.store import keys
from instantaudience_server.store.cluster import commands
from instantaudience_server.store.cluster.cluster import Cluster

LEASE_MS = 120_000
"""How long others are kept out by one that was killed, or stands still."""

HOLD = """
local lease, version, partial = unpack(KEYS)
local name, lease_ms, wanted = unpack(ARGV)
if (redis.call('GET', lease) or name) ~= name then return 0 end
if wanted == 'kept' and redis.call('GET', partial) ~= name then return 0 end
redis.call('SET', lease, name, 'PX', lease_ms)
if wanted == 'begun' then
  redis.call('SET', partial, name)
  redis.call('DEL', version)
end
return 1
"""
"""Arguments: the restore's name, how long its lease is, in ms, and what is wanted of the catalog: that its place is
taken, `begun`, that it is so still, `kept`, or nothing. Where the place is taken, there is no version."""

END = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""
"""Keys: the lease, or what says that the catalog is there in part. Arguments: the restore's name."""


FORBIDDEN = """
local forbidden = {}
for i = 1, #ARGV, 2 do
  local words = {}
  for word in string.gmatch(ARGV[i + 1], '%S+') do words[#words + 1] = word end
  if not redis.acl_check_cmd(unpack(words)) then forbidden[#forbidden + 1] = ARGV[i] end
end
return forbidden
"""
"""Arguments: names, and a command for each. Answers those that the user may not run, which needs no right of its own
(https://redis.io/docs/latest/develop/programmability/lua-api/#redis.acl_check_cmd)."""


class ClusterRestoreStore:
    """Lets one restore at a time into a cluster; `name` is this one's. Each method waits for a node that is away, until
    what `deadline` gives when it is called; then it raises AudienceError."""

    def __init__(self, cluster: Cluster, name: str, deadline: Callable[[], float]) -> None:
        self._cluster = cluster
        self._name = name
        self._deadline = deadline

    async def forbidden(self, wanted: Mapping[str, Sequence[str]], slots: Iterable[int]) -> list[str]:
        """Which of these commands, by their names, this user may not run at a node of one of the slots."""
        words = [word for name, command in wanted.items() for word in (name, " ".join(command))]
        questions = [
            commands.evaluate(FORBIDDEN, [keys.mark_key(slot)], *words, flags=commands.NO_WRITES) for slot in slots
        ]
        answers = await self._cluster.execute(questions, self._deadline())
        return list(dict.fromkeys(name.decode() for answer in answers for name in answer))

    async def hold(self) -> bool:
        """Begin, or go on; whether no other restore is under way."""
        return await self._hold("")

    async def begin_catalog(self) -> bool:
        """As `hold`; from now on, the catalog is there in part: nobody changes it, or takes it for whole."""
        return await self._hold("begun")

    async def hold_catalog(self) -> bool:
        """As `hold`, and whether no other restore has begun a catalog since this one has."""
        return await self._hold("kept")

    async def end_catalog(self) -> None:
        """The catalog is whole."""
        await self._run(END, [keys.CATALOG_PARTIAL], flags=commands.ALLOW_OOM)

    async def end(self) -> None:
        """Another one may begin; where the node is away, later."""
        with contextlib.suppress(*STORE_FAILURES):
            await self._run(END, [keys.RESTORE_LEASE], flags=commands.ALLOW_OOM)

    async def _hold(self, wanted: str) -> bool:
        held = [keys.RESTORE_LEASE, keys.CATALOG_VERSION, keys.CATALOG_PARTIAL]
        return bool(await self._run(HOLD, held, LEASE_MS, wanted))

    async def _run(self, script: str, script_keys: Sequence[bytes], *arguments: int | str, flags: str = "") -> Any:
        command = commands.evaluate(script, script_keys, self._name, *arguments, flags=flags)
        (answer,) = await self._cluster.execute([command], self._deadline(), durability=self._cluster.durability)
        return answer
