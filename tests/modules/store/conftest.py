"""One cluster of each product for the whole suite; each test finds it empty."""

from collections.abc import AsyncIterator

import pytest
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.membership_store import ClusterMembershipStore
from support.cluster.fixtures import cluster, plain, plain_client
from support.cluster.running import running_cluster
from support.cluster.servers import PRODUCTS

__all__ = ["cluster", "plain", "plain_client"]
"""Fixtures that are imported."""


@pytest.fixture(scope="session", params=PRODUCTS)
def product(request: pytest.FixtureRequest) -> str:
    """Whose server runs."""
    return str(request.param)


@pytest.fixture(scope="package")
async def embedded(product: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedCluster]:
    """The cluster's processes."""
    async with running_cluster(product, tmp_path_factory.mktemp(product)) as cluster:
        yield cluster


@pytest.fixture
def store(cluster: Cluster) -> ClusterMembershipStore:
    """The memberships."""
    return ClusterMembershipStore(cluster)
