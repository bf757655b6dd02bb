"""Batch jobs for tests."""

import itertools

from instantaudience_server.batch.uploads.files import FileStore
from instantaudience_server.errors import RefusedCommandError
from instantaudience_server.process.clock import SystemClock
from instantaudience_server.store.interfaces.jobs import Job, Phase, Uploaded, UploadLimits
from instantaudience_server.store.jobs.job_store import ClusterJobStore

from support.parts.readings import CATALOG
from support.waiting import seconds_from_now

LIMITS = UploadLimits(99, 1, None, None, None, None)
MEMBER, OTHER = sorted(CATALOG.members)[:2]
numbers = itertools.count()


async def uploading(
    jobs: ClusterJobStore, files: FileStore, content: bytes, member: int = MEMBER, silent_ms: int = -60_000
) -> Job:
    """A job whose upload last made progress this long ago."""
    now_ms, number = SystemClock().now_ms(), next(numbers)
    job = Job(f"{f'run{number}':x<30}1764300000", 0, member, Phase.STARTING, now_ms, now_ms, now_ms + 60_000)
    made = await jobs.create(job, f"run{number}", seconds_from_now())
    assert made is not None
    await jobs.begin_upload(made, "up", 0, LIMITS, now_ms, now_ms - silent_ms, seconds_from_now())
    await files.write(made.job_id, 0, content)
    return made


async def waiting(
    jobs: ClusterJobStore, files: FileStore, content: bytes, member: int = MEMBER, most_lines: int = -1
) -> Job:
    """A job that waits for its turn."""
    job = await uploading(jobs, files, content, member)
    now_ms = SystemClock().now_ms()
    assert await jobs.end_upload(job, "up", Uploaded(len(content), 0, most_lines), LIMITS, now_ms, seconds_from_now())
    return job


class RefusedJobStore(ClusterJobStore):
    """A job store whose first request the cluster refuses permanently."""

    refuses = True

    async def take(self, lease: str, lease_ms: int, now_ms: int, deadline: float) -> Job | None:
        """See `JobStore`."""
        self._refuse()
        return await super().take(lease, lease_ms, now_ms, deadline)

    async def find(self, job_id: str, deadline: float) -> Job | None:
        """See `JobStore`."""
        self._refuse()
        return await super().find(job_id, deadline)

    def _refuse(self) -> None:
        refuses, self.refuses = self.refuses, False
        if refuses:
            raise RefusedCommandError("node", "NOPERM")
