"""gRPC callers of the whole service."""

import grpc
import pytest
from instantaudience.v1 import audience_pb2_grpc
from support.service.running import Service

Metadata = tuple[tuple[str, str], ...]


@pytest.fixture
def audience(channel: grpc.aio.Channel) -> audience_pb2_grpc.AudienceServiceStub:
    """The service's stub."""
    return audience_pb2_grpc.AudienceServiceStub(channel)


@pytest.fixture
async def authorization(service: Service) -> Metadata:
    """The metadata with the token of the account `demo`."""
    return (("authorization", await service.token()),)
