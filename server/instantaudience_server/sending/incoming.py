"""Bytes that come, perhaps compressed: of gzip, and of standard input, into which programs may write slowly and for
ever. What has come does not wait for what will come, nor is it lost where that is damaged."""

import contextlib
import io
import os
import re
import select
import sys
import time
import zlib

PAUSE_SECONDS = 0.05
"""How long what has come is kept waiting for another line."""
GZIP = b"\x1f\x8b"
_CHUNK_BYTES = 2**16
_telling = re.compile(rb'(?:\xef\xbb\xbf)?+\s*+(?:\[|\{\s*+"rt_segment"|(?:\{\s*+)?+[^\n]+\n)')
"""What tells the format, as of files that begin like it: what begins an array; or a line, behind empty lines and a
brace that stands alone."""
FAILURES = (OSError, EOFError, zlib.error)
"""What reading raises that fails, compressed or not."""


class Incoming(io.BufferedIOBase):
    """The bytes of a file descriptor, decompressed if they are gzip. All reading raises OSError if it fails, EOFError
    if gzip ends too early, and zlib.error if it is damaged; and so again each time, once what came before is read."""

    def __init__(self, fileno: int) -> None:
        """Wait for the bytes that tell whether it is gzip."""
        self._fileno = fileno
        self._come = bytearray()
        self._has_ended = False
        self._unpacking: _Unpacking | None = None
        while len(self._come) < len(GZIP) and self._more():
            pass
        if self._come.startswith(GZIP):
            self._unpacking = _Unpacking(self._taken(len(self._come)))

    def readable(self) -> bool:
        """It is."""
        return True

    def head(self, most: int) -> bytes:
        """The first bytes, which are read again after this: at most so many, and of text no more lines than are there
        when its format can be told, or those before what cannot be read."""
        with contextlib.suppress(*FAILURES):
            while len(self._come) < most and not _telling.match(self._come) and self._more():
                pass
        return bytes(self._come[:most])

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes (negative or None: all); fewer at the end alone."""
        wanted = sys.maxsize if size is None or size < 0 else size
        while len(self._come) < wanted and self._more():
            pass
        return self._taken(wanted)

    def read1(self, size: int = -1, /) -> bytes:
        """At most so many bytes, of those that have come; waits only if there are none. Empty at the end."""
        while not self._come and self._more():
            pass
        return self._taken(_CHUNK_BYTES if size < 0 else size)

    def readline(self, size: int | None = -1, /) -> bytes:
        """The next line, or its first bytes."""
        most = sys.maxsize if size is None or size < 0 else size
        return self._taken(min(most, self._first_line(most)))

    def some_lines(self, size: int) -> bytes:
        """The next whole lines that have come, at most `size` bytes of them; waits only if there is none. A line that
        is longer is cut. Empty at the end."""
        first = min(size, self._first_line(size))
        with contextlib.suppress(*FAILURES):
            while len(self._come) < size and self._is_ready(0) and self._more():
                pass
        return self._taken(max(first, self._come.rfind(b"\n", 0, size) + 1))

    def has_more(self, since: float, ending: bytes = b"\n") -> bool:
        """Whether what ends another line (if `ending` is empty: any byte), or the end, is there, or comes until what
        was read has waited for `PAUSE_SECONDS`, which it does `since` this time of the monotonic clock."""
        until = since + PAUSE_SECONDS
        with contextlib.suppress(*FAILURES):
            while not self._has_ended and (not self._come or ending not in self._come):
                if not self._is_ready(max(0.0, until - time.monotonic())):
                    return False
                self._more()
        return True

    def _first_line(self, most: int) -> int:
        """The length of the first line, once it is there as a whole; or of its part, if that has `most` bytes."""
        seen = 0
        while not (end := self._come.find(b"\n", seen) + 1):
            seen = len(self._come)
            if seen >= most or not self._more():
                return seen
        return end

    def _is_ready(self, seconds: float) -> bool:
        is_here = self._unpacking is not None and self._unpacking.holds_more
        return is_here or bool(select.select([self._fileno], [], [], seconds)[0])

    def _more(self) -> bool:
        """Wait for more bytes, which may be too few to unpack any; False at the end."""
        if self._has_ended:
            return False
        is_here = self._unpacking is not None and self._unpacking.holds_more
        data = b"" if is_here else os.read(self._fileno, _CHUNK_BYTES)
        has_ended = not data and not is_here
        if self._unpacking is None:
            self._come += data
        elif has_ended:
            self._unpacking.end()
        else:
            self._come += self._unpacking.unpacked(data)
        self._has_ended = has_ended
        return not has_ended

    def _taken(self, size: int) -> bytes:
        data = bytes(self._come[:size])
        del self._come[:size]
        return data


class _Unpacking:
    """Files of gzip, one after the other and perhaps padded with zeros (source: RFC 1952, 2.2), unpacked as they come.
    `gzip.GzipFile` waits for a buffer to fill.

    Attributes:
        holds_more: whether there may be more in what has come.
    """

    def __init__(self, data: bytes) -> None:
        self._packed = data
        self._file = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self.holds_more = True

    def unpacked(self, data: bytes) -> bytes:
        """At most `_CHUNK_BYTES` of what has come, with this.

        Raises:
            zlib.error: it is damaged.
        """
        self._packed += data
        if self._file.eof:
            self._packed = self._packed.lstrip(b"\0")
            self.holds_more = bool(self._packed)
            if not self.holds_more:
                return b""
            self._file = zlib.decompressobj(zlib.MAX_WBITS | 16)
        unpacked = self._file.decompress(self._packed, _CHUNK_BYTES)
        self._packed = self._file.unconsumed_tail or self._file.unused_data
        self.holds_more = bool(self._packed) or len(unpacked) == _CHUNK_BYTES
        return unpacked

    def end(self) -> None:
        """Check that a file ends here.

        Raises:
            EOFError: it does not.
        """
        if not self._file.eof:
            raise EOFError("Compressed file ended before the end-of-stream marker was reached")
