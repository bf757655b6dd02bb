"""`make bench`: both hosts of the service against the cluster's ceiling, in one run, on one embedded cluster."""

import argparse
import asyncio
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvloop
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.running.hosts import HOSTS, available, missing
from instantaudience_server.telemetry import configure_logging
from rich.console import Console
from rich.table import Table

from bench import catalog, ceiling, h2load, load
from bench.workload import USERNAME, Shape, json_bodies, request_bodies, write_catalog

console = Console(width=130)

PASSWORD = f"Bench-1-{secrets.token_hex()}"
"""Of all accounts: services that share a cluster share its catalog, which has the passwords of the first."""

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Service:
    """Where a service under test listens, and its accounts' password."""

    http: Address
    grpc: Address
    token: str
    password: str


@dataclass(frozen=True, slots=True)
class Run:
    """One kind of load: its name, what drives it, the port, and how much of it there is at once."""

    name: str
    drive: Callable[..., Awaitable[load.Result]]
    over_http: bool
    shape: Shape
    connections: int
    in_flight: int


RUNS = (
    Run("gRPC ApplySegments", load.unary, False, Shape(1, 2), 64, 8),
    Run("gRPC ApplySegments", load.unary, False, Shape(100, 2), 64, 4),
    Run("gRPC ApplySegments", load.unary, False, Shape(100, 100), 16, 1),
    Run("gRPC StreamSegments", load.streams, False, Shape(100, 2), 16, 4),
    Run("REST POST /rt-segment", load.rest, True, Shape(1, 2), 64, 8),
    Run("REST POST /rt-segment", load.rest, True, Shape(1000, 2), 16, 1),
)


@asynccontextmanager
async def running_service(
    host_mode: str,
    redis: str,
    directory: Path,
    usernames: Sequence[str] = (USERNAME,),
    *,
    arguments: Sequence[str] = (),
    write: Callable[[Path, str, Sequence[str]], None] = write_catalog,
) -> AsyncIterator[Service]:
    """The service on free ports, with a catalog of its own; the first of its accounts has signed in."""
    catalog_file, log = directory / f"{host_mode}.yaml", directory / f"{host_mode}.log"
    write(catalog_file, PASSWORD, usernames)
    argv = [sys.executable, "-m", "instantaudience_server", "serve", "--host-mode", host_mode, "--redis", redis]
    argv += ["--http-port", "0", "--grpc-port", "0", "--catalog", str(catalog_file), *arguments]
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE, stderr=errors)
    try:
        assert process.stdout is not None
        http = _address(await process.stdout.readline(), log)
        grpc = _address(await process.stdout.readline(), log)
        yield Service(http, grpc, await signed_in(http, usernames[0], PASSWORD), PASSWORD)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def signed_in(http: Address, username: str, password: str) -> str:
    """A token of this account."""
    async with httpx.AsyncClient(base_url=f"http://{http[0]}:{http[1]}") as client:
        answer = await client.post("/auth", json={"auth": {"username": username, "password": password}})
    return str(answer.raise_for_status().json()["response"]["token"])


def _address(line: bytes, log: Path) -> Address:
    found = re.search(r"([\d.]+):(\d+)$", line.decode().strip())
    if found is None:
        sys.exit(f"the service did not start:\n{log.read_text()}")
    return found[1], int(found[2])


async def drive(run: Run, service: Service, redis: str, seconds: float) -> load.Result:
    """Put one kind of load on one service: small calls with h2load where it is installed."""
    address = service.http if run.over_http else service.grpc
    sizes = {"connections": run.connections, "in_flight": run.in_flight, "seconds": seconds}
    if run.shape.users > 1 or not h2load.is_installed():
        return await run.drive(address, service.token, run.shape, **sizes)
    path, content_type = (load.REST, load.JSON) if run.over_http else (load.UNARY, load.GRPC)
    body = (json_bodies if run.over_http else request_bodies)(run.shape)[0]
    url = f"http://{address[0]}:{address[1]}{path}"
    headers = load.call_headers(service.token, content_type)
    return await h2load.drive(url, headers, body, run.shape, redis=redis, **sizes)


async def measure(services: dict[str, Service], redis: str, seconds: float) -> Table:
    """Run every measurement, one after the other; the ceiling right before each host, as machines drift."""
    table = Table(title="Instant Audience against its ceiling")
    for heading in (
        "what",
        "users × blocks",
        "host",
        "calls/s",
        "memberships/s",
        "the ceiling's",
        "p50 ms",
        "p99 ms",
        "ratio",
        "grpcio",
    ):
        table.add_column(heading, justify="left" if heading in ("what", "host") else "right", no_wrap=True)
    for run in RUNS:
        shape = run.shape
        slowest: float | None = None
        for host_mode, service in services.items():
            console.print(f"… the ceiling, {shape}")
            most = await asyncio.to_thread(ceiling.measure, redis, shape, seconds)
            console.print(f"… {run.name}, {shape}, {host_mode}")
            result = await drive(run, service, redis, seconds)
            slowest = slowest or result.calls_per_second
            rate = result.calls_per_second * shape.memberships
            table.add_row(
                run.name,
                str(shape),
                host_mode,
                f"{result.calls_per_second:,.0f}",
                f"{rate:,.0f}",
                f"{most:,.0f}",
                f"{result.p50_ms:.1f}",
                f"{result.p99_ms:.1f}",
                f"{rate / most:.2f}",
                f"{result.calls_per_second / slowest:.2f}",
            )
    table.caption = "ratio, grpcio: memberships/s as a ratio to the ceiling's, calls/s to the grpcio host's"
    return table


async def bench(seconds: float) -> None:
    """Start the cluster and the services, measure, and print the table."""
    if not h2load.is_installed():
        console.print("h2load is not installed: the client of the small calls is Python, and may be the bottleneck")
    hosts = available()[::-1]
    for host in HOSTS:
        if reason := missing(host):
            console.print(f"the {host} host is left out: {reason}")
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="instant-audience-bench-")))
        console.print(f"… starting a cluster and the hosts {', '.join(hosts)}")
        cluster = EmbeddedCluster(directory / "data")
        await cluster.start()
        stack.push_async_callback(cluster.stop)
        services = {
            host: await stack.enter_async_context(running_service(host, cluster.url, directory)) for host in hosts
        }
        console.print(await measure(services, cluster.url, seconds))


async def bench_catalog() -> None:
    """Measure the catalog, and print the table."""
    with tempfile.TemporaryDirectory(prefix="instant-audience-bench-") as directory:
        console.print(await catalog.measure(running_service, Path(directory), console.print))


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each measurement takes")
    parser.add_argument("--catalog", action="store_true", help="measure a million segments too: some two minutes more")
    arguments = parser.parse_args()
    started = time.monotonic()
    configure_logging("warning")
    uvloop.run(bench(arguments.seconds))
    if arguments.catalog:
        uvloop.run(bench_catalog())
    console.print(f"took {time.monotonic() - started:.0f} s; the machine's other work shows in it: compare ratios")


if __name__ == "__main__":
    main()
