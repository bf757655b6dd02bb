"""Imports the catalog of `--catalog` or `--demo` into the cluster, before the workers start."""

import asyncio
import time
from collections.abc import Callable

import structlog
from pydantic import SecretStr

from instantaudience_server.catalog.files.file import DEMO, CatalogEntries, CatalogError, read_catalog
from instantaudience_server.catalog.files.seeding import seed
from instantaudience_server.errors import AudienceError
from instantaudience_server.observation.telemetry import Event
from instantaudience_server.passwords.hasher import hash_password
from instantaudience_server.process.clock import SystemClock
from instantaudience_server.process.threads import Progress, in_thread
from instantaudience_server.settings import CONNECT_TIMEOUT_SECONDS, Settings
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.cluster.topology import Topology, needed_to_start
from instantaudience_server.store.interfaces.catalog import CatalogStore

log = structlog.get_logger()

PENDING_BYTES = 64 * 2**20
"""The most bytes of commands that wait for the cluster."""
STORE_SECONDS = 30.0
"""How long a node may leave commands unanswered."""
SECONDS_BETWEEN_PROGRESS = 2.0
MOST_LEFT_OUT = 10
"""How many entries that are left out are named in the log."""
RETRY_SECONDS = 1.0
"""The pause before the node that has the catalog is asked again."""


class FirstCatalog:
    """The catalog in the file that the settings name; without one, nothing is imported.

    `progress` gets messages for people about steps that take long.
    """

    def __init__(self, settings: Settings, progress: Callable[[str], None]) -> None:
        self._path = DEMO if settings.demo else settings.catalog
        self._add_missing = settings.add_missing
        self._progress = progress
        self._entries = CatalogEntries()

    async def read(self) -> None:
        """Read the file.

        Raises:
            CatalogError: it cannot be used.
        """
        if self._path is None:
            return
        path, told = self._path, self._now_and_then(f"reading {self._path}")
        given_up = CatalogError("the start was stopped")
        self._entries = await in_thread(lambda progress: read_catalog(path, progress=progress), told, given_up)

    async def put(self, redis: SecretStr) -> bool:
        """Check that the cluster can be used, and import the file if the catalog is empty (or with `add_missing`).

        Waits while the node that has the catalog does not answer. Returns whether the catalog is empty afterwards.

        Raises:
            StoreUnusableError, CatalogError: the message says what to do.
        """
        topology = Topology(redis.get_secret_value(), connect_timeout_seconds=CONNECT_TIMEOUT_SECONDS)
        cluster = Cluster(topology, max_pending_bytes=PENDING_BYTES, stalled_seconds=STORE_SECONDS)
        store = ClusterCatalogStore(cluster)
        try:
            await cluster.open()
            while True:
                try:
                    with needed_to_start():
                        return await self._put(store)
                except AudienceError:
                    self._progress("waiting for the part of the cluster that holds the catalog")
                    await asyncio.sleep(RETRY_SECONDS)
        except CatalogError as error:
            raise CatalogError(f"{self._path}: {error}") from error
        finally:
            await cluster.close()

    async def _put(self, store: CatalogStore) -> bool:
        """Import the file, once.

        Raises:
            AudienceError: UNAVAILABLE, where `put` waits.
            CatalogError: as `put`.
        """
        progress = self._now_and_then("putting the catalog into the cluster")
        now_ms = SystemClock().now_ms()
        if self._path is not None:
            done = await seed(store, self._entries, hash_password, now_ms, progress, add_missing=self._add_missing)
            log.info(Event.CATALOG_SEEDED, added=done.added, left_out=done.left_out[:MOST_LEFT_OUT])
        return not await store.version(asyncio.get_running_loop().time() + STORE_SECONDS)

    def _now_and_then(self, what: str) -> Progress:
        """A callback that reports progress as a message every few seconds; never, if all is done before that."""
        told_at = time.monotonic()

        def tell(done: int, size: int) -> None:
            nonlocal told_at
            if time.monotonic() - told_at >= SECONDS_BETWEEN_PROGRESS:
                told_at = time.monotonic()
                self._progress(f"{what}: {100 * done // size} %")

        return tell
