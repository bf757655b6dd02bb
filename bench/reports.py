"""`python -m bench.reports`: reports of two weeks in which every hour is filled, while the same member writes.

For each host: the writes' throughput alone; each kind of report, asked for at random moments, while writes run at half
of that; and the writes' throughput while a thousand reports a second are asked for. Callers, service and cluster share
the machine's processors, so what reports cost is taken from the writes, and bursts of writes (h2load sends every 10 ms)
delay reports. It needs h2load (Debian's nghttp2-client).
"""

import argparse
import asyncio
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import uvloop
from instantaudience.v1 import usage_pb2
from instantaudience_server.clock import MS_PER_HOUR
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.running.hosts import available
from instantaudience_server.store.cluster import Cluster
from instantaudience_server.store.topology import Topology
from instantaudience_server.store.usage_interface import Addition, Lines, Tally
from instantaudience_server.store.usage_store import ClusterUsageStore
from instantaudience_server.telemetry import configure_logging
from instantaudience_server.transport.framing import frame
from instantaudience_server.usage.spans import DEFAULT_HOURS
from rich.table import Table

from bench import h2load
from bench.__main__ import Address, Service, console, running_service, signed_in
from bench.http2 import Http2Connection, LoadError, encode_headers
from bench.load import GRPC, JSON, UNARY, call_headers
from bench.workload import SEGMENTS, Shape, request_bodies, write_members

