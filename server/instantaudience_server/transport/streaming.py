"""What happens to every stream: requests are read as far as the window goes, and answered in their order."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from typing import NoReturn

from instantaudience_server.admission import Ticket
from instantaudience_server.catalog.access import Caller
from instantaudience_server.transport.calls import Answer, Call, PublicStreamMethod, Request, StreamMethod
from instantaudience_server.transport.entrance import Entrance
from instantaudience_server.transport.outcomes import CallError, Outcomes

_Answers = asyncio.Queue["asyncio.Task[bytes] | None"]
"""The answers to a stream's requests, in order; None after the last."""


class Streams:
    """Runs streams, `window` requests of each at once. The generators are as `Pipeline.run_stream` says."""

    def __init__(self, entrance: Entrance, outcomes: Outcomes, *, window: int) -> None:
        self._entrance = entrance
        self._outcomes = outcomes
        self._window = window

    async def run_public(
        self, method: PublicStreamMethod[Request], bodies: AsyncIterator[bytes], call: Call
    ) -> AsyncGenerator[bytes, None]:
        try:
            async for answer in method.handle(self._entrance.read(method.request, body) async for body in bodies):
                encoded = answer.SerializeToString(deterministic=True)
                self._outcomes.succeeded(method.path)
                yield encoded
        except (Exception, asyncio.CancelledError) as error:
            raise await self._outcomes.failed(method.path, call.request_id, error) from None

    async def run(
        self, method: StreamMethod[Request], bodies: AsyncIterator[bytes], call: Call
    ) -> AsyncGenerator[bytes, None]:
        """The token is checked for each request, so that a stream does not outlive it."""
        answers: _Answers = asyncio.Queue()
        window = asyncio.Semaphore(self._window)
        reader = asyncio.create_task(self._read(method, bodies, call, answers, window))
        try:
            while (answer := await answers.get()) is not None:
                yield await answer
                window.release()
            await reader
        except CallError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            raise await self._outcomes.failed(method.path, call.request_id, error) from None
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

    async def _read(
        self,
        method: StreamMethod[Request],
        bodies: AsyncIterator[bytes],
        call: Call,
        answers: "_Answers",
        window: asyncio.Semaphore,
    ) -> None:
        try:
            await self._entrance.caller(call, self._entrance.deadline(call.remaining_seconds, call.waited_seconds))
            await window.acquire()
            async for body in bodies:
                deadline = self._entrance.deadline(None)
                caller = await self._entrance.caller(call, deadline)
                answers.put_nowait(await self._start(method, body, call, caller, deadline))
                await window.acquire()
        finally:
            answers.put_nowait(None)

    async def _start(
        self, method: StreamMethod[Request], body: bytes, call: Call, caller: Caller, deadline: float
    ) -> "asyncio.Task[bytes]":
        ticket: Ticket | None = None
        try:
            ticket = await self._entrance.enter(caller, deadline)
            self._entrance.check_size(len(body), caller)
            started = await method.start(self._entrance.read(method.request, body), caller, deadline)
        except Exception as error:
            started = _failed(error)
        except asyncio.CancelledError:
            self._entrance.leave(ticket)
            raise
        return asyncio.create_task(self._finish(method, started, call, caller, ticket))

    async def _finish(
        self,
        method: StreamMethod[Request],
        started: Awaitable[Answer],
        call: Call,
        caller: Caller,
        ticket: Ticket | None,
    ) -> bytes:
        try:
            encoded = (await started).SerializeToString(deterministic=True)
        except (Exception, asyncio.CancelledError) as error:
            failed = await self._outcomes.failed(method.path, call.request_id, error, caller)
            if method.refuse is None:
                raise failed from None
            return method.refuse(failed.failure).SerializeToString(deterministic=True)
        finally:
            self._entrance.leave(ticket)
        self._outcomes.succeeded(method.path)
        return encoded


async def _failed(error: Exception) -> NoReturn:
    raise error
