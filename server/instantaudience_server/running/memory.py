"""Memory that a flood has taken goes back to the machine when it is over.

Failed calls leave reference cycles behind, and with them what they had read, until the garbage collector looks: rarely,
as it stands still for that. glibc keeps what was freed below what is still in use. (In host `envoy` all of the process
has Envoy's tcmalloc, which gives back by itself: `envoy/config.py`.)
"""

import asyncio
import ctypes
import gc
import os
import sys
import time
from pathlib import Path

LOOK_SECONDS = 5.0
"""How often a worker looks what it holds."""
GROWTH_BYTES = 16 * 2**20
"""What it may hold beyond the least that it has held, and what is worth looking again."""
BUSY = 0.25
"""Above this share of a core it has no time."""

_STATM = Path("/proc/self/statm")


async def give_back(look_seconds: float = LOOK_SECONDS) -> None:
    """Collect garbage and return free memory when a worker has grown and has become quiet; never ends."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None or sys.platform != "linux":
        return
    least, used = _resident_bytes(), time.process_time()
    while True:
        await asyncio.sleep(look_seconds)
        before, used = used, time.process_time()
        resident = _resident_bytes()
        if resident > least + GROWTH_BYTES and used - before < BUSY * look_seconds:
            gc.collect()
            trim(0)
            left = _resident_bytes()
            if left > resident - GROWTH_BYTES:
                least = left  # It is in use; else there may be more to come.
        else:
            least = min(least, resident)


def _resident_bytes() -> int:
    """What of this process is in memory (proc(5))."""
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
