"""The Envoy host: gRPC's protocol as an ASGI application, run inside Envoy (pyvoy) behind the gateway's filters.

Sources: doc/PROTOCOL-HTTP2.md in grpc/grpc; the ASGI HTTP specification with its trailers extension. Nothing is done
for each call that can be done once, and a unary call is a single coroutine.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.transport.framing import Messages, binary_header, frame, status_message, timeout_seconds
from instantaudience_server.transport.pipeline import (
    AnyMethod,
    Call,
    CallError,
    Method,
    Pipeline,
    PublicMethod,
    PublicStreamMethod,
    StreamMethod,
)
from instantaudience_server.transport.status import STATUS_DETAILS_KEY, Failure, describe

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_GRPC_TYPES = (b"application/grpc", b"application/grpc+proto")
_HEADERS: Headers = [(b"content-type", b"application/grpc"), (b"grpc-accept-encoding", b"gzip, deflate, identity")]
_START: Event = {"type": "http.response.start", "status": 200, "headers": _HEADERS, "trailers": True}
_END_OF_BODY: Event = {"type": "http.response.body", "body": b"", "more_body": False}
LOOK_SECONDS = 0.1
"""How long a caller that sends no more is trusted to be there: then, and again after each pause, the host looks."""


class CallerLeft(asyncio.CancelledError):
    """The caller cancelled the call, or its connection is gone: nobody waits for the answer."""


class GrpcApplication:
    """Serves methods by path. `body_limit_bytes` bounds each message of a request."""

    def __init__(self, methods: Sequence[AnyMethod], pipeline: Pipeline, *, body_limit_bytes: int) -> None:
        self._methods = {method.path: method for method in methods}
        self._pipeline = pipeline
        self._body_limit_bytes = body_limit_bytes

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        exchange = _Exchange(scope, receive, send, self._body_limit_bytes)
        try:
            if not exchange.is_grpc:
                await exchange.refuse_media_type()
                return
            method = self._methods.get(scope["path"])
            if method is None:
                raise CallError(describe(AudienceError(Reason.NO_SUCH_METHOD, "There is no such method")))
            if isinstance(method, StreamMethod | PublicStreamMethod):
                await self._stream(method, exchange)
            else:
                await self._unary(method, exchange)
        except CallError as error:
            await exchange.fail(error.failure)
        except asyncio.CancelledError:
            if not exchange.caller_left:
                raise
        finally:
            exchange.close()

    async def _unary(self, method: Method[Any] | PublicMethod[Any], exchange: "_Exchange") -> None:
        try:
            body = await exchange.only_message()
        except AudienceError as error:
            raise CallError(describe(error)) from None
        await exchange.answer(await self._pipeline.run(method, body, exchange.call))

    async def _stream(self, method: StreamMethod[Any] | PublicStreamMethod[Any], exchange: "_Exchange") -> None:
        async with aclosing(self._pipeline.run_stream(method, exchange.messages(), exchange.call)) as answers:
            async for answer in answers:
                await exchange.send_message(answer)
        await exchange.end()


class _Exchange:
    """One HTTP request and its answer, as gRPC sees them."""

    __slots__ = ("_looking", "_messages", "_receive", "_send", "_started", "_task", "call", "caller_left", "is_grpc")

    def __init__(self, scope: Event, receive: Receive, send: Send, limit_bytes: int) -> None:
        self._receive = receive
        self._send = send
        self._task = asyncio.current_task()
        self._started = False
        self._looking: asyncio.TimerHandle | asyncio.Task[None] | None = None
        self.caller_left = False
        authorization, request_id, timeout, encoding, content_type = b"", b"", b"", b"", b""
        for name, value in scope["headers"]:
            match name:
                case b"authorization":
                    authorization = value
                case b"x-request-id":
                    request_id = value
                case b"grpc-timeout":
                    timeout = value
                case b"grpc-encoding":
                    encoding = value
                case b"content-type":
                    content_type = value
        self.is_grpc = content_type in _GRPC_TYPES and scope["method"] == "POST"
        self.call = Call(
            authorization.decode("latin-1"), request_id.decode("latin-1"), timeout_seconds(timeout.decode("latin-1"))
        )
        self._messages = Messages(encoding.decode("latin-1"), limit_bytes)

    async def only_message(self) -> bytes:
        """The message of a unary request.

        Raises:
            AudienceError: SYNTAX, LIMIT.
            CallerLeft: the request was not finished.
        """
        received: list[bytes] = []
        more = True
        while more:
            data, more = await self._read()
            received += self._messages.feed(data)
        self._messages.finish()
        if len(received) != 1:
            raise AudienceError(Reason.SYNTAX, f"The request has {len(received)} messages; it must have one")
        self._look_later()
        return received[0]

    async def messages(self) -> AsyncIterator[bytes]:
        """The messages of a stream's request, as they come; raises as `only_message`."""
        more = True
        while more:
            data, more = await self._read()
            for message in self._messages.feed(data):
                yield message
        self._messages.finish()
        self._look_later()

    async def _read(self) -> tuple[bytes, bool]:
        event = await self._receive()
        if event["type"] == "http.disconnect":
            self.caller_left = True
            raise CallerLeft
        return event["body"], event["more_body"]

    async def answer(self, message: bytes) -> None:
        """Send the answer to a unary request."""
        await self._send(_START)
        await self._send({"type": "http.response.body", "body": frame(message), "more_body": False})
        await self._send(_trailers([(b"grpc-status", b"0")]))

    async def send_message(self, message: bytes) -> None:
        """Send one of several answers; waits while the caller reads slower than it is sent to."""
        if not self._started:
            self._started = True
            await self._send(_START)
        await self._send({"type": "http.response.body", "body": frame(message), "more_body": True})

    async def end(self) -> None:
        """End the answer to a stream."""
        if not self._started:
            await self._send(_START)
        await self._send(_END_OF_BODY)
        await self._send(_trailers([(b"grpc-status", b"0")]))

    async def fail(self, failure: Failure) -> None:
        """End the answer with a failure: in trailers, or in headers alone where nothing was sent before."""
        headers = _failure_headers(failure)
        if self._started:
            await self._send(_END_OF_BODY)
            await self._send(_trailers(headers))
        else:
            await self._send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS, *headers]})
            await self._send(_END_OF_BODY)

    async def refuse_media_type(self) -> None:
        """Answer what is not gRPC: the gateway lets nothing else through."""
        await self._send({"type": "http.response.start", "status": 415, "headers": []})
        await self._send(_END_OF_BODY)

    def close(self) -> None:
        """Stop looking for the caller."""
        if self._looking is not None:
            self._looking.cancel()

    def _look_later(self) -> None:
        """Once the request is complete, nothing tells that its caller leaves, and a look costs more than most calls."""
        loop = asyncio.get_running_loop()

        def look() -> None:
            self._looking = loop.create_task(self._look())

        self._looking = loop.call_later(LOOK_SECONDS, look)

    async def _look(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":  # noqa: ASYNC110 - ASGI has no event for it
            await asyncio.sleep(LOOK_SECONDS)
        self.caller_left = True
        if self._task is not None:
            self._task.cancel()


def _trailers(headers: Headers) -> Event:
    return {"type": "http.response.trailers", "headers": headers, "more_trailers": False}


def _failure_headers(failure: Failure) -> Headers:
    headers = [(b"grpc-status", b"%d" % failure.code), (b"grpc-message", status_message(failure.message))]
    headers += [(key.encode(), value.encode()) for key, value in failure.metadata]
    headers.append((STATUS_DETAILS_KEY.encode(), binary_header(failure.status.SerializeToString())))
    return headers
