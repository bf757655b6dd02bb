"""Gives live calls priority: work on files pauses while the cluster, or this machine, has no capacity for both.

To find out, a small question is sent to the nodes while no write of this process is under way. As with CoDel (RFC
8289), the quickest of several answers counts: a single late one may be chance; if even the quickest is late, there is a
queue, in which live calls wait too.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

WORK_SECONDS = 0.5
"""The shortest time between looks while they find no queue. The next look happens when no write is under way, as at
each checkpoint of a file."""
MOST_WORK_SECONDS = 2.0
"""After this long, work pauses for a look: with several files, there is hardly a moment without a write under way."""
TURN_SECONDS = 0.05
"""The time between looks while they find a queue."""
LOOKS = 3
"""The most questions in one look; the first answer that is not late ends it."""
LATE_SECONDS = 0.002
"""How much longer than the quickest answer ever one may take before it counts as late."""
RESTS = 3
"""How many times as long as it has worked the process then rests, so that it works a quarter of the time."""
PATIENCE_SECONDS = 1.0
"""How long a look waits for writes under way to end: a node may be down, and other work must not wait for it."""


class Yielding:
    """Paces all work on files of a process. `ask` asks every node of the cluster; None: work never pauses."""

    def __init__(self, ask: Callable[[], Awaitable[object]] | None = None) -> None:
        self._ask = ask
        self._gate = asyncio.Lock()
        self._under_way: set[asyncio.Future[None]] = set()
        self._quickest = math.inf
        """How long the quickest answer ever took, in seconds."""
        self._is_late = False
        """Whether the last look found a queue."""
        self._working_since = -math.inf

    async def come(self) -> None:
        """Wait until the next write may begin."""
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
        """How long to work until the next look."""
        if self._is_late:
            return TURN_SECONDS
        return MOST_WORK_SECONDS if self._under_way else WORK_SECONDS

    def begin(self, done: "asyncio.Future[None]") -> None:
        """Note that a write is under way until `done`."""
        if self._ask is not None:
            self._under_way.add(done)
            done.add_done_callback(self._under_way.discard)

    async def _look(self, ask: Callable[[], Awaitable[object]]) -> bool:
        """Ask up to `LOOKS` times; whether all answers were late."""
        for _ in range(LOOKS):
            began = time.monotonic()
            await ask()
            seconds = time.monotonic() - began
            self._quickest = min(self._quickest, seconds)
            if seconds < self._quickest + LATE_SECONDS:
                return False
        return True
