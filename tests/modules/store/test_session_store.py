"""Sessions and sign-ins in the cluster, read back with plain redis-py (design, "Storage")."""

import time

import pytest
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.sessions import Session
from instantaudience_server.store.session_store import ClusterSessionStore
from redis.asyncio import RedisCluster
from support.cluster.stored import let_pass
from support.waiting import seconds_from_now

HASH = "0f" * 32
NOW = int(time.time() * 1000)
HOUR_FROM_NOW = NOW + 3_600_000
WINDOW, LIMIT = 300_000, 10
LATE = 5000
"""How late in ms, at most, a test's next step comes."""


@pytest.fixture
def sessions(cluster: Cluster) -> ClusterSessionStore:
    return ClusterSessionStore(cluster)


async def test_a_session_lives_until_its_end(sessions: ClusterSessionStore, plain: RedisCluster) -> None:
    await sessions.create(HASH, Session(1001, NOW, 7), HOUR_FROM_NOW, seconds_from_now())
    assert await plain.pexpiretime(f"t:{HASH}") == HOUR_FROM_NOW
    assert await sessions.find(HASH, seconds_from_now()) == Session(user_id=1001, issued_ms=NOW, generation=7)
    assert await sessions.find("ff" * 32, seconds_from_now()) is None


async def test_a_session_whose_end_is_over_is_gone(sessions: ClusterSessionStore, plain: RedisCluster) -> None:
    await sessions.create(HASH, Session(1001, NOW, 7), NOW - 1, seconds_from_now())
    assert await sessions.find(HASH, seconds_from_now()) is None
    assert not await plain.exists(f"t:{HASH}")


async def test_a_sessions_end_moves(sessions: ClusterSessionStore, plain: RedisCluster) -> None:
    await sessions.create(HASH, Session(1001, NOW, 7), HOUR_FROM_NOW, seconds_from_now())
    await sessions.extend(HASH, HOUR_FROM_NOW + 5, seconds_from_now())
    assert await plain.pexpiretime(f"t:{HASH}") == HOUR_FROM_NOW + 5
    assert await sessions.find(HASH, seconds_from_now()) == Session(1001, NOW, 7)
    for behind_ms in (30_000, 24 * 3_600_000):
        await sessions.extend(HASH, HOUR_FROM_NOW - behind_ms, seconds_from_now())
        assert await plain.pexpiretime(f"t:{HASH}") == HOUR_FROM_NOW + 5
    await sessions.extend("ff" * 32, HOUR_FROM_NOW, seconds_from_now())
    assert not await plain.exists(f"t:{'ff' * 32}")


class TestSignIns:
    async def sign_in(self, sessions: ClusterSessionStore, token: str, user_id: int = 1001) -> int:
        return await sessions.count_sign_in(user_id, token, WINDOW, LIMIT, seconds_from_now())

    async def test_the_limit_is_of_a_sliding_window(self, sessions: ClusterSessionStore, plain: RedisCluster) -> None:
        for index in range(LIMIT):
            assert await self.sign_in(sessions, f"token-{index}") == 0
            await let_pass(plain, 10_000)
        wait_ms = await self.sign_in(sessions, "one more")
        assert 0 <= WINDOW - 100_000 - wait_ms < LATE
        await let_pass(plain, wait_ms - LATE)
        assert 0 < await self.sign_in(sessions, "one more") <= LATE
        await let_pass(plain, LATE)
        # The first has left the window, and the refused ones were not counted.
        assert await self.sign_in(sessions, "one more") == 0
        assert 10_000 - LATE < await self.sign_in(sessions, "and another") < 10_000 + LATE

    async def test_nobody_waits_longer_where_the_clock_was_set_back(
        self, sessions: ClusterSessionStore, plain: RedisCluster
    ) -> None:
        for index in range(LIMIT):
            assert await self.sign_in(sessions, f"token-{index}") == 0
        await let_pass(plain, -WINDOW + LATE)
        assert await self.sign_in(sessions, "one more") == WINDOW

    async def test_the_limit_stays_as_it_is_where_the_clock_was_set_back_further(
        self, sessions: ClusterSessionStore, plain: RedisCluster
    ) -> None:
        """What was counted before would not leave the window until the clock is there again."""
        for index in range(LIMIT - 1):
            assert await self.sign_in(sessions, f"before-{index}") == 0
        await let_pass(plain, -3_600_000)
        for index in range(LIMIT):
            assert await self.sign_in(sessions, f"after-{index}") == 0
        assert WINDOW - LATE < await self.sign_in(sessions, "one more") <= WINDOW

    async def test_a_sign_in_that_is_sent_again_counts_once(self, sessions: ClusterSessionStore) -> None:
        for _ in range(3 * LIMIT):
            assert await self.sign_in(sessions, "token") == 0
        for index in range(LIMIT - 1):
            assert await self.sign_in(sessions, f"token-{index}") == 0
        assert await self.sign_in(sessions, "token") == 0
        assert WINDOW - LATE < await self.sign_in(sessions, "one more") <= WINDOW

    async def test_each_account_has_its_own(self, sessions: ClusterSessionStore, plain: RedisCluster) -> None:
        for index in range(LIMIT):
            await self.sign_in(sessions, f"token-{index}")
        assert await self.sign_in(sessions, "one more") > 0
        assert await self.sign_in(sessions, "one more", user_id=1002) == 0
        assert await plain.zcard("a:1001") == LIMIT
        assert WINDOW - LATE < await plain.pttl("a:1001") <= WINDOW
