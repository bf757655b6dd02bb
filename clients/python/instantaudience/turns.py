"""Waiting for a lock no longer than the caller's time."""

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from instantaudience.errors import DeadlineExceededError


@asynccontextmanager
async def in_turn(lock: asyncio.Lock, seconds: float) -> AsyncGenerator[None, None]:
    """Hold a lock, when those who came before are done; it is waited for so long at most.

    Raises:
        DeadlineExceededError: they were not done in time.
    """
    try:
        async with asyncio.timeout(None if math.isinf(seconds) else seconds):
            await lock.acquire()
    except TimeoutError:
        raise DeadlineExceededError("the caller's time was over before its turn") from None
    try:
        yield
    finally:
        lock.release()
