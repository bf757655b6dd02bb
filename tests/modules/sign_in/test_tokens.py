"""Tokens: issued, checked with every call, ended (contract, "Tokens")."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from instantaudience.v1 import audience_pb2 as pb
from instantaudience.v1 import catalog_pb2 as pb_catalog
from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.catalog import Role
from instantaudience_server.errors import Reason, unavailable
from instantaudience_server.sign_in import tokens
from instantaudience_server.sign_in.tokens import AHEAD_MS, TRUST_MS, bare_token, hash_token
from instantaudience_server.store.interfaces.catalog import Kind
from instantaudience_server.store.session_store import ClusterSessionStore
from instantaudience_server.transport.calls.call import Call
from instantaudience_server.transport.calls.kinds import Method
from instantaudience_server.transport.calls.outcomes import CallError
from instantaudience_server.usage.counting import Usage
from redis.asyncio import RedisCluster
from support.clocks import FakeClock
from support.cluster.nodes import carried_out
from support.cluster.stored import let_pass
from support.parts.accounts import PASSWORDS, REVOKED, AccountWorker, refused
from support.parts.callers import caller
from support.parts.pipelines import pipeline_of
from support.waiting import eventually, seconds_from_now

HOUR_MS = 3_600_000


@pytest.fixture(autouse=True)
def no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """However late a busy machine answers, it is no outage."""
    monkeypatch.setattr(tokens, "OUTAGE_SECONDS", 20.0)


async def deleted(worker: AccountWorker, *objects: Any) -> None:
    """Delete objects, given as kind, ID, kind, ID, …"""
    for kind, object_id in zip(objects[::2], objects[1::2], strict=True):
        await worker.editor.delete(kind, object_id, "", seconds_from_now())


async def content(plain: RedisCluster, key: bytes) -> Any:
    """What a key holds."""
    read = {
        b"string": plain.get,
        b"hash": plain.hgetall,
        b"zset": lambda key: plain.zrange(key, 0, -1),
        b"stream": plain.xrange,
    }
    return await read[await plain.type(key)](key)


async def end_of(plain: RedisCluster, token: str) -> int:
    return int(await plain.pexpiretime(f"t:{hash_token(token)}"))


async def trusted_and_gone(worker: AccountWorker, plain: RedisCluster) -> str:
    """A token that the worker has just read, and whose session is no more."""
    token = await worker.sign_in()
    await worker.verify(token)
    await worker.tokens.close()
    await plain.delete(f"t:{hash_token(token)}")
    return token


class TestIssuing:
    async def test_a_token_names_its_user_and_its_place(self, worker: AccountWorker) -> None:
        first, second = await worker.sign_in(), await worker.sign_in("private", PASSWORDS["private"])
        assert re.fullmatch(r"hbapi:1001:[0-9a-f]{32}:ams1", first)
        assert re.fullmatch(r"hbapi:1003:[0-9a-f]{32}:ams1", second)
        assert first.split(":")[2] != second.split(":")[2]

    async def test_it_proves_who_calls_to_every_worker(self, worker: AccountWorker, another: AccountWorker) -> None:
        token = await worker.sign_in()
        assert await worker.verify(token) == await another.verify(token) == caller("demo", worker.catalog)


class TestMadeUp:
    async def test_tokens_are_looked_up_by_so_many_at_once(
        self, worker: AccountWorker, another: AccountWorker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whose token is known is served, and a token that is looked up already costs no more for being sent twice."""
        known, fresh = await worker.sign_in(), await another.sign_in()
        await worker.verify(known)
        monkeypatch.setattr(tokens, "MOST_LOOKUPS", 3)
        calls = [asyncio.create_task(worker.verify(token)) for token in ("made", "up", fresh, fresh, "more")]
        await refused(calls[4], Reason.UNAVAILABLE)
        assert await worker.verify(known) == await calls[2] == await calls[3]
        for call in calls[:2]:
            await refused(call, Reason.NOAUTH)
        await refused(worker.verify("more"), Reason.NOAUTH)


