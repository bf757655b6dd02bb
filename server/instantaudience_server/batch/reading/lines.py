"""Cuts the text of a file into slices of whole lines, in bounded memory even if lines are too long."""

from collections.abc import Iterator
from typing import NamedTuple

from instantaudience_server.batch.reading.format import LONGEST_LINE_BYTES

SLICE_BYTES = 32 * 1024
SLICE_LINES = 1200
"""The most bytes and lines of a slice, after which other calls get their turn; a slice has at least one line."""
_BOM = b"\xef\xbb\xbf"


class LineSlice(NamedTuple):
    """The text of consecutive lines, and the position after them."""

    text: bytes
    end: int


class LineCutter:
    """Cuts the text from `position` on, where a line begins. Lines end with `\\n` or `\\r\\n`, the last one with the
    text.

    A line that is too long is truncated, but remains longer than `LONGEST_LINE_BYTES`.
    """

    def __init__(self, position: int) -> None:
        self._position = position
        """The position of `_held`."""
        self._held = b""
        """The beginning of a line that has not ended yet."""
        self._passed_over = 0
        """How many bytes of that line were dropped because it is too long."""

    def cut(self, piece: bytes, *, last: bool = False) -> Iterator[LineSlice]:
        """Slices with the lines that end in the next piece of the text; with `last`, all that is left."""
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
    """The lines of a text that are not empty, without their ends."""
    lines = text.split(b"\n")
    if b"\r" in text:
        lines = [line.removesuffix(b"\r") for line in lines]
    return list(filter(None, lines))
