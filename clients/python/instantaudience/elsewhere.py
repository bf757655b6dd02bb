"""Runs a caller's iterator in a thread of its own."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Generic, TypeVar

Given = TypeVar("Given")
SOME_SECONDS = 0.02
"""Items are passed on after this time, even if there are only a few."""


class CallerError(Exception):
    """What the caller has the client run has raised `error`.

    It may be of any kind, including SystemExit and KeyboardInterrupt, which would end the thread of an event loop.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


async def asked_elsewhere(given: Iterable[Given], most: int) -> AsyncGenerator[Given, None]:
    """Yield the items of an iterator, which runs in another thread and is asked for at most `most` items at once.

    Raises:
        CallerError: the iterator raised an exception.
    """
    asked = _Asked(given, most)
    try:
        while some := await asked.some():
            for each in some:
                yield each
    finally:
        asked.end()


class _Asked(Generic[Given]):
    """The thread. A blocking iterator delays neither other streams, nor its own items, nor the exit of the process."""

    def __init__(self, given: Iterable[Given], most: int) -> None:
        self._given = given
        self._most = most
        self._lock = threading.Condition()
        """Guards all below."""
        self._items: list[Given] = []
        self._answer: asyncio.Future[list[Given]] | None = None
        """What the client waits for. While there is none, the iterator is not asked."""
        self._since = 0.0
        """Since when it waits."""
        self._is_over = False
        """The iterator has ended, or no more items are wanted."""
        self._raised: CallerError | None = None
        work = partial(copy_context().run, self._run)
        threading.Thread(target=work, name="instantaudience-users", daemon=True).start()

    async def some(self) -> list[Given]:
        """The next items; empty at the end."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Given]] = loop.create_future()
        with self._lock:
            self._answer, self._since = answer, time.monotonic()
            self._give(at_least=self._most)
            self._lock.notify()
        looking = loop.call_later(SOME_SECONDS, self._look)
        try:
            return await answer
        finally:
            looking.cancel()

    def end(self) -> None:
        """Tell the thread that no more items are wanted."""
        with self._lock:
            self._is_over = True
            self._lock.notify()

    def _look(self) -> None:
        with self._lock:
            self._give(at_least=1)

    def _give(self, *, at_least: int) -> None:
        """Pass on the items that are there to who waits for them, if they are enough, or no more come."""
        if self._answer is None or (len(self._items) < at_least and not self._is_over):
            return
        answer, self._answer = self._answer, None
        some, self._items = self._items, []
        raised = None if some else self._raised
        with suppress(RuntimeError):  # The loop is closed: nobody waits.
            answer.get_loop().call_soon_threadsafe(_settle, answer, some, raised)

    def _run(self) -> None:
        raised: CallerError | None = None
        try:
            if self._is_wanted():
                for item in self._given:
                    if not self._took(item):
                        break
        except BaseException as error:
            raised = CallerError(error)
        with self._lock:
            self._is_over, self._raised = True, raised
            self._give(at_least=0)

    def _took(self, item: Given) -> bool:
        """Take an item; waits until another one is wanted, and returns False if none is any more."""
        with self._lock:
            self._items.append(item)
            is_late = time.monotonic() - self._since > SOME_SECONDS
            self._give(at_least=1 if is_late else self._most)
            return self._is_wanted()

    def _is_wanted(self) -> bool:
        """Wait until another item is wanted; False if none is any more."""
        with self._lock:
            while self._answer is None and not self._is_over:
                self._lock.wait()
            return not self._is_over


def _settle(answer: asyncio.Future[list[Given]], some: list[Given], raised: CallerError | None) -> None:
    if answer.done():  # Nobody waits for it any more.
        return
    if raised is None:
        answer.set_result(some)
    else:
        answer.set_exception(raised)
