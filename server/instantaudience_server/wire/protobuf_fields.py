"""Encodes tags and lengths of protobuf fields (source: https://protobuf.dev/programming-guides/encoding/)."""

from functools import lru_cache

_LENGTH_DELIMITED = 2


@lru_cache(4096)
def varint(number: int) -> bytes:
    """Encode an integer, 0 or more, as a varint."""
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def tag(field_number: int) -> bytes:
    """The tag of a length-delimited field, such as a string or a message."""
    return varint(field_number << 3 | _LENGTH_DELIMITED)
