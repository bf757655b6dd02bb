"""`python -m bench.distance`: calls on a cluster that is some way off, with more and more calls that run at once.

A program of its own stands between the service and the nodes, and holds back what they send each other. It shares this
machine's cores, and copies every byte twice: compare rows of the same kind, not those of a distance with those of none.
"""

import argparse
import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import uvloop
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.embedded.node import HOST
from instantaudience_server.telemetry import configure_logging
from redis.asyncio import Redis
from rich import box
from rich.console import Console
from rich.table import Table
from support.waiting import eventually

from bench import load
from bench.cluster import STEADY, running_cluster
from bench.load import Lane
from bench.service import Service, running_service
from bench.workload import Shape

console = Console(width=110)

LOADS = {
    "1 × 2, one at a time": ("unary", Shape(1, 2), 1, 1),
    "1 × 2, 64 × 8 in flight": ("unary", Shape(1, 2), 64, 8),
    "1 × 2, 64 × 32 in flight": ("unary", Shape(1, 2), 64, 32),
    "100 × 2, 64 × 4 in flight": ("unary", Shape(100, 2), 64, 4),
    "stream 100 × 2, 16 × 32 in flight": ("stream", Shape(100, 2), 16, 32),
}
"""Call, shape, connections and calls in flight on each."""
PACED = "1 × 2, 5,000/s"
PACED_RATE, DEADLINE_SECONDS = 5000.0, 5.0


@asynccontextmanager
async def distant(cluster: EmbeddedCluster, round_trip_ms: float) -> AsyncIterator[str]:
    """Put a running cluster at a distance from its clients; yields the URL at which it is there.

    Raises:
        load.LoadError: The program that does it cannot be built.
        AssertionError: The nodes do not agree in time.
    """
    program = await asyncio.to_thread(load.binary, "distance")
    process = await asyncio.create_subprocess_exec(
        program,
        f"{round_trip_ms * 500:.0f}",
        *map(str, cluster.ports),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        ports = [int(port) for port in (await process.stdout.readline()).split()]
        for own, announced in zip(cluster.ports, ports, strict=True):
            async with Redis(host=HOST, port=own) as node:
                await node.config_set("cluster-announce-port", announced)
        for own in cluster.ports:
            await eventually(partial(_check_told, own, set(ports)))
        yield cluster.url.replace(str(cluster.ports[0]), str(ports[0]))
    finally:
        process.kill()
        await process.wait()


async def _check_told(port: int, announced: set[int]) -> None:
    """Check that a node tells its clients these ports of the nodes."""
    async with Redis(host=HOST, port=port) as node:
        assert {int(first[1]) for _, _, first, *_ in await node.execute_command("CLUSTER SLOTS")} == announced


async def measure(service: Service, seconds: float) -> AsyncIterator[tuple[str, load.Outcome]]:
    """Drive one load after the other."""
    lanes = {
        name: Lane("calls", service.grpc, call, [service.token], shape, connections, in_flight)
        for name, (call, shape, connections, in_flight) in LOADS.items()
    }
    lanes[PACED] = Lane(
        "calls", service.grpc, "unary", [service.token], per_second=PACED_RATE, deadline_seconds=DEADLINE_SECONDS
    )
    for name, lane in lanes.items():
        yield name, (await load.drive(lane, seconds=seconds)).lanes["calls"].checked(some_refused=True)


async def bench(round_trips: Sequence[float], running: Sequence[int], seconds: float) -> Table:
    """Run the benchmark; returns the table."""
    table = Table(box=box.MARKDOWN)
    for heading in ("round trip, ms", "calls that run", "load", "calls/s", "p50 ms", "p99 ms", "refused"):
        table.add_column(heading, no_wrap=True)
    for round_trip in round_trips:
        async with running_cluster(STEADY) as (directory, cluster), distant(cluster, round_trip) as url:
            for most in running:
                console.print(f"… {round_trip:g} ms, {most} calls that run at once")
                arguments = ("--max-running-calls", str(most))
                async with running_service("native", url, directory, arguments=arguments) as service:
                    async for name, outcome in measure(service, seconds):
                        answered = outcome.answered_ms
                        cells = (f"{outcome.ok_per_second:,.0f}", f"{answered.p50:.1f}", f"{answered.p99:.1f}")
                        table.add_row(f"{round_trip:g}", str(most), name, *cells, f"{outcome.refused:,}")
    return table


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.distance", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each measurement takes")
    parser.add_argument("--round-trips", type=float, nargs="+", default=[0, 0.3, 1, 5], help="distances, in ms")
    parser.add_argument("--running", type=int, nargs="+", default=[64, 256], help="values of --max-running-calls")
    arguments = parser.parse_args()
    if problem := load.missing():
        sys.exit(problem)
    configure_logging("warning")
    console.print(uvloop.run(bench(arguments.round_trips, arguments.running, arguments.seconds)))


if __name__ == "__main__":
    main()
