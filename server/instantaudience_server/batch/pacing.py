"""How much of a worker's time a job may take: what is left, or a tenth where live calls come."""

import asyncio
import time
from collections.abc import Callable

SHARE = 0.1
"""A job's part of a worker's time while live calls come."""
UNSEEN = 1.5
"""What a job costs for each second that is measured: connections to the cluster send and read for it later."""
LIVE_SECONDS = 0.1
"""For so long after a live call, others are expected."""


class Pacing:
    """Lets live calls go first. `calls_begun` tells how many there have been so far."""

    def __init__(self, calls_begun: Callable[[], int]) -> None:
        self._calls_begun = calls_begun
        self._seen = calls_begun()
        self._live_until = 0.0
        self._started = time.thread_time()

    def begin(self) -> None:
        """Work begins that `rest` is to be called after."""
        self._started = time.thread_time()

    async def rest(self) -> None:
        """Give other calls their turn, for longer if there are any."""
        busy_seconds = time.thread_time() - self._started
        now = asyncio.get_running_loop().time()
        begun = self._calls_begun()
        if begun != self._seen:
            self._seen = begun
            self._live_until = now + LIVE_SECONDS
        await asyncio.sleep(busy_seconds * UNSEEN * (1 / SHARE - 1) if now < self._live_until else 0)
        self._started = time.thread_time()
