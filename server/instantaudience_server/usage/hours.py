"""Reads the hours of usage reports: finished ones from memory where possible, open ones always from the cluster.

A report must include every call that was acknowledged before the report was asked for, whichever worker took the call.
So an hour to which calls may still be added is read after that moment; reports that come close together share a
reading. An hour is finished when nothing can be added any more. It is kept for a limited time, in case clocks differ by
more than the margin.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import partial

from instantaudience_server.errors import unavailable
from instantaudience_server.process.clock import Clock
from instantaudience_server.process.waiting import Sweeper, Waiter, fail_late
from instantaudience_server.store.interfaces.usage import UsageStore
from instantaudience_server.usage import kept_hours
from instantaudience_server.usage.forms import Form, Piece
from instantaudience_server.usage.kept_hours import SHORTEST_RUN, Pieces, Shelf

SHARED_SECONDS = 0.005
"""The least time between the beginnings of two readings of a member; reports that come in between share one."""
BYTES_PER_TURN = 256 * 1024
"""How many bytes are encoded before the event loop may run other calls."""
NOT_READ = "the cluster did not tell in time what was sent"


class UsageHours:
    """The hours of all members, in all forms. Deadlines are times of the event loop's clock, in seconds."""

    def __init__(self, store: UsageStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._readers: OrderedDict[tuple[int, Form], _Reader] = OrderedDict()
        """In the order of their last use."""
        self._size = 0
        self._sweeper = Sweeper()

    async def read(self, member_id: int, hours: Sequence[int], form: Form, deadline: float) -> list[Piece]:
        """Read consecutive hours; returns, in order, those in which something was sent. A piece may have many hours.

        Raises:
            AudienceError: UNAVAILABLE.
        """
        if not hours:
            return []
        key = (member_id, form)
        reader = self._readers.get(key)
        if reader is None:
            shelf = Shelf(form, self._clock, self._grow)
            reader = self._readers[key] = _Reader(self._store, member_id, form, shelf)
        self._readers.move_to_end(key)
        run = reader.shelf.run(hours)
        rest = hours[run.hours :]
        found = reader.shelf.kept(rest)
        lacking = [hour for hour in rest if hour not in found]
        if lacking:
            self._sweeper.arm(reader)
            found |= await reader.read(lacking, deadline)
        # While this call waited, `_make_room` of another one may have removed the reader.
        if len(rest) >= SHORTEST_RUN and self._readers.get(key) is reader:
            reader.shelf.keep_run(hours)
        self._make_room()
        pieces = (run.piece, *[found[hour] for hour in rest])
        return [piece for piece in pieces if piece is not None]

    def kept_bytes(self, member_id: int, hours: Sequence[int], form: Form) -> int:
        """How many encoded bytes of consecutive hours are in memory: the least size of a report on them."""
        reader = self._readers.get((member_id, form))
        return reader.shelf.kept_bytes(hours) if reader and hours else 0

    async def close(self) -> None:
        """Cancel the readings under way, and the calls that wait for them."""
        self._sweeper.close()
        await asyncio.gather(*[reader.close() for reader in self._readers.values()])

    def _grow(self, size: int) -> None:
        self._size += size

    def _make_room(self) -> None:
        """Remove the least recently used readers until the rest is small enough."""
        while self._size > kept_hours.MOST_BYTES:
            key = next((key for key, reader in self._readers.items() if not reader.busy), None)
            if key is None:
                return
            self._size -= self._readers.pop(key).shelf.size


class _Reading:
    """A set of hours to read, the calls that wait for them, and the result."""

    def __init__(self) -> None:
        self.hours: set[int] = set()
        self.waiters: list[Waiter[None]] = []
        self.pieces: Pieces = {}


class _Reader:
    """Reads a member's hours in one form. One reading is under way at a time; calls that come meanwhile share the
    next."""

    def __init__(self, store: UsageStore, member_id: int, form: Form, shelf: Shelf) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._member_id = member_id
        self._form = form
        self.shelf = shelf
        self._under_way: _Reading | None = None
        self._task: asyncio.Task[None] | None = None
        self._next: _Reading | None = None
        self._started = float("-inf")

    @property
    def busy(self) -> bool:
        """Whether calls wait for a reading."""
        return self._task is not None

    async def read(self, hours: Iterable[int], deadline: float) -> Pieces:
        """Read hours in their state after this call; the result may have further ones."""
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
        """Fail the calls whose deadline has passed."""
        for reading in filter(None, (self._under_way, self._next)):
            reading.waiters = fail_late(reading.waiters, now, partial(unavailable, NOT_READ))

    async def close(self) -> None:
        """Cancel the reading under way, and all calls."""
        for reading in filter(None, (self._under_way, self._next)):
            for waiter in reading.waiters:
                waiter.done.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _read_on(self) -> None:
        """Carry out readings as long as there is one to do."""
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
        """Carry out a reading, unless nobody waits any more, and give the calls their results."""
        if all(waiter.done.done() for waiter in reading.waiters):
            return
        try:
            await self._carry_out(reading)
        except Exception as error:
            for waiter in reading.waiters:
                waiter.fail(error)
        else:
            for waiter in reading.waiters:
                waiter.succeed(None)

    async def _carry_out(self, reading: _Reading) -> None:
        """Read the hours that are not in memory, and keep those that are finished."""
        self.shelf.tidy()
        open_from = self.shelf.open_from
        pieces, deadline = self.shelf.kept(reading.hours), max([waiter.deadline for waiter in reading.waiters])
        hours = sorted(reading.hours - pieces.keys())
        encoded_bytes = 0
        usages = await self._store.read(self._member_id, hours, deadline, with_lines=self._form.with_lines)
        for hour, usage in zip(hours, usages, strict=True):
            piece = None if usage is None else self._form.piece(self._member_id, hour, usage)
            pieces[hour] = piece
            if hour < open_from:
                self.shelf.keep(hour, piece)
            else:
                self.shelf.drop(hour)
            encoded_bytes += 0 if piece is None else len(piece.encoded)
            if encoded_bytes > BYTES_PER_TURN:
                encoded_bytes = 0
                await asyncio.sleep(0)
        reading.pieces = pieces
