"""Posts: requests to apply memberships that wait for their results, and the batches they are carried out in."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from instantaudience_server.memberships.reading.requests import ApplyRequest
from instantaudience_server.memberships.reading.skipped import WarningForm
from instantaudience_server.observation import tracing
from instantaudience_server.process.waiting import Waiter


class Result(NamedTuple):
    """The outcome of a request: how many users and blocks were valid, and the warnings about what was skipped.

    `warnings` are encoded, tags included, as fields of an ApplySegmentsResult.
    """

    users: int
    segments: int
    warnings: bytes = b""


class Post(Protocol):
    """A request that waits for its result, until `deadline` (a time of the event loop's clock, in seconds).

    `users` are encoded RtSegment messages, `user_count` their number, and `size_bytes` the size of the request.
    `warning_form` says which parts warnings have; None: all. `span` is the call's span where it is traced, else None.
    `owner` is told the outcome. `ended` is true from then on, and also once the caller has left.
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
    """Receives the outcomes of its posts. An outcome for a post that has already ended is ignored."""

    def succeed(self, posts: Sequence[Any], results: Sequence[Result]) -> None:
        """Posts have succeeded, each with the result at its index."""

    def fail(self, post: Any, error: Exception) -> None:
        """A post has failed."""

    def give_up(self, post: Any) -> None:
        """A post was cancelled, because the server shuts down."""


def succeed(posts: Sequence[Post], results: Sequence[Result]) -> None:
    """Tell the owners of posts the results, which are in the posts' order."""
    owners = {post.owner for post in posts}
    if len(owners) == 1:
        owners.pop().succeed(posts, results)
        return
    for post, result in zip(posts, results, strict=True):
        post.owner.succeed((post,), (result,))


def fail(posts: Sequence[Post], error: Exception) -> None:
    """Tell the owners of posts that these failed with `error`."""
    for post in posts:
        post.owner.fail(post, error)


class RequestPost:
    """The part of a `Post` that comes from its request; subclasses add `owner` and `ended`."""

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
    """A post whose result is awaited through a future."""

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
    """The owner of every `AwaitedPost`: passes outcomes on to their futures."""

    def succeed(self, posts: Sequence[AwaitedPost], results: Sequence[Result]) -> None:
        """See `Owner`."""
        for post, result in zip(posts, results, strict=True):
            post.waiter.succeed(result)

    def fail(self, post: AwaitedPost, error: Exception) -> None:
        """See `Owner`."""
        post.waiter.fail(error)

    def give_up(self, post: AwaitedPost) -> None:
        """See `Owner`. Cancels the future."""
        post.waiter.done.cancel()


_AWAITED = _Awaited()


class Batch:
    """Posts of one caller that are carried out together, in the order they came.

    `overdue_text` is the error message for a post whose deadline passes now; it depends on how far the batch has come.
    `look`, where set, gives results to posts that are done before the others. It is called repeatedly once `look_from`
    (a time of the event loop's clock, in seconds) has passed.
    """

    __slots__ = ("deadline", "look", "look_from", "overdue_text", "posts")

    def __init__(self, posts: Sequence[Post], look_from: float, overdue_text: str) -> None:
        self.posts = posts
        self.look_from = look_from
        self.deadline = max([post.deadline for post in posts])
        self.overdue_text = overdue_text
        self.look: Callable[[], None] | None = None
