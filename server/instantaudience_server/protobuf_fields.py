"""How fields that have a length begin in encoded messages (source: https://protobuf.dev/programming-guides/encoding/)."""

from functools import lru_cache

_LENGTH_DELIMITED = 2


@lru_cache(4096)
def varint(number: int) -> bytes:
    """A whole number, 0 or more: the length of a field, for example."""
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def tag(field_number: int) -> bytes:
    """What stands before the length of a text, or of a message."""
    return varint(field_number << 3 | _LENGTH_DELIMITED)
