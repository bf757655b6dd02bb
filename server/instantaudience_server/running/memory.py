"""Memory that a flood has taken goes back to the machine when it is over.

Failed calls leave reference cycles behind, and with them what they had read, until the garbage collector looks: rarely,
as it stands still for that. glibc keeps what was freed below what is still in use. (In host `envoy` all of the process
has Envoy's tcmalloc, which gives back by itself: `envoy/config.py`.)
"""

import asyncio
import ctypes
import gc
import os
import time
from pathlib import Path

LOOK_SECONDS = 5.0
"""How often a worker looks what it holds."""
GROWTH_BYTES = 16 * 2**20
"""How far a worker may grow beyond the least that it has held before it gives memory back. After an attempt that gives
back less than this, the next one waits longer."""
MOST_LOOKS = 12
"""How many looks it waits, at most, between attempts to give back what is in use."""
BUSY = 0.25
"""Above this share of a core it has no time."""

_STATM = Path("/proc/self/statm")


async def give_back(look_seconds: float = LOOK_SECONDS) -> None:
    """Collect garbage and return free memory when a worker has grown and has become quiet; never ends, unless nothing
    tells what it holds: another system has no /proc, nor has every container."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return
    try:
        least, used = _resident_bytes(), time.process_time()
    except FileNotFoundError:
        return
    pause = wait = 0
    while True:
        await asyncio.sleep(look_seconds)
        before, used = used, time.process_time()
        resident = _resident_bytes()
        least = min(least, resident)
        if resident <= least + GROWTH_BYTES:
            pause = wait = 0
        elif used - before < BUSY * look_seconds:
            if wait:
                wait -= 1
                continue
            gc.collect()
            trim(0)
            # What is in use now may not be later: there is another attempt, after twice as many looks each time.
            in_use = _resident_bytes() > resident - GROWTH_BYTES
            pause = min(2 * pause + 1, MOST_LOOKS) if in_use else 0
            wait = pause


def _resident_bytes() -> int:
    """What of this process is in memory (proc(5))."""
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
