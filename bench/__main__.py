"""`make bench`: every host of the service, a Go service of the same main job, and the cluster's ceiling, in one run.

All of them use one embedded cluster, and take turns for each kind of load; of several rounds the best one counts, which
other work on the machine has disturbed the least.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.observation.telemetry import configure_logging
from instantaudience_server.running.hosts import HOSTS, available, missing
from rich import box
from rich.console import Console
from rich.table import Table

from bench import load, processes
from bench.load import Shape
from bench.service import (
    STEADY,
    Result,
    Run,
    Service,
    ceiling,
    drive,
    fill_anew,
    peer_missing,
    ports,
    running_cluster,
    running_peer,
    running_service,
)

console = Console(width=110)

GO = "go"

RUNS = (
    Run("gRPC", "unary", Shape(1, 2), 64, 8),
    Run("gRPC", "unary", Shape(100, 2), 64, 4),
    Run("gRPC", "unary", Shape(100, 100), 16, 1),
    Run("stream", "stream", Shape(100, 2), 16, 4),
    Run("JSON", "rest", Shape(1, 2), 64, 8),
    Run("JSON", "rest", Shape(1000, 2), 16, 1),
    Run("JSON", "rest", Shape(100, 100), 16, 1),
)


def contenders(run: Run, services: Mapping[str, Service]) -> dict[str, tuple[Service, str]]:
    """Services and ports to measure, by name: each service and, where such calls may go to a second port, that too."""
    found: dict[str, tuple[Service, str]] = {}
    for name, service in services.items():
        first, *others = ports(run.call, name)
        found |= {name: (service, first)} | {f"{name}, {port}": (service, port) for port in others}
    return found


async def measure(
    run: Run, services: Mapping[str, Service], cluster: EmbeddedCluster, nodes: set[int], seconds: float, rounds: int
) -> tuple[float, dict[str, Result]]:
    """The ceiling's calls per second and each contender's result: the best of the rounds.

    Before each measurement all users are written anew, and the order of the contenders rotates between rounds: the more
    writes nodes have handled before, the longer they take for the same writes.
    """
    most = 0.0
    results: dict[str, Result] = {}
    for number in range(1, rounds + 1):
        console.print(f"… {run.name} {run.shape}, round {number} of {rounds}")
        await fill_anew(cluster, run.shape.blocks)
        most = max(most, await asyncio.to_thread(ceiling, cluster.url, run.shape, seconds))
        for name, (service, port) in list(contenders(run, services).items())[:: 1 if number % 2 else -1]:
            await fill_anew(cluster, run.shape.blocks)
            result = await drive(run, service, port, nodes, seconds)
            if name not in results or result.calls_per_second > results[name].calls_per_second:
                results[name] = result
    return most, results


def new_table() -> Table:
    """An empty table."""
    table = Table(title="Calls a second, one cluster, one run", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("load", "who"):
        table.add_column(heading, no_wrap=True)
    for heading in ("calls/s", "of Go", "of ceiling", "p50 ms", "p99 ms", "µs", "nodes µs", "load µs"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.caption = (
        "µs: processor time for a call, of the service, of the cluster's nodes, of the load generator\n"
        "workers: on their own port, without the gateway on the way"
    )
    return table


def add_rows(table: Table, run: Run, most: float, results: Mapping[str, Result]) -> None:
    """Add rows for the ceiling and the contenders of one kind of load."""
    table.add_row(f"{run.name} {run.shape}", "ceiling", f"{most:,.0f}")
    go = results.get(GO)
    for name, result in results.items():
        rate = result.calls_per_second
        table.add_row(
            "",
            name,
            f"{rate:,.0f}",
            f"{rate / go.calls_per_second:.2f}" if go else "",
            f"{rate / most:.2f}",
            f"{result.p50_ms:.1f}",
            f"{result.p99_ms:.1f}",
            *(f"{us:,.1f}" for us in (result.service_us, result.nodes_us, result.generator_us)),
        )
    table.add_section()


async def bench(runs: Sequence[Run], host_modes: Sequence[str], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Start the cluster and the contenders, measure, and print the table; returns its content."""
    async with AsyncExitStack() as stack:
        directory, cluster = await stack.enter_async_context(running_cluster(STEADY))
        nodes = processes.tree(os.getpid()) - {os.getpid()}
        services: dict[str, Service] = {}
        if peer_missing() is None:
            console.print("… building and starting the Go peer")
            services[GO] = await stack.enter_async_context(running_peer(cluster.ports, directory))
        for host_mode in host_modes:
            console.print(f"… starting the host {host_mode}")
            services[host_mode] = await stack.enter_async_context(running_service(host_mode, cluster.url, directory))
        table, told = new_table(), []
        for run in runs:
            most, results = await measure(run, services, cluster, nodes, arguments.seconds, arguments.rounds)
            add_rows(table, run, most, results)
            found = {name: asdict(result) for name, result in results.items()}
            told.append({"what": run.name, **asdict(run.shape), "ceiling_calls_per_second": most, "results": found})
        console.print(table)
    return told


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each measurement takes")
    parser.add_argument("--rounds", type=int, default=2, help="how often each is taken")
    parser.add_argument("--host", action="append", choices=available(), help="this host alone (may be repeated)")
    parser.add_argument("--only", default="", help='loads whose name has this in it, as in "gRPC 1 × 2" (x does for ×)')
    parser.add_argument("--json", type=Path, help="write the results into this file, too")
    arguments = parser.parse_args()
    if problem := load.missing():
        sys.exit(problem)
    for reason in (peer_missing(), *map(missing, HOSTS)):
        if reason:
            console.print(f"left out: {reason}")
    wanted = arguments.only.replace("x", "×").replace(" ", "").lower()
    runs = [run for run in RUNS if wanted in f"{run.name}{run.shape}".replace(" ", "").lower()]
    started = time.monotonic()
    configure_logging("warning")
    host_modes = arguments.host or available()[::-1]
    if not runs:
        parser.error("no load has this in its name")
    told = uvloop.run(bench(runs, host_modes, arguments))
    if arguments.json:
        arguments.json.write_text(json.dumps(told, indent=1))
    console.print(f"took {time.monotonic() - started:.0f} s; the machine's other work shows in it: compare ratios")


if __name__ == "__main__":
    main()
