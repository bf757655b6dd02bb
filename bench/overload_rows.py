"""The rows of `bench.overload`, as wide as their headings, so that each can be printed when its flood is over."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from bench.load import Outcome
from bench.workload import Shape

MOST_SECONDS_OF_HEALTH, MOST_SECONDS_OF_NEIGHBOUR = 0.1, 0.1
LEAST_SOON = 0.99
MOST_BYTES, MOST_KEPT = 1e9, 1.3
LEAST_IN_TIME = ((2.0, 0.85), (float("inf"), 0.6))
"""Minimum share of the peak that is answered in time, by the multiple of it that is offered."""
FULL = 0.9
"""The share of the peak that counts as all of it: two measurements of a few seconds differ by some percent."""
CORES = len(os.sched_getaffinity(0))
"""Cores that the generator shares with the service and its cluster."""


@dataclass(frozen=True, slots=True)
class Case:
    """A flood: kind, port and shape of calls, number of members, whether they have the default limits, and the rate as
    a multiple of the peak."""

    call: str
    port: str
    shape: Shape
    members: int
    limited: bool
    multiple: float


@dataclass(frozen=True, slots=True)
class Peak:
    """Calls per second in a closed loop, and the generator's CPU time for them, in cores."""

    per_second: float
    generator_cores: float


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a case on a host. Rates are in calls per second; `again` is the goodput after the flood. Memory is
    that of all the service's processes, in bytes: after all had signed in, at its peak, and a while after the flood."""

    host: str
    case: Case
    peak: Peak
    flood: Outcome
    neighbour: Outcome
    health: Outcome
    again: float
    first_bytes: int
    most_bytes: int
    kept_bytes: int
    generator_cores: float

    @property
    def in_time(self) -> float:
        """Calls answered in time, as a share of the peak."""
        return self._of_peak(self.flood.ok)

    @property
    def refused(self) -> float:
        """Calls refused, as a share of the peak."""
        return self._of_peak(self.flood.refused)

    @property
    def in_time_of_left(self) -> float:
        """Calls answered in time, as a share of the peak on the cores that the generator leaves.

        In an open loop it needs several times as much CPU as for the peak, and real callers have their own machines.
        """
        return self.in_time * (CORES - self.peak.generator_cores) / (CORES - self.generator_cores)

    def _of_peak(self, calls: int) -> float:
        return calls / (self.peak.per_second * self.flood.seconds)

    @property
    def neighbours_failures(self) -> int:
        """Number of the neighbour's calls that were not answered with OK."""
        return self.neighbour.calls - self.neighbour.ok


def _in_time_of_left(result: Result) -> str:
    least = next(least for most, least in LEAST_IN_TIME if result.case.multiple <= most)
    return _marked(f"{result.in_time_of_left:.2f}", result.case.limited or result.in_time_of_left >= least)


def _soon(result: Result) -> str:
    """For streams, of the calls that were sent: flow control holds back the rest, which callers notice at once."""
    flood = result.flood
    share = flood.soon / max(1, flood.calls - flood.missed if result.case.call == "stream" else flood.calls)
    return _marked(f"{share:.0%}", share >= LEAST_SOON)


def _milliseconds(outcome: Outcome, most_seconds: float) -> str:
    slow = outcome.answered_ms.p99
    return _marked(f"{slow:.0f}", slow <= most_seconds * 1000)


def _memory(result: Result) -> str:
    return _marked(f"{result.most_bytes / 1e6:.0f}", result.most_bytes <= MOST_BYTES)


def _kept(result: Result) -> str:
    kept = result.kept_bytes / result.first_bytes
    return _marked(f"{kept:.2f}", kept <= MOST_KEPT)


def _again(result: Result) -> str:
    again = result.again / result.peak.per_second
    return _marked(f"{again:.2f}", again >= FULL)


def _marked(text: str, holds: bool) -> str:
    """The text, with a star if the value is not as it should be."""
    return text if holds else f"{text}*"


COLUMNS: tuple[tuple[str, str, Callable[[Result], str]], ...] = (
    ("host", "<6", lambda result: result.host),
    ("load", "<14", lambda result: f"{result.case.call} {result.case.shape}"),
    ("port", "<7", lambda result: result.case.port),
    ("by", "<6", lambda result: f"{result.case.members}{' lim' if result.case.limited else ''}"),
    ("peak/s", ">6", lambda result: f"{result.peak.per_second:.0f}"),
    ("×", ">3", lambda result: f"{result.case.multiple:g}"),
    ("in time", ">7", lambda result: f"{result.in_time:.2f}"),
    ("of left", ">7", _in_time_of_left),
    ("refused", ">7", lambda result: f"{result.refused:.2f}"),
    ("p99", ">4", lambda result: f"{result.flood.refused_ms.p99:.0f}"),
    ("soon", ">5", _soon),
    ("other", ">5", lambda result: _milliseconds(result.neighbour, MOST_SECONDS_OF_NEIGHBOUR)),
    ("fails", ">5", lambda result: _marked(f"{result.neighbours_failures}", result.neighbours_failures == 0)),
    ("health", ">6", lambda result: _milliseconds(result.health, MOST_SECONDS_OF_HEALTH)),
    ("again", ">5", _again),
    ("MB", ">5", _memory),
    ("kept", ">5", _kept),
    ("cores", ">5", lambda result: f"{result.generator_cores:.2f}"),
)
"""Heading, alignment with width, and content of each column."""

CAPTION = """\
by: members, lim: with the default limits; ×: of the peak, offered; in time, refused: of the peak, the rest was late,
failed or not sent; of left: in time, of what the peak is on the cores that the generator left; p99: of refusals, in ms;
soon: answered or refused within 0.5 s, of what streams took; other, fails: the neighbour's p99 in ms, and its calls
without an answer; health: p99 of /healthz in ms; again: goodput 2 s after, of the peak; MB: memory of all the
service's processes, at most; kept: what they have a while later, of what they had at the start; cores: of the
generator. A star: not as it should be (docs/performance.md)."""


def heading() -> str:
    """The line above the rows."""
    return _line([name for name, _, _ in COLUMNS])


def row(result: Result) -> str:
    """The row of a flood."""
    return _line([cell(result) for _, _, cell in COLUMNS])


def _line(cells: list[str]) -> str:
    return " ".join(f"{cell:{width}}" for cell, (_, width, _) in zip(cells, COLUMNS, strict=True)).rstrip()
