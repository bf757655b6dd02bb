"""Finished hours of members in memory, for a while: one by one, and joined where reports ask for many."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from typing import NamedTuple

from instantaudience_server.clock import MS_PER_HOUR, Clock
from instantaudience_server.usage.forms import Form, Piece

MARGIN_MS = 300_000
"""How long after its end an hour is open: an acknowledged call was counted within a minute, the rest is for clocks."""
KEPT_SECONDS = 600.0
"""How long a finished hour is kept, at most."""
MOST_BYTES = 64 * 2**20
"""What a worker keeps, about."""
PIECE_BYTES, SHELF_BYTES = 700, 2000
"""What a kept hour costs beyond its encoded bytes, and a member's form beyond its hours, about."""

SHORTEST_RUN = 8
LARGEST_RUN_BYTES = 4 * 2**20
MOST_RUNS = 4
"""Finished hours in a row that were asked for, small ones, are kept joined as well, for a few beginnings."""

_SPREAD = 0.618
"""The times for which neighbouring hours are kept differ by this part of the range of such times, modulo the range: so
they are not all read anew at once."""

Pieces = dict[int, Piece | None]
"""Hours; None where nothing was sent."""


class Run(NamedTuple):
    """The first so many of the hours asked for, joined, and until when they are kept."""

    hours: int
    until: float
    piece: Piece | None


_NO_RUN = Run(0, 0.0, None)


class Shelf:
    """A member's finished hours in one form. `grow` is told of every change of its `size` in bytes, about."""

    def __init__(self, form: Form, clock: Clock, grow: Callable[[int], None]) -> None:
        self._form = form
        self._clock = clock
        self._grow = grow
        self._time = asyncio.get_running_loop().time
        self._finished: dict[int, tuple[float, Piece | None]] = {}
        """Until when an hour is kept, and the hour."""
        self._runs: dict[int, Run] = {}
        """By their first hour."""
        self._tidy_at = self._time() + KEPT_SECONDS
        self.size = 0
        self._resize(SHELF_BYTES)

    @property
    def open_from(self) -> int:
        """The first hour that is not finished."""
        return (self._clock.now_ms() - MARGIN_MS) // MS_PER_HOUR

    def run(self, hours: Sequence[int]) -> Run:
        """The first ones of those hours."""
        run = self._runs.get(hours[0], _NO_RUN)
        is_kept = self._time() < run.until and hours[0] + run.hours <= self.open_from
        return run if is_kept and run.hours <= len(hours) else _NO_RUN

    def keep_run(self, hours: Sequence[int]) -> None:
        """Join the first ones of those hours, as many as are kept, unless they are large."""
        finished_bytes = self.size - sum([_size(run.piece) for run in self._runs.values()])
        if len(hours) * finished_bytes > 2 * LARGEST_RUN_BYTES * max(1, len(self._finished)):
            return  # on the average they are too large; looking at each would take longer
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
        """Those hours that are kept. One that was finished is open again where the clock was set back."""
        now, finished, open_from = self._time(), self._finished, self.open_from
        entries = [(hour, finished.get(hour)) for hour in hours if hour < open_from]
        return {hour: entry[1] for hour, entry in entries if entry is not None and now < entry[0]}

    def kept_bytes(self, hours: Sequence[int]) -> int:
        """How much is kept of some hours."""
        run = self.run(hours)
        pieces = (run.piece, *self.kept(hours[run.hours :]).values())
        return sum([len(piece.encoded) for piece in pieces if piece is not None])

    def keep(self, hour: int, piece: Piece | None) -> None:
        """Keep an hour that was finished before it was read, if there is room."""
        self.drop(hour)
        if self.size + _size(piece) <= MOST_BYTES:
            until = self._time() + KEPT_SECONDS * (1 + hour * _SPREAD % 1) / 2
            self._finished[hour] = until, piece
            self._resize(_size(piece))

    def drop(self, hour: int) -> None:
        """Forget an hour, and what it is joined into."""
        if (entry := self._finished.pop(hour, None)) is not None:
            self._resize(-_size(entry[1]))
            for first in [first for first, run in self._runs.items() if first <= hour < first + run.hours]:
                self._drop_run(first)

    def tidy(self) -> None:
        """Forget, now and then, what is kept no longer: the hours that nobody asks for any more."""
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
