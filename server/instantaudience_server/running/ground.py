"""The common ground of all kinds of workers: configuration, start and end, cluster and catalog, background work."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import uvloop
from pydantic import BaseModel, Field

from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.observation import metrics
from instantaudience_server.observation.telemetry import Event, configure_logging
from instantaudience_server.process.clock import Clock, SystemClock
from instantaudience_server.process.processes import StartError
from instantaudience_server.segment_sizes import SegmentSizes
from instantaudience_server.settings import CONNECT_TIMEOUT_SECONDS, HostMode, Settings
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.cluster.topology import StoreUnusableError, Topology, needed_to_start
from instantaudience_server.store.membership_store import ClusterMembershipStore
from instantaudience_server.store.suppression_store import ClusterSuppressionStore
from instantaudience_server.suppressions import Suppressions

log = structlog.get_logger()

Work = Callable[[], Coroutine[Any, Any, None]]
"""Background work: a coroutine function, or a `functools.partial` of one."""
Counting = Callable[[str], Callable[[], None]]
"""Begins to count the defects of background work of this name; returns what counts one more."""
WORKER_NAME_BYTES = 8
"""Random bytes in a worker's name, which is unique among all workers, on other machines and before a restart too."""
AGAIN_SECONDS = 1.0
"""The pause before background work that raised an exception is started again."""
TOLD_SECONDS = 60.0
"""How often it is told that work goes on to raise exceptions of a type."""


class WorkerConfig(BaseModel):
    """A worker's configuration, which it reads as JSON from its standard input."""

    number: int
    settings: Settings
    redis: str = Field(repr=False)
    """The cluster's URL; it may hold a password."""
    host: HostMode
    """The host; not `auto`."""
    certificates: Path | None = None
    """The file with the certificates (`certificate_copies.follow`); None: no TLS."""
    addresses: list[str] = []
    """The addresses on which a host behind the gateway takes calls, in gRPC's notation."""
    hashing_lock: Path | None = None
    """The file that the hashers of all workers lock while they hash a password."""
    upload_marks: Path | None = None
    """The file with the marks of upload URLs, which batch processes write and the gateway reads."""
    drain_fd: int | None = None
    """The reading end of a pipe: when the other end is closed, the worker turns NOT_SERVING."""


@dataclass(frozen=True, slots=True)
class Ground:
    """The opened cluster, the loaded catalog, and the stores and services that need nothing else."""

    cluster: Cluster
    clock: Clock
    catalog: Catalog
    catalog_store: ClusterCatalogStore
    feed: CatalogFeed
    sizes: SegmentSizes
    suppression_store: ClusterSuppressionStore
    suppressions: Suppressions
    memberships: ClusterMembershipStore


async def lay_ground(config: WorkerConfig, stack: contextlib.AsyncExitStack) -> Ground:
    """Connect to the cluster and load the catalog; the stack closes both.

    Raises:
        StoreUnusableError: the cluster cannot be used.
    """
    # Imported here because it imports numpy, which takes a tenth of a second that other commands should not wait for.
    # The variable keeps numpy's linear algebra, which is not used, from starting a thread for each core.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from instantaudience_server.store.segment_size_store import ClusterSegmentSizeStore

    cluster = _cluster_of(config)
    stack.push_async_callback(cluster.close)
    await cluster.open()
    clock, catalog, catalog_store = SystemClock(), Catalog(), ClusterCatalogStore(cluster)
    feed = CatalogFeed(catalog_store, catalog)
    with needed_to_start():
        await feed.load()
    sizes = SegmentSizes(ClusterSegmentSizeStore(cluster), clock)
    stack.push_async_callback(sizes.close)
    suppression_store = ClusterSuppressionStore(cluster)
    suppressions = Suppressions(suppression_store, clock)
    memberships = ClusterMembershipStore(cluster)
    return Ground(cluster, clock, catalog, catalog_store, feed, sizes, suppression_store, suppressions, memberships)


def _cluster_of(config: WorkerConfig) -> Cluster:
    settings = config.settings
    return Cluster(
        Topology(config.redis, connect_timeout_seconds=CONNECT_TIMEOUT_SECONDS),
        max_pending_bytes=settings.max_pending_bytes,
        stalled_seconds=settings.stalled_seconds,
        durability=settings.durability,
        confirming_replicas=0 if settings.redis is None else 1,  # the embedded cluster has none
    )


def run_beside(stack: contextlib.AsyncExitStack, *works: Work, counting: Counting = metrics.count_defects) -> None:
    """Run background work until the stack is closed; `counting` as in `keep_running`."""
    stack.push_async_callback(_end, [asyncio.create_task(keep_running(work, counting)) for work in works])


async def keep_running(work: Work, counting: Counting = metrics.count_defects) -> None:
    """Run background work until it is cancelled. When it raises an exception, count it (by what `counting` returns for
    the work's name), log it (of one type, one in `TOLD_SECONDS`) and start the work again."""
    place = work.func if isinstance(work, partial) else work
    name = f"{place.__module__.rpartition('.')[2]}.{place.__qualname__}"
    count = counting(name)
    clock = asyncio.get_running_loop().time
    times, told, told_until = 0, Exception, 0.0
    while True:
        try:
            return await work()
        except Exception as error:
            count()
            times += 1
            if type(error) is not told or clock() >= told_until:
                log.error(Event.BACKGROUND_DEFECT, work=name, times=times, exc_info=error)
                times, told, told_until = 0, type(error), clock() + TOLD_SECONDS
        await asyncio.sleep(AGAIN_SECONDS)


async def _end(tasks: Sequence["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def asked_to_stop() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set from now on. Before this call, they end the process at once: while it loads
    the catalog, which may take for ever, it has nothing to drain."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def run(name: str, serve: Callable[[WorkerConfig], Coroutine[Any, Any, None]]) -> None:
    """Read the configuration from standard input, and serve by it. `name` is the kind of worker, for errors."""
    config = WorkerConfig.model_validate_json(sys.stdin.buffer.read())
    configure_logging(config.settings.log_level, config.settings.log_format)
    try:
        uvloop.run(serve(config))
    except (StoreUnusableError, StartError) as error:
        sys.exit(f"{name} {config.number}: {error}")
