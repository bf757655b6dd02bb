"""Constructs the services of a worker, for whichever host serves them."""

import asyncio
import contextlib
import gc
import random
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial

import structlog

from instantaudience_server.admission.admission import Admission
from instantaudience_server.admission.quotas import Quotas
from instantaudience_server.batch.desk import JobDesk
from instantaudience_server.batch.rest_service import BatchService
from instantaudience_server.batch.service import BatchSegmentService
from instantaudience_server.batch.uploads.files import FileStore
from instantaudience_server.batch.uploads.uploading import Uploads
from instantaudience_server.catalog.accounts.accounts import AccountService
from instantaudience_server.catalog.accounts.public_keys import PublicKeyService
from instantaudience_server.catalog.editor import CatalogEditor
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.catalog.files.importing import ImportService
from instantaudience_server.catalog.member_service import MemberService
from instantaudience_server.catalog.segments.service import SegmentService
from instantaudience_server.catalog.service import CatalogService
from instantaudience_server.health import HealthService
from instantaudience_server.memberships.forgetting import Forgetting
from instantaudience_server.memberships.identity_service import IdentityService
from instantaudience_server.memberships.privacy_service import PrivacyService
from instantaudience_server.memberships.service import MembershipService
from instantaudience_server.observation import metrics
from instantaudience_server.observation.observations import keep_writing
from instantaudience_server.observation.telemetry import Event
from instantaudience_server.passwords.guesses import Guesses
from instantaudience_server.passwords.hashing import Passwords
from instantaudience_server.process.clock import Clock
from instantaudience_server.process.garbage import spare_all
from instantaudience_server.running.certificates.certificate_copies import Certificates, follow
from instantaudience_server.running.certificates.certificates import keep_noting
from instantaudience_server.running.ground import (
    WORKER_NAME_BYTES,
    Ground,
    Work,
    WorkerConfig,
    lay_ground,
    run_beside,
)
from instantaudience_server.running.machine import standstill
from instantaudience_server.running.machine.memory import give_back
from instantaudience_server.running.readings import note_build, readings_of
from instantaudience_server.running.traces import begin_traces
from instantaudience_server.settings import BODY_LIMIT_BYTES, GATEWAY_BYTES, Settings
from instantaudience_server.sign_in.service import SignInService
from instantaudience_server.sign_in.tokens import TokenService
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.external_id_store import ClusterExternalIdStore
from instantaudience_server.store.guess_store import ClusterGuessStore
from instantaudience_server.store.jobs.job_store import ClusterJobStore
from instantaudience_server.store.node_states import ClusterNodeStates
from instantaudience_server.store.quota_store import ClusterQuotaStore
from instantaudience_server.store.session_store import ClusterSessionStore
from instantaudience_server.store.suppression_store import new_name
from instantaudience_server.store.usage_store import ClusterUsageStore
from instantaudience_server.transport.calls.call_log import CallLog
from instantaudience_server.transport.calls.kinds import AnyMethod
from instantaudience_server.transport.calls.outcomes import Outcomes
from instantaudience_server.transport.calls.pipeline import Pipeline
from instantaudience_server.transport.methods.audience import audience_methods
from instantaudience_server.transport.methods.authentication import authentication_methods
from instantaudience_server.transport.methods.batch import batch_methods
from instantaudience_server.transport.methods.catalog import catalog_methods
from instantaudience_server.transport.methods.gateway_refusals import gateway_refusal_methods
from instantaudience_server.transport.methods.identity import identity_methods
from instantaudience_server.transport.methods.member import member_methods
from instantaudience_server.transport.methods.privacy import privacy_methods
from instantaudience_server.transport.methods.public_key import public_key_methods
from instantaudience_server.transport.methods.segment import segment_methods
from instantaudience_server.transport.methods.services import SERVICES
from instantaudience_server.transport.methods.standard import ServingStatus, standard_methods
from instantaudience_server.transport.methods.status import status_methods
from instantaudience_server.transport.methods.usage import usage_methods
from instantaudience_server.usage.counting import Usage
from instantaudience_server.usage.hours import UsageHours
from instantaudience_server.usage.service import UsageService

log = structlog.get_logger()

OBJECTS_BETWEEN_COLLECTIONS = 50_000
"""By how many the number of objects must grow before the garbage collector looks at the youngest generation."""

