"""Calls to apply memberships, from their request to their result."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from instantaudience_server import tracing
from instantaudience_server.memberships.reading.requests import ApplyRequest
from instantaudience_server.memberships.reading.skipped import WarningForm
from instantaudience_server.waiting import Waiter


class Result(NamedTuple):
    """What became of a request: its valid users and their valid blocks, and what was skipped (`warnings`, encoded as
    they stand in ApplySegmentsResult)."""

    users: int
    segments: int
    warnings: bytes = b""


class Post(Protocol):
    """A call that waits for its result, until `deadline` (a time of the event loop's clock, in seconds).

    `users` are encoded, and so many as `user_count`; `size_bytes` is the request's, `warning_form` what its warnings
    have (None: everything), `span` its trace's, where it has one. `owner` is told how it ends; from then on it has
    `ended`, as where its caller has left.
    """

    @property
    def users(self) -> Sequence[bytes]: ...
    @property
    def user_count(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def validate_only(self) -> bool: ...
    @property
    def warning_form(self) -> WarningForm | None: ...
    @property
    def deadline(self) -> float: ...
    @property
    def span(self) -> Any: ...
    @property
    def ended(self) -> bool: ...
    @property
    def owner(self) -> "Owner": ...


class Owner(Protocol):
    """Whose posts are. What has ended does not end again."""

    def succeed(self, posts: Sequence[Any], results: Sequence[Result]) -> None:
        """Posts have these results."""

    def fail(self, post: Any, error: Exception) -> None:
        """A post fails."""

    def give_up(self, post: Any) -> None:
        """A post ends without a result: the server ends."""


def succeed(posts: Sequence[Post], results: Sequence[Result]) -> None:
    """Give posts their results."""
    owners = {post.owner for post in posts}
    if len(owners) == 1:
        owners.pop().succeed(posts, results)
        return
    for post, result in zip(posts, results, strict=True):
        post.owner.succeed((post,), (result,))


def fail(posts: Sequence[Post], error: Exception) -> None:
    """Have posts fail."""
    for post in posts:
        post.owner.fail(post, error)


class RequestPost:
    """The post of a request: all but its owner, and whether it has ended."""

    __slots__ = ("deadline", "size_bytes", "span", "user_count", "users", "validate_only", "warning_form")

    def __init__(self, request: ApplyRequest, deadline: float) -> None:
        self.users = request.users
        self.user_count = len(request.users)
        self.size_bytes = request.size_bytes
        self.validate_only = request.validate_only
        self.warning_form = request.warning_form
        self.deadline = deadline
        self.span = tracing.current()


class AwaitedPost(RequestPost):
    """A post whose result is awaited."""

    __slots__ = ("waiter",)

    def __init__(self, request: ApplyRequest, deadline: float, result: "asyncio.Future[Result]") -> None:
        super().__init__(request, deadline)
        self.waiter = Waiter(deadline, result)

    @property
    def ended(self) -> bool:
        """See `Post`."""
        return self.waiter.done.done()

    @property
    def owner(self) -> Owner:
        """See `Post`."""
        return _AWAITED


class _Awaited:
    """Owns all posts whose results are awaited."""

    def succeed(self, posts: Sequence[AwaitedPost], results: Sequence[Result]) -> None:
        """See `Owner`."""
        for post, result in zip(posts, results, strict=True):
            post.waiter.succeed(result)

    def fail(self, post: AwaitedPost, error: Exception) -> None:
        """See `Owner`."""
        post.waiter.fail(error)

    def give_up(self, post: AwaitedPost) -> None:
        """See `Owner`. Who awaits it is cancelled."""
        post.waiter.done.cancel()


_AWAITED = _Awaited()


class Batch:
    """Posts of one caller that are carried out together, in the order they came.

    `overdue_text` says what is known of a post whose deadline is over. `look` gives those their results that have not
    to wait for the others; it is called now and then, from `look_from` on (a time of the event loop's clock).
    """

    __slots__ = ("deadline", "look", "look_from", "overdue_text", "posts")

    def __init__(self, posts: Sequence[Post], look_from: float, overdue_text: str) -> None:
        self.posts = posts
        self.look_from = look_from
        self.deadline = max([post.deadline for post in posts])
        self.overdue_text = overdue_text
        self.look: Callable[[], None] | None = None
