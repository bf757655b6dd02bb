"""Deletes the files that no job needs: of those who died before they could do it."""

import asyncio
import contextlib
from collections.abc import Mapping

from instantaudience_server.batch.jobs import JOB_ID
from instantaudience_server.batch.uploads.files import FileStore
from instantaudience_server.batch.uploads.uploading import STORE_SECONDS
from instantaudience_server.errors import STORE_FAILURES, AudienceError
from instantaudience_server.store.interfaces.jobs import ENDED, JobStore, Phase

SWEEP_SECONDS = 3600.0
"""How often files are deleted that no job needs; of one that was on its way, when nothing has come from one look to the
next: its process has died. No clock says so, as that of who looks may be ahead."""


async def sweep(jobs: JobStore, files: FileStore) -> None:
    """Look for such files again and again. What has no job's name is none of ours."""
    coming: Mapping[str, int] = {}
    while True:
        with contextlib.suppress(*STORE_FAILURES):
            coming = await look(jobs, files, coming)
        await asyncio.sleep(SWEEP_SECONDS)


async def look(jobs: JobStore, files: FileStore, came: Mapping[str, int]) -> Mapping[str, int]:
    """Look once. Tells of the files that are on their way until when more must come (Unix time in ms), by their jobs'
    IDs, as the look before did."""
    loop = asyncio.get_running_loop()
    coming: dict[str, int] = {}
    for job_id in filter(JOB_ID.fullmatch, await files.job_ids()):
        job = await jobs.find(job_id, loop.time() + STORE_SECONDS)
        if (
            job is None
            or job.phase in ENDED
            or (job.phase is Phase.UPLOADING and came.get(job_id) == job.open_until_ms)
        ):
            with contextlib.suppress(AudienceError):  # what may not be deleted keeps no other one from it
                await files.delete(job_id)
        elif job.phase is Phase.UPLOADING:
            coming[job_id] = job.open_until_ms
    return coming
