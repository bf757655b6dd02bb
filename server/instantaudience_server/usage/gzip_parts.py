"""Makes gzip files from parts that are compressed once and joined often (RFC 1952; RFC 1951, section 3.2).

A part has deflate blocks that do not refer to anything before them, end at a byte boundary, and do not include the
final block, followed by the CRC-32 and the size of the uncompressed bytes.
"""

import struct
from collections.abc import Iterable

from isal import isal_zlib

LEVEL = 1
"""The level of compression: reduces 9.4 MB (two weeks with all lines) to a seventh in 10 ms, where zlib at level 6
takes 74 ms to get to an eighth."""
_RAW = -15
"""zlib's `wbits` for deflate without a header."""
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
"""A header without name and time, for an unknown operating system."""
_LAST_BLOCK = b"\x03\0"
"""An empty block that is marked as the final one."""
_CHECK = struct.Struct("<II")


def compress(plain: bytes) -> bytes:
    """Compress bytes into a part."""
    deflate = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, _RAW)
    blocks = deflate.compress(plain) + deflate.flush(isal_zlib.Z_FULL_FLUSH)
    return blocks + _CHECK.pack(isal_zlib.crc32(plain), len(plain))


def join(parts: Iterable[bytes]) -> bytes:
    """Join parts into one."""
    blocks, check = _chain(parts)
    return b"".join([*blocks, check])


def finish(parts: Iterable[bytes]) -> list[bytes | memoryview]:
    """Make a gzip file of parts, as a list of byte strings to be concatenated."""
    blocks, check = _chain(parts)
    return [_HEADER, *blocks, _LAST_BLOCK, check]


def _chain(parts: Iterable[bytes]) -> tuple[list[memoryview], bytes]:
    """The blocks of all parts, and the encoded CRC-32 and size of the whole."""
    blocks = []
    crc = size = 0
    for part in parts:
        end = len(part) - _CHECK.size
        blocks.append(memoryview(part)[:end])
        part_crc, part_size = _CHECK.unpack_from(part, end)
        crc, size = isal_zlib.crc32_combine(crc, part_crc, part_size), size + part_size
    return blocks, _CHECK.pack(crc, size % 2**32)
