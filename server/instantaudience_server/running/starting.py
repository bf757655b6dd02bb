"""What a start needs: a directory, and time until servers take calls; how that is seen."""

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from instantaudience_server.processes import Child, StartError

START_SECONDS = 30.0
"""How long a worker or the gateway that starts may do nothing; how long it works, catalog and machine decide."""
LOOK_SECONDS = 0.02
"""The pause between two looks whether one has."""
MOST_TEMPORARY_BYTES = 64
"""How long the path of the temporary directory may be: Linux takes sockets whose paths have 107 bytes (unix(7)), and
ours have up to 43 beyond it."""


def own_directory() -> Path:
    """Make a directory for sockets, and for what the service's processes tell each other.

    Raises:
        StartError: its sockets would have paths that are too long, or it would not be where TMPDIR says.
        OSError: it cannot be made.
    """
    temporary = tempfile.gettempdir()
    wanted = os.environ.get("TMPDIR")
    if wanted and Path(wanted).resolve() != Path(temporary).resolve():  # not every disk may have the copies of keys
        raise StartError(f"no file can be made in {wanted}, which TMPDIR names: make that directory, or name another")
    if len(os.fsencode(temporary)) > MOST_TEMPORARY_BYTES:
        raise StartError(
            f"the temporary directory {temporary} has too long a path for sockets; set TMPDIR to one of at most "
            f"{MOST_TEMPORARY_BYTES} bytes"
        )
    return Path(tempfile.mkdtemp(prefix="instant-audience-", dir=temporary))


async def wait_until(child: Child, ready: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a child is ready.

    Raises:
        StartError: it has ended, or has done nothing for `START_SECONDS`.
    """
    done = ""
    try:
        async with asyncio.timeout(START_SECONDS) as limit:
            while not await ready():
                if child.returncode is not None:
                    raise StartError(
                        f"{child.program.name} ended with status {child.returncode}; its last words are above"
                    )
                if (now_done := _processor_time(child.pid)) != done:
                    done = now_done
                    limit.reschedule(asyncio.get_running_loop().time() + START_SECONDS)
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise StartError(
            f"{child.program.name} has not started, and has done nothing for {START_SECONDS:.0f} s"
        ) from None


def _processor_time(pid: int) -> str:
    """What the process has taken of it (proc_pid_stat(5): utime, stime); empty where nobody knows."""
    try:
        return " ".join(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])
    except OSError:
        return ""


async def listens(path: Path) -> bool:
    """Whether somebody listens on a unix socket."""
    # A connection is enough of a sign, and keeps gRPC's threads out of the process that forks.
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
