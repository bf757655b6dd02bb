"""One cluster of each product for the whole suite; each test finds it empty."""

from collections.abc import AsyncIterator

import pytest
from instantaudience_server.store.cluster import Cluster
from instantaudience_server.store.embedded import EmbeddedCluster
from instantaudience_server.store.membership_store import ClusterMembershipStore
from redis.asyncio import RedisCluster
from support.clusters import connected, emptied, running_cluster


@pytest.fixture(scope="session", params=["valkey", "redis"])
def product(request: pytest.FixtureRequest) -> str:
    """Whose server runs."""
    return str(request.param)


@pytest.fixture(scope="session")
async def embedded(product: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedCluster]:
    """The cluster's processes."""
    async with running_cluster(product, tmp_path_factory.mktemp(product)) as cluster:
        yield cluster


@pytest.fixture
async def plain(embedded: EmbeddedCluster) -> AsyncIterator[RedisCluster]:
    """redis-py's way to the cluster."""
    async with emptied(embedded) as client:
        yield client


@pytest.fixture
async def cluster(embedded: EmbeddedCluster, plain: RedisCluster) -> AsyncIterator[Cluster]:
    """The service's way to the cluster."""
    async with connected(embedded.url) as cluster:
        yield cluster


@pytest.fixture
def store(cluster: Cluster) -> ClusterMembershipStore:
    """The memberships."""
    return ClusterMembershipStore(cluster)
