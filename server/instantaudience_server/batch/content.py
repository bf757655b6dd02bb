"""The content of an uploaded file, decompressed where it is gzip, in pieces (source: RFC 1952; contract-neighbours,
"Batch Segment Service": the kind of content is recognised by its bytes).

To reach a position in compressed content, everything before it is decompressed again.
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from enum import Enum
from typing import NamedTuple, cast

from isal import isal_zlib

from instantaudience_server.batch.jobs import ErrorCode, FileFailedError, StoredFile

PIECE_BYTES = 64 * 1024
"""The largest piece of content; also that of the file, where it is compressed."""
GZIP = b"\x1f\x8b"
AVRO = b"Obj\x01"
"""The first bytes of files."""
_GZIP_FORMAT = 16 + zlib.MAX_WBITS

NotCompressedError = cast("type[Exception]", isal_zlib.IsalError)
"""What isal raises for data that is not gzip; isal's type annotations do not declare it as a class."""


class Kind(Enum):
    """A kind of content."""

    TEXT = "text"
    AVRO = "avro"


class Piece(NamedTuple):
    """Some of the content, and how many bytes of the file were read up to there."""

    data: bytes
    file_bytes: int


class Content:
    """The content of a file, of which at most `most_bytes` are read (None: no limit). `of` recognises its kind."""

    def __init__(self, file: StoredFile, compressed: bool, most_bytes: int | None) -> None:
        self.kind = Kind.TEXT
        self._file = file
        self._compressed = compressed
        self._most_bytes = most_bytes

    @classmethod
    async def of(cls, file: StoredFile, most_bytes: int | None = None) -> "Content":
        """Recognise the kind of a file's content by its first bytes.

        Raises:
            FileFailedError: the file begins like gzip, but not even the first bytes of its content can be read.
            AudienceError: UNAVAILABLE.
        """
        compressed = await _begins(_pieces_of(file, 0), GZIP)
        content = cls(file, compressed, most_bytes)
        if await _begins(content.read(0), AVRO):
            content.kind = Kind.AVRO
        return content

    async def read(self, position: int) -> AsyncGenerator[Piece, None]:
        """The content from `position` on; pieces may be empty.

        Raises:
            FileFailedError: the compressed content is corrupt or cut off, or there is too much content.
            AudienceError: UNAVAILABLE.
        """
        left_out = position if self._compressed else 0
        read = self._decompressed() if self._compressed else _pieces_of(self._file, position)
        async with aclosing(read) as pieces:
            async for data, file_bytes in pieces:
                whole = data[left_out:]
                left_out = max(0, left_out - len(data))
                end = position + len(whole)
                admitted = whole if self._most_bytes is None else whole[: max(0, self._most_bytes - position)]
                position += len(admitted)
                yield Piece(admitted, file_bytes)
                self.admit(end)

    def admit(self, size: int) -> None:
        """Check a size of content against the limit.

        Raises:
            FileFailedError: it exceeds the limit.
        """
        if self._most_bytes is not None and size > self._most_bytes:
            text = f"The content is longer than {self._most_bytes} bytes"
            raise FileFailedError(ErrorCode.FILESIZE_LIMIT_EXCEEDED, text)

    async def _decompressed(self) -> AsyncGenerator[Piece, None]:
        member = _Member()
        async with aclosing(_pieces_of(self._file, 0)) as pieces:
            async for piece in pieces:
                member.feed(piece.data)
                while member.goes_on:
                    yield Piece(member.next(), piece.file_bytes)
        if not member.ended:
            raise FileFailedError(ErrorCode.FILE_CUT_OFF, "The file ends within its compressed content")


class _Member:
    """Decompresses the members of a gzip file one after the other; the file may have several, and zeros at its end."""

    def __init__(self) -> None:
        self._reader = isal_zlib.decompressobj(_GZIP_FORMAT)
        self._data = b""
        self._full = False
        """Whether the last piece was a full one, so that there may be more content without more data."""
        self.ended = False

    def feed(self, data: bytes) -> None:
        """Add bytes of the file."""
        self._data += data

    @property
    def goes_on(self) -> bool:
        """Whether `next` has something to do."""
        if self.ended:
            self._data = self._data.lstrip(b"\0")
        return bool(self._data) or self._full

    def next(self) -> bytes:
        """The next piece of content; it may be empty.

        Raises:
            FileFailedError: the data is not gzip.
        """
        if self.ended:
            self._reader, self.ended = isal_zlib.decompressobj(_GZIP_FORMAT), False
        try:
            content = self._reader.decompress(self._data, PIECE_BYTES)
        except NotCompressedError:
            raise FileFailedError(ErrorCode.CORRUPT_FILE, "The file is not gzip from some place on") from None
        self.ended = self._reader.eof
        self._data = self._reader.unused_data if self.ended else self._reader.unconsumed_tail
        self._full = len(content) == PIECE_BYTES and not self.ended
        return bytes(content)


async def _pieces_of(file: StoredFile, offset: int) -> AsyncGenerator[Piece, None]:
    """The file as it is stored, from `offset` on."""
    async with aclosing(file.read(offset)) as stored:
        async for data in stored:
            for start in range(0, len(data), PIECE_BYTES):
                part = data[start : start + PIECE_BYTES]
                offset += len(part)
                yield Piece(part, offset)


async def _begins(pieces: AsyncGenerator[Piece, None], beginning: bytes) -> bool:
    """Whether content begins with certain bytes."""
    found = b""
    async with aclosing(pieces):
        async for piece in pieces:
            found += piece.data
            if len(found) >= len(beginning):
                break
            await asyncio.sleep(0)
    return found.startswith(beginning)
