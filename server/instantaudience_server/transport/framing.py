"""gRPC's wire format over HTTP/2 (source: doc/PROTOCOL-HTTP2.md in grpc/grpc, "Length-Prefixed-Message" and
"Status-Message")."""

import base64
import re
import zlib
from collections.abc import Iterator
from enum import Enum
from functools import lru_cache, partial

from instantaudience_server import tokens
from instantaudience_server.errors import AudienceError, Reason, unavailable, unreadable
from instantaudience_server.transport.status import STATUS_DETAILS_KEY, Failure

Headers = list[tuple[bytes, bytes]]

PREFIX_BYTES = 5
"""The size of a message's prefix: a flag (0: plain, 1: compressed), and the length in 4 bytes, big-endian."""
PLAIN, COMPRESSED = 0, 1
_GZIP = 31
"""zlib's `wbits` for the gzip format."""
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")


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


class Messages:
    """Extracts the messages from a request's bytes.

    `limit_bytes` is the limit of a message, before and after decompression. `encoding` is the request's header
    `grpc-encoding`.

    Raises, from `feed` and `finish`:
        AudienceError: SYNTAX for bytes that break the protocol, LIMIT for a message that is too long.
    """

    __slots__ = ("_buffer", "_encoding", "_limit_bytes")

    def __init__(self, encoding: bytes, limit_bytes: int) -> None:
        self._buffer = bytearray()
        self._encoding = encoding
        self._limit_bytes = limit_bytes

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Add bytes; yields the messages that are complete now. All must be consumed before `feed` is called again."""
        buffer: bytes | bytearray = data
        if self._buffer:
            # Appending in place avoids copying everything again for each piece of a message that comes in small ones.
            buffer = self._buffer
            buffer += data
        position = 0
        while len(buffer) - position >= PREFIX_BYTES:
            flag = buffer[position]
            length = int.from_bytes(buffer[position + 1 : position + PREFIX_BYTES], "big")
            if length > self._limit_bytes:
                raise too_long(length, self._limit_bytes)
            start = position + PREFIX_BYTES
            if len(buffer) < start + length:
                break
            position = start + length
            yield self._plain(flag, bytes(buffer[start:position]))
        if buffer is self._buffer:
            del buffer[:position]
        else:
            self._buffer += buffer[position:]

    def finish(self) -> None:
        """Signal that no bytes follow."""
        if self._buffer:
            raise flawed(Flaw.TRUNCATED)

    def _plain(self, flag: int, message: bytes) -> bytes:
        if flag == PLAIN:
            return message
        if flag != COMPRESSED or self._encoding not in (b"gzip", b"deflate"):
            raise flawed(Flaw.UNKNOWN_COMPRESSION)
        inflater = zlib.decompressobj(_GZIP if self._encoding == b"gzip" else zlib.MAX_WBITS)
        try:
            plain = inflater.decompress(message, self._limit_bytes + 1)
        except zlib.error:
            raise flawed(Flaw.UNREADABLE) from None
        if len(plain) > self._limit_bytes:
            raise too_long(len(plain), self._limit_bytes)
        if not inflater.eof or inflater.unused_data:
            raise flawed(Flaw.UNREADABLE)
        return plain


def only_message(data: bytes, limit_bytes: int) -> bytes | None:
    """The message of a unary request, if `data` is exactly one whole message that is not compressed; else None."""
    whole = PREFIX_BYTES <= len(data) <= limit_bytes and data[0] == PLAIN
    if whole and int.from_bytes(data[1:PREFIX_BYTES], "big") == len(data) - PREFIX_BYTES:
        return data[PREFIX_BYTES:]
    return None


def frame(message: bytes) -> bytes:
    """Put the prefix in front of a message."""
    return b"\0%b%b" % (len(message).to_bytes(4, "big"), message)


def timeout_seconds(value: bytes) -> float | None:
    """The value of a `grpc-timeout` header in seconds; None if it is not valid, and to be ignored."""
    found = _TIMEOUT.fullmatch(value)
    return int(found[1]) * _UNITS[found[2]] if found else None


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
