"""A stream on the native host, as Python sees it: messages come and go as far as there is room."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from instantaudience_native import Host

MOST_UNSENT_BYTES = 65_536
"""How much is sent before it is asked whether the caller takes it."""


class NativeStream:
    """The stream of that number. `flush_later` has the host hear, at the end of the turn, what it is told."""

    __slots__ = (
        "_ended",
        "_error",
        "_flush_later",
        "_host",
        "_messages",
        "_sent",
        "_unsent_bytes",
        "_waiting",
        "number",
    )

    def __init__(self, host: "Host", number: int, flush_later: Callable[[], None]) -> None:
        self.number = number
        self._host = host
        self._flush_later = flush_later
        self._messages: deque[bytes] = deque()
        self._ended = False
        self._error: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None
        """Who waits for a message."""
        self._sent: asyncio.Future[None] | None = None
        """Who waits for what was sent to be on its way."""
        self._unsent_bytes = 0

    def add(self, message: bytes) -> None:
        """A message has come."""
        self._messages.append(message)
        _wake(self._waiting)

    def end(self, error: Exception | None) -> None:
        """No message follows; `error` says why, where one should."""
        self._ended = True
        self._error = error
        _wake(self._waiting)

    def go_on(self) -> None:
        """What was sent is on its way."""
        _wake(self._sent)

    async def messages(self) -> AsyncIterator[bytes]:
        """The messages, as they come.

        Raises:
            AudienceError: SYNTAX, LIMIT.
        """
        loop = asyncio.get_running_loop()
        while True:
            while self._messages:
                message = self._messages.popleft()
                self._host.read(self.number)
                self._flush_later()
                yield message
            if self._error is not None:
                raise self._error
            if self._ended:
                return
            self._waiting = loop.create_future()
            await self._waiting

    async def send(self, message: bytes) -> None:
        """Send a message; waits while the caller reads slower than it is sent to."""
        self._unsent_bytes += len(message)
        asked = self._unsent_bytes >= MOST_UNSENT_BYTES
        self._host.send(self.number, message, asked)
        self._flush_later()
        if asked:
            self._unsent_bytes = 0
            self._sent = asyncio.get_running_loop().create_future()
            await self._sent


def _wake(waiting: "asyncio.Future[None] | None") -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
