"""The native host, in Rust: gRPC's transport and framing. It runs in a thread of its own."""

from collections.abc import Sequence
from typing import Any

class Trailers:
    """How a call fails: made once, and used for many.

    Raises:
        ValueError: no header may be that.
    """

    def __init__(self, fields: Sequence[tuple[bytes, bytes]]) -> None: ...

class Host:
    """A gRPC server on any number of addresses (`host:port`, `unix:/path`); ports are shared (SO_REUSEPORT).

    `methods` are paths, and whether they are streams. What comes is put on a list, and `fileno` becomes readable where
    the list was empty; `take` takes all of it. What is said in return is heard with `flush`, once for all of it.

    `message_limit_bytes` bounds a message, before and after decompression. A unary request has to be there within
    `receive_seconds`, or its caller's deadline. A connection is asked to end when it is `connection_seconds` old.

    Raises:
        OSError: an address cannot be had.
        ValueError: a duration is none.
    """

    def __init__(
        self,
        methods: Sequence[tuple[str, bool]],
        addresses: Sequence[str],
        *,
        message_limit_bytes: int,
        receive_seconds: float,
        connection_seconds: float,
    ) -> None: ...
    def fileno(self) -> int: ...
    def start(self) -> None:
        """Let callers in.

        Raises:
            OSError, RuntimeError.
        """
    def drain(self, grace_seconds: float) -> None:
        """Take no new calls; `drained` comes when no connection is left, or the grace is over."""
    def close(self) -> None:
        """End at once, whatever is under way."""
    def take(self) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        """The unary calls that have come, and what else has happened; an event of a call comes after the call.

        A call: its number, its method's place in the list, its message or what is wrong with it, then the fields of
        `transport.calls.Call`. What is wrong is the value of a `transport.framing.Flaw`, and a size.

        Events begin with their name: `refused` (number, method's place or None, request ID, the value of a `Flaw`),
        `opened` (number, method's place, fields of a `Call`: a stream begins), `message` (number, message),
        `half_closed` (number, what is wrong or None), `sent` (number: what was asked after), `gone` (number: nobody
        waits for the call any more), `drained`.
        """
    def flush(self, answers: Sequence[tuple[int, bytes]]) -> None:
        """Answer unary calls, and have heard what was said."""
    def fail(self, number: int, trailers: Trailers) -> None:
        """End a call or a stream with a failure."""
    def send(self, number: int, message: bytes, asked: bool) -> None:
        """Send a stream's next message; where `asked`, `sent` says when it and all before it are on their way."""
    def read(self, number: int) -> None:
        """One more message of a stream was read: there is room for another one."""
    def end(self, number: int) -> None:
        """End a stream with OK."""
