"""Fixtures for suites with a cluster of their own, `embedded`; their conftest.py imports these."""

from collections.abc import AsyncIterator

import pytest
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.store.cluster.cluster import Cluster
from redis.asyncio import RedisCluster

from support.cluster.running import connected, emptied


@pytest.fixture
async def plain(embedded: EmbeddedCluster) -> AsyncIterator[RedisCluster]:
    """A redis-py client of the cluster."""
    async with emptied(embedded) as client:
        yield client


@pytest.fixture
async def cluster(embedded: EmbeddedCluster, plain: RedisCluster) -> AsyncIterator[Cluster]:
    """The service's own client of the cluster."""
    async with connected(embedded.url) as cluster:
        yield cluster
