"""Waiting for other tasks, at most until the caller's deadline."""

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
    """Hold a lock, in the order of the requests for it; wait for at most this many seconds.

    Raises:
        DeadlineExceededError: the wait took too long.
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
    """A value that one caller obtains for all that wait for it."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._refusal: AudienceError | None = None
        """The last error for which a retry does not help."""

    async def value(
        self, known: Callable[[], Value | None], get: Callable[[], Awaitable[Value]], deadline: float
    ) -> Value:
        """The value that is `known`, else the one that `get` obtains. `deadline` is a time of `time.monotonic`.

        Raises:
            AudienceError: it could not be obtained, or not in time.
        """
        if (value := known()) is not None:
            return value
        before = self._refusal
        async with in_turn(self._lock, deadline - time.monotonic()):
            if (value := known()) is not None:
                return value
            # Only errors that this caller would get as well are shared: it may have more time than the one that failed.
            if self._refusal is not None and self._refusal is not before:
                raise self._refusal
            try:
                return await get()
            except AudienceError as error:
                if error.kind not in SENT_AGAIN:
                    self._refusal = error
                raise
