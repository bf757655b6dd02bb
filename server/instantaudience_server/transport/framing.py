"""gRPC's wire format over HTTP/2 (source: doc/PROTOCOL-HTTP2.md in grpc/grpc, "Length-Prefixed-Message" and
"Status-Message")."""

import base64
import re
import zlib
from collections.abc import Iterator

from instantaudience_server.errors import AudienceError, Reason

PREFIX_BYTES = 5
"""A flag (0: as it is, 1: compressed) and the message's length, 4 bytes, big-endian."""
PLAIN, COMPRESSED = 0, 1
_GZIP = 31
"""zlib's `wbits` for the gzip format."""
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")


class Messages:
    """The messages in a stream of bytes. `limit_bytes` bounds a message, before and after decompression.

    `encoding` is the request's `grpc-encoding`.

    Raises, from `feed` and `finish`:
        AudienceError: SYNTAX for what is not gRPC, LIMIT for a message that is too long.
    """

    __slots__ = ("_buffer", "_encoding", "_limit_bytes")

    def __init__(self, encoding: bytes, limit_bytes: int) -> None:
        self._buffer = b""
        self._encoding = encoding
        self._limit_bytes = limit_bytes

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Add bytes; yields the messages that are complete now, all of which must be taken before the next bytes."""
        buffer = self._buffer + data if self._buffer else data
        position = 0
        while len(buffer) - position >= PREFIX_BYTES:
            flag = buffer[position]
            length = int.from_bytes(buffer[position + 1 : position + PREFIX_BYTES], "big")
            if length > self._limit_bytes:
                raise _too_long(length, self._limit_bytes)
            start = position + PREFIX_BYTES
            if len(buffer) < start + length:
                break
            position = start + length
            yield self._plain(flag, buffer[start:position])
        self._buffer = buffer[position:]

    def finish(self) -> None:
        """Say that no bytes follow."""
        if self._buffer:
            raise AudienceError(Reason.SYNTAX, "The request ends in the middle of a message")

    def _plain(self, flag: int, message: bytes) -> bytes:
        if flag == PLAIN:
            return message
        if flag != COMPRESSED or self._encoding not in (b"gzip", b"deflate"):
            raise AudienceError(Reason.SYNTAX, "The request holds a message with an unknown compression")
        inflater = zlib.decompressobj(_GZIP if self._encoding == b"gzip" else zlib.MAX_WBITS)
        try:
            plain = inflater.decompress(message, self._limit_bytes + 1)
        except zlib.error:
            raise AudienceError(Reason.SYNTAX, "The request holds a message that cannot be decompressed") from None
        if len(plain) > self._limit_bytes:
            raise _too_long(len(plain), self._limit_bytes)
        if not inflater.eof or inflater.unused_data:
            raise AudienceError(Reason.SYNTAX, "The request holds a message that cannot be decompressed")
        return plain


def only_message(data: bytes, limit_bytes: int) -> bytes | None:
    """The message of a unary request, where `data` is all of it and the message is not compressed; else None."""
    whole = PREFIX_BYTES <= len(data) <= limit_bytes and data[0] == PLAIN
    if whole and int.from_bytes(data[1:PREFIX_BYTES], "big") == len(data) - PREFIX_BYTES:
        return data[PREFIX_BYTES:]
    return None


def frame(message: bytes) -> bytes:
    """A message with its prefix."""
    return b"\0%b%b" % (len(message).to_bytes(4, "big"), message)


def timeout_seconds(value: bytes) -> float | None:
    """A `grpc-timeout` in seconds; None for no or an unreadable one, which a server has to ignore."""
    found = _TIMEOUT.fullmatch(value)
    return int(found[1]) * _UNITS[found[2]] if found else None


def status_message(text: str) -> bytes:
    """A `grpc-message`: UTF-8, percent-encoded but for printable ASCII."""
    return b"".join(
        b"%c" % byte if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte for byte in text.encode()
    )


def binary_header(value: bytes) -> bytes:
    """The value of a header whose name ends in `-bin`."""
    return base64.b64encode(value).rstrip(b"=")


def _too_long(length: int, limit: int) -> AudienceError:
    return AudienceError(Reason.LIMIT, f"The request has {length} bytes; at most {limit} are allowed")
