"""Time, as the services see it."""

import time
from datetime import UTC, datetime
from typing import Protocol

MS_PER_MINUTE = 60_000
MS_PER_HOUR = 3_600_000
TIME_FORMAT = "%Y-%m-%d %H:%M:%S"
"""How REST writes a moment, in UTC (source: contract)."""


def written_time(seconds: int) -> str:
    """A moment (Unix time in seconds) as REST writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime(TIME_FORMAT)


class Clock(Protocol):
    """Where services get the time from; tests pass their own."""

    def now_ms(self) -> int:
        """Unix time in ms."""


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Unix time in ms."""
        return time.time_ns() // 1_000_000
