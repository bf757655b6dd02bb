"""`python -m bench.overload`: more calls than the service can serve, from callers who do not slow down.

For each host and kind of load it first measures the peak, in a closed loop of as many members. Then they offer a
multiple of it, while a neighbour of another member calls the same port 50 times a second and `/healthz` is asked 10
times a second. One process drives all three; the table says how much of a core that took, of those that callers,
service and cluster share here. A row is printed when its flood is over, and marked where it is not as it should be.
"""

import argparse
import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import uvloop
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.observation.telemetry import configure_logging
from instantaudience_server.running.hosts import available

from bench import load, processes
from bench.load import (
    FIRST_USER,
    UNLIMITED,
    WARMUP_SECONDS,
    Lane,
    LoadError,
    Outcome,
    Pool,
    Request,
    Shape,
    write_members,
)
from bench.service import GATEWAY, PORTS, Service, ports, running_cluster, running_service, signed_in

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


CALLS = ("unary", "stream", "rest")
SHAPES = {"1x2": Shape(1, 2), "100x2": Shape(100, 2)}
MULTIPLES = (1.3, 2.0, 5.0, 10.0)
LIMITS = {"none": False, "default": True}
MOST_MEMBERS = 50
CONNECTIONS, IN_FLIGHT = 64, 8
PEAK, NEIGHBOUR = "peak", "neighbour"
NEIGHBOURS_RATE, HEALTHS_RATE = 50.0, 10.0
QUIET_CONNECTIONS = 4
"""Connections of the neighbour, and of the callers of `/healthz`."""
NEIGHBOURS_USERS = Pool(first_id=FIRST_USER + 10**9)
PEAK_SECONDS, AGAIN_SECONDS = 3.0, 2.0
REST_SECONDS = 2.0
"""Pause between the end of a flood and the next measurement of the goodput."""
LOOK_SECONDS = 0.25


class Overload:
    """Floods one host of the service."""

    def __init__(
        self, host: str, service: Service, tokens: Mapping[str, str], seconds: float, deadline: float, after: float
    ) -> None:
        self._host = host
        self._service = service
        self._tokens = tokens
        self._seconds = seconds
        self._deadline = deadline
        self._after = after
        self._first_bytes = self._memory_bytes()

    def _memory_bytes(self) -> int:
        """The resident memory of all the service's processes."""
        return processes.resident_bytes(processes.tree(self._service.pid))

    async def peak(self, case: Case, seconds: float) -> Peak:
        """The peak throughput of this many members in a closed loop, without limits."""
        calling = [self._tokens[name] for name in flood_names(replace(case, limited=False))]
        lane = Lane(PEAK, self._service.address(case.port), case.call, calling, case.shape, CONNECTIONS, IN_FLIGHT)
        report = await load.drive(lane, seconds=seconds)
        return Peak(report.lanes[PEAK].ok_per_second, report.processor_seconds / report.seconds)

    async def flood(self, case: Case, peak: Peak) -> Result:
        """Offer a multiple of the peak, and observe the service."""
        memory = [self._memory_bytes()]
        watching = asyncio.create_task(self._watch(memory))
        report = await load.drive(*self._lanes(case, peak), seconds=self._seconds)
        watching.cancel()
        ended = time.monotonic()
        await asyncio.sleep(REST_SECONDS)
        again = await self.peak(case, AGAIN_SECONDS)
        await asyncio.sleep(ended + self._after - time.monotonic())
        lanes = report.lanes
        return Result(
            self._host,
            case,
            peak,
            lanes["flood"],
            lanes[NEIGHBOUR],
            lanes["health"],
            again.per_second,
            self._first_bytes,
            max(memory),
            self._memory_bytes(),
            report.processor_seconds / report.seconds,
        )

    def _lanes(self, case: Case, peak: Peak) -> Iterable[Lane]:
        flooding = [self._tokens[name] for name in flood_names(case)]
        address, paced = self._service.address(case.port), {"deadline_seconds": self._deadline}
        quiet = {"connections": QUIET_CONNECTIONS} | paced
        yield Lane(
            "flood",
            address,
            case.call,
            flooding,
            case.shape,
            CONNECTIONS,
            per_second=case.multiple * peak.per_second,
            **paced,
        )
        yield Lane(
            NEIGHBOUR,
            address,
            "rest" if case.call == "rest" else "unary",
            [self._tokens[NEIGHBOUR]],
            Shape(1, 1),
            per_second=NEIGHBOURS_RATE,
            pool=NEIGHBOURS_USERS,
            **quiet,
        )
        health = Request("GET", "/healthz")
        yield Lane("health", self._service.http, health, ["none"], per_second=HEALTHS_RATE, **quiet)

    async def _watch(self, memory: list[int]) -> None:
        while True:
            memory.append(self._memory_bytes())
            await asyncio.sleep(LOOK_SECONDS)


