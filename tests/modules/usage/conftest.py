"""A worker that reports."""

import secrets
from collections.abc import AsyncIterator

import pytest
from instantaudience_server.admission.quotas import Quotas
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.catalog.editor import CatalogEditor
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.quota_store import ClusterQuotaStore
from instantaudience_server.store.usage_store import ClusterUsageStore
from instantaudience_server.usage.hours import UsageHours
from instantaudience_server.usage.service import UsageService
from support.clocks import FakeClock
from support.parts.catalogs import WITH_LIMITED
from support.parts.reports import HOUR_MS, MINUTE_MS, Worker
from support.waiting import seconds_from_now


@pytest.fixture
async def worker(cluster: Cluster) -> AsyncIterator[Worker]:
    """A worker whose clock stands ten minutes after the beginning of an hour; nobody has sent anything."""
    clock = FakeClock.real()
    clock.ms += 10 * MINUTE_MS - clock.ms % HOUR_MS
    store, catalog = ClusterCatalogStore(cluster), Catalog()
    feed = CatalogFeed(store, catalog)
    await feed.load()
    editor = CatalogEditor(store, feed, clock)
    for message in WITH_LIMITED:
        await editor.create(message, seconds_from_now())
    quota_store = ClusterQuotaStore(cluster, secrets.token_hex())
    quotas, hours = Quotas(quota_store), UsageHours(ClusterUsageStore(cluster, "w1"), clock)
    reports = UsageService(feed, hours, quotas, quota_store, clock)
    yield Worker(reports, hours, editor, catalog, quota_store, ClusterUsageStore(cluster, "w2"), clock)
    await hours.close()
    await quotas.close()
