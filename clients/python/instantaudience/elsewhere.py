"""A caller's iterator, asked in a thread of its own."""

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
"""What came in so long goes on, however little it is."""


class IteratorError(Exception):
    """The iterator has raised `error`, of whatever kind: what ends a thread or a program does not end the loop's."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


async def asked_elsewhere(given: Iterable[Given], most: int) -> AsyncGenerator[Given, None]:
    """What an iterator gives, which is asked in another thread for so many at once, at most.

    Raises:
        IteratorError: the iterator has raised.
    """
    asked = _Asked(given, most)
    try:
        while some := await asked.some():
            for each in some:
                yield each
    finally:
        asked.end()


class _Asked(Generic[Given]):
    """The thread. One whose iterator blocks keeps neither other streams nor the end of the process waiting."""

    def __init__(self, given: Iterable[Given], most: int) -> None:
        self._given = given
        self._most = most
        self._wanted = SimpleQueue[asyncio.Future[list[Given]] | None]()
        work = partial(copy_context().run, self._give)
        threading.Thread(target=work, name="instantaudience-users", daemon=True).start()

    async def some(self) -> list[Given]:
        """The next ones; none at the end."""
        answer: asyncio.Future[list[Given]] = asyncio.get_running_loop().create_future()
        self._wanted.put(answer)
        return await answer

    def end(self) -> None:
        """Nothing more is wanted."""
        self._wanted.put(None)

    def _give(self) -> None:
        portions = self._portions()
        while (answer := self._wanted.get()) is not None:
            some, raised = next(portions)
            with suppress(RuntimeError):  # The loop is closed: nobody waits.
                answer.get_loop().call_soon_threadsafe(_settle, answer, some, raised)

    def _portions(self) -> Iterator[tuple[list[Given], IteratorError | None]]:
        """What comes is given before what is raised after it."""
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
