"""Large answers go at a bounded rate."""

import asyncio

import pytest
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.usage import pace
from instantaudience_server.usage.pace import Pace
from support.clocks import run_on_told_time, told_loop

MEMBER, OTHER = 1, 2
LATER = float("inf")


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    paced = Pace(bytes_per_second=50, burst_bytes=100)
    began = now()
    await paced.admit(MEMBER, 70, now() + 20)
    await paced.admit(MEMBER, 80, now() + 20)  # the burst is not used up when it is asked for
    assert now() - began < 1
    await paced.admit(MEMBER, 1, now() + 20)
    assert now() - began >= 1


def test_after_a_pause_no_more_than_a_burst_goes_at_once() -> None:
    async def run() -> None:
        loop = told_loop()
        paced = Pace(bytes_per_second=50, burst_bytes=100)
        await paced.admit(MEMBER, 50, LATER)
        loop.now = 1000.0
        await paced.admit(MEMBER, 101, LATER)
        last = asyncio.create_task(paced.admit(MEMBER, 1, LATER))
        await asyncio.sleep(0)
        assert not last.done()
        loop.now = 1000.1
        await last

    run_on_told_time(run())


async def test_members_do_not_wait_for_each_other() -> None:
    paced = Pace(bytes_per_second=1, burst_bytes=1)
    await paced.admit(MEMBER, 1000, now() + 5)  # larger than the burst
    await paced.admit(OTHER, 1000, now() + 5)  # the other one would wait for 1000 s


async def test_what_cannot_go_in_time_is_refused_and_does_not_count() -> None:
    paced = Pace(bytes_per_second=1000, burst_bytes=1)
    await paced.admit(MEMBER, 200, now() + 5)
    for _ in range(3):
        with pytest.raises(AudienceError) as caught:
            await paced.admit(MEMBER, 10**9, now() + 0.01)
        assert (caught.value.reason, caught.value.retry_after_seconds) == (Reason.UNAVAILABLE, 1)
    await paced.admit(MEMBER, 1, now() + 5)


async def test_it_says_early_what_it_would_refuse() -> None:
    paced = Pace(bytes_per_second=1000, burst_bytes=100)
    paced.check(MEMBER, now())
    await paced.admit(MEMBER, 10_100, now() + 5)
    paced.check(MEMBER, now() + 10.1)
    paced.check(OTHER, now() + 0.1)
    with pytest.raises(AudienceError):
        paced.check(MEMBER, now() + 9.9)


async def test_it_forgets_members_that_have_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "MOST_MEMBERS", 10)
    paced = Pace(bytes_per_second=1000, burst_bytes=1)
    await paced.admit(MEMBER, 10**6, now() + 5)
    for member_id in range(100, 200):
        await paced.admit(member_id, 0, now() + 5)
    assert len(paced._paid) <= 11
    with pytest.raises(AudienceError):
        await paced.admit(MEMBER, 1, now() + 0.01)
