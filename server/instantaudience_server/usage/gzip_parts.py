"""gzip from parts that are compressed once and put together often (RFC 1952; RFC 1951, section 3.2).

A part is what a gzip file has between its header and its end, but for the last block: blocks that refer to nothing
before them and end with a whole byte, then CRC-32 and size of what was compressed.
"""

import struct
from collections.abc import Iterable

from isal import isal_zlib

LEVEL = 1
"""Two weeks full of lines, 9.4 MB: a seventh in 10 ms; zlib's level 6 takes 74 ms for an eighth."""
_RAW = -15
"""zlib's `wbits` for deflate without a header."""
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
"""No name, no time, no system."""
_LAST_BLOCK = b"\x03\0"
"""An empty one."""
_CHECK = struct.Struct("<II")


def compress(plain: bytes) -> bytes:
    """A part."""
    deflate = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, _RAW)
    blocks = deflate.compress(plain) + deflate.flush(isal_zlib.Z_FULL_FLUSH)
    return blocks + _CHECK.pack(isal_zlib.crc32(plain), len(plain))


def join(parts: Iterable[bytes]) -> bytes:
    """Parts as one."""
    blocks, check = _chain(parts)
    return b"".join([*blocks, check])


def finish(parts: Iterable[bytes]) -> list[bytes | memoryview]:
    """The gzip file that parts make, in pieces."""
    blocks, check = _chain(parts)
    return [_HEADER, *blocks, _LAST_BLOCK, check]


def _chain(parts: Iterable[bytes]) -> tuple[list[memoryview], bytes]:
    """The parts' blocks; CRC-32 and size of them all."""
    blocks = []
    crc = size = 0
    for part in parts:
        end = len(part) - _CHECK.size
        blocks.append(memoryview(part)[:end])
        part_crc, part_size = _CHECK.unpack_from(part, end)
        crc, size = isal_zlib.crc32_combine(crc, part_crc, part_size), size + part_size
    return blocks, _CHECK.pack(crc, size % 2**32)
