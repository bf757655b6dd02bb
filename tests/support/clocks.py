"""Clocks that stand still until they are told."""

import asyncio
import time

NOW_MS = 1_700_000_000_000
"""Some moment, for tests that touch no cluster."""


class FakeClock:
    """Shows `ms` (Unix time); a cluster compares what is written with its own time, so tests on one start at `real`."""

    def __init__(self, ms: int = NOW_MS) -> None:
        self.ms = ms

    @classmethod
    def real(cls) -> "FakeClock":
        """Stands at this moment."""
        return cls(time.time_ns() // 1_000_000)

    def now_ms(self) -> int:
        """Unix time in ms."""
        return self.ms


class ToldLoop(asyncio.SelectorEventLoop):
    """An event loop by whose clock it is `now`."""

    now = 0.0

    def time(self) -> float:
        return self.now
