"""Cuts the text of a file into lines, some at a time, whatever it holds: memory stays bounded."""

from collections.abc import Iterator
from typing import NamedTuple

from instantaudience_server.batch.reading.format import LONGEST_LINE_BYTES

SLICE_BYTES = 32 * 1024
SLICE_LINES = 1200
"""What is read and written before other calls get their turn, at most; but a slice has one line at least."""
_BOM = b"\xef\xbb\xbf"


class LineSlice(NamedTuple):
    """The text of lines that follow each other, and the place after them."""

    text: bytes
    end: int


class LineCutter:
    """Cuts what follows `position`, where a line begins. Lines end with `\\n` or `\\r\\n`, the last one with the text.

    Of a line that is too long, so much is handed out that this shows.
    """

    def __init__(self, position: int) -> None:
        self._position = position
        """Where `_held` begins."""
        self._held = b""
        """A line that has not ended."""
        self._passed_over = 0
        """How much of it is no longer held, since it is too long."""

    def cut(self, piece: bytes, *, last: bool = False) -> Iterator[LineSlice]:
        """The lines that end in the next piece of the text; of the `last` one, all."""
        text = self._held + piece
        added = last and text != b"" and not text.endswith(b"\n")
        if added:
            text += b"\n"
        start, stop = 0, text.rfind(b"\n") + 1
        while start < stop:
            end = text.find(b"\n", min(start + SLICE_BYTES, stop) - 1) + 1
            if text.count(b"\n", start, end) > SLICE_LINES:
                end -= len(text[start:end].split(b"\n", SLICE_LINES)[-1])
            part = text[start:end] if self._position else text[start:end].removeprefix(_BOM)
            self._position += end - start + self._passed_over
            self._passed_over = 0
            start = end
            yield LineSlice(part, self._position - (added and start == stop))
        self._held = text[stop:]
        if len(self._held) > LONGEST_LINE_BYTES + 2:
            kept = self._held[: LONGEST_LINE_BYTES + 2]
            self._passed_over += len(self._held) - len(kept)
            self._held = kept


def lines_of(text: bytes) -> list[bytes]:
    """The lines of a text, without their ends and without empty ones."""
    lines = text.split(b"\n")
    if b"\r" in text:
        lines = [line.removesuffix(b"\r") for line in lines]
    return list(filter(None, lines))
