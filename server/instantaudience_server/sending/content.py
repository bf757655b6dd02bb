"""The decompressed content of a file or of standard input, and how far it has been read."""

import fcntl
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from instantaudience_server.sending.incoming import FAILURES, GZIP, Incoming
from instantaudience_server.sending.records import Place, SourceError

HEAD_BYTES = 4096
"""How much of a file is used to detect its format and to recognise it again."""
MOST_LINE_BYTES = 2**24
_BOM = b"\xef\xbb\xbf"


class Content:
    """A file or, without a path, standard input. A context manager, which closes it.

    Attributes:
        name: what error messages and output call it.
        head: the first bytes, decompressed.
        size_bytes: the size of the file as stored; None for standard input.
        modified_ns: the time of the last modification, Unix time in nanoseconds; None for standard input.
        offset, line: how far it has been read, see `Place`.
    """

    def __init__(self, path: Path | None) -> None:
        """Open the file.

        Raises:
            SourceError: it cannot be opened.
        """
        self.name = "standard input" if path is None else str(path)
        self.offset = self.line = 0
        self.size_bytes: int | None = None
        self.modified_ns: int | None = None
        self._coming: Incoming | None = None
        try:
            if path is None:
                self._raw: io.BufferedIOBase = Incoming(sys.stdin.fileno())
                self._coming = self._raw
            else:
                self._raw = opened = path.open("rb")
                stat = os.fstat(opened.fileno())
                self.size_bytes, self.modified_ns = stat.st_size, stat.st_mtime_ns
                head = os.pread(opened.fileno(), HEAD_BYTES, 0)
                if head.startswith(GZIP):
                    self._coming = Incoming(opened.fileno())
            if self._coming is not None:
                head = self._coming.head(HEAD_BYTES)
        except OSError as error:
            raise SourceError(f"{self.name}: {error.strerror}") from error
        self._file = self._coming or self._raw
        self._some = self._raw.read if self._coming is None else self._coming.some_lines
        self.head = head.removeprefix(_BOM)
        if head.startswith(_BOM):
            self.pass_by(len(self._file.read(len(_BOM))), 0)

    def __enter__(self) -> Self:
        """The content itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.close()
        self._raw.close()

    def hold(self) -> None:
        """Keep other runs from holding the file until this one closes it; not for standard input. Where the file system
        has no locks, as over a network, nobody is kept from it.

        Raises:
            SourceError: another run holds it.
        """
        try:
            fcntl.flock(self._raw.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SourceError(f"{self.name} is being sent by another command: wait for its end") from error
        except OSError:
            pass

    @property
    def place(self) -> Place:
        """How far it has been read."""
        return Place(self.offset, self.line)

    def seek(self, place: Place) -> None:
        """Continue reading at a place; not for standard input.

        Raises:
            SourceError: the file has been truncated meanwhile.
        """
        try:
            if self._coming is None:
                self._raw.seek(place.offset)
            else:
                while (left := place.offset - self.offset) and (passed := self._coming.read1(left)):
                    self.offset += len(passed)
        except FAILURES as error:
            raise SourceError(f"{self.name}: {error}") from error
        self.offset, self.line = place

    def done_bytes(self, offset: int) -> int:
        """Approximately how many of `size_bytes` correspond to this offset, which counts decompressed bytes; 0 if the
        size is unknown."""
        if self.size_bytes is None:
            return 0
        if self._coming is None or not self.offset:
            return offset
        return int(self._raw.tell() * min(1.0, offset / self.offset))

    def read(self, size: int) -> bytes:
        """At most `size` bytes; empty at the end. Does not advance the place: see `pass_by`.

        Raises:
            SourceError: the file cannot be read.
        """
        return self._tried(self._file.read1, size)

    def pass_by(self, size: int, lines: int) -> None:
        """Advance the place by this many bytes and line ends."""
        self.offset += size
        self.line += lines

    def some_lines(self, size: int) -> list[str]:
        """The next lines, about `size` bytes of them; of standard input, those that are available. Empty at the end.

        Raises:
            SourceError: as for `lines`.
        """
        data = self._tried(self._some, size)
        if data and not data.endswith(b"\n"):
            data += self._line(data.count(b"\n"))
        lines = list(io.StringIO(data.decode(errors="surrogateescape"), newline="\n"))
        self.pass_by(len(data), len(lines))
        return lines

    def has_more(self, since: float, ending: bytes = b"\n") -> bool:
        """Whether what was read may wait for more (a line; if `ending` is empty, any byte), which it does `since` this
        time of the monotonic clock: always, but for standard input that comes slowly."""
        return self._coming is None or self.size_bytes is not None or self._coming.has_more(since, ending)

    def lines(self) -> Iterator[str]:
        """The remaining lines, with their line ends. Invalid UTF-8 is decoded with `surrogateescape`.

        Raises:
            SourceError: the file cannot be read, or a line is longer than 16 MB.
        """
        while line := self._line():
            self.pass_by(len(line), 1)
            yield line.decode(errors="surrogateescape")

    def _line(self, ahead: int = 0) -> bytes:
        """The rest of a line. `ahead` is how many lines have been read that the place does not count yet."""
        line = self._tried(self._file.readline, MOST_LINE_BYTES)
        if len(line) == MOST_LINE_BYTES:
            raise SourceError(f"{self.name}: line {self.line + ahead + 1} is longer than {MOST_LINE_BYTES:,} bytes")
        return line

    def _tried(self, read: Callable[[int], bytes], size: int) -> bytes:
        try:
            data = read(size)
        except FAILURES as error:
            raise self._broken(error) from error
        if not data and self.size_bytes is not None and self._raw.tell() < self.size_bytes:
            raise self._broken("it has become shorter since it was opened")
        return data

    def _broken(self, error: Exception | str) -> SourceError:
        return SourceError(f"{self.name}: after line {self.line}: {error}")
