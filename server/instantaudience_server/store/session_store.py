"""Sessions in the cluster (see `interfaces.sessions.SessionStore`)."""

from instantaudience_server.store import keys
from instantaudience_server.store.cluster import commands
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.sessions import Session

COUNT_SIGN_IN = """
if redis.call('ZSCORE', KEYS[1], ARGV[4]) then return 0 end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1] - ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. ARGV[1] + ARGV[2], '+inf')
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then
  local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
  return math.min(oldest - ARGV[1], 0) + ARGV[2]
end
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 0
"""
"""A sliding window, exact over all workers. Arguments: now in ms, window in ms, limit, the token's hash.

The hash names the sign-in, so that a command that is sent again after a lost answer counts once. Answers 0 or how long
to wait in ms: no longer than the window, at whose end the set is gone, whatever a clock that was set back says. What
lies further ahead than a window is from before that.
"""


class ClusterSessionStore:
    """A string a session, found by the hash of its token: the token itself is nowhere in the cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def create(self, token_hash: str, session: Session, end_ms: int, deadline: float) -> None:
        """Set the string with its end."""
        value = f"{session.user_id} {session.issued_ms} {session.generation}".encode()
        command = commands.set_string_until(keys.session_key(token_hash), value, end_ms)
        await self._cluster.execute([command], deadline, durability=self._cluster.durability)

    async def find(self, token_hash: str, deadline: float) -> Session | None:
        """Get the string."""
        (value,) = await self._cluster.execute([commands.get(keys.session_key(token_hash))], deadline)
        if value is None:
            return None
        user_id, issued_ms, generation = value.decode().split(" ")
        return Session(user_id=int(user_id), issued_ms=int(issued_ms), generation=int(generation))

    async def extend(self, token_hash: str, end_ms: int, deadline: float) -> None:
        """Move the string's end, never to an earlier time: workers' clocks may differ."""
        await self._cluster.execute([commands.prolong(keys.session_key(token_hash), end_ms)], deadline)

    async def remove(self, token_hash: str, deadline: float) -> None:
        """Delete the string."""
        await self._cluster.execute([commands.delete(keys.session_key(token_hash))], deadline)

    async def count_sign_in(
        self, user_id: int, token_hash: str, now_ms: int, window_ms: int, limit: int, deadline: float
    ) -> int:
        """Run the script on the account's sorted set."""
        key = keys.sign_ins_key(user_id)
        command = commands.evaluate(COUNT_SIGN_IN, [key], now_ms, window_ms, limit, token_hash)
        (wait_ms,) = await self._cluster.execute([command], deadline)
        return int(wait_ms)

    async def withdraw_sign_in(self, user_id: int, token_hash: str, deadline: float) -> None:
        """Remove it from the account's sorted set."""
        await self._cluster.execute([commands.remove_from_sorted(keys.sign_ins_key(user_id), token_hash)], deadline)
