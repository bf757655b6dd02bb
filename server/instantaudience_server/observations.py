"""What happens many times in each turn of the event loop: kept in memory, and written into metrics ten times a second.

To keep an observation costs as little as to add to a list; prometheus_client takes a microsecond or two for each. A
worker that is killed takes a tenth of a second of them along.
"""

import asyncio
from bisect import bisect_left
from collections import Counter as CounterOf
from collections import deque
from collections.abc import Sequence
from itertools import repeat
from math import fsum
from typing import Protocol

from prometheus_client import Counter, Histogram

WRITE_SECONDS = 0.1
"""How long observations stay in memory."""
MOST_KEPT = 100_000
"""Observations of a kind in memory, where nobody writes them; the oldest go."""


class _Kept(Protocol):
    def write(self) -> None:
        """Write down what is kept, and keep it no longer."""


_all: list[_Kept] = []


def keep(each: _Kept) -> None:
    """Have this written down with the others."""
    _all.append(each)


class Observed:
    """Values for a histogram (with its labels, where it has some). Made once, and kept forever."""

    __slots__ = ("_histogram", "_values", "observe", "observe_all")

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._values: deque[float] = deque(maxlen=MOST_KEPT)
        self.observe = self._values.append
        self.observe_all = self._values.extend
        keep(self)

    def write(self) -> None:
        """See `write_down`."""
        values = self._values
        if not values:
            return
        # prometheus_client takes one value at a time. requirements.lock pins these names, and the tests compare.
        histogram = self._histogram
        for index, count in CounterOf(map(bisect_left, repeat(histogram._upper_bounds), values)).items():
            histogram._buckets[index].inc(count)
        histogram._sum.inc(fsum(values))
        values.clear()


class Added:
    """Rows of numbers, one for each of some counters. Made once, and kept forever."""

    __slots__ = ("_counters", "_rows", "add")

    def __init__(self, *counters: Counter) -> None:
        self._counters = counters
        self._rows: deque[Sequence[int]] = deque(maxlen=MOST_KEPT)
        self.add = self._rows.append
        keep(self)

    def write(self) -> None:
        """See `write_down`."""
        if self._rows:
            for counter, numbers in zip(self._counters, zip(*self._rows, strict=True), strict=True):
                counter.inc(sum(numbers))
            self._rows.clear()


def write_down() -> None:
    """Write what was observed since the last time."""
    for each in _all:
        each.write()


async def keep_writing() -> None:
    """Write what is observed, forever, and at the end what is left."""
    try:
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            write_down()
    finally:
        write_down()
