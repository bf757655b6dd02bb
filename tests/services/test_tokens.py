"""Sign-in, and the check of every other call (contract, "Tokens")."""

import re
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
from instantaudience.v1 import audience_pb2 as pb
from instantaudience_server.access import Caller
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.passwords import Passwords
from instantaudience_server.store.cluster import Cluster
from instantaudience_server.store.session_store import ClusterSessionStore
from instantaudience_server.tokens import TRUST_MS, TokenService, bare_token, hash_token
from instantaudience_server.transport.pipeline import Call, CallError, Method, Pipeline
from redis.asyncio import RedisCluster
from support.callers import caller
from support.clocks import FakeClock
from support.clusters import eventually, seconds_from_now
from support.readings import CATALOG

HOUR_MS = 3_600_000
PASSWORD = "Demo-Passw0rd!"


class Tokens:
    """A worker's token service, with deadlines; its random numbers count up."""

    def __init__(self, cluster: Cluster, clock: FakeClock, passwords: Passwords, worker: int = 0) -> None:
        self.randoms = 1000 * worker
        store = ClusterSessionStore(cluster)
        self.service = TokenService(CATALOG, store, passwords, clock, self._random_hex, "ams1")

    def _random_hex(self, count: int) -> str:
        self.randoms += 1
        return f"{self.randoms:0{2 * count}x}"

    async def sign_in(self, username: str = "demo", password: str = PASSWORD) -> str:
        return await self.service.authenticate(username, password, seconds_from_now())

    async def verify(self, token: str) -> Caller:
        return await self.service.verify(token, seconds_from_now())


@pytest.fixture(scope="module")
def passwords() -> Any:
    passwords = Passwords()
    yield passwords
    passwords.close()


@pytest.fixture
async def tokens(cluster: Cluster, clock: FakeClock, passwords: Passwords) -> AsyncIterator[Tokens]:
    tokens = Tokens(cluster, clock, passwords)
    yield tokens
    await tokens.service.close()


@pytest.fixture
async def another_worker(cluster: Cluster, clock: FakeClock, passwords: Passwords) -> AsyncIterator[Tokens]:
    tokens = Tokens(cluster, clock, passwords, worker=1)
    yield tokens
    await tokens.service.close()


async def refused(call: Awaitable[object], reason: Reason) -> AudienceError:
    with pytest.raises(AudienceError) as error:
        await call
    assert error.value.reason is reason
    return error.value


async def end_of(plain: RedisCluster, token: str) -> int:
    return int(await plain.pexpiretime(f"t:{hash_token(token)}"))


class TestIssuing:
    async def test_a_token_names_its_user_and_its_place(self, tokens: Tokens) -> None:
        first, second = await tokens.sign_in(), await tokens.sign_in("private", "Private-Passw0rd!")
        assert re.fullmatch(r"hbapi:1001:[0-9a-f]{32}:ams1", first)
        assert re.fullmatch(r"hbapi:1003:[0-9a-f]{32}:ams1", second)
        assert first.split(":")[2] != second.split(":")[2]

    async def test_it_proves_who_calls_to_every_worker(self, tokens: Tokens, another_worker: Tokens) -> None:
        token = await tokens.sign_in()
        assert await tokens.verify(token) == await another_worker.verify(token) == caller("demo", CATALOG)

    async def test_a_wrong_name_and_a_wrong_password_look_the_same(self, tokens: Tokens) -> None:
        errors = [
            await refused(tokens.sign_in(username, password), Reason.NOAUTH)
            for username, password in [
                ("demo", "wrong"),
                ("nobody", PASSWORD),
                ("Demo", PASSWORD),
                ("private", PASSWORD),
                ("retired", "wrong"),
            ]
        ]
        assert len({(error.message, str(error.metadata)) for error in errors}) == 1
        assert errors[0].retry_after_seconds is None

    async def test_a_deactivated_account_gets_none(self, tokens: Tokens) -> None:
        await refused(tokens.sign_in("retired", "Retired-Passw0rd!"), Reason.NOAUTH_DISABLED)


