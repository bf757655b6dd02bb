"""Keeps a worker's catalog up to date: loads it from the cluster once, and then follows the changes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from instantaudience_server.catalog.catalog import Catalog, Member, Segment
from instantaudience_server.catalog.segment_table import SegmentTable
from instantaudience_server.errors import AudienceError, Reason, unavailable
from instantaudience_server.observation.metrics import CATALOG_CURRENT_TIMESTAMP, CATALOG_RELOADS, CATALOG_STALE
from instantaudience_server.observation.telemetry import Event
from instantaudience_server.process.garbage import spare_all
from instantaudience_server.process.steps import in_steps
from instantaudience_server.store.interfaces.catalog import CatalogStore, Change, Kind, Record, Version

log = structlog.get_logger()

FOLLOW_SECONDS = 0.2
"""The pause between two reads of changes, so that a change is known everywhere well within a second (contract,
"/segment")."""
ANSWER_SECONDS = 1.0
"""How long the cluster may take for one answer."""
PAGE_SECONDS = 10.0
"""How long the cluster may take for a page of the whole catalog; if one fails, loading starts again."""
RECORDS_AT_ONCE = 500
"""How many records are put into a catalog before other calls run: about 2 ms."""
UNSPARED_RECORDS = 2000
"""How many members and users come before the garbage collector is kept from them, which takes about 2 ms. It would
look at all of them each time: 0.1 s for 100,000 members. (Segments are no objects that it looks at.)"""

FindMember = Callable[[int, float], Awaitable[Member | None]]
"""See `CatalogFeed.member` and `current_member`."""


@dataclass
class _Copy:
    """A catalog, its version, and `CatalogFeed.current_until`."""

    catalog: Catalog
    version: Version = b""
    current_until: float = 0.0


class CatalogFeed:
    """Fills `catalog` from the cluster. While the cluster does not answer, the catalog stays as it is."""

    def __init__(self, store: CatalogStore, catalog: Catalog) -> None:
        self._store = store
        self._served = _Copy(catalog)
        self._lock = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._is_stale = False
        self._unspared = 0

    @property
    def catalog(self) -> Catalog:
        """The catalog that this fills."""
        return self._served.catalog

    @property
    def version(self) -> Version:
        """The version of the cluster's catalog that `catalog` has."""
        return self._served.version

    @property
    def current_until(self) -> float:
        """A time of the event loop's clock, in seconds, up to which all changes are known."""
        return self._served.current_until

    async def load(self) -> None:
        """Load the whole catalog. While the node that has it does not answer, log that and try again."""
        while True:
            try:
                async with self._lock:
                    await self._load()
                break
            except AudienceError as error:
                self._report(stale=True, error=error.message)
            await asyncio.sleep(FOLLOW_SECONDS)
        self._report(stale=False)

    async def catch_up(self, deadline: float) -> None:
        """Apply all changes made before this call. `deadline` is a time of the event loop's clock, in seconds, until
        which the cluster is asked again if it does not answer.

        Raises:
            AudienceError: UNAVAILABLE, also if there are too many changes to apply by then.
        """
        called = self._loop.time()
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    if await self._knows_all_before(called):
                        return
                    await asyncio.sleep(FOLLOW_SECONDS)
        except TimeoutError:
            raise unavailable("the catalog's changes did not come in time; nothing is lost") from None

    async def _knows_all_before(self, called: float) -> bool:
        """Read the changes once, unless all made before `called` are known. False: the cluster did not answer.

        Raises:
            AudienceError: UNAVAILABLE, the catalog has to be loaded again; any other error of the store.
        """
        async with self._lock:
            # The task that had the lock before may have read the changes late enough for this call.
            if self.current_until > called:
                return True
            try:
                is_followed = await self._take_changes(self._served)
            except AudienceError as error:
                if error.reason is not Reason.UNAVAILABLE:
                    raise
                return False
        if not is_followed:
            raise unavailable("the catalog is about to be read anew; nothing is lost")
        return True

    async def member(self, member_id: int, deadline: float) -> Member | None:
        """A member, even if another worker has only just created it; None: there is none.

        Raises:
            AudienceError: as `catch_up`.
        """
        if member_id not in self.catalog.members:
            await self.catch_up(deadline)
        return self.catalog.members.get(member_id)

    async def current_member(self, member_id: int, deadline: float) -> Member | None:
        """A member, including changes that any worker made before this call, which `catalog` then has, too; None: there
        is none.

        Raises:
            AudienceError: as `catch_up`.
        """
        await self.catch_up(deadline)
        return self.catalog.members.get(member_id)

    async def segment_by_code(self, member_id: int, code: str, deadline: float) -> Segment | None:
        """A member's segment with this code (case matters), including changes that any worker made before this call.

        Raises:
            AudienceError: as `catch_up`.
        """
        await self.catch_up(deadline)
        return self.catalog.segment_by_code(member_id, code)

    async def follow(self) -> None:
        """Apply changes as they come, forever. On any failure, the worker goes on with what it knows, and logs that the
        catalog is stale."""
        while True:
            try:
                async with self._lock:
                    if not await self._take_changes(self._served):
                        await self._load()
                        CATALOG_RELOADS.inc()
                self._report(stale=False)
            except AudienceError as error:
                self._report(stale=True, error=error.message)
            except Exception as defect:
                self._report(stale=True, exc_info=defect)
            await asyncio.sleep(FOLLOW_SECONDS)

    def _report(self, *, stale: bool, **why: str | Exception) -> None:
        """Set the metric, and log a change; `why` is for the log: an `error`, or the `exc_info` of a defect."""
        CATALOG_STALE.set(stale)
        if stale and not self._is_stale:
            log.warning(Event.CATALOG_STALE, **why)
        elif self._is_stale and not stale:
            log.info(Event.CATALOG_CURRENT)
        self._is_stale = stale

    async def _load(self) -> None:
        """Build a new catalog beside the one that is served, and replace that when it is complete.

        If the cluster has no version although this catalog has one, a backup is being restored, which writes the
        version last.

        Raises:
            AudienceError: UNAVAILABLE, also in that case.
        """
        while True:
            version = await self._store.version(self._loop.time() + ANSWER_SECONDS)
            if self._served.version and not version:
                raise unavailable("the catalog has gone, or a backup is being put back")
            loaded = _Copy(await self._read(), version)
            if await self._take_changes(loaded):
                break
        self.catalog.replace(loaded.catalog)
        self._served = _Copy(self.catalog, loaded.version, loaded.current_until)

    async def _read(self) -> Catalog:
        """Read all objects, each in some state that it had since this began. Other calls run in between."""
        segments = SegmentTable()
        catalog = Catalog(segments=segments)
        async for kind, page in self._store.load(PAGE_SECONDS):
            async for records in in_steps(page, RECORDS_AT_ONCE):
                if kind is Kind.SEGMENT:
                    segments.add(records)
                else:
                    catalog.put(Record(kind, data) for data in records)
                    self._spare(len(records))
        await asyncio.to_thread(segments.index)
        return catalog

    async def _take_changes(self, copy: _Copy) -> bool:
        """Apply all changes made so far. False: they are no longer kept, and the catalog has to be loaded again."""
        while True:
            asked = self._loop.time()
            following = await self._store.changes(copy.version, asked + ANSWER_SECONDS)
            if following is None:
                return False
            if following.changes:
                _apply(copy.catalog, following.changes)
                self._spare(sum(change.kind is not Kind.SEGMENT for change in following.changes))
                copy.version = following.changes[-1].version
            if following.are_all:
                copy.current_until = asked
                CATALOG_CURRENT_TIMESTAMP.set_to_current_time()
                return True

    def _spare(self, count: int) -> None:
        """Keep the garbage collector from members and users, when enough of them have come; `count` have now."""
        self._unspared += count
        if self._unspared >= UNSPARED_RECORDS:
            self._unspared = 0
            spare_all()


def _apply(catalog: Catalog, changes: Sequence[Change]) -> None:
    """Apply the last change of each object."""
    last = {(change.kind, change.object_id): change.data for change in changes}
    catalog.put(Record(kind, data) for (kind, _), data in last.items() if data is not None)
    for (kind, object_id), data in last.items():
        if data is None:
            catalog.remove(kind, object_id)
