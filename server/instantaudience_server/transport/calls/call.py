"""What a call is: what hosts hand over of it beside its messages, and how they read that out of headers."""

import re
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from instantaudience_server.catalog.access import Caller
from instantaudience_server.tokens import CERTIFICATE

LONGEST_REQUEST_ID = 128
"""Characters of a caller's own `x-request-id`, all visible ASCII; another one is none."""
LONGEST_STREAM_ID = 116
"""Characters of a stream's ID that are in the names of its requests; so these have fewer than `LONGEST_REQUEST_ID`."""
_CERTIFICATE_NAMES = re.compile("uri=([^ ]*) dns=([^ ]*)")
MOST_DIGITS = 10
"""How many digits a size may have; a longer one is ignored."""


class Call(NamedTuple):
    """What a host knows of a call beside its messages.

    `remaining_seconds` is what is left of the caller's deadline; None when there is none. `body_bytes` is the size of
    what the caller sent where a gateway made the message from it, `waited_seconds` how long ago the call came in; both
    are 0 where that is not known. `address` is the caller's IP address, as text; hosts may leave it out where the
    method needs a token. `trace_parent` says of which trace the call is (W3C Trace Context). `by_gateway`
    says that the call came through the gateway. `learn` is told whose token it has, once that is known. `had_turn` says
    that the host has had it wait for its turn.
    """

    authorization: str
    request_id: str
    remaining_seconds: float | None
    body_bytes: int = 0
    waited_seconds: float = 0.0
    address: str = ""
    trace_parent: str = ""
    by_gateway: bool = False
    learn: Callable[[Caller], None] | None = None
    had_turn: bool = False

    def __repr__(self) -> str:
        """Without the token: this may end in a log."""
        return f"Call(request_id={self.request_id!r}, remaining_seconds={self.remaining_seconds!r})"


Body = bytes | Callable[[float], Awaitable[bytes]]
"""The message of a unary request, or how to read it until a deadline."""


def is_request_id(text: str) -> bool:
    """Whether a caller may name its request like this."""
    return 0 < len(text) <= LONGEST_REQUEST_ID and all("!" <= character <= "~" for character in text)


def request_name(stream_id: str, number: int) -> str:
    """What the request of this number, counted from 0, of a stream is called; of a long ID, the beginning counts."""
    return f"{stream_id[:LONGEST_STREAM_ID]}.{number + 1}"


def credential(authorization: str, certificate: str) -> str:
    """What a caller shows: the header `authorization` or, where it is blank, the name in its certificate, as
    `TokenService` takes it.

    `certificate` is what the gateway says (`CERTIFICATE_KEY`) of its only URI and its only DNS name. Of several, it
    writes them with commas between, which is no name that anybody has. The URI counts where there is one.
    """
    authorization = authorization.replace(CERTIFICATE, "")  # no header can have it, whatever a host lets in
    if authorization.strip():
        return authorization
    told = _CERTIFICATE_NAMES.fullmatch(certificate)
    names = [] if told is None else [name for name in told.groups() if name not in ("", "-")]
    return CERTIFICATE + names[0] if names else ""


def waited_seconds(header: str) -> float:
    """How long ago a call came in by the header `x-request-start` (Unix time in seconds); 0 where it says nothing.

    The gateway sets it on every call, by the clock of this machine; who comes straight to a worker says nothing by it.
    """
    try:
        return max(0.0, time.time() - float(header))
    except ValueError:
        return 0.0


def body_bytes(header: str) -> int:
    """What the header `x-request-body-bytes` says; 0 where it says nothing.

    The gateway sets it on unary calls in JSON, and takes away what callers say; who comes straight to a worker says
    nothing by it.
    """
    return int(header) if header.isascii() and header.isdigit() and len(header) <= MOST_DIGITS else 0