class TestRateLimit:
    async def test_ten_sign_ins_in_five_minutes(self, tokens: Tokens, another_worker: Tokens, clock: FakeClock) -> None:
        for index in range(10):
            await (tokens if index % 2 else another_worker).sign_in()
            clock.ms += 1000
        for worker in (tokens, another_worker):
            error = await refused(worker.sign_in(), Reason.RATE_LIMIT_EXCEEDED)
            assert error.retry_after_seconds == 290
            assert "10 times in 5 minutes" in error.message
        # A wrong password is told so whatever the limit, and others may sign in.
        await refused(tokens.sign_in("demo", "wrong"), Reason.NOAUTH)
        await tokens.sign_in("private", "Private-Passw0rd!")
        # The window slides: one more each second.
        clock.ms += 290_000
        await tokens.sign_in()
        assert (await refused(tokens.sign_in(), Reason.RATE_LIMIT_EXCEEDED)).retry_after_seconds == 1
        clock.ms += 1000
        await tokens.sign_in()

    async def test_failed_sign_ins_do_not_count(self, tokens: Tokens) -> None:
        for _ in range(12):
            await refused(tokens.sign_in("demo", "wrong"), Reason.NOAUTH)
        await tokens.sign_in()


class TestVerifying:
    @pytest.mark.parametrize(
        "token", ["", "x", "hbapi:1001:00000000000000000000000000000000:ams1", "ü" * 10, "x" * 257, "x" * 100_000]
    )
    async def test_no_token_or_an_unknown_one_is_refused(self, tokens: Tokens, token: str) -> None:
        await tokens.sign_in()
        error = await refused(tokens.verify(token), Reason.NOAUTH)
        assert "POST /auth" in error.message
        assert len(token) < 2 or token not in error.message

    async def test_a_part_of_a_token_is_none(self, tokens: Tokens) -> None:
        token = await tokens.sign_in()
        for other in (token[:-1], token + "x", token.upper(), token.replace("1001", "1002"), hash_token(token)):
            await refused(tokens.verify(other), Reason.NOAUTH)

    async def test_it_ends_two_hours_after_its_last_use(
        self, tokens: Tokens, clock: FakeClock, plain: RedisCluster
    ) -> None:
        issued = clock.ms
        token = await tokens.sign_in()
        assert await end_of(plain, token) == issued + 2 * HOUR_MS
        for _ in range(3):
            clock.ms += HOUR_MS
            await tokens.verify(token)
            await tokens.service.close()
            assert await end_of(plain, token) == clock.ms + 2 * HOUR_MS

    @pytest.mark.parametrize(("ago_ms", "lives"), [(2 * HOUR_MS - 60_000, True), (2 * HOUR_MS + 1, False)])
    async def test_it_is_unknown_after_two_idle_hours(
        self, tokens: Tokens, clock: FakeClock, ago_ms: int, lives: bool
    ) -> None:
        now = clock.ms
        clock.ms = now - ago_ms
        token = await tokens.sign_in()
        clock.ms = now
        if lives:
            await tokens.verify(token)
        else:
            await refused(tokens.verify(token), Reason.NOAUTH)

    async def test_it_ends_after_24_hours_however_it_is_used(
        self, tokens: Tokens, clock: FakeClock, plain: RedisCluster
    ) -> None:
        issued = clock.ms
        token = await tokens.sign_in()
        for hours in range(1, 24):
            clock.ms = issued + hours * HOUR_MS
            await tokens.verify(token)
            await tokens.service.close()
            assert await end_of(plain, token) == issued + min(hours + 2, 24) * HOUR_MS
        clock.ms = issued + 24 * HOUR_MS - 1
        await tokens.verify(token)
        clock.ms = issued + 24 * HOUR_MS
        await refused(tokens.verify(token), Reason.NOAUTH)

    async def test_a_worker_trusts_what_it_read_for_a_second(
        self, tokens: Tokens, clock: FakeClock, plain: RedisCluster
    ) -> None:
        token = await tokens.sign_in()
        await tokens.verify(token)
        await tokens.service.close()
        await plain.delete(f"t:{hash_token(token)}")
        clock.ms += TRUST_MS - 1
        await tokens.verify(token)
        clock.ms += 1
        await refused(tokens.verify(token), Reason.NOAUTH)
        await refused(tokens.verify(token), Reason.NOAUTH)

    @pytest.mark.parametrize(("user_id", "reason"), [(1004, Reason.NOAUTH_DISABLED), (9999, Reason.NOAUTH)])
    async def test_it_ends_with_its_account(
        self, tokens: Tokens, clock: FakeClock, plain: RedisCluster, user_id: int, reason: Reason
    ) -> None:
        """The account was deactivated, or removed from the catalog, since the token was issued."""
        await plain.set(f"t:{hash_token('token')}", f"{user_id} {clock.ms}")
        await refused(tokens.verify("token"), reason)


