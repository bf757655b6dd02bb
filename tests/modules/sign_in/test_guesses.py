"""How often a password may be guessed at sign-in (contract's neighbours, section 1)."""

import asyncio

import pytest
from instantaudience_server.errors import AudienceError, Reason, RefusedCommandError, unavailable
from instantaudience_server.passwords.guesses import MOST_WRONG, WINDOW_MS, network_of
from instantaudience_server.passwords.hashing import MOST_WAITING, MOST_WAITING_OF_ONE
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from instantaudience_server.store.guess_store import ClusterGuessStore
from redis.asyncio import RedisCluster
from support.clocks import FakeClock
from support.cluster.nodes import carried_out
from support.cluster.stored import let_pass
from support.parts.accounts import ADDRESS, PASSWORDS, AccountWorker, refused
from support.service.processes import hashers, needs_proc, standing_still
from support.waiting import seconds_from_now

ELSEWHERE = "203.0.113.8"


def test_networks(subtests: pytest.Subtests) -> None:
    for one, other, same in [
        ("203.0.113.7", "203.0.113.7", True),
        ("203.0.113.7", "203.0.113.8", False),
        ("203.0.113.7", "::ffff:203.0.113.7", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:0db8:0001:0002::0001", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "no address", True),
        ("", "203.0.113.7", False),
    ]:
        with subtests.test(one=one, other=other, same=same):
            assert (network_of(one) == network_of(other)) is same


@pytest.mark.parametrize("username", ["demo", "nobody", "retired"])
async def test_ten_wrong_ones_from_an_address(
    worker: AccountWorker, another: AccountWorker, plain: RedisCluster, clock: FakeClock, username: str
) -> None:
    """Of any name, at any worker; the right password counts no more than a wrong one then, elsewhere it does.
    Time is that of the node: workers' clocks may be ahead."""
    right = PASSWORDS.get(username, "any")
    for number in range(MOST_WRONG):
        await refused((worker if number % 2 else another).sign_in(username, "wrong"), Reason.INVALID_LOGIN)
        await let_pass(plain, 10_000)
    clock.ms += 3_600_000
    for each in (worker, another):
        for password in ("wrong", right):
            error = await refused(each.sign_in(username, password), Reason.RATE_LIMIT_EXCEEDED)
            assert 180 < error.retry_after_seconds <= 200
            assert error.metadata == {"count": "10"}
            assert username not in error.message
            assert error.member_id == (None if username == "nobody" else 123)  # the failure counts as its member's
    expected = {"demo": None, "nobody": Reason.INVALID_LOGIN, "retired": Reason.NOAUTH_DISABLED}[username]
    assert await outcome(worker, username, right, ELSEWHERE) == expected
    await let_pass(plain, WINDOW_MS - 100_000)
    assert await outcome(worker, username, right, ADDRESS) == expected


async def test_a_refused_one_whose_member_cannot_be_read_is_refused_all_the_same(
    worker: AccountWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(MOST_WRONG):
        await refused(worker.sign_in("demo", "wrong"), Reason.INVALID_LOGIN)

    async def fail(store: ClusterCatalogStore, name: str, deadline: float) -> None:
        raise unavailable("node-2:6379 did not answer")

    monkeypatch.setattr(ClusterCatalogStore, "credentials_by_name", fail)
    error = await refused(worker.sign_in(), Reason.RATE_LIMIT_EXCEEDED)
    assert error.member_id is None


@pytest.mark.parametrize("username", ["demo", "nobody", "retired"])
async def test_every_refused_name_asks_the_cluster_for_as_much(
    worker: AccountWorker, plain: RedisCluster, username: str
) -> None:
    for _ in range(MOST_WRONG):
        await refused(worker.sign_in(username, "wrong"), Reason.INVALID_LOGIN)
    before = await carried_out(plain, "hget")
    await refused(worker.sign_in(username, "wrong"), Reason.RATE_LIMIT_EXCEEDED)
    assert await carried_out(plain, "hget") - before == 3


async def test_a_right_one_that_cannot_be_noted_is_taken_back(
    worker: AccountWorker, plain: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is neither noted nor taken back counts as wrong after a while."""
    note, asked = ClusterGuessStore.end_guess, 0

    async def fail_first(store: ClusterGuessStore, subject: str, name: str, deadline: float, *, wrong: bool) -> None:
        nonlocal asked
        asked += 1
        if asked % 2:
            raise unavailable("the node is away")
        await note(store, subject, name, deadline, wrong=wrong)

    monkeypatch.setattr(ClusterGuessStore, "end_guess", fail_first)
    for number in range(1, MOST_WRONG + 1):
        await refused(worker.sign_in(), Reason.UNAVAILABLE)
        await worker.guesses.close()
        assert asked == 2 * number
    monkeypatch.undo()
    await let_pass(plain, 60_000)
    await worker.sign_in()


async def test_a_guess_that_the_cluster_refuses_to_take_back_is_let_be(
    worker: AccountWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps the worker from nothing, its end among it."""

    async def refuse(*_: object, wrong: bool) -> None:
        raise RefusedCommandError("node", "NOPERM")

    monkeypatch.setattr(ClusterGuessStore, "end_guess", refuse)
    with pytest.raises(RefusedCommandError):
        await worker.sign_in()
    await worker.guesses.close()


async def test_who_signs_in_rightly_is_counted_for_nothing(worker: AccountWorker, plain: RedisCluster) -> None:
    for _ in range(MOST_WRONG - 1):
        await refused(worker.sign_in("demo", "wrong"), Reason.INVALID_LOGIN)
    for _ in range(3):
        await worker.sign_in()
    await refused(worker.sign_in("demo", "wrong"), Reason.INVALID_LOGIN)
    await refused(worker.sign_in(), Reason.RATE_LIMIT_EXCEEDED)
    for username in ("private", "admin"):
        await worker.sign_in(username)


async def test_many_at_once_are_no_more(worker: AccountWorker, another: AccountWorker) -> None:
    """Those past the tenth wait until it is known that these were wrong."""
    guesses = [outcome(each, "demo", f"wrong {number}") for number in range(12) for each in (worker, another)]
    outcomes = await asyncio.gather(*guesses)
    assert outcomes.count(Reason.INVALID_LOGIN) == MOST_WRONG
    assert outcomes.count(Reason.RATE_LIMIT_EXCEEDED) == len(guesses) - MOST_WRONG


async def test_right_ones_at_once_wait_for_each_other_alone(worker: AccountWorker, another: AccountWorker) -> None:
    for _ in range(MOST_WRONG - 1):
        await refused(worker.sign_in("demo", "wrong"), Reason.INVALID_LOGIN)
    assert await asyncio.gather(*(outcome(each) for each in (worker, another) * 4)) == [None] * 8


async def test_what_nobody_was_told_does_not_count(worker: AccountWorker, plain: RedisCluster) -> None:
    for _ in range(2 * MOST_WRONG):
        guess = asyncio.create_task(worker.sign_in("demo", "wrong"))
        await asyncio.sleep(0)
        guess.cancel()
        await asyncio.gather(guess, return_exceptions=True)
    await worker.guesses.close()
    await worker.sign_in()
    assert [key async for key in plain.scan_iter("f:*")] == []


@needs_proc
async def test_an_address_with_many_names_leaves_room_for_others(worker: AccountWorker) -> None:
    with standing_still(*(each.pid for each in hashers())):
        flood = [asyncio.create_task(outcome(worker, f"nobody {number}", "any")) for number in range(2 * MOST_WAITING)]
        waiting: set[asyncio.Task[Reason | None]] = set(flood)
        while len(waiting) > MOST_WAITING_OF_ONE:
            turned_away, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert {each.result() for each in turned_away} == {Reason.UNAVAILABLE}
        signing_in = asyncio.create_task(outcome(worker, address=ELSEWHERE))
        for each in waiting:
            each.cancel()
    assert await signing_in is None
    assert len(waiting) == MOST_WAITING_OF_ONE
    await asyncio.wait(waiting)


async def test_neither_names_nor_addresses_are_in_the_cluster(worker: AccountWorker, plain: RedisCluster) -> None:
    await refused(worker.sign_in("demo", "wrong"), Reason.INVALID_LOGIN)
    (key,) = [key async for key in plain.scan_iter("f:*")]
    stored = repr((key, await plain.zrange(key, 0, -1)))
    assert "demo" not in stored
    assert ADDRESS not in stored


async def outcome(
    worker: AccountWorker, username: str = "demo", password: str | None = None, address: str = ADDRESS
) -> Reason | None:
    """Why a sign-in fails; None when it does not."""
    password = password or PASSWORDS[username]
    try:
        await worker.signing_in.by_password(username, password, address, seconds_from_now(20))
    except AudienceError as error:
        return error.reason
    return None
