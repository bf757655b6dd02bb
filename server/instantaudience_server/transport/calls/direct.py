"""Serves calls and requests of streams without a task for each (docs/adr/0045-calls-that-begin-together.md).

This is possible if the token is known, it is the call's turn, and the method has a `posting`. Most calls of a busy
service are such; whatever can be done for several of them at once is.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from google.rpc import code_pb2

from instantaudience_server.admission.queues import Ticket
from instantaudience_server.catalog.access import Caller
from instantaudience_server.errors import unavailable
from instantaudience_server.memberships.posts import Owner, Post, RequestPost, Result
from instantaudience_server.memberships.reading.requests import ApplyRequest
from instantaudience_server.observation import tracing
from instantaudience_server.transport.calls.call import Call
from instantaudience_server.transport.calls.entrance import Entrance
from instantaudience_server.transport.calls.kinds import Method, Posting, StreamMethod
from instantaudience_server.transport.calls.outcomes import GIVEN_UP, Answered, Outcomes
from instantaudience_server.transport.status import Failure


class Replies(Protocol):
    """Takes the outcomes of calls, which are identified by numbers."""

    def answer(self, numbers: Sequence[int], message: bytes) -> None:
        """Answer calls with the same message."""

    def fail(self, number: int, failure: Failure) -> None:
        """Fail a call."""


class Owned(Post, Answered, Protocol):
    """A call as a post. Its number identifies it; its owner is set when it begins."""

    number: int
    ended: bool
    owner: Owner


class Gathered(Owned, Protocol):
    """A call that its host has already decoded, whose request has nothing but users.

    `sent_bytes` is the size of what its caller sent, and it came in `waited_seconds` ago.
    """

    sent_bytes: int
    waited_seconds: float


class DirectCalls:
    """Serves calls that have had their turn at their host, or the requests of one stream, and tells `replies`.

    A call that it does not take must be served in a task of its own.
    """

    def __init__(self, entrance: Entrance, outcomes: Outcomes, replies: Replies) -> None:
        self.entrance = entrance
        self.outcomes = outcomes
        self.replies = replies
        self.under_way: dict[int, Owned] = {}
        """The calls under way, by number."""
        self.failing: set[asyncio.Task[None]] = set()

    def caller(self, authorization: str) -> Caller | None:
        """The caller with this credential, if that is known without asking the cluster."""
        return self.entrance.known(authorization)

    def begin(
        self, number: int, method: Method[Any] | StreamMethod[Any], message: bytes, call: Call, caller: Caller
    ) -> bool:
        """Begin a call, if it can be served here; returns whether it was begun.

        Its outcome is told to the replies in a later turn of the event loop.
        """
        ticket = self.entrance.enter_at_once(caller, (len(message),), (call.waited_seconds,))
        return ticket is not None and self.begin_in_turn(number, method, message, call, caller, ticket)

    def begin_in_turn(
        self,
        number: int,
        method: Method[Any] | StreamMethod[Any],
        message: bytes,
        call: Call,
        caller: Caller,
        ticket: Ticket,
    ) -> bool:
        """As `begin`, for a call that was admitted with `ticket`. Its part of the ticket is given back when it ends, or
        at once if it is not begun."""
        posting = method.posting
        deadline = self.entrance.deadline_ahead(call.remaining_seconds, call.waited_seconds)
        if posting is not None and deadline is not None:
            with suppress(Exception):  # the task that serves the call instead fails in the same way, and reports it
                self.entrance.check_size(max(len(message), call.body_bytes), caller)
                request = self.entrance.read(method.request, message)
                came = ticket.since - call.waited_seconds
                post = _DirectCall(number, request, deadline, call.request_id, came)
                if tracing.is_on():
                    post.span = tracing.start_call(method.path, call.request_id, call.trace_parent, call.waited_seconds)
                    tracing.waited(post.span)
                with tracing.within(post.span):
                    self._add([post], _Together(self, method.path, posting, caller, ticket))
                return True
        self.entrance.leave(ticket, (len(message),))
        return False

    def begin_together(self, method: Method[Any], calls: Sequence[Gathered], caller: Caller) -> bool:
        """As `begin`, for calls of one method and caller that their host has decoded. All of them begin, or none."""
        posting = method.posting
        if posting is None or tracing.is_on():
            return False
        sizes = [call.size_bytes for call in calls]
        waited = [call.waited_seconds for call in calls]
        ticket = self.entrance.enter_at_once(caller, sizes, waited)
        if ticket is None:
            return False
        try:
            self.entrance.check_size(max([call.sent_bytes for call in calls]), caller)
            self._add(calls, _Together(self, method.path, posting, caller, ticket))
        except Exception:
            self.entrance.leave(ticket)
            return False
        return True

    def _add(self, calls: Sequence[Owned], together: "_Together") -> None:
        for call in calls:
            call.owner = together
        together.posting.add(calls, together.caller)
        for call in calls:
            self.under_way[call.number] = call

    def leave(self, number: int) -> None:
        """End a call whose caller has left."""
        call = self.under_way.get(number)
        if call is not None:
            assert isinstance(call.owner, _Together)
            call.owner.end((call,))
            tracing.end_call(call.span, code_pb2.CANCELLED)

    async def close(self) -> None:
        """Wait until the last failures are recorded."""
        await asyncio.gather(*self.failing)


class _Together:
    """Owns calls of one method and caller that began together (see `posts.Owner`)."""

    def __init__(self, calls: DirectCalls, path: str, posting: Posting, caller: Caller, ticket: Ticket) -> None:
        self._calls = calls
        self._path = path
        self.posting = posting
        self.caller = caller
        self._ticket = ticket

    def succeed(self, posts: Sequence[Owned], results: Sequence[Result]) -> None:
        """Answer calls; those that share a result get one message."""
        alike: dict[int, tuple[Result, list[Owned]]] = {}
        for post, result in zip(posts, results, strict=True):
            if not post.ended:
                if id(result) in alike:
                    alike[id(result)][1].append(post)
                else:
                    alike[id(result)] = result, [post]
        for result, ending in alike.values():
            self._answer(ending, result)

    def _answer(self, posts: Sequence[Owned], result: Result) -> None:
        try:
            message = self.posting.answer(result).SerializeToString(deterministic=True)
        except Exception as error:
            for post in posts:
                self.fail(post, error)
            return
        self.end(posts)
        self._calls.replies.answer([post.number for post in posts], message)
        self._calls.outcomes.succeeded_together(self._path, posts, self.caller)
        if tracing.is_on():
            for post in posts:
                tracing.end_call(post.span, code_pb2.OK)

    def fail(self, post: Owned, error: Exception) -> None:
        """Fail a call."""
        if post.ended:
            return
        self.end((post,))
        task = asyncio.create_task(self._fail(post, error))
        self._calls.failing.add(task)
        task.add_done_callback(self._calls.failing.discard)

    async def _fail(self, post: Owned, error: Exception) -> None:
        failed = await self._calls.outcomes.failed(self._path, post.request_id, error, post.came, self.caller)
        tracing.end_call(post.span, failed.failure.code)
        self._calls.replies.fail(post.number, failed.failure)

    def give_up(self, post: Owned) -> None:
        """Fail a call, because the server shuts down."""
        self.fail(post, unavailable(GIVEN_UP))

    def end(self, posts: Sequence[Owned]) -> None:
        """Mark calls as ended, and give back their part of the ticket."""
        under_way = self._calls.under_way
        for post in posts:
            post.ended = True
            del under_way[post.number]
        self._calls.entrance.leave(self._ticket, [post.size_bytes for post in posts])


class _DirectCall(RequestPost):
    """A call that was not begun together with others."""

    __slots__ = ("came", "ended", "number", "owner", "request_id")

    owner: Owner

    def __init__(self, number: int, request: ApplyRequest, deadline: float, request_id: str, came: float) -> None:
        super().__init__(request, deadline)
        self.number = number
        self.request_id = request_id
        self.came = came
        self.ended = False