BACKLOG_BYTES = 2**22
"""How much of the gateway's memory is allowed for each stream that sends faster than it is read; such a stream holds
1.4 to 1.9 MB."""


@dataclass(frozen=True, slots=True)
class Worker:
    """What a host needs to serve calls."""

    methods: list[AnyMethod]
    pipeline: Pipeline
    status: ServingStatus


@dataclass(frozen=True, slots=True)
class _Services:
    """The services that several methods, or the background work, share."""

    tokens: TokenService
    editor: CatalogEditor
    passwords: Passwords
    guesses: Guesses
    quotas: Quotas
    quota_store: ClusterQuotaStore
    usage: Usage
    usage_store: ClusterUsageStore
    memberships: MembershipService
    forgetting: Forgetting
    health: HealthService
    status: ServingStatus


@contextlib.asynccontextmanager
async def open_worker(config: WorkerConfig) -> AsyncIterator[Worker]:
    """Connect to the cluster, build the services, and run the background work for the length of the block.

    Raises:
        StoreUnusableError: the cluster cannot be used.
        StartError: the process that hashes passwords cannot be started.
    """
    settings = config.settings
    async with contextlib.AsyncExitStack() as stack:
        end_traces = begin_traces(settings, config.number)
        if end_traces is not None:
            stack.push_async_callback(asyncio.to_thread, end_traces)
        ground = await lay_ground(config, stack)
        services = _services(config, ground, stack)
        methods = _methods(settings, ground, services, stack)
        admission = Admission(
            random.SystemRandom().randint,
            most_running=settings.max_running_calls,
            most_waiting=settings.max_waiting_calls,
        )
        stack.callback(admission.close)
        pipeline = Pipeline(
            services.tokens,
            admission,
            Outcomes(services.usage, CallLog(lambda: services.health.problems, access=settings.access_log)),
            call_timeout_seconds=settings.call_timeout_seconds,
            body_limit_bytes=BODY_LIMIT_BYTES,
            stream_window=settings.stream_window,
            most_backlogs=_most_backlogs(settings),
        )
        metrics.WORKER_STARTS.labels(metrics.WORKER).inc()
        note_build(config.host)
        run_beside(stack, *_beside_calls(config, ground, services, admission))
        services.status.set_serving(await services.health.is_serving())
        _calm_garbage_collector()
        yield Worker(methods, pipeline, services.status)


