"""How long tests wait: deadlines, and what must become so in time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from redis.exceptions import RedisError


def seconds_from_now(seconds: float = 5.0) -> float:
    """A deadline."""
    return asyncio.get_running_loop().time() + seconds


async def eventually(check: Callable[[], Awaitable[Any]], seconds: float = 20.0) -> Any:
    """Until the check passes: neither fails nor loses its connection. Raises why it did not last, after so long."""
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
    """Let everything go on that can in so many turns of the event loop."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(true: Callable[[], bool]) -> None:
    """Until it is so, as `eventually`."""

    async def check() -> None:
        assert true()

    await eventually(check)
