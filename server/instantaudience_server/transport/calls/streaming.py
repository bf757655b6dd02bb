"""Runs streams of all kinds; requests of a bidirectional one are answered in their order."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from instantaudience_server.catalog.access import Caller
from instantaudience_server.transport.calls.backlogs import Backlogs
from instantaudience_server.transport.calls.call import Call
from instantaudience_server.transport.calls.entrance import Entrance
from instantaudience_server.transport.calls.kinds import CollectMethod, PublicStreamMethod, Request, StreamMethod
from instantaudience_server.transport.calls.outcomes import CallError, Outcomes
from instantaudience_server.transport.calls.stream_requests import Come, StreamRequests
from instantaudience_server.transport.status import DEADLINE_EXCEEDED


@asynccontextmanager
async def in_time(call: Call) -> AsyncIterator[None]:
    """The context in which a stream is served, until its caller's deadline. (grpcio has its own.)

    Raises:
        CallError: DEADLINE_EXCEEDED. Callers whose library ends streams in time see nothing of it.
    """
    try:
        async with asyncio.timeout(call.remaining_seconds) as time:
            yield
    except TimeoutError:
        if time.expired():
            raise CallError(DEADLINE_EXCEEDED) from None
        raise


class Streams:
    """Runs streams, with at most `window` requests of each under way. For the generators see `Pipeline.run_stream`."""

    def __init__(self, entrance: Entrance, outcomes: Outcomes, backlogs: Backlogs, *, window: int) -> None:
        self._entrance = entrance
        self._outcomes = outcomes
        self._backlogs = backlogs
        self._window = window

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
        """The token is checked once, at the beginning: requests have no effect before all of them have arrived."""
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
        """The token is checked for each request: those after its end are refused, each in its place."""
        requests = StreamRequests(self._entrance, self._outcomes, self._backlogs, method, call, window=self._window)
        reader = asyncio.create_task(requests.read(bodies, come))
        reader.add_done_callback(requests.complete)
        try:
            while await requests.answers.wait():
                yield requests.answers.take()
                requests.make_room()
            await reader
        except CallError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            raise await self._outcomes.failed(method.path, call.request_id, error, None) from None
        finally:
            reader.cancel()
            try:
                await asyncio.gather(reader, return_exceptions=True)
            finally:  # a stream whose deadline is over may be left as well, which cancels it a second time
                await requests.cancel()
