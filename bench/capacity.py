"""`python -m bench.capacity`: what calls and memberships cost, along one thing that grows after the other.

Each part has a cluster and a service of its own. Costs are processor time and bytes, which other work on the machine
changes less than calls a second; of several rounds the cheapest counts. docs/capacity.md makes a model of them.
"""

import argparse
import asyncio
import random
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import uvloop
from instantaudience_server.embedded.cluster import NODES, EmbeddedCluster
from instantaudience_server.observation.telemetry import configure_logging
from instantaudience_server.running.hosts import available
from rich import box
from rich.console import Console
from rich.table import Table

from bench import load, processes
from bench.load import EVERYONE, Lane, Pool, Shape
from bench.service import Service, ceiling, fill, look, running_service

console = Console(width=140)

SMALL, USUAL = Shape(1, 2), Shape(100, 2)
CONNECTIONS = 16
MEMBERSHIPS_UNDER_WAY = 50_000
CALLS_UNDER_WAY = range(16, 513)
"""Bounds of the number of calls in flight; between them, as many calls as have this many memberships."""
STORED = (10**4, 10**5, 10**6, 10**7)
MOST_ENCODED = 500_000
"""Maximum number of users that the ceiling writes."""
HELD = (1, 2, 5, 10, 20, 50, 100)
HOLDERS = 100_000
"""Number of users that get this many memberships."""
FIRST_PLACES = range(10**9, 10**9 + HOLDERS)
"""Other users, written first: buffers and tables are allocated only once."""
LONG_ID = 10_000_001
"""A segment ID with as many digits as real ones."""
USERS = (1, 3, 10, 30, 100, 300, 1000)
BLOCKS = (1, 2, 5, 10, 30, 100)
WORKERS = (1, 2)
NODE_COUNTS = (3, 6, 9)

Cells = tuple[str, ...]


class Cost(NamedTuple):
    """The cost of a call: CPU time in µs, of the service and of all nodes, and bytes that nodes read and write."""

    calls_per_second: float
    service_us: float
    nodes_us: float
    received_bytes: float
    sent_bytes: float

    @property
    def cells(self) -> Cells:
        """The cells of a row."""
        us, sizes = (self.service_us, self.nodes_us), (self.received_bytes, self.sent_bytes)
        return (f"{self.calls_per_second:,.0f}", *(f"{each:,.1f}" for each in us), *(f"{each:,.0f}" for each in sizes))


COST = ("calls/s", "service µs", "nodes µs", "B to nodes", "B back")


