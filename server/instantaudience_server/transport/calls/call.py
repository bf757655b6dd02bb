"""The metadata of a call that hosts hand over, and how they read it from headers."""

import re
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from instantaudience_server.catalog.access import Caller
from instantaudience_server.sign_in.tokens import CERTIFICATE

LONGEST_REQUEST_ID = 128
"""The most characters of an `x-request-id`, all visible ASCII; an ID that breaks these rules is ignored."""
LONGEST_STREAM_ID = 116
"""How many characters of a stream's ID its requests' IDs begin with, so that they stay below `LONGEST_REQUEST_ID`."""
_CERTIFICATE_NAMES = re.compile("uri=([^ ]*) dns=([^ ]*)")
MOST_DIGITS = 10
"""The most digits of a size in a header; a longer one is ignored."""


class Call(NamedTuple):
    """A call's metadata: what a host knows of it beside its messages.

    `authorization` is the credential (see `credential`). `remaining_seconds` is the time left until the caller's
    deadline; None if it set none. `body_bytes` is the size of the JSON body that the gateway made the message from, and
    `waited_seconds` how long ago the call came in; each is 0 if unknown. `address` is the caller's IP address; hosts
    may leave it out for methods that need a token. `trace_parent` is the `traceparent` header (W3C Trace Context).
    `by_gateway`: the call came through the gateway. `learn` is called with the caller once its token is verified.
    `had_turn`: the call has already waited for its turn at the host.
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
        """Leaves the token out, as this may end up in a log."""
        return f"Call(request_id={self.request_id!r}, remaining_seconds={self.remaining_seconds!r})"


Body = bytes | Callable[[float], Awaitable[bytes]]
"""The message of a unary request, or a function that reads it until a deadline (a time of the event loop's clock)."""


def is_request_id(text: str) -> bool:
    """Whether a request ID from a caller is valid."""
    return 0 < len(text) <= LONGEST_REQUEST_ID and all("!" <= character <= "~" for character in text)


def request_name(stream_id: str, number: int) -> str:
    """The ID of a stream's request: the stream's ID, shortened if necessary, and the number, which counts from 0."""
    return f"{stream_id[:LONGEST_STREAM_ID]}.{number + 1}"


def credential(authorization: str, certificate: str) -> str:
    """A caller's credential, as `TokenService` takes it: the header `authorization` or, if that is blank, the name in
    the client certificate.

    `certificate` is the gateway's header `CERTIFICATE_KEY`, with the certificate's URI and DNS name; the URI is used if
    there is one. Several URIs or DNS names are joined by commas, which match no user.
    """
    authorization = authorization.replace(CERTIFICATE, "")  # or a header could pass for a certificate's name
    if authorization.strip():
        return authorization
    told = _CERTIFICATE_NAMES.fullmatch(certificate)
    names = [] if told is None else [name for name in told.groups() if name not in ("", "-")]
    return CERTIFICATE + names[0] if names else ""


def waited_seconds(header: str) -> float:
    """How long ago a call came in, by the header `x-request-start` (Unix time in seconds); 0 if it is unreadable.

    The gateway sets it on every call, by this machine's clock. It is not trusted on calls that come directly to a
    worker.
    """
    try:
        return max(0.0, time.time() - float(header))
    except ValueError:
        return 0.0


def body_bytes(header: str) -> int:
    """The size in the header `x-request-body-bytes`; 0 if it is absent or unreadable.

    The gateway sets it on unary calls in JSON, and removes a caller's own. It is not trusted on calls that come
    directly to a worker.
    """
    return int(header) if header.isascii() and header.isdigit() and len(header) <= MOST_DIGITS else 0