LINES = {"full": 200, "some": 10}
"""Lines of each kind that each hour of a member has, by member; each has a user of its name."""
MEMBERS = {name: number for number, name in enumerate(LINES, 1)}
SHAPE = Shape(1, 2)
REST = "/rt-segment-processed"
USAGE = "/instantaudience.v1.UsageService/GetUsage"
WRITERS, WRITES_IN_FLIGHT, READERS = 64, 8, 10
WARMUP_SECONDS, LAST_SECONDS = 1.0, 1.0
"""Before calls count, and for answers that are still under way."""
SEED = 5
FILL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of read: whose, how it is asked for, and how often a second while its latency is measured."""

    name: str
    member: str
    path: str
    a_second: int
    gzip: bool = False

    @property
    def is_grpc(self) -> bool:
        """Whether it is asked for over gRPC."""
        return self.path == USAGE

    @property
    def body(self) -> bytes | None:
        """What is sent; None where nothing is."""
        if not self.is_grpc:
            return None
        return frame(usage_pb2.GetUsageRequest(without_lines=True).SerializeToString())

    def headers(self, token: str) -> dict[str, str]:
        """Those of a call."""
        headers = call_headers(token, GRPC if self.is_grpc else JSON)
        return headers | {"accept-encoding": "gzip"} if self.gzip else headers

    def address(self, service: Service) -> Address:
        """Where it goes."""
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
"""Reports a second that must not slow the writes. With all lines they would be 14 GB a second: most are refused."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a run showed: calls a second, bytes of an answer, latencies in ms.

    `first_ms` is how long a worker took that had no hour in its memory: not among the others.
    """

    rate: float
    answer_bytes: int
    p50_ms: float
    p99_ms: float
    first_ms: float = 0.0


def lines(ids: random.Random, count: int) -> Lines:
    """Such as calls of one user and two segments leave, each with another user, and blocks with unknown segments."""
    errors, segments = [], list[str]()
    while len(segments) < count:
        user_id, segment_ids = ids.randrange(2**64), sorted(ids.sample(SEGMENTS, 2))
        segments.append(f"Valid users: {user_id}")
        segments += [
            f"Valid additions (user id, segment id, expiration): ({user_id}, {id_}, 1440)" for id_ in segment_ids
        ]
        segments += [f"Valid segments (id, code, segment owner member id): ({id_}, None, 1)" for id_ in segment_ids]
    for _ in range(count):
        errors.append(f"Invalid segments (id, code, segment owner member id): ({ids.randrange(2**31)}, None, None)")
    return Lines(errors, segments[-count:])


async def fill(url: str) -> None:
    """Fill every hour of the two weeks that end now, of both members."""
    topology = Topology(url, connect_timeout_seconds=5)
    cluster = Cluster(topology, max_pending_bytes=2**30, stalled_seconds=FILL_SECONDS)
    await cluster.open()
    try:
        store, now = ClusterUsageStore(cluster, "bench"), int(time.time() * 1000) // MS_PER_HOUR
        ids = random.Random(SEED)
        for name, count in LINES.items():
            for hour in range(now - DEFAULT_HOURS + 1, now + 1):
                tally = Tally(90_000, 1_000_000 + hour, 2_000_000, 10_000, 1_000, 200, 30, 4, 5)
                addition = Addition(MEMBERS[name], hour, 1, tally, lines(ids, count))
                await store.add(addition, asyncio.get_running_loop().time() + FILL_SECONDS)
    finally:
        await cluster.close()


class Caller:
    """Asks a service for reports and writes, through h2load."""

    def __init__(self, service: Service, tokens: dict[str, str], directory: Path, seconds: float) -> None:
        self._service = service
        self._tokens = tokens
        self._directory = directory
        self._seconds = seconds
        self._timing = asyncio.Lock()
        """Held while this process times reports: nothing else may take its time."""

    async def write(self, member: str, a_second: float | None = None) -> Run:
        """Write small calls: as fast as they are answered, or at a rate."""
        headers = call_headers(self._tokens[member], GRPC)
        sizes = [f"--clients={WRITERS}", f"--max-concurrent-streams={WRITES_IN_FLIGHT}"]
        if a_second is not None:
            sizes.append(f"--rps={a_second / WRITERS:.2f}")
        return await self._drive(self._service.grpc, UNARY, headers, sizes, request_bodies(SHAPE)[0])

    async def report(self, kind: Kind) -> Run:
        """Ask for many reports; those that are answered count."""
        sizes = [f"--clients={READERS}", "--max-concurrent-streams=100", f"--rps={MANY / READERS:.2f}"]
        sizes += ["--window-bits=24", "--connection-window-bits=24"]
        headers = kind.headers(self._tokens[kind.member])
        return await self._drive(kind.address(self._service), kind.path, headers, sizes, kind.body, some_fail=True)

    async def report_paced(self, kind: Kind) -> Run:
        """Ask for reports at random moments (a Poisson process), whether earlier ones are answered or not."""
        async with self._timing:
            return await self._report_paced(kind)

    async def _report_paced(self, kind: Kind) -> Run:
        headers = kind.headers(self._tokens[kind.member]) | {
            ":method": "POST" if kind.is_grpc else "GET",
            ":scheme": "http",
            ":path": kind.path,
            ":authority": "bench",
        }
        block, address = encode_headers(dict(sorted(headers.items()))), kind.address(self._service)
        loop, latencies, sizes = asyncio.get_running_loop(), list[int](), list[int]()
        connections = [(await loop.create_connection(Http2Connection, *address))[1] for _ in range(READERS)]
        moments = random.Random(SEED)

        def send(connection: Http2Connection, due: float) -> asyncio.Future[None]:
            answered: asyncio.Future[None] = loop.create_future()

            def ended(_: dict[str, str]) -> None:
                latencies.append(int((time.perf_counter() - due) * 1e6))
                answered.set_result(None)

            stream = connection.open(block, lambda data: sizes.append(len(data)), ended)
            connection.send(stream, kind.body or b"", end=True)
            return answered

        try:
            await asyncio.sleep(WARMUP_SECONDS)
            for connection in connections:  # they lead to every worker
                await send(connection, time.perf_counter())
            first_ms = max(latencies) / 1000
            latencies.clear()
            sizes.clear()
            due = time.perf_counter()
            ends = due + self._seconds
            for connection in itertools.cycle(connections):
                await asyncio.sleep(due - time.perf_counter())
                send(connection, due)
                due += moments.expovariate(kind.a_second)
                if due > ends:
                    break
            await asyncio.sleep(LAST_SECONDS)
            for connection in connections:
                if connection.failure.done():
                    connection.failure.result()
        finally:
            for connection in connections:
                connection.close()
        return replace(_run(sum(sizes), latencies, self._seconds), first_ms=first_ms)

    async def _drive(
        self,
        address: Address,
        path: str,
        headers: dict[str, str],
        sizes: list[str],
        body: bytes | None = None,
        *,
        some_fail: bool = False,
    ) -> Run:
        with tempfile.TemporaryDirectory(dir=self._directory) as directory:
            data, log = Path(directory, "body"), Path(directory, "log")
            argv = ["h2load", f"--duration={self._seconds:.0f}", f"--warm-up-time={h2load.WARMUP_SECONDS}"]
            argv += ["--threads=1", f"--log-file={log}", *sizes]
            argv += [f"--header={name}: {value}" for name, value in headers.items()]
            if body is not None:
                await asyncio.to_thread(data.write_bytes, body)
                argv.append(f"--data={data}")
            url = f"http://{address[0]}:{address[1]}{path}"
            process = await asyncio.create_subprocess_exec(*argv, url, stdout=asyncio.subprocess.PIPE)
            said, _ = await process.communicate()
            async with self._timing:
                lines = (await asyncio.to_thread(log.read_bytes)).splitlines()
        answers, text = [line.split(b"\t") for line in lines], said.decode()
        latencies = [int(latency) for _, status, latency in answers if status == b"200"]
        if not latencies or (" 0 failed, 0 errored, 0 timeout" not in text and not some_fail):
            raise LoadError(f"h2load says: {text}")
        received = next(line for line in text.splitlines() if line.startswith("traffic:"))
        return _run(int(received.rpartition("(")[2].partition(")")[0]), latencies, self._seconds)


def _run(received_bytes: int, latencies: list[int], seconds: float) -> Run:
    """What the latencies (in µs) of `seconds` show."""
    ordered = sorted(latencies)
    return Run(
        len(ordered) / seconds,
        received_bytes // len(ordered),
        ordered[len(ordered) // 2] / 1000,
        ordered[len(ordered) * 99 // 100] / 1000,
    )


async def measure(caller: Caller) -> tuple[Table, Table]:
    """What reports take beside writes, and what they take from the writes."""
    await caller.write("full")
    alone = {name: await caller.write(name) for name in LINES}
    # Large ones are few: a worker sends of a member's 16 MB a second.
    latencies = Table("report of two weeks", "bytes", "a second", "first ms", "p50 ms", "p99 ms", "writes/s", "p99 ms")
    for kind in KINDS:
        console.print(f"… {kind.name}, writes at half load")
        half = alone[kind.member].rate / 2
        writes, reports = await asyncio.gather(caller.write(kind.member, half), caller.report_paced(kind))
        cells = (f"{reports.answer_bytes:,}", f"{reports.rate:,.0f}", f"{reports.first_ms:.1f}")
        cells += (f"{reports.p50_ms:.1f}", f"{reports.p99_ms:.1f}")
        latencies.add_row(kind.name, *cells, f"{writes.rate:,.0f}", f"{writes.p99_ms:.1f}")
    rates = Table(f"{MANY:,} reports a second", "answered/s", "p99 ms", "writes/s", "without", "ratio")
    for kind in KINDS:
        console.print(f"… {kind.name}, {MANY:,} a second, writes at full load")
        writes, reports = await asyncio.gather(caller.write(kind.member), caller.report(kind))
        before = alone[kind.member].rate
        cells = (f"{reports.rate:,.0f}", f"{reports.p99_ms:.1f}", f"{writes.rate:,.0f}", f"{before:,.0f}")
        rates.add_row(kind.name, *cells, f"{writes.rate / before:.2f}")
    return latencies, rates


async def bench(seconds: float, hosts: Sequence[str]) -> None:
    """The hosts, one after the other."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="instant-audience-bench-")))
        cluster = EmbeddedCluster(directory / "data")
        await cluster.start()
        stack.push_async_callback(cluster.stop)
        console.print(f"… filling {DEFAULT_HOURS} hours of {len(LINES)} members")
        await fill(cluster.url)
        for host_mode in hosts:
            console.print(f"… starting the host {host_mode}")
            async with running_service(host_mode, cluster.url, directory, tuple(LINES), write=write_members) as service:
                tokens = {name: await signed_in(service.http, name, service.password) for name in LINES}
                for table in await measure(Caller(service, tokens, directory, seconds)):
                    table.title = f"host {host_mode}"
                    console.print(table)


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.reports", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each measurement takes")
    parser.add_argument("--host", choices=available(), help="one host alone")
    arguments = parser.parse_args()
    if not h2load.is_installed():
        sys.exit("h2load is not on PATH: install Debian's nghttp2-client")
    hosts = available()[::-1]
    configure_logging("warning")
    uvloop.run(bench(arguments.seconds, (arguments.host,) if arguments.host else hosts))


if __name__ == "__main__":
    main()
