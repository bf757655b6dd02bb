"""Reads what members sent, hour by hour, for reports: finished hours from memory, open ones always from the cluster.

A report must hold every call that was acknowledged before it was asked for, whichever worker took the call. So an hour
that calls may still count for is read after the report was asked for; reports that come close together share a reading.
An hour is finished when nothing can be added to it any more; for the case that clocks disagree by more than the margin,
it is not kept for long.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import takewhile
from typing import NamedTuple

from instantaudience_server.clock import MS_PER_HOUR, Clock
from instantaudience_server.errors import unavailable
from instantaudience_server.store.interfaces.usage import UsageStore
from instantaudience_server.usage.forms import Form, Piece
from instantaudience_server.waiting import Sweeper, Waiter, fail_late

MARGIN_MS = 300_000
"""How long after its end an hour is open: an acknowledged call was counted within a minute, the rest is for clocks."""
KEPT_SECONDS = 600.0
"""How long a finished hour is kept, at most."""
SHARED_SECONDS = 0.005
"""A member's readings begin at least so far apart: reports in between share one."""
MOST_BYTES = 64 * 2**20
"""What a worker keeps, about."""
PIECE_BYTES, SHELF_BYTES = 700, 2000
"""What a kept hour costs beyond its encoded bytes, and a member's form beyond its hours, about."""
BYTES_PER_TURN = 256 * 1024
"""After encoding so much, other calls get their turn."""
NOT_READ = "the cluster did not tell in time what was sent"

SHORTEST_RUN = 8
LARGEST_RUN_BYTES = 4 * 2**20
MOST_RUNS = 4
"""Finished hours in a row that were asked for, small ones, are kept joined as well, for a few beginnings."""

_SPREAD = 0.618
"""Of the turn that an hour's place in time makes: neighbours are not read anew all at once."""

Pieces = dict[int, Piece | None]
"""Hours; None where nothing was sent."""


