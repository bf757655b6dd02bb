"""Quota windows in the cluster (see `interfaces.quotas.QuotaStore`); docs/adr/0011-quotas.md shows that they are exact.

A window is one second by the clock of the node that holds the member's hash, so that all workers share it. The script
decides on calls one after the other and runs atomically.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import Any

from instantaudience_server.store import keys
from instantaudience_server.store.cluster import commands
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.quotas import Admissions, Counts, Quota

KEPT_MS = 60_000
"""How long a window and the answers in it are kept after their last use; no question is sent again after that."""

ADMIT = """
local time = redis.call('TIME')
local second = tonumber(time[1])
local kept = redis.call('HMGET', KEYS[1], 'second', 'calls', 'units', ARGV[1])
local window, calls, units = tonumber(kept[1] or 0), tonumber(kept[2] or 0), tonumber(kept[3] or 0)
if second > window or second < window - 2 then window, calls, units = second, 0, 0 end
local left = (window + 1 - second) * 1000000 - time[2]
local last, refused = string.match(kept[4] or '', '^(%d+) (%d*)$')
if last and tonumber(ARGV[2]) <= tonumber(last) then return {calls, units, left, refused} end
local most_calls, most_units = tonumber(ARGV[3]), tonumber(ARGV[4])
local marks, any = {}, false
for i = 6, #ARGV do
  local more = tonumber(ARGV[i])
  if calls < most_calls and units + more <= most_units then
    calls, units = calls + 1, units + more
    marks[i - 5] = '0'
  else
    marks[i - 5], any = '1', true
  end
end
refused = any and table.concat(marks) or ''
redis.call('HSETEX', KEYS[1], 'PX', ARGV[5], 'FIELDS', 4,
  'second', window, 'calls', calls, 'units', units, ARGV[1], ARGV[2] .. ' ' .. refused)
return {calls, units, left, refused}
"""
"""Arguments: worker, the question's number, limits of calls and units, how long to keep the hash in ms, each call's
units. A question that was answered before gets the same answer again, and counts once. A clock that was set back by at
most two seconds (or that of another node, after the slot has moved) does not reopen a window.

Answers the calls and units admitted in the window, the microseconds left of it, and a digit for each call (1: refused),
or an empty string when all are admitted.
"""

USED = """
local second = tonumber(redis.call('TIME')[1])
local kept = redis.call('HMGET', KEYS[1], 'second', 'calls', 'units')
local window = tonumber(kept[1] or 0)
if second > window or second < window - 2 then return {0, 0} end
return {tonumber(kept[2]), tonumber(kept[3])}
"""
"""Answers the calls and units of the window that `ADMIT` would add to now."""


class ClusterQuotaStore:
    """One hash for each member and quota.

    `worker` is a name that no other worker of the cluster has, nor had before, nor will have.
    """

    def __init__(self, cluster: Cluster, worker: str) -> None:
        self._cluster = cluster
        self._worker = worker
        self._numbers = count(1)

    def ask(
        self, member_id: int, quota: Quota, calls: Sequence[int], limits: Counts, deadline: float
    ) -> "asyncio.Future[Admissions]":
        """Run the script."""
        key = keys.quota_key(member_id, quota)
        number = next(self._numbers)
        # Allowed when the node's memory is full, so that reads go on: a window is small and expires soon.
        command = commands.evaluate(
            ADMIT, [key], self._worker, number, *limits, KEPT_MS, *calls, flags=commands.ALLOW_OOM
        )
        return self._cluster.ask(command, deadline, partial(_admissions, len(calls)))

    async def used(self, member_id: int, quota: Quota, deadline: float) -> Counts:
        """Run `USED`."""
        command = commands.evaluate(USED, [keys.quota_key(member_id, quota)], flags=commands.NO_WRITES)
        (counts,) = await self._cluster.execute([command], deadline)
        return Counts(*counts)


def _admissions(calls: int, reply: Sequence[Any]) -> Admissions:
    """Read the answer of `ADMIT` about `calls` calls."""
    admitted_calls, units, left_microseconds, refused = reply
    admitted = [mark == ord("0") for mark in refused] if refused else [True] * calls
    return Admissions(admitted, Counts(admitted_calls, units), left_microseconds / 1e6)
