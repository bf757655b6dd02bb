"""Keeps finished hours of usage in memory for a while: each by itself, and joined where reports ask for many."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from typing import NamedTuple

from instantaudience_server.process.clock import MS_PER_HOUR, Clock
from instantaudience_server.usage.forms import Form, Piece

MARGIN_MS = 300_000
"""How long after its end an hour stays open: a call is counted within a minute, the rest is for differing clocks."""
KEPT_SECONDS = 600.0
"""The longest that a finished hour is kept."""
MOST_BYTES = 64 * 2**20
"""About how much memory a worker uses for kept hours."""
PIECE_BYTES, SHELF_BYTES = 700, 2000
"""About how much memory a kept hour takes beyond its encoded bytes, and a shelf beyond its hours."""

SHORTEST_RUN = 8
LARGEST_RUN_BYTES = 4 * 2**20
MOST_RUNS = 4
"""Consecutive finished hours that a report asked for are also kept joined (a run), if there are at least `SHORTEST_RUN`
of them and they are not larger than `LARGEST_RUN_BYTES`; a shelf has at most `MOST_RUNS` runs."""

_SPREAD = 0.618
"""The times for which consecutive hours are kept differ by this fraction of their range (modulo the range), so that
they do not all expire, and have to be read again, at once."""

Pieces = dict[int, Piece | None]
"""By hour; None if nothing was sent in it."""


class Run(NamedTuple):
    """Consecutive hours that are joined in one piece: how many, and until when they are kept (event loop's clock)."""

    hours: int
    until: float
    piece: Piece | None


_NO_RUN = Run(0, 0.0, None)


class Shelf:
    """A member's finished hours in one form. `grow` is called with every change of its approximate `size` in bytes."""

    def __init__(self, form: Form, clock: Clock, grow: Callable[[int], None]) -> None:
        self._form = form
        self._clock = clock
        self._grow = grow
        self._time = asyncio.get_running_loop().time
        self._finished: dict[int, tuple[float, Piece | None]] = {}
        """By hour: until when it is kept (event loop's clock), and its piece."""
        self._runs: dict[int, Run] = {}
        """By first hour."""
        self._tidy_at = self._time() + KEPT_SECONDS
        self.size = 0
        self._resize(SHELF_BYTES)

    @property
    def open_from(self) -> int:
        """The first hour that is not finished."""
        return (self._clock.now_ms() - MARGIN_MS) // MS_PER_HOUR

    def run(self, hours: Sequence[int]) -> Run:
        """The kept run that begins with the first of these hours; an empty one if there is none."""
        run = self._runs.get(hours[0], _NO_RUN)
        is_kept = self._time() < run.until and hours[0] + run.hours <= self.open_from
        return run if is_kept and run.hours <= len(hours) else _NO_RUN

    def keep_run(self, hours: Sequence[int]) -> None:
        """Keep a run of the first of these hours, as many as are kept, unless they are too few or too large."""
        finished_bytes = self.size - sum([_size(run.piece) for run in self._runs.values()])
        if len(hours) * finished_bytes > 2 * LARGEST_RUN_BYTES * max(1, len(self._finished)):
            return  # too large, by the average size of kept hours; adding up the sizes of these would take longer
        now, nothing = self._time(), (0.0, None)
        kept = list(takewhile(lambda entry: now < entry[0], (self._finished.get(hour, nothing) for hour in hours)))
        pieces = [piece for _, piece in kept if piece is not None]
        if len(kept) < SHORTEST_RUN or sum([len(piece.encoded) for piece in pieces]) > LARGEST_RUN_BYTES:
            return
        self._drop_run(hours[0])
        if len(self._runs) >= MOST_RUNS:
            self._drop_run(next(iter(self._runs)))
        self._runs[hours[0]] = run = Run(len(kept), min(until for until, _ in kept), self._form.joined(pieces))
        self._resize(_size(run.piece))

    def kept(self, hours: Iterable[int]) -> Pieces:
        """The hours among these that are kept; without those that are open again because the clock was set back."""
        now, finished, open_from = self._time(), self._finished, self.open_from
        entries = [(hour, finished.get(hour)) for hour in hours if hour < open_from]
        return {hour: entry[1] for hour, entry in entries if entry is not None and now < entry[0]}

    def kept_bytes(self, hours: Sequence[int]) -> int:
        """How many encoded bytes of these hours are kept."""
        run = self.run(hours)
        pieces = (run.piece, *self.kept(hours[run.hours :]).values())
        return sum([len(piece.encoded) for piece in pieces if piece is not None])

    def keep(self, hour: int, piece: Piece | None) -> None:
        """Keep an hour, if there is room. It must have been finished before it was read."""
        self.drop(hour)
        if self.size + _size(piece) <= MOST_BYTES:
            until = self._time() + KEPT_SECONDS * (1 + hour * _SPREAD % 1) / 2
            self._finished[hour] = until, piece
            self._resize(_size(piece))

    def drop(self, hour: int) -> None:
        """Remove an hour, and the runs that contain it."""
        if (entry := self._finished.pop(hour, None)) is not None:
            self._resize(-_size(entry[1]))
            for first in [first for first, run in self._runs.items() if first <= hour < first + run.hours]:
                self._drop_run(first)

    def tidy(self) -> None:
        """Remove what has expired, once every `KEPT_SECONDS`: otherwise hours that nobody asks for would stay."""
        now = self._time()
        if now < self._tidy_at:
            return
        self._tidy_at = now + KEPT_SECONDS
        for hour in [hour for hour, (until, _) in self._finished.items() if until <= now]:
            self.drop(hour)
        for first in [first for first, run in self._runs.items() if run.until <= now]:
            self._drop_run(first)

    def _drop_run(self, first: int) -> None:
        if (run := self._runs.pop(first, None)) is not None:
            self._resize(-_size(run.piece))

    def _resize(self, size: int) -> None:
        self.size += size
        self._grow(size)


def _size(piece: Piece | None) -> int:
    return PIECE_BYTES + (0 if piece is None else len(piece.encoded))
