"""Streams on the native host: receives and sends their messages, with flow control in both directions."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from instantaudience_server.transport.calls.call import Call
from instantaudience_server.transport.calls.outcomes import CallError
from instantaudience_server.transport.calls.pipeline import Pipeline
from instantaudience_server.transport.calls.streaming import in_time
from instantaudience_server.transport.hosts.native_terms import Wrong, error_of
from instantaudience_server.transport.status import Failure

if TYPE_CHECKING:
    from instantaudience_native import Host

MOST_UNSENT_BYTES = 65_536
"""How many bytes are sent before the stream waits for the host to have written them."""


class NativeStream:
    """A stream, which the host knows by `number`.

    `flush_later` flushes, at the end of the turn, what the host was told.
    """

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
        """Done when a message has come, for the task that waits for one."""
        self._sent: asyncio.Future[None] | None = None
        """Done when what was sent is written, for the task that waits for that."""
        self._unsent_bytes = 0

    def add(self, message: bytes) -> None:
        """Add a message that has come."""
        self._messages.append(message)
        _wake(self._waiting)

    def end(self, error: Exception | None) -> None:
        """No message follows; `error` is raised after the last one, if it is not None."""
        self._ended = True
        self._error = error
        _wake(self._waiting)

    def go_on(self) -> None:
        """Let `send` continue: what was sent is written."""
        _wake(self._sent)

    def come(self) -> bytes | None:
        """The next message if it has come, else None."""
        if not self._messages:
            return None
        message = self._messages.popleft()
        self._host.read(self.number)
        self._flush_later()
        return message

    async def messages(self) -> AsyncIterator[bytes]:
        """The messages, as they come.

        Raises:
            AudienceError: SYNTAX, LIMIT.
        """
        loop = asyncio.get_running_loop()
        while True:
            while (message := self.come()) is not None:
                yield message
            if self._error is not None:
                raise self._error
            if self._ended:
                return
            self._waiting = loop.create_future()
            await self._waiting

    async def send(self, message: bytes) -> None:
        """Send a message; waits while the caller reads too slowly."""
        self._unsent_bytes += len(message)
        asked = self._unsent_bytes >= MOST_UNSENT_BYTES
        self._host.send(self.number, message, asked)
        self._flush_later()
        if asked:
            self._unsent_bytes = 0
            self._sent = asyncio.get_running_loop().create_future()
            await self._sent


class NativeStreams:
    """The open streams, each served by the pipeline in a task of its own.

    `fail` fails a stream at the host; `flush_later` flushes, at the end of the turn, what the host was told.
    """

    def __init__(
        self,
        host: "Host",
        methods: Sequence[Any],
        pipeline: Pipeline,
        message_limit_bytes: int,
        *,
        fail: Callable[[int, Failure], None],
        flush_later: Callable[[], None],
    ) -> None:
        self._host = host
        self._methods = methods
        self._pipeline = pipeline
        self._message_limit_bytes = message_limit_bytes
        self._fail = fail
        self._flush_later = flush_later
        self._loop = asyncio.get_running_loop()
        self._streams: dict[int, NativeStream] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def open(self, number: int, index: int, *fields: Any) -> None:
        """Serve a new stream of the method with this index; `fields` are those of its `Call`."""
        self._streams[number] = stream = NativeStream(self._host, number, self._flush_later)
        self._tasks[number] = self._loop.create_task(self._serve(stream, self._methods[index], fields))

    def receive(self, number: int, message: bytes) -> None:
        """Pass on a message that has come."""
        if stream := self._streams.get(number):
            stream.add(message)

    def half_close(self, number: int, wrong: Wrong | None) -> None:
        """No message follows; `wrong` says what is wrong with the request, if anything."""
        if stream := self._streams.get(number):
            stream.end(None if wrong is None else error_of(wrong, self._message_limit_bytes))

    def go_on(self, number: int) -> None:
        """Let a stream go on sending: what was sent is written."""
        if stream := self._streams.get(number):
            stream.go_on()

    def leave(self, number: int) -> bool:
        """Cancel a stream whose caller has left; returns whether there was one with this number."""
        self._streams.pop(number, None)
        if task := self._tasks.pop(number, None):
            task.cancel()
        return task is not None

    def tasks(self) -> Iterable[asyncio.Task[None]]:
        """The tasks that serve streams now."""
        return self._tasks.values()

    async def _serve(self, stream: NativeStream, method: Any, fields: tuple[Any, ...]) -> None:
        number = stream.number
        try:
            call = Call(*fields)
            running = self._pipeline.run_stream(method, stream.messages(), call, stream.come)
            async with in_time(call), aclosing(running) as answers:
                async for answer in answers:
                    await stream.send(answer)
            self._host.end(number)
            self._flush_later()
        except CallError as error:
            self._fail(number, error.failure)
        except Exception as error:
            self._fail(number, self._pipeline.outcomes.refused(method.path, fields[1], error).failure)
        finally:
            self._tasks.pop(number, None)
            self._streams.pop(number, None)


def _wake(waiting: "asyncio.Future[None] | None") -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
