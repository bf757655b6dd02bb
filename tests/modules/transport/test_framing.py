"""gRPC's wire format (source: doc/PROTOCOL-HTTP2.md in grpc/grpc)."""

import base64
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience_server.transport.framing import binary_header, frame, status_message
from support.wire.peer import prefix


def test_a_message_has_a_flag_and_its_length_before_it(subtests: pytest.Subtests) -> None:
    for message in [b"", b"x", b"\0\0\0\0\0", bytes(255), bytes(256), bytes(2**20)]:
        with subtests.test(message=message):
            assert frame(message) == prefix(0, len(message)) + message


STATUS_MESSAGES = [
    ("", b""),
    ("plain ~text!", b"plain ~text!"),
    ("100%", b"100%25"),
    ("%41", b"%2541"),
    ("é☺😈", b"%C3%A9%E2%98%BA%F0%9F%98%88"),
    ("\t\n\r\0\x7f\x1f", b"%09%0A%0D%00%7F%1F"),
]


def test_status_messages_are_percent_encoded(subtests: pytest.Subtests) -> None:
    for text, encoded in STATUS_MESSAGES:
        with subtests.test(text=text, encoded=encoded):
            assert status_message(text) == encoded


@given(text=st.text())
def test_every_status_message_comes_back(text: str) -> None:
    encoded = status_message(text)
    assert all(0x20 <= byte <= 0x7E for byte in encoded)
    assert unquote_to_bytes(encoded).decode() == text
    printable = "".join(map(chr, range(0x20, 0x7F)))
    assert encoded == quote(text, safe=printable.replace("%", "")).encode()


def test_binary_headers_are_base64_without_padding(subtests: pytest.Subtests) -> None:
    for value, encoded in [(b"", b""), (b"a", b"YQ"), (b"ab", b"YWI"), (b"abc", b"YWJj"), (b"\xfb\xff\xfe", b"+//+")]:
        with subtests.test(value=value, encoded=encoded):
            assert binary_header(value) == encoded


@given(value=st.binary())
def test_every_binary_header_comes_back(value: bytes) -> None:
    encoded = binary_header(value)
    assert base64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True) == value
