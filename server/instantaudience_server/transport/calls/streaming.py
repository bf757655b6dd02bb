"""What happens to every stream: requests are read as far as the window goes, and answered in their order."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import NoReturn

from google.rpc import code_pb2

from instantaudience_server import tracing
from instantaudience_server.admission.queues import Ticket
from instantaudience_server.catalog.access import Caller
from instantaudience_server.transport.calls.call import Call, is_request_id
from instantaudience_server.transport.calls.direct import DirectCalls
from instantaudience_server.transport.calls.entrance import Entrance
from instantaudience_server.transport.calls.kinds import (
    Answer,
    CollectMethod,
    PublicStreamMethod,
    Request,
    StreamMethod,
)
from instantaudience_server.transport.calls.ordered_answers import OrderedAnswers
from instantaudience_server.transport.calls.outcomes import CallError, Outcomes

Come = Callable[[], bytes | None]
"""Gives the next message of a stream where it is there already."""


def nothing() -> bytes | None:
    """Of a host that does not know what is there."""
    return None


class Streams:
    """Runs streams, `window` requests of each at once. The generators are as `Pipeline.run_stream` says."""

    def __init__(self, entrance: Entrance, outcomes: Outcomes, *, window: int) -> None:
        self._entrance = entrance
        self._outcomes = outcomes
        self._window = window
        self._time = asyncio.get_running_loop().time

    async def run_public(
        self, method: PublicStreamMethod[Request], bodies: AsyncIterator[bytes], call: Call
    ) -> AsyncGenerator[bytes, None]:
        try:
            async for answer in method.handle(self._entrance.read(method.request, body) async for body in bodies):
                encoded = answer.SerializeToString(deterministic=True)
                self._outcomes.succeeded(method.path, call.request_id, None)
                yield encoded
        except (Exception, asyncio.CancelledError) as error:
            raise await self._outcomes.failed(method.path, call.request_id, error, None) from None

    async def run_collecting(
        self, method: CollectMethod[Request], bodies: AsyncIterator[bytes], call: Call
    ) -> AsyncGenerator[bytes, None]:
        """The token is checked at the beginning: what is collected has an effect only when all of it is there."""
        caller: Caller | None = None
        try:
            deadline = self._entrance.deadline(call.remaining_seconds, call.waited_seconds)
            caller = await self._entrance.caller(call, deadline)
            requests = (self._entrance.read(method.request, body) async for body in bodies)
            encoded = (await method.handle(requests, caller, deadline)).SerializeToString(deterministic=True)
        except (Exception, asyncio.CancelledError) as error:
            raise await self._outcomes.failed(method.path, call.request_id, error, None, caller) from None
        self._outcomes.succeeded(method.path, call.request_id, None, caller)
        yield encoded

    async def run(
        self, method: StreamMethod[Request], bodies: AsyncIterator[bytes], call: Call, come: Come
    ) -> AsyncGenerator[bytes, None]:
        """The token is checked for each request: those that come after its end are refused, in their place."""
        stream_id = call.request_id if is_request_id(call.request_id) else str(uuid.uuid4())
        answers = OrderedAnswers(method, stream_id)
        direct = DirectCalls(self._entrance, self._outcomes, answers)
        window = asyncio.Semaphore(self._window)
        reader = asyncio.create_task(self._read(method, bodies, call, come, answers, direct, window))
        reader.add_done_callback(answers.complete)
        try:
            while await answers.wait():
                yield answers.take()
                window.release()
            await reader
        except CallError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            raise await self._outcomes.failed(method.path, call.request_id, error, None) from None
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            await answers.cancel(direct)

    async def _read(
        self,
        method: StreamMethod[Request],
        bodies: AsyncIterator[bytes],
        call: Call,
        come: Come,
        answers: OrderedAnswers,
        direct: DirectCalls,
        window: asyncio.Semaphore,
    ) -> None:
        await self._entrance.caller(call, self._entrance.deadline(call.remaining_seconds, call.waited_seconds))
        await window.acquire()
        async for first in bodies:
            body: bytes | None = first
            ticket: Ticket | None = None
            while body is not None:
                known = None if method.posting is None else direct.caller(call.authorization)
                each = Call(call.authorization, answers.next_name, None, trace_parent=call.trace_parent)
                if known is None:
                    answers.expect_from(await self._start(method, body, each))
                else:
                    ticket = await self._begin(method, body, each, known, answers, direct, ticket)
                if window.locked():
                    ticket = None  # who comes later goes along no more
                await window.acquire()
                if method.pace is not None and known is not None and not method.pace.has_room(known):
                    ticket = None
                    await method.pace.room(known)
                body = come()

    async def _begin(
        self,
        method: StreamMethod[Request],
        body: bytes,
        call: Call,
        caller: Caller,
        answers: OrderedAnswers,
        direct: DirectCalls,
        along: Ticket | None,
    ) -> Ticket | None:
        """Begin a request of a caller that is known, when it is its turn; returns what others may go along with.

        It waits here, and not in a task of its own: so those behind it that have come begin together with it.
        """
        ticket = self._entrance.enter_in_stream_at_once(caller, len(body), along)
        if ticket is None:
            along, came = None, self._time()
            try:
                ticket = await self._entrance.enter_in_stream(caller, self._entrance.deadline(None), len(body))
            except Exception as error:
                answers.expect_from(self._refuse(method, call, came, caller, error))
                return None
            call = call._replace(waited_seconds=self._time() - came)
        if ticket is not None and direct.begin_in_turn(answers.next_number, method, body, call, caller, ticket):
            answers.expect()
            return ticket
        answers.expect_from(await self._start(method, body, call))
        return None

    def _refuse(
        self, method: StreamMethod[Request], call: Call, came: float, caller: Caller, error: Exception
    ) -> "asyncio.Task[bytes]":
        with tracing.within(tracing.start_call(method.path, call.request_id, call.trace_parent, 0.0)):
            return asyncio.create_task(self._finish(method, _failed(error), call, came, caller, None))

    async def _start(self, method: StreamMethod[Request], body: bytes, call: Call) -> "asyncio.Task[bytes]":
        """Start a request; one whose token is no longer taken fails like any other."""
        with tracing.within(tracing.start_call(method.path, call.request_id, call.trace_parent, 0.0)):
            return await self._start_within(method, body, call)

    async def _start_within(self, method: StreamMethod[Request], body: bytes, call: Call) -> "asyncio.Task[bytes]":
        caller: Caller | None = None
        ticket: Ticket | None = None
        came = self._time()
        deadline = self._entrance.deadline(None)
        try:
            caller = await self._entrance.caller(call, deadline)
            ticket = await self._entrance.enter_in_stream(caller, deadline, len(body))
            tracing.waited(tracing.current())
            self._entrance.check_size(len(body), caller)
            started = await method.start(self._entrance.read(method.request, body), caller, deadline)
        except Exception as error:
            started = _failed(error)
        except asyncio.CancelledError:
            self._entrance.leave(ticket)
            tracing.end_call(tracing.current(), code_pb2.CANCELLED)
            raise
        return asyncio.create_task(self._finish(method, started, call, came, caller, ticket))

    async def _finish(
        self,
        method: StreamMethod[Request],
        started: Awaitable[Answer],
        call: Call,
        came: float,
        caller: Caller | None,
        ticket: Ticket | None,
    ) -> bytes:
        try:
            encoded = (await started).SerializeToString(deterministic=True)
        except (Exception, asyncio.CancelledError) as error:
            failed = await self._outcomes.failed(method.path, call.request_id, error, came, caller)
            tracing.end_call(tracing.current(), failed.failure.code)
            if method.refuse is None:
                raise failed from None
            return method.refuse(failed.failure).SerializeToString(deterministic=True)
        finally:
            self._entrance.leave(ticket)
        self._outcomes.succeeded(method.path, call.request_id, came, caller)
        tracing.end_call(tracing.current(), code_pb2.OK)
        return encoded


async def _failed(error: Exception) -> NoReturn:
    raise error
