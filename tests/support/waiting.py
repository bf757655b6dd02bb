"""Waiting in tests: deadlines, and conditions that must become true in time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from redis.exceptions import RedisError


def seconds_from_now(seconds: float = 5.0) -> float:
    """A deadline of the event loop's clock."""
    return asyncio.get_running_loop().time() + seconds


async def eventually(check: Callable[[], Awaitable[Any]], seconds: float = 20.0) -> Any:
    """Repeat a check until it neither fails nor loses its connection; after this many seconds, raise its last error."""
    last: Exception | None = None
    try:
        async with asyncio.timeout(seconds) as limit:
            while True:
                try:
                    return await check()
                except (AssertionError, RedisError) as error:
                    last = error
                await asyncio.sleep(0.02)
    except TimeoutError:
        if last is None or not limit.expired():
            raise
        raise last from None


async def turns(count: int = 10) -> None:
    """Let the event loop run for this many turns."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(true: Callable[[], bool]) -> None:
    """Wait until the condition is true, as `eventually` does."""

    async def check() -> None:
        assert true()

    await eventually(check)