def flood_names(case: Case) -> list[str]:
    """The members that flood."""
    kind = "limited" if case.limited else "flood"
    return [f"{kind}-{number}" for number in range(case.members)]


async def flood_host(
    host: str, cluster: EmbeddedCluster, directory: Path, cases: Sequence[Case], arguments: argparse.Namespace
) -> list[Result]:
    """Run all cases on one host, and print each."""
    limits = {name: {} for case in cases if case.limited for name in flood_names(case)}
    unlimited = dict.fromkeys(UNLIMITED, 2**31 - 1)
    for name in (NEIGHBOUR, *(name for case in cases for name in flood_names(replace(case, limited=False)))):
        limits[name] = unlimited
    results = []
    write = partial(write_members, limits=limits)
    async with running_service(host, cluster.url, directory, list(limits), write=write) as service:
        tokens = {name: await signed_in(service.http, name, service.password) for name in limits}
        overload = Overload(host, service, tokens, arguments.seconds, arguments.deadline, arguments.after)
        for _, group in itertools.groupby(cases, lambda case: (case.call, case.port, case.shape, case.members)):
            alike = list(group)
            peak = await overload.peak(alike[0], PEAK_SECONDS)
            for case in alike:
                try:
                    results.append(await overload.flood(case, peak))
                except LoadError as error:
                    print(f"{host}, {case}: {error}", flush=True)
                else:
                    print(row(results[-1]), flush=True)
    return results


async def bench(cases: Mapping[str, Sequence[Case]], arguments: argparse.Namespace) -> None:
    """Flood all hosts, one after the other, and print the table."""
    told = []
    rows = sum(map(len, cases.values()))
    least = WARMUP_SECONDS + arguments.seconds + max(arguments.after, REST_SECONDS + WARMUP_SECONDS + AGAIN_SECONDS)
    print(f"{rows} rows, at least {rows * least / 60:.1f} minutes; in time is within {arguments.deadline:g} s\n")
    print(heading(), flush=True)
    async with AsyncExitStack() as stack:
        directory, cluster = await stack.enter_async_context(running_cluster())
        for host, its_cases in cases.items():
            told += map(asdict, await flood_host(host, cluster, directory, its_cases, arguments))
            if arguments.json:
                arguments.json.write_text(json.dumps(told, indent=1))
    print(f"\n{CAPTION}")


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--table", action="store_true", help="all calls, members and limits, unless named")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each rate is offered")
    parser.add_argument("--host", nargs="*", choices=available(), help="instead of all that can run here")
    parser.add_argument("--call", nargs="*", choices=CALLS)
    parser.add_argument(
        "--port", nargs="+", choices=PORTS, default=[GATEWAY], help="where REST goes: workers, on the host native"
    )
    parser.add_argument("--shape", nargs="*", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--members", type=int, nargs="*", choices=range(1, MOST_MEMBERS + 1), metavar="N")
    parser.add_argument("--limits", nargs="*", choices=list(LIMITS), help="of those who flood")
    parser.add_argument("--times", type=float, nargs="*", default=MULTIPLES, help="multiples of the peak")
    parser.add_argument("--deadline", type=float, default=2.0, help="of each call, in seconds")
    parser.add_argument("--after", type=float, default=10.0, help="seconds until memory is looked at again")
    parser.add_argument("--json", type=Path, help="write the results into this file, too")
    arguments = parser.parse_args()
    if problem := load.missing():
        sys.exit(problem)
    calls, members, limits = (CALLS, (1, MOST_MEMBERS), LIMITS) if arguments.table else (CALLS[:1], (1,), ("none",))
    cases = {}
    for host in arguments.host or available()[::-1]:
        every = itertools.product(
            [
                (call, port)
                for call in arguments.call or calls
                for port in ports(call, host)
                if call != "rest" or port in arguments.port
            ],
            [SHAPES[name] for name in arguments.shape],
            arguments.members or members,
            [LIMITS[name] for name in arguments.limits or limits],
            arguments.times,
        )
        if its_cases := [Case(*where, *how) for where, *how in every]:
            cases[host] = its_cases
    if not cases:
        parser.error("none of these hosts takes such calls on this port")
    configure_logging("warning")
    uvloop.run(bench(cases, arguments))


if __name__ == "__main__":
    main()
