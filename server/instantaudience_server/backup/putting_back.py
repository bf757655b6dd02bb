"""Restores a backup into a cluster, which may have other nodes, or run another product.

The cluster may have been used since the backup was taken. So all tokens that were issued before become invalid, IDs
that were used since are not given again, and users who were suppressed since stay suppressed.
"""

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from instantaudience_server.backup.connection import Connection, deadline
from instantaudience_server.backup.contents import TOGETHER, Totals
from instantaudience_server.backup.file import BackupError, blocks, check
from instantaudience_server.backup.since_then import (
    note_generations,
    suppress_again,
    with_another_version,
    with_larger_ids,
    with_tokens_revoked,
)
from instantaudience_server.process.clock import Clock
from instantaudience_server.process.threads import Progress, in_thread
from instantaudience_server.store import keys
from instantaudience_server.store.inspection.permissions import RESTORE
from instantaudience_server.store.interfaces.memberships import NEVER
from instantaudience_server.store.whole_keys import Part, decoded

PARTS_AT_ONCE = 500
WRITERS = 4
"""How many lots of parts are written at once."""


KEPT = (keys.CATALOG_IDS, keys.SUPPRESSED_USERS)
"""Beginnings of keys that are merged with what the cluster has, not replaced."""
LAST = (keys.CATALOG_CHANGES, keys.CATALOG_VERSION)
"""The keys that are written last, in this order: they make the catalog a complete one."""
MADE_ANEW = (keys.SUPPRESSING_MEMBERS, keys.SUPPRESSIONS_VERSION, keys.SUPPRESSIONS_DUE)
"""The keys that `suppress_again` writes, instead of those in the file."""


async def put_back(
    connection: Connection, path: Path, clock: Clock, told: Progress, *, over: bool = False
) -> dict[str, Any]:
    """Check the file, then write everything in it that has not expired. With `over`, the cluster may have a catalog:
    what the file has replaces what is there, and the rest stays. A restore that was interrupted can be repeated, as the
    catalog's version is written last.

    Returns how much was restored, and how much had expired (`Totals.counts`), and when the backup was taken. `told`
    gets the progress through the file, once for checking and once for writing.

    Raises:
        BackupError: nothing was written, because the file cannot be used, the cluster has a catalog, its ACL forbids a
            command, or another restore is under way; or another restore has begun meanwhile.
        AudienceError: a part of the cluster did not answer for too long.
        OSError: the file cannot be read.
    """
    one_of_each = {name: slot for slot, name in connection.topology.primaries().items()}
    if forbidden := await connection.restore.forbidden(RESTORE, one_of_each.values()):
        raise BackupError(
            f"the cluster's ACL forbids {', '.join(forbidden)}; docs/deployment.md has the rights that it takes"
        )
    keeping = asyncio.create_task(connection.restore.keep())
    try:
        if not await connection.restore.hold():
            raise BackupError(
                "another restore into this cluster is under way, or was killed less than two minutes ago: "
                "wait for its end"
            )
        if not over and await connection.catalog.version(deadline()):
            raise BackupError(
                "the cluster has a catalog already: put it into an empty one, or over this one, with --overwrite"
            )
        taken = await in_thread(partial(check, path), told, asyncio.CancelledError())
        putting = _PuttingBack(connection, clock)
        for block in blocks(path, told):
            await putting.put_block(list(decoded(block)))
        await suppress_again(connection, clock.now_ms())
        await putting.put_version()
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        await connection.restore.end()
    return {"taken_ms": taken["began_ms"], **putting.totals.counts()}


class _PuttingBack:
    """The state of a restore."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._keys = connection.keys
        self._restore = connection.restore
        self._clock = clock
        self._has_begun_catalog = False
        self._former_generation = 0
        self._last: dict[bytes, Part] = {}
        self.totals = Totals()

    async def put_block(self, parts: Sequence[Part]) -> None:
        """Write the parts of a block: those in `TOGETHER` in order, the others concurrently."""
        _check_turn(await self._restore.hold())
        now_ms = self._clock.now_ms()
        apart = [part for part in parts if part.values and part.key[:1] not in TOGETHER]
        todo: Iterator[Sequence[Part]] = (
            apart[start : start + PARTS_AT_ONCE] for start in range(0, len(apart), PARTS_AT_ONCE)
        )

        async def write() -> None:
            for lot in todo:
                await self._keys.put_back(lot, now_ms)

        await asyncio.gather(*(write() for _ in range(WRITERS)))
        for part in parts:
            if part.key[:1] in TOGETHER and part.key not in MADE_ANEW:
                await self._put_together(part, now_ms)
            self.totals.add(part, now_ms)

    async def put_version(self) -> None:
        """Write the catalog's version, if the file has one, and mark the catalog as complete."""
        for part in with_another_version([self._last[key] for key in LAST if key in self._last]):
            _check_turn(await self._restore.hold_catalog())
            await self._keys.put_back([part], self._clock.now_ms())
        await self._restore.end_catalog()

    async def _put_together(self, part: Part, now_ms: int) -> None:
        if self._has_begun_catalog:
            _check_turn(await self._restore.hold_catalog())
        else:
            _check_turn(await self._restore.begin_catalog())
            self._has_begun_catalog = True
            self._former_generation = await note_generations(self._keys, now_ms)
        if not part.values:
            if not part.key.startswith(KEPT):
                await self._keys.forget([part.key])
        elif part.key in LAST:
            self._last[part.key] = part
        else:
            if part.key == keys.CATALOG_USERS:
                part = with_tokens_revoked(part, now_ms, self._former_generation)
            elif part.key == keys.CATALOG_IDS:
                part = await with_larger_ids(self._keys, part)
            elif part.key.startswith(keys.SUPPRESSED_USERS) and part.end_ms > now_ms:
                part = part._replace(end_ms=NEVER)  # the set's own expiry may be later; `suppress_again` sets it
            await self._keys.put_back([part], now_ms)


def _check_turn(is_ours: bool) -> None:
    if not is_ours:
        raise BackupError("it stood still for too long, and another restore into this cluster has begun")
