"""Reads the blocks of an Avro file (source: Avro 1.12 specification, "Object Container Files";
contract-neighbours, "Batch Segment Service", "Avro").

The container is parsed here, piece by piece, so that sizes in a file are checked against limits before memory is
allocated for them.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from isal import isal_zlib

from instantaudience_server.batch.content import AVRO, Content, NotCompressedError, Piece
from instantaudience_server.batch.jobs import ErrorCode, FileFailedError
from instantaudience_server.batch.reading.avro_schema import RecordSchema, read_schema

MOST_HEADER_BYTES = 2**20
MOST_PAIRS = 100
"""The most bytes of a header, and the most entries of its metadata."""
MOST_BLOCK_BYTES = 2**24
"""The most bytes of a block, both compressed and decompressed."""
LARGE_BYTES = 2**18
"""Compressed blocks of more bytes are decompressed in a thread."""
_SYNC_BYTES = 16
_RAW_DEFLATE = -15
_LONGEST_LONG = 10


class AvroBlock(NamedTuple):
    """A decompressed block with `records` encoded records. `position` is that of the block in the content, `end` that
    of the next one; `file_bytes` is how much of the stored file was read."""

    schema: RecordSchema
    data: bytes
    records: int
    position: int
    end: int
    file_bytes: int


async def read_blocks(content: Content, position: int) -> AsyncGenerator[AvroBlock, None]:
    """The blocks of a file, from the one at `position` on (0: from the first).

    Raises:
        FileFailedError: the file is invalid from some position on, or the decompressed blocks exceed the limit of the
            content.
    """
    async with aclosing(content.read(0)) as pieces:
        source = _Source(pieces, 0)
        header = await _read_header(source)
    start = max(position, source.position)
    size = start
    async with aclosing(content.read(start)) as pieces:
        source = _Source(pieces, start)
        while await source.peek(1):
            block = await _read_block(source, header)
            size += len(block.data)
            content.admit(size)
            yield block


class _Source:
    """Reads content byte by byte or in any sizes; `position` is that of the next byte."""

    def __init__(self, pieces: AsyncGenerator[Piece, None], position: int) -> None:
        self._pieces = pieces
        self._held = bytearray()
        self.position = position
        self.file_bytes = 0

    async def peek(self, size: int) -> bytes:
        """The next `size` bytes, without consuming them; fewer only at the end of the file."""
        while len(self._held) < size:
            piece = await anext(self._pieces, None)
            if piece is None:
                break
            self.file_bytes = piece.file_bytes
            self._held += piece.data
            await asyncio.sleep(0)
        return bytes(self._held[:size])

    async def take(self, size: int) -> bytes:
        """Consume the next `size` bytes.

        Raises:
            FileFailedError: the file ends before that.
        """
        taken = await self.peek(size)
        if len(taken) < size:
            raise FileFailedError(
                ErrorCode.FILE_CUT_OFF, "The file ends within an Avro block; those before are applied"
            )
        del self._held[:size]
        self.position += size
        return taken

    async def long(self) -> int:
        """Consume the next `long`.

        Raises:
            FileFailedError: the file ends before its end, or it is too long.
        """
        value = 0
        for index in range(_LONGEST_LONG):
            (byte,) = await self.take(1)
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
        raise corrupt("a number is longer than it can be")


class _Header(NamedTuple):
    schema: RecordSchema
    is_deflated: bool
    sync: bytes


async def _read_header(source: _Source) -> _Header:
    await source.take(len(AVRO))
    metadata: dict[bytes, bytes] = {}
    while count := await source.long():
        if count < 0:
            await source.long()
        if abs(count) + len(metadata) > MOST_PAIRS:
            raise corrupt("its header has too many entries")
        for _ in range(abs(count)):
            key = await _bytes(source)
            metadata[key] = await _bytes(source)
    codec = metadata.get(b"avro.codec", b"null")
    if codec not in (b"null", b"deflate"):
        raise FileFailedError(ErrorCode.UNKNOWN_CODEC, "The codec of the Avro file is neither null nor deflate")
    schema = read_schema(metadata.get(b"avro.schema", b""))
    return _Header(schema, codec == b"deflate", await source.take(_SYNC_BYTES))


async def _bytes(source: _Source) -> bytes:
    """Consume a string of the header."""
    size = await source.long()
    if not 0 <= size <= MOST_HEADER_BYTES - source.position:
        raise corrupt("its header is too long")
    return await source.take(size)


async def _read_block(source: _Source, header: _Header) -> AvroBlock:
    position = source.position
    count, size = await source.long(), await source.long()
    if count < 0 or not 0 <= size <= MOST_BLOCK_BYTES:
        raise corrupt("a block has a size that it cannot have")
    data = await source.take(size)
    if await source.take(_SYNC_BYTES) != header.sync:
        raise corrupt("a block does not end where it says")
    if header.is_deflated:
        data = await asyncio.to_thread(_inflate, data) if size > LARGE_BYTES else _inflate(data)
    if count > len(data):
        raise corrupt("a block has fewer records than it says")
    return AvroBlock(header.schema, data, count, position, source.position, source.file_bytes)


def _inflate(data: bytes) -> bytes:
    """Decompress a block.

    Raises:
        FileFailedError: it is not deflate, is incomplete, or too large.
    """
    reader = isal_zlib.decompressobj(_RAW_DEFLATE)
    try:
        content = bytes(reader.decompress(data, MOST_BLOCK_BYTES))
    except NotCompressedError:
        raise corrupt("a block is not deflated") from None
    if not reader.eof:
        raise corrupt("a block is too large, or not whole")
    return content


def corrupt(text: str) -> FileFailedError:
    """The error for a file that is invalid from here on."""
    return FileFailedError(ErrorCode.CORRUPT_FILE, f"The file is no Avro from some place on: {text}")
