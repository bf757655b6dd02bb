"""Returns memory to the machine after a burst of calls.

Failed calls leave reference cycles behind, and with them the requests they had read, until the garbage collector runs:
rarely, because it stops the worker meanwhile. glibc does not return freed memory below blocks that are still in use
unless asked.
"""

import asyncio
import ctypes
import gc
import os
import time
from pathlib import Path

LOOK_SECONDS = 5.0
"""How often a worker checks how much memory it has."""
GROWTH_BYTES = 16 * 2**20
"""How much more than its minimum so far a worker may have before it returns memory. After an attempt that returns less
than this, the next one waits longer."""
MOST_LOOKS = 12
"""The most checks between two such attempts."""
BUSY = 0.25
"""A worker that uses more than this share of a core is too busy to return memory."""

_STATM = Path("/proc/self/statm")


async def give_back(look_seconds: float = LOOK_SECONDS) -> None:
    """Collect garbage and return free memory when the process has grown and become quiet; runs forever. Returns at once
    on a system without `malloc_trim` or /proc."""
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
            # What is in use now may be free later: try again, after about twice as many checks each time.
            in_use = _resident_bytes() > resident - GROWTH_BYTES
            pause = min(2 * pause + 1, MOST_LOOKS) if in_use else 0
            wait = pause


def _resident_bytes() -> int:
    """The resident set size of this process (proc(5))."""
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
