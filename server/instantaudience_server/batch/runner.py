"""Takes jobs as their turn comes, applies their files, and writes down how far they are (docs/adr/0027).

A job is kept by a lease that is renewed while the job is worked on. Who has lost it stops at once: another one goes on.
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
from instantaudience_server.clock import Clock
from instantaudience_server.errors import STORE_FAILURES, AudienceError
from instantaudience_server.metrics import BATCH_JOBS, BATCH_LINES, BATCH_MEMBERSHIPS, BATCH_RUNNING_JOBS
from instantaudience_server.store.interfaces.jobs import Job, JobStore, Phase
from instantaudience_server.telemetry import Event

log = structlog.get_logger()

MOST_JOBS = 4
"""Jobs that a process works on at once, each of another member."""
LOOK_SECONDS = 0.5
"""How often it is looked for another job, at least."""
LEASE_MS = 10_000
"""How long a job stands still whose process has died."""
RENEW_SECONDS = 2.5
NOTE_SECONDS = 0.25
"""How often it is written down how far a job is, at most: what is applied since then is applied again after a crash."""
PAUSE_SECONDS = 2.0
"""How long a job rests that cannot go on because the cluster or the store of files is out of reach."""
ALONE_FROM = 2
"""From this try on, a process applies a job without others beside it, until it has come further."""
MOST_TRIES = 3
"""So many processes in a row may be lost with a job that has come no further: then it has failed."""


class Apply(Protocol):
    """Applies a file from a checkpoint on, and says how far it is."""

    def __call__(
        self, file: StoredFile, job: JobView, checkpoint: Checkpoint | None
    ) -> AsyncGenerator[Checkpoint, None]:
        """See `applying.FileApplying`; raises FileFailedError, AudienceError UNAVAILABLE."""


class _Lease:
    """Another one may have the job from `until` on: a time of the event loop's clock, in seconds."""

    def __init__(self, until: float) -> None:
        self.until = until

    def holds(self) -> bool:
        """Whether the job is ours. The loop's own clock stands still for a turn, in which the process may do, too."""
        return time.monotonic() < self.until


