"""The client for code without an event loop: runs the asynchronous client on a loop in its own thread."""

import asyncio
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from instantaudience.audience import DEADLINE_SECONDS, AsyncClient
from instantaudience.credentials import Credentials, Tls
from instantaudience.elsewhere import CallerError, asked_elsewhere
from instantaudience.errors import UnavailableError
from instantaudience.processes import Process
from instantaudience.retrying import Retries
from instantaudience.rules import STREAM_WINDOW
from instantaudience.splitting import Limits
from instantaudience.v1 import audience_pb2 as pb
from instantaudience.watching import Attempt, OnAttempt, Telemetry
from instantaudience.window import StreamResult

Result = TypeVar("Result")
SOME_USERS = 1000
"""How many users are passed from the caller's iterator to the client at once, at most."""


class Client:
    """Like `AsyncClient`, for use by any number of threads. Close it, or use it as a context manager; it is also closed
    when it is garbage collected.

    It cannot be used in processes that are forked later: there it raises RuntimeError.
    """

    def __init__(
        self,
        endpoint: str,
        credentials: Credentials,
        *,
        tls: Tls | None = None,
        plaintext: bool = False,
        limits: Limits | None = None,
        retries: Retries | None = None,
        window: int = STREAM_WINDOW,
        on_attempt: OnAttempt | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        """As `AsyncClient`; `on_attempt` and `telemetry` are called in the client's thread."""

        async def connect() -> AsyncClient:
            return AsyncClient(
                endpoint,
                credentials,
                tls=tls,
                plaintext=plaintext,
                limits=limits,
                retries=retries,
                window=window,
                on_attempt=None if on_attempt is None else partial(_tell, on_attempt),
                telemetry=telemetry,
            )

        self._process = Process()
        # Reentrant: the garbage collector may finalise a stream in any thread, even one that holds the lock.
        self._lock = threading.RLock()
        self._is_closed = False
        self._loop = asyncio.new_event_loop()
        # The thread must not refer to the client, which could not be garbage collected otherwise.
        self._thread = threading.Thread(target=_turn, args=(self._loop,), name="instantaudience", daemon=True)
        self._thread.start()
        self._stop = weakref.finalize(self, _stop, self._process, self._loop)
        self._stop.atexit = False
        try:
            self._client = self._run(connect)
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Self:
        """The client itself, which is closed at the end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        self.close()

    def close(self) -> None:
        """Close the connection; current and later calls fail. Closing again does nothing.

        Raises:
            RuntimeError: `on_attempt` or `telemetry` calls this.
        """
        if not self._process.is_here():
            return
        with self._lock:
            if self._is_closed:
                return
            if threading.current_thread() is self._thread:
                raise RuntimeError("what the client calls cannot close it")
            self._is_closed = True
            closing = _Work(self._loop, self._client.close)
            closing.begin()
        try:
            closing.result()
        finally:
            self._end()

    def apply(
        self,
        users: Iterable[pb.RtSegment],
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        validate_only: bool = False,
    ) -> pb.ApplySegmentsResult:
        """See `AsyncClient.apply`. The iterator of users may use this client, too."""
        users = list(users)
        return self._run(
            partial(self._client.apply, users, deadline_seconds=deadline_seconds, validate_only=validate_only)
        )

    def stream(
        self, users: Iterable[pb.RtSegment], *, patience_seconds: float = DEADLINE_SECONDS
    ) -> Iterator[StreamResult]:
        """See `AsyncClient.stream`. The iterator of users runs in a thread of its own, and may block."""
        asked = asked_elsewhere(users, SOME_USERS)
        return self._results(self._client.stream(asked, patience_seconds=patience_seconds))

    def stream_requests(
        self, requests: Iterable[pb.StreamSegmentsRequest], *, patience_seconds: float = DEADLINE_SECONDS
    ) -> Iterator[StreamResult]:
        """See `AsyncClient.stream_requests`. The iterator of requests runs in a thread of its own, and may block."""
        asked = asked_elsewhere(requests, 1)
        return self._results(self._client.stream_requests(asked, patience_seconds=patience_seconds))

    def memberships(
        self, user_ids: Sequence[str | int], *, domain: str | None = None, deadline_seconds: float = DEADLINE_SECONDS
    ) -> list[pb.UserMemberships]:
        """See `AsyncClient.memberships`."""
        return self._run(partial(self._client.memberships, user_ids, domain=domain, deadline_seconds=deadline_seconds))

    def limits(self, *, deadline_seconds: float = DEADLINE_SECONDS) -> Limits:
        """See `AsyncClient.limits`."""
        return self._run(partial(self._client.limits, deadline_seconds=deadline_seconds))

    def _results(self, results: AsyncGenerator[StreamResult, None]) -> Iterator[StreamResult]:
        step = asyncio.Lock()
        try:
            while (result := self._run(partial(_next, results, step))) is not None:
                yield result
        finally:
            # A closed client has closed the results; if its own thread finalises them, the loop closes them.
            with suppress(UnavailableError, RuntimeError):
                self._run(partial(_close, results, step))

    def _run(self, make: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        self._process.check()
        if threading.current_thread() is self._thread:
            raise RuntimeError("what the client calls cannot wait for a call of the same client")
        work = _Work(self._loop, make)
        try:
            with self._lock:
                if self._is_closed:
                    raise UnavailableError("the client is closed")
                work.begin()
            return work.result()
        except CallerError as raised:
            raise raised.error from None
        except CancelledError:
            if self._is_closed:
                raise UnavailableError("the client is closed") from None
            raise
        except BaseException:
            work.give_up()
            raise

    def _end(self) -> None:
        self._stop()
        self._thread.join()


class _Work(Generic[Result]):
    """What a thread has the loop do for it.

    An interrupt may come between any two steps of that thread, which cannot know then how far it has come. So the
    coroutine is made, run and given up in the loop's thread alone, in this order.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, make: Callable[[], Coroutine[Any, Any, Result]]) -> None:
        self._loop = loop
        self._make = make
        self._task: asyncio.Task[Result] | None = None
        self._result: Future[Result] = Future()

    def begin(self) -> None:
        self._loop.call_soon_threadsafe(self._begin)

    def result(self) -> Result:
        """Wait for what the coroutine returns or raises.

        Raises:
            CancelledError: the loop has cancelled it.
        """
        return self._result.result()

    def give_up(self) -> None:
        """Cancel it, if it has begun and is not done."""
        with suppress(RuntimeError):  # The loop is closed: nothing runs.
            self._loop.call_soon_threadsafe(self._cancel)

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._make())
        self._task.add_done_callback(self._pass_on)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _pass_on(self, task: asyncio.Task[Result]) -> None:
        if task.cancelled():
            self._result.cancel()
        elif (error := task.exception()) is not None:
            self._result.set_exception(error)
        else:
            self._result.set_result(task.result())


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, then cancel its tasks."""
    loop.run_forever()
    loop.run_until_complete(_end_all())
    loop.close()


def _stop(process: Process, loop: asyncio.AbstractEventLoop) -> None:
    if process.is_here():
        loop.call_soon_threadsafe(loop.stop)


async def _end_all() -> None:
    """Cancel all other tasks of the loop."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


def _tell(on_attempt: OnAttempt, attempt: Attempt) -> None:
    try:
        on_attempt(attempt)
    except BaseException as error:
        raise CallerError(error) from None


async def _next(results: AsyncIterator[StreamResult], step: asyncio.Lock) -> StreamResult | None:
    async with step:
        return await anext(results, None)


async def _close(results: AsyncGenerator[StreamResult, None], step: asyncio.Lock) -> None:
    """Close the results, after the step that was abandoned has ended."""
    async with step:
        await results.aclose()
