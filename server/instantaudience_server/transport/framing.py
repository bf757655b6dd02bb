"""gRPC's wire format over HTTP/2 (source: doc/PROTOCOL-HTTP2.md in grpc/grpc, "Length-Prefixed-Message" and
"Status-Message")."""

import base64
from enum import Enum
from functools import lru_cache, partial

from instantaudience_server.errors import AudienceError, Reason, unavailable, unreadable
from instantaudience_server.sign_in import tokens
from instantaudience_server.transport.status import STATUS_DETAILS_KEY, Failure

Headers = list[tuple[bytes, bytes]]


class Flaw(Enum):
    """The ways in which a request breaks the protocol, as all hosts name them. `flawed` makes the errors."""

    NO_SUCH_METHOD = "no_such_method"
    NO_TRAILERS = "no_trailers"
    NOT_RECEIVED = "not_received"
    FOR_GATEWAY = "for_gateway"
    NO_CREDENTIAL = "no_credential"
    MISSING = "missing"
    SEVERAL = "several"
    TRUNCATED = "truncated"
    UNKNOWN_COMPRESSION = "unknown_compression"
    UNREADABLE = "unreadable"
    TOO_LONG = "too_long"
    BODY_TOO_LONG = "body_too_long"


_WORDS = {
    Flaw.NO_SUCH_METHOD: (Reason.NO_SUCH_METHOD, "There is no such method"),
    Flaw.NO_TRAILERS: (Reason.SYNTAX, "The header 'te: trailers' is missing"),
    Flaw.NOT_RECEIVED: (Reason.UNAVAILABLE, "the request did not arrive in time; nothing was changed"),
    Flaw.FOR_GATEWAY: (Reason.NO_SUCH_METHOD, "This port does not take the request"),
    Flaw.NO_CREDENTIAL: (Reason.NOAUTH, tokens.MISSING),
    Flaw.MISSING: (Reason.SYNTAX, "The request has no message; it must have one"),
    Flaw.SEVERAL: (Reason.SYNTAX, "The request has several messages; it must have one"),
    Flaw.TRUNCATED: (Reason.SYNTAX, "The request ends in the middle of a message"),
    Flaw.UNKNOWN_COMPRESSION: (Reason.SYNTAX, "The request holds a message with an unknown compression"),
    Flaw.UNREADABLE: (Reason.SYNTAX, "The request holds a message that cannot be decompressed"),
}


def flawed(flaw: Flaw) -> AudienceError:
    """The error of a call with this flaw; for `Flaw.TOO_LONG` see `too_long`, for `Flaw.BODY_TOO_LONG`
    `JsonForm`."""
    reason, text = _WORDS[flaw]
    make = {Reason.UNAVAILABLE: unavailable, Reason.SYNTAX: unreadable}.get(reason, partial(AudienceError, reason))
    return make(text)


def too_long(length: int, limit: int) -> AudienceError:
    """The error of a call with a message of `length` bytes, where `limit` are allowed."""
    return AudienceError(Reason.LIMIT, f"The request has {length} bytes; at most {limit} are allowed")


def frame(message: bytes) -> bytes:
    """Put the prefix in front of a message: a flag (0: not compressed), and the length in 4 bytes, big-endian."""
    return b"\0%b%b" % (len(message).to_bytes(4, "big"), message)


def status_message(text: str) -> bytes:
    """Encode a text as the value of `grpc-message`: UTF-8, with all but printable ASCII percent-encoded."""
    return b"".join(
        b"%c" % byte if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte for byte in text.encode()
    )


@lru_cache(maxsize=100)
def failure_headers(failure: Failure) -> Headers:
    """The headers that tell a failure: the trailers, or the headers of an answer that has nothing else."""
    headers = [(b"grpc-status", b"%d" % failure.code), (b"grpc-message", status_message(failure.message))]
    headers += [(key.encode(), value.encode()) for key, value in failure.metadata]
    headers.append((STATUS_DETAILS_KEY.encode(), binary_header(failure.status.SerializeToString())))
    return headers


def binary_header(value: bytes) -> bytes:
    """Encode the value of a header whose name ends in `-bin`: base64 without padding."""
    return base64.b64encode(value).rstrip(b"=")
