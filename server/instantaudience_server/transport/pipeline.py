"""What happens to every call, whichever host it came in through: limits, reading, authentication, deadline, errors.

A host hands over bytes and metadata, and gets bytes or a `CallError` back.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, NoReturn, Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from instantaudience_server.catalog.access import Caller
from instantaudience_server.errors import AudienceError, Reason, unavailable
from instantaudience_server.tokens import TokenService, bare_token
from instantaudience_server.transport.outcomes import CallerLeft, CallError, Outcomes
from instantaudience_server.transport.status import Failure

Request = TypeVar("Request", bound=Message)

SHARE_KEPT = 0.1
MOST_KEPT_SECONDS = 0.1
"""Of a caller's deadline, this share (and at most this long) is kept for the answer's way back."""
MOST_DIGITS = 10
"""Of a size; a longer one is none."""
GIVEN_UP = "the server gave the call up; it may be applied, and sending it again is safe"

_Answers = asyncio.Queue["asyncio.Task[bytes] | None"]
"""The answers to a stream's requests, in order; None after the last."""


class Call(NamedTuple):
    """What a host knows of a call beside its messages.

    `remaining_seconds` is what is left of the caller's deadline; None when there is none. `body_bytes` is the size of
    what the caller sent where a gateway made the message from it, as far as that is known.
    """

    authorization: str
    request_id: str
    remaining_seconds: float | None
    body_bytes: int = 0

    def __repr__(self) -> str:
        """Without the token: this may end in a log."""
        return f"Call(request_id={self.request_id!r}, remaining_seconds={self.remaining_seconds!r})"


class Answer(Protocol):
    """All that is asked of an answer: a message, or what is encoded already."""

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes:  # noqa: N802 - protobuf's name
        """The bytes for the wire."""


