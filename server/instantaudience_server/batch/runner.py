"""Takes jobs from the queue, applies their files, and notes their progress (docs/adr/0027-batch-service.md).

A process has a job by a lease, which it renews while it works on the job. If it loses the lease, it stops at once, and
another process goes on with the job.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Protocol

import structlog

from instantaudience_server.batch.counters import Count, Counters
from instantaudience_server.batch.jobs import Checkpoint, ErrorCode, FileFailedError, JobView, StoredFile
from instantaudience_server.batch.reports import report_of
from instantaudience_server.batch.uploads.files import FileStore
from instantaudience_server.batch.uploads.limits import limits_of
from instantaudience_server.batch.uploads.uploading import STORE_SECONDS
from instantaudience_server.catalog.batch_settings import DEFAULTS
from instantaudience_server.catalog.catalog import Member
from instantaudience_server.catalog.feed import FindMember
from instantaudience_server.errors import STORE_FAILURES
from instantaudience_server.observation.metrics import BATCH_JOBS, BATCH_LINES, BATCH_MEMBERSHIPS, BATCH_RUNNING_JOBS
from instantaudience_server.observation.telemetry import Event
from instantaudience_server.process.clock import Clock
from instantaudience_server.store.interfaces.jobs import Job, JobStore, Phase

log = structlog.get_logger()

MOST_JOBS = 4
"""The most jobs that a process works on at once, each of another member."""
LOOK_SECONDS = 0.5
"""The longest pause between looks for another job."""
LEASE_MS = 10_000
"""The length of a lease: how long a job rests after its process has died."""
RENEW_SECONDS = 2.5
NOTE_SECONDS = 0.25
"""The shortest time between notes of a job's progress. What is applied after the last one is applied again after a
crash."""
PAUSE_SECONDS = 2.0
"""How long a job rests when the cluster or the store of files is out of reach, or the cluster refuses a command."""
ALONE_FROM = 2
"""From this try on, a process works on no other job beside this one, until the job's progress is noted."""
MOST_TRIES = 3
"""How many processes in a row may be lost while they work on a job without progress; then the job fails."""


class Apply(Protocol):
    """Applies a file from a checkpoint on, yielding checkpoints."""

    def __call__(
        self, file: StoredFile, job: JobView, checkpoint: Checkpoint | None
    ) -> AsyncGenerator[Checkpoint, None]:
        """See `applying.FileApplying`; raises FileFailedError, AudienceError UNAVAILABLE, RefusedCommandError."""


class _Lease:
    """A lease on a job. From `until` on (a time of the event loop's clock, in seconds), another process may have it.
    `is_lost`: the cluster says that another process has it, or that a caller has cancelled the job."""

    def __init__(self, until: float) -> None:
        self.until = until
        self.is_lost = False

    def holds(self) -> bool:
        """Whether the job is still this process's. The clock is read anew, as the process may have been stopped within
        a turn of the event loop."""
        return time.monotonic() < self.until


