"""Runs a caller's iterator in a thread of its own."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Generic, TypeVar

Given = TypeVar("Given")
SOME_SECONDS = 0.02
"""Items are passed on after this time, even if there are only a few."""


class IteratorError(Exception):
    """The iterator has raised `error`, which may be of any kind, including SystemExit and KeyboardInterrupt."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


async def asked_elsewhere(given: Iterable[Given], most: int) -> AsyncGenerator[Given, None]:
    """Yield the items of an iterator, which runs in another thread and is asked for at most `most` items at once.

    Raises:
        IteratorError: the iterator raised an exception.
    """
    asked = _Asked(given, most)
    try:
        while some := await asked.some():
            for each in some:
                yield each
    finally:
        asked.end()


class _Asked(Generic[Given]):
    """The thread. A blocking iterator delays neither other streams nor the exit of the process."""

    def __init__(self, given: Iterable[Given], most: int) -> None:
        self._given = given
        self._most = most
        self._wanted = SimpleQueue[asyncio.Future[list[Given]] | None]()
        work = partial(copy_context().run, self._give)
        threading.Thread(target=work, name="instantaudience-users", daemon=True).start()

    async def some(self) -> list[Given]:
        """The next items; empty at the end."""
        answer: asyncio.Future[list[Given]] = asyncio.get_running_loop().create_future()
        self._wanted.put(answer)
        return await answer

    def end(self) -> None:
        """Tell the thread that no more items are wanted."""
        self._wanted.put(None)

    def _give(self) -> None:
        portions = self._portions()
        while (answer := self._wanted.get()) is not None:
            some, raised = next(portions)
            with suppress(RuntimeError):  # The loop is closed: nobody waits.
                answer.get_loop().call_soon_threadsafe(_settle, answer, some, raised)

    def _portions(self) -> Iterator[tuple[list[Given], IteratorError | None]]:
        """Items in portions; those before an exception are passed on before it."""
        iterator: Iterator[Given] | None = None
        some: list[Given] = []
        raised: IteratorError | None = None
        began = time.monotonic()
        while raised is None:
            try:
                if iterator is None:
                    iterator = iter(self._given)
                some.append(next(iterator))
            except StopIteration:
                break
            except BaseException as error:
                raised = IteratorError(error)
            if some and (len(some) == self._most or time.monotonic() - began > SOME_SECONDS):
                yield some, None
                some, began = [], time.monotonic()
        if some:
            yield some, None
        while True:
            yield [], raised


def _settle(answer: asyncio.Future[list[Given]], some: list[Given], raised: IteratorError | None) -> None:
    if answer.done():  # Nobody waits for it any more.
        return
    if raised is None:
        answer.set_result(some)
    else:
        answer.set_exception(raised)
