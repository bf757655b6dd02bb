"""`python -m bench.sizes`: how far the sizes of segments are off, and what they cost.

Ten segments get users, from one to a million, and are read back. Then calls are written to the cluster, by turns with
and without noting who joins what; the difference is what a worker spends on sizes. Reading and answering calls is not
part of it: compared with a whole call, the difference is smaller (docs/performance.md).
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from itertools import cycle
from typing import NamedTuple

import uvloop
from instantaudience_server.clock import SystemClock
from instantaudience_server.segment_sizes import GATHER_SECONDS, SegmentSizes
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.memberships import NEVER, Alike, Changes
from instantaudience_server.store.membership_store import ClusterMembershipStore
from instantaudience_server.store.segment_size_store import ClusterSegmentSizeStore
from instantaudience_server.telemetry import configure_logging
from instantaudience_server.transport.hosts import native
from prometheus_client import REGISTRY
from rich.console import Console
from rich.table import Table
from support.cluster.users import native_keys

from bench.cluster import connected, running_cluster
from bench.workload import EXPIRATION_MINUTES, FIRST_USER, Shape

console = Console(width=120)

SIZES = (1, 10, 100, 1000, 5000, 20_000, 50_000, 100_000, 500_000, 1_000_000)
"""Numbers of users; the segment IDs are the places here, counted from 1."""
LARGEST_ERROR = 0.02
"""But at least one user: a segment of 10 may be estimated as 9."""
CALL_USERS = 1000
SHAPES = {Shape(1, 2): 256, Shape(100, 2): 64, Shape(100, 100): 8}
"""Shapes of calls, and how many are in flight."""
TURN_SECONDS = 0.5
DEADLINE_SECONDS = 30.0


class Cost(NamedTuple):
    """The cost of calls: calls per second, and CPU time per call."""

    calls_per_second: float
    microseconds: float


def changes_of(shape: Shape) -> list[Changes]:
    """The changes of the calls in one round through the pool, as calls are read here: natively where that can be."""
    read = list if native.missing() else native_keys
    end_ms = SystemClock().now_ms() + EXPIRATION_MINUTES * 60_000
    calls: list[Changes] = []
    for call in shape.calls():
        by_blocks: dict[tuple[tuple[int, int], ...], list[bytes]] = {}
        for user_id, blocks in call:
            by_blocks.setdefault(tuple(blocks), []).append(b"m:p:" + user_id.encode())
        calls.append([Alike(read(keys), {end_ms: dict(blocks)}) for blocks, keys in by_blocks.items()])
    return calls


async def measure_error(cluster: Cluster) -> tuple[Table, bool]:
    """Add users to segments, and compare their sizes; returns whether every error is small."""
    clock, store = SystemClock(), ClusterSegmentSizeStore(cluster)
    sizes = SegmentSizes(store, clock)
    user_ids = iter(range(FIRST_USER, FIRST_USER + sum(SIZES)))
    started = time.perf_counter()
    for segment_id, users in enumerate(SIZES, 1):
        shared = {NEVER: {segment_id: 1}}
        for left in range(users, 0, -CALL_USERS):
            keys = [b"m:p:%d" % next(user_ids) for _ in range(min(left, CALL_USERS))]
            await sizes.make_room()
            sizes.note([Alike(keys, shared)])
    await sizes.close()
    seconds = time.perf_counter() - started
    now = asyncio.get_running_loop().time()
    counts = await store.count(range(1, len(SIZES) + 1), clock.now_ms(), now + DEADLINE_SECONDS)
    table = Table(title="Sizes of segments")
    for heading in ("users", "estimate", "error"):
        table.add_column(heading, justify="right")
    for users, counted in zip(SIZES, counts, strict=True):
        table.add_row(f"{users:,}", f"{counted:,}", f"{counted / users - 1:+.2%}")
    table.caption = f"{sum(SIZES):,} users in {seconds:.1f} s"
    are_right = [
        abs(counted - users) <= max(1, LARGEST_ERROR * users) for users, counted in zip(SIZES, counts, strict=True)
    ]
    return table, all(are_right) and not left_out()


def left_out() -> float:
    """Users that were not counted because the worker could not keep up."""
    return REGISTRY.get_sample_value("instant_audience_segment_size_users_left_out_total") or 0.0


async def drive(
    store: ClusterMembershipStore, calls: Iterator[Changes], at_once: int, note: Callable[[Changes], None] | None
) -> tuple[int, float, float]:
    """Write calls for a while; returns their number, the seconds, and the CPU seconds."""
    loop = asyncio.get_running_loop()
    stop = loop.time() + TURN_SECONDS
    done = 0

    async def write() -> None:
        nonlocal done
        while loop.time() < stop:
            changes = next(calls)
            await store.write(changes, loop.time() + DEADLINE_SECONDS).done
            if note is not None:
                note(changes)
            done += 1

    started, busy = time.perf_counter(), time.process_time()
    await asyncio.gather(*[write() for _ in range(at_once)])
    if note is not None:
        await asyncio.sleep(2 * GATHER_SECONDS)  # the last calls are worked off in this turn, not in the next
    busy = time.process_time() - busy
    seconds = time.perf_counter() - started - (2 * GATHER_SECONDS if note is not None else 0)
    return done, seconds, busy


async def measure_cost(cluster: Cluster, seconds: float) -> Table:
    """Measure each shape, alternating between without and with sizes."""
    table = Table(title="Writing calls without and with sizes")
    for heading in ("users × blocks", "calls/s", "with sizes", "µs a call", "with sizes", "sizes alone"):
        table.add_column(heading, justify="right")
    store = ClusterMembershipStore(cluster)
    for shape, at_once in SHAPES.items():
        console.print(f"… {shape}")
        sizes = SegmentSizes(ClusterSegmentSizeStore(cluster), SystemClock())
        calls = cycle(changes_of(shape))
        turns: dict[bool, list[tuple[int, float, float]]] = {False: [], True: []}
        for turn in range(2 + 2 * round(seconds / 2 / TURN_SECONDS)):
            with_sizes = bool(turn % 2)
            measured = await drive(store, calls, at_once, sizes.note if with_sizes else None)
            if turn >= 2:  # the first turns warm up
                turns[with_sizes].append(measured)
        await sizes.close()
        without, noted = (_cost(turns[each]) for each in (False, True))
        table.add_row(
            str(shape),
            f"{without.calls_per_second:,.0f}",
            f"{noted.calls_per_second:,.0f}",
            f"{without.microseconds:.1f}",
            f"{noted.microseconds:.1f}",
            f"{noted.microseconds - without.microseconds:.1f}",
        )
    table.caption = f"µs: of the worker's core. Users left out: {left_out():.0f}"
    return table


def _cost(turns: list[tuple[int, float, float]]) -> Cost:
    calls, seconds, busy = (sum(each) for each in zip(*turns, strict=True))
    return Cost(calls / seconds, busy / calls * 1e6)


async def bench(seconds: float) -> bool:
    """Start a cluster, and measure."""
    async with AsyncExitStack() as stack:
        _, embedded = await stack.enter_async_context(running_cluster())
        cluster = await stack.enter_async_context(connected(embedded.url))
        console.print("… segments of one to a million users")
        table, is_right = await measure_error(cluster)
        console.print(table)
        console.print(await measure_cost(cluster, seconds))
    console.print("promise kept" if is_right else "PROMISE BROKEN")
    return is_right


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.sizes", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each shape is measured")
    arguments = parser.parse_args()
    configure_logging("warning")
    sys.exit(0 if uvloop.run(bench(arguments.seconds)) else 1)


if __name__ == "__main__":
    main()
