"""One HTTP request and its answer inside Envoy, as gRPC sees them: messages in, messages and a status out.

Sources: doc/PROTOCOL-HTTP2.md in grpc/grpc; the ASGI HTTP specification with its trailers extension.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from instantaudience_server.transport.calls.call import Call, body_bytes, credential, waited_seconds
from instantaudience_server.transport.calls.outcomes import UNKNOWN_METHOD, CallerLeft
from instantaudience_server.transport.framing import (
    Flaw,
    Headers,
    Messages,
    failure_headers,
    flawed,
    frame,
    only_message,
    timeout_seconds,
)
from instantaudience_server.transport.status import (
    ADDRESS_KEY,
    BODY_BYTES_KEY,
    CERTIFICATE_KEY,
    START_KEY,
    TRACE_PARENT_KEY,
    Failure,
)

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Result = TypeVar("Result")

_HEADERS: Headers = [(b"content-type", b"application/grpc"), (b"grpc-accept-encoding", b"gzip, deflate, identity")]
_START: Event = {"type": "http.response.start", "status": 200, "headers": _HEADERS, "trailers": True}
_OK: Event = {"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")], "more_trailers": False}
_ADDRESS_HEADER = ADDRESS_KEY.encode()
_BODY_BYTES_HEADER = BODY_BYTES_KEY.encode()
_CERTIFICATE_HEADER = CERTIFICATE_KEY.encode()
_START_HEADER = START_KEY.encode()
_TRACE_PARENT_HEADER = TRACE_PARENT_KEY.encode()
_END_OF_BODY: Event = {"type": "http.response.body", "body": b"", "more_body": False}


class Exchange:
    """One HTTP request and its answer, as gRPC sees them. `task` serves it, with the method at `path`."""

    __slots__ = (
        "_ahead",
        "_complete",
        "_limit_bytes",
        "_looked",
        "_looking",
        "_read_until",
        "_reading",
        "_receive",
        "_send",
        "_started",
        "caller_left",
        "headers",
        "path",
        "refusing",
        "task",
    )

    def __init__(self, headers: Headers, receive: Receive, send: Send, limit_bytes: int) -> None:
        self.headers = dict(headers)
        self._receive = receive
        self._send = send
        self._limit_bytes = limit_bytes
        self._started = self._complete = self._reading = self._looked = False
        self._read_until = math.inf
        self._ahead = b""
        """Bytes of the request that `look` has received."""
        self._looking: asyncio.Task[None] | None = None
        self.task: asyncio.Task[Any] | None = None
        self.path = UNKNOWN_METHOD
        self.refusing: asyncio.Task[None] | None = None
        """The task that answers with a failure while `task` still waits for the request."""
        self.caller_left = False

    def keep_futures(self) -> None:
        """Never cancel the futures of pyvoy, which sets their results whether they are cancelled or not.

        Only streams need this: no other call is cancelled while it waits for pyvoy.
        """
        receive, send = self._receive, self._send
        self._receive = lambda: _kept(receive())
        self._send = lambda event: _kept(send(event))

    @property
    def request_id(self) -> str:
        """The call's request ID; the gateway ensures that every call has one."""
        return self.headers.get(b"x-request-id", b"").decode("latin-1")

    def call(self) -> Call:
        """Read the call's metadata from the headers."""
        headers = self.headers
        waited = waited_seconds(headers.get(_START_HEADER, b"").decode("latin-1"))
        timeout = headers.get(b"grpc-timeout")
        remaining = None if timeout is None else timeout_seconds(timeout)
        return Call(
            credential(
                headers.get(b"authorization", b"").decode("latin-1"),
                headers.get(_CERTIFICATE_HEADER, b"").decode("latin-1"),
            ),
            self.request_id,
            None if remaining is None else remaining - waited,
            body_bytes(headers.get(_BODY_BYTES_HEADER, b"").decode("latin-1")),
            waited,
            headers.get(_ADDRESS_HEADER, b"").decode("latin-1"),
            headers.get(_TRACE_PARENT_HEADER, b"").decode("latin-1"),
            by_gateway=True,
        )

    async def only_message(self, deadline: float) -> bytes:
        """The message of a unary request. If it has not arrived by the deadline, `overdue` returns true.

        Raises:
            AudienceError: SYNTAX, LIMIT.
            CallerLeft: the caller left before the request was complete.
        """
        self._read_until = deadline
        data, more = await self._read()
        if not more:
            message = only_message(data, self._limit_bytes)
            if message is not None:
                return message
        messages = self._messages()
        received = list(messages.feed(data))
        while more and len(received) <= 1:
            data, more = await self._read()
            received += messages.feed(data)
        if len(received) > 1:
            raise flawed(Flaw.SEVERAL)
        messages.finish()
        if not received:
            raise flawed(Flaw.MISSING)
        return received[0]

    def _messages(self) -> Messages:
        return Messages(self.headers.get(b"grpc-encoding", b""), self._limit_bytes)

    async def messages(self) -> AsyncIterator[bytes]:
        """The messages of a stream's request, as they come.

        Raises:
            AudienceError: SYNTAX, LIMIT.
            CallerLeft: the caller left before the request was complete.
        """
        messages, more = self._messages(), True
        while more:
            data, more = await self._read()
            for message in messages.feed(data):
                yield message
        messages.finish()

    async def _read(self) -> tuple[bytes, bool]:
        """The next bytes of the request, and whether more may follow."""
        if self._looking is not None:
            await self._looking
            if self.caller_left:
                raise CallerLeft
            self._looking = None
            data, self._ahead = self._ahead, b""
            return data, not self._complete
        self._reading = True
        event = await self._receive()
        self._reading = False
        if event["type"] == "http.disconnect":
            self._leave()
            raise CallerLeft
        self._complete = not event["more_body"]
        return event["body"], event["more_body"]

    async def answer(self, message: bytes) -> None:
        """Send the answer to a unary request."""
        await self._send(_START)
        await self._send({"type": "http.response.body", "body": frame(message), "more_body": False})
        await self._send(_OK)

    async def send_message(self, message: bytes) -> None:
        """Send one of several answers; waits while the caller reads too slowly.

        Raises:
            CallerLeft: the connection was closed.
        """
        if not self._started:
            self._started = True
            await self._send(_START)
        try:
            await self._send({"type": "http.response.body", "body": frame(message), "more_body": True})
        except OSError as error:
            # pyvoy raises the same exception object each time; its traceback would keep all frames alive.
            error.__traceback__ = None
            self.caller_left = True
            raise CallerLeft from None

    async def end(self) -> None:
        """End the answer to a stream."""
        if not self._started:
            await self._send(_START)
        await self._send(_END_OF_BODY)
        await self._send(_OK)

    async def fail(self, failure: Failure) -> None:
        """End the answer with a failure: in trailers, or in headers only if nothing was sent before."""
        headers = failure_headers(failure)
        if self._started:
            await self._send(_END_OF_BODY)
            await self._send(_trailers(headers))
        else:
            await self._send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS, *headers]})
            await self._send(_END_OF_BODY)

    async def refuse_media_type(self) -> None:
        """Refuse a request that is not gRPC with 415. The gateway does not normally let one through."""
        await self._send({"type": "http.response.start", "status": 415, "headers": []})
        await self._send(_END_OF_BODY)

    def overdue(self, now: float) -> bool:
        """Whether the request is still being read after its deadline; true only once.

        The reading cannot be cancelled (see `keep_futures`), but ends when the call is answered.
        """
        if not self._reading or now < self._read_until:
            return False
        self._read_until = math.inf
        return True

    def look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Check whether the caller is still connected, and cancel the call if not.

        While the request is being read, the read itself notices. Otherwise the only way is to receive more of the
        request, so this method is called regularly and does so from the second time on. The bytes received are kept,
        up to the limit of a message.
        """
        asks = self._looking is not None and not self._looking.done()
        if self._looked and not (self._reading or asks or self.caller_left) and len(self._ahead) <= self._limit_bytes:
            self._looking = loop.create_task(self._look())
        self._looked = True

    async def _look(self) -> None:
        event = await self._receive()
        if event["type"] == "http.disconnect":
            self._leave()
        else:
            self._ahead += event["body"]
            self._complete = not event["more_body"]

    def _leave(self) -> None:
        """Note that the caller has left, and cancel the call unless this runs in its own task, which is reading."""
        self.caller_left = True
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()


def _kept(awaitable: Awaitable[Result]) -> "asyncio.Future[Result]":
    """Wrap an awaitable so that cancelling the wait does not cancel it, and its error counts as retrieved."""
    future = asyncio.ensure_future(awaitable)
    future.add_done_callback(_notice)
    return asyncio.shield(future)


def _notice(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled():
        future.exception()


def _trailers(headers: Headers) -> Event:
    return {"type": "http.response.trailers", "headers": headers, "more_trailers": False}
