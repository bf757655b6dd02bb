"""Who waits behind others in a client waits no longer than its own time."""

import asyncio
import math
import time

import pytest
from instantaudience import DeadlineExceededError, Limits
from instantaudience.credentials import Session
from instantaudience.pacing import Pacer

SECONDS = 0.05


async def test_behind_a_sign_in() -> None:
    async def sign_in(deadline: float) -> tuple[str, float]:
        await asyncio.Event().wait()
        raise AssertionError

    session = Session(sign_in, None)
    first = asyncio.create_task(session.token(math.inf))
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        with pytest.raises(DeadlineExceededError):
            await session.token(time.monotonic() + SECONDS)
    first.cancel()


async def test_behind_requests_that_wait_for_the_quota() -> None:
    """The clock stands: there is never room."""
    pacer, limits = Pacer(lambda: 0.0), Limits(posts_per_second=1)
    await pacer.wait(1, limits, SECONDS)
    first = asyncio.create_task(pacer.wait(1, limits, math.inf))
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        with pytest.raises(DeadlineExceededError):
            await pacer.wait(1, limits, SECONDS)
    first.cancel()
