"""What there is to say of a job's file, while it is applied and when it is over."""

import json
from dataclasses import dataclass

from instantaudience_server.batch.counters import Count, Counters
from instantaudience_server.batch.jobs import Checkpoint
from instantaudience_server.store.interfaces.jobs import Job


@dataclass(frozen=True, slots=True)
class JobReport:
    """The counters by name, and both logs as callers see them."""

    counters: dict[str, int]
    error_log_lines: str = ""
    segment_log_lines: str = ""

    @classmethod
    def of(cls, job: Job) -> "JobReport":
        """What a job says so far."""
        if job.report:
            return cls(*json.loads(job.report))
        if job.checkpoint:
            return report_of(Checkpoint.load(job.checkpoint).counters)
        return cls(dict.fromkeys(Count, 0))

    def dump(self) -> str:
        """As text, for `Job.report`."""
        return json.dumps([self.counters, self.error_log_lines, self.segment_log_lines], ensure_ascii=False)


def report_of(counters: Counters) -> JobReport:
    """What there is to say of these counters."""
    return JobReport(counters.values(), counters.error_log_lines, counters.segment_log_lines)
