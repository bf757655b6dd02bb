"""Standard input, into which programs may write slowly and for ever: what has come does not wait for what will come."""

import io
import os
import re
import select
import sys
import time

PAUSE_SECONDS = 0.05
"""How long what has come is kept waiting for another line."""
GZIP = b"\x1f\x8b"
_CHUNK_BYTES = 2**16
_telling = re.compile(rb"(?:\xef\xbb\xbf)?+\s*+(?:\{\s*+)?+[^\n]+\n")
"""A line that tells the format, as of files that begin like it: behind empty lines and a brace that stands alone."""


class StandardInput(io.BufferedIOBase):
    """The bytes of standard input. All reading raises OSError if it fails."""

    def __init__(self) -> None:
        self._fileno = sys.stdin.fileno()
        self._come = bytearray()
        self._has_ended = False

    def readable(self) -> bool:
        """It is."""
        return True

    def head(self, most: int) -> bytes:
        """The first bytes, which are read again after this: at most so many, and of text no more lines than are there
        when its format can be told."""
        while len(self._come) < most and (self._come.startswith(GZIP) or not _telling.match(self._come)):
            if not self._more():
                break
        return bytes(self._come[:most])

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes (negative or None: all); fewer at the end alone."""
        wanted = sys.maxsize if size is None or size < 0 else size
        while len(self._come) < wanted and self._more():
            pass
        return self._taken(wanted)

    def read1(self, size: int = -1, /) -> bytes:
        """At most so many bytes, of those that have come; waits only if there are none. Empty at the end."""
        if not self._come:
            self._more()
        return self._taken(_CHUNK_BYTES if size < 0 else size)

    def readline(self, size: int | None = -1, /) -> bytes:
        """The next line, or its first bytes."""
        most = sys.maxsize if size is None or size < 0 else size
        return self._taken(min(most, self._first_line(most)))

    def some_lines(self, size: int) -> bytes:
        """The next whole lines that have come, at most `size` bytes of them; waits only if there is none. A line that
        is longer is cut. Empty at the end."""
        first = min(size, self._first_line(size))
        while len(self._come) < size and self._is_ready(0) and self._more():
            pass
        return self._taken(max(first, self._come.rfind(b"\n", 0, size) + 1))

    def has_more(self, since: float) -> bool:
        """Whether another line, or the end, is there, or comes until what was read has waited for `PAUSE_SECONDS`,
        which it does `since` this time of the monotonic clock."""
        until = since + PAUSE_SECONDS
        while not self._has_ended and b"\n" not in self._come:
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
        return bool(select.select([self._fileno], [], [], seconds)[0])

    def _more(self) -> bool:
        """Wait for more bytes; False at the end."""
        data = b"" if self._has_ended else os.read(self._fileno, _CHUNK_BYTES)
        self._has_ended = not data
        self._come += data
        return bool(data)

    def _taken(self, size: int) -> bytes:
        data = bytes(self._come[:size])
        del self._come[:size]
        return data
