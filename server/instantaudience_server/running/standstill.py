"""Finds processes that stand still: the kernel goes on giving them connections, which nobody would answer.

Somebody has stopped them (SIGSTOP, a debugger, a frozen terminal). Most are killed, and so started again like any that
has ended; who has the only copy of something goes on. A process that is only busy runs, or waits, and is left alone:
where a piece of work in its event loop comes to no end, it has to end itself.
"""

import asyncio
import faulthandler
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import structlog

from instantaudience_server.telemetry import Event

log = structlog.get_logger()

LOOK_SECONDS = 0.5
"""The pause between two looks."""
SERVER_SECONDS = LOOK_SECONDS / 2
"""A server that is found stopped twice in a row is killed: after a second, at most."""
NODE_SECONDS = 30.0
"""An embedded node that has been stopped for so long goes on. It is not as quick as with servers on purpose: a stopped
node is how an outage is rehearsed, and how its files are copied; nothing that waits for it is lost, and readiness, log
and metrics name it from the first second on.
"""
STOPPED = "T"
"""The state of a process that a signal has stopped (proc_pid_stat(5)); a debugger's stop is another."""


STUCK_SECONDS = 60.0
"""A loop that has not turned for so long is stuck: even on a busy machine, nothing that is done in one go takes as
long."""
TURNS = 20
"""How often within that time it is seen to that the loop turns."""


class Watched(NamedTuple):
    """A process, its name for the log, and what is done about it."""

    name: str
    pid: int
    act: Callable[[], None]


async def watch(processes: Callable[[], Iterable[Watched]], seconds: float = SERVER_SECONDS) -> None:
    """Look forever, and act where one has been stopped for so long. Without /proc, nothing is found."""
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
    """Have the process end with status 1, and say on standard error where it was, when its event loop has not turned
    for `STUCK_SECONDS`. That needs neither the loop nor Python's lock. The time that the process was paused counts."""
    try:
        while True:
            faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)
            await asyncio.sleep(STUCK_SECONDS / TURNS)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _state(pid: int) -> str:
    """The process's state; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
