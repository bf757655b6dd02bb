"""A real cluster and what works on it; each test finds it empty. What differs between clusters is store's affair."""

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest
from instantaudience_server.admission.quotas import Quotas
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.memberships.service import MembershipService
from instantaudience_server.passwords.hashing import Passwords
from instantaudience_server.segment_sizes import SegmentSizes
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.membership_store import ClusterMembershipStore
from instantaudience_server.store.quota_store import ClusterQuotaStore
from instantaudience_server.store.segment_size_store import ClusterSegmentSizeStore
from instantaudience_server.store.usage_store import ClusterUsageStore
from instantaudience_server.usage.counting import Usage
from support.clocks import FakeClock
from support.cluster.fixtures import cluster, plain, plain_client
from support.cluster.running import running_cluster
from support.parts.accounts import AccountWorker
from support.parts.readings import CATALOG

__all__ = ["cluster", "plain", "plain_client"]
"""Fixtures that are imported."""


@pytest.fixture(scope="package")
async def embedded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedCluster]:
    """The cluster's processes."""
    async with running_cluster("valkey", tmp_path_factory.mktemp("services")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def passwords() -> Iterator[Passwords]:
    """What hashes passwords, once for a module's tests."""
    passwords = Passwords()
    yield passwords
    passwords.close()


@pytest.fixture
def clock() -> FakeClock:
    """Stands at the moment the test began, which is the cluster's time too."""
    return FakeClock.real()


@pytest.fixture
async def quotas(cluster: Cluster) -> AsyncIterator[Quotas]:
    """The members' limits."""
    quotas = Quotas(ClusterQuotaStore(cluster, worker=secrets.token_hex()))
    yield quotas
    await quotas.close()


@pytest.fixture
async def usage(cluster: Cluster, clock: FakeClock) -> AsyncIterator[Usage]:
    """What counts the members' calls."""
    usage = Usage(ClusterUsageStore(cluster, worker=secrets.token_hex()), CATALOG, clock)
    yield usage
    await usage.close()


@pytest.fixture
async def sizes(cluster: Cluster, clock: FakeClock) -> AsyncIterator[SegmentSizes]:
    """What counts the segments' users."""
    sizes = SegmentSizes(ClusterSegmentSizeStore(cluster), clock)
    yield sizes
    await sizes.close()


@pytest.fixture
async def worker(cluster: Cluster, clock: FakeClock, passwords: Passwords) -> AsyncIterator[AccountWorker]:
    """A worker for accounts, and its own accounts; suites of other services have workers of their own."""
    worker = AccountWorker(cluster, clock, passwords)
    await worker.create_accounts()
    yield worker
    await worker.close()


@pytest.fixture
async def service(
    cluster: Cluster, quotas: Quotas, usage: Usage, sizes: SegmentSizes, clock: FakeClock
) -> AsyncIterator[MembershipService]:
    """The commands on memberships, on the demo catalog."""
    service = MembershipService(CATALOG, ClusterMembershipStore(cluster), quotas, usage, sizes, clock)
    yield service
    await service.close()


@pytest.fixture
async def another(
    worker: AccountWorker, cluster: Cluster, clock: FakeClock, passwords: Passwords
) -> AsyncIterator[AccountWorker]:
    """Another worker that knows these accounts."""
    another = AccountWorker(cluster, clock, passwords, number=1)
    await another.catch_up()
    yield another
    await another.close()
