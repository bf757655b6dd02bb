"""Fixtures for suites that have a cluster of their own, `embedded`; their conftest.py imports them."""

from collections.abc import AsyncIterator

import pytest
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.store.cluster.cluster import Cluster
from redis.asyncio import RedisCluster

from support.cluster.running import connected, emptied


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
