"""Deletes the files that no job needs any more, which processes leave behind that die before they delete them."""

import asyncio
import contextlib
from collections.abc import Mapping

from instantaudience_server.batch.jobs import JOB_ID
from instantaudience_server.batch.uploads.files import FileStore
from instantaudience_server.batch.uploads.uploading import STORE_SECONDS
from instantaudience_server.errors import STORE_FAILURES
from instantaudience_server.store.interfaces.jobs import ENDED, JobStore, Phase

SWEEP_SECONDS = 3600.0
"""The time between sweeps. A file that was being uploaded is deleted when nothing more has come from one sweep to the
next, as its process has died. Times of the upload are not compared with this machine's clock, which may be ahead."""


async def sweep(jobs: JobStore, files: FileStore) -> None:
    """Sweep every `SWEEP_SECONDS`, forever. Objects that are not named like jobs are left alone."""
    coming: Mapping[str, int] = {}
    while True:
        with contextlib.suppress(*STORE_FAILURES):
            coming = await look(jobs, files, coming)
        await asyncio.sleep(SWEEP_SECONDS)


async def look(jobs: JobStore, files: FileStore, came: Mapping[str, int]) -> Mapping[str, int]:
    """Sweep once. Returns job ID → when its upload times out (Unix time in ms), for files that are being uploaded;
    `came` is what the sweep before returned."""
    loop = asyncio.get_running_loop()
    coming: dict[str, int] = {}
    for job_id in filter(JOB_ID.fullmatch, await files.job_ids()):
        job = await jobs.find(job_id, loop.time() + STORE_SECONDS)
        if (
            job is None
            or job.phase in ENDED
            or (job.phase is Phase.UPLOADING and came.get(job_id) == job.open_until_ms)
        ):
            await files.discard(job_id)
        elif job.phase is Phase.UPLOADING:
            coming[job_id] = job.open_until_ms
    return coming
