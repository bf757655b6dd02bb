"""`python -m bench.quotas`: members far above their limits, over four workers, and a neighbour below its own.

Each flood is driven at three times its limit (reads at one and a half times: two cores have to do for callers, service
and cluster), for ten seconds, and reported by second of the cluster's clock.
"""

import argparse
import sys
from contextlib import AsyncExitStack
from functools import partial

import uvloop
from instantaudience_server.running.hosts import available
from instantaudience_server.store.interfaces.quotas import Quota
from instantaudience_server.store.keys import quota_key
from instantaudience_server.telemetry import configure_logging
from redis.asyncio import RedisCluster
from rich.console import Console
from rich.table import Table

from bench.cluster import running_cluster
from bench.flood import Flood, Result, flood
from bench.service import Service, running_service, signed_in
from bench.workload import write_members

console = Console(width=130)

WORKERS = 4
CONNECTIONS = 16
FREE = {"posts_per_second": 2**31 - 1, "users_per_second": 2**31 - 1}
LIMITS: dict[str, dict[str, int]] = {
    "neighbour": {},
    "posts": {},
    "users": FREE | {"users_per_second": 1000},
    "gets": {},
}
"""Differences from the default limits, by member; each member has a user of its name."""
MEMBERS = {name: number for number, name in enumerate(LIMITS, 1)}
FLOODS = {
    "posts": (Quota.POSTS, 300, 1, 100),
    "users": (Quota.POSTS, 300, 10, 1000),
    "gets": (Quota.GETS, 1500, 1, 1000),
}
"""Quota, calls per second, users per call, limit."""
NEIGHBOURS_RATE = 50


async def measure(service: Service, url: str, seconds: float) -> list[tuple[str, Result, Result]]:
    """Run each flood, with a neighbour's calls beside it."""
    tokens = {name: await signed_in(service.http, name, service.password) for name in LIMITS}
    results = []
    async with RedisCluster.from_url(url, protocol=2) as redis:
        for name, (quota, rate, users, _) in FLOODS.items():
            console.print(f"… {name}")
            await redis.delete(quota_key(MEMBERS[name], quota))  # the workers of the host before are still in it
            floods = [
                Flood(MEMBERS[name], tokens[name], quota, rate, users),
                Flood(MEMBERS["neighbour"], tokens["neighbour"], quota, NEIGHBOURS_RATE, 1),
            ]
            address = f"{service.grpc[0]}:{service.grpc[1]}"
            result, neighbour = await flood(address, floods, redis, connections=CONNECTIONS, seconds=seconds)
            results.append((name, result, neighbour))
    return results


def report(host_mode: str, results: list[tuple[str, Result, Result]]) -> tuple[Table, bool]:
    """What each second admitted, and whether all limits were kept."""
    table = Table(title=f"Floods over {WORKERS} workers, host {host_mode}")
    for heading in ("flood", "calls/s", "limit", "in each full second", "admitted", "refused", "workers", "neighbour"):
        table.add_column(heading, justify="left" if heading == "flood" else "right")
    kept = True
    for name, result, neighbour in results:
        limit = FLOODS[name][3]
        least, most = min(result.full_windows), max(units for _, units in result.windows.values())
        kept &= most <= limit and least >= 0.99 * limit and result.fits(limit)
        kept &= result.counted == result.admitted and not neighbour.refused
        kept &= not result.failed and not neighbour.failed
        rate = len(result.answers) / (result.ended - result.began)
        table.add_row(
            name,
            f"{rate:,.0f}",
            f"{limit:,}",
            f"{least:,} to {max(result.full_windows):,}",
            f"{result.admitted:,}",
            f"{result.refused:,}",
            str(result.workers),
            f"{neighbour.admitted:,} admitted, {neighbour.refused:,} refused",
        )
    table.caption = "promises kept" if kept else "PROMISES BROKEN"
    return table, kept


async def bench(seconds: float) -> bool:
    """Measure all hosts, one after the other."""
    kept = True
    async with AsyncExitStack() as stack:
        directory, cluster = await stack.enter_async_context(running_cluster())
        for host_mode in available()[::-1]:
            console.print(f"… starting the host {host_mode}")
            async with running_service(
                host_mode,
                cluster.url,
                directory,
                tuple(LIMITS),
                arguments=("--workers", str(WORKERS)),
                write=partial(write_members, limits=LIMITS),
            ) as service:
                table, host_kept = report(host_mode, await measure(service, cluster.url, seconds))
            console.print(table)
            kept &= host_kept
    return kept


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.quotas", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.3, help="how long each flood lasts")
    arguments = parser.parse_args()
    configure_logging("warning")
    sys.exit(0 if uvloop.run(bench(arguments.seconds)) else 1)


if __name__ == "__main__":
    main()
