"""gRPC's wire format (source: doc/PROTOCOL-HTTP2.md and doc/compression.md in grpc/grpc)."""

import base64
import contextlib
import gzip
import itertools
import time
import zlib
from collections.abc import Iterable
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.transport.framing import (
    Messages,
    binary_header,
    frame,
    only_message,
    status_message,
    timeout_seconds,
)
from support.wire.peer import prefix

LIMIT_BYTES = 1000
ENCODERS = {b"gzip": gzip.compress, b"deflate": zlib.compress}
UNREADABLE = "cannot be decompressed"
UNKNOWN = "unknown compression"


def compressed(encoding: bytes, message: bytes) -> bytes:
    body = ENCODERS[encoding](message)
    return prefix(1, len(body)) + body


def read(chunks: Iterable[bytes], encoding: bytes = b"") -> list[bytes]:
    """The messages of a request that comes in these chunks."""
    messages = Messages(encoding, LIMIT_BYTES)
    found = [message for chunk in chunks for message in messages.feed(chunk)]
    messages.finish()
    return found


def chunks_of(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = [0, *sorted(cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


# Messages as they are.


@pytest.mark.parametrize("message", [b"", b"x", b"\0\0\0\0\0", bytes(255), bytes(256), bytes(LIMIT_BYTES)], ids=len)
def test_a_message_has_a_flag_and_its_length_before_it(message: bytes) -> None:
    assert frame(message) == prefix(0, len(message)) + message
    assert read([frame(message)]) == [message]


@pytest.mark.parametrize("cut", range(len(frame(b"one") + frame(b"") + frame(b"three")) + 1))
def test_messages_may_be_cut_anywhere(cut: int) -> None:
    assert read(chunks_of(frame(b"one") + frame(b"") + frame(b"three"), [cut])) == [b"one", b"", b"three"]


def test_messages_come_as_soon_as_they_are_complete() -> None:
    messages = Messages(b"", LIMIT_BYTES)
    assert list(messages.feed(frame(b"one")[:-1])) == []
    assert list(messages.feed(b"e" + frame(b"two") + frame(b"three")[:6])) == [b"one", b"two"]
    assert list(messages.feed(b"hree")) == [b"three"]
    messages.finish()


def test_a_million_messages_in_a_chunk_take_no_longer_than_their_bytes() -> None:
    started = time.process_time()
    assert sum(1 for _ in Messages(b"", LIMIT_BYTES).feed(bytes(5_000_000))) == 1_000_000
    assert time.process_time() - started < 10  # a minute and more where each message costs a copy of the rest


def test_a_message_in_a_million_chunks_takes_no_longer_than_these() -> None:
    messages, content = Messages(b"", 2**21), frame(bytes(2**21))
    started = time.process_time()
    found = [message for byte in memoryview(content) for message in messages.feed(bytes((byte,)))]
    assert [len(message) for message in found] == [2**21]
    assert time.process_time() - started < 15  # a minute where each one costs a copy of those before


def test_a_request_may_have_no_message() -> None:
    assert read([]) == read([b"", b""]) == []


@pytest.mark.parametrize(
    "rest", [frame(b"one")[:size] for size in range(1, len(frame(b"one")))] + [b"\0" * 4, b"\n" * 4]
)
def test_a_request_that_ends_in_the_middle(rest: bytes) -> None:
    messages = Messages(b"", LIMIT_BYTES)
    assert list(messages.feed(frame(b"zero") + rest)) == [b"zero"]
    with pytest.raises(AudienceError, match="ends in the middle of a message") as refused:
        messages.finish()
    assert refused.value.reason is Reason.SYNTAX


@pytest.mark.parametrize("flag", [0, 1, 2, 255])
@pytest.mark.parametrize("length", [LIMIT_BYTES + 1, 2**31, 2**32 - 1])
def test_a_length_over_the_limit_is_refused_before_the_message_comes(flag: int, length: int) -> None:
    messages = Messages(b"gzip", LIMIT_BYTES)
    with pytest.raises(AudienceError, match=f"The request has {length} bytes; at most 1000 are allowed") as refused:
        list(messages.feed(prefix(flag, length)))
    assert refused.value.reason is Reason.LIMIT


@given(messages=st.lists(st.binary(max_size=50), max_size=8), data=st.data())
def test_whatever_is_framed_is_read_back(messages: list[bytes], data: st.DataObject) -> None:
    framed = b"".join(map(frame, messages))
    assert read(chunks_of(framed, data.draw(st.lists(st.integers(0, len(framed)), max_size=10)))) == messages


# The short way of unary requests.


@given(message=st.binary(max_size=LIMIT_BYTES - 5), more=st.binary(max_size=12), flag=st.sampled_from([0, 1, 2]))
def test_the_short_way_takes_exactly_what_the_long_way_takes(message: bytes, more: bytes, flag: int) -> None:
    data = prefix(flag, len(message)) + message + more
    fits = flag == 0 and not more and len(data) <= LIMIT_BYTES
    assert only_message(data, LIMIT_BYTES) == (message if fits else None)
    if fits:
        assert read([data]) == [message]


@given(data=st.binary(max_size=20))
def test_the_short_way_is_right_where_it_answers(data: bytes) -> None:
    message = only_message(data, LIMIT_BYTES)
    if message is not None:
        assert read([data]) == [message]


# Compression.


@pytest.mark.parametrize("encoding", ENCODERS)
@pytest.mark.parametrize("message", [b"", b"hello", bytes(LIMIT_BYTES)], ids=len)
def test_compressed_messages(encoding: bytes, message: bytes) -> None:
    """A request that names an encoding may hold messages without it."""
    data = compressed(encoding, message) + frame(b"plain") + compressed(encoding, message)
    for cut in range(0, len(data) + 1, 7):
        assert read(chunks_of(data, [cut]), encoding) == [message, b"plain", message]


@given(messages=st.lists(st.binary(max_size=200), max_size=4), encoding=st.sampled_from(sorted(ENCODERS)))
def test_whatever_is_compressed_is_read_back(messages: list[bytes], encoding: bytes) -> None:
    assert read([b"".join(compressed(encoding, message) for message in messages)], encoding) == messages


GZIPPED, DEFLATED = gzip.compress(b"hello" * 10), zlib.compress(b"hello" * 10)
BROKEN = {
    "flag without an encoding": (b"", 1, GZIPPED, UNKNOWN),
    "flag with identity": (b"identity", 1, GZIPPED, UNKNOWN),
    "an unknown encoding": (b"snappy", 1, b"hello", UNKNOWN),
    "an encoding in capitals": (b"GZIP", 1, GZIPPED, UNKNOWN),
    "an unknown flag": (b"gzip", 2, GZIPPED, UNKNOWN),
    "an unknown flag without an encoding": (b"", 255, b"hello", UNKNOWN),
    "garbage for gzip": (b"gzip", 1, b"hello", UNREADABLE),
    "garbage for deflate": (b"deflate", 1, b"hello", UNREADABLE),
    "deflate for gzip": (b"gzip", 1, DEFLATED, UNREADABLE),
    "gzip for deflate": (b"deflate", 1, GZIPPED, UNREADABLE),
    "raw deflate": (b"deflate", 1, DEFLATED[2:-4], UNREADABLE),
    "nothing": (b"gzip", 1, b"", UNREADABLE),
    "gzip cut short": (b"gzip", 1, GZIPPED[:-1], UNREADABLE),
    "deflate cut short": (b"deflate", 1, DEFLATED[:-1], UNREADABLE),
    "a wrong checksum": (b"gzip", 1, GZIPPED[:-8] + bytes(4) + GZIPPED[-4:], UNREADABLE),
    "bytes after gzip's end": (b"gzip", 1, GZIPPED + b"x", UNREADABLE),
    "bytes after deflate's end": (b"deflate", 1, DEFLATED + b"x", UNREADABLE),
}


@pytest.mark.parametrize(("encoding", "flag", "body", "text"), BROKEN.values(), ids=BROKEN)
def test_compressed_messages_that_are_none(encoding: bytes, flag: int, body: bytes, text: str) -> None:
    with pytest.raises(AudienceError, match=text) as refused:
        read([prefix(flag, len(body)) + body], encoding)
    assert refused.value.reason is Reason.SYNTAX


@pytest.mark.parametrize("encoding", ENCODERS)
@pytest.mark.parametrize("size", [LIMIT_BYTES + 1, 500 * LIMIT_BYTES])
def test_a_message_is_not_decompressed_past_the_limit(encoding: bytes, size: int) -> None:
    bomb = compressed(encoding, bytes(size))
    assert len(bomb) < LIMIT_BYTES
    with pytest.raises(AudienceError, match="The request has 1001 bytes; at most 1000 are allowed") as refused:
        read([bomb], encoding)
    assert refused.value.reason is Reason.LIMIT


@given(data=st.binary(max_size=60), encoding=st.sampled_from([b"", b"gzip", b"deflate"]), flag=st.integers(0, 2))
def test_any_bytes_are_read_or_refused(data: bytes, encoding: bytes, flag: int) -> None:
    for body in (data, prefix(flag, len(data)) + data, compressed(b"gzip", data)[:-1] + b"\0"):
        with contextlib.suppress(AudienceError):
            assert all(len(message) <= LIMIT_BYTES for message in read([body], encoding))


# Headers.

TIMEOUTS = [
    (b"1H", 3600.0),
    (b"2M", 120.0),
    (b"3S", 3.0),
    (b"4m", 0.004),
    (b"5u", 0.000_005),
    (b"6n", 0.000_000_006),
    (b"0S", 0.0),
    (b"00000001S", 1.0),
    (b"99999999H", 359_999_996_400.0),
    *((value, None) for value in [b"", b"S", b"1", b"1s", b"1h", b"-1S", b"+1S", b"1.5S", b"1e3S", b"0x1S", b"1 S"]),
    *(
        (value, None)
        for value in [b" 1S", b"1S ", b"1S\n", b"1SS", b"123456789S", b"1_0S", "\u0661S".encode(), b"\xff"]
    ),
]


@pytest.mark.parametrize(("value", "seconds"), TIMEOUTS)
def test_timeouts(value: bytes, seconds: float | None) -> None:
    assert timeout_seconds(value) == (None if seconds is None else pytest.approx(seconds))


@given(number=st.integers(0, 99_999_999), unit=st.sampled_from("HMSmun"))
def test_every_timeout_has_its_seconds(number: int, unit: str) -> None:
    seconds = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}[unit] * number
    assert timeout_seconds(f"{number}{unit}".encode()) == pytest.approx(seconds)


STATUS_MESSAGES = [
    ("", b""),
    ("plain ~text!", b"plain ~text!"),
    ("100%", b"100%25"),
    ("%41", b"%2541"),
    ("é☺😈", b"%C3%A9%E2%98%BA%F0%9F%98%88"),
    ("\t\n\r\0\x7f\x1f", b"%09%0A%0D%00%7F%1F"),
]


@pytest.mark.parametrize(("text", "encoded"), STATUS_MESSAGES)
def test_status_messages_are_percent_encoded(text: str, encoded: bytes) -> None:
    assert status_message(text) == encoded


@given(text=st.text())
def test_every_status_message_comes_back(text: str) -> None:
    encoded = status_message(text)
    assert all(0x20 <= byte <= 0x7E for byte in encoded)
    assert unquote_to_bytes(encoded).decode() == text
    printable = "".join(map(chr, range(0x20, 0x7F)))
    assert encoded == quote(text, safe=printable.replace("%", "")).encode()


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(b"", b""), (b"a", b"YQ"), (b"ab", b"YWI"), (b"abc", b"YWJj"), (b"\xfb\xff\xfe", b"+//+")],
)
def test_binary_headers_are_base64_without_padding(value: bytes, encoded: bytes) -> None:
    assert binary_header(value) == encoded


@given(value=st.binary())
def test_every_binary_header_comes_back(value: bytes) -> None:
    encoded = binary_header(value)
    assert base64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True) == value
