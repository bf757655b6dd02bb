"""`python -m bench.reports`: reports of two weeks in which every hour is filled, while the same member writes.

For each host: the writes' throughput alone; each kind of report, asked for at a steady rate, while writes run at half
of that; and the writes' throughput while a thousand reports a second are asked for. Callers, service and cluster share
the machine's processors, so what reports cost is taken from the writes.
"""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import httpx
import uvloop
from instantaudience.v1 import usage_pb2
from instantaudience_server.clock import MS_PER_HOUR
from instantaudience_server.running.hosts import available
from instantaudience_server.store.interfaces.usage import Addition, Lines, Tally
from instantaudience_server.store.usage_store import ClusterUsageStore
from instantaudience_server.telemetry import configure_logging
from instantaudience_server.transport.framing import frame
from instantaudience_server.usage.spans import DEFAULT_HOURS
from rich.console import Console
from rich.table import Table

from bench import load
from bench.cluster import connected, running_cluster
from bench.load import Address, Lane, Outcome, Request
from bench.service import Service, running_service, signed_in
from bench.workload import SEGMENTS, Shape, write_members

console = Console(width=130)

LINES = {"full": 200, "some": 10}
"""Lines of each kind that each hour of a member has, by member; each has a user of its name."""
MEMBERS = {name: number for number, name in enumerate(LINES, 1)}
SHAPE = Shape(1, 2)
REST = "/rt-segment-processed"
USAGE = "/instantaudience.v1.UsageService/GetUsage"
WRITERS, WRITES_IN_FLIGHT, READERS = 64, 8, 10
DEADLINE_SECONDS = 5.0
SEED = 5
FILL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of report: the member, how it is requested, and how often per second while its latency is measured."""

    name: str
    member: str
    path: str
    a_second: int
    gzip: bool = False

    @property
    def is_grpc(self) -> bool:
        """Whether it is requested over gRPC."""
        return self.path == USAGE

    def request(self) -> Request:
        """The request."""
        if self.is_grpc:
            fields = {"content-type": "application/grpc", "te": "trailers"}
            message = usage_pb2.GetUsageRequest(without_lines=True)
            return Request("POST", self.path, fields, frame(message.SerializeToString()))
        return Request("GET", self.path, {"accept-encoding": "gzip"} if self.gzip else {})

    def address(self, service: Service) -> Address:
        """The address for the request."""
        return service.grpc if self.is_grpc else service.http


KINDS = (
    Kind("(a user's memberships)", "full", "/rt-segment?user_id=5", 100),
    Kind("sum", "full", f"{REST}?agg=true", 100),
    Kind("hours without lines, gRPC", "full", USAGE, 100),
    Kind("hours with 10 + 10 lines, gzip", "some", REST, 100, gzip=True),
    Kind("hours with 10 + 10 lines", "some", REST, 20),
    Kind("hours with 200 + 200 lines, gzip", "full", REST, 8, gzip=True),
    Kind("hours with 200 + 200 lines", "full", REST, 1),
)
MANY = 1000
"""Reports per second that must not slow down the writes. With all lines they would be 14 GB per second: most are
refused."""


def lines(ids: random.Random, count: int) -> Lines:
    """Lines as calls of one user and two segments leave them, each of another user, and lines of unknown segments."""
    errors, segments = [], list[str]()
    while len(segments) < count:
        user_id, segment_ids = ids.randrange(2**64), sorted(ids.sample(SEGMENTS, 2))
        segments.append(f"Valid users: {user_id}")
        segments += [
            f"Valid additions (user id, segment id, expiration): ({user_id}, {id_}, 1440)" for id_ in segment_ids
        ]
        segments += [f"Valid segments (id, code, segment owner member id): ({id_}, '', 1)" for id_ in segment_ids]
    for _ in range(count):
        errors.append(f"Invalid segments (id, code, segment owner member id): ({ids.randrange(2**31)}, '', 0)")
    return Lines(errors, segments[-count:])


async def fill(url: str) -> None:
    """Fill every hour of the last two weeks, for both members."""
    async with connected(url) as cluster:
        store, now = ClusterUsageStore(cluster, "bench"), int(time.time() * 1000) // MS_PER_HOUR
        ids = random.Random(SEED)
        for name, count in LINES.items():
            for hour in range(now - DEFAULT_HOURS + 1, now + 1):
                tally = Tally(90_000, 1_000_000 + hour, 2_000_000, 10_000, 1_000, 200, 30, 4, 5)
                addition = Addition(MEMBERS[name], hour, 1, tally, lines(ids, count))
                await store.add(addition, asyncio.get_running_loop().time() + FILL_SECONDS)


class Caller:
    """Requests reports from a service, and writes."""

    def __init__(self, service: Service, tokens: Mapping[str, str], seconds: float) -> None:
        self._service = service
        self._tokens = tokens
        self._seconds = seconds

    async def write(self, member: str) -> Outcome:
        """Small calls in a closed loop."""
        return (await self._drive(self._writes(member))).lanes["writes"].checked()

    async def report_beside_writes(self, kind: Kind, writes_a_second: float) -> tuple[Outcome, Outcome]:
        """Reports at their kind's rate, and writes at a steady rate; returns both outcomes."""
        lanes = (
            await self._drive(self._writes(kind.member, writes_a_second), self._reports(kind, kind.a_second))
        ).lanes
        return lanes["writes"].checked(some_refused=True), lanes["reports"].checked(some_refused=True)

    async def report_much(self, kind: Kind) -> tuple[Outcome, Outcome]:
        """Many reports, most of which are refused, and writes in a closed loop; returns both outcomes."""
        lanes = (await self._drive(self._writes(kind.member), self._reports(kind, MANY))).lanes
        return lanes["writes"].checked(some_refused=True), lanes["reports"].checked(some_refused=True)

    async def first_ms(self, kind: Kind) -> float:
        """The longest duration of a single report, requested on connections to every worker.

        The first is the longest: its worker has no hours in its cache.
        """
        longest = 0.0
        for _ in range(READERS):
            started = time.perf_counter()
            await self._report_once(kind)
            longest = max(longest, time.perf_counter() - started)
        return longest * 1000

    async def _report_once(self, kind: Kind) -> None:
        host, port = kind.address(self._service)
        request = kind.request()
        headers = {"accept-encoding": "identity", "authorization": self._tokens[kind.member]} | dict(request.fields)
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}", http1=False, http2=True) as client:
            answer = await client.request(request.method, request.path, headers=headers, content=request.body)
            answer.raise_for_status()

    async def _drive(self, *lanes: Lane) -> load.Report:
        return await load.drive(*lanes, seconds=self._seconds)

    def _writes(self, member: str, a_second: float | None = None) -> Lane:
        lane = Lane("writes", self._service.grpc, "unary", [self._tokens[member]], SHAPE, WRITERS, WRITES_IN_FLIGHT)
        if a_second is None:
            return lane
        return replace(lane, per_second=a_second, deadline_seconds=DEADLINE_SECONDS)

    def _reports(self, kind: Kind, a_second: float) -> Lane:
        return Lane(
            "reports",
            kind.address(self._service),
            kind.request(),
            [self._tokens[kind.member]],
            connections=READERS,
            per_second=a_second,
            deadline_seconds=DEADLINE_SECONDS,
        )


