"""About how many users joined each segment in the last weeks (docs/adr/0015-segment-sizes.md).

Calls only note what they wrote. It is worked off for many calls at once, in pieces between which calls get their turn,
and sent when the cluster has time for it: sizes may lag behind, or miss something, but they delay and fail no call.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from instantaudience_server.clock import Clock
from instantaudience_server.errors import STORE_FAILURES
from instantaudience_server.metrics import SEGMENT_SIZE_USERS_LEFT_OUT
from instantaudience_server.store.interfaces.memberships import REMOVE, Changes, UserChanges
from instantaudience_server.store.interfaces.segment_sizes import Joins, SegmentSizeStore

GATHER_SECONDS = 0.1
"""How long what calls note is gathered: the more users a segment gets at once, the less each of them costs."""
LARGEST_SHARE = 0.1
"""The part of the event loop's time that working off may take, however users and segments are spread. Usual calls need
less than half of that; past it, what is noted waits, and then is left out."""
SENDING_SHARE = 0.05
"""The part that sending may take, about: where many segments get few users each, they gather for longer."""
COMMAND_SECONDS = 5e-6
"""What a command costs the worker, about, from its packing to its answer."""
USERS_AT_ONCE = 4000
MEMBERSHIPS_AT_ONCE = 20_000
"""What is worked off before other calls get their turn, about: one or two milliseconds; three times as much where
hardly any users have the same segments."""
MOST_USERS = 200_000
"""Users that wait to be worked off, at most; past it, users are left out."""
MOST_WAITING = 200_000
"""Additions that wait for the cluster, about: past it, users wait as they are."""
ROOM_LOOKS = 50
"""How often it is looked for room, before who waits for it goes on without."""
SEND_SECONDS = 1.0
"""How long the cluster has to take what was worked off, each time."""
RETRY_SECONDS = 1.0
"""The pause after it did not, and after it did not tell sizes."""
CLOSE_SECONDS = 1.0
"""How long the last additions may take at the end."""
READ_SECONDS = 0.5
"""How long the cluster has to tell sizes; without them, segments are listed all the same."""
FRESH_SECONDS = 5.0
"""How long a size that was read is good for."""
MOST_FRESH = 20_000
"""Sizes that are kept, at most."""


class _Size(NamedTuple):
    """A size (None: nobody told), and until when it is good (a time of the event loop's clock, in seconds)."""

    users: int | None
    until: float


_NUMBER_BYTES, _PLACE_BYTES = 8, 4
_UNREAD = _Size(None, 0.0)


class SegmentSizes:
    """Notes who joins segments, and tells how many did. Deadlines are times of the event loop's clock, in seconds."""

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
        """Count the users of changes that were written. It costs a call next to nothing, and never fails."""
        users = _count_users(changes)
        if self._room <= 0:
            SEGMENT_SIZE_USERS_LEFT_OUT.inc(users)
            return
        self._noted.append(changes)
        self._room -= users
        if self._working is None or self._working.done():
            self._working = self._loop.create_task(self._work())

    async def make_room(self) -> None:
        """Return when there is room for more users, or after a while without: for who has much to note and time."""
        for _ in range(ROOM_LOOKS):
            if self._room > MOST_USERS // 2:
                return
            await asyncio.sleep(GATHER_SECONDS)

    async def estimates(self, segment_ids: Iterable[int], deadline: float) -> Mapping[int, int]:
        """About how many different users joined segments in the last 28 to 35 days, by segment ID.

        Those are missing that the cluster does not tell in time. What users did in the last seconds may not be in it.
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
        """Send what is left, as far as the cluster takes it at once."""
        tasks = {*self._reading.values(), *filter(None, [self._working])}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._take()
        await self._send(CLOSE_SECONDS)

    async def _read(self, segment_ids: Sequence[int]) -> Mapping[int, _Size]:
        """Ask the cluster for sizes, once for all calls that want them."""
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
        """Work off what was noted and send it, until nothing is left."""
        pause = GATHER_SECONDS
        while self._noted or self._store.waiting:
            await asyncio.sleep(pause)
            busy_seconds = await self._take()
            pause = max(GATHER_SECONDS, busy_seconds / LARGEST_SHARE)
            if self._loop.time() >= self._next_sending:
                await self._send(SEND_SECONDS)

    async def _take(self) -> float:
        """Hand what was noted up to now to the store; how many seconds of a core that took."""
        busy_seconds = 0.0
        left = len(self._noted)
        while left and self._store.waiting < MOST_WAITING:
            started = time.thread_time()
            left -= self._take_piece(left)
            busy_seconds += time.thread_time() - started
            await asyncio.sleep(0)
        return busy_seconds

    def _take_piece(self, most_calls: int) -> int:
        """Hand some of the calls that were noted to the store, as many as may be worked off at once; how many. What is
        left of the last one is the next one's turn."""
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
        """Send what the store has taken, and fix when to send again."""
        pause = RETRY_SECONDS
        with contextlib.suppress(*STORE_FAILURES):
            pause = await self._store.send(self._loop.time() + seconds) * COMMAND_SECONDS / SENDING_SHARE
        self._next_sending = self._loop.time() + pause


def _count_users(changes: Changes | Joins) -> int:
    if isinstance(changes, Joins):
        return len(changes.users) // _NUMBER_BYTES
    return sum([len(keys) for keys, _ in changes])


def _joined(changes: UserChanges) -> tuple[int, ...]:
    """The segments that a user joins, not those that it leaves."""
    if len(changes) == 1:
        ((end, values),) = changes.items()
        return () if end == REMOVE else tuple(values)
    return tuple([segment_id for end, values in changes.items() if end != REMOVE for segment_id in values])
