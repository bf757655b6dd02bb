"""The whole service, once for all suites that only call it; suites that break things start their own."""

from collections.abc import AsyncIterator

import grpc
import httpx
import pytest
from redis.asyncio import RedisCluster
from support.cluster.stored import forget_users, put, stored
from support.contract.messages import USER
from support.contract.model import State
from support.service.running import HOST_MODES, Service, running_service


@pytest.fixture(scope="session", params=HOST_MODES)
def host_mode(request: pytest.FixtureRequest) -> str:
    """Which host serves."""
    return str(request.param)


@pytest.fixture(scope="session")
async def service(host_mode: str) -> AsyncIterator[Service]:
    """The service; at the end, it must have met no defect."""
    async with running_service(host_mode=host_mode) as running:
        yield running
        assert "call_defect" not in running.log
        assert "process_exited" not in running.log


@pytest.fixture(scope="session")
async def nodes(service: Service) -> AsyncIterator[RedisCluster]:
    """The service's cluster."""
    async with service.cluster() as opened:
        yield opened


@pytest.fixture
async def cluster(nodes: RedisCluster) -> RedisCluster:
    """The service's cluster; no user is in a segment."""
    await forget_users(nodes)
    return nodes


@pytest.fixture
async def unchanged(cluster: RedisCluster) -> AsyncIterator[None]:
    """A user is in a segment, before and after; nobody else is in any."""
    before: State = {("", USER): {10002: (5, 0)}}
    await put(cluster, before)
    yield
    assert await stored(cluster) == before


@pytest.fixture
async def http(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A REST caller without a token."""
    async with service.http() as client:
        yield client


@pytest.fixture
async def demo(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A REST caller with the token of the account `demo`."""
    async with service.http(headers={"authorization": await service.token()}) as client:
        yield client


@pytest.fixture
async def admin(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A REST caller with the token of the account `admin`."""
    async with service.http(headers={"authorization": await service.token("admin")}) as client:
        yield client


@pytest.fixture(params=["gateway", "direct"])
async def channel(request: pytest.FixtureRequest, service: Service) -> AsyncIterator[grpc.aio.Channel]:
    """A gRPC caller, on both ports."""
    async with service.channel(request.param) as opened:
        yield opened
