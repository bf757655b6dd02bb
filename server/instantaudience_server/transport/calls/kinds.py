"""The kinds of methods that hosts serve."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from google.protobuf.message import Message

from instantaudience_server.catalog.access import Caller
from instantaudience_server.memberships.posts import Post, Result
from instantaudience_server.transport.calls.call import Call
from instantaudience_server.transport.status import Failure

Request = TypeVar("Request", bound=Message)


class Answer(Protocol):
    """An answer: a protobuf message, or an object with encoded bytes."""

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes:  # noqa: N802 - protobuf's name
        """The bytes for the wire."""


class Posting(NamedTuple):
    """Serves a method's calls together: `add(posts, caller)` begins some, `answer` turns a result into an answer."""

    add: Callable[[Sequence[Post], Caller], None]
    answer: Callable[[Result], Answer]


class Pace(Protocol):
    """Limits how fast requests of streams are begun."""

    def has_room(self, caller: Caller) -> bool:
        """Whether another request may be begun."""

    async def room(self, caller: Caller) -> None:
        """Wait until another request may be begun."""


@dataclass(frozen=True, slots=True)
class Method(Generic[Request]):
    """A unary method that needs a token: `handle(request, caller, deadline)` answers.

    `posting` does the same without a task for each call; None if the method does not support it.
    """

    path: str
    request: type[Request]
    handle: Callable[[Request, Caller, float], Awaitable[Answer]]
    posting: Posting | None = None


@dataclass(frozen=True, slots=True)
class PublicMethod(Generic[Request]):
    """A unary method that anyone may call: `handle(request, call, deadline)` answers."""

    path: str
    request: type[Request]
    handle: Callable[[Request, Call, float], Awaitable[Message]]


@dataclass(frozen=True, slots=True)
class StreamMethod(Generic[Request]):
    """A bidirectional method that needs a token; one answer for each request, in order.

    `start(request, caller, deadline)` is awaited for one request at a time, in order; what it returns is awaited while
    later requests start. `refuse` makes the answer to a request that failed; None if a failed request ends the stream.
    `posting` is as in `Method`. `naming` turns a request's ID into encoded fields that are appended to its answer.
    `pace` limits how fast requests are read.
    """

    path: str
    request: type[Request]
    start: Callable[[Request, Caller, float], Awaitable[Awaitable[Answer]]]
    refuse: Callable[[Failure], Message] | None
    posting: Posting | None = None
    naming: Callable[[str], bytes] | None = None
    pace: Pace | None = None


@dataclass(frozen=True, slots=True)
class CollectMethod(Generic[Request]):
    """A client-streaming method that needs a token: `handle(requests, caller, deadline)` answers them all at once.

    The deadline is for what is done before the first request; the requests may take as long as their sender wants.
    """

    path: str
    request: type[Request]
    handle: Callable[[AsyncIterator[Request], Caller, float], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class PublicStreamMethod(Generic[Request]):
    """A streaming method that anyone may call: `handle(requests)` yields the answers."""

    path: str
    request: type[Request]
    handle: Callable[[AsyncIterator[Request]], AsyncIterator[Message]]


AnyStreamMethod = StreamMethod[Any] | CollectMethod[Any] | PublicStreamMethod[Any]
AnyMethod = Method[Any] | PublicMethod[Any] | AnyStreamMethod
