"""Sums of what a member's jobs did, by the hour (source: batch.proto, GetBatchUsage)."""

from collections import Counter
from collections.abc import AsyncIterator

from google.protobuf.timestamp_pb2 import Timestamp
from instantaudience.v1 import batch_pb2 as pb

from instantaudience_server.batch.reports import JobReport
from instantaudience_server.process.clock import MS_PER_HOUR
from instantaudience_server.store.interfaces.jobs import ENDED, Job, Phase
from instantaudience_server.usage.spans import Span, cover, read_timestamp


def span_of(request: pb.GetBatchUsageRequest, now_ms: int) -> Span:
    """The hours that a request asks for.

    Raises:
        AudienceError: SYNTAX.
    """
    start_ms = read_timestamp(request.start, "start") if request.HasField("start") else None
    end_ms = read_timestamp(request.end, "end") if request.HasField("end") else None
    return cover(start_ms, end_ms, now_ms)


async def usage_of(jobs: AsyncIterator[Job], span: Span) -> pb.GetBatchUsageResponse:
    """The hours of a span in which jobs ended, and the total. The total's hour is the last one, which may be after the
    span's if the clock of the process that ended a job is ahead."""
    hours: dict[int, Counter[str]] = {}
    total: Counter[str] = Counter()
    async for job in jobs:
        hour = job.completed_ms // MS_PER_HOUR
        if job.phase in ENDED and job.started_ms and hour in span.hours:
            did = _did(job)
            hours.setdefault(hour, Counter()).update(did)
            total.update(did)
    rows = [_row(hour, hours[hour]) for hour in sorted(hours)]
    return pb.GetBatchUsageResponse(hours=rows, total=_row(max([span.last, *hours]), total))


def _did(job: Job) -> dict[str, int]:
    completed = job.phase is Phase.COMPLETED
    jobs = {"completed_jobs": int(completed), "failed_jobs": int(not completed), "file_bytes": job.size_bytes}
    return jobs | JobReport.of(job).counters


def _row(hour: int, did: Counter[str]) -> pb.BatchUsageHour:
    row = pb.BatchUsageHour(hour=Timestamp(seconds=hour * (MS_PER_HOUR // 1000)))
    for name, number in did.items():
        setattr(row if name in row.DESCRIPTOR.fields_by_name else row.counters, name, number)
    return row
