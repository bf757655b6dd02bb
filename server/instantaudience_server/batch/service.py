"""The batch service for gRPC callers (source: batch.proto)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from google.protobuf.timestamp_pb2 import Timestamp
from instantaudience.v1 import batch_pb2 as pb

from instantaudience_server.batch.desk import JobDesk
from instantaudience_server.batch.reports import JobReport
from instantaudience_server.batch.shapes import percent_complete
from instantaudience_server.batch.uploads.uploading import STORE_SECONDS
from instantaudience_server.batch.usage import span_of, usage_of
from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.paging import unknown_token
from instantaudience_server.errors import AudienceError, Reason, invalid
from instantaudience_server.process.clock import MS_PER_HOUR, Clock
from instantaudience_server.settings import UPLOAD_PATH
from instantaudience_server.store.interfaces.jobs import Job

DEFAULT_PAGE, LARGEST_PAGE = 20, 100
LONGEST_TOKEN = 18
"""The most digits of a page token, which is a position among a member's jobs."""
_TIMES = ("created", "modified", "started", "uploaded", "validated", "completed")


class BatchSegmentService:
    """The commands of batch.proto. Deadlines and errors are as in `JobDesk`."""

    def __init__(self, desk: JobDesk, clock: Clock) -> None:
        self._desk = desk
        self._clock = clock

    async def create(
        self, request: pb.CreateBatchJobRequest, caller: Caller, deadline: float
    ) -> pb.CreateBatchJobResponse:
        """Create a job whose file is uploaded over HTTP."""
        member_id = await self._desk.member_id(request, caller, deadline)
        new = await self._desk.create(member_id, caller, deadline)
        return pb.CreateBatchJobResponse(job=_job(new.job), upload_path=f"{UPLOAD_PATH}{new.url_end}")

    async def upload(
        self, requests: AsyncIterator[pb.UploadBatchFileRequest], caller: Caller, deadline: float
    ) -> pb.UploadBatchFileResponse:
        """Create a job, and receive its file.

        Raises:
            AudienceError: SYNTAX, the stream is empty; others as `JobDesk.upload`.
        """
        first = await anext(requests, None)
        if first is None:
            raise AudienceError(Reason.SYNTAX, "A file needs at least one message")
        # The time that the sender took for the first message does not count, as with those that follow.
        deadline = max(deadline, asyncio.get_running_loop().time() + STORE_SECONDS)
        member_id = await self._desk.member_id(first, caller, deadline)

        async def pieces() -> AsyncIterator[bytes]:
            yield first.data
            async for request in requests:
                yield request.data

        return pb.UploadBatchFileResponse(job=_job(await self._desk.upload(member_id, pieces(), caller, deadline)))

    async def get(self, request: pb.GetBatchJobRequest, caller: Caller, deadline: float) -> pb.GetBatchJobResponse:
        """Read a job."""
        return pb.GetBatchJobResponse(job=_job(await self._desk.find(request.job_id, caller, deadline), lines=True))

    async def list(self, request: pb.ListBatchJobsRequest, caller: Caller, deadline: float) -> pb.ListBatchJobsResponse:
        """List jobs, the newest first.

        Raises:
            AudienceError: SYNTAX; others as above.
        """
        if not 0 <= request.page_size <= LARGEST_PAGE:
            raise invalid("page_size", f"must be 0 to {LARGEST_PAGE}")
        token = request.page_token or "0"
        if not (token.isascii() and token.isdigit() and len(token) <= LONGEST_TOKEN):
            raise unknown_token()
        member_id = await self._desk.member_id(request, caller, deadline)
        size = request.page_size or DEFAULT_PAGE
        jobs, total, before = await self._desk.older(member_id, int(token), size, caller, deadline)
        more = str(before) if before else ""
        async with aclosing(jobs):
            found = [_job(job) async for job in jobs]
        return pb.ListBatchJobsResponse(jobs=found, next_page_token=more, total=total)

    async def cancel(
        self, request: pb.CancelBatchJobRequest, caller: Caller, deadline: float
    ) -> pb.CancelBatchJobResponse:
        """Cancel a job."""
        job = await self._desk.cancel(request.job_id, caller, deadline)
        return pb.CancelBatchJobResponse(job=_job(job, lines=True))

    async def usage(
        self, request: pb.GetBatchUsageRequest, caller: Caller, deadline: float
    ) -> pb.GetBatchUsageResponse:
        """Sum up what a member's jobs did, by the hour.

        Raises:
            AudienceError: SYNTAX; others as above.
        """
        span = span_of(request, self._clock.now_ms())
        first_hour = span.hours[0] if span.hours else span.last
        member_id = await self._desk.member_id(request, caller, deadline)
        changed = self._desk.changed_since(member_id, first_hour * MS_PER_HOUR, caller, deadline)
        async with aclosing(changed) as jobs:
            return await usage_of(jobs, span)


def _job(job: Job, *, lines: bool = False) -> pb.BatchJob:
    """The message of a job, with its log lines if `lines` is set."""
    report = JobReport.of(job)
    message = pb.BatchJob(
        job_id=job.job_id,
        id=job.number,
        member_id=job.member_id,
        phase=f"BATCH_JOB_PHASE_{job.phase.name}",
        percent_complete=percent_complete(job),
        error_code=job.error_code,
        file_bytes=job.size_bytes,
        counters=pb.BatchCounters(**report.counters),
    )
    for name in _TIMES:
        if moment_ms := getattr(job, f"{name}_ms"):
            timestamp: Timestamp = getattr(message, name)
            timestamp.FromMilliseconds(moment_ms)
    if lines:
        message.error_lines.extend(_lines(report.error_log_lines))
        message.segment_lines.extend(_lines(report.segment_log_lines))
    return message


def _lines(text: str) -> list[str]:
    """The lines of a log; only line feeds separate them."""
    return text.split("\n") if text else []
