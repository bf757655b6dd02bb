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
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import uvloop
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.running.hosts import available
from instantaudience_server.telemetry import configure_logging

from bench import load, processes
from bench.cluster import running_cluster
from bench.load import WARMUP_SECONDS, Lane, LoadError, Pool, Request
from bench.overload_rows import CAPTION, Case, Peak, Result, heading, row
from bench.service import GATEWAY, PORTS, Service, ports, running_service, signed_in
from bench.workload import FIRST_USER, UNLIMITED, Shape, write_members

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
