"""`python -m bench.latency`: how long calls of one user take where the service is not at its limit.

Three questions: a single call on an idle service, for each host, over gRPC and over REST on each port that takes it;
calls at a steady rate, at half of what the service takes at most; and one member's calls at a steady rate, alone and
beside another member that sends large calls as fast as it can. Everything shares this machine's cores, so quiet ones
are needed; `lag` is how late the generator was.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import uvloop
from instantaudience_server.observation.telemetry import configure_logging
from instantaudience_server.running.hosts import available
from rich import box
from rich.console import Console
from rich.table import Table

from bench import load
from bench.load import FIRST_USER, Lane, Latencies, Outcome, Pool, Shape, write_members
from bench.service import STEADY, Service, ports, running_cluster, running_service, signed_in

console = Console(width=110)

MEMBERS = ("steady", "flood")
SMALL, LARGE = Shape(1, 2), Shape(100, 100)
CONNECTIONS, IN_FLIGHT = 64, 8
STEADY_RATE, STEADY_CONNECTIONS = 200.0, 4
DEADLINE_SECONDS = 5.0
OTHERS = Pool(first_id=FIRST_USER + 10**9)
"""Users that the flood does not use."""
HEADINGS = ("calls/s", "p50 ms", "p99 ms", "p99.9 ms", "lag p99", "not in time")


class Latency:
    """Measures one host."""

    def __init__(self, service: Service, tokens: Sequence[str], seconds: float) -> None:
        self._service = service
        self._steady, self._flood = tokens
        self._seconds = seconds

    async def idle(self, call: str, port: str) -> tuple[str, Outcome]:
        """One call at a time."""
        lane = Lane("calls", self._service.address(port), call, [self._steady], SMALL, 1, 1)
        return f"one at a time: {call}, {port}", (await self._drive(lane))["calls"]

    async def half(self) -> tuple[str, Outcome]:
        """An open loop at half the rate of a closed one."""
        lane = Lane("calls", self._service.grpc, "unary", [self._steady], SMALL, CONNECTIONS, IN_FLIGHT)
        peak = (await self._drive(lane))["calls"].ok_per_second
        return "half of the peak", (await self._drive(self._paced(peak / 2, CONNECTIONS)))["calls"]

    async def flooded(self) -> AsyncIterator[tuple[str, Outcome]]:
        """The steady member's calls, alone and beside the flood."""
        lane = self._paced(STEADY_RATE, STEADY_CONNECTIONS)
        yield f"{STEADY_RATE:g}/s, alone", (await self._drive(lane))["calls"]
        flood = Lane("flood", self._service.grpc, "unary", [self._flood], LARGE, 16, 4)
        outcomes = await self._drive(lane, flood)
        yield "beside a flood", outcomes["calls"]
        yield f"the flood of {LARGE}", outcomes["flood"]

    async def _drive(self, *lanes: Lane) -> dict[str, Outcome]:
        outcomes = (await load.drive(*lanes, seconds=self._seconds)).lanes
        return {name: outcome.checked(some_refused=True) for name, outcome in outcomes.items()}

    def _paced(self, rate: float, connections: int) -> Lane:
        return Lane(
            "calls",
            self._service.grpc,
            "unary",
            [self._steady],
            SMALL,
            connections,
            per_second=rate,
            deadline_seconds=DEADLINE_SECONDS,
            pool=OTHERS,
        )


def cells(outcome: Outcome) -> list[str]:
    """The cells of a row."""
    answered: Latencies = outcome.answered_ms
    times = (answered.p50, answered.p99, answered.p99_9, outcome.lag_ms.p99)
    late = f"{outcome.calls - outcome.ok:,}"
    return [f"{outcome.ok_per_second:,.0f}", *(f"{each:.2f}" for each in times), late]


async def bench(hosts: Sequence[str], seconds: float) -> Table:
    """Run the benchmark; returns the table."""
    table = Table(box=box.MARKDOWN)
    for heading in ("host", "calls of 1 × 2", *HEADINGS):
        table.add_column(heading, no_wrap=True)
    async with AsyncExitStack() as stack:
        directory, cluster = await stack.enter_async_context(running_cluster(STEADY))
        for host in hosts:
            async with running_service(host, cluster.url, directory, MEMBERS, write=write_members) as service:
                tokens = [await signed_in(service.http, name, service.password) for name in MEMBERS]
                latency = Latency(service, tokens, seconds)
                await asyncio.sleep(1)  # its start has ended everywhere
                rows = [await latency.idle(call, port) for call in ("unary", "rest") for port in ports(call, host)]
                if host == hosts[0]:
                    rows += [await latency.half(), *[row async for row in latency.flooded()]]
            for name, outcome in rows:
                console.print(
                    f"… {host}, {name}: p50 {outcome.answered_ms.p50:.2f}, p99 {outcome.answered_ms.p99:.2f} ms"
                )
                table.add_row(host, name, *cells(outcome))
    return table


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each measurement takes")
    parser.add_argument("--host", nargs="*", choices=available(), default=available(), help="the first has all rows")
    arguments = parser.parse_args()
    if problem := load.missing():
        sys.exit(problem)
    configure_logging("warning")
    console.print(uvloop.run(bench(arguments.host, arguments.seconds)))


if __name__ == "__main__":
    main()
