"""What a member's jobs did, hour by hour (batch.proto, GetBatchUsage)."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from instantaudience.v1 import batch_pb2 as pb
from instantaudience_server.batch.usage import span_of, usage_of
from instantaudience_server.store.interfaces.jobs import Job, Phase

HOUR_MS = 3_600_000
NOW_MS = 490_000 * HOUR_MS - 10_000
"""Ten seconds before an hour begins."""
JOB = Job("job", 1, 7, Phase.COMPLETED, NOW_MS - 9, NOW_MS, 0, started_ms=NOW_MS - 8, size_bytes=5)


async def usage(*completed_ms: int) -> pb.GetBatchUsageResponse:
    async def jobs() -> AsyncIterator[Job]:
        for each in completed_ms:
            yield replace(JOB, completed_ms=each)

    return await usage_of(jobs(), span_of(pb.GetBatchUsageRequest(), NOW_MS))


async def test_the_sums_hour_is_the_last_one(subtests: pytest.Subtests) -> None:
    for ended_ms, hours, last in [
        ([], [], 489_999),
        ([NOW_MS - 5 * HOUR_MS], [489_994], 489_999),
        ([NOW_MS, NOW_MS + 30_000], [489_999, 490_000], 490_000),
        ([NOW_MS + HOUR_MS + 30_000], [], 489_999),
    ]:
        with subtests.test(ended_ms=ended_ms, hours=hours, last=last):
            answer = await usage(*ended_ms)
            assert [each.hour.seconds // 3600 for each in answer.hours] == hours
            assert (answer.total.hour.seconds // 3600, answer.total.completed_jobs) == (last, len(hours))