@dataclass(frozen=True, slots=True)
class Bench:
    """The environment of the measurements."""

    directory: Path
    server: Path | None
    seconds: float
    rounds: int
    stored: Sequence[int]
    held: int

    @asynccontextmanager
    async def cluster(self, nodes: int = NODES) -> AsyncIterator[EmbeddedCluster]:
        """Run a new cluster."""
        with tempfile.TemporaryDirectory(dir=self.directory) as directory:
            embedded = EmbeddedCluster(Path(directory), self.server, nodes=nodes)
            await embedded.start()
            try:
                yield embedded
            finally:
                await embedded.stop()

    @asynccontextmanager
    async def service(self, embedded: EmbeddedCluster, *arguments: str) -> AsyncIterator[Service]:
        """Run a service on the fastest host."""
        async with running_service(available()[0], embedded.url, self.directory, arguments=arguments) as service:
            yield service

    async def cost(self, service: Service, embedded: EmbeddedCluster, shape: Shape, pool: Pool = EVERYONE) -> Cost:
        """The cost of calls of this shape, in a closed loop."""
        calls = min(max(MEMBERSHIPS_UNDER_WAY // shape.memberships, CALLS_UNDER_WAY[0]), CALLS_UNDER_WAY[-1])
        lane = Lane(
            "calls", service.grpc, "unary", [service.token], shape, CONNECTIONS, calls // CONNECTIONS, pool=pool
        )
        await load.drive(lane, seconds=load.WARMUP_SECONDS, warmup_seconds=0)
        rounds = [await self._round(lane, service, embedded) for _ in range(self.rounds)]
        return min(rounds, key=lambda cost: cost.service_us + cost.nodes_us)

    async def ceiling(self, embedded: EmbeddedCluster, shape: Shape, users: int) -> float:
        """Calls per second over plain sockets, for a random sample of this many users, which exceeds the processors'
        caches."""
        places = random.Random(users).sample(range(users), min(users, MOST_ENCODED))
        rounds = [
            await asyncio.to_thread(ceiling, embedded.url, shape, self.seconds, places) for _ in range(self.rounds)
        ]
        return max(rounds)

    async def _round(self, lane: Lane, service: Service, embedded: EmbeddedCluster) -> Cost:
        own = processes.tree(service.pid)
        before, busy = await look(embedded), processes.processor_seconds(own)
        report = await load.drive(lane, seconds=self.seconds, warmup_seconds=0)
        outcome = report.lanes["calls"].checked(some_refused=True)  # on a busy machine
        after, busy = await look(embedded), processes.processor_seconds(own) - busy
        return Cost(
            outcome.ok_per_second,
            busy / outcome.ok * 1e6,
            (after.processor_seconds - before.processor_seconds) / outcome.ok * 1e6,
            (after.received - before.received) / outcome.ok,
            (after.sent - before.sent) / outcome.ok,
        )


async def stored(bench: Bench) -> AsyncIterator[Cells]:
    """Cost by number of stored users."""
    async with bench.cluster() as embedded, bench.service(embedded) as service:
        await fill(embedded.url, FIRST_PLACES, bench.held)
        filled = used = resident = 0
        for grown in bench.stored:
            before = await look(embedded)
            await fill(embedded.url, range(filled, grown), bench.held)
            after, filled = await look(embedded), grown
            used += after.used - before.used
            resident += after.resident - before.resident
            bytes_each = (f"{size / filled / bench.held:,.0f}" for size in (used, resident, after.files))
            cost = await bench.cost(service, embedded, USUAL, Pool(users=filled, order="scattered"))
            most = await bench.ceiling(embedded, USUAL, filled)
            share = cost.calls_per_second / most
            yield f"{filled:,} × {bench.held}", *bytes_each, *cost.cells, f"{most:,.0f}", f"{share:.2f}"


async def held(bench: Bench) -> AsyncIterator[Cells]:
    """Memory by memberships per user, of segments with long IDs, without calls."""
    async with bench.cluster() as embedded:
        await fill(embedded.url, FIRST_PLACES, 1)
        for number, blocks in enumerate(HELD, 1):
            before = await look(embedded)
            places = range(number * HOLDERS, (number + 1) * HOLDERS)
            await fill(embedded.url, places, blocks, first_segment=LONG_ID)
            after = await look(embedded)
            users_bytes = (after.used - before.used) / HOLDERS
            busy_us = (after.processor_seconds - before.processor_seconds) / HOLDERS * 1e6
            yield f"{blocks}", f"{users_bytes:,.0f}", f"{users_bytes / blocks:,.1f}", f"{busy_us:.2f}"


async def users(bench: Bench) -> AsyncIterator[Cells]:
    """Cost by users per call."""
    async with bench.cluster() as embedded, bench.service(embedded) as service:
        for number in USERS:
            shape = Shape(number, 2)
            yield str(shape), *(await bench.cost(service, embedded, shape)).cells


async def blocks(bench: Bench) -> AsyncIterator[Cells]:
    """Cost by blocks per user."""
    async with bench.cluster() as embedded, bench.service(embedded) as service:
        for number in BLOCKS:
            shape = Shape(100, number)
            yield str(shape), *(await bench.cost(service, embedded, shape)).cells


async def workers(bench: Bench) -> AsyncIterator[Cells]:
    """Cost by number of workers."""
    async with bench.cluster() as embedded:
        for number in WORKERS:
            async with bench.service(embedded, "--workers", str(number)) as service:
                for shape in (SMALL, USUAL):
                    yield f"{number}: {shape}", *(await bench.cost(service, embedded, shape)).cells


async def nodes(bench: Bench) -> AsyncIterator[Cells]:
    """Cost by number of nodes."""
    for number in NODE_COUNTS:
        async with bench.cluster(number) as embedded, bench.service(embedded) as service:
            for shape in (SMALL, USUAL):
                yield f"{number}: {shape}", *(await bench.cost(service, embedded, shape)).cells


PARTS: dict[str, tuple[Callable[[Bench], AsyncIterator[Cells]], Cells]] = {
    "stored": (stored, ("users stored", "B a membership", "resident", "in files", *COST, "ceiling", "of it")),
    "held": (held, ("memberships a user", "B a user", "B a membership", "nodes µs a user")),
    "users": (users, ("users × blocks", *COST)),
    "blocks": (blocks, ("users × blocks", *COST)),
    "workers": (workers, ("workers", *COST)),
    "nodes": (nodes, ("nodes", *COST)),
}
"""The function of each part, and the headings of its columns."""


async def measure(bench: Bench, names: Sequence[str]) -> None:
    """Measure each of these parts, and print its table."""
    for name in names:
        part, headings = PARTS[name]
        table = Table(title=name, box=box.MARKDOWN)
        for heading in headings:
            table.add_column(heading, justify="right", no_wrap=True)
        async for row in part(bench):
            console.print(f"… {name}: {'; '.join(row)}")
            table.add_row(*row)
        console.print(table)


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description=__doc__)
    parser.add_argument("--part", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--server", type=Path, help="the nodes' program, as in a redis-server; else the embedded one's")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each measurement takes")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is taken")
    parser.add_argument("--stored", type=int, nargs="*", default=STORED, help="users; 10 million need 7 GB of memory")
    parser.add_argument("--held", type=int, default=2, help="memberships of each stored user")
    arguments = parser.parse_args()
    if problem := load.missing():
        sys.exit(problem)
    configure_logging("warning")
    with tempfile.TemporaryDirectory(prefix="instant-audience-bench-") as directory:
        given = (arguments.server, arguments.seconds, arguments.rounds, arguments.stored, arguments.held)
        bench = Bench(Path(directory), *given)
        uvloop.run(measure(bench, arguments.part))


if __name__ == "__main__":
    main()
