"""What members sent, by the hour, in the cluster (see `interfaces.usage.UsageStore`); docs/adr/0014-usage.md shows that
each addition counts once."""

import asyncio
from collections.abc import Sequence
from functools import partial

from instantaudience_server.store import keys
from instantaudience_server.store.cluster import commands
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.cluster.commands import Command
from instantaudience_server.store.interfaces.usage import (
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
"""How long the number of a worker's last addition is kept; no addition is sent again after that."""
HOURS_PER_TURN = 16
"""After decoding so many hours (about 1 ms, where all have the most lines), other calls get their turn."""

ADD = """
local last = redis.call('HGET', KEYS[1], ARGV[1])
if last and tonumber(ARGV[2]) <= tonumber(last) then return 0 end
local most = tonumber(ARGV[5])
for i = 2, #KEYS do
  if redis.call('APPEND', KEYS[i], ARGV[4 + i]) > 2 * most then
    local kept = redis.call('GETRANGE', KEYS[i], -most - 1, -1)
    redis.call('SET', KEYS[i], string.sub(kept, string.find(kept, '\\n', 1, true) + 1))
  end
  redis.call('EXPIRE', KEYS[i], ARGV[3])
end
for i = 5 + #KEYS, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('HSETEX', KEYS[1], 'PX', ARGV[4], 'FIELDS', 1, ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""
"""Keys: the hour's hash, then one string for each kind of lines that the addition has. Arguments: worker, the
addition's number, how long to keep the hour in s and the number in ms, how many bytes of lines to keep (a string grows
to twice that before it is cut), for each of the strings its new lines, each of which ends with a line break; then pairs
of a counter's name and an increment. An addition whose number is not larger than the worker's last one was made before.

Strings without new lines are no keys of the command: while a slot is migrating, a node runs a command on several keys
only if it has all of them, and a key that does not exist yet is on neither node."""

_COUNTERS = Tally._fields
_REASONS: dict[str, Reason] = {f"failed:{each}": each for each in CallFailure} | {
    f"skipped:{each}": each for each in Skip
}
_NAMES = {reason: name for name, reason in _REASONS.items()}
_LINES = Lines._fields


class ClusterUsageStore:
    """For each member and hour, a hash of the counters and of each worker's last number, and a string for each kind of
    lines.

    `worker` is a name that no other worker of the cluster has, nor had before, nor will have.
    """

    def __init__(self, cluster: Cluster, worker: str) -> None:
        self._cluster = cluster
        self._worker = f"worker:{worker}"

    def add(self, addition: Addition, deadline: float) -> "asyncio.Future[None]":
        """Run the script. Lines are only samples: where they would delay the counters, because the slot is migrating or
        the node's memory is full, they are left out. Counters are written even when the memory is full: they are small,
        and calls that free memory wait for theirs."""
        durability = addition.durability or self._cluster.durability
        return self._cluster.ask(
            self._command(addition),
            deadline,
            _added,
            bounded=False,
            durability=durability,
            in_need=partial(self._command, addition._replace(lines=Lines()), flags=commands.ALLOW_OOM),
        )

    def _command(self, addition: Addition, flags: str = "") -> Command:
        counters: list[str | int] = []
        for name, count in zip(_COUNTERS, addition.tally, strict=True):
            if count:
                counters += name, count
        for reason, count in addition.reasons.items():
            counters += _NAMES[reason], count
        member_id, hour = addition.member_id, addition.hour
        more = [
            (key, "".join([f"{line}\n" for line in lines]))
            for key, lines in zip(_lines_keys(member_id, hour), addition.lines, strict=True)
            if lines
        ]
        return commands.evaluate(
            ADD,
            [keys.usage_key(member_id, hour), *[key for key, _ in more]],
            self._worker,
            addition.number,
            KEPT_SECONDS,
            NUMBER_KEPT_MS,
            MOST_LINE_BYTES,
            *[lines for _, lines in more],
            *counters,
            flags=flags,
        )

    async def read(
        self, member_id: int, hours: Sequence[int], deadline: float, *, with_lines: bool
    ) -> list[HourUsage | None]:
        """Ask for all hours at once."""
        fields = (*_COUNTERS, *_REASONS)
        asked = [commands.get_fields(keys.usage_key(member_id, hour), fields) for hour in hours]
        if with_lines:
            texts = [key for hour in hours for key in _lines_keys(member_id, hour)]
            asked += [commands.end_of_string(key, MOST_LINE_BYTES + 1) for key in texts]
        replies = await self._cluster.execute(asked, deadline)
        found = []
        for index in range(len(hours)):
            start = len(hours) + len(_LINES) * index
            found.append(_read(replies[index], replies[start : start + len(_LINES)]))
            if len(found) % HOURS_PER_TURN == 0:
                await asyncio.sleep(0)
        return found


def _added(reply: int) -> None:
    """Ignore the reply, which tells only whether the addition was made now or before."""


def _lines_keys(member_id: int, hour: int) -> list[bytes]:
    return [keys.usage_lines_key(member_id, hour, kind) for kind in _LINES]


def _read(reply: Sequence[bytes | None], texts: Sequence[bytes]) -> HourUsage | None:
    counters, counts = reply[: len(_COUNTERS)], reply[len(_COUNTERS) :]
    if not any(counters):
        return None
    return HourUsage(
        Tally(*[int(count or 0) for count in counters]),
        Lines(*map(_newest, texts)),
        {reason: int(count) for reason, count in zip(_REASONS.values(), counts, strict=True) if count},
    )


def _newest(text: bytes) -> list[str]:
    """The newest lines of a string, of which at most the last `MOST_LINE_BYTES + 1` bytes were read."""
    if len(text) > MOST_LINE_BYTES:
        text = text[text.index(b"\n") + 1 :]
    return text.decode().split("\n")[-MOST_LINES - 1 : -1]
