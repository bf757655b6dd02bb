"""Waiting for others no longer than the caller's time."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from instantaudience.errors import AudienceError, DeadlineExceededError
from instantaudience.rules import SENT_AGAIN

Value = TypeVar("Value")


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


class Shared(Generic[Value]):
    """What one caller gets for all who come meanwhile."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._refusal: AudienceError | None = None
        """What the last one was told to whom asking again is no help."""

    async def value(
        self, known: Callable[[], Value | None], get: Callable[[], Awaitable[Value]], deadline: float
    ) -> Value:
        """What is `known`, or else what `get` gets. The deadline is a time of `time.monotonic`.

        Raises:
            AudienceError: it could not be got, or not in time.
        """
        if (value := known()) is not None:
            return value
        before = self._refusal
        async with in_turn(self._lock, deadline - time.monotonic()):
            if (value := known()) is not None:
                return value
            # Another caller may have more time: only what it would be told as well is told to it.
            if self._refusal is not None and self._refusal is not before:
                raise self._refusal
            try:
                return await get()
            except AudienceError as error:
                if error.kind not in SENT_AGAIN:
                    self._refusal = error
                raise
