"""What a worker gives back: in a process of its own, whose memory nothing else uses."""

import subprocess
import sys
from pathlib import Path

import pytest
from instantaudience_server.running.machine import memory
from support.service.processes import needs_proc

pytestmark = pytest.mark.process

PROGRAM = """
import asyncio, gc
from instantaudience_server.running.machine.memory import _resident_bytes, give_back

class Node:
    def __init__(self, size):
        self.body, self.itself = bytes(size), self

async def main():
    gc.set_threshold(10**9)
    giving_back = asyncio.create_task(give_back(0.1))
    await asyncio.sleep(0.2)
    start, kept = _resident_bytes(), []
    for number in range(60_000):
        node = Node(2000)
        if number % 100 == 0:
            kept.append(node)
    peak = left = _resident_bytes() - start
    for _ in range(300):
        await asyncio.sleep(0.1)
        left = _resident_bytes() - start
        if left < 0.2 * peak:
            break
    print(peak, left)

asyncio.run(main())
"""


@needs_proc
def test_a_quiet_worker_gives_back_what_it_does_not_need() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    peak, left = map(int, run.stdout.split())
    assert peak > 100 * 2**20
    assert left < 0.2 * peak


async def test_where_nothing_tells_what_a_worker_holds_it_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without /proc, each second had a defect of it in the log."""
    monkeypatch.setattr(memory, "_STATM", tmp_path / "statm")
    await memory.give_back()
