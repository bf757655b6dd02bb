"""Estimates of how many users joined each segment in the last weeks (docs/adr/0015-segment-sizes.md).

Calls only note what they wrote. Notes are processed in the background, for many calls at once and in small pieces, and
then sent to the cluster within a limited share of the time. Sizes may lag behind or miss users, but no call is delayed
or fails because of them.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from instantaudience_server.errors import STORE_FAILURES
from instantaudience_server.observation.metrics import SEGMENT_SIZE_USERS_LEFT_OUT
from instantaudience_server.process.clock import Clock
from instantaudience_server.store.interfaces.memberships import REMOVE, Changes, UserChanges
from instantaudience_server.store.interfaces.segment_sizes import Joins, SegmentSizeStore

GATHER_SECONDS = 0.1
"""How long notes are gathered: the more users a segment gets at once, the less each of them costs."""
LARGEST_SHARE = 0.1
"""The most of the event loop's time that processing notes may take. Usual calls need less than half of that; beyond it,
notes wait and finally are dropped."""
SENDING_SHARE = 0.05
"""About the most of the event loop's time that sending may take: beyond it, additions are gathered for longer."""
COMMAND_SECONDS = 5e-6
"""About how much time of the worker a command takes in all."""
USERS_AT_ONCE = 4000
MEMBERSHIPS_AT_ONCE = 20_000
"""About how many users and memberships are processed before other calls get their turn: one or two milliseconds, or
three times as much where hardly any users have the same segments."""
MOST_USERS = 200_000
"""The most users in notes that wait to be processed; beyond it, users are left out."""
MOST_WAITING = 200_000
"""About how many additions may wait for the cluster; beyond it, notes are not processed."""
ROOM_LOOKS = 50
"""How often `make_room` looks for room before it gives up."""
SEND_SECONDS = 1.0
"""How long the cluster may take for one sending."""
RETRY_SECONDS = 1.0
"""The pause after a sending, or a reading of sizes, that failed."""
CLOSE_SECONDS = 1.0
"""How long the last sending may take, at the end."""
READ_SECONDS = 0.5
"""How long the cluster may take to return sizes; segments are listed without them otherwise."""
FRESH_SECONDS = 5.0
"""How long a size that was read is used."""
MOST_FRESH = 20_000
"""The most sizes that are cached."""


class _Size(NamedTuple):
    """A cached size (None: unknown), and until when to use it (a time of the event loop's clock, in seconds)."""

    users: int | None
    until: float


_NUMBER_BYTES, _PLACE_BYTES = 8, 4
_UNREAD = _Size(None, 0.0)


