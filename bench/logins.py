"""`python -m bench.logins`: what 20 sign-ins at once cost the calls that are under way.

1,000 calls a second are made, whether or not the ones before are answered. Phases with and without sign-ins take turns,
so that the machine's other work falls on both alike; of each kind of phase, the median of the p99s counts.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import cycle

import httpx
import uvloop
from instantaudience_server.running.hosts import available
from instantaudience_server.telemetry import configure_logging
from rich.console import Console

from bench import load
from bench.cluster import running_cluster
from bench.load import Lane, Outcome
from bench.service import Service, running_service, signed_in
from bench.workload import USERNAME

console = Console()

CALLS_PER_SECOND = 1000
CONNECTIONS = 16
SIGN_INS_AT_ONCE = 20
ROUNDS = 10
PHASE_SECONDS = 3.0
SHIFTS = 8
"""Groups of accounts that take turns: an account may sign in 10 times in 5 minutes."""
USERNAMES = [USERNAME, *(f"{USERNAME}-{number}" for number in range(SHIFTS * SIGN_INS_AT_ONCE))]
DEADLINE_SECONDS = 5.0


async def call(service: Service) -> Outcome:
    """Make the calls of a phase."""
    lane = Lane(
        "calls",
        service.grpc,
        "unary",
        [service.token],
        connections=CONNECTIONS,
        per_second=CALLS_PER_SECOND,
        deadline_seconds=DEADLINE_SECONDS,
    )
    return (await load.drive(lane, seconds=PHASE_SECONDS)).lanes["calls"].checked(some_refused=True)


async def sign_in(service: Service, username: str) -> float | None:
    """Sign in once, on a new connection; returns the seconds that it took, or None if its turn did not come."""
    sent = time.perf_counter()
    try:
        await signed_in(service.http, username, service.password)
    except httpx.HTTPStatusError as error:
        if error.response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            raise
        return None
    return time.perf_counter() - sent


async def sign_in_again_and_again(service: Service, shifts: Iterator[Sequence[str]], took: list[float | None]) -> None:
    """Sign in all accounts of a shift at once, then those of the next shift, until cancelled."""
    while True:
        took.extend(await asyncio.gather(*(sign_in(service, username) for username in next(shifts))))


async def measure(service: Service) -> float:
    """Run all phases, and print the results; returns the ratio of the p99s."""
    starts = range(1, len(USERNAMES), SIGN_INS_AT_ONCE)
    shifts = cycle([USERNAMES[start : start + SIGN_INS_AT_ONCE] for start in starts])
    phases: dict[str, list[Outcome]] = {"without sign-ins": [], f"with {SIGN_INS_AT_ONCE} sign-ins at once": []}
    quiet, busy = phases.values()
    took: list[float | None] = []
    for _ in range(ROUNDS):
        quiet.append(await call(service))
        signing_in = asyncio.create_task(sign_in_again_and_again(service, shifts, took))
        busy.append(await call(service))
        signing_in.cancel()
        await asyncio.wait([signing_in])
    for name, outcomes in phases.items():
        p50, p99 = _medians(outcomes)
        calls = sum(outcome.calls for outcome in outcomes)
        console.print(f"{name}: {calls:,} calls at {CALLS_PER_SECOND:,}/s, p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    in_time = sorted(seconds for seconds in took if seconds is not None)
    console.print(
        f"{len(took)} sign-ins: p50 {in_time[len(in_time) // 2]:.2f} s, slowest {in_time[-1]:.2f} s, "
        f"{len(took) - len(in_time)} not in time"
    )
    return _medians(busy)[1] / _medians(quiet)[1]


def _medians(outcomes: Sequence[Outcome]) -> tuple[float, float]:
    """The medians of the phases' p50s and p99s, in ms."""
    p50s, p99s = zip(*((outcome.answered_ms.p50, outcome.answered_ms.p99) for outcome in outcomes), strict=True)
    return statistics.median(p50s), statistics.median(p99s)


async def bench(host_mode: str) -> None:
    """Start a cluster and the service, measure, and print the ratio."""
    async with AsyncExitStack() as stack:
        directory, cluster = await stack.enter_async_context(running_cluster())
        service = await stack.enter_async_context(running_service(host_mode, cluster.url, directory, USERNAMES))
        console.print(f"host {host_mode}")
        console.print(f"p99 with sign-ins / without: {await measure(service):.2f}")


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.logins", description=__doc__)
    parser.add_argument("--host-mode", choices=available(), default=available()[0], help="which host serves")
    arguments = parser.parse_args()
    if problem := load.missing():
        sys.exit(problem)
    configure_logging("warning")
    uvloop.run(bench(arguments.host_mode))


if __name__ == "__main__":
    main()
