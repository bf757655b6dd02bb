"""Buffers frequent observations in memory, and writes them into metrics ten times a second.

Buffering costs no more than appending to a list, where prometheus_client takes a microsecond or two for each value. A
worker that is killed loses a tenth of a second of observations.
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
"""The interval at which observations are written."""
MOST_KEPT = 100_000
"""The most observations in a buffer; without `keep_writing`, the oldest are dropped."""


class _Kept(Protocol):
    def write(self) -> None:
        """Write the buffered observations into the metrics, and clear the buffer."""


_all: list[_Kept] = []


def keep(each: _Kept) -> None:
    """Register a buffer that `write_down` is to write."""
    _all.append(each)


class Observed:
    """Buffers values for a histogram, or for a child of one with labels. It is registered for good when it is made."""

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
        # prometheus_client's public interface takes one value at a time. requirements.lock pins the version whose
        # private names are used here, and the tests compare the results.
        histogram = self._histogram
        for index, count in CounterOf(map(bisect_left, repeat(histogram._upper_bounds), values)).items():
            histogram._buckets[index].inc(count)
        histogram._sum.inc(fsum(values))
        values.clear()


class Added:
    """Buffers rows of numbers, one number for each of the counters. It is registered for good when it is made."""

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
    """Write all buffers into the metrics."""
    for each in _all:
        each.write()


async def keep_writing() -> None:
    """Write all buffers regularly, forever, and once more when cancelled."""
    try:
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            write_down()
    finally:
        write_down()
