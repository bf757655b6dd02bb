"""Waiting for other tasks, at most until the caller's deadline."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from instantaudience.errors import AudienceError, DeadlineExceededError, UnavailableError
from instantaudience.retrying import Retries
from instantaudience.rules import DEADLINE_MS

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
    """A value that is obtained once for all callers that wait for it, by a task of its own.

    Callers that give up do not end the task: what takes longer than any of them waits would never be had.
    """

    def __init__(
        self,
        get: Callable[[float], Coroutine[Any, Any, Value]],
        retries: Retries,
        sleep: Callable[[float], Awaitable[None]],
        why: Callable[[], AudienceError | None] = lambda: None,
    ) -> None:
        """`get` obtains the value, until a time of `time.monotonic`; `sleep` pauses before another task; `why` is the
        error of the last of its attempts after which another one was to come."""
        self._get = get
        self._retries = retries
        self._sleep = sleep
        self._why = why
        self._task: _Task[Value] | None = None

    async def value(self, known: Callable[[], Value | None], deadline: float) -> Value:
        """The value that is `known`, else the one that is obtained. `deadline` is a time of `time.monotonic`.

        Raises:
            AudienceError: it could not be obtained, or not in time.
        """
        failures = 0
        while (value := known()) is None:
            task = self.task(deadline)
            try:
                return await task.result(deadline)
            except AudienceError as error:
                wait = self._retries.wait_seconds(error, failures)
                # Who has no more time than the task had would get this error as well.
                if wait is None or deadline <= task.deadline or time.monotonic() + wait >= deadline:
                    raise
            failures += 1
            await self._sleep(wait)
        return value

    def task(self, deadline: float) -> "_Task[Value]":
        """The task that obtains the value; it begins now, unless it is under way.

        Raises:
            DeadlineExceededError: `deadline`, the caller's, has passed: none begins.
        """
        if self._task is None:
            now = time.monotonic()
            if deadline <= now:
                raise DeadlineExceededError("the caller's time was over before it could be sent")
            self._task = _Task(self._get, now + DEADLINE_MS / 1000, self._forget, self._why)
        return self._task

    async def close(self) -> None:
        """End the task that is under way, if there is one."""
        if self._task is not None:
            await self._task.end()

    def _forget(self) -> None:
        self._task = None


class _Task(Generic[Value]):
    """What many callers wait for. `deadline` is its own, a time of `time.monotonic`."""

    def __init__(
        self,
        get: Callable[[float], Coroutine[Any, Any, Value]],
        deadline: float,
        forget: Callable[[], None],
        why: Callable[[], AudienceError | None],
    ) -> None:
        self.deadline = deadline
        self._why, self._before = why, why()
        self._forget = forget
        self._task = asyncio.create_task(get(deadline))
        self._task.add_done_callback(self._done)

    async def result(self, deadline: float) -> Value:
        """What it obtains, if that is before `deadline`, the caller's.

        Raises:
            AudienceError: it failed, or its last attempt in this time did; else DeadlineExceededError.
        """
        left = deadline - time.monotonic()
        await asyncio.wait({self._task}, timeout=None if math.isinf(left) else max(0.0, left))
        if not self._task.done():
            if (failure := self._why()) is not None and failure is not self._before:
                raise failure.with_traceback(None)  # Many may raise it.
            raise DeadlineExceededError("the caller's time is over")
        if self._task.cancelled():
            raise UnavailableError("the client is closed")
        return self._task.result()

    async def end(self) -> None:
        """Cancel it, and wait for its end."""
        self._task.cancel()
        await asyncio.wait({self._task})

    def _done(self, task: asyncio.Task[Value]) -> None:
        self._forget()
        if not task.cancelled():
            task.exception()  # Else asyncio would report one that nobody has waited for.
