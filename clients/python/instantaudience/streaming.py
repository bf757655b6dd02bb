"""Streams any number of users over StreamSegments; failed requests are retried, in order."""

import asyncio
import math
import time
import uuid
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc

from instantaudience.credentials import Session
from instantaudience.errors import (
    AudienceError,
    InternalError,
    UnauthenticatedError,
    UnavailableError,
    of_call,
    of_status,
    says_nothing,
    unreadable,
)
from instantaudience.pacing import Pacer
from instantaudience.retrying import Retries
from instantaudience.rules import LINGER_MS, RENEWED_REASON
from instantaudience.splitting import Limits, Part, Splitter
from instantaudience.v1.audience_pb2 import (
    RtSegment,
    StreamSegmentsRequest,
    StreamSegmentsResponse,
)
from instantaudience.watching import GIVEN_UP, Watchers
from instantaudience.window import Sent, StreamResult, Window

PATH = "/instantaudience.v1.AudienceService/StreamSegments"
_OF_THE_END = (grpc.aio.AioRpcError, grpc.aio.UsageError, grpc.aio.InternalError, asyncio.InvalidStateError)
"""What sending raises after the stream has ended; the reason is in what is received."""
LINGER_SECONDS = LINGER_MS / 1000
LOOK_SECONDS = 0.25
"""Interval between checks whether a stream is stuck."""

Users = AsyncIterable[RtSegment] | Iterable[RtSegment]
Requests = AsyncIterable[StreamSegmentsRequest] | Iterable[StreamSegmentsRequest]
Given = TypeVar("Given")


@dataclass
class _Stream:
    """One stream of a call: what is in flight on it, and why it failed."""

    call: Any
    request_id: str
    pending: deque[Sent] = field(default_factory=deque[Sent])
    failure: AudienceError | None = None
    """The first error that is worth a retry. After it nothing is sent, but answers are still read."""
    failed: asyncio.Event = field(default_factory=asyncio.Event)
    is_exhausted: bool = False
    """There are no more users, or their iterator has raised an exception."""
    is_sent: bool = False
    """Sending has ended: the service should end the stream."""

    def fail(self, error: AudienceError) -> None:
        """Note an error, after which nothing is sent."""
        if self.failure is None:
            self.failure = error
            self.failed.set()

    def take(self, response: StreamSegmentsResponse, retries: Retries) -> None:
        """Process an answer.

        Raises:
            InternalError: there is no request for it.
        """
        if not self.pending:
            self.failure = InternalError("an answer to nothing", request_id=self.request_id)
            raise self.failure
        sent = self.pending.popleft()
        if response.HasField("response"):
            sent.outcome = response.response
            return
        if not response.HasField("error"):
            sent.outcome = says_nothing(self.request_id)
            return
        error = of_status(response.error, response.request_id or self.request_id)
        again = isinstance(error, UnauthenticatedError) or retries.wait_seconds(error, 0) is not None
        if not again:
            sent.outcome = error
        else:
            self.fail(error)


class Source:
    """The source of requests. A pending read of the iterator outlives the stream that waits for it."""

    def __init__(self, parts: AsyncGenerator[Part, None], splitter: Splitter) -> None:
        """`parts` yields what `splitter` makes."""
        self._parts = parts
        self._splitter = splitter
        self._asked: asyncio.Future[Part | None] | None = None

    async def next(self, failed: asyncio.Event) -> Part | None:
        """The next request: a full one or, if that takes long, with the users that are there. None at the end, or if
        `failed` is set meanwhile.

        Raises whatever the users' iterator raises.
        """
        if self._asked is None:
            self._asked = asyncio.ensure_future(anext(self._parts, None))
        if not self._asked.done():
            failing = asyncio.ensure_future(failed.wait())
            try:
                waiting: set[asyncio.Future[Any]] = {self._asked, failing}
                first = asyncio.FIRST_COMPLETED
                while not (await asyncio.wait(waiting, timeout=LINGER_SECONDS, return_when=first))[0]:
                    for incomplete in self._splitter.flush():
                        return incomplete
            finally:
                failing.cancel()
        if failed.is_set():
            return None
        asked, self._asked = self._asked, None
        return asked.result()

    def give_up(self) -> None:
        """Cancel a pending read."""
        if self._asked is not None:
            self._asked.cancel()

    async def aclose(self) -> None:
        """Stop reading. What the users' iterator raises then is not raised."""
        try:
            if self._asked is not None:
                await _end(self._asked)
        finally:
            await self._parts.aclose()


