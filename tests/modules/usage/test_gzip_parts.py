"""gzip from parts (RFC 1952), as the standard library's zlib reads it."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience_server.usage.gzip_parts import compress, finish, join

GZIP = 31
"""zlib's `wbits` for the gzip format; it checks CRC-32 and size."""

plain_parts = st.lists(st.binary(max_size=2000) | st.text(max_size=200).map(str.encode), max_size=6)


def unpacked(file: bytes) -> bytes:
    """What is in a file, which must be a single member: many readers take only the first."""
    reader = zlib.decompressobj(GZIP)
    plain = reader.decompress(file)
    assert (reader.eof, reader.unused_data, reader.unconsumed_tail) == (True, b"", b"")
    return plain


@given(plain_parts)
def test_a_file_has_what_its_parts_have(plain: list[bytes]) -> None:
    assert unpacked(b"".join(finish(map(compress, plain)))) == b"".join(plain)


@given(plain_parts, st.integers(0, 6))
def test_joined_parts_are_a_part(plain: list[bytes], cut: int) -> None:
    parts = [compress(part) for part in plain]
    halves = [join(parts[:cut]), join(parts[cut:])]
    assert b"".join(finish(halves)) == b"".join(finish([join(parts)])) == b"".join(finish(parts))


def test_parts_do_not_depend_on_their_neighbours() -> None:
    """The same text again and again: nothing refers to another part, which may stand elsewhere or be missing."""
    texts = [b"Valid users: 12345678900987654321\n" * 50, b"Invalid segments: 99\n" * 50]
    parts = [compress(text) for text in texts]
    for order in ([0, 1, 0], [1, 0], [1], [1, 1, 1, 0]):
        file = b"".join(finish([parts[number] for number in order]))
        assert unpacked(file) == b"".join(texts[number] for number in order)
        assert len(file) < len(unpacked(file)) / 5


def test_damage_is_noticed(subtests: pytest.Subtests) -> None:
    """So the tests above see whether CRC-32 and size are right."""
    for place in [-1, -5, 20]:
        with subtests.test(place=place):
            file = bytearray(b"".join(finish([compress(b"Valid users: 5\n" * 9)])))
            file[place] ^= 1
            with pytest.raises(zlib.error):
                unpacked(bytes(file))
