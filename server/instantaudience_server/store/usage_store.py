"""What members sent, by hours, in the cluster (see `usage_interface.UsageStore`); docs/adr/0014-usage.md argues that
each addition counts once."""

import asyncio
from collections.abc import Sequence

from instantaudience_server.store import commands, keys
from instantaudience_server.store.cluster import Cluster
from instantaudience_server.store.usage_interface import (
    KEPT_HOURS,
    MOST_LINE_BYTES,
    MOST_LINES,
    Addition,
    CallFailure,
    HourUsage,
    Lines,
    Reason,
    Skip,
    Tally,
)

KEPT_SECONDS = KEPT_HOURS * 3600
"""How long an hour is kept after its last addition (source: contract)."""
NUMBER_KEPT_MS = 3_600_000
"""How long the number of a worker's last addition is kept: an addition is not sent again later."""
HOURS_PER_TURN = 16
"""After taking so many hours apart (about 1 ms, where all are full of lines), other calls get their turn."""

ADD = """
local last = redis.call('HGET', KEYS[1], ARGV[1])
if last and tonumber(ARGV[2]) <= tonumber(last) then return 0 end
local most, most_bytes = string.match(ARGV[5], '(%d+) (%d+)')
local counters = tonumber(ARGV[8])
most, most_bytes = tonumber(most), tonumber(most_bytes)
for i = 9, 8 + 2 * counters, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
for i, field in ipairs({'errors', 'segments'}) do
  local lines, more = ARGV[5 + i], tonumber(ARGV[8 + 2 * counters + i])
  if more > 0 then
    local before = more < most and redis.call('HGET', KEYS[1], field)
    if before then
      local _, breaks = string.gsub(before, '\\n', '')
      local start = 1
      for _ = 1, breaks + 1 + more - most do start = string.find(before, '\\n', start, true) + 1 end
      lines = string.sub(before, start) .. '\\n' .. lines
    end
    if #lines > most_bytes then
      lines = string.sub(lines, (string.find(lines, '\\n', #lines - most_bytes, true) or 0) + 1)
    end
    redis.call('HSET', KEYS[1], field, lines)
  end
end
redis.call('HSETEX', KEYS[1], 'PX', ARGV[4], 'FIELDS', 1, ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""
"""Arguments: worker, the addition's number, how long to keep the hour in s and the number in ms, how many lines to
keep and bytes of them, error lines, segment lines, how many counters follow; their names and what to add; how many
error lines and segment lines there are. An addition whose number is not larger than the worker's last one was made
before."""

_COUNTERS = Tally._fields
_REASONS: dict[str, Reason] = {f"failed:{each}": each for each in CallFailure} | {
    f"skipped:{each}": each for each in Skip
}
_NAMES = {reason: name for name, reason in _REASONS.items()}
_LINES = Lines._fields
_MOST = f"{MOST_LINES} {MOST_LINE_BYTES}"
_NUMBERS = len(_COUNTERS) + len(_REASONS)
"""Fields that are no lines."""


class ClusterUsageStore:
    """One hash for each member and hour: the counters, the lines of each kind, and each worker's last number.

    `worker` names this worker among all that use the cluster, before it and after it.
    """

    def __init__(self, cluster: Cluster, worker: str) -> None:
        self._cluster = cluster
        self._worker = f"worker:{worker}"

    def add(self, addition: Addition, deadline: float) -> "asyncio.Future[None]":
        """Run the script."""
        counters: list[str | int] = []
        for name, count in zip(_COUNTERS, addition.tally, strict=True):
            if count:
                counters += name, count
        for reason, count in addition.reasons.items():
            counters += _NAMES[reason], count
        errors, segments = addition.lines
        command = commands.evaluate(
            ADD,
            [keys.usage_key(addition.member_id, addition.hour)],
            self._worker,
            addition.number,
            KEPT_SECONDS,
            NUMBER_KEPT_MS,
            _MOST,
            "\n".join(errors),
            "\n".join(segments),
            len(counters) // 2,
            *counters,
            len(errors),
            len(segments),
        )
        durability = addition.durability or self._cluster.durability
        return self._cluster.ask(command, deadline, _added, bounded=False, durability=durability)

    async def read(
        self, member_id: int, hours: Sequence[int], deadline: float, *, with_lines: bool
    ) -> list[HourUsage | None]:
        """Ask for all hours at once."""
        fields = (*_COUNTERS, *_REASONS, *(_LINES if with_lines else ()))
        asked = [commands.get_fields(keys.usage_key(member_id, hour), fields) for hour in hours]
        found = []
        for reply in await self._cluster.execute(asked, deadline):
            found.append(_read(reply))
            if len(found) % HOURS_PER_TURN == 0:
                await asyncio.sleep(0)
        return found


def _added(reply: int) -> None:
    """It is the same whether an addition was made now or before."""


def _read(reply: Sequence[bytes | None]) -> HourUsage | None:
    counters = reply[: len(_COUNTERS)]
    if not any(counters):
        return None
    counts, texts = reply[len(_COUNTERS) : _NUMBERS], reply[_NUMBERS:]
    return HourUsage(
        Tally(*[int(count or 0) for count in counters]),
        Lines(*map(_lines, texts)),
        {reason: int(count) for reason, count in zip(_REASONS.values(), counts, strict=True) if count},
    )


def _lines(text: bytes | None) -> list[str]:
    return text.decode().split("\n") if text else []
