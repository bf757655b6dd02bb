"""Finds processes that were stopped (SIGSTOP, a debugger, a frozen terminal): the kernel still gives them connections,
which they do not answer.

Most are killed, and restarted like any that has ended; a node that has the only copy of its data is continued. A
process that is only busy is not stopped, and is left alone; if its event loop hangs, it ends itself (`end_when_stuck`).
"""

import asyncio
import faulthandler
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import structlog

from instantaudience_server.observation.telemetry import Event

log = structlog.get_logger()

LOOK_SECONDS = 0.5
"""The pause between two checks."""
SERVER_SECONDS = LOOK_SECONDS / 2
"""How long a server may be stopped. It is killed when two checks in a row find it stopped: within a second."""
NODE_SECONDS = 30.0
"""How long an embedded node may be stopped before it is continued. This is long on purpose: operators stop a node to
rehearse an outage, or to copy its files. Nothing that waits for it is lost, and readiness, log and metrics name it from
the first second on.
"""
STOPPED = "T"
"""The state of a process that a signal has stopped (proc_pid_stat(5)); under a debugger it is another."""


STUCK_SECONDS = 60.0
"""An event loop that has not turned for this long is stuck: even on a busy machine, no single step takes as long."""
TURNS = 20
"""How often within `STUCK_SECONDS` the timer of `end_when_stuck` is reset."""


class Watched(NamedTuple):
    """A process, its name for the log, and what to do when it is stopped."""

    name: str
    pid: int
    act: Callable[[], None]


async def watch(processes: Callable[[], Iterable[Watched]], seconds: float = SERVER_SECONDS) -> None:
    """Call `act` of each process that has been stopped for `seconds`; runs forever. Does nothing on systems other than
    Linux."""
    if sys.platform != "linux":
        return
    began: dict[int, float] = {}
    while True:
        stopped = {each.pid: each for each in processes() if _state(each.pid) == STOPPED}
        now = time.monotonic()
        began = {pid: began.get(pid, now) for pid in stopped}
        for pid, each in stopped.items():
            if now - began[pid] >= seconds:
                log.warning(Event.PROCESS_STANDS_STILL, process=each.name, pid=pid)
                each.act()
                del began[pid]
        await asyncio.sleep(LOOK_SECONDS)


async def end_when_stuck() -> None:
    """End the process with status 1, and print tracebacks on standard error, when its event loop has not turned for
    `STUCK_SECONDS`; runs forever. faulthandler's timer needs neither the loop nor Python's lock. Time during which the
    process was paused counts."""
    try:
        while True:
            faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)
            await asyncio.sleep(STUCK_SECONDS / TURNS)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _state(pid: int) -> str:
    """The process's state (proc_pid_stat(5)); empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
