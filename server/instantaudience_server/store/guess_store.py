"""Guesses of passwords in the cluster (see `interfaces.guesses.GuessStore`): a sorted set for each subject.

The name of a guess under way is how many ms it may take until it counts as wrong, a space, and a random word; the name
of a wrong guess is the random word alone. Scores are times of the node's clock, as workers' clocks may differ.
"""

from instantaudience_server.store import keys, lua
from instantaudience_server.store.cluster import commands
from instantaudience_server.store.cluster.cluster import Cluster

BEGIN = (
    lua.SLIDING_WINDOW
    + """
local window, limit, name = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local now = now_ms()
slide(KEYS[1], now, window)
if redis.call('ZSCORE', KEYS[1], name) then return 0 end
local guesses = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
local wrong, oldest = 0, nil
for i = 1, #guesses, 2 do
  local lasts_ms = string.match(guesses[i], '^(%d+) ')
  if not lasts_ms or guesses[i + 1] + lasts_ms <= now then
    wrong, oldest = wrong + 1, oldest or guesses[i + 1]
  end
end
if wrong >= limit then return wait_ms(oldest, now, window) end
if #guesses / 2 >= limit then return -1 end
redis.call('ZADD', KEYS[1], now, name)
redis.call('PEXPIRE', KEYS[1], window)
return 0
"""
)
"""A sliding window, exact over all workers. Arguments: window in ms, limit, the guess's name, by which a command that
is sent again after a lost answer counts once. Answers 0 (counted), -1 (full only because of guesses under way), or how
long to wait in ms."""

END = """
local counted = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not counted then return 0 end
if ARGV[2] == '1' then redis.call('ZADD', KEYS[1], counted, string.match(ARGV[1], ' (.*)$')) end
redis.call('ZREM', KEYS[1], ARGV[1])
return 1
"""
"""Arguments: the guess's name, and 1 if it was wrong. Adding comes before removing because a set that became empty in
between would lose its expiry."""


class ClusterGuessStore:
    """One sorted set for each subject; it expires with its last guess."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def begin_guess(self, subject: str, name: str, window_ms: int, limit: int, deadline: float) -> int | None:
        """Run the script."""
        command = commands.evaluate(BEGIN, [keys.guesses_key(subject)], window_ms, limit, name)
        (wait_ms,) = await self._cluster.execute([command], deadline)
        return None if wait_ms < 0 else int(wait_ms)

    async def end_guess(self, subject: str, name: str, deadline: float, *, wrong: bool) -> None:
        """Run the script."""
        command = commands.evaluate(END, [keys.guesses_key(subject)], name, int(wrong))
        await self._cluster.execute([command], deadline)
