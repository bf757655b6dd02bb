"""`python -m bench.logins`: what 20 sign-ins at once cost the calls that are under way.

Calls are paced: 1,000 a second are sent, whether or not the ones before are answered. Phases with and without sign-ins
take turns, so that the machine's other work falls on both alike. A process of its own signs in, as the calls' client
would else hold up the very calls that it times.
"""

import argparse
import asyncio
import math
import tempfile
import time
from collections.abc import Awaitable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path

import uvloop
from instantaudience.v1 import authentication_pb2 as auth_pb
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.running.hosts import available
from instantaudience_server.telemetry import configure_logging
from instantaudience_server.transport.framing import frame

from bench.__main__ import Address, Service, console, running_service
from bench.http2 import Http2Connection, LoadError
from bench.load import GRPC, UNARY, encoded_headers
from bench.workload import USERNAME, Shape, request_bodies

CALLS_PER_SECOND = 1000
CONNECTIONS = 16
SIGN_INS_AT_ONCE = 20
ROUNDS = 30
SHIFTS = 4
"""Groups of accounts that take turns: an account may sign in 10 times in 5 minutes."""
USERNAMES = [USERNAME, *(f"{USERNAME}-{number}" for number in range(SHIFTS * SIGN_INS_AT_ONCE))]
AUTHENTICATE = "/instantaudience.v1.AuthenticationService/Authenticate"
OK, UNAVAILABLE = "0", "14"
PAUSE_SECONDS = 0.3
"""Between phases, so that what was sent in one is answered before the next."""


class PacedCalls:
    """Sends ApplySegments at a steady rate, and keeps how long each took, in ms."""

    def __init__(self, service: Service) -> None:
        self._address = service.grpc
        self._block = encoded_headers(UNARY, service.token, GRPC)
        self._bodies = cycle(request_bodies(Shape(1, 2)))
        self._failure: LoadError | None = None
        self.latencies: list[float] = []

    async def run(self, phase: Awaitable[None]) -> None:
        """Send calls until the phase is over, on connections of its own: Envoy ends them after a while."""
        loop = asyncio.get_running_loop()
        connections = [(await loop.create_connection(Http2Connection, *self._address))[1] for _ in range(CONNECTIONS)]
        over = asyncio.ensure_future(phase)
        try:
            await self._send_until(over, connections)
        finally:
            over.cancel()
            for connection in connections:
                connection.close()

    async def _send_until(self, over: "asyncio.Future[None]", connections: list[Http2Connection]) -> None:
        started, sent = time.perf_counter(), 0
        while not over.done() and self._failure is None:
            due = int((time.perf_counter() - started) * CALLS_PER_SECOND)
            while sent < due:
                self._send(connections[sent % CONNECTIONS])
                sent += 1
            await asyncio.sleep(1 / CALLS_PER_SECOND)
        await asyncio.sleep(PAUSE_SECONDS)
        if self._failure is not None:
            raise self._failure
        for connection in connections:
            if connection.failure.done():
                await connection.failure
        await over

    def _send(self, connection: Http2Connection) -> None:
        sent = time.perf_counter()

        def on_end(trailers: dict[str, str]) -> None:
            if trailers.get("grpc-status") != "0":
                self._failure = LoadError(f"a call failed: {trailers}")
            self.latencies.append(1000 * (time.perf_counter() - sent))

        stream_id = connection.open(self._block, lambda _: None, on_end)
        connection.send(stream_id, next(self._bodies), end=True)

    def percentile(self, percent: int) -> float:
        """How long that share of the calls took at most, in ms."""
        return sorted(self.latencies)[len(self.latencies) * percent // 100]


async def sign_in(connection: Http2Connection, username: str, password: str) -> float:
    """Sign in once; how long it took, in seconds, and `math.inf` when its turn did not come in time."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[dict[str, str]] = loop.create_future()
    request = auth_pb.AuthenticateRequest(auth={"username": username, "password": password}).SerializeToString()
    sent = time.perf_counter()
    stream_id = connection.open(encoded_headers(AUTHENTICATE, "", GRPC), lambda _: None, answered.set_result)
    connection.send(stream_id, frame(request), end=True)
    await asyncio.wait([answered, connection.failure], return_when=asyncio.FIRST_COMPLETED)
    if not answered.done():
        await connection.failure
    status = answered.result().get("grpc-status")
    if status not in (OK, UNAVAILABLE):
        raise LoadError(f"a sign-in failed: {answered.result()}")
    return time.perf_counter() - sent if status == OK else math.inf


def sign_in_all(address: Address, usernames: Sequence[str], password: str) -> list[float]:
    """Sign in as each of these users at once; as `sign_in`, of each."""

    async def burst() -> list[float]:
        # A connection each: sign-ins come to every worker.
        loop = asyncio.get_running_loop()
        connections = [(await loop.create_connection(Http2Connection, *address))[1] for _ in usernames]
        signing_in = map(sign_in, connections, usernames, [password] * len(usernames))
        took = await asyncio.gather(*signing_in)
        for connection in connections:
            connection.close()
        return took

    return uvloop.run(burst())


async def measure(service: Service, process: ProcessPoolExecutor) -> float:
    """Run all phases, print what they show, and return the ratio of the p99s."""
    warm_up, quiet, busy = (PacedCalls(service) for _ in range(3))
    took: list[float] = []

    async def burst(usernames: Sequence[str]) -> None:
        signing_in = process.submit(sign_in_all, service.grpc, usernames, service.password)
        took.extend(await asyncio.wrap_future(signing_in))

    await asyncio.wrap_future(process.submit(sign_in_all, service.grpc, [], ""))  # it starts, and imports this module
    await warm_up.run(asyncio.sleep(1))
    for number in range(ROUNDS):
        started, first = time.perf_counter(), 1 + number % SHIFTS * SIGN_INS_AT_ONCE
        await busy.run(burst(USERNAMES[first : first + SIGN_INS_AT_ONCE]))
        await quiet.run(asyncio.sleep(time.perf_counter() - started))
    for name, calls in (("without sign-ins", quiet), (f"with {SIGN_INS_AT_ONCE} sign-ins at once", busy)):
        console.print(
            f"{name}: {len(calls.latencies):,} calls at {CALLS_PER_SECOND:,}/s, "
            f"p50 {calls.percentile(50):.2f} ms, p99 {calls.percentile(99):.2f} ms"
        )
    took.sort()
    console.print(
        f"{len(took)} sign-ins: p50 {took[len(took) // 2]:.2f} s, slowest {took[-1]:.2f} s, "
        f"{took.count(math.inf)} not in time"
    )
    return busy.percentile(99) / quiet.percentile(99)


async def bench(host_mode: str) -> None:
    """Start a cluster and the service, measure, and print the ratio."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="instant-audience-bench-")))
        cluster = EmbeddedCluster(directory / "data")
        await cluster.start()
        stack.push_async_callback(cluster.stop)
        service = await stack.enter_async_context(running_service(host_mode, cluster.url, directory, USERNAMES))
        process = stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
        console.print(f"host {host_mode}")
        console.print(f"p99 with sign-ins / without: {await measure(service, process):.2f}")


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.logins", description=__doc__)
    parser.add_argument("--host-mode", choices=available(), default=available()[0], help="which host serves")
    arguments = parser.parse_args()
    configure_logging("warning")
    uvloop.run(bench(arguments.host_mode))


if __name__ == "__main__":
    main()
