"""The standard services beside ours, on both ports, without a token."""

import asyncio

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from instantaudience.v1 import status_pb2, status_pb2_grpc
from support.messages import PACKAGE

SERVICES = [
    *(
        f"{PACKAGE}.{name}Service"
        for name in ("Audience", "Authentication", "BatchSegment", "Catalog", "Identity", "Status")
    ),
    *(f"instantaudience.rest.v1.{name}Service" for name in ("Batch", "Segment", "SignIn")),
]
SERVING = health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("name", ["", *SERVICES])
async def test_health_check(channel: grpc.aio.Channel, name: str) -> None:
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name))
    assert answer.status == SERVING


async def test_health_of_a_service_that_is_not_there(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="nope"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_health_watch(channel: grpc.aio.Channel) -> None:
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICES[0]))
    assert (await asyncio.wait_for(watch.read(), 5)).status == SERVING
    watch.cancel()


async def test_status(channel: grpc.aio.Channel) -> None:
    answer = await status_pb2_grpc.StatusServiceStub(channel).GetStatus(status_pb2.GetStatusRequest())
    assert answer.response.status == "OK"


async def reflected(channel: grpc.aio.Channel, **question: str) -> reflection_pb2.ServerReflectionResponse:
    stream = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
    await stream.write(reflection_pb2.ServerReflectionRequest(**question))
    await stream.done_writing()
    return await asyncio.wait_for(stream.read(), 5)


async def test_reflection_lists_the_services(channel: grpc.aio.Channel) -> None:
    answer = await reflected(channel, list_services="")
    names = {service.name for service in answer.list_services_response.service}
    assert names >= {*SERVICES, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


@pytest.mark.parametrize("name", [*SERVICES, "grpc.health.v1.Health"])
async def test_reflection_describes_the_services(channel: grpc.aio.Channel, name: str) -> None:
    answer = await reflected(channel, file_containing_symbol=name)
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(file)
        for file in answer.file_descriptor_response.file_descriptor_proto
    ]
    defined = {f"{file.package}.{service.name}" for file in files for service in file.service}
    assert name in defined