async def measure(caller: Caller) -> tuple[Table, Table]:
    """The latency of reports beside writes, and their effect on the writes."""
    await caller.write("full")
    alone = {name: (await caller.write(name)).ok_per_second for name in LINES}
    # Large ones are few: a worker sends at most 16 MB per second of a member's reports.
    latencies = Table("report of two weeks", "bytes", "a second", "first ms", "p50 ms", "p99 ms", "writes/s", "p99 ms")
    for kind in KINDS:
        console.print(f"… {kind.name}, writes at half load")
        first_ms = await caller.first_ms(kind)
        writes, reports = await caller.report_beside_writes(kind, alone[kind.member] / 2)
        cells = (f"{reports.body_bytes / reports.calls:,.0f}", f"{reports.ok_per_second:,.0f}", f"{first_ms:.1f}")
        cells += (f"{reports.answered_ms.p50:.1f}", f"{reports.answered_ms.p99:.1f}")
        latencies.add_row(kind.name, *cells, f"{writes.ok_per_second:,.0f}", f"{writes.answered_ms.p99:.1f}")
    rates = Table(f"{MANY:,} reports a second", "answered/s", "p99 ms", "writes/s", "without", "ratio")
    for kind in KINDS:
        console.print(f"… {kind.name}, {MANY:,} a second, writes at full load")
        writes, reports = await caller.report_much(kind)
        before, rate = alone[kind.member], writes.ok_per_second
        cells = (f"{reports.ok_per_second:,.0f}", f"{reports.answered_ms.p99:.1f}", f"{rate:,.0f}", f"{before:,.0f}")
        rates.add_row(kind.name, *cells, f"{rate / before:.2f}")
    return latencies, rates


async def bench(seconds: float, host_modes: Sequence[str]) -> None:
    """Measure the hosts, one after the other."""
    async with AsyncExitStack() as stack:
        directory, cluster = await stack.enter_async_context(running_cluster())
        console.print(f"… filling {DEFAULT_HOURS} hours of {len(LINES)} members")
        await fill(cluster.url)
        for host_mode in host_modes:
            console.print(f"… starting the host {host_mode}")
            async with running_service(host_mode, cluster.url, directory, tuple(LINES), write=write_members) as service:
                tokens = {name: await signed_in(service.http, name, service.password) for name in LINES}
                for table in await measure(Caller(service, tokens, seconds)):
                    table.title = f"host {host_mode}"
                    console.print(table)


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.reports", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each measurement takes")
    parser.add_argument("--host", choices=available(), help="one host alone")
    arguments = parser.parse_args()
    if problem := load.missing():
        sys.exit(problem)
    configure_logging("warning")
    uvloop.run(bench(arguments.seconds, (arguments.host,) if arguments.host else available()[::-1]))


if __name__ == "__main__":
    main()
