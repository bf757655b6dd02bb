"""Writes the marks of upload URLs into a file; by them, the gateway tells URLs that were handed out from invented ones.

So the gateway need not ask the service, and can give uploads to invented URLs a share of their own
(docs/adr/0027-batch-service.md).
"""

import asyncio
import contextlib
from pathlib import Path

from instantaudience_server.batch.uploads.uploading import STORE_SECONDS
from instantaudience_server.errors import STORE_FAILURES
from instantaudience_server.process import private_files
from instantaudience_server.process.clock import Clock
from instantaudience_server.store.interfaces.jobs import JobStore, Marks

LOOK_SECONDS = 10.0
"""How often the marks are read from the cluster; they also change if the cluster has lost its data."""


async def keep_marks(jobs: JobStore, clock: Clock, file: Path) -> None:
    """Write the current marks into a file, one on each line, and again when they have changed; runs forever. Several
    processes may do so at once. While the cluster does not answer, or refuses to, the file stays as it is.

    Raises:
        OSError: the file cannot be written.
    """
    loop = asyncio.get_running_loop()
    written: Marks | None = None
    while True:
        with contextlib.suppress(*STORE_FAILURES):
            marks = await jobs.marks(clock.now_ms(), loop.time() + STORE_SECONDS)
            if marks != written:
                private_files.write(file, "".join([f"{each}\n" for each in marks]))
                written = marks
        await asyncio.sleep(LOOK_SECONDS)