class JobRunner:
    """Takes jobs and works on them. `draw` makes random words for leases.

    `find_member` is `CatalogFeed.current_member`, so that a file is read with all changes of the catalog that were
    answered before its turn.
    """

    def __init__(
        self,
        jobs: JobStore,
        files: FileStore,
        apply: Apply,
        find_member: FindMember,
        clock: Clock,
        draw: Callable[[], str],
    ) -> None:
        self._jobs = jobs
        self._files = files
        self._apply = apply
        self._find_member = find_member
        self._clock = clock
        self._draw = draw
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._alone = ""
        """The lease of the job that has to be worked on alone; empty: there is none."""

    async def run(self) -> None:
        """Take jobs and work on them until cancelled; then give them back."""
        try:
            while True:
                job = None
                if len(self._tasks) < MOST_JOBS and not self._alone:
                    lease = _Lease(self._lease_end())
                    with contextlib.suppress(*STORE_FAILURES):
                        job = await self._take()
                    if job is not None:
                        if ALONE_FROM <= job.tries <= MOST_TRIES:
                            await self._give_back_all()
                            self._alone = job.lease
                        task = asyncio.create_task(self._work(job, lease))
                        self._tasks.add(task)
                        task.add_done_callback(self._tasks.discard)
                if job is None:
                    await self._pause()
        finally:
            await self._give_back_all()

    async def _take(self) -> Job | None:
        """Take a job. Where this is cancelled, one that is taken nevertheless is given back."""
        taking = asyncio.create_task(self._jobs.take(self._draw(), LEASE_MS, self._clock.now_ms(), self._deadline()))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            with contextlib.suppress(*STORE_FAILURES):
                if (job := await taking) is not None:
                    await self._give_back(job, self._deadline())
            raise

    async def _give_back_all(self) -> None:
        """Stop the work on all jobs, which gives them back."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pause(self) -> None:
        """Wait for `LOOK_SECONDS`, or until a job ends, as its member's next one may then begin."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(LOOK_SECONDS)

    async def _work(self, job: Job, lease: _Lease) -> None:
        work = asyncio.create_task(self._apply_file(job, lease))
        renewal = asyncio.create_task(self._renew(job, work, lease))
        BATCH_RUNNING_JOBS.inc()
        try:
            try:
                if await work:
                    await self._files.discard(job.job_id)
            except STORE_FAILURES:
                log.warning(Event.BATCH_JOB_INTERRUPTED, job_id=job.job_id, member_id=job.member_id)
                await asyncio.sleep(PAUSE_SECONDS)
                await self._give_back(job, self._lease_end())
        except asyncio.CancelledError:
            # Either the work was cancelled, because the lease is lost, or this task was.
            await self._give_back(job, self._deadline())
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
        except Exception as error:
            log.error(Event.BATCH_JOB_DEFECT, exc_info=error, job_id=job.job_id, member_id=job.member_id)
        finally:
            BATCH_RUNNING_JOBS.dec()
            renewal.cancel()
            self._others_may_work(job)

    async def _give_back(self, job: Job, deadline: float) -> None:
        """Give a job back, for another process to go on with it. Does nothing if one has taken it already, as the lease
        has another name then. If the cluster does not answer, the lease ends by itself."""
        with contextlib.suppress(*STORE_FAILURES):
            await self._jobs.give_back(job, deadline)

    def _others_may_work(self, job: Job) -> None:
        """Allow other jobs again: this one has made progress, or ended."""
        if self._alone == job.lease:
            self._alone = ""

    async def _renew(self, job: Job, work: "asyncio.Task[bool]", lease: _Lease) -> None:
        """Renew the lease, and cancel the work when it is lost or may be."""
        end = self._loop.call_at(lease.until, work.cancel)
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            kept_until = self._lease_end()
            with contextlib.suppress(*STORE_FAILURES):
                if not await self._jobs.keep(job, LEASE_MS, self._loop.time() + RENEW_SECONDS):
                    lease.is_lost = True
                    work.cancel()
                    return
                end.cancel()
                lease.until = kept_until
                end = self._loop.call_at(kept_until, work.cancel)

    def _lease_end(self) -> float:
        """The earliest end of a lease that is asked for now, by the event loop's clock."""
        return self._loop.time() + LEASE_MS / 1000

    async def _apply_file(self, job: Job, lease: _Lease) -> bool:
        """Apply the file from the job's checkpoint on, and end the job. Returns whether this process has ended it, so
        that the file can be deleted.

        Raises:
            AudienceError: UNAVAILABLE; the job has to go on later.
            RefusedCommandError: likewise, once the cluster's configuration or its keys are mended.
        """
        checkpoint: Checkpoint | None = None
        counted = 0, 0
        error_code = ""
        noted_at = 0.0
        file = self._files.file(job.job_id, job.size_bytes)
        try:
            if job.checkpoint:
                checkpoint = Checkpoint.load(job.checkpoint)
                counted = _numbers(checkpoint.counters)
            if job.tries > MOST_TRIES:
                raise FileFailedError(ErrorCode.PROCESS_ENDED, f"{MOST_TRIES} processes in a row were lost with it")
            async with aclosing(self._apply(file, await self._view(job, lease), checkpoint)) as checkpoints:
                async for checkpoint in checkpoints:
                    if self._loop.time() >= noted_at + NOTE_SECONDS:
                        if not await self._note(job, checkpoint):
                            break  # another process has the job, or a caller has cancelled it
                        counted = _count(checkpoint.counters, counted)
                        self._others_may_work(job)
                        noted_at = self._loop.time()
        except FileFailedError as error:
            error_code = error.code
        except asyncio.CancelledError:
            if not lease.is_lost:
                raise
        except STORE_FAILURES:
            raise
        except Exception as error:
            log.error(Event.BATCH_JOB_DEFECT, exc_info=error, job_id=job.job_id, member_id=job.member_id)
            error_code = ErrorCode.INTERNAL
        return await self._finish(job, checkpoint, error_code, counted)

    async def _view(self, job: Job, lease: _Lease) -> JobView:
        member = await self._find_member(job.member_id, self._deadline())
        if member is None:
            raise FileFailedError(ErrorCode.MEMBER_DELETED, f"There is no member {job.member_id} any more")
        # Bounded even if the member has no daily limit: gzip may expand a small file a thousandfold.
        most_bytes = max(member.batch.file_bytes, member.batch.bytes_per_day or DEFAULTS.bytes_per_day)
        most_lines = await self._most_lines(job, member)
        return JobView(job.member_id, job.uploaded_ms, most_bytes, most_lines, lease.holds)

    async def _most_lines(self, job: Job, member: Member) -> int | None:
        """How many lines the file may have, if they were not counted during the upload: the limit that was left then,
        or what is left now, after other files, if that is less. None: no limit."""
        if job.most_lines < 0:
            return None
        limits, now_ms = limits_of(member.batch), self._clock.now_ms()
        left = (await self._jobs.room(job.member_id, limits, now_ms, self._deadline())).lines
        return max(0, job.most_lines if left is None else min(job.most_lines, left))

    async def _note(self, job: Job, checkpoint: Checkpoint) -> bool:
        now_ms = self._clock.now_ms()
        written, progress = checkpoint.dump(), report_of(checkpoint.counters).dump()
        return await self._jobs.note(job, written, progress, checkpoint.file_bytes, LEASE_MS, now_ms, self._deadline())

    async def _finish(self, job: Job, checkpoint: Checkpoint | None, error_code: str, counted: tuple[int, int]) -> bool:
        """End the job, and make room for the member's next one. False: another process has it, or it is gone."""
        counters = Counters(0) if checkpoint is None else checkpoint.counters
        report = report_of(counters).dump()
        uncounted = 0 if job.most_lines < 0 else counters.num_lines
        now_ms, deadline = self._clock.now_ms(), self._deadline()
        ended_with = await self._jobs.finish(job, report, error_code, uncounted, now_ms, deadline)
        if ended_with is None:
            return False
        outcome = ended_with or Phase.COMPLETED.value
        BATCH_JOBS.labels(outcome).inc()
        _count(counters, counted)
        log.info(Event.BATCH_JOB_ENDED, job_id=job.job_id, member_id=job.member_id, outcome=outcome)
        return True

    def _deadline(self) -> float:
        return self._loop.time() + STORE_SECONDS


def _numbers(counters: Counters) -> tuple[int, int]:
    """The numbers of lines and memberships, which metrics count, too."""
    return counters.num_lines, counters[Count.NUM_VALID]


def _count(counters: Counters, counted: tuple[int, int]) -> tuple[int, int]:
    """Count in metrics what is not among the `_numbers` that were `counted`; returns those that are now."""
    lines, memberships = _numbers(counters)
    BATCH_LINES.inc(lines - counted[0])
    BATCH_MEMBERSHIPS.inc(memberships - counted[1])
    return lines, memberships
