"""Does long work on the event loop in steps, between which other calls run."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


async def in_steps(items: Sequence[Item], count: int) -> AsyncIterator[Sequence[Item]]:
    """Yield the items, at most `count` at a time; other calls run after each step."""
    for start in range(0, len(items), count):
        yield items[start : start + count]
        await asyncio.sleep(0)
