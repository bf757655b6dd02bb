"""Time, as the services see it."""

import time
from typing import Protocol

MS_PER_MINUTE = 60_000
MS_PER_HOUR = 3_600_000


class Clock(Protocol):
    """Where services get the time from; tests pass their own."""

    def now_ms(self) -> int:
        """Unix time in ms."""


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Unix time in ms."""
        return time.time_ns() // 1_000_000
