"""One worker: a process that serves calls. The supervisor starts it and tells it everything on standard input."""

import asyncio
import contextlib
import gc
import secrets
import signal
import sys

import structlog
import uvloop
from pydantic import BaseModel, Field

from instantaudience_server.catalog_file import CatalogEntries, build_catalog
from instantaudience_server.clock import SystemClock
from instantaudience_server.health import HealthService
from instantaudience_server.memberships import MembershipService
from instantaudience_server.passwords import Passwords
from instantaudience_server.settings import BODY_LIMIT_BYTES, CONNECT_TIMEOUT_SECONDS, Settings
from instantaudience_server.store.cluster import Cluster
from instantaudience_server.store.membership_store import ClusterMembershipStore
from instantaudience_server.store.session_store import ClusterSessionStore
from instantaudience_server.store.topology import StoreUnusableError, Topology
from instantaudience_server.telemetry import Event, configure_logging
from instantaudience_server.tokens import TokenService
from instantaudience_server.transport.grpcio import GrpcioHost
from instantaudience_server.transport.methods import build_methods
from instantaudience_server.transport.pipeline import Pipeline

log = structlog.get_logger()

OBJECTS_BETWEEN_COLLECTIONS = 50_000
"""How many more objects than now must live before the garbage collector looks for cycles among the youngest."""


class WorkerConfig(BaseModel):
    """What a worker is told."""

    number: int
    settings: Settings
    catalog: CatalogEntries
    redis: str = Field(repr=False)
    """The cluster's URL; it may hold a password."""
    addresses: list[str]
    """Where to take calls, in gRPC's notation."""


async def serve(config: WorkerConfig) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    Raises:
        StoreUnusableError: the cluster cannot be used.
    """
    settings = config.settings
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    topology = Topology(config.redis, connect_timeout_seconds=CONNECT_TIMEOUT_SECONDS)
    cluster = Cluster(topology, max_pending_bytes=settings.max_pending_bytes, stalled_seconds=settings.stalled_seconds)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(cluster.close)
        await cluster.open()
        clock, catalog = SystemClock(), build_catalog(config.catalog)
        passwords = Passwords()
        stack.callback(passwords.close)
        tokens = TokenService(
            catalog, ClusterSessionStore(cluster), passwords, clock, secrets.token_hex, settings.location
        )
        stack.push_async_callback(tokens.close)
        health = HealthService(cluster)
        methods = build_methods(MembershipService(catalog, ClusterMembershipStore(cluster), clock), tokens, health)
        pipeline = Pipeline(
            tokens,
            call_timeout_seconds=settings.call_timeout_seconds,
            body_limit_bytes=BODY_LIMIT_BYTES,
            stream_window=settings.stream_window,
        )
        host = GrpcioHost(methods, pipeline, config.addresses, body_limit_bytes=BODY_LIMIT_BYTES)
        await host.start()
        _calm_garbage_collector()
        watching = asyncio.create_task(health.watch(host.set_serving))
        log.info(Event.WORKER_READY, worker=config.number)
        await stop.wait()
        log.info(Event.WORKER_DRAINING, worker=config.number)
        watching.cancel()
        await host.drain(settings.drain_seconds)


def _calm_garbage_collector() -> None:
    """Look for reference cycles rarely, and never among what lives as long as the worker.

    A call makes hundreds of short-lived objects and hardly a cycle; with Python's defaults, looking for them took a
    fifth of a worker's time (docs/performance.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, 20, 100)


def main() -> None:
    """Read the configuration from standard input and serve."""
    config = WorkerConfig.model_validate_json(sys.stdin.buffer.read())
    configure_logging(config.settings.log_level)
    try:
        uvloop.run(serve(config))
    except StoreUnusableError as error:
        sys.exit(f"worker {config.number}: {error}")


if __name__ == "__main__":
    main()