class Streaming:
    """Applies users in streams. `open_stream` is the stub's method."""

    def __init__(
        self,
        open_stream: "grpc.aio.StreamStreamMultiCallable[StreamSegmentsRequest, StreamSegmentsResponse]",
        watchers: Watchers,
        session: Session,
        pacer: Pacer,
        retries: Retries,
        window: int,
    ) -> None:
        self._open = open_stream
        self._watchers = watchers
        self._session = session
        self._pacer = pacer
        self._retries = retries
        self._window = window
        self._under_way: dict[asyncio.Task[None], Source] = {}

    def close(self) -> None:
        """End what goes on of streams whose results nobody takes; `session` is closed. Who asks for the next result
        learns that."""
        for sending, source in self._under_way.items():
            sending.cancel()
            source.give_up()

    async def apply(
        self, source: Source, limits: Limits, patience_seconds: float
    ) -> AsyncGenerator[StreamResult, None]:
        """The results of all parts, in order.

        Failed requests are retried, if that is useful, until `patience_seconds` have passed without progress. Time
        spent waiting for users, or in which the process was stopped, does not count.

        Raises:
            AudienceError: there was no progress for too long, or signing in failed.
        """
        window = Window(self._window, time.monotonic())
        async with aclosing(source):
            while True:
                if not window.sent:
                    part = await source.next(self._session.closed)
                    if part is None:
                        self._session.check_open()
                        return
                    window.add(part)
                token = await self._session.token(window.waits_since + patience_seconds)
                request_id = uuid.uuid4().hex
                watched = self._watchers.attempt(PATH, 1, request_id)
                stream = _Stream(self._open(metadata=watched.metadata(token)), request_id)
                sending = asyncio.create_task(self._send(stream, window, source, limits))
                self._under_way[sending] = source
                outcome: AudienceError | None = GIVEN_UP
                try:
                    async for response in self._answers(stream, window):
                        stream.take(response, self._retries)
                        if stream.failure is not None:
                            window.room.set()  # who waits for room shall see that nothing more is to be sent
                        for result in window.results():
                            yield result
                    outcome = None
                finally:
                    try:
                        watched.end(stream.failure or outcome)
                    finally:
                        del self._under_way[sending]
                        stream.call.cancel()
                        await _end(sending)
                with suppress(asyncio.CancelledError, *_OF_THE_END):
                    sending.result()  # Raises what the users' iterator has raised.
                if stream.failure is None and stream.is_exhausted and not window.sent:
                    return
                await self._pause(stream.failure, window, token, patience_seconds)

    async def _pause(
        self, failure: AudienceError | None, window: Window, token: str | None, patience_seconds: float
    ) -> None:
        """Sleep before the next stream, if the last one failed.

        Raises:
            AudienceError: the failure, if a retry does not help, or not before patience ends.
        """
        if failure is None:
            return
        attempt = window.failed()
        if isinstance(failure, UnauthenticatedError):
            if window.is_renewed or failure.reason != RENEWED_REASON or not self._session.refused(token):
                raise failure
            window.is_renewed = True
            wait: float | None = 0.0
        else:
            wait = self._retries.wait_seconds(failure, attempt)
        if wait is None or time.monotonic() + wait >= window.waits_since + patience_seconds:
            raise failure
        began = time.monotonic()
        await self._session.sleep(wait)
        window.excuse(time.monotonic() - began - wait)

    async def _send(self, stream: _Stream, window: Window, source: Source, limits: Limits) -> None:
        """Send what has to be repeated, then new parts, until something fails. Exceptions are raised when the stream
        has ended."""
        try:
            for sent in window.to_repeat():
                if stream.failure is not None:
                    break
                await self._write(stream, sent, limits)
            while stream.failure is None:
                if len(window.sent) >= window.most:
                    window.room.clear()
                    await window.room.wait()
                    continue
                try:
                    part = await source.next(stream.failed)
                except Exception:
                    stream.is_exhausted = True
                    raise
                if part is None:
                    stream.is_exhausted = stream.failure is None
                    break
                await self._write(stream, window.add(part), limits)
        finally:
            stream.is_sent = True
            with suppress(*_OF_THE_END):
                await stream.call.done_writing()

    async def _write(self, stream: _Stream, sent: Sent, limits: Limits) -> None:
        await self._pacer.wait(len(sent.part.users), limits, math.inf)
        sent.attempts += 1
        sent.since = time.monotonic()
        stream.pending.append(sent)
        await stream.call.write(sent.part.stream_request())

    async def _answers(self, stream: _Stream, window: Window) -> AsyncIterator[StreamSegmentsResponse]:
        """The answers of a stream. If it ends before everything is answered, that becomes its failure."""
        while True:
            since = time.monotonic()
            reading = asyncio.ensure_future(stream.call.read())
            try:
                while not reading.done():
                    looked = time.monotonic()
                    await asyncio.wait({reading}, timeout=LOOK_SECONDS)
                    late = max(0.0, time.monotonic() - looked - LOOK_SECONDS)
                    since += late
                    window.excuse(late)
                    if not reading.done() and self._is_stuck(stream, since):
                        stream.fail(UnavailableError("the stream does not go on", request_id=stream.request_id))
                        return
                if reading.cancelled():  # gRPC does so when its channel is closed.
                    self._session.check_open()
                response = reading.result()
            except grpc.aio.AioRpcError as error:
                stream.fail(of_call(error, stream.request_id, self._session.certificate_end))
                return
            finally:
                await _end(reading)
            if response is grpc.aio.EOF:
                if stream.pending or not stream.is_exhausted:
                    stream.fail(UnavailableError("the stream ended early", request_id=stream.request_id))
                return
            if response is None:
                stream.fail(unreadable(stream.request_id))
                return
            yield response

    def _is_stuck(self, stream: _Stream, read_since: float) -> bool:
        """Whether an answer, or the end of the stream, is overdue. Time in which the caller processes a result, or the
        process is stopped, does not count."""
        since = stream.pending[0].since if stream.pending else -math.inf if stream.is_sent else math.inf
        return time.monotonic() - max(since, read_since) > self._retries.attempt_seconds


async def _end(task: "asyncio.Future[Any]") -> None:
    """Cancel a task and wait until it has ended, in whatever way.

    Raises:
        CancelledError: the task that waits was cancelled meanwhile.
    """
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        task.cancel()
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if not task.cancelled():
        task.exception()  # Else asyncio would report one that nobody wants to know.
    if cancelled is not None:
        raise cancelled


def source_of_users(users: Users, limits: Limits) -> Source:
    """Divide users into requests."""
    splitter = Splitter(limits)
    return Source(_parts(users, splitter.add, splitter), splitter)


def source_of_requests(requests: Requests, limits: Limits) -> Source:
    """Divide the users of requests into requests: the same ones, if they are within the limits."""
    splitter = Splitter(limits)
    return Source(_parts(requests, splitter.add_request, splitter), splitter)


async def _parts(
    given: AsyncIterable[Given] | Iterable[Given], add: Callable[[Given], Iterator[Part]], splitter: Splitter
) -> AsyncGenerator[Part, None]:
    if isinstance(given, AsyncIterable):
        async for each in given:
            for part in add(each):
                yield part
    else:
        for each in given:
            for part in add(each):
                yield part
    for part in splitter.flush():
        yield part
