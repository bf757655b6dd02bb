"""Signing in by password (contract, "Tokens"); how often one may guess is in test_guesses.py."""

from typing import Any

import pytest
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.errors import Reason
from instantaudience_server.observation.metrics import SIGN_IN_RESULTS
from instantaudience_server.store.interfaces.catalog import Kind
from redis.asyncio import RedisCluster
from support.cluster.nodes import carried_out
from support.parts.accounts import ADDRESS, PASSWORDS, REVOKED, AccountWorker, refused
from support.parts.callers import quick_hash
from support.waiting import seconds_from_now


async def test_a_token_says_when_it_ends(worker: AccountWorker, clock: Any) -> None:
    before = SIGN_IN_RESULTS.labels("OK")._value.get()
    issued = await worker.signing_in.by_password("demo", PASSWORDS["demo"], ADDRESS, seconds_from_now())
    assert issued.end_ms == clock.ms + 24 * 3_600_000
    assert SIGN_IN_RESULTS.labels("OK")._value.get() == before + 1


async def test_a_wrong_name_and_a_wrong_password_look_the_same(worker: AccountWorker) -> None:
    errors = [
        await refused(worker.sign_in(username, password), Reason.INVALID_LOGIN)
        for username, password in [
            ("demo", "wrong"),
            ("nobody", PASSWORDS["demo"]),
            ("Demo", PASSWORDS["demo"]),
            ("private", PASSWORDS["demo"]),
            ("retired", "wrong"),
        ]
    ]
    assert len({(error.message, str(error.metadata)) for error in errors}) == 1
    assert errors[0].retry_after_seconds is None
    assert (errors[0].member_id, errors[1].member_id) == (123, None)  # the failure counts as its user's member's


@pytest.mark.parametrize("length", [256, 1_000_000])
async def test_a_name_that_is_too_long_is_unknown_and_not_sent(
    worker: AccountWorker, plain: RedisCluster, length: int
) -> None:
    async def received() -> int:
        """Bytes that have come to the cluster."""
        answers = await plain.info("stats", target_nodes=RedisCluster.PRIMARIES)
        return sum(node["total_net_input_bytes"] for node in answers.values())

    before, reads_before = await received(), await carried_out(plain, "hget")
    await refused(worker.sign_in("demo".ljust(length, "x"), PASSWORDS["demo"]), Reason.INVALID_LOGIN)
    assert await carried_out(plain, "hget") - reads_before == 3
    assert await received() - before < 100_000


async def test_a_deactivated_account_gets_none(worker: AccountWorker) -> None:
    await refused(worker.sign_in("retired", PASSWORDS["retired"]), Reason.NOAUTH_DISABLED)


async def test_when_the_cluster_is_away_nobody_is_refused_as_unknown(worker: AccountWorker) -> None:
    signing_in = worker.signing_in.by_password("demo", PASSWORDS["demo"], ADDRESS, seconds_from_now(-1))
    await refused(signing_in, Reason.UNAVAILABLE)


class TestFreshSignIn:
    """Another worker has changed the account, and this one does not know yet."""

    async def test_a_new_password_counts_at_once(self, worker: AccountWorker, another: AccountWorker) -> None:
        await another.change_user(1001, "New-Passw0rd!", token_generation=REVOKED)
        await refused(worker.sign_in(), Reason.INVALID_LOGIN)
        token = await worker.sign_in("demo", "New-Passw0rd!")
        for each in (worker, another):
            assert (await each.verify(token)).account.username == "demo"
        await worker.catch_up()
        await worker.verify(token)

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"deactivated": True}, Reason.NOAUTH_DISABLED),
            ({"username": "renamed"}, Reason.INVALID_LOGIN),
            (None, Reason.INVALID_LOGIN),
        ],
        ids=["deactivated", "renamed", "deleted"],
    )
    async def test_an_account_that_may_not_sign_in_any_more_gets_no_token(
        self, worker: AccountWorker, another: AccountWorker, change: dict[str, Any] | None, reason: Reason
    ) -> None:
        if change is None:
            await another.editor.delete(Kind.USER, 1001, "", seconds_from_now())
        else:
            await another.change_user(1001, **change)
        await refused(worker.sign_in(), reason)
        await worker.catch_up()
        await refused(worker.sign_in(), reason)

    async def test_an_account_is_activated_at_once(self, worker: AccountWorker, another: AccountWorker) -> None:
        await another.change_user(1004, deactivated=False)
        await worker.sign_in("retired")

    async def test_a_new_account_may_sign_in_everywhere(self, worker: AccountWorker, another: AccountWorker) -> None:
        created = pb.User(username="new", member_id=200)
        await another.editor.create(created, seconds_from_now(), quick_hash("New-Passw0rd!"))
        token = await worker.sign_in("new", "New-Passw0rd!")
        for each in (worker, another):
            assert (await each.verify(token)).member.id == 200

    async def test_a_new_name_counts_at_once(self, worker: AccountWorker, another: AccountWorker) -> None:
        await another.change_user(1001, username="renamed")
        await worker.sign_in("renamed", PASSWORDS["demo"])

    @pytest.mark.parametrize("username", ["demo", "nobody", "retired"])
    async def test_every_name_asks_the_cluster_for_as_much(
        self, worker: AccountWorker, plain: RedisCluster, username: str
    ) -> None:
        before = await carried_out(plain, "hget")
        await refused(worker.sign_in(username, "wrong"), Reason.INVALID_LOGIN)
        assert await carried_out(plain, "hget") - before == 3
