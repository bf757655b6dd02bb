"""Takes a backup of a cluster, which may be written to meanwhile.

The backup has everything that was acknowledged before it began and did not change while it ran. Of a user that changed
meanwhile, it has the state before or after each change. The catalog is as it was at one moment.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from instantaudience_server.backup.connection import Connection, deadline
from instantaudience_server.backup.contents import TOGETHER, TOGETHER_IN, Totals, sort_of
from instantaudience_server.backup.file import BackupError, Writer
from instantaudience_server.process.clock import Clock
from instantaudience_server.process.threads import Progress
from instantaudience_server.store import keys
from instantaudience_server.store.keys import SLOTS, key_slot
from instantaudience_server.store.whole_keys import Kind, Part, encoded

SLOTS_AT_ONCE = 64
"""How many slots' keys are listed together."""
KEYS_AT_ONCE = 500
READERS = 4
"""How many lots of keys are read at once."""
ATTEMPTS = 5
"""How often the catalog is read while it keeps changing."""


async def take(connection: Connection, path: Path, clock: Clock, told: Progress) -> dict[str, Any]:
    """Write a backup to a file, which appears only when it is complete. Returns what it holds, when it was taken, and
    its size. `told` gets how many of the slots are done.

    Raises:
        BackupError: slots kept moving, the catalog kept changing, or a restore has left a partial catalog.
        AudienceError: a part of the cluster did not answer for too long.
        OSError: the file cannot be written.
    """
    with Writer(path) as writer:
        taking = _Taking(connection, writer)
        began_ms = clock.now_ms()
        await taking.read_slots(told)
        await taking.read_together()
        holds = {"began_ms": began_ms, "ended_ms": clock.now_ms(), **taking.totals.counts()}
        size = writer.finish(holds)
        return {**holds, "bytes": size}


class _Taking:
    """The state of a backup that is being taken."""

    def __init__(self, connection: Connection, writer: Writer) -> None:
        self._keys, self._catalog, self._topology, *_ = connection
        self._writer = writer
        self.totals = Totals()

    async def read_slots(self, told: Progress) -> None:
        """Read the keys that are spread over all slots. Slots that have another owner afterwards are read again,
        as keys may have been missed while they migrated: for as long as any part of the cluster may be away."""
        left: Sequence[int] = range(SLOTS)
        until: float | None = None
        while left:
            await self._topology.refresh()
            owners = self._topology.primaries()
            for start in range(0, len(left), SLOTS_AT_ONCE):
                names = await self._keys.names(left[start : start + SLOTS_AT_ONCE])
                await self._read_keys(names, again=until is not None)
                told(SLOTS - len(left) + min(start + SLOTS_AT_ONCE, len(left)), SLOTS)
            await self._topology.refresh()
            now = self._topology.primaries()
            left = [slot for slot in range(SLOTS) if owners.get(slot) != now.get(slot)]
            if until is None:
                until = deadline()
            elif left and asyncio.get_running_loop().time() > until:
                raise BackupError("slots were moved all the time: take it when nobody moves any")

    async def read_together(self) -> None:
        """Read the keys in `TOGETHER`, all of them again if the catalog has changed meanwhile; a restore uses what was
        read last. The keys are listed again too, as the first object of a kind creates one."""
        for _ in range(ATTEMPTS):
            before = await self._version()
            names = await self._keys.names(TOGETHER_IN)
            if keys.CATALOG_PARTIAL in names:
                raise BackupError("the cluster has a part of a catalog: take it when the restore into it has ended")
            await self._read_whole(sorted(name for name in names if sort_of(name) in TOGETHER.values()))
            if await self._version() == before:
                return
        raise BackupError("the catalog was changed all the time: take it when nobody changes it")

    async def _version(self) -> bytes:
        return await self._catalog.version(deadline())

    async def _read_keys(self, names: Sequence[bytes], *, again: bool) -> None:
        lots: defaultdict[Kind, list[bytes]] = defaultdict(list)
        for name in names:
            sort = sort_of(name)
            if sort is not None and sort.kind is not None:
                lots[sort.kind].append(name)
        if again:
            for name in {key_slot(name): name for found in lots.values() for name in found}.values():
                self._add(Part(Kind.HASH, name, 0, ()))
        todo = iter([(kind, lot) for kind, found in lots.items() for lot in _lots(found)])

        async def read() -> None:
            for kind, lot in todo:
                await self._read(kind, lot)

        await asyncio.gather(*(read() for _ in range(READERS)))

    async def _read_whole(self, names: Sequence[bytes]) -> None:
        by_kind: defaultdict[Kind, list[bytes]] = defaultdict(list)
        for name, kind in zip(names, await self._keys.kinds(names), strict=True):
            if kind is not None:
                by_kind[kind].append(name)
                self._add(Part(kind, name, 0, ()))
        for kind, found in by_kind.items():
            await self._read(kind, found)

    async def _read(self, kind: Kind, names: Sequence[bytes]) -> None:
        async for parts in self._keys.read(kind, names):
            for part in parts:
                self._add(part)

    def _add(self, part: Part) -> None:
        """Write a part; an empty one announces that its key, or slot, follows anew (see `Totals`)."""
        self._writer.add(encoded(part))
        self.totals.add(part)


def _lots(names: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (names[start : start + KEYS_AT_ONCE] for start in range(0, len(names), KEYS_AT_ONCE))
