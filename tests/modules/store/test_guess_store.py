"""Guesses of passwords in the cluster: exact, whoever asks how often."""

import asyncio

import pytest
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.guess_store import ClusterGuessStore
from redis.asyncio import RedisCluster
from support.cluster.stored import let_pass
from support.waiting import seconds_from_now

WINDOW, LIMIT = 300_000, 10
LASTS, LATE = 60_000, 5000
"""How long a guess is under way, and how late, at most, a test's next step comes."""


@pytest.fixture
def guesses(cluster: Cluster) -> ClusterGuessStore:
    return ClusterGuessStore(cluster)


async def begin(guesses: ClusterGuessStore, word: str, *, subject: str = "s") -> int | None:
    return await guesses.begin_guess(subject, f"{LASTS} {word}", WINDOW, LIMIT, seconds_from_now())


async def end(guesses: ClusterGuessStore, word: str, *, wrong: bool) -> None:
    await guesses.end_guess("s", f"{LASTS} {word}", seconds_from_now(), wrong=wrong)


async def test_wrong_ones_count_in_a_sliding_window(guesses: ClusterGuessStore, plain: RedisCluster) -> None:
    for number in range(LIMIT):
        assert await begin(guesses, str(number)) == 0
        await end(guesses, str(number), wrong=True)
        await let_pass(plain, 10_000)
    wait_ms = await begin(guesses, "more")
    assert wait_ms is not None
    assert 0 <= WINDOW - 100_000 - wait_ms < LATE
    assert await begin(guesses, "more", subject="another") == 0
    await let_pass(plain, wait_ms - LATE)
    assert 0 < (await begin(guesses, "more") or 0) <= LATE
    await let_pass(plain, LATE)
    assert await begin(guesses, "more") == 0
    await end(guesses, "more", wrong=True)
    assert 10_000 - LATE < (await begin(guesses, "and more") or 0) < 10_000 + LATE
    assert 0 < await plain.pttl("f:s") <= WINDOW


async def test_a_single_wrong_one_goes_with_its_window(guesses: ClusterGuessStore, plain: RedisCluster) -> None:
    assert await begin(guesses, "one") == 0
    await end(guesses, "one", wrong=True)
    assert WINDOW - LATE < await plain.pttl("f:s") <= WINDOW


async def test_nobody_waits_longer_where_the_clock_was_set_back(
    guesses: ClusterGuessStore, plain: RedisCluster
) -> None:
    for number in range(LIMIT):
        assert await begin(guesses, str(number)) == 0
        await end(guesses, str(number), wrong=True)
    await let_pass(plain, -WINDOW + LATE)
    assert await begin(guesses, "more") == WINDOW


async def test_nobody_is_locked_out_until_a_clock_that_was_set_back_is_there_again(
    guesses: ClusterGuessStore, plain: RedisCluster
) -> None:
    """Nor by guesses under way, whose worker cannot have lived so long."""
    for number in range(LIMIT):
        assert await begin(guesses, str(number)) == 0
        if number % 2:
            await end(guesses, str(number), wrong=True)
    await let_pass(plain, -3_600_000)
    for number in range(LIMIT):
        assert await begin(guesses, f"after {number}") == 0
        await end(guesses, f"after {number}", wrong=True)
    assert WINDOW - LATE < (await begin(guesses, "more") or 0) <= WINDOW


async def test_right_ones_do_not_count(guesses: ClusterGuessStore, plain: RedisCluster) -> None:
    for number in range(3 * LIMIT):
        assert await begin(guesses, str(number)) == 0
        await end(guesses, str(number), wrong=False)
    assert not await plain.exists("f:s")


async def test_of_many_at_once_no_more_are_under_way(guesses: ClusterGuessStore) -> None:
    begun = await asyncio.gather(*(begin(guesses, str(number)) for number in range(3 * LIMIT)))
    assert (begun.count(0), begun.count(None)) == (LIMIT, 2 * LIMIT)
    await end(guesses, str(begun.index(0)), wrong=False)
    assert await begin(guesses, "more") == 0
    assert await begin(guesses, "and more") is None


async def test_one_that_nobody_ends_counts_when_its_time_is_over(
    guesses: ClusterGuessStore, plain: RedisCluster
) -> None:
    for number in range(LIMIT):
        assert await begin(guesses, str(number)) == 0
    await let_pass(plain, LASTS - LATE)
    assert await begin(guesses, "more") is None
    await let_pass(plain, LATE)
    assert 0 <= WINDOW - LASTS - (await begin(guesses, "more") or 0) < LATE


async def test_commands_that_are_sent_again_count_once(guesses: ClusterGuessStore, plain: RedisCluster) -> None:
    for _ in range(3 * LIMIT):
        assert await begin(guesses, "one") == 0
    for _ in range(2):
        await end(guesses, "one", wrong=True)
        await end(guesses, "one", wrong=False)
    assert await plain.zrange("f:s", 0, -1) == [b"one"]
    for number in range(LIMIT - 1):
        assert [await begin(guesses, str(number)) for _ in range(2)] == [0, 0]  # the last one, too
    assert await begin(guesses, "more") is None
