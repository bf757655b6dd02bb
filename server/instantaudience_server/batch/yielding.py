"""Lets live calls go first: work on files rests while the cluster, or this machine, has no time for both.

Whether it has is told by a small question that is asked while nothing of this work is under way. As with CoDel (RFC
8289), the quickest of some answers counts: one that is late may be chance; where even the quickest one is, there is a
queue, and live calls stand in it.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

WORK_SECONDS = 0.5
"""The time from one look to the next, at least, as long as looks find no queue. The next one is due when nothing is
under way, as at each checkpoint of a file."""
MOST_WORK_SECONDS = 2.0
"""After so long, work pauses for a look: with several files, there is hardly a moment when nothing is under way."""
TURN_SECONDS = 0.05
"""The time from one look to the next while looks find a queue."""
LOOKS = 3
"""Questions in one look, at most: the first answer that is not late ends it."""
LATE_SECONDS = 0.002
"""How much later than ever an answer may come before work rests."""
RESTS = 3
"""How many times as long as it has worked it rests: a quarter of the time is for work, however long answers take."""
PATIENCE_SECONDS = 1.0
"""How long a look waits until nothing is under way; a node may be away, and no other work has to wait for that."""


class Yielding:
    """For all work on files of a process. `ask` asks every node of the cluster; None: there is nobody to yield to."""

    def __init__(self, ask: Callable[[], Awaitable[object]] | None = None) -> None:
        self._ask = ask
        self._gate = asyncio.Lock()
        self._under_way: set[asyncio.Future[None]] = set()
        self._quickest = math.inf
        """Of all answers."""
        self._is_late = False
        """Whether answers came late when it was looked last."""
        self._working_since = -math.inf

    async def come(self) -> None:
        """Return when the next piece of work may begin."""
        if self._ask is None:
            return
        async with self._gate:
            worked = time.monotonic() - self._working_since
            if worked >= self._turn_seconds:
                if self._under_way:
                    await asyncio.wait(self._under_way, timeout=PATIENCE_SECONDS)
                if self._is_late:
                    await asyncio.sleep(RESTS * min(worked, WORK_SECONDS))
                if not self._under_way:
                    self._is_late = await self._look(self._ask)
                self._working_since = time.monotonic()

    @property
    def _turn_seconds(self) -> float:
        """How long there is work until the next look."""
        if self._is_late:
            return TURN_SECONDS
        return MOST_WORK_SECONDS if self._under_way else WORK_SECONDS

    def begin(self, done: "asyncio.Future[None]") -> None:
        """A piece of work is under way until it is `done`."""
        if self._ask is not None:
            self._under_way.add(done)
            done.add_done_callback(self._under_way.discard)

    async def _look(self, ask: Callable[[], Awaitable[object]]) -> bool:
        """Whether all answers come late."""
        for _ in range(LOOKS):
            began = time.monotonic()
            await ask()
            seconds = time.monotonic() - began
            self._quickest = min(self._quickest, seconds)
            if seconds < self._quickest + LATE_SECONDS:
                return False
        return True
