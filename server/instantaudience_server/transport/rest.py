"""What a host needs to serve JSON itself: how messages and failures look in JSON.

The forms of messages are data that the gateway provides.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from instantaudience_server.transport.framing import Headers
from instantaudience_server.transport.status import (
    CHALLENGE,
    ERROR_CODE_KEY,
    ERROR_ID_KEY,
    HTTP_STATUSES,
    PUSHBACK_KEY,
    UNAUTHORIZED,
    Failure,
    error_body,
)

PASSED_ON_TYPE = "application/x-passed-on+json"
"""The content type that the gateway gives to JSON calls for such a host, whatever callers sent (`calls/rest.rs`)."""

Row = tuple[str, int, bool, str]
"""A field: its JSON key, its number, whether it is repeated, and its type: a scalar type or a message's name."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The fields of the message `root` and of all messages in it, by message name; without fields that JSON lacks."""

    messages: Mapping[str, Sequence[Row]]
    root: str


@dataclass(frozen=True, slots=True)
class JsonForm:
    """The REST form of the gRPC method at `path`: its path there, and how its messages look in JSON.

    Every request message begins with the bytes `start`. A body has at most `limit_bytes` and `depth` levels. `rules`
    has, for each scalar type, the text for values of other types; `empty` and `too_large` are the texts of the errors
    for a request without a body and with one over the limit. HTTP status and body of an answer: `too_slow` to a body
    that takes longer than a call may; `elsewhere`, on a host's port, to requests for `rest_path` that only the gateway
    takes.
    """

    path: str
    rest_path: str
    request: Shape
    answer: Shape
    start: bytes
    limit_bytes: int
    depth: int
    rules: Mapping[str, str]
    empty: str
    too_large: str
    too_slow: tuple[int, bytes]
    elsewhere: tuple[int, bytes]


def rest_failure(failure: Failure, json_text: Callable[[str], str]) -> tuple[int, Headers, bytes]:
    """The HTTP status, headers and body of a failed call (source: contract, "Errors"). `json_text` encodes a string.

    By the header `ERROR_ID_KEY`, the gateway knows that the answer is the service's and not its own; it removes it.
    """
    metadata = dict(failure.metadata)
    error_id, error_code = metadata[ERROR_ID_KEY], metadata.pop(ERROR_CODE_KEY, None)
    metadata.pop(PUSHBACK_KEY, None)
    status = HTTP_STATUSES[failure.code, error_id]
    if status == UNAUTHORIZED:
        metadata |= CHALLENGE
    headers = [(key.encode(), value.encode()) for key, value in metadata.items()]
    return status, headers, error_body(error_id, error_code, json_text(failure.message)).encode()
