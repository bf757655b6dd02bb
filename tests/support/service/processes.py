"""Which processes a service consists of, as the kernel sees them (proc(5))."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


class Process(NamedTuple):
    """A process; `started` (ticks since boot) tells it from a later one with the same ID."""

    pid: int
    started: int
    command: str

    @property
    def alive(self) -> bool:
        """Whether it runs still; one that only waits for its parent to take note does not."""
        stat = _stat(self.pid)
        return stat is not None and int(stat[19]) == self.started and stat[0] not in {"Z", "X"}


def descendants(pid: int) -> list[Process]:
    """The children of a process, their children, and so on."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            children.setdefault(int(stat[1]), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            waiting.append(child)
            with contextlib.suppress(OSError, TypeError):
                command = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append(Process(child, int(_stat(child)[19]), command))  # type: ignore[index]
    return found


def hashers() -> list[Process]:
    """What hashes passwords for this process: services of other suites have their own."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    ours = [process for process in descendants(os.getpid()) if str(process.pid) in children]
    return [process for process in ours if "instantaudience_server.passwords.hasher" in process.command]


async def all_end(processes: list[Process], seconds: float) -> bool:
    """Whether every one of them has ended before so many seconds are over."""
    deadline = time.monotonic() + seconds
    while any(process.alive for process in processes):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


def _stat(pid: int | str) -> list[str] | None:
    """The fields of /proc/<pid>/stat from the third on: state, parent, … A thread's are in `<pid>/task/<thread>`."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return None


@contextlib.contextmanager
def standing_still(*pids: int) -> Iterator[None]:
    """Stop processes, and let them go on at the end.

    Their other threads run until the one has had its turn that takes the signal: a busy machine has them do much.
    """
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        while any(_threads_run(pid) for pid in pids):
            time.sleep(0.001)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _threads_run(pid: int) -> bool:
    """Whether a thread of a process is not stopped yet."""
    with contextlib.suppress(OSError):
        threads = [_stat(f"{pid}/task/{thread.name}") for thread in Path(f"/proc/{pid}/task").iterdir()]
        return any(stat and stat[0] in {"R", "S", "D"} for stat in threads)
    return False


def not_ignoring_ctrl_c() -> None:
    """Tests in the background of a shell ignore it, and so would what they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
