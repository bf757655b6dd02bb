"""The catalog that a start puts into the cluster: what it waits for, and that it can be stopped."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from instantaudience_server.catalog.files import seeding
from instantaudience_server.catalog.files.file import CatalogError
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.running import first_catalog
from instantaudience_server.running.first_catalog import FirstCatalog
from instantaudience_server.settings import Settings
from instantaudience_server.store.keys import CATALOG_PARTIAL
from pydantic import SecretStr
from redis.asyncio import RedisCluster
from support.waiting import until


async def test_a_start_waits_for_the_part_of_the_cluster_that_holds_the_catalog(
    embedded: EmbeddedCluster, plain: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a backup is being put back there."""
    monkeypatch.setattr(seeding, "STORE_SECONDS", 0.1)
    monkeypatch.setattr(first_catalog, "RETRY_SECONDS", 0.01)
    redis, told = SecretStr(embedded.url), list[str]()
    assert await FirstCatalog(Settings(), lambda _: None).put(redis), "there is no catalog yet"
    await plain.set(CATALOG_PARTIAL, 1)
    first = FirstCatalog(Settings(demo=True), told.append)
    await first.read()
    putting = asyncio.create_task(first.put(redis))
    await until(lambda: bool(told) or putting.done())
    await plain.delete(CATALOG_PARTIAL)
    assert not await putting, "there is one now"
    assert set(told) == {"waiting for the part of the cluster that holds the catalog"}


async def test_a_start_that_is_stopped_reads_no_long_file_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_catalog, "SECONDS_BETWEEN_PROGRESS", 0.0)
    told, is_over, may_end = set[str](), threading.Event(), threading.Event()

    def read_long(_: Path, *, progress: Any) -> None:
        try:
            while not may_end.is_set():
                progress(1, 4)
        except CatalogError:
            is_over.set()

    monkeypatch.setattr(first_catalog, "read_catalog", read_long)
    reading = asyncio.create_task(FirstCatalog(Settings(catalog=Path("long.yaml")), told.add).read())
    await until(lambda: bool(told))
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    try:
        assert await asyncio.to_thread(is_over.wait, 5)
    finally:
        may_end.set()
    assert told == {"reading long.yaml: 25 %"}
