"""A process that receives files and applies them: the supervisor starts it beside the workers."""

import asyncio
import contextlib
import os
import secrets
import signal
import sys

import structlog
import uvloop

from instantaudience_server import metrics
from instantaudience_server.batch.files import FileStore
from instantaudience_server.batch.runner import JobRunner
from instantaudience_server.batch.uploading import Uploads
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.clock import SystemClock
from instantaudience_server.health import HealthService
from instantaudience_server.observations import keep_writing
from instantaudience_server.running.composition import WorkerConfig, cluster_of, note_build, readings_of
from instantaudience_server.running.memory import give_back
from instantaudience_server.segment_sizes import SegmentSizes
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from instantaudience_server.store.job_store import ClusterJobStore
from instantaudience_server.store.membership_store import ClusterMembershipStore
from instantaudience_server.store.node_states import ClusterNodeStates
from instantaudience_server.store.suppression_store import ClusterSuppressionStore
from instantaudience_server.store.topology import StoreUnusableError
from instantaudience_server.suppressions import Suppressions
from instantaudience_server.telemetry import Event, configure_logging
from instantaudience_server.transport.uploads import UploadServer

log = structlog.get_logger()

NICENESS = 10
"""What live calls need of the processors comes first."""


async def serve(config: WorkerConfig) -> None:
    """Receive and apply files until SIGTERM or SIGINT, then drain.

    Raises:
        StoreUnusableError: the cluster cannot be used.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # See `composition.open_worker`.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from instantaudience_server.batch.applying import FileApplying
    from instantaudience_server.store.segment_size_store import ClusterSegmentSizeStore

    settings = config.settings
    cluster = cluster_of(config)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(cluster.close)
        await cluster.open()
        clock, catalog = SystemClock(), Catalog()
        feed = CatalogFeed(ClusterCatalogStore(cluster), catalog)
        await feed.load()
        sizes = SegmentSizes(ClusterSegmentSizeStore(cluster), clock)
        stack.push_async_callback(sizes.close)
        jobs, files = ClusterJobStore(cluster), FileStore(settings.file_store_url)
        suppressions = Suppressions(ClusterSuppressionStore(cluster), clock)
        applying = FileApplying(
            catalog,
            ClusterMembershipStore(cluster),
            sizes,
            suppressions=suppressions,
        )
        runner = JobRunner(jobs, files, applying.apply, catalog, clock, secrets.token_hex)
        uploads = Uploads(jobs, files, catalog, clock, secrets.token_hex, settings.batch_upload_seconds)
        server = UploadServer(uploads)
        health = HealthService(ClusterNodeStates(cluster))
        metrics.WORKER_STARTS.labels(metrics.WORKER).inc()
        note_build("batch")
        measuring = metrics.sample(readings_of(catalog, cluster)), keep_writing()
        tasks = [
            asyncio.create_task(each)
            for each in (
                *(feed.follow(), suppressions.follow(), *measuring, health.watch(_nobody_asks), give_back()),
                *(runner.run(), runner.sweep()),
            )
        ]
        stack.push_async_callback(_end, tasks)
        (address,) = config.addresses
        await server.start(address)
        log.info(Event.WORKER_READY, worker=config.number)
        await stop.wait()
        await server.drain(settings.drain_seconds)


async def _nobody_asks(_: bool) -> None:
    """Whether the cluster can be reached shows in the metrics."""


async def _end(tasks: list["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    """Read the configuration from standard input and serve."""
    config = WorkerConfig.model_validate_json(sys.stdin.buffer.read())
    configure_logging(config.settings.log_level)
    os.nice(NICENESS)
    try:
        uvloop.run(serve(config))
    except StoreUnusableError as error:
        sys.exit(f"batch worker {config.number}: {error}")


if __name__ == "__main__":
    main()
