"""Clocks that stand still until they are told."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

NOW_MS = 1_700_000_000_000
"""Some moment, for tests that touch no cluster."""
Result = TypeVar("Result")


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


def told_loop() -> ToldLoop:
    """The one that runs now."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ToldLoop)
    return loop


def run_on_told_time(main: Coroutine[Any, Any, Result]) -> Result:
    """Run something on such a loop."""
    with asyncio.Runner(loop_factory=ToldLoop) as runner:
        return runner.run(main)
