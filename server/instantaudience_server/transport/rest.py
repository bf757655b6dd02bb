"""What a host needs that takes JSON itself: the form of its methods' messages, and that of failures.

The gateway in front knows the forms of messages, and says them as data.
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
"""Content type of the calls that the gateway passes on to such a host, whatever callers sent (`calls/rest.rs`)."""

Row = tuple[str, int, bool, str]
"""A field: its key, its number, whether it is a list, and what it holds: a scalar type or the name of a message."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The fields of the message `root` and of all messages in it, by the messages' names, as far as JSON has them."""

    messages: Mapping[str, Sequence[Row]]
    root: str


@dataclass(frozen=True, slots=True)
class JsonForm:
    """How the messages of the method at `path` look in JSON.

    A message begins with `start`, whatever its body is. A body has at most `depth` levels. `rules` says what a value of
    a scalar type must be, `empty` what there is to say where there is no body. `too_slow` is the status and the body of
    the answer to who sends for longer than a call may take.
    """

    path: str
    request: Shape
    answer: Shape
    start: bytes
    depth: int
    rules: Mapping[str, str]
    empty: str
    too_slow: tuple[int, bytes]


def rest_failure(failure: Failure, json_text: Callable[[str], str]) -> tuple[int, Headers, bytes]:
    """Status, headers and body of a call that failed (source: contract, "Errors"); `json_text` writes a string.

    The gateway takes the header `ERROR_ID_KEY` out: by that it knows that the answer is not its own.
    """
    metadata = dict(failure.metadata)
    error_id, error_code = metadata[ERROR_ID_KEY], metadata.pop(ERROR_CODE_KEY, None)
    metadata.pop(PUSHBACK_KEY, None)
    status = HTTP_STATUSES[failure.code, error_id]
    if status == UNAUTHORIZED:
        metadata |= CHALLENGE
    headers = [(key.encode(), value.encode()) for key, value in metadata.items()]
    return status, headers, error_body(error_id, error_code, json_text(failure.message)).encode()
