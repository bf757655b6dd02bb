"""The main module of a batch process, which receives files and applies them; the supervisor starts it beside the
workers."""

import asyncio
import contextlib
import os
import random
import secrets
from functools import partial

import structlog

from instantaudience_server.batch.runner import JobRunner
from instantaudience_server.batch.uploads.files import FileStore
from instantaudience_server.batch.uploads.marking import keep_marks
from instantaudience_server.batch.uploads.sweeping import sweep
from instantaudience_server.batch.uploads.uploading import Uploads
from instantaudience_server.batch.yielding import PATIENCE_SECONDS, Yielding
from instantaudience_server.health import HealthService
from instantaudience_server.observation import metrics
from instantaudience_server.observation.observations import keep_writing
from instantaudience_server.observation.telemetry import Event
from instantaudience_server.running.ground import (
    WORKER_NAME_BYTES,
    WorkerConfig,
    asked_to_stop,
    lay_ground,
    run,
    run_beside,
)
from instantaudience_server.running.machine.memory import give_back
from instantaudience_server.running.machine.standstill import end_when_stuck
from instantaudience_server.running.readings import note_build, readings_of
from instantaudience_server.store.jobs.job_store import ClusterJobStore
from instantaudience_server.store.node_states import ClusterNodeStates
from instantaudience_server.store.usage_store import ClusterUsageStore
from instantaudience_server.transport.calls.call_log import CallLog
from instantaudience_server.transport.uploads import UploadServer
from instantaudience_server.usage.counting import Usage

log = structlog.get_logger()

NICENESS = 10
"""The process's niceness (nice(1)): live calls have priority on the processors."""


async def serve(config: WorkerConfig) -> None:
    """Receive and apply files until SIGTERM or SIGINT, then drain.

    Raises:
        StoreUnusableError: the cluster cannot be used.
    """
    settings = config.settings
    async with contextlib.AsyncExitStack() as stack:
        ground = await lay_ground(config, stack)
        stop = asked_to_stop()
        from instantaudience_server.batch.applying import FileApplying  # imports numpy, which `lay_ground` configures

        cluster, clock, catalog, suppressions = ground.cluster, ground.clock, ground.catalog, ground.suppressions
        jobs, files = ClusterJobStore(cluster), FileStore(settings.file_store_url)
        states = ClusterNodeStates(cluster)
        yielding = Yielding(lambda: states.look(asyncio.get_running_loop().time() + PATIENCE_SECONDS))
        applying = FileApplying(catalog, ground.memberships, ground.sizes, suppressions, yielding=yielding)
        draw, randint = secrets.token_hex, random.SystemRandom().randint
        runner = JobRunner(jobs, files, applying.apply, ground.feed.current_member, clock, draw)
        uploads = Uploads(jobs, files, ground.feed.member, clock, draw, randint, settings.batch_upload_seconds)
        health = HealthService(states)
        usage = Usage(ClusterUsageStore(cluster, worker=draw(WORKER_NAME_BYTES)), catalog, clock)
        stack.push_async_callback(usage.close)
        server = UploadServer(uploads, usage, CallLog(lambda: health.problems))
        metrics.WORKER_STARTS.labels(metrics.WORKER).inc()
        note_build("batch")
        assert config.upload_marks is not None
        run_beside(
            stack,
            partial(keep_marks, jobs, clock, config.upload_marks),
            partial(sweep, jobs, files),
            files.tell_problem,
            *(ground.feed.follow, suppressions.follow, runner.run, health.watch),
            *(partial(metrics.sample, readings_of(catalog, cluster)), keep_writing, give_back, end_when_stuck),
        )
        (address,) = config.addresses
        await server.start(address)
        log.info(Event.WORKER_READY, worker=config.number)
        await stop.wait()
        await server.drain(settings.drain_seconds)


def main() -> None:
    """Read the configuration from standard input and serve."""
    os.nice(NICENESS)
    run("batch worker", serve)
