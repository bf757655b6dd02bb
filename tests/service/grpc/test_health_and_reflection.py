"""The standard services beside ours, on both ports, without a token."""

import asyncio

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from support.contract.messages import PACKAGE
from support.waiting import eventually

SERVICES = [
    *(
        f"{PACKAGE}.{name}Service"
        for name in ("Audience", "Authentication", "BatchSegment", "Catalog", "Identity", "Status")
    ),
    *(f"instantaudience.rest.v1.{name}Service" for name in ("Batch", "Segment", "SignIn")),
]
VERSIONS = ["v1", "v1alpha"]
"""Of reflection; their messages are the same on the wire."""
SERVING = health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("name", ["", *SERVICES])
async def test_health_check(channel: grpc.aio.Channel, name: str) -> None:
    async def is_serving() -> None:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == SERVING

    await eventually(is_serving)  # on a busy machine, nodes of the cluster may just have been silent for seconds


async def test_health_watch(channel: grpc.aio.Channel) -> None:
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICES[0]))
    assert (await asyncio.wait_for(watch.read(), 5)).status == SERVING
    watch.cancel()


async def reflected(
    channel: grpc.aio.Channel, version: str = "v1", **question: str
) -> reflection_pb2.ServerReflectionResponse:
    stream = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )()
    await stream.write(reflection_pb2.ServerReflectionRequest(**question).SerializeToString())
    await stream.done_writing()
    return await asyncio.wait_for(stream.read(), 30)


def files_of(answer: reflection_pb2.ServerReflectionResponse) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    encoded = answer.file_descriptor_response.file_descriptor_proto
    return {file.name: file for file in map(descriptor_pb2.FileDescriptorProto.FromString, encoded)}


@pytest.mark.parametrize("version", VERSIONS)
async def test_reflection_lists_the_services(channel: grpc.aio.Channel, version: str) -> None:
    answer = await reflected(channel, version, list_services="")
    names = {service.name for service in answer.list_services_response.service}
    reflection = {f"grpc.reflection.{each}.ServerReflection" for each in VERSIONS}
    assert names >= {*SERVICES, "grpc.health.v1.Health", *reflection}


SYMBOLS = {
    f"{PACKAGE}.AudienceService.ApplySegments": "instantaudience/v1/audience.proto",
    "instantaudience.rest.v1.SegmentService.FindSegments": "instantaudience/rest/v1/segment.proto",
    f"{PACKAGE}.RtSegment.user_id": "instantaudience/v1/audience.proto",
    f"{PACKAGE}.ErrorCause": "instantaudience/v1/errors.proto",
    "google.rpc.BadRequest": "google/rpc/error_details.proto",
    "grpc.reflection.v1.ServerReflection.ServerReflectionInfo": "grpc_reflection/v1/reflection.proto",
    f"{PACKAGE}.AudienceService.Nope": None,
    f"{PACKAGE}.Nope": None,
    "Nope": None,
}
"""Names, and the files that define them."""


@pytest.mark.parametrize("version", VERSIONS)
async def test_reflection_knows_symbols_of_every_kind(channel: grpc.aio.Channel, version: str) -> None:
    for symbol, file in SYMBOLS.items():
        answer = await reflected(channel, version, file_containing_symbol=symbol)
        if file is None:
            assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0], symbol
        else:
            assert file in files_of(answer), symbol


async def test_reflection_has_the_file_of_errors(channel: grpc.aio.Channel) -> None:
    name = "instantaudience/v1/errors.proto"
    errors = files_of(await reflected(channel, file_by_filename=name))[name]
    assert [enum.name for enum in errors.enum_type] == ["ErrorReason", "ErrorCause"]


@pytest.mark.parametrize("name", [*SERVICES, "grpc.health.v1.Health"])
async def test_reflection_describes_the_services(channel: grpc.aio.Channel, name: str) -> None:
    answer = await reflected(channel, file_containing_symbol=name)
    defined = {f"{file.package}.{service.name}" for file in files_of(answer).values() for service in file.service}
    assert name in defined
