"""`python -m bench.overload`: more calls than the service can serve, from callers who do not slow down because of that.

For each host and shape it first measures the peak, in a closed loop. Then one member offers a multiple of it, at a
steady rate, while a neighbour of another member calls 50 times a second. A process of its own drives the flood; the
table says how much of a core that took, of the two that callers, service and cluster share here.
"""

import argparse
import asyncio
import itertools
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import uvloop
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.running.hosts import available
from instantaudience_server.telemetry import configure_logging
from rich.table import Table

from bench import load
from bench.__main__ import Service, console, running_service, signed_in
from bench.http2 import LARGEST_WINDOW, RST_STREAM, Http2Connection
from bench.workload import Shape, request_bodies, write_members

SHAPES = (Shape(1, 2), Shape(100, 2))
MULTIPLES = (1.3, 2.0, 5.0)
CONNECTIONS, IN_FLIGHT = 64, 4
DEADLINE_SECONDS = 2.0
NEIGHBOUR, NEIGHBOURS_RATE = "neighbour", 50
FLOOD = "flood"
TICK_SECONDS = 0.002
MOST_UNANSWERED = 60_000
"""Past it, the driver would measure itself: what is due is counted as missed."""


MAX_CONCURRENT_STREAMS = 3
REFUSED = {"grpc-status": "14"}


class _Connection(Http2Connection):
    """A stream that is reset was refused. Calls past what the server allows at once wait here, as gRPC clients do."""

    def __init__(self) -> None:
        super().__init__()
        self._most = LARGEST_WINDOW
        self._due: deque[tuple[float, Callable[[], None]]] = deque()

    def soon(self, sent: float, begin: Callable[[], None]) -> None:
        """Begin a call when the server allows one more."""
        if len(self._streams) < self._most:
            begin()
        else:
            self._due.append((sent, begin))

    def _next(self) -> None:
        now = time.perf_counter()
        while self._due and len(self._streams) < self._most:
            sent, begin = self._due.popleft()
            if now - sent < DEADLINE_SECONDS:
                begin()

    def _on_settings(self, payload: bytes) -> None:
        super()._on_settings(payload)
        self._most = dict(struct.iter_unpack(">HI", payload)).get(MAX_CONCURRENT_STREAMS, self._most)

    def _on_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == RST_STREAM:
            stream = self._streams.pop(stream_id, None)
            if stream is not None:
                stream.on_end(REFUSED)
        elif stream_id == 0 or stream_id in self._streams:
            super()._on_frame(kind, flags, stream_id, payload)
        self._next()


@dataclass
class Outcome:
    """What came of calls: in time with OK, refused (and how fast), failed otherwise, or not answered in time."""

    seconds: float
    good: int = 0
    refused: int = 0
    failed: int = 0
    missed: int = 0
    processor_seconds: float = 0.0
    good_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)

    def percentile(self, share: float, values: str = "good_ms") -> float:
        """Of the latencies, in ms."""
        ordered = sorted(getattr(self, values))
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


async def offer(address: tuple[str, int], token: str, shape: Shape, rate: float, seconds: float) -> Outcome:
    """Send calls at a steady rate, whatever becomes of them."""
    outcome = Outcome(seconds)
    timeout = {"grpc-timeout": f"{DEADLINE_SECONDS * 1000:.0f}m"}
    block = load.encoded_headers(load.UNARY, token, load.GRPC, timeout)
    connections = [
        (await asyncio.get_running_loop().create_connection(_Connection, *address))[1] for _ in range(CONNECTIONS)
    ]
    turns, bodies = itertools.cycle(connections), itertools.cycle(request_bodies(shape))
    unanswered = 0

    def call() -> None:
        nonlocal unanswered
        sent = time.perf_counter()
        unanswered += 1

        def on_end(trailers: dict[str, str]) -> None:
            nonlocal unanswered
            unanswered -= 1
            elapsed = time.perf_counter() - sent
            status = trailers.get("grpc-status")
            if elapsed > DEADLINE_SECONDS:
                outcome.missed += 1
            elif status == "0":
                outcome.good += 1
                outcome.good_ms.append(1000 * elapsed)
            elif status in ("8", "14"):
                outcome.refused += 1
                outcome.refused_ms.append(1000 * elapsed)
            else:
                outcome.failed += 1

        connection = next(turns)
        body = next(bodies)
        connection.soon(sent, lambda: connection.send(connection.open(block, lambda _: None, on_end), body, end=True))

    began, sent = time.perf_counter(), 0
    spent = time.process_time()
    while (now := time.perf_counter()) < began + seconds:
        due = int((now - began) * rate)
        for _ in range(due - sent):
            if unanswered < MOST_UNANSWERED:
                call()
            else:
                outcome.missed += 1
        sent = due
        await asyncio.sleep(TICK_SECONDS)
    await asyncio.sleep(DEADLINE_SECONDS + 0.5)
    outcome.missed += unanswered
    outcome.processor_seconds = time.process_time() - spent
    for connection in connections:
        connection.close()
    return outcome


