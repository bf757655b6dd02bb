"""Sessions in the cluster (see `interfaces.sessions.SessionStore`)."""

from instantaudience_server.store import keys, lua
from instantaudience_server.store.cluster import commands
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.sessions import Session

COUNT_SIGN_IN = (
    lua.SLIDING_WINDOW
    + """
local window, limit, name = unpack(ARGV)
if redis.call('ZSCORE', KEYS[1], name) then return 0 end
local now = now_ms()
slide(KEYS[1], now, window)
if redis.call('ZCARD', KEYS[1]) >= tonumber(limit) then
  return wait_ms(redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2], now, window)
end
redis.call('ZADD', KEYS[1], now, name)
redis.call('PEXPIRE', KEYS[1], window)
return 0
"""
)
"""A sliding window by the node's clock, exact over all workers, whose clocks may differ. Arguments: window in ms,
limit, the token's hash.

The hash names the sign-in, so that a command that is sent again after a lost answer counts once. Answers 0 (counted) or
how long to wait in ms.
"""


class ClusterSessionStore:
    """One string for each session, by the hash of its token; the token itself is nowhere in the cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def create(self, token_hash: str, session: Session, end_ms: int, deadline: float) -> None:
        """Set the string with its expiry."""
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
        """Move the string's expiry, never to an earlier time, as workers' clocks may differ."""
        await self._cluster.execute([commands.prolong(keys.session_key(token_hash), end_ms)], deadline)

    async def remove(self, token_hash: str, deadline: float) -> None:
        """Delete the string."""
        command = commands.delete(keys.session_key(token_hash))
        await self._cluster.execute([command], deadline, durability=self._cluster.durability)

    async def count_sign_in(self, user_id: int, token_hash: str, window_ms: int, limit: int, deadline: float) -> int:
        """Run the script on the account's sorted set."""
        key = keys.sign_ins_key(user_id)
        command = commands.evaluate(COUNT_SIGN_IN, [key], window_ms, limit, token_hash)
        (wait_ms,) = await self._cluster.execute([command], deadline)
        return int(wait_ms)

    async def withdraw_sign_in(self, user_id: int, token_hash: str, deadline: float) -> None:
        """Remove the sign-in from the account's sorted set."""
        await self._cluster.execute([commands.remove_from_sorted(keys.sign_ins_key(user_id), token_hash)], deadline)
