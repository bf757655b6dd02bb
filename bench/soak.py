"""`python -m bench.soak`: full load of all shapes for minutes, and whether anything grows.

Every ten seconds it looks at each process of the service and at each node: memory, descriptors, threads. The first
quarter warms up; what is flat is in the last one where it was in the second. It exits with 1 where something is not, or
a call failed.
"""

import argparse
import asyncio
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

import uvloop
from instantaudience_server.running.hosts import available
from instantaudience_server.telemetry import configure_logging
from rich import box
from rich.console import Console
from rich.table import Table

from bench import load, processes
from bench.cluster import fill, running_cluster
from bench.load import Lane, Outcome, Pool
from bench.processes import Size
from bench.service import GATEWAY, WORKERS, Service, ports, running_service
from bench.workload import FIRST_USER, POOL, Shape

console = Console(width=110)

LANES = (
    ("unary", WORKERS, Shape(1, 2), 16, 8),
    ("unary", WORKERS, Shape(100, 2), 16, 2),
    ("stream", WORKERS, Shape(100, 2), 4, 4),
    ("rest", GATEWAY, Shape(1, 2), 16, 2),
    ("rest", GATEWAY, Shape(100, 10), 4, 1),
    ("rest", WORKERS, Shape(1, 2), 16, 2),
)
"""Method, port, shape, connections, and calls in flight on each; those run whose host takes them."""
LOOK_SECONDS = 10.0
QUARTERS = 4
GROWTH, GROWTH_BYTES = 0.05, 4e6
MORE = 4
"""Growth that counts as flat: of memory (a share, or this many bytes if that is more), and of descriptors or threads.
"""

Sample = Mapping[int, Size]


def lanes(host: str, service: Service) -> list[Lane]:
    """All lanes run at once; each has its own users."""
    return [
        Lane(
            f"{call} {shape}, {port}",
            service.address(port),
            call,
            [service.token],
            shape,
            connections,
            in_flight,
            pool=Pool(first_id=FIRST_USER + number * POOL),
        )
        for number, (call, port, shape, connections, in_flight) in enumerate(LANES)
        if port in ports(call, host)
    ]


async def watch(pids: set[int], samples: list[Sample]) -> None:
    """Sample all processes, and print a summary."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        sample = processes.sizes(pids)
        samples.append(sample)
        megabytes, descriptors, threads = (sum(column) for column in zip(*sample.values(), strict=True))
        console.print(
            f"… {len(samples) * LOOK_SECONDS:.0f} s: {len(sample)} processes, {megabytes / 1e6:,.0f} MB, "
            f"{descriptors} descriptors, {threads} threads"
        )


def is_flat(before: Sequence[Size], after: Sequence[Size]) -> bool:
    """Whether a process has not grown between two quarters."""
    memory = [statistics.median(size.resident_bytes for size in sizes) for sizes in (before, after)]
    if memory[1] - memory[0] > max(GROWTH * memory[0], GROWTH_BYTES):
        return False
    return all(
        statistics.median(size[column] for size in after) <= statistics.median(size[column] for size in before) + MORE
        for column in (1, 2)
    )


def report(names: Mapping[int, str], samples: Sequence[Sample]) -> tuple[Table, bool]:
    """A table of each process by quarters, and whether all are flat."""
    table = Table(box=box.MARKDOWN)
    for heading in ("process", "MB by quarters", "descriptors", "threads", ""):
        table.add_column(heading, no_wrap=True)
    all_flat = True
    for pid, name in names.items():
        sizes = [sample[pid] for sample in samples if pid in sample]
        if len(sizes) < len(samples):
            table.add_row(name, "", "", "", "has ended")
            all_flat = False
            continue
        length = len(sizes) // QUARTERS
        quarters = [sizes[number * length : (number + 1) * length] for number in range(QUARTERS)]
        flat = is_flat(quarters[1], quarters[-1])
        all_flat &= flat
        memory = (statistics.median(size.resident_bytes for size in quarter) / 1e6 for quarter in quarters)
        spans = (f"{min(column)} to {max(column)}" for column in list(zip(*sizes, strict=True))[1:])
        table.add_row(name, ", ".join(f"{each:,.0f}" for each in memory), *spans, "flat" if flat else "GROWS")
    return table, all_flat


async def soak(host: str, seconds: float) -> bool:
    """Load the service for this long; returns whether everything was flat and every call answered. All users exist from
    the beginning."""
    async with AsyncExitStack() as stack:
        directory, cluster = await stack.enter_async_context(running_cluster())
        for number, (_, _, shape, _, _) in enumerate(LANES):
            await fill(cluster.url, range(number * POOL, (number + 1) * POOL), shape.blocks)
        service = await stack.enter_async_context(running_service(host, cluster.url, directory))
        names = {pid: processes.name(pid) for pid in sorted(processes.tree(service.pid))}
        names |= {node.child.pid: node.name for node in cluster.nodes}
        samples: list[Sample] = []
        watching = asyncio.create_task(watch(set(names), samples))
        outcomes = (await load.drive(*lanes(host, service), seconds=seconds)).lanes
        watching.cancel()
        table, flat = report(names, samples)
        console.print(table)
        for name, outcome in outcomes.items():
            console.print(f"{name}: {_told(outcome)}")
    console.print("flat" if flat else "NOT FLAT")
    return flat and all(outcome.ok == outcome.calls for outcome in outcomes.values())


def _told(outcome: Outcome) -> str:
    wrong = outcome.calls - outcome.ok
    return f"{outcome.ok_per_second:,.0f} calls/s, {wrong} not as they should {dict(outcome.reasons) or ''}"


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long")
    parser.add_argument("--host", choices=available(), default=available()[0])
    arguments = parser.parse_args()
    if problem := load.missing():
        sys.exit(problem)
    if arguments.minutes * 60 < QUARTERS * LOOK_SECONDS:
        parser.error("too short to look at each quarter")
    configure_logging("warning")
    sys.exit(0 if uvloop.run(soak(arguments.host, arguments.minutes * 60)) else 1)


if __name__ == "__main__":
    main()