class JobRunner:
    """Works on jobs. `draw` gives a random word."""

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
        """The lease of a job that nothing is worked on beside; empty: there is none."""

    async def run(self) -> None:
        """Take jobs and work on them, until cancelled: then they are given back."""
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

    async def _give_back_all(self) -> None:
        """Work on nothing any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pause(self) -> None:
        """Wait until it is time to look again; when a job has ended, its member's next one may begin."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(LOOK_SECONDS)

    async def _take(self) -> Job | None:
        return await self._jobs.take(self._draw(), LEASE_MS, self._clock.now_ms(), self._deadline())

    async def _work(self, job: Job, lease: _Lease) -> None:
        work = asyncio.create_task(self._apply_file(job, lease))
        renewal = asyncio.create_task(self._renew(job, work, lease))
        BATCH_RUNNING_JOBS.inc()
        try:
            try:
                if await work:
                    with contextlib.suppress(AudienceError):  # who looks for files that nobody needs deletes it
                        await self._files.delete(job.job_id)
            except AudienceError:
                log.warning(Event.BATCH_JOB_INTERRUPTED, job_id=job.job_id, member_id=job.member_id)
                await asyncio.sleep(PAUSE_SECONDS)
                await self._give_back(job, self._lease_end())
        except asyncio.CancelledError:
            # Whether the work was cancelled, or this task, which awaits the work or rests after it.
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
        """Let another process go on with a job. Nothing happens where one has taken it already: the lease has another
        name then. Where the cluster is away, the lease ends by itself."""
        with contextlib.suppress(*STORE_FAILURES):
            await self._jobs.give_back(job, deadline)

    def _others_may_work(self, job: Job) -> None:
        """It has come further, or is over."""
        if self._alone == job.lease:
            self._alone = ""

    async def _renew(self, job: Job, work: "asyncio.Task[bool]", lease: _Lease) -> None:
        """Keep the lease, and stop the work when it is lost, or may be."""
        end = self._loop.call_at(lease.until, work.cancel)
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            kept_until = self._lease_end()
            with contextlib.suppress(*STORE_FAILURES):
                if not await self._jobs.keep(job, LEASE_MS, self._loop.time() + RENEW_SECONDS):
                    work.cancel()
                    return
                end.cancel()
                lease.until = kept_until
                end = self._loop.call_at(kept_until, work.cancel)

    def _lease_end(self) -> float:
        """When a lease that is asked for now ends at the earliest, by the event loop's clock."""
        return self._loop.time() + LEASE_MS / 1000

    async def _apply_file(self, job: Job, lease: _Lease) -> bool:
        """Apply the file from where it is, to its end; whether this has ended the job, so that nobody needs the file.

        Raises:
            AudienceError: UNAVAILABLE; the job is to go on later.
        """
        checkpoint: Checkpoint | None = None
        counted = _counted(None)
        error_code = ""
        noted_at = 0.0
        file = self._files.file(job.job_id, job.size_bytes)
        try:
            if job.checkpoint:
                checkpoint = Checkpoint.load(job.checkpoint)
                counted = _counted(checkpoint)
            if job.tries > MOST_TRIES:
                raise FileFailedError(ErrorCode.PROCESS_ENDED, f"{MOST_TRIES} processes in a row were lost with it")
            async with aclosing(self._apply(file, await self._view(job, lease), checkpoint)) as checkpoints:
                async for checkpoint in checkpoints:
                    if self._loop.time() >= noted_at + NOTE_SECONDS:
                        if not await self._note(job, checkpoint):
                            break  # another one has it, or a caller has cancelled it
                        self._others_may_work(job)
                        noted_at = self._loop.time()
        except FileFailedError as error:
            error_code = error.code
        except AudienceError:
            raise
        except Exception as error:
            log.error(Event.BATCH_JOB_DEFECT, exc_info=error, job_id=job.job_id, member_id=job.member_id)
            error_code = ErrorCode.INTERNAL
        return await self._finish(job, checkpoint, error_code, counted)

    async def _view(self, job: Job, lease: _Lease) -> JobView:
        member = await self._find_member(job.member_id, self._deadline())
        if member is None:
            raise FileFailedError(ErrorCode.MEMBER_DELETED, f"There is no member {job.member_id} any more")
        # There is a bound even where a day has none: a small file may hold a thousand times its size.
        most_bytes = max(member.batch.file_bytes, member.batch.bytes_per_day or DEFAULTS.bytes_per_day)
        most_lines = await self._most_lines(job, member)
        return JobView(job.member_id, job.uploaded_ms, most_bytes, most_lines, lease.holds)

    async def _most_lines(self, job: Job, member: Member) -> int | None:
        """How many lines a file may have whose lines nobody knew when it was uploaded: of what was left of the member's
        limits then, other files have taken some since."""
        if job.most_lines < 0:
            return None
        limits, now_ms = limits_of(member.batch), self._clock.now_ms()
        left = (await self._jobs.room(job.member_id, limits, now_ms, self._deadline())).lines
        return max(0, job.most_lines if left is None else min(job.most_lines, left))

    async def _note(self, job: Job, checkpoint: Checkpoint) -> bool:
        now_ms = self._clock.now_ms()
        written = checkpoint.dump()
        return await self._jobs.note(job, written, checkpoint.file_bytes, LEASE_MS, now_ms, self._deadline())

    async def _finish(self, job: Job, checkpoint: Checkpoint | None, error_code: str, counted: tuple[int, int]) -> bool:
        """End a job that is ours still, and make room for the member's next one; whether it was."""
        counters = Counters(0) if checkpoint is None else checkpoint.counters
        report = report_of(counters).dump()
        lines = 0 if job.most_lines < 0 else counters.num_lines
        now_ms, deadline = self._clock.now_ms(), self._deadline()
        ended_with = await self._jobs.finish(job, report, error_code, lines, now_ms, deadline)
        if ended_with is None:
            return False
        outcome = ended_with or Phase.COMPLETED.value
        BATCH_JOBS.labels(outcome).inc()
        lines, memberships = _counted(checkpoint)
        BATCH_LINES.inc(lines - counted[0])
        BATCH_MEMBERSHIPS.inc(memberships - counted[1])
        log.info(Event.BATCH_JOB_ENDED, job_id=job.job_id, member_id=job.member_id, outcome=outcome)
        return True

    def _deadline(self) -> float:
        return self._loop.time() + STORE_SECONDS


def _counted(checkpoint: Checkpoint | None) -> tuple[int, int]:
    """Lines and memberships so far."""
    if checkpoint is None:
        return 0, 0
    return checkpoint.counters.num_lines, checkpoint.counters[Count.NUM_VALID]
