"""Resources of processes, from /proc."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Size(NamedTuple):
    """Resources of a process: resident memory in bytes, open file descriptors, threads."""

    resident_bytes: int
    descriptors: int
    threads: int


def tree(pid: int) -> set[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for child, fields in _stats():
        children.setdefault(int(fields[1]), []).append(child)
    found, unseen = {pid}, [pid]
    while unseen:
        below = children.get(unseen.pop(), [])
        found.update(below)
        unseen.extend(below)
    return found


def processor_seconds(pids: Iterable[int]) -> float:
    """CPU time of processes so far, including their terminated children."""
    wanted = set(pids)
    return sum(sum(map(int, fields[11:15])) for pid, fields in _stats() if pid in wanted) / TICKS_PER_SECOND


def resident_bytes(pids: Iterable[int]) -> int:
    """Resident memory of processes; shared memory is counted in each of them."""
    wanted = set(pids)
    return sum(int(fields[21]) for pid, fields in _stats() if pid in wanted) * PAGE_BYTES


def sizes(pids: Iterable[int]) -> dict[int, Size]:
    """The resources of each process that is still running."""
    wanted = set(pids)
    found = {}
    for pid, fields in _stats():
        if pid in wanted:
            try:
                descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
            except OSError:
                continue
            found[pid] = Size(int(fields[21]) * PAGE_BYTES, descriptors, int(fields[17]))
    return found


def name(pid: int) -> str:
    """What a process runs: a Python module, or a program."""
    program, *arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    if "-m" in arguments:
        module, *words = arguments[arguments.index("-m") + 1 :]
        program = module.removeprefix("instantaudience_server.")
        return f"{program} {words[0]}" if program == "running" else program  # it is told what to run
    return Path(program).name


def _stats() -> Iterator[tuple[int, list[str]]]:
    """The fields of each process's `stat` from the third on (proc(5))."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue
            yield int(entry.name), text.rpartition(")")[2].split()
