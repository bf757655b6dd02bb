"""`python -m bench.durability --redis URL`: what it costs to wait for a replica, or for the disk.

The cluster has replicas and append-only files. One service after the other, each with another `--durability`, has the
same load; of several rounds the best one counts.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import uvloop
from instantaudience_server.running.hosts import available
from instantaudience_server.settings import Durability
from instantaudience_server.telemetry import configure_logging
from rich.console import Console
from rich.table import Table

from bench import load
from bench.load import Lane, Outcome
from bench.service import running_service
from bench.workload import Shape

console = Console(width=110)

SHAPES = (Shape(1, 2), Shape(100, 2))
CONNECTIONS, IN_FLIGHT = 16, 4
SLOW_CALLS = ("--call-timeout-seconds", "30")
"""With `appendfsync everysec`, the disk takes seconds."""


async def measure(durability: Durability, redis: str, directory: Path, seconds: float) -> list[Outcome]:
    """The outcome of each shape."""
    arguments = ("--durability", durability, *SLOW_CALLS)
    outcomes = []
    async with running_service(available()[0], redis, directory, arguments=arguments) as service:
        for shape in SHAPES:
            console.print(f"… {durability} {shape}")
            lane = Lane(str(shape), service.grpc, "unary", [service.token], shape, CONNECTIONS, IN_FLIGHT)
            outcomes.append((await load.drive(lane, seconds=seconds)).lanes[str(shape)].checked())
    return outcomes


async def bench(redis: str, seconds: float, rounds: int) -> Table:
    """The table."""
    table = Table("durability", *(f"{shape} {what}" for shape in SHAPES for what in ("calls/s", "p50 ms", "p99 ms")))
    for durability in Durability:
        best: list[Outcome] = []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(prefix="instant-audience-bench-") as directory:
                found = await measure(durability, redis, Path(directory), seconds)
            best = [max(pair, key=lambda each: each.ok_per_second) for pair in zip(best or found, found, strict=True)]
        cells = [
            cell
            for each in best
            for cell in (f"{each.ok_per_second:,.0f}", f"{each.answered_ms.p50:.1f}", f"{each.answered_ms.p99:.1f}")
        ]
        table.add_row(durability, *cells)
    return table


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.durability", description=__doc__)
    parser.add_argument("--redis", required=True, help="the URL of a cluster with replicas")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each measurement takes")
    parser.add_argument("--rounds", type=int, default=2, help="how often each is taken")
    arguments = parser.parse_args()
    if problem := load.missing():
        sys.exit(problem)
    configure_logging("warning")
    console.print(uvloop.run(bench(arguments.redis, arguments.seconds, arguments.rounds)))


if __name__ == "__main__":
    main()
