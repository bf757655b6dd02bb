"""Calls, and requests of streams, that need no task of their own: their token is known, it is their turn, and their
method carries out together what comes together. Most calls of a busy service are such."""

import asyncio
from typing import Any, Protocol

from google.rpc import code_pb2

from instantaudience_server import tracing
from instantaudience_server.admission import Ticket
from instantaudience_server.catalog.access import Caller
from instantaudience_server.errors import unavailable
from instantaudience_server.memberships.posts import Post, Result
from instantaudience_server.memberships.requests import ApplyRequest
from instantaudience_server.transport.calls import Call, Method, Posting, StreamMethod
from instantaudience_server.transport.entrance import Entrance
from instantaudience_server.transport.outcomes import GIVEN_UP, Outcomes
from instantaudience_server.transport.status import Failure

SOON_SECONDS = 0.02
"""How long ago a call may have come in that has not waited for its turn yet."""


class Replies(Protocol):
    """Where the ends of calls go; each has a number."""

    def answer(self, number: int, message: bytes) -> None:
        """Answer a call."""

    def fail(self, number: int, failure: Failure) -> None:
        """Fail a call."""


class DirectCalls:
    """Serves the calls of a host, or the requests of a stream. What cannot be served like this is left to those who do
    the same in a task, as what has waited for more than `most_waited_seconds` before: it may be too late."""

    def __init__(
        self,
        entrance: Entrance,
        outcomes: Outcomes,
        replies: Replies,
        *,
        in_stream: bool,
        most_waited_seconds: float = SOON_SECONDS,
    ) -> None:
        self._in_stream = in_stream
        self._most_waited_seconds = most_waited_seconds
        self._entrance = entrance
        self._outcomes = outcomes
        self._replies = replies
        self._under_way: dict[int, _DirectCall] = {}
        self._failing: set[asyncio.Task[None]] = set()

    def caller(self, authorization: str) -> Caller | None:
        """Whose token it is, where that is known."""
        return self._entrance.known(authorization)

    def begin(
        self, number: int, method: Method[Any] | StreamMethod[Any], message: bytes, call: Call, caller: Caller
    ) -> bool:
        """Begin a call, if it is such a one. Its end goes to the replies, in a later turn of the event loop."""
        posting = method.posting
        if posting is None or call.waited_seconds > self._most_waited_seconds:
            return False
        ticket = self._entrance.enter_at_once(caller, len(message), call.waited_seconds, in_stream=self._in_stream)
        if ticket is None:
            return False
        try:
            deadline = self._entrance.deadline(call.remaining_seconds, call.waited_seconds)
            self._entrance.check_size(max(len(message), call.body_bytes), caller)
            request = self._entrance.read(method.request, message)
            direct = _DirectCall(self, number, request, deadline, ticket)
            direct.of = method.path, posting, call.request_id, caller, ticket.since - call.waited_seconds
            if tracing.is_on():
                self._add_traced(direct, call)
            else:
                posting.add(direct, caller)
        except Exception:
            # What is wrong is said where it goes wrong again: in the task.
            self._entrance.leave(ticket)
            return False
        self._under_way[number] = direct
        return True

    def _add_traced(self, direct: "_DirectCall", call: Call) -> None:
        path, posting, request_id, caller, _ = direct.of
        direct.span = tracing.start_call(path, request_id, call.trace_parent, call.waited_seconds)
        tracing.waited(direct.span)
        with tracing.within(direct.span):
            posting.add(direct, caller)

    def leave(self, number: int) -> None:
        """The caller has left."""
        direct = self._under_way.get(number)
        if direct is not None:
            self._end(direct)
            tracing.end_call(direct.span, code_pb2.CANCELLED)

    async def close(self) -> None:
        """Wait until the last failures are noted."""
        await asyncio.gather(*self._failing)

    def succeed(self, direct: "_DirectCall", result: Result) -> None:
        """Answer a call that is under way."""
        path, posting, request_id, caller, came = direct.of
        try:
            message = posting.answer(result).SerializeToString(deterministic=True)
        except Exception as error:
            self.fail(direct, error)
            return
        self._end(direct)
        self._replies.answer(direct.number, message)
        self._outcomes.succeeded_in_turn(path, request_id, came, caller)
        if direct.span is not None:
            tracing.end_call(direct.span, code_pb2.OK)

    def fail(self, direct: "_DirectCall", error: Exception) -> None:
        """Fail a call that is under way."""
        self._end(direct)
        task = asyncio.create_task(self._fail(direct, error))
        self._failing.add(task)
        task.add_done_callback(self._failing.discard)

    async def _fail(self, direct: "_DirectCall", error: Exception) -> None:
        path, _, request_id, caller, came = direct.of
        failed = await self._outcomes.failed(path, request_id, error, came, caller)
        tracing.end_call(direct.span, failed.failure.code)
        self._replies.fail(direct.number, failed.failure)

    def _end(self, direct: "_DirectCall") -> None:
        direct.has_ended = True
        del self._under_way[direct.number]
        self._entrance.leave(direct.ticket)


class _DirectCall(Post):
    """A call under way. `of`: its method's path and posting, its request ID, who calls, and when it came in."""

    __slots__ = ("_calls", "has_ended", "number", "of", "ticket")

    of: tuple[str, Posting, str, Caller, float]

    def __init__(self, calls: DirectCalls, number: int, request: ApplyRequest, deadline: float, ticket: Ticket) -> None:
        super().__init__(request, deadline)
        self._calls = calls
        self.number = number
        self.ticket = ticket
        self.has_ended = False

    @property
    def ended(self) -> bool:
        """See `Post`."""
        return self.has_ended

    def succeed(self, result: Result) -> None:
        """See `Post`."""
        if not self.has_ended:
            self._calls.succeed(self, result)

    def fail(self, error: Exception) -> None:
        """See `Post`."""
        if not self.has_ended:
            self._calls.fail(self, error)

    def give_up(self) -> None:
        """See `Post`."""
        self.fail(unavailable(GIVEN_UP))
