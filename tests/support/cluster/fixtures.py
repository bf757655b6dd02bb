"""Fixtures for suites with a cluster of their own, `embedded`; their conftest.py imports these."""

from collections.abc import AsyncIterator

import pytest
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.store.cluster.cluster import Cluster
from redis.asyncio import RedisCluster

from support.cluster.running import connected


@pytest.fixture(scope="module")
async def plain_client(embedded: EmbeddedCluster) -> AsyncIterator[RedisCluster]:
    """A redis-py client of the cluster, once for a module's tests: to begin, it asks for all commands there are."""
    async with RedisCluster.from_url(embedded.url) as client:
        yield client


@pytest.fixture
async def plain(plain_client: RedisCluster) -> RedisCluster:
    """A redis-py client of the cluster, which is empty."""
    await plain_client.flushall(target_nodes=RedisCluster.PRIMARIES)
    return plain_client


@pytest.fixture
async def cluster(embedded: EmbeddedCluster, plain: RedisCluster) -> AsyncIterator[Cluster]:
    """The service's own client of the cluster."""
    async with connected(embedded.url) as cluster:
        yield cluster
