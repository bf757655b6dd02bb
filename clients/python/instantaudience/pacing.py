"""Client-side rate limiting by the member's quota, so that few calls are refused."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from instantaudience.errors import DeadlineExceededError
from instantaudience.rules import QUOTA_WINDOW_MS
from instantaudience.splitting import Limits
from instantaudience.turns import in_turn

WINDOW_SECONDS = QUOTA_WINDOW_MS / 1000
"""The service counts by windows of a second."""


class Pacer:
    """Lets requests pass in the order in which they ask; in any second, no more requests and users than the limits
    allow."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._sent: deque[tuple[float, int]] = deque()
        self._users = 0
        self._lock = asyncio.Lock()

    async def wait(self, users: int, limits: Limits, deadline: float) -> None:
        """Wait until a request with this many users may be sent. `deadline` is a time of the clock.

        Raises:
            DeadlineExceededError: that is not before the deadline; nothing is sent.
        """
        async with in_turn(self._lock, deadline - self._clock()):
            while (wait := self._wait_seconds(users, limits)) > 0:
                if self._clock() + wait >= deadline:
                    raise DeadlineExceededError("the member's quota leaves no room before the caller's time is over")
                await self._sleep(wait)
            self._sent.append((self._clock(), users))
            self._users += users

    def _wait_seconds(self, users: int, limits: Limits) -> float:
        now = self._clock()
        while self._sent and self._sent[0][0] <= now - WINDOW_SECONDS:
            self._users -= self._sent.popleft()[1]
        full = len(self._sent) >= limits.posts_per_second or self._users + users > limits.users_per_second
        # A request with more users than allowed per second is sent, for the service to refuse it.
        return self._sent[0][0] + WINDOW_SECONDS - now if full and self._sent else 0.0
