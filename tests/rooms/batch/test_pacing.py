"""A job leaves most of a worker's time to live calls, where there are any."""

import asyncio
import time

from instantaudience_server.batch.pacing import Pacing


def work(seconds: float) -> None:
    """Use the processor."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def share(pacing: Pacing, turns: int) -> float:
    """The part of the time that a job takes that works for some turns."""
    started, busy = time.monotonic(), time.thread_time()
    pacing.begin()
    for _ in range(turns):
        work(0.002)
        await pacing.rest()
    return (time.thread_time() - busy) / (time.monotonic() - started)


async def test_beside_live_calls_a_job_takes_a_tenth_at_most() -> None:
    calls = iter(range(1_000_000))
    assert await share(Pacing(lambda: next(calls)), 20) <= 0.1


async def test_a_job_alone_does_not_wait() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    pacing = Pacing(lambda: 7)
    task = asyncio.create_task(others())
    for _ in range(100):
        await pacing.rest()
    task.cancel()
    assert turns >= 100, "others had their turn each time"


async def test_after_a_call_others_are_expected_for_a_while() -> None:
    calls = 0
    pacing = Pacing(lambda: calls)
    calls = 1
    assert await share(pacing, 2) <= 0.2
