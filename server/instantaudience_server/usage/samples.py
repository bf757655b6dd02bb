"""The newest calls of an hour, of which lines are kept for its report, and how fast these are written down: only the
newest are kept anyway, and writing down more than can be read is waste (docs/adr/0014-usage.md)."""

import asyncio
from collections import deque
from collections.abc import Callable

from instantaudience_server.applied import Applied
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.store.interfaces.usage import MOST_LINE_BYTES, MOST_LINES, Lines
from instantaudience_server.usage.lines import count_characters, count_lines, error_lines, segment_lines

CHARACTERS_AT_ONCE = 2 * MOST_LINE_BYTES
CHARACTERS_PER_SECOND = MOST_LINE_BYTES // 5
"""How much of lines an hour takes in a burst, and a second on: all that it keeps of a kind, in five seconds. Past it,
they come a little later."""
CHARACTERS_PER_SECOND_OF_ALL = 5 * MOST_LINE_BYTES
"""What all hours of a worker take that have had their burst."""


class LinePace:
    """What hours whose lines are held back take in a second: they share it."""

    def __init__(self) -> None:
        self.held_back = 0
        """How many hours are held back now."""

    @property
    def characters_per_second(self) -> float:
        """What each hour that is held back may take."""
        return min(CHARACTERS_PER_SECOND, CHARACTERS_PER_SECOND_OF_ALL / max(1, self.held_back))


class Samples:
    """What there is to write down of an hour; calls `resume` when lines that were held back may be taken."""

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
        """Keep a call, where it has lines."""
        error_count, segment_count = count_lines(applied)
        if error_count:
            self._errors.add(error_count, applied)
        if segment_count:
            self._segments.add(segment_count, applied)

    def take(self) -> Lines:
        """The lines that have gathered; none, for now, where there were many just before."""
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
        """What is left may be taken at once: it is the end."""
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
    """The newest calls that have lines of one kind, as many as those lines need."""

    __slots__ = ("_calls", "_characters", "_lines")

    def __init__(self) -> None:
        self._calls: deque[tuple[int, int, Applied]] = deque()
        self._lines = self._characters = 0

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, lines: int, applied: Applied) -> None:
        """Keep a call that has so many lines, and let go of calls that later ones leave no room for."""
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
        """The calls, in their order; none is left."""
        calls = [applied for _, _, applied in self._calls]
        self._calls.clear()
        self._lines = self._characters = 0
        return calls
