"""Wires the services of a worker together, whichever host serves them."""

import asyncio
import contextlib
import gc
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog
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
from instantaudience_server.store.topology import Topology
from instantaudience_server.telemetry import Event
from instantaudience_server.tokens import TokenService
from instantaudience_server.transport.methods import SERVICES, build_methods
from instantaudience_server.transport.pipeline import AnyMethod, Pipeline
from instantaudience_server.transport.standard import ServingStatus, standard_methods

log = structlog.get_logger()

OBJECTS_BETWEEN_COLLECTIONS = 50_000
"""How many more objects than now must live before the garbage collector looks for cycles among the youngest."""


class WorkerConfig(BaseModel):
    """What a worker is told, as JSON on its standard input."""

    number: int
    settings: Settings
    catalog: CatalogEntries
    redis: str = Field(repr=False)
    """The cluster's URL; it may hold a password."""
    addresses: list[str] = []
    """Where the grpcio host takes calls, in gRPC's notation."""
    drain_fd: int | None = None
    """A pipe's end to read from: when the other end is closed, the worker turns NOT_SERVING."""


@dataclass(frozen=True, slots=True)
class Worker:
    """What a host serves."""

    methods: list[AnyMethod]
    pipeline: Pipeline
    status: ServingStatus


@contextlib.asynccontextmanager
async def open_worker(config: WorkerConfig) -> AsyncIterator[Worker]:
    """Connect to the cluster, build the services, and watch the cluster's health until the end.

    Raises:
        StoreUnusableError: the cluster cannot be used.
    """
    settings = config.settings
    topology = Topology(config.redis, connect_timeout_seconds=CONNECT_TIMEOUT_SECONDS)
    cluster = Cluster(topology, max_pending_bytes=settings.max_pending_bytes, stalled_seconds=settings.stalled_seconds)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(cluster.close)
        await cluster.open()
        clock, catalog = SystemClock(), build_catalog(config.catalog)
        passwords = Passwords()
        stack.callback(passwords.close)
        sessions = ClusterSessionStore(cluster)
        tokens = TokenService(catalog, sessions, passwords, clock, secrets.token_hex, settings.location)
        stack.push_async_callback(tokens.close)
        health, status = HealthService(cluster), ServingStatus(SERVICES)
        methods = build_methods(MembershipService(catalog, ClusterMembershipStore(cluster), clock), tokens, health)
        methods += standard_methods(status, SERVICES)
        pipeline = Pipeline(
            tokens,
            call_timeout_seconds=settings.call_timeout_seconds,
            body_limit_bytes=BODY_LIMIT_BYTES,
            stream_window=settings.stream_window,
        )
        watching = asyncio.create_task(health.watch(status.set_serving))
        stack.callback(watching.cancel)
        if config.drain_fd is not None:
            draining = asyncio.create_task(_drain_on_request(config.drain_fd, config.number, status))
            stack.callback(draining.cancel)
        _calm_garbage_collector()
        yield Worker(methods, pipeline, status)


async def _drain_on_request(drain_fd: int, number: int, status: ServingStatus) -> None:
    """Turn NOT_SERVING when the supervisor closes its end of the pipe."""
    closed = asyncio.Event()
    asyncio.get_running_loop().add_reader(drain_fd, closed.set)
    try:
        await closed.wait()
    finally:
        asyncio.get_running_loop().remove_reader(drain_fd)
    log.info(Event.WORKER_DRAINING, worker=number)
    await status.drain()


def _calm_garbage_collector() -> None:
    """Look for reference cycles rarely, and never among what lives as long as the worker.

    A call makes hundreds of short-lived objects and hardly a cycle.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, 20, 100)
