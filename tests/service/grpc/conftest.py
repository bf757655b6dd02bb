"""gRPC callers of the whole service."""

from collections.abc import AsyncIterator

import grpc
import pytest
from instantaudience.v1 import audience_pb2_grpc
from support.service import Service, running_service

Metadata = tuple[tuple[str, str], ...]


@pytest.fixture(scope="session")
async def four(host_mode: str) -> AsyncIterator[Service]:
    """A service with four workers, for what holds on every one."""
    async with running_service("--workers", "4", host_mode=host_mode) as running:
        yield running
        assert "call_defect" not in running.log


@pytest.fixture
def audience(channel: grpc.aio.Channel) -> audience_pb2_grpc.AudienceServiceStub:
    """The service's stub."""
    return audience_pb2_grpc.AudienceServiceStub(channel)


@pytest.fixture
async def authorization(service: Service) -> Metadata:
    """The metadata with the token of the account `demo`."""
    return (("authorization", await service.token()),)
