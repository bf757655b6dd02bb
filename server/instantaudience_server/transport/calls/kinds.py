"""The kinds of methods that calls can be of: what is given to hosts to serve."""

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
    """All that is asked of an answer: a message, or what is encoded already."""

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes:  # noqa: N802 - protobuf's name
        """The bytes for the wire."""


class Posting(NamedTuple):
    """How a method is served whose calls are carried out together: `add(posts, caller)` begins some, `answer` makes the
    answer of a result."""

    add: Callable[[Sequence[Post], Caller], None]
    answer: Callable[[Result], Answer]


class Pace(Protocol):
    """How fast requests of streams are begun."""

    def has_room(self, caller: Caller) -> bool:
        """Whether another may be."""

    async def room(self, caller: Caller) -> None:
        """Wait until another may be."""


@dataclass(frozen=True, slots=True)
class Method(Generic[Request]):
    """A unary method that needs a token: `handle(request, caller, deadline)` answers.

    `posting` does the same for calls that need no task of their own; None where there is no such way.
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
    later requests start. `refuse` makes the answer to a request that failed; None where such a request ends the stream.
    `posting` is as in `Method`. `naming` makes the bytes that follow an answer, of the request's name.
    `pace` has streams not be read on.
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
    """A client-streaming method that needs a token: `handle(requests, caller, deadline)` makes one answer of all.

    The deadline is that of what comes before the requests; these may take as long as their sender wants.
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
