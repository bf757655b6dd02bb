"""Jobs as REST callers see them (source: contract-neighbours, "Batch Segment Service", "Job")."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, NamedTuple

from instantaudience_server.batch.counters import Count
from instantaudience_server.batch.reports import JobReport
from instantaudience_server.process.clock import MS_PER_MINUTE, written_time
from instantaudience_server.store.interfaces.jobs import Job, Order, Phase


class FieldShape(NamedTuple):
    """A field of a job: its type, and the order of lists that are sorted by it (None: they cannot be)."""

    type: str
    order: Order | None = None


FIELDS = {
    "id": FieldShape("int", Order()),
    "job_id": FieldShape("string"),
    "member_id": FieldShape("int"),
    "created_on": FieldShape("date", Order()),
    "last_modified": FieldShape("date", Order(by_change=True)),
    "start_time": FieldShape("date"),
    "uploaded_time": FieldShape("date"),
    "validated_time": FieldShape("date"),
    "completed_time": FieldShape("date"),
    "phase": FieldShape("string"),
    "percent_complete": FieldShape("int"),
    "time_to_process": FieldShape("string"),
    "error_code": FieldShape("string"),
    **{count.value: FieldShape("int") for count in Count},
    "error_log_lines": FieldShape("string"),
    "segment_log_lines": FieldShape("string"),
}
MOST_LISTED_BYTES = 2_000_000
"""The most bytes of all `error_log_lines` in a list together; a job that is read by itself has all of its lines."""
FILTERS = ("job_id", "member_id")
"""The fields by which lists can be filtered."""


def job_object(job: Job, now_ms: int) -> dict[str, Any]:
    """A job with all its `FIELDS`."""
    report = JobReport.of(job)
    return {
        "id": job.number,
        "job_id": job.job_id,
        "member_id": job.member_id,
        "created_on": time_text(job.created_ms),
        "last_modified": time_text(job.modified_ms),
        "start_time": time_text(job.started_ms),
        "uploaded_time": time_text(job.uploaded_ms),
        "validated_time": time_text(job.validated_ms),
        "completed_time": time_text(job.completed_ms),
        "phase": job.phase.value,
        "percent_complete": percent_complete(job),
        "time_to_process": _minutes(job, now_ms),
        "error_code": job.error_code or None,
        **report.counters,
        "error_log_lines": report.error_log_lines,
        "segment_log_lines": report.segment_log_lines,
    }


async def job_objects(jobs: AsyncGenerator[Job, None], now_ms: int) -> list[dict[str, Any]]:
    """Jobs for a list, with as many of their first `error_log_lines` as fit into `MOST_LISTED_BYTES`."""
    objects: list[dict[str, Any]] = []
    left = MOST_LISTED_BYTES
    async with aclosing(jobs):
        async for job in jobs:
            found = job_object(job, now_ms)
            lines = found["error_log_lines"].encode()
            if len(lines) > left:
                lines = lines[: left + 1].rpartition(b"\n")[0]
                found["error_log_lines"] = lines.decode()
            left -= len(lines)
            objects.append(found)
    return objects


def percent_complete(job: Job) -> int:
    """How much of the job's file is applied, in percent; 100 only when the job is complete."""
    if job.phase is Phase.COMPLETED:
        return 100
    return min(99, 100 * job.position_bytes // max(1, job.size_bytes))


def _minutes(job: Job, now_ms: int) -> str:
    """Minutes from the end of the upload to the end of the job, or to now."""
    # Not negative, though the times may be from machines with different clocks.
    passed_ms = max(0, (job.completed_ms or now_ms) - job.uploaded_ms) if job.uploaded_ms else 0
    return f"{passed_ms / MS_PER_MINUTE:.2f}"


def time_text(moment_ms: int) -> str | None:
    """A Unix time in ms as text in UTC; None for 0."""
    return written_time(moment_ms // 1000) if moment_ms else None