class TestRateLimit:
    async def test_ten_sign_ins_in_five_minutes(
        self, worker: AccountWorker, another: AccountWorker, plain: RedisCluster, clock: FakeClock
    ) -> None:
        """By the clock of the node: workers' may be ahead."""
        began = time.monotonic()

        def passed() -> float:
            """How long this has taken, in seconds: the node's clock goes on meanwhile."""
            return time.monotonic() - began

        for index in range(10):
            await (worker if index % 2 else another).sign_in()
            await let_pass(plain, 20_000)
        clock.ms += 3_600_000
        for each in (worker, another):
            error = await refused(each.sign_in(), Reason.RATE_LIMIT_EXCEEDED)
            assert (99 - passed() < error.retry_after_seconds <= 100, error.member_id) == (True, 123)
            assert "10 times in 5 minutes" in error.message
        # A wrong password is told so whatever this limit, and others may sign in.
        await refused(worker.sign_in("demo", "wrong"), Reason.INVALID_LOGIN)
        await worker.sign_in("private", PASSWORDS["private"])
        # The window slides. Who is told to wait for so many seconds has no need to wait longer.
        await let_pass(plain, 1000 * error.retry_after_seconds)
        await worker.sign_in()
        error = await refused(worker.sign_in(), Reason.RATE_LIMIT_EXCEEDED)
        assert 18 - passed() < error.retry_after_seconds <= 21 + passed()
        await let_pass(plain, 1000 * error.retry_after_seconds)
        await worker.sign_in()

    async def test_sign_ins_that_fail_do_not_count(
        self, worker: AccountWorker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of many processes that sign in while the session's node is away, none locks the others out afterwards."""

        async def away(*_: object) -> None:
            raise unavailable("away")

        with monkeypatch.context() as patched:
            patched.setattr(ClusterSessionStore, "create", away)
            for _ in range(11):
                await refused(worker.sign_in(), Reason.UNAVAILABLE)
                await worker.tokens.close()
        for _ in range(10):
            await worker.sign_in()
        await refused(worker.sign_in(), Reason.RATE_LIMIT_EXCEEDED)


class TestVerifying:
    @pytest.mark.parametrize(
        "token", ["", "x", "hbapi:1001:00000000000000000000000000000000:ams1", "ü" * 10, "x" * 257, "x" * 100_000]
    )
    async def test_no_token_or_an_unknown_one_is_refused(self, worker: AccountWorker, token: str) -> None:
        await worker.sign_in()
        error = await refused(worker.verify(token), Reason.NOAUTH)
        assert "POST /auth" in error.message
        assert len(token) < 2 or token not in error.message

    async def test_a_part_of_a_token_is_none(self, worker: AccountWorker) -> None:
        token = await worker.sign_in()
        for other in (token[:-1], token + "x", token.upper(), token.replace("1001", "1002"), hash_token(token)):
            await refused(worker.verify(other), Reason.NOAUTH)

    async def test_it_ends_two_hours_after_its_last_use(
        self, worker: AccountWorker, clock: FakeClock, plain: RedisCluster
    ) -> None:
        issued = clock.ms
        token = await worker.sign_in()
        assert await end_of(plain, token) == issued + 2 * HOUR_MS
        for _ in range(3):
            clock.ms += HOUR_MS
            await worker.verify(token)
            await worker.tokens.close()
            assert await end_of(plain, token) == clock.ms + 2 * HOUR_MS

    @pytest.mark.parametrize(("ago_ms", "lives"), [(2 * HOUR_MS - 60_000, True), (2 * HOUR_MS + 1, False)])
    async def test_it_is_unknown_after_two_idle_hours(
        self, worker: AccountWorker, clock: FakeClock, ago_ms: int, lives: bool
    ) -> None:
        now = clock.ms
        clock.ms = now - ago_ms
        token = await worker.sign_in()
        clock.ms = now
        if lives:
            await worker.verify(token)
        else:
            await refused(worker.verify(token), Reason.NOAUTH)

    async def test_one_whose_clock_is_behind_ends_it_no_earlier(
        self, worker: AccountWorker, clock: FakeClock, plain: RedisCluster
    ) -> None:
        token = await worker.sign_in()
        end_ms = clock.ms + 2 * HOUR_MS
        clock.ms -= 24 * HOUR_MS
        await worker.verify(token)
        await worker.tokens.close()
        assert await end_of(plain, token) == end_ms

    async def test_it_ends_after_24_hours_however_it_is_used(
        self, worker: AccountWorker, clock: FakeClock, plain: RedisCluster
    ) -> None:
        issued = clock.ms
        token = await worker.sign_in()
        for hours in range(1, 24):
            clock.ms = issued + hours * HOUR_MS
            await worker.verify(token)
            await worker.tokens.close()
            assert await end_of(plain, token) == issued + min(hours + 2, 24) * HOUR_MS
        clock.ms = issued + 24 * HOUR_MS - 1
        await worker.verify(token)
        clock.ms = issued + 24 * HOUR_MS
        await refused(worker.verify(token), Reason.NOAUTH)

    async def test_a_worker_trusts_what_it_read_for_a_second(
        self, worker: AccountWorker, clock: FakeClock, plain: RedisCluster
    ) -> None:
        token = await trusted_and_gone(worker, plain)
        clock.ms += TRUST_MS - 1
        await worker.verify(token)
        clock.ms += 1
        await refused(worker.verify(token), Reason.NOAUTH)
        await refused(worker.verify(token), Reason.NOAUTH)

    async def test_so_many_are_remembered_the_newest_of_all(
        self, worker: AccountWorker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tokens, "MOST_TRUSTED", 2)
        issued = [await worker.sign_in() for _ in range(4)]
        for token in issued:
            await worker.verify(token)
        assert [worker.tokens.known(token) is not None for token in issued] == [False, False, True, True]

    async def test_a_clock_that_is_set_back_makes_it_no_longer(
        self, worker: AccountWorker, clock: FakeClock, plain: RedisCluster
    ) -> None:
        token = await trusted_and_gone(worker, plain)
        clock.ms -= HOUR_MS
        assert worker.tokens.known(token) is None
        await refused(worker.verify(token), Reason.NOAUTH)

    async def test_it_is_asked_for_ahead_while_calls_go_on(
        self, worker: AccountWorker, plain: RedisCluster, clock: FakeClock
    ) -> None:
        token = await worker.sign_in()
        assert worker.tokens.known(token) is None
        calling = await worker.verify(token)
        before = await carried_out(plain, "get")
        assert worker.tokens.known(token) == calling
        clock.ms += TRUST_MS - AHEAD_MS
        assert [worker.tokens.known(token) for _ in range(10)] == [calling] * 10
        await worker.tokens.close()
        assert await carried_out(plain, "get") == before + 1
        clock.ms += TRUST_MS - 1
        assert worker.tokens.known(token) == calling
        clock.ms += 1
        assert worker.tokens.known(token) is None

    async def test_one_that_is_gone_is_noticed_ahead(
        self, worker: AccountWorker, plain: RedisCluster, clock: FakeClock
    ) -> None:
        token = await worker.sign_in()
        await worker.verify(token)
        await plain.delete(f"t:{hash_token(token)}")
        clock.ms += TRUST_MS - 1
        assert worker.tokens.known(token) is not None
        await worker.tokens.close()
        assert worker.tokens.known(token) is None

    async def test_it_is_trusted_up_to_its_end(
        self, worker: AccountWorker, plain: RedisCluster, clock: FakeClock
    ) -> None:
        issued_ms = clock.ms + TRUST_MS // 2 - tokens.LIFETIME_MS
        await plain.set(f"t:{hash_token('token')}", f"1001 {issued_ms} {REVOKED}")
        calling = await worker.verify("token")
        clock.ms += TRUST_MS // 2 - 1
        assert worker.tokens.known("token") == calling
        clock.ms += 1
        assert worker.tokens.known("token") is None

    @pytest.mark.parametrize(("user_id", "reason"), [(1004, Reason.NOAUTH_DISABLED), (9999, Reason.NOAUTH)])
    async def test_it_ends_with_its_account(
        self, worker: AccountWorker, clock: FakeClock, plain: RedisCluster, user_id: int, reason: Reason
    ) -> None:
        """The account was deactivated, or removed from the catalog, since the token was issued."""
        await plain.set(f"t:{hash_token('token')}", f"{user_id} {clock.ms} {REVOKED}")
        await refused(worker.verify("token"), reason)


class TestChangedAccounts:
    """What becomes of a token that the worker trusts already, once the worker follows a change."""

    @pytest.mark.parametrize(
        ("change", "reason", "member_id"),
        [
            (lambda other: other.change_user(1003, deactivated=True), Reason.NOAUTH_DISABLED, 200),
            (lambda other: other.change_user(1003, token_generation=REVOKED), Reason.NOAUTH, 200),
            (lambda other: other.change_user(1003, deactivated=True, token_generation=REVOKED), Reason.NOAUTH, 200),
            (lambda other: deleted(other, Kind.USER, 1003), Reason.NOAUTH, None),
            (lambda other: deleted(other, Kind.USER, 1003, Kind.MEMBER, 200), Reason.NOAUTH, None),
        ],
        ids=["deactivated", "revoked", "deactivated and revoked", "deleted", "deleted with its member"],
    )
    async def test_it_is_refused(
        self,
        worker: AccountWorker,
        another: AccountWorker,
        clock: FakeClock,
        change: Callable[[AccountWorker], Awaitable[None]],
        reason: Reason,
        member_id: int | None,
    ) -> None:
        """In the name of the member whose account it is, as long as there is one."""
        token = await worker.sign_in("private")
        for each in (worker, another):
            await each.verify(token)
        await change(another)
        await refused(another.verify(token), reason)
        await worker.verify(token)
        await worker.catch_up()
        for _ in range(2):
            assert (await refused(worker.verify(token), reason)).member_id == member_id
            clock.ms += TRUST_MS

    async def test_it_works_again_when_the_account_is_activated(
        self, worker: AccountWorker, another: AccountWorker
    ) -> None:
        token = await worker.sign_in()
        await worker.change_user(1001, deactivated=True)
        await refused(worker.verify(token), Reason.NOAUTH_DISABLED)
        await another.change_user(1001, deactivated=False)
        await worker.catch_up()
        await worker.verify(token)

    async def test_role_and_limits_are_the_newest(self, worker: AccountWorker, another: AccountWorker) -> None:
        token = await worker.sign_in()
        assert (await worker.verify(token)).account.role is Role.MEMBER

        def limit(member: pb_catalog.Member) -> None:
            member.limits.posts_per_second = 7

        await another.change_user(1001, role=pb_catalog.ROLE_ADMIN)
        await another.editor.update(Kind.MEMBER, 123, limit, "", seconds_from_now())
        assert (await worker.verify(token)).account.role is Role.MEMBER
        await worker.catch_up()
        calling = await worker.verify(token)
        assert calling.account.role is Role.ADMIN
        assert calling.member.limits.posts_per_second == 7

    async def test_changes_of_others_leave_it_alone(self, worker: AccountWorker, plain: RedisCluster) -> None:
        token = await worker.sign_in()
        before = await worker.verify(token)
        await worker.tokens.close()
        await worker.change_user(1003, deactivated=True)
        await deleted(worker, Kind.USER, 1004)
        read = await carried_out(plain, "get")
        assert await worker.verify(token) == before
        assert await worker.verify(token) is await worker.verify(token)
        assert await carried_out(plain, "get") == read

    async def test_a_session_that_cannot_be_read_is_no_way_around_it(
        self, worker: AccountWorker, another: AccountWorker, clock: FakeClock
    ) -> None:
        """What a worker trusts while the session's node is away counts no more than the catalog lets it."""
        token = await worker.sign_in()
        await worker.verify(token)
        await another.change_user(1001, token_generation=REVOKED)
        await worker.catch_up()
        clock.ms += TRUST_MS
        await refused(worker.tokens.verify(token, seconds_from_now(-1)), Reason.NOAUTH)

    async def test_a_session_that_cannot_be_read_is_trusted_for_a_second_more_up_to_its_end(
        self, worker: AccountWorker, clock: FakeClock
    ) -> None:
        """Calls that come until then do not wait for its node."""
        token = await worker.sign_in()
        calling = await worker.verify(token)
        end_ms = clock.ms + tokens.IDLE_MS
        clock.ms += TRUST_MS
        assert worker.tokens.known(token) is None
        assert await worker.tokens.verify(token, seconds_from_now(-1)) == calling
        clock.ms += TRUST_MS - AHEAD_MS - 1
        assert worker.tokens.known(token) == calling
        clock.ms = end_ms - 1
        assert await worker.tokens.verify(token, seconds_from_now(-1)) == calling
        clock.ms = end_ms
        assert worker.tokens.known(token) is None
        await refused(worker.tokens.verify(token, seconds_from_now(-1)), Reason.UNAVAILABLE)


class TestRevoking:
    async def test_a_token_ends_and_its_accounts_others_go_on(
        self, worker: AccountWorker, another: AccountWorker, clock: FakeClock, plain: RedisCluster
    ) -> None:
        token, other = await worker.sign_in(), await worker.sign_in()
        for each in (worker, another):
            await each.verify(token)
        await worker.tokens.revoke(token, seconds_from_now())
        assert worker.tokens.known(token) is None
        await refused(worker.verify(token), Reason.NOAUTH)
        clock.ms += TRUST_MS
        await refused(another.verify(token), Reason.NOAUTH)
        await worker.tokens.close()
        assert not await plain.exists(f"t:{hash_token(token)}")
        for each in (worker, another):
            await each.verify(other)

    @pytest.mark.parametrize("token", ["", "x", "hbapi:1001:00000000000000000000000000000000:ams1"])
    async def test_one_that_nobody_has_cannot_end(self, worker: AccountWorker, token: str) -> None:
        await refused(worker.tokens.revoke(token, seconds_from_now()), Reason.NOAUTH)

    async def test_a_certificate_does_not_end(self, worker: AccountWorker) -> None:
        await worker.editor.update(
            Kind.USER, 1001, lambda user: user.certificate_names.append("ours"), "", seconds_from_now()
        )
        shown = f"{tokens.CERTIFICATE}ours"
        assert (await worker.verify(shown)).account.id == 1001
        await refused(worker.tokens.revoke(shown, seconds_from_now()), Reason.NOAUTH)


async def test_a_token_is_nowhere_in_the_cluster(worker: AccountWorker, plain: RedisCluster) -> None:
    issued = [await worker.sign_in() for _ in range(3)]
    for token in issued:
        await worker.verify(token)
    stored = repr([(key, await content(plain, key)) async for key in plain.scan_iter()]).encode()
    assert stored.count(hash_token(issued[0]).encode()) == 2  # the session's key, and the sign-in
    for token in issued:
        assert token.encode() not in stored
        assert token.split(":")[2].encode() not in stored


def test_a_token_may_stand_bare_or_after_bearer(subtests: pytest.Subtests) -> None:
    for authorization, token in [
        ("hbapi:1:x:y", "hbapi:1:x:y"),
        ("  hbapi:1:x:y ", "hbapi:1:x:y"),
        ("Bearer hbapi:1:x:y", "hbapi:1:x:y"),
        ("bearer  hbapi:1:x:y", "hbapi:1:x:y"),
        ("BEARER hbapi:1:x:y", "hbapi:1:x:y"),
        ("Basic hbapi:1:x:y", "Basic hbapi:1:x:y"),
        ("Bearer", "Bearer"),
        ("", ""),
    ]:
        with subtests.test(authorization=authorization, token=token):
            assert bare_token(authorization) == token


async def test_the_pipeline_asks_for_a_token_before_it_reads(worker: AccountWorker, usage: Usage) -> None:
    async def whoami(request: pb.GetMembershipsRequest, calling: Caller, deadline: float) -> pb.UserMemberships:
        return pb.UserMemberships(user_id=calling.account.username)

    pipeline = pipeline_of(worker.tokens, usage)
    method = Method("/audience/Get", pb.GetMembershipsRequest, whoami)
    token = await worker.sign_in()
    for authorization in (token, f"Bearer {token}"):
        answer = await pipeline.run(method, b"", Call(authorization, "", None))
        assert pb.UserMemberships.FromString(answer).user_id == "demo"
    for authorization, error_id in (("", "NOAUTH"), ("wrong", "NOAUTH"), (token, "SYNTAX")):
        with pytest.raises(CallError) as failed:
            await pipeline.run(method, b"\xff", Call(authorization, "", None))
        assert ("error-id", error_id) in failed.value.failure.metadata


async def test_when_the_cluster_is_away_nobody_is_refused_as_unknown(worker: AccountWorker, embedded: Any) -> None:
    token = await worker.sign_in()
    error = await refused(worker.tokens.verify(token, seconds_from_now(-1)), Reason.UNAVAILABLE)
    assert error.retry_after_seconds == 1
    await eventually(lambda: worker.verify(token))