async def test_a_token_is_nowhere_in_the_cluster(tokens: Tokens, plain: RedisCluster) -> None:
    issued = [await tokens.sign_in() for _ in range(3)]
    for token in issued:
        await tokens.verify(token)
    stored = b""
    async for key in plain.scan_iter():
        stored += key
        kind = await plain.type(key)
        if kind == b"string":
            stored += await plain.get(key)
        else:
            assert kind == b"zset"
            stored += b"".join(await plain.zrange(key, 0, -1))
    assert stored.count(hash_token(issued[0]).encode()) == 2  # the session's key, and the sign-in
    for token in issued:
        assert token.encode() not in stored
        assert token.split(":")[2].encode() not in stored


@pytest.mark.parametrize(
    ("authorization", "token"),
    [
        ("hbapi:1:x:y", "hbapi:1:x:y"),
        ("  hbapi:1:x:y ", "hbapi:1:x:y"),
        ("Bearer hbapi:1:x:y", "hbapi:1:x:y"),
        ("bearer  hbapi:1:x:y", "hbapi:1:x:y"),
        ("BEARER hbapi:1:x:y", "hbapi:1:x:y"),
        ("Basic hbapi:1:x:y", "Basic hbapi:1:x:y"),
        ("Bearer", "Bearer"),
        ("", ""),
    ],
)
def test_a_token_may_stand_bare_or_after_bearer(authorization: str, token: str) -> None:
    assert bare_token(authorization) == token


async def test_the_pipeline_asks_for_a_token_before_it_reads(tokens: Tokens) -> None:
    async def whoami(request: pb.GetMembershipsRequest, calling: Caller, deadline: float) -> pb.UserMemberships:
        return pb.UserMemberships(user_id=calling.account.username)

    pipeline = Pipeline(tokens.service, call_timeout_seconds=5, body_limit_bytes=100, stream_window=1)
    method = Method("/audience/Get", pb.GetMembershipsRequest, whoami)
    token = await tokens.sign_in()
    for authorization in (token, f"Bearer {token}"):
        answer = await pipeline.run(method, b"", Call(authorization, "", None))
        assert pb.UserMemberships.FromString(answer).user_id == "demo"
    for authorization, error_id in (("", "NOAUTH"), ("wrong", "NOAUTH"), (token, "SYNTAX")):
        with pytest.raises(CallError) as failed:
            await pipeline.run(method, b"\xff", Call(authorization, "", None))
        assert ("error-id", error_id) in failed.value.failure.metadata


async def test_when_the_cluster_is_away_nobody_is_refused_as_unknown(tokens: Tokens, embedded: Any) -> None:
    token = await tokens.sign_in()
    error = await refused(tokens.service.verify(token, seconds_from_now(-1)), Reason.UNAVAILABLE)
    assert error.retry_after_seconds == 1
    await refused(tokens.service.authenticate("demo", PASSWORD, seconds_from_now(-1)), Reason.UNAVAILABLE)
    await eventually(lambda: tokens.verify(token))
