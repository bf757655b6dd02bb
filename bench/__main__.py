"""`make bench`: the service against its own ceiling, in one run, on one embedded cluster."""

import argparse
import asyncio
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvloop
from rich.console import Console
from rich.table import Table

from bench import ceiling, load
from bench.workload import USERNAME, Shape, write_catalog

console = Console()


@dataclass(frozen=True, slots=True)
class Service:
    """Where the service under test listens."""

    http: tuple[str, int]
    grpc: tuple[str, int]
    redis: str
    token: str


@contextmanager
def running_service() -> Iterator[Service]:
    """The service on free ports, with a catalog and an embedded cluster of its own."""
    with tempfile.TemporaryDirectory(prefix="instant-audience-bench-") as directory:
        catalog, log = Path(directory, "catalog.yaml"), Path(directory, "service.log")
        password = secrets.token_hex()
        write_catalog(catalog, password)
        argv = [sys.executable, "-m", "instantaudience_server", "serve", "--http-port", "0", "--grpc-port", "0"]
        argv += ["--catalog", str(catalog), "--data-dir", str(Path(directory, "data"))]
        with log.open("wb") as errors:
            process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            assert process.stdout is not None
            http = _address(process.stdout.readline(), log)
            grpc = _address(process.stdout.readline(), log)
            body = {"auth": {"username": USERNAME, "password": password}}
            answer = httpx.post(f"http://{http[0]}:{http[1]}/auth", json=body).raise_for_status()
            ports = re.search(r'"ports": \[(\d+)', log.read_text())
            assert ports is not None
            yield Service(http, grpc, f"redis://127.0.0.1:{ports[1]}", answer.json()["response"]["token"])
        finally:
            process.terminate()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _address(line: str, log: Path) -> tuple[str, int]:
    found = re.search(r"([\d.]+):(\d+)$", line.strip())
    if found is None:
        sys.exit(f"the service did not start:\n{log.read_text()}")
    return found[1], int(found[2])


async def measure(service: Service, seconds: float) -> None:
    """Run every measurement and print the table."""
    table = Table(title="Instant Audience against its ceiling")
    for heading in ("what", "users × blocks", "calls/s", "memberships/s", "p50 ms", "p99 ms", "of the ceiling"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    ceilings: dict[Shape, float] = {}
    many, wide, small, large = Shape(100, 2), Shape(100, 100), Shape(1, 2), Shape(1000, 2)
    runs = [
        ("gRPC ApplySegments", load.unary, service.grpc, small, 8, 8),
        ("gRPC ApplySegments", load.unary, service.grpc, many, 16, 2),
        ("gRPC ApplySegments", load.unary, service.grpc, wide, 8, 2),
        ("gRPC StreamSegments", load.streams, service.grpc, many, 16, 4),
        ("REST POST /rt-segment", load.rest, service.http, small, 8, 8),
        ("REST POST /rt-segment", load.rest, service.http, large, 8, 2),
    ]
    for name, drive, address, shape, connections, in_flight in runs:
        if shape not in ceilings:
            console.print(f"… the ceiling, {shape}")
            ceilings[shape] = await asyncio.to_thread(ceiling.measure, service.redis, shape, seconds)
        console.print(f"… {name}, {shape}")
        result = await drive(
            address, service.token, shape, connections=connections, in_flight=in_flight, seconds=seconds
        )
        rate = result.calls_per_second * shape.memberships
        table.add_row(
            name,
            str(shape),
            f"{result.calls_per_second:,.0f}",
            f"{rate:,.0f}",
            f"{result.p50_ms:.1f}",
            f"{result.p99_ms:.1f}",
            f"{rate / ceilings[shape]:.2f}",
        )
    for shape, rate in ceilings.items():
        table.add_row(
            "ceiling: plain sockets", str(shape), f"{rate / shape.memberships:,.0f}", f"{rate:,.0f}", "", "", "1"
        )
    console.print(table)


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each measurement takes")
    arguments = parser.parse_args()
    started = time.monotonic()
    console.print("… starting the service")
    with running_service() as service:
        uvloop.run(measure(service, arguments.seconds))
    console.print(f"took {time.monotonic() - started:.0f} s; the machine's other work shows in it: compare ratios")


if __name__ == "__main__":
    main()