class SegmentSizes:
    """Counts the users who join segments, and reads the counts. Deadlines are times of the event loop's clock, in
    seconds."""

    def __init__(self, store: SegmentSizeStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._noted: deque[Changes | Joins] = deque()
        self._room = MOST_USERS
        self._working: asyncio.Task[None] | None = None
        self._next_sending = 0.0
        self._sizes: dict[int, _Size] = {}
        self._reading: dict[int, asyncio.Task[Mapping[int, _Size]]] = {}

    def note(self, changes: Changes | Joins) -> None:
        """Note changes that were written, to count their users later. Cheap, and never fails."""
        users = _count_users(changes)
        if self._room <= 0:
            SEGMENT_SIZE_USERS_LEFT_OUT.inc(users)
            return
        self._noted.append(changes)
        self._room -= users
        if self._working is None or self._working.done():
            self._working = self._loop.create_task(self._work())

    async def make_room(self) -> None:
        """Wait until there is room for more users, for some seconds at most; for work on files, which notes many users
        and can wait."""
        for _ in range(ROOM_LOOKS):
            if self._room > MOST_USERS // 2:
                return
            await asyncio.sleep(GATHER_SECONDS)

    async def estimates(self, segment_ids: Iterable[int], deadline: float) -> Mapping[int, int]:
        """Segment ID → about how many distinct users joined the segment in the last 28 to 35 days.

        Segments whose size the cluster does not return in time are missing. Users of the last seconds may not be
        counted yet.
        """
        now = self._loop.time()
        found = {each: self._sizes.get(each, _UNREAD) for each in segment_ids}
        stale = [each for each, size in found.items() if size.until <= now]
        unread = [each for each in stale if each not in self._reading]
        if unread:
            self._reading |= dict.fromkeys(unread, self._loop.create_task(self._read(unread)))
        if stale:
            readings = {self._reading[each] for each in stale}
            await asyncio.wait(readings, timeout=deadline - now)
            for reading in readings:
                if reading.done():
                    found |= {each: size for each, size in reading.result().items() if each in found}
        return {each: size.users for each, size in found.items() if size.users is not None}

    async def close(self) -> None:
        """Process and send what is left, within `CLOSE_SECONDS`."""
        tasks = {*self._reading.values(), *filter(None, [self._working])}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._take()
        await self._send(CLOSE_SECONDS)

    async def _read(self, segment_ids: Sequence[int]) -> Mapping[int, _Size]:
        """Read sizes from the cluster, once for all calls that want them, and cache them."""
        counts: Sequence[int | None] = [None] * len(segment_ids)
        seconds = RETRY_SECONDS
        try:
            counts = await self._store.count(segment_ids, self._clock.now_ms(), self._loop.time() + READ_SECONDS)
            seconds = FRESH_SECONDS
        except STORE_FAILURES:
            pass
        finally:
            for segment_id in segment_ids:
                del self._reading[segment_id]
        until = self._loop.time() + seconds
        read = {each: _Size(users, until) for each, users in zip(segment_ids, counts, strict=True)}
        if len(self._sizes) + len(read) > MOST_FRESH:
            self._sizes.clear()
        self._sizes |= read
        return read

    async def _work(self) -> None:
        """Process notes and send additions, until nothing is left."""
        pause = GATHER_SECONDS
        while self._noted or self._store.waiting:
            await asyncio.sleep(pause)
            busy_seconds = await self._take()
            pause = max(GATHER_SECONDS, busy_seconds / LARGEST_SHARE)
            if self._loop.time() >= self._next_sending:
                await self._send(SEND_SECONDS)

    async def _take(self) -> float:
        """Hand the present notes to the store; returns how many seconds of processor time that took."""
        busy_seconds = 0.0
        left = len(self._noted)
        while left and self._store.waiting < MOST_WAITING:
            started = time.thread_time()
            left -= self._take_piece(left)
            busy_seconds += time.thread_time() - started
            await asyncio.sleep(0)
        return busy_seconds

    def _take_piece(self, most_calls: int) -> int:
        """Hand the notes of some calls to the store, as many as may be processed at once; returns how many calls. What
        is left of the last one stays first in line."""
        joined: dict[tuple[int, ...], list[Sequence[bytes]]] = {}
        calls = users = memberships = 0
        while calls < most_calls and users < USERS_AT_ONCE and memberships < MEMBERSHIPS_AT_ONCE:
            changes = self._noted.popleft()
            calls += 1
            if isinstance(changes, Joins):
                users += _count_users(changes)
                memberships += len(changes.user_places) // _PLACE_BYTES
                self._store.take_joins(changes, self._clock.now_ms())
                continue
            for number, (keys, user_changes) in enumerate(changes):
                if memberships >= MEMBERSHIPS_AT_ONCE:
                    self._noted.appendleft(changes[number:])
                    calls -= 1
                    break
                segment_ids = _joined(user_changes)
                joined.setdefault(segment_ids, []).append(keys)
                users += len(keys)
                memberships += len(segment_ids) * len(keys)
        joined.pop((), None)
        self._room += users
        if joined:
            self._store.take(joined, self._clock.now_ms())
        return calls

    async def _send(self, seconds: float) -> None:
        """Send what the store has taken, and schedule the next sending."""
        pause = RETRY_SECONDS
        with contextlib.suppress(*STORE_FAILURES):
            pause = await self._store.send(self._loop.time() + seconds) * COMMAND_SECONDS / SENDING_SHARE
        self._next_sending = self._loop.time() + pause


def _count_users(changes: Changes | Joins) -> int:
    if isinstance(changes, Joins):
        return len(changes.users) // _NUMBER_BYTES
    return sum([len(keys) for keys, _ in changes])


def _joined(changes: UserChanges) -> tuple[int, ...]:
    """The IDs of the segments that the changes add a user to."""
    if len(changes) == 1:
        ((end, values),) = changes.items()
        return () if end == REMOVE else tuple(values)
    return tuple([segment_id for end, values in changes.items() if end != REMOVE for segment_id in values])
