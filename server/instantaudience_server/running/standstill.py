"""Takes servers out of the way that stand still: the kernel goes on giving them connections, which nobody would answer.

Somebody has stopped them (SIGSTOP, a debugger, a frozen terminal). They are killed, and so started again like any that
has ended. A server that is only busy runs, or waits, and is left alone.
"""

import asyncio
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from instantaudience_server.processes import Child
from instantaudience_server.telemetry import Event

log = structlog.get_logger()

LOOK_SECONDS = 0.5
"""The pause between two looks. Who is found stopped twice in a row is killed: after a second, at most."""
STOPPED = "T"
"""The state of a process that a signal has stopped (proc_pid_stat(5)); a debugger's stop is another."""


async def watch(servers: Callable[[], Iterable[Child]]) -> None:
    """Look forever. Without /proc, nothing is found."""
    if sys.platform != "linux":
        return
    before: set[int] = set()
    while True:
        stopped = {child.pid: child for child in servers() if child.returncode is None and _state(child.pid) == STOPPED}
        for pid in before & stopped.keys():
            log.warning(Event.PROCESS_STANDS_STILL, process=stopped[pid].program.name, pid=pid)
            stopped[pid].kill()
        before = set(stopped)
        await asyncio.sleep(LOOK_SECONDS)


def _state(pid: int) -> str:
    """The process's state; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