def _most_backlogs(settings: Settings) -> int:
    """How many streams with a backlog a worker may have, so that those of all workers together leave some of the
    gateway's memory to other calls."""
    return max(1, (settings.max_gateway_bytes or GATEWAY_BYTES) // BACKLOG_BYTES // settings.workers)


def _services(config: WorkerConfig, ground: Ground, stack: contextlib.AsyncExitStack) -> _Services:
    """Build the shared services; the stack closes them."""
    cluster, clock, catalog, feed = ground.cluster, ground.clock, ground.catalog, ground.feed
    passwords = Passwords(config.hashing_lock)
    stack.callback(passwords.close)
    tokens = TokenService(feed, ClusterSessionStore(cluster), clock, secrets.token_hex, config.settings.location)
    stack.push_async_callback(tokens.close)
    guesses = Guesses(ClusterGuessStore(cluster), secrets.token_hex)
    stack.push_async_callback(guesses.close)
    name = secrets.token_hex(WORKER_NAME_BYTES)
    quota_store = ClusterQuotaStore(cluster, worker=name)
    quotas = Quotas(quota_store)
    stack.push_async_callback(quotas.close)
    usage_store = ClusterUsageStore(cluster, worker=name)
    usage = Usage(usage_store, catalog, clock)
    stack.push_async_callback(usage.close)
    memberships = MembershipService(
        catalog, ground.memberships, quotas, usage, ground.sizes, clock, ground.suppressions
    )
    stack.push_async_callback(memberships.close)
    return _Services(
        tokens,
        CatalogEditor(ground.catalog_store, feed, clock),
        passwords,
        guesses,
        quotas,
        quota_store,
        usage,
        usage_store,
        memberships,
        Forgetting(feed, ground.memberships, ground.suppression_store),
        HealthService(ClusterNodeStates(cluster)),
        ServingStatus(SERVICES),
    )


def _methods(
    settings: Settings, ground: Ground, services: _Services, stack: contextlib.AsyncExitStack
) -> list[AnyMethod]:
    """Build all methods, and the services that only one of them needs; the stack closes these."""
    cluster, clock, feed = ground.cluster, ground.clock, ground.feed
    catalog_store, sizes = ground.catalog_store, ground.sizes
    tokens, editor, passwords, quotas = services.tokens, services.editor, services.passwords, services.quotas
    sign_in = SignInService(tokens, catalog_store, passwords, services.guesses, clock)
    accounts = AccountService(editor, catalog_store, passwords, services.guesses)
    hours = UsageHours(services.usage_store, clock)
    stack.push_async_callback(hours.close)
    privacy = PrivacyService(feed, services.forgetting, ground.suppression_store, quotas, clock, new_name)
    return [
        *audience_methods(services.memberships),
        *status_methods(services.health),
        *authentication_methods(sign_in, tokens),
        *catalog_methods(
            CatalogService(catalog_store, feed, editor, accounts, quotas, sizes),
            accounts,
            ImportService(catalog_store, feed, passwords, clock),
        ),
        *public_key_methods(PublicKeyService(editor, catalog_store, quotas, clock)),
        *identity_methods(IdentityService(feed, ClusterExternalIdStore(cluster), clock)),
        *member_methods(MemberService(quotas)),
        *segment_methods(SegmentService(editor, feed, quotas, sizes)),
        *usage_methods(UsageService(feed, hours, quotas, services.quota_store, clock)),
        *_batch_methods(cluster, editor, feed, quotas, clock, settings),
        *privacy_methods(privacy),
        *gateway_refusal_methods(services.usage),
        *standard_methods(services.status, SERVICES),
    ]


def _beside_calls(config: WorkerConfig, ground: Ground, services: _Services, admission: Admission) -> Iterator[Work]:
    """The worker's background work."""
    health, status = services.health, services.status
    readings = readings_of(ground.catalog, ground.cluster) | {
        metrics.WAITING_CALLS: lambda: admission.waiting,
        metrics.RUNNING_CALLS: lambda: admission.under_way,
    }
    yield from (ground.feed.follow, ground.suppressions.follow, services.forgetting.sweep)
    yield from (partial(metrics.sample, readings), keep_writing, partial(keep_noting, config.redis), give_back)
    yield partial(health.watch, status.set_serving)
    passwords = services.passwords
    yield partial(standstill.watch, lambda: [standstill.Watched("hasher", passwords.pid, passwords.kill)])
    yield standstill.end_when_stuck
    if config.drain_fd is not None:
        yield partial(_drain_on_request, config.drain_fd, config.number, health, status)
    if config.certificates is not None:
        yield partial(follow, config.certificates, _note_ends)


def _batch_methods(
    cluster: Cluster, editor: CatalogEditor, feed: CatalogFeed, quotas: Quotas, clock: Clock, settings: Settings
) -> list[AnyMethod]:
    """The methods of the batch service; other processes apply the files (`batch_worker`)."""
    jobs, files = ClusterJobStore(cluster), FileStore(settings.file_store_url)
    draw, randint = secrets.token_hex, random.SystemRandom().randint
    uploads = Uploads(jobs, files, feed.member, clock, draw, randint, settings.batch_upload_seconds)
    desk = JobDesk(jobs, files, uploads, feed, quotas, clock)
    rest = BatchService(desk, editor, feed, clock, settings.public_url or "")
    return batch_methods(BatchSegmentService(desk, clock), rest)


def _note_ends(certificates: Certificates) -> None:
    for what, end in certificates.ends.items():
        metrics.CERTIFICATE_END_TIMESTAMP.labels(metrics.WORKER, what).set(end)


async def _drain_on_request(drain_fd: int, number: int, health: HealthService, status: ServingStatus) -> None:
    """Report not ready when the supervisor closes its end of the pipe."""
    closed = asyncio.Event()
    asyncio.get_running_loop().add_reader(drain_fd, closed.set)
    try:
        await closed.wait()
    finally:
        asyncio.get_running_loop().remove_reader(drain_fd)
    log.info(Event.WORKER_DRAINING, worker=number)
    health.drain()
    status.drain()


def _calm_garbage_collector() -> None:
    """Collect garbage rarely, and never among the objects that live as long as the worker.

    A call makes hundreds of short-lived objects, and hardly any reference cycle.
    """
    spare_all()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, 20, 100)
