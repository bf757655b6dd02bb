"""Reads the requests of one stream, and begins them in order as its window, its member's pace and admission permit."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, NoReturn

from google.rpc import code_pb2

from instantaudience_server.admission.queues import Ticket
from instantaudience_server.catalog.access import Caller
from instantaudience_server.observation import tracing
from instantaudience_server.transport.calls.backlogs import Backlog, Backlogs
from instantaudience_server.transport.calls.call import Call, is_request_id
from instantaudience_server.transport.calls.direct import DirectCalls
from instantaudience_server.transport.calls.entrance import Entrance
from instantaudience_server.transport.calls.kinds import Answer, StreamMethod
from instantaudience_server.transport.calls.ordered_answers import OrderedAnswers
from instantaudience_server.transport.calls.outcomes import Outcomes

Come = Callable[[], bytes | None]
"""Returns the next message of a stream if it has arrived, else None."""


def nothing() -> bytes | None:
    """The `Come` of a host that cannot tell what has arrived: never returns a message."""
    return None


class StreamRequests:
    """The requests of a stream, at most `window` of them under way. `answers` has their answers in order."""

    def __init__(
        self,
        entrance: Entrance,
        outcomes: Outcomes,
        backlogs: Backlogs,
        method: StreamMethod[Any],
        call: Call,
        *,
        window: int,
    ) -> None:
        stream_id = call.request_id if is_request_id(call.request_id) else str(uuid.uuid4())
        self._entrance = entrance
        self._outcomes = outcomes
        self._backlogs = backlogs
        self._backlog: Backlog | None = None
        self._method = method
        self._call = call
        self.answers = OrderedAnswers(method, stream_id)
        self._direct = DirectCalls(entrance, outcomes, self.answers)
        self._window = asyncio.Semaphore(window)
        self._time = asyncio.get_running_loop().time

    async def read(self, bodies: AsyncIterator[bytes], come: Come) -> None:
        """Read the stream to its end and begin its requests.

        Raises:
            AudienceError: the stream's token is not valid, too many streams are behind, or raised by `bodies`.
        """
        call = self._call
        deadline = self._entrance.deadline(call.remaining_seconds, call.waited_seconds)
        caller = await self._entrance.caller(call, deadline)
        if not call.by_gateway:
            await self._read(bodies, come)
            return
        self._backlog = self._backlogs.begin(caller.member.id)
        async with self._backlog.reading():
            await self._read(_noted(bodies, self._backlog), come)

    async def _read(self, bodies: AsyncIterator[bytes], come: Come) -> None:
        call, method = self._call, self._method
        await self._window.acquire()
        async for first in bodies:
            body: bytes | None = first
            along: Ticket | None = None
            while body is not None:
                caller = None if method.posting is None else self._direct.caller(call.authorization)
                each = Call(call.authorization, self.answers.next_name, None, trace_parent=call.trace_parent)
                if caller is None:
                    self.answers.expect_from(await self._start(body, each))
                else:
                    along = await self._begin(body, each, caller, along)
                if self._window.locked():
                    self._entrance.end_turn(along)
                await self._window.acquire()
                if method.pace is not None and caller is not None and not method.pace.has_room(caller):
                    self._entrance.end_turn(along)
                    await method.pace.room(caller)
                body = come()
            self._entrance.end_turn(along)

    def make_room(self) -> None:
        """Let another request be read, after an answer has been sent."""
        self._window.release()

    def complete(self, _: "asyncio.Task[None]") -> None:
        """No request follows. A stream that was ended because it is behind does not wait for its requests under way:
        they may wait for their member's quota while the gateway holds what was sent after them."""
        self.answers.complete(cut=self._backlog is not None and self._backlog.ended)

    async def cancel(self) -> None:
        """Cancel all requests under way."""
        if self._backlog is not None:
            self._backlogs.forget(self._backlog)
        await self.answers.cancel(self._direct)

    async def _begin(self, body: bytes, call: Call, caller: Caller, along: Ticket | None) -> Ticket | None:
        """Begin a request of a known caller when it has its turn; returns the ticket that the next one may go along
        with, if any.

        It waits for its turn here and not in a task of its own, so that the later requests that have arrived by then
        can go along with it.
        """
        ticket = self._entrance.enter_in_stream_at_once(caller, len(body), along)
        if ticket is not along:
            self._entrance.end_turn(along)
        if ticket is None:
            came = self._time()
            try:
                ticket = await self._entrance.enter_in_stream(caller, self._entrance.deadline(None), len(body))
            except Exception as error:
                self.answers.expect_from(self._refuse(call, came, caller, error))
                return None
            call = call._replace(waited_seconds=self._time() - came)
        number = self.answers.next_number
        if ticket is None:
            self.answers.expect_from(await self._start(body, call))
        elif self._direct.begin_in_turn(number, self._method, body, call, caller, ticket):
            self.answers.expect()
            return ticket
        else:
            self._entrance.end_turn(ticket)
            self.answers.expect_from(await self._start(body, call, had_turn=True))
        return None

    def _refuse(self, call: Call, came: float, caller: Caller, error: Exception) -> "asyncio.Task[bytes]":
        with self._traced(call):
            return asyncio.create_task(self._finish(_failed(error), call, came, caller, None))

    async def _start(self, body: bytes, call: Call, *, had_turn: bool = False) -> "asyncio.Task[bytes]":
        """Start a request after its turn, unless it `had_turn`; returns the task that makes the answer. If its token is
        no longer valid, the request fails, not the stream."""
        with self._traced(call):
            return await self._start_within(body, call, had_turn=had_turn)

    def _traced(self, call: Call) -> AbstractContextManager[None]:
        return tracing.within(tracing.start_call(self._method.path, call.request_id, call.trace_parent, 0.0))

    async def _start_within(self, body: bytes, call: Call, *, had_turn: bool) -> "asyncio.Task[bytes]":
        caller: Caller | None = None
        ticket: Ticket | None = None
        came = self._time() - call.waited_seconds
        try:
            deadline = self._entrance.deadline(None, call.waited_seconds)
            caller = await self._entrance.caller(call, deadline)
            if not had_turn:
                ticket = await self._entrance.enter_in_stream(caller, deadline, len(body))
            self._entrance.end_turn(ticket)
            tracing.waited(tracing.current())
            self._entrance.check_size(len(body), caller)
            started = await self._method.start(self._entrance.read(self._method.request, body), caller, deadline)
        except Exception as error:
            started = _failed(error)
        except asyncio.CancelledError:
            self._entrance.leave(ticket)
            tracing.end_call(tracing.current(), code_pb2.CANCELLED)
            raise
        return asyncio.create_task(self._finish(started, call, came, caller, ticket))

    async def _finish(
        self,
        started: Awaitable[Answer],
        call: Call,
        came: float,
        caller: Caller | None,
        ticket: Ticket | None,
    ) -> bytes:
        try:
            encoded = (await started).SerializeToString(deterministic=True)
        except (Exception, asyncio.CancelledError) as error:
            failed = await self._outcomes.failed(self._method.path, call.request_id, error, came, caller)
            tracing.end_call(tracing.current(), failed.failure.code)
            if self._method.refuse is None:
                raise failed from None
            return self._method.refuse(failed.failure).SerializeToString(deterministic=True)
        finally:
            self._entrance.leave(ticket)
        self._outcomes.succeeded(self._method.path, call.request_id, came, caller)
        tracing.end_call(tracing.current(), code_pb2.OK)
        return encoded


async def _noted(bodies: AsyncIterator[bytes], backlog: Backlog) -> AsyncIterator[bytes]:
    """Yield the bodies as they come, and tell the backlog when the stream waits for one."""
    backlog.wait()
    async for body in bodies:
        backlog.come()
        yield body
        backlog.wait()


async def _failed(error: Exception) -> NoReturn:
    raise error
