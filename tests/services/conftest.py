"""The services on a real cluster; each test finds it empty. What differs between clusters is tests/store's affair."""

from collections.abc import AsyncIterator

import pytest
from instantaudience_server.memberships import MembershipService
from instantaudience_server.store.cluster import Cluster
from instantaudience_server.store.embedded import EmbeddedCluster
from instantaudience_server.store.membership_store import ClusterMembershipStore
from redis.asyncio import RedisCluster
from support.clocks import FakeClock
from support.clusters import connected, emptied, running_cluster
from support.readings import CATALOG


@pytest.fixture(scope="session")
async def embedded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedCluster]:
    """The cluster's processes."""
    async with running_cluster("valkey", tmp_path_factory.mktemp("services")) as cluster:
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
def clock() -> FakeClock:
    """Stands at the moment the test began, which is the cluster's time too."""
    return FakeClock.real()


@pytest.fixture
def service(cluster: Cluster, clock: FakeClock) -> MembershipService:
    """The commands on memberships, on the demo catalog."""
    return MembershipService(CATALOG, ClusterMembershipStore(cluster), clock)
