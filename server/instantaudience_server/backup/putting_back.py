"""Puts a backup into a cluster, which may have another shape, or be another product."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from instantaudience_server.backup.connection import Connection
from instantaudience_server.backup.contents import TOGETHER, Totals
from instantaudience_server.backup.file import BackupError, Told, blocks, check
from instantaudience_server.clock import Clock
from instantaudience_server.store.whole_keys import Part, decoded

PARTS_AT_ONCE = 500
WRITERS = 4
"""Lots of parts that are under way at once."""


async def put_back(
    connection: Connection, path: Path, clock: Clock, told: Told, *, over: bool = False
) -> dict[str, Any]:
    """Check the file, then write everything that has not ended. `over`: into a cluster that has a catalog, too; what
    the file has replaces what is there, and the rest stays. Cut short, it may be done again: the catalog comes last.

    Returns how much was put back, and how much had ended. `told` is told how much of the file is done, for each pass.

    Raises:
        BackupError: the file cannot be used, or the cluster has a catalog; nothing was written.
        AudienceError: a part of the cluster was away for too long.
        OSError: the file cannot be read.
    """
    if not over and await connection.catalog.version(asyncio.get_running_loop().time() + 60):
        raise BackupError(
            "the cluster has a catalog already: put it into an empty one, or over this one, with --overwrite"
        )
    taken = await asyncio.to_thread(check, path, told)
    totals = Totals()
    for block in blocks(path, told):
        await _put_block(connection, list(decoded(block)), clock.now_ms(), totals)
    return {"taken_ms": taken["began_ms"], **totals.counts()}


async def _put_block(connection: Connection, parts: Sequence[Part], now_ms: int, totals: Totals) -> None:
    """Parts that belong together go one after the other, the others side by side."""
    together = [part for part in parts if part.key[:1] in TOGETHER]
    apart = [part for part in parts if part.values and part.key[:1] not in TOGETHER]
    todo: Iterator[Sequence[Part]] = (
        apart[start : start + PARTS_AT_ONCE] for start in range(0, len(apart), PARTS_AT_ONCE)
    )

    async def write() -> None:
        for lot in todo:
            await connection.keys.put_back(lot, now_ms)

    await asyncio.gather(*(write() for _ in range(WRITERS)))
    for part in together:
        if part.values:
            await connection.keys.put_back([part], now_ms)
        else:
            await connection.keys.forget([part.key])
    for part in parts:
        totals.add(part, now_ms)
