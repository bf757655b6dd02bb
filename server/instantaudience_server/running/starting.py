"""Helps to start servers: makes the directory for their sockets, and waits until they accept calls."""

import asyncio
import contextlib
import fcntl
import os
import resource
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from instantaudience_server.process.processes import Child, StartError

START_SECONDS = 30.0
"""How long a starting worker or gateway may use no processor time before it counts as failed. The start as a whole has
no limit: how long it takes depends on catalog and machine."""
LOOK_SECONDS = 0.02
"""The pause between two checks whether a child is ready."""
MOST_TEMPORARY_BYTES = 64
"""The longest path of the temporary directory: paths of sockets have at most 107 bytes on Linux (unix(7)), and up to 43
follow this one."""


@contextlib.contextmanager
def own_directory() -> Iterator[Path]:
    """Make a temporary directory for the sockets and files that the service's processes share; it is removed at the end
    of the block.

    Until then it is locked, so that systemd-tmpfiles leaves it alone: it deletes what has been in a temporary directory
    for some days (tmpfiles.d(5), "Age"), and processes that start again need the files.

    Raises:
        StartError: the paths of its sockets would be too long, or it would not be where TMPDIR says.
        OSError: it cannot be made.
    """
    temporary = tempfile.gettempdir()
    wanted = os.environ.get("TMPDIR")
    if wanted and Path(wanted).resolve() != Path(temporary).resolve():  # keys are not copied to an unexpected disk
        raise StartError(f"no file can be made in {wanted}, which TMPDIR names: make that directory, or name another")
    if len(os.fsencode(temporary)) > MOST_TEMPORARY_BYTES:
        raise StartError(
            f"the temporary directory {temporary} has too long a path for sockets; set TMPDIR to one of at most "
            f"{MOST_TEMPORARY_BYTES} bytes"
        )
    directory = Path(tempfile.mkdtemp(prefix="instant-audience-", dir=temporary))
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # a file system without such locks
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(descriptor)


async def wait_until(child: Child, ready: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a child is ready.

    Raises:
        StartError: the child has ended, or has used no processor time for `START_SECONDS`.
    """
    done = ""
    try:
        async with asyncio.timeout(START_SECONDS) as limit:
            while not await ready():
                if child.returncode is not None:
                    raise StartError(
                        f"{child.program.name} ended with status {child.returncode}; its last words are above"
                        + _short_of_addresses()
                    )
                if (now_done := _processor_time(child.pid)) != done:
                    done = now_done
                    limit.reschedule(asyncio.get_running_loop().time() + START_SECONDS)
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise StartError(
            f"{child.program.name} has not started, and has done nothing for {START_SECONDS:.0f} s"
        ) from None


def _short_of_addresses() -> str:
    """What may be why a process has ended where its addresses are limited; empty where they are not."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return ""
    return (
        f". A process may have {limit >> 20} MB of addresses (`ulimit -v`, LimitAS), and takes far more of them than "
        "of memory, Envoy 1 GB at once: do not limit them"
    )


def _processor_time(pid: int) -> str:
    """The processor time that a process has used (proc_pid_stat(5): utime, stime); empty where it is unknown."""
    try:
        return " ".join(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])
    except OSError:
        return ""


async def listens(path: Path) -> bool:
    """Whether a process listens on a unix socket."""
    # A gRPC health check would tell more, but would bring gRPC's threads into the supervisor, which forks.
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
