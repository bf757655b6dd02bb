"""How long a server may take until it takes calls, and how that is seen."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from instantaudience_server.processes import Child, StartError

START_SECONDS = 30.0
"""How long a worker or the gateway may take to start."""
LOOK_SECONDS = 0.02
"""The pause between two looks whether one has."""


async def wait_until(child: Child, ready: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a child is ready.

    Raises:
        StartError: it has ended, or takes longer than `START_SECONDS`.
    """
    try:
        async with asyncio.timeout(START_SECONDS):
            while not await ready():
                if child.returncode is not None:
                    raise StartError(
                        f"{child.program.name} ended with status {child.returncode}; its last words are above"
                    )
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise StartError(f"{child.program.name} has not started within {START_SECONDS:.0f} s") from None


async def listens(path: Path) -> bool:
    """Whether somebody listens on a unix socket."""
    # A connection is enough of a sign, and keeps gRPC's threads out of the process that forks.
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
