"""Connects a backup or restore to the cluster."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from instantaudience_server.settings import CONNECT_TIMEOUT_SECONDS, Settings
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.cluster.topology import Topology
from instantaudience_server.store.restore_store import ClusterRestoreStore
from instantaudience_server.store.suppression_store import ClusterSuppressionStore
from instantaudience_server.store.whole_keys import WholeKeys

PENDING_BYTES = 256 * 2**20
STALLED_SECONDS = 30.0
PATIENCE_SECONDS = 60.0
"""How long a part of the cluster may be away."""


class Connection(NamedTuple):
    """The parts of the store that a backup or restore uses."""

    keys: WholeKeys
    catalog: ClusterCatalogStore
    topology: Topology
    suppressions: ClusterSuppressionStore
    restore: ClusterRestoreStore


def deadline() -> float:
    """By when what is asked now has to be answered, by the event loop's clock."""
    return asyncio.get_running_loop().time() + PATIENCE_SECONDS


@asynccontextmanager
async def connected(url: str, settings: Settings) -> AsyncIterator[Connection]:
    """Connect to the cluster at `url` for the length of the block.

    Raises:
        StoreUnusableError: the cluster cannot be used; the message says why.
    """
    topology = Topology(url, connect_timeout_seconds=CONNECT_TIMEOUT_SECONDS)
    cluster = Cluster(
        topology, max_pending_bytes=PENDING_BYTES, stalled_seconds=STALLED_SECONDS, durability=settings.durability
    )
    try:
        await cluster.open()
        yield Connection(
            WholeKeys(cluster, deadline),
            ClusterCatalogStore(cluster),
            topology,
            ClusterSuppressionStore(cluster),
            ClusterRestoreStore(cluster, secrets.token_hex(), deadline),
        )
    finally:
        await cluster.close()
