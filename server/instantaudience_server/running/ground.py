"""What workers of all kinds stand on: what they are told, how they begin and end, cluster and catalog."""

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

from instantaudience_server import metrics
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.clock import Clock, SystemClock
from instantaudience_server.errors import RefusedCommandError
from instantaudience_server.segment_sizes import SegmentSizes
from instantaudience_server.settings import CONNECT_TIMEOUT_SECONDS, HostMode, Settings
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.cluster.topology import StoreUnusableError, Topology
from instantaudience_server.store.membership_store import ClusterMembershipStore
from instantaudience_server.store.suppression_store import ClusterSuppressionStore
from instantaudience_server.suppressions import Suppressions
from instantaudience_server.telemetry import Event, configure_logging

log = structlog.get_logger()

Work = Callable[[], Coroutine[Any, Any, None]]
"""What goes on beside calls. A `functools.partial` of it has its name."""
AGAIN_SECONDS = 1.0
"""After so long, work that has met a defect begins anew."""


class WorkerConfig(BaseModel):
    """What a worker is told, as JSON on its standard input."""

    number: int
    settings: Settings
    redis: str = Field(repr=False)
    """The cluster's URL; it may hold a password."""
    host: HostMode
    """What serves calls; not `auto`."""
    certificates: Path | None = None
    """What there is for TLS (`certificate_files.follow`); None: there is none."""
    addresses: list[str] = []
    """Where a host behind the gateway takes calls, in gRPC's notation."""
    python: str = Field(default_factory=lambda: sys.executable)
    """The interpreter for a worker's own processes: the supervisor's."""
    hashing_lock: Path | None = None
    """A file that all workers of a machine lock while they hash a password."""
    upload_marks: Path | None = None
    """A file of the gateway's, which processes for files write."""
    drain_fd: int | None = None
    """A pipe's end to read from: when the other end is closed, the worker turns NOT_SERVING."""


@dataclass(frozen=True, slots=True)
class Ground:
    """The cluster, opened; the catalog, loaded; and what is built on these alone."""

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
    """Connect to the cluster and read the catalog; the stack has what ends that.

    Raises:
        StoreUnusableError, RefusedCommandError: the cluster cannot be used.
    """
    # This imports numpy, which takes a tenth of a second: no other command should wait for it. Its linear algebra,
    # which nobody needs here, would start a thread for each core.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from instantaudience_server.store.segment_size_store import ClusterSegmentSizeStore

    cluster = _cluster_of(config)
    stack.push_async_callback(cluster.close)
    await cluster.open()
    clock, catalog, catalog_store = SystemClock(), Catalog(), ClusterCatalogStore(cluster)
    feed = CatalogFeed(catalog_store, catalog)
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


def run_beside(stack: contextlib.AsyncExitStack, *works: Work) -> None:
    """Run what goes on beside calls, until the stack ends it."""
    stack.push_async_callback(_end, [asyncio.create_task(keep_running(work)) for work in works])


async def keep_running(work: Work) -> None:
    """Run what goes on until it is cancelled, and begin it anew where it has met a defect: its process serves on."""
    place = work.func if isinstance(work, partial) else work
    name = f"{place.__module__.rpartition('.')[2]}.{place.__qualname__}"
    defects = metrics.BACKGROUND_DEFECTS.labels(name)
    while True:
        try:
            return await work()
        except Exception as error:
            log.error(Event.BACKGROUND_DEFECT, work=name, exc_info=error)
            defects.inc()
        await asyncio.sleep(AGAIN_SECONDS)


async def _end(tasks: Sequence["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def asked_to_stop() -> asyncio.Event:
    """Set on SIGTERM and SIGINT from now on. Until then they end the process at once: who has not read the catalog yet,
    which may take long or for ever, has nothing to drain."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def run(name: str, serve: Callable[[WorkerConfig], Coroutine[Any, Any, None]]) -> None:
    """Read the configuration from standard input, and serve by it. `name` says which kind of worker has failed."""
    config = WorkerConfig.model_validate_json(sys.stdin.buffer.read())
    configure_logging(config.settings.log_level, config.settings.log_format)
    try:
        uvloop.run(serve(config))
    except (StoreUnusableError, RefusedCommandError) as error:
        sys.exit(f"{name} {config.number}: {error}")