@dataclass(frozen=True, slots=True)
class Method(Generic[Request]):
    """A unary method that needs a token: `handle(request, caller, deadline)` answers."""

    path: str
    request: type[Request]
    handle: Callable[[Request, Caller, float], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class PublicMethod(Generic[Request]):
    """A unary method that anyone may call: `handle(request, deadline)` answers."""

    path: str
    request: type[Request]
    handle: Callable[[Request, float], Awaitable[Message]]


@dataclass(frozen=True, slots=True)
class StreamMethod(Generic[Request]):
    """A bidirectional method that needs a token; one answer for each request, in order.

    `start(state, request, caller, deadline)` is awaited for one request at a time, in order; what it returns is awaited
    while later requests start. `state` is one for each stream, made by `open`. `refuse` makes the answer to a request
    that failed; None where such a request ends the stream.
    """

    path: str
    request: type[Request]
    open: Callable[[], Any]
    start: Callable[[Any, Request, Caller, float], Awaitable[Awaitable[Message]]]
    refuse: Callable[[Failure], Message] | None


@dataclass(frozen=True, slots=True)
class PublicStreamMethod(Generic[Request]):
    """A streaming method that anyone may call: `handle(requests)` yields the answers."""

    path: str
    request: type[Request]
    handle: Callable[[AsyncIterator[Request]], AsyncIterator[Message]]


AnyMethod = Method[Any] | PublicMethod[Any] | StreamMethod[Any] | PublicStreamMethod[Any]


class Pipeline:
    """Runs calls. `call_timeout_seconds` is the deadline of callers that set none, and the longest that any gets.

    `body_limit_bytes` bounds each message. `stream_window` is how many requests of a stream are under way at most: past
    it, the stream is not read on, and HTTP/2's flow control holds its sender.
    """

    def __init__(
        self,
        tokens: TokenService,
        outcomes: Outcomes,
        *,
        call_timeout_seconds: float,
        body_limit_bytes: int,
        stream_window: int,
    ) -> None:
        self._tokens = tokens
        self.outcomes = outcomes
        self._call_timeout_seconds = call_timeout_seconds
        self._body_limit_bytes = body_limit_bytes
        self._stream_window = stream_window
        self._time = asyncio.get_running_loop().time

    async def run(self, method: Method[Request] | PublicMethod[Request], body: bytes, call: Call) -> bytes:
        """Answer a unary call.

        Raises:
            CallError: the call failed. Nothing else but cancellation leaves this method.
        """
        caller: Caller | None = None
        answer: Answer
        try:
            deadline = self._deadline(call.remaining_seconds)
            if isinstance(method, PublicMethod):
                answer = await method.handle(self._read(method.request, body), deadline)
            else:
                caller = await self._tokens.verify(bare_token(call.authorization), deadline)
                _check_size(max(len(body), call.body_bytes), caller)
                answer = await method.handle(self._read(method.request, body), caller, deadline)
            encoded = answer.SerializeToString(deterministic=True)
        except (Exception, asyncio.CancelledError) as error:
            raise await self.outcomes.failed(method.path, call.request_id, _ended(error), caller) from None
        self.outcomes.succeeded(method.path)
        return encoded

    def run_stream(
        self, method: StreamMethod[Request] | PublicStreamMethod[Request], bodies: AsyncIterator[bytes], call: Call
    ) -> AsyncGenerator[bytes, None]:
        """Answer a stream; close the generator when the caller leaves.

        Raises:
            CallError: the stream as a whole failed. Nothing else but cancellation, and what `bodies` raises when the
                caller leaves, leaves the generator.
        """
        if isinstance(method, PublicStreamMethod):
            return self._run_public_stream(method, bodies, call)
        return self._run_stream(method, bodies, call)

    async def _run_public_stream(
        self, method: PublicStreamMethod[Request], bodies: AsyncIterator[bytes], call: Call
    ) -> AsyncGenerator[bytes, None]:
        try:
            async for answer in method.handle(self._read(method.request, body) async for body in bodies):
                encoded = answer.SerializeToString(deterministic=True)
                self.outcomes.succeeded(method.path)
                yield encoded
        except (Exception, asyncio.CancelledError) as error:
            raise await self.outcomes.failed(method.path, call.request_id, _ended(error)) from None

    async def _run_stream(
        self, method: StreamMethod[Request], bodies: AsyncIterator[bytes], call: Call
    ) -> AsyncGenerator[bytes, None]:
        """The token is checked for each request, so that a stream does not outlive it."""
        answers: _Answers = asyncio.Queue()
        window = asyncio.Semaphore(self._stream_window)
        reader = asyncio.create_task(self._read_stream(method, bodies, call, answers, window))
        try:
            while (answer := await answers.get()) is not None:
                yield await answer
                window.release()
            await reader
        except CallError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            raise await self.outcomes.failed(method.path, call.request_id, _ended(error)) from None
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            # Every answer under way has begun by now, so that its cancellation reaches what it waits for.
            left = []
            while not answers.empty():
                if task := answers.get_nowait():
                    task.cancel()
                    left.append(task)
            await asyncio.gather(*left, return_exceptions=True)

    async def _read_stream(
        self,
        method: StreamMethod[Request],
        bodies: AsyncIterator[bytes],
        call: Call,
        answers: "_Answers",
        window: asyncio.Semaphore,
    ) -> None:
        try:
            state = method.open()
            await self._tokens.verify(bare_token(call.authorization), self._deadline(call.remaining_seconds))
            await window.acquire()
            async for body in bodies:
                deadline = self._deadline(None)
                caller = await self._tokens.verify(bare_token(call.authorization), deadline)
                answers.put_nowait(await self._start(method, state, body, call, caller, deadline))
                await window.acquire()
        finally:
            answers.put_nowait(None)

    async def _start(
        self, method: StreamMethod[Request], state: Any, body: bytes, call: Call, caller: Caller, deadline: float
    ) -> "asyncio.Task[bytes]":
        try:
            _check_size(len(body), caller)
            started = await method.start(state, self._read(method.request, body), caller, deadline)
        except Exception as error:
            started = _failed(error)
        return asyncio.create_task(self._finish(method, started, call, caller))

    async def _finish(
        self, method: StreamMethod[Request], started: Awaitable[Message], call: Call, caller: Caller
    ) -> bytes:
        try:
            encoded = (await started).SerializeToString(deterministic=True)
        except (Exception, asyncio.CancelledError) as error:
            failed = await self.outcomes.failed(method.path, call.request_id, _ended(error), caller)
            if method.refuse is None:
                raise failed from None
            return method.refuse(failed.failure).SerializeToString(deterministic=True)
        self.outcomes.succeeded(method.path)
        return encoded

    def _deadline(self, remaining_seconds: float | None) -> float:
        budget = self._call_timeout_seconds
        if remaining_seconds is not None:
            budget = min(budget, remaining_seconds - min(MOST_KEPT_SECONDS, remaining_seconds * SHARE_KEPT))
        return self._time() + budget

    def _read(self, request: type[Request], body: bytes) -> Request:
        if len(body) > self._body_limit_bytes:
            raise _too_large(len(body), self._body_limit_bytes)
        try:
            return request.FromString(body)
        except DecodeError:
            raise AudienceError(Reason.SYNTAX, f"The request is not a readable {request.DESCRIPTOR.name}") from None


def _ended(error: BaseException) -> BaseException:
    """Why a call ended; what says that nobody waits for its answer is raised on.

    What a call waited for may be cancelled without the call being: when the server ends.
    """
    if isinstance(error, CallerLeft):
        raise error
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise error
        return unavailable(GIVEN_UP)
    return error


def body_bytes(header: str) -> int:
    """What the header `x-request-body-bytes` says; 0 where it says nothing.

    The gateway sets it on every REST call. A gRPC caller may send it too: it can only make its own request larger.
    """
    return int(header) if header.isascii() and header.isdigit() and len(header) <= MOST_DIGITS else 0


def _check_size(size: int, caller: Caller) -> None:
    """Hold a request to its member's limit (source: contract, "Limits")."""
    limit = caller.member.limits.body_bytes
    if size > limit:
        raise _too_large(size, limit)


def _too_large(size: int, limit: int) -> AudienceError:
    return AudienceError(Reason.LIMIT, f"The request has {size} bytes; at most {limit} are allowed")


async def _failed(error: Exception) -> NoReturn:
    raise error
