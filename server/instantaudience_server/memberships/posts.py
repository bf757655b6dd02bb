"""Calls to apply memberships, from their request to their result."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server import tracing
from instantaudience_server.memberships.requests import ApplyRequest
from instantaudience_server.waiting import Waiter


class Result(NamedTuple):
    """What became of a request: its valid users and their valid blocks, and what was skipped."""

    users: int
    segments: int
    warnings: Sequence[pb.ApplyWarning] = ()


class Post(ABC):
    """A call that waits for its result, until `deadline` (a time of the event loop's clock, in seconds).

    `users` are encoded, `size_bytes` is the request's, `warning_form` what its warnings have.
    """

    __slots__ = ("deadline", "size_bytes", "span", "users", "validate_only", "warning_form")

    def __init__(self, request: ApplyRequest, deadline: float) -> None:
        self.users = request.users
        self.size_bytes = request.size_bytes
        self.validate_only = request.validate_only
        self.warning_form = request.warning_form
        self.deadline = deadline
        self.span = tracing.current()

    @property
    @abstractmethod
    def ended(self) -> bool:
        """Whether it has its result, or its caller has left."""

    @abstractmethod
    def succeed(self, result: Result) -> None:
        """Give the result, unless it ended before."""

    @abstractmethod
    def fail(self, error: Exception) -> None:
        """Fail, unless it ended before."""

    @abstractmethod
    def give_up(self) -> None:
        """End without a result, unless it ended before: the server ends."""


class AwaitedPost(Post):
    """A post whose result is awaited."""

    __slots__ = ("_waiter",)

    def __init__(self, request: ApplyRequest, deadline: float, result: "asyncio.Future[Result]") -> None:
        super().__init__(request, deadline)
        self._waiter = Waiter(deadline, result)

    @property
    def ended(self) -> bool:
        """See `Post`."""
        return self._waiter.done.done()

    def succeed(self, result: Result) -> None:
        """See `Post`."""
        self._waiter.succeed(result)

    def fail(self, error: Exception) -> None:
        """See `Post`."""
        self._waiter.fail(error)

    def give_up(self) -> None:
        """See `Post`. Who awaits it is cancelled."""
        self._waiter.done.cancel()


class Batch:
    """Posts of one caller that are carried out together, in the order they came.

    `overdue_text` says what is known of a post whose deadline is over. `settle` gives those their results that have not
    to wait for the others; it is called now and then, from `settle_from` on (a time of the event loop's clock).
    """

    __slots__ = ("deadline", "overdue_text", "posts", "settle", "settle_from")

    def __init__(self, posts: Sequence[Post], settle_from: float, overdue_text: str) -> None:
        self.posts = posts
        self.settle_from = settle_from
        self.deadline = max([post.deadline for post in posts])
        self.overdue_text = overdue_text
        self.settle: Callable[[], None] | None = None