class UsageHours:
    """Hours of all members, in all forms. Deadlines are times of the event loop's clock, in seconds."""

    def __init__(self, store: UsageStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._shelves: OrderedDict[tuple[int, Form], _Shelf] = OrderedDict()
        """The one that was used last is the last one."""
        self._size = 0
        self._sweeper = Sweeper()

    async def read(self, member_id: int, hours: Sequence[int], form: Form, deadline: float) -> list[Piece]:
        """Those of some hours in a row in which something was sent, in their order; a piece may be many hours.

        Raises:
            AudienceError: UNAVAILABLE.
        """
        if not hours:
            return []
        key = (member_id, form)
        shelf = self._shelves.get(key)
        if shelf is None:
            shelf = self._shelves[key] = _Shelf(self._store, self._clock, member_id, form, self._grow)
        self._shelves.move_to_end(key)
        run = shelf.run(hours)
        rest = hours[run.hours :]
        found = shelf.kept(rest)
        lacking = [hour for hour in rest if hour not in found]
        if lacking:
            self._sweeper.arm(shelf)
            found |= await shelf.fetch(lacking, deadline)
        # Another reader of the shelf may have been the first to go on, and have forgotten it.
        if len(rest) >= SHORTEST_RUN and self._shelves.get(key) is shelf:
            shelf.keep_run(hours)
        self._make_room()
        pieces = (run.piece, *[found[hour] for hour in rest])
        return [piece for piece in pieces if piece is not None]

    def kept_bytes(self, member_id: int, hours: Sequence[int], form: Form) -> int:
        """How much is kept of some hours in a row; they have no less."""
        shelf = self._shelves.get((member_id, form))
        return shelf.kept_bytes(hours) if shelf and hours else 0

    async def close(self) -> None:
        """End the readings under way, and the calls that wait for them."""
        self._sweeper.close()
        await asyncio.gather(*[shelf.close() for shelf in self._shelves.values()])

    def _grow(self, size: int) -> None:
        self._size += size

    def _make_room(self) -> None:
        """Forget what was used longest ago, until the rest is small enough."""
        while self._size > MOST_BYTES:
            key = next((key for key, shelf in self._shelves.items() if not shelf.busy), None)
            if key is None:
                return
            self._size -= self._shelves.pop(key).size


class _Run(NamedTuple):
    """The first so many of the hours asked for, joined, and until when they are kept."""

    hours: int
    until: float
    piece: Piece | None


_NO_RUN = _Run(0, 0.0, None)


class _Reading:
    """Hours to read, and who waits for them."""

    def __init__(self) -> None:
        self.hours: set[int] = set()
        self.waiters: list[Waiter[None]] = []
        self.pieces: Pieces = {}


class _Shelf:
    """A member's hours in one form: one reading is under way at a time, and the next one gathers."""

    def __init__(
        self, store: UsageStore, clock: Clock, member_id: int, form: Form, grow: Callable[[int], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._member_id = member_id
        self._form = form
        self._grow = grow
        self._finished: dict[int, tuple[float, Piece | None]] = {}
        """Until when an hour is kept, and the hour."""
        self._runs: dict[int, _Run] = {}
        """By their first hour."""
        self.size = 0
        """Bytes that are kept, about; `grow` is told of every change."""
        self._resize(SHELF_BYTES)
        self._under_way: _Reading | None = None
        self._task: asyncio.Task[None] | None = None
        self._next: _Reading | None = None
        self._started = float("-inf")
        self._tidy_at = self._loop.time() + KEPT_SECONDS

    @property
    def busy(self) -> bool:
        """Whether calls wait for a reading."""
        return self._task is not None

    @property
    def _open_from(self) -> int:
        """The first hour that is not finished."""
        return (self._clock.now_ms() - MARGIN_MS) // MS_PER_HOUR

    def run(self, hours: Sequence[int]) -> _Run:
        """The first ones of those hours."""
        run = self._runs.get(hours[0], _NO_RUN)
        is_kept = self._loop.time() < run.until and hours[0] + run.hours <= self._open_from
        return run if is_kept and run.hours <= len(hours) else _NO_RUN

    def keep_run(self, hours: Sequence[int]) -> None:
        """Join the first ones of those hours, as many as are kept, unless they are large."""
        finished_bytes = self.size - sum([_size(run.piece) for run in self._runs.values()])
        if len(hours) * finished_bytes > 2 * LARGEST_RUN_BYTES * max(1, len(self._finished)):
            return  # on the average they are too large; looking at each would take longer
        now, nothing = self._loop.time(), (0.0, None)
        kept = list(takewhile(lambda entry: now < entry[0], (self._finished.get(hour, nothing) for hour in hours)))
        pieces = [piece for _, piece in kept if piece is not None]
        if len(kept) < SHORTEST_RUN or sum([len(piece.encoded) for piece in pieces]) > LARGEST_RUN_BYTES:
            return
        self._drop_run(hours[0])
        if len(self._runs) >= MOST_RUNS:
            self._drop_run(next(iter(self._runs)))
        self._runs[hours[0]] = run = _Run(len(kept), min(until for until, _ in kept), self._form.joined(pieces))
        self._resize(_size(run.piece))

    def kept(self, hours: Iterable[int]) -> Pieces:
        """Those hours that are kept. One that was finished is open again where the clock was set back."""
        now, finished, open_from = self._loop.time(), self._finished, self._open_from
        entries = [(hour, finished.get(hour)) for hour in hours if hour < open_from]
        return {hour: entry[1] for hour, entry in entries if entry is not None and now < entry[0]}

    def kept_bytes(self, hours: Sequence[int]) -> int:
        """How much is kept of some hours."""
        run = self.run(hours)
        pieces = (run.piece, *self.kept(hours[run.hours :]).values())
        return sum([len(piece.encoded) for piece in pieces if piece is not None])

    async def fetch(self, hours: Iterable[int], deadline: float) -> Pieces:
        """Read hours: at least those, as they are after this was called."""
        if self._next is None:
            self._next = _Reading()
            if self._task is None:
                self._task = self._loop.create_task(self._read_on())
        reading = self._next
        reading.hours.update(hours)
        waiter = Waiter[None](deadline, self._loop.create_future())
        reading.waiters.append(waiter)
        await waiter.done
        return reading.pieces

    def fail_overdue(self, now: float) -> None:
        """Fail the calls whose deadline is over."""
        for reading in filter(None, (self._under_way, self._next)):
            reading.waiters = fail_late(reading.waiters, now, partial(unavailable, NOT_READ))

    async def close(self) -> None:
        """End the reading under way, and all calls."""
        for reading in filter(None, (self._under_way, self._next)):
            for waiter in reading.waiters:
                waiter.done.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _read_on(self) -> None:
        """Read while there is something to read."""
        try:
            while self._next is not None:
                pause = self._started + SHARED_SECONDS - self._loop.time()
                if pause > 0:
                    await asyncio.sleep(pause)
                self._under_way, self._next, self._started = self._next, None, self._loop.time()
                await self._answer(self._under_way)
                self._under_way = None
        finally:
            self._task = None

    async def _answer(self, reading: _Reading) -> None:
        """Read what is still waited for, and let the calls go on."""
        if all(waiter.done.done() for waiter in reading.waiters):
            return
        try:
            await self._read(reading)
        except Exception as error:
            for waiter in reading.waiters:
                waiter.fail(error)
        else:
            for waiter in reading.waiters:
                waiter.succeed(None)

    async def _read(self, reading: _Reading) -> None:
        """Read what is not kept by now; finished hours are kept."""
        if self._tidy_at <= self._loop.time():
            self._tidy()
        open_from = self._open_from
        pieces, deadline = self.kept(reading.hours), max([waiter.deadline for waiter in reading.waiters])
        hours = sorted(reading.hours - pieces.keys())
        encoded_bytes = 0
        usages = await self._store.read(self._member_id, hours, deadline, with_lines=self._form.with_lines)
        for hour, usage in zip(hours, usages, strict=True):
            piece = None if usage is None else self._form.piece(self._member_id, hour, usage)
            pieces[hour] = piece
            if hour < open_from:
                self._keep(hour, piece)
            else:
                self._drop(hour)
            encoded_bytes += 0 if piece is None else len(piece.encoded)
            if encoded_bytes > BYTES_PER_TURN:
                encoded_bytes = 0
                await asyncio.sleep(0)
        reading.pieces = pieces

    def _keep(self, hour: int, piece: Piece | None) -> None:
        self._drop(hour)
        if self.size + _size(piece) <= MOST_BYTES:
            until = self._loop.time() + KEPT_SECONDS * (1 + hour * _SPREAD % 1) / 2
            self._finished[hour] = until, piece
            self._resize(_size(piece))

    def _tidy(self) -> None:
        """Forget what is kept no longer: the hours that nobody asks for any more."""
        now = self._loop.time()
        self._tidy_at = now + KEPT_SECONDS
        for hour in [hour for hour, (until, _) in self._finished.items() if until <= now]:
            self._drop(hour)
        for first in [first for first, run in self._runs.items() if run.until <= now]:
            self._drop_run(first)

    def _drop(self, hour: int) -> None:
        if (entry := self._finished.pop(hour, None)) is not None:
            self._resize(-_size(entry[1]))

    def _drop_run(self, first: int) -> None:
        if (run := self._runs.pop(first, None)) is not None:
            self._resize(-_size(run.piece))

    def _resize(self, size: int) -> None:
        self.size += size
        self._grow(size)


def _size(piece: Piece | None) -> int:
    return PIECE_BYTES + (0 if piece is None else len(piece.encoded))
