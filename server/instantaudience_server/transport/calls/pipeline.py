"""Runs calls for all hosts: deadline, authentication, admission, limits, decoding, and errors.

A host passes bytes and metadata, and gets bytes or a `CallError` back. Unary calls are run here, streams by
`streaming`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Any

from google.rpc import code_pb2

from instantaudience_server.admission.admission import Admission
from instantaudience_server.admission.queues import Ticket
from instantaudience_server.catalog.access import Caller
from instantaudience_server.observation import tracing
from instantaudience_server.sign_in.tokens import TokenService
from instantaudience_server.transport.calls.backlogs import Backlogs
from instantaudience_server.transport.calls.call import Body, Call
from instantaudience_server.transport.calls.direct import DirectCalls, Replies
from instantaudience_server.transport.calls.entrance import Entrance
from instantaudience_server.transport.calls.kinds import (
    Answer,
    CollectMethod,
    Method,
    PublicMethod,
    PublicStreamMethod,
    Request,
    StreamMethod,
)
from instantaudience_server.transport.calls.outcomes import CallError, Outcomes
from instantaudience_server.transport.calls.stream_requests import Come, nothing
from instantaudience_server.transport.calls.streaming import Streams


class Pipeline:
    """Runs calls.

    `call_timeout_seconds` is the longest that a call may take, and the time of calls without a deadline.
    `body_limit_bytes` is the limit of each message. `stream_window` is the most requests of a stream under way: past
    it, the stream is not read on, and HTTP/2's flow control holds its sender back. `most_backlogs` is how many streams
    from the gateway may send faster than they are read.
    """

    def __init__(
        self,
        tokens: TokenService,
        admission: Admission,
        outcomes: Outcomes,
        *,
        call_timeout_seconds: float,
        body_limit_bytes: int,
        stream_window: int,
        most_backlogs: int,
    ) -> None:
        self._entrance = Entrance(
            tokens, admission, call_timeout_seconds=call_timeout_seconds, body_limit_bytes=body_limit_bytes
        )
        backlogs = Backlogs(most_backlogs, admission.crowded)
        self._streams = Streams(self._entrance, outcomes, backlogs, window=stream_window)
        self._time = asyncio.get_running_loop().time
        self.outcomes = outcomes
        self.admission = admission

    def direct(self, replies: Replies) -> DirectCalls:
        """Make the `DirectCalls` of a host that has calls wait for their turn itself."""
        return DirectCalls(self._entrance, self.outcomes, replies)

    def run(
        self, method: Method[Request] | PublicMethod[Request], body: Body, call: Call
    ) -> Coroutine[Any, Any, bytes]:
        """Answer a unary call. Its body is read once it has its turn.

        Raises:
            CallError: the call failed. Nothing else but cancellation leaves this method.
        """
        return self._run_traced(method, body, call) if tracing.is_on() else self._run(method, body, call)

    async def _run_traced(self, method: Method[Request] | PublicMethod[Request], body: Body, call: Call) -> bytes:
        span = tracing.start_call(method.path, call.request_id, call.trace_parent, call.waited_seconds)
        code: int = code_pb2.CANCELLED
        try:
            with tracing.within(span):
                answer = await self._run(method, body, call)
            code = code_pb2.OK
            return answer
        except CallError as error:
            code = error.failure.code
            raise
        finally:
            tracing.end_call(span, code)

    async def _run(self, method: Method[Request] | PublicMethod[Request], body: Body, call: Call) -> bytes:
        came = self._time() - call.waited_seconds
        caller: Caller | None = None
        ticket: Ticket | None = None
        answer: Answer
        try:
            deadline = self._entrance.deadline(call.remaining_seconds, call.waited_seconds)
            if isinstance(method, PublicMethod):
                message = body if isinstance(body, bytes) else await body(deadline)
                answer = await method.handle(self._entrance.read(method.request, message), call, deadline)
            else:
                caller = await self._entrance.caller(call, deadline)
                ticket = await self._entrance.enter(caller, deadline, call.waited_seconds, had_turn=call.had_turn)
                tracing.waited(tracing.current())
                message = body if isinstance(body, bytes) else await body(deadline)
                self._entrance.check_size(max(len(message), call.body_bytes), caller)
                answer = await method.handle(self._entrance.read(method.request, message), caller, deadline)
            encoded = answer.SerializeToString(deterministic=True)
        except (Exception, asyncio.CancelledError) as error:
            raise await self.outcomes.failed(method.path, call.request_id, error, came, caller) from None
        finally:
            self._entrance.leave(ticket)
        self.outcomes.succeeded(method.path, call.request_id, came, caller)
        return encoded

    def run_stream(
        self,
        method: StreamMethod[Request] | CollectMethod[Request] | PublicStreamMethod[Request],
        bodies: AsyncIterator[bytes],
        call: Call,
        come: Come = nothing,
    ) -> AsyncGenerator[bytes, None]:
        """Answer a stream; close the generator when the caller leaves. `come` returns the next body if it has arrived.

        Raises:
            CallError: the stream as a whole failed. The generator raises nothing else but cancellation, and what
                `bodies` raises when the caller leaves.
        """
        if isinstance(method, PublicStreamMethod):
            return self._streams.run_public(method, bodies, call)
        if isinstance(method, CollectMethod):
            return self._streams.run_collecting(method, bodies, call)
        return self._streams.run(method, bodies, call, come)
