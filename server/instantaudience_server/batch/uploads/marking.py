"""What tells upload URLs that were handed out from those of strangers, where the gateway can look at it.

Who has no URL does not know the marks either: the gateway need ask nobody, and strangers have a share of their own
(docs/adr/0027-batch-service.md).
"""

import asyncio
import contextlib
from pathlib import Path

from instantaudience_server import private_files
from instantaudience_server.batch.uploads.uploading import STORE_SECONDS
from instantaudience_server.clock import Clock
from instantaudience_server.errors import STORE_FAILURES
from instantaudience_server.store.interfaces.jobs import JobStore, Marks

LOOK_SECONDS = 10.0
"""How often the cluster is asked: one that has lost what it held has other marks."""


async def keep_marks(jobs: JobStore, clock: Clock, file: Path) -> None:
    """Write the marks of the time into a file, one a line, and again when they have changed. Several processes may.

    While the cluster does not answer, or refuses to, what was written stays. Raises OSError where it cannot be written.
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
