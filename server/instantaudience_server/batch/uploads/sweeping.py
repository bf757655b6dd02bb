"""Deletes the files that no job needs: of those who died before they could do it."""

import asyncio
import contextlib

from instantaudience_server.batch.jobs import JOB_ID
from instantaudience_server.batch.uploads.files import FileStore
from instantaudience_server.batch.uploads.uploading import STORE_SECONDS
from instantaudience_server.clock import Clock
from instantaudience_server.errors import STORE_FAILURES
from instantaudience_server.store.interfaces.jobs import ENDED, Job, JobStore, Phase

SWEEP_SECONDS = 3600.0
"""How often files are deleted that no job needs."""
ABANDONED_MS = 3_600_000
"""How long nothing more has come of a file of which some must have, before it is deleted: its process has died."""


async def sweep(jobs: JobStore, files: FileStore, clock: Clock) -> None:
    """Look for such files again and again. What has no job's name is none of ours."""
    loop = asyncio.get_running_loop()
    while True:
        with contextlib.suppress(*STORE_FAILURES):
            for job_id in filter(JOB_ID.fullmatch, await files.job_ids()):
                job = await jobs.find(job_id, loop.time() + STORE_SECONDS)
                if job is None or job.phase in ENDED or _is_abandoned(job, clock.now_ms()):
                    await files.delete(job_id)
        await asyncio.sleep(SWEEP_SECONDS)


def _is_abandoned(job: Job, now_ms: int) -> bool:
    """Whether a job's file can no longer come to its end."""
    return job.phase is Phase.UPLOADING and job.open_until_ms + ABANDONED_MS < now_ms
