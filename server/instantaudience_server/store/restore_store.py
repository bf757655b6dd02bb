"""The state of a restore in the cluster: a lease, by which one restore runs at a time, and the note that the catalog is
partial. Both are in the catalog's slot."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from instantaudience_server.errors import STORE_FAILURES
from instantaudience_server.store import keys
from instantaudience_server.store.cluster import commands
from instantaudience_server.store.cluster.cluster import Cluster

LEASE_MS = 120_000
"""How long a restore that was killed or has stopped keeps others out."""
RENEWALS = 4
"""How often in that time a restore that is at work renews its lease."""

HOLD = """
local lease, version, partial = unpack(KEYS)
local name, lease_ms, wanted = unpack(ARGV)
if (redis.call('GET', lease) or name) ~= name then
  redis.call('PEXPIRE', lease, lease_ms, 'LT')
  return 0
end
if wanted == 'kept' and redis.call('GET', partial) ~= name then return 0 end
redis.call('SET', lease, name, 'PX', lease_ms)
if wanted == 'begun' then
  redis.call('SET', partial, name)
  redis.call('DEL', version)
end
return 1
"""
"""Takes or renews the lease. Arguments: the restore's name, the lease's length in ms, and what to do about the catalog:
`begun` marks it as partial and deletes its version, `kept` demands that it is still marked by this restore; empty:
nothing. Answers 1, or 0 where another restore has the lease, or has marked the catalog since.

The node keeps the lease's end as a time of its clock (https://redis.io/docs/latest/commands/expire/). One that is
further off than any lease can be, as the clock was set back, is moved to where a lease that begins now ends: who is at
work renews it, and of who is not, it ends."""

END = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""
"""Deletes a key if it holds the restore's name. Keys: the lease, or `keys.CATALOG_PARTIAL`. Arguments: the name."""


FORBIDDEN = """
local forbidden = {}
for i = 1, #ARGV, 2 do
  local words = {}
  for word in string.gmatch(ARGV[i + 1], '%S+') do words[#words + 1] = word end
  if not redis.acl_check_cmd(unpack(words)) then forbidden[#forbidden + 1] = ARGV[i] end
end
return forbidden
"""
"""Arguments: pairs of a name and a command. Answers the names of the commands that the connection's user may not run.
Unlike `ACL DRYRUN`, this needs no permission
(https://redis.io/docs/latest/develop/programmability/lua-api/#redis.acl_check_cmd)."""


class ClusterRestoreStore:
    """Lets one restore at a time into a cluster; `name` identifies this one. Each method waits for a node that does not
    answer until the deadline that `deadline` returns when it is called, and then raises AudienceError."""

    def __init__(self, cluster: Cluster, name: str, deadline: Callable[[], float]) -> None:
        self._cluster = cluster
        self._name = name
        self._deadline = deadline

    async def forbidden(self, wanted: Mapping[str, Sequence[str]], slots: Iterable[int]) -> list[str]:
        """The names of the commands (name → words) that this user may not run on the node of any of the slots."""
        words = [word for name, command in wanted.items() for word in (name, " ".join(command))]
        questions = [
            commands.evaluate(FORBIDDEN, [keys.mark_key(slot)], *words, flags=commands.NO_WRITES) for slot in slots
        ]
        answers = await self._cluster.execute(questions, self._deadline())
        return list(dict.fromkeys(name.decode() for answer in answers for name in answer))

    async def hold(self) -> bool:
        """Take or renew the lease; False where another restore has it."""
        return await self._hold("")

    async def keep(self) -> None:
        """Renew the lease again and again, until another restore has it."""
        while True:
            await asyncio.sleep(LEASE_MS / 1000 / RENEWALS)
            with contextlib.suppress(*STORE_FAILURES):  # who writes meets them too
                if not await self.hold():
                    return

    async def begin_catalog(self) -> bool:
        """As `hold`, and mark the catalog as partial: from now on, nobody changes it or takes it for complete."""
        return await self._hold("begun")

    async def hold_catalog(self) -> bool:
        """As `hold`; also False where another restore has marked the catalog as partial since this one did."""
        return await self._hold("kept")

    async def end_catalog(self) -> None:
        """Remove the mark: the catalog is complete."""
        await self._run(END, [keys.CATALOG_PARTIAL], flags=commands.ALLOW_OOM)

    async def end(self) -> None:
        """Release the lease. Where the node does not answer, the lease is left to expire."""
        with contextlib.suppress(*STORE_FAILURES):
            await self._run(END, [keys.RESTORE_LEASE], flags=commands.ALLOW_OOM)

    async def _hold(self, wanted: str) -> bool:
        held = [keys.RESTORE_LEASE, keys.CATALOG_VERSION, keys.CATALOG_PARTIAL]
        return bool(await self._run(HOLD, held, LEASE_MS, wanted))

    async def _run(self, script: str, script_keys: Sequence[bytes], *arguments: int | str, flags: str = "") -> Any:
        command = commands.evaluate(script, script_keys, self._name, *arguments, flags=flags)
        (answer,) = await self._cluster.execute([command], self._deadline(), durability=self._cluster.durability)
        return answer