async def offer_elsewhere(service: Service, token: str, shape: Shape, rate: float, seconds: float) -> Outcome:
    """`offer`, in a process of its own."""
    words = [service.grpc[0], service.grpc[1], token, shape.users, shape.blocks, rate, seconds]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.overload", "--offer", json.dumps(words), stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()
    return Outcome(**json.loads(output))


def worker_bytes() -> int:
    """The memory of all processes of the service that serve calls."""
    total = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            if b"instantaudience_server.running.worker" in command or b"envoy" in command.split(b"\0")[0]:
                total += int((entry / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            continue
    return total


async def watch_memory(most: list[int]) -> None:
    """Note the most, until cancelled."""
    while True:
        most.append(worker_bytes())
        await asyncio.sleep(0.25)


async def overload(hosts: Sequence[str], multiples: Sequence[float], seconds: float) -> Table:
    """Measure all, and tell."""
    table = Table(title=f"Offered more than the peak; in time is within {DEADLINE_SECONDS:.0f} s")
    headings = [
        "host",
        "users × blocks",
        "peak/s",
        "offered",
        "in time",
        "refused",
        "p99 ms",
        "missed",
        "neighbour p99 ms",
    ]
    for heading in [*headings, "fails", "MB", "driver"]:
        table.add_column(heading, justify="left" if heading == "host" else "right", no_wrap=True)
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="instant-audience-bench-")))
        cluster = EmbeddedCluster(directory / "data")
        await cluster.start()
        stack.push_async_callback(cluster.stop)
        for host in hosts:
            users = (FLOOD, NEIGHBOUR)
            async with running_service(host, cluster.url, directory, users, write=write_members) as service:
                neighbour = await signed_in(service.http, NEIGHBOUR, service.password)
                for shape in SHAPES:
                    sizes = {"connections": CONNECTIONS, "in_flight": IN_FLIGHT, "seconds": 3.0}
                    peak = (await load.unary(service.grpc, service.token, shape, **sizes)).calls_per_second
                    for multiple in multiples:
                        console.print(f"… {host}, {shape}, {multiple} × {peak:,.0f}/s")
                        memory: list[int] = []
                        watching = asyncio.create_task(watch_memory(memory))
                        beside = asyncio.create_task(
                            offer(service.grpc, neighbour, Shape(1, 1), NEIGHBOURS_RATE, seconds)
                        )
                        flood = await offer_elsewhere(service, service.token, shape, multiple * peak, seconds)
                        quiet = await beside
                        watching.cancel()
                        table.add_row(
                            host,
                            str(shape),
                            f"{peak:,.0f}",
                            f"{multiple:.1f} ×",
                            f"{flood.good / seconds / peak:.2f} ×",
                            f"{flood.refused / seconds / peak:.2f} ×",
                            f"{flood.percentile(0.99, 'refused_ms'):,.0f}",
                            f"{(flood.missed + flood.failed) / seconds / peak:.2f} ×",
                            f"{quiet.percentile(0.99):,.0f}",
                            f"{quiet.refused + quiet.failed + quiet.missed}",
                            f"{max(memory) / 1e6:,.0f}",
                            f"{flood.processor_seconds / seconds:.2f}",
                        )
                        await asyncio.sleep(2)
    table.caption = "in time, refused, missed: a second, against the peak; p99: of refusals; driver: cores that it took"
    return table


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each rate is offered")
    parser.add_argument("--host", choices=available(), help="one host alone")
    parser.add_argument("--times", type=float, nargs="*", default=MULTIPLES, help="multiples of the peak")
    parser.add_argument("--offer", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    configure_logging("warning")
    if arguments.offer:
        address, port, token, users, blocks, rate, seconds = json.loads(arguments.offer)
        outcome = uvloop.run(offer((address, port), token, Shape(users, blocks), rate, seconds))
        sys.stdout.write(json.dumps(asdict(outcome)))
        return
    hosts = available()[::-1]
    console.print(
        uvloop.run(overload([arguments.host] if arguments.host else hosts, arguments.times, arguments.seconds))
    )


if __name__ == "__main__":
    main()
