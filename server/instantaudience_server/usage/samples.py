"""Samples the newest calls of an hour for the lines of its report, and limits how fast lines are written.

A report keeps only the newest lines, so it would be a waste to write all (docs/adr/0014-usage.md).
"""

import asyncio
from collections import deque
from collections.abc import Callable

from instantaudience_server.applied import Applied
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.store.interfaces.usage import MOST_LINE_BYTES, MOST_LINES, Lines
from instantaudience_server.usage.lines import count_characters, count_lines, error_lines, segment_lines

CHARACTERS_AT_ONCE = 2 * MOST_LINE_BYTES
CHARACTERS_PER_SECOND = MOST_LINE_BYTES // 5
"""How many characters of lines an hour takes in a burst, and per second after it: in five seconds as much as a report
keeps of a kind of line. Past it, lines are held back for a moment."""
CHARACTERS_PER_SECOND_OF_ALL = 5 * MOST_LINE_BYTES
"""The limit of all hours together whose lines are held back, in a worker."""


class LinePace:
    """The rate of hours whose lines are held back, which share a limit."""

    def __init__(self) -> None:
        self.held_back = 0
        """How many hours' lines are held back now."""

    @property
    def characters_per_second(self) -> float:
        """The rate of each hour whose lines are held back."""
        return min(CHARACTERS_PER_SECOND, CHARACTERS_PER_SECOND_OF_ALL / max(1, self.held_back))


class Samples:
    """The sampled calls of an hour whose lines are not written yet.

    `resume` is called when lines that were held back may be taken.
    """

    def __init__(self, catalog: Catalog, pace: LinePace, resume: Callable[[], None]) -> None:
        self._catalog = catalog
        self._pace = pace
        self._go_on = resume
        self._loop = asyncio.get_running_loop()
        self._errors = _Sample()
        self._segments = _Sample()
        self._room = float(CHARACTERS_AT_ONCE)
        self._room_at = self._loop.time()
        self._later: asyncio.TimerHandle | None = None

    def __bool__(self) -> bool:
        return bool(self._errors or self._segments)

    def add(self, applied: Applied) -> None:
        """Sample a call, if it gives any lines."""
        error_count, segment_count = count_lines(applied)
        if error_count:
            self._errors.add(error_count, applied)
        if segment_count:
            self._segments.add(segment_count, applied)

    def take(self) -> Lines:
        """Take the lines of the sampled calls; none if they are held back for now."""
        if not self:
            return Lines()
        now, rate = self._loop.time(), self._pace.characters_per_second
        self._room = min(CHARACTERS_AT_ONCE, self._room + (now - self._room_at) * rate)
        self._room_at = now
        if self._room <= 0:
            if self._later is None:
                self._pace.held_back += 1
                self._later = self._loop.call_later((1 - self._room) / rate, self._resume)
            return Lines()
        errors = error_lines(self._catalog, self._errors.take())
        segments = segment_lines(self._catalog, self._segments.take())
        self._room -= sum(map(len, errors)) + sum(map(len, segments))
        return Lines(errors, segments)

    def hurry(self) -> None:
        """Hold nothing back any longer, because the worker ends."""
        self._room = float(CHARACTERS_AT_ONCE)
        if self._later is not None:
            self._later.cancel()
            self._let_go()

    def _resume(self) -> None:
        self._let_go()
        self._go_on()

    def _let_go(self) -> None:
        self._later = None
        self._pace.held_back -= 1


class _Sample:
    """The newest calls that give lines of one kind: as many as are needed for the lines that a report keeps."""

    __slots__ = ("_calls", "_characters", "_lines")

    def __init__(self) -> None:
        self._calls: deque[tuple[int, int, Applied]] = deque()
        self._lines = self._characters = 0

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, lines: int, applied: Applied) -> None:
        """Add a call with about `lines` lines, and drop the oldest calls that are no longer needed."""
        calls = self._calls
        characters = count_characters(applied, lines)
        calls.append((lines, characters, applied))
        self._lines += lines
        self._characters += characters
        while self._lines - calls[0][0] >= MOST_LINES or self._characters - calls[0][1] >= MOST_LINE_BYTES:
            lines, characters, _ = calls.popleft()
            self._lines -= lines
            self._characters -= characters

    def take(self) -> list[Applied]:
        """Remove and return the calls, oldest first."""
        calls = [applied for _, _, applied in self._calls]
        self._calls.clear()
        self._lines = self._characters = 0
        return calls
