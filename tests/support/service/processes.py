"""The processes of a service, as the kernel reports them (proc(5))."""

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
    """A process; `started` (ticks since boot) distinguishes it from a later one with the same ID."""

    pid: int
    started: int
    command: str

    @property
    def alive(self) -> bool:
        """Whether the process is running, and not a zombie."""
        stat = _stat(self.pid)
        return stat is not None and int(stat[19]) == self.started and stat[0] not in {"Z", "X"}


def descendants(pid: int) -> list[Process]:
    """The descendants of a process."""
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
    """The password hashers of this process; services of other suites have their own."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    ours = [process for process in descendants(os.getpid()) if str(process.pid) in children]
    return [process for process in ours if "instantaudience_server.passwords.hasher" in process.command]


async def all_end(processes: list[Process], seconds: float) -> bool:
    """Whether all of them have ended within this many seconds."""
    deadline = time.monotonic() + seconds
    while any(process.alive for process in processes):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


def _stat(pid: int | str) -> list[str] | None:
    """The fields of /proc/<pid>/stat from the third on: state, parent, … Those of a thread are in
    `<pid>/task/<thread>`."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return None


@contextlib.contextmanager
def standing_still(*pids: int) -> Iterator[None]:
    """Stop processes, and continue them at the end.

    Waits until all threads have stopped: on a busy machine, they may run for a while before the signal is handled.
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
    """Restore SIGINT: tests in the background of a shell ignore it, which child processes would inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
