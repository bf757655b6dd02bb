"""Clocks that tests control."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

NOW_MS = 1_700_000_000_000
"""An arbitrary time, for tests that do not use a cluster."""
Result = TypeVar("Result")


class FakeClock:
    """A clock that shows `ms` (Unix time). A cluster compares expirations with its own clock, so tests with one use
    `real`."""

    def __init__(self, ms: int = NOW_MS) -> None:
        self.ms = ms

    @classmethod
    def real(cls) -> "FakeClock":
        """A clock that shows the current time."""
        return cls(time.time_ns() // 1_000_000)

    def now_ms(self) -> int:
        """Unix time in ms."""
        return self.ms


class ToldLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock shows `now`."""

    now = 0.0

    def time(self) -> float:
        return self.now


def told_loop() -> ToldLoop:
    """The current event loop, which must be a `ToldLoop`."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ToldLoop)
    return loop


def run_on_told_time(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine on a `ToldLoop`."""
    with asyncio.Runner(loop_factory=ToldLoop) as runner:
        return runner.run(main)
