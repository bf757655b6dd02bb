"""A million segments: the speed of their import, and the cost of the catalog and its changes for a worker."""

import asyncio
import os
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import grpc
from instantaudience.v1 import audience_pb2, audience_pb2_grpc, catalog_pb2, catalog_pb2_grpc
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.catalog.editor import write_of
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from rich.table import Table

from bench import processes
from bench.cluster import connected, running_cluster
from bench.service import Service, running_service

SEGMENTS = 1_000_000
OWNER, FIRST_ID = 1000, 1_000_000
AT_ONCE = 1000
STORE_SECONDS = 60.0
LOOKUPS = 10_000
HOST_MODE = "grpcio"
WORKERS = 4
CONNECTIONS = 16
"""Enough for each worker to get one, very probably."""
ROUNDS = 100
PAUSE_SECONDS = 0.01


async def measure(tell: Callable[[str], None]) -> Table:
    """Measure on a new cluster; `tell` reports progress."""
    table = Table(title=f"{SEGMENTS:,} segments", show_header=False)
    tell("… starting a cluster for the catalog")
    async with running_cluster() as (directory, cluster):
        async with running_service(HOST_MODE, cluster.url, directory):
            pass  # it has put the benchmark's own accounts into the cluster, which it does into an empty catalog alone
        async with connected(cluster.url) as connection:
            store = ClusterCatalogStore(connection)
            tell(f"… importing {SEGMENTS:,} segments")
            imported_seconds = await import_segments(store, range(SEGMENTS))
            table.add_row("import into the cluster", f"{SEGMENTS / imported_seconds:,.0f} segments/s")
            tell("… loading them into a worker's memory")
            for row in await _load(store):
                table.add_row(*row)
        tell(f"… {ROUNDS} segments, from creation until every worker takes users into them")
        arguments = ("--workers", str(WORKERS))
        async with running_service(HOST_MODE, cluster.url, directory, arguments=arguments) as service:
            seconds = await _visibility(service)
        what = f"created until usable on {WORKERS} workers, median and longest of {ROUNDS}"
        table.add_row(what, f"{statistics.median(seconds) * 1000:,.0f} ms, {max(seconds) * 1000:,.0f} ms")
    return table


async def import_segments(store: ClusterCatalogStore, numbers: range) -> float:
    """Write the segments with these numbers, counted from 0; returns the seconds that it took."""
    await store.write([write_of(None, catalog_pb2.Member(id=OWNER, name="Bench"))], _deadline())
    started = time.perf_counter()
    for start in range(0, len(numbers), AT_ONCE):
        some = numbers[start : start + AT_ONCE]
        await store.write([write_of(None, _segment(number)) for number in some], _deadline())
    return time.perf_counter() - started


async def _load(store: ClusterCatalogStore) -> list[tuple[str, str]]:
    """The cost of loading the catalog in a worker, and the duration of lookups."""
    before, started, busy = processes.resident_bytes([os.getpid()]), time.perf_counter(), time.process_time()
    catalog = Catalog()
    await CatalogFeed(store, catalog).load()
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    ids = range(FIRST_ID, FIRST_ID + SEGMENTS, SEGMENTS // LOOKUPS)
    codes = [f"segment_{index}" for index in range(50, SEGMENTS, SEGMENTS // LOOKUPS)]

    def by_code() -> None:
        for code in codes:
            catalog.segment_by_code(OWNER, code)

    def by_id() -> None:
        for segment_id in ids:
            catalog.segment(segment_id)

    rows = [
        ("load by a worker", f"{seconds:.1f} s, {busy:.1f} s of them processor time"),
        ("memory of a worker", f"{(processes.resident_bytes([os.getpid()]) - before) / 1e6:,.0f} MB"),
        ("lookup of a segment that was not in use, by ID", _microseconds(by_id)),
        ("lookup of a segment in use, by ID", _microseconds(by_id)),
        ("lookup of a segment that was not in use, by code", _microseconds(by_code)),
        ("lookup of a segment in use, by code", _microseconds(by_code)),
    ]
    started = time.perf_counter()
    await catalog.page_of_segments(search="99999", limit=100)
    rows.append(("search through all by text", f"{(time.perf_counter() - started) * 1000:,.0f} ms"))
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    rows.append(("memory of a worker while loading, with the interpreter", f"{peak_bytes / 1e6:,.0f} MB"))
    return rows


async def _visibility(service: Service) -> list[float]:
    """For some segments: seconds from the response to the creation until every connection accepts users for it."""
    metadata = (("authorization", service.token),)
    address = f"{service.grpc[0]}:{service.grpc[1]}"
    # Otherwise gRPC would share one connection among the channels.
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(address, options)) for _ in range(CONNECTIONS)
        ]
        callers = [audience_pb2_grpc.AudienceServiceStub(channel) for channel in channels]
        creators = [catalog_pb2_grpc.CatalogServiceStub(channel) for channel in channels]
        await asyncio.gather(*(_usable(caller, 1, metadata) for caller in callers))
        seconds = []
        for number in range(ROUNDS):
            request = catalog_pb2.CreateSegmentRequest(segment=catalog_pb2.Segment(code=f"new_{number}"))
            created = await creators[number % CONNECTIONS].CreateSegment(request, metadata=metadata)
            started = time.perf_counter()
            await asyncio.gather(*(_usable(caller, created.segment.id, metadata) for caller in callers))
            seconds.append(time.perf_counter() - started)
    return seconds


async def _usable(caller: Any, segment_id: int, metadata: Sequence[tuple[str, str]]) -> None:
    request = audience_pb2.ApplySegmentsRequest()
    request.rt_segment.add(user_id="1").seg_block.add(seg_id=segment_id)
    while True:
        answer = await caller.ApplySegments(request, metadata=metadata)
        if not answer.response.warnings:
            return
        await asyncio.sleep(PAUSE_SECONDS)


def _segment(index: int) -> catalog_pb2.Segment:
    segment = catalog_pb2.Segment(
        id=FIRST_ID + index,
        member_id=OWNER,
        code=f"segment_{index}",
        short_name=f"Segment number {index}",
        state=catalog_pb2.SEGMENT_STATE_ACTIVE,
    )
    segment.last_modified.FromSeconds(1_790_000_000)
    return segment


def _microseconds(look_up: Callable[[], None]) -> str:
    started = time.perf_counter()
    look_up()
    return f"{(time.perf_counter() - started) / LOOKUPS * 1e6:.2f} µs"


def _deadline() -> float:
    return asyncio.get_running_loop().time() + STORE_SECONDS
