"""StreamSegments: order, refusals in place, flow control and cancellation."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import UninterpretedOption
from instantaudience.v1 import audience_pb2 as pb
from instantaudience.v1.audience_pb2_grpc import AudienceServiceStub
from redis.asyncio import RedisCluster
from support.cluster.stored import stored
from support.contract.answers import assert_failure, assert_grpc_error
from support.contract.messages import LIMIT_BYTES, STREAM, USER, apply_request, one_user, stream_request
from support.service.running import Service
from support.waiting import eventually

MANY = 1000
MANY_LARGE = 160
FIXED_WINDOW = ("grpc.http2.bdp_probe", 0)
"""Else grpc's window grows with the time that a busy machine takes, and all answers may have room in it."""


def numbered(number: int) -> dict[str, Any]:
    """A request that changes one user, and whose answer shows its number."""
    request = one_user(value=number)
    request["rt_segment"].append({"user_id": f"x{number}", "seg_block": [{"seg_id": 10001}]})
    return request


def number_of(answer: pb.StreamSegmentsResponse) -> int:
    (warning,) = answer.response.warnings
    return int(warning.message.removeprefix("Invalid user_id: x"))


async def test_ping_pong(audience: AudienceServiceStub, authorization: Any, cluster: RedisCluster) -> None:
    stream = audience.StreamSegments(metadata=(*authorization, ("x-request-id", "mine")))
    for number in range(30):
        await stream.write(stream_request(numbered(number)))
        answer = await stream.read()
        assert (number_of(answer), answer.request_id) == (number, f"mine.{number + 1}")
        assert await stored(cluster) == {("", USER): {10001: (number, 0)}}
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK


async def test_requests_of_a_stream_with_the_longest_name(audience: AudienceServiceStub, authorization: Any) -> None:
    """Of its ID, the beginning counts: theirs have at most 128 characters too."""
    stream = audience.StreamSegments(metadata=(*authorization, ("x-request-id", "x" * 128)))
    await stream.write(stream_request(one_user()))
    assert (await stream.read()).request_id == "x" * 116 + ".1"
    await stream.done_writing()


async def test_many_requests_under_way(
    audience: AudienceServiceStub, authorization: Any, cluster: RedisCluster
) -> None:
    """Answers come in the order of the requests, and the last change of a user wins."""

    async def requests() -> AsyncIterator[pb.StreamSegmentsRequest]:
        for number in range(MANY):
            yield stream_request(numbered(number))

    answers = [number_of(answer) async for answer in audience.StreamSegments(requests(), metadata=authorization)]
    assert answers == list(range(MANY))
    assert await stored(cluster) == {("", USER): {10001: (MANY - 1, 0)}}


@pytest.mark.parametrize("port", ["gateway", "direct"])
async def test_a_caller_that_does_not_read_is_held(service: Service, authorization: Any, port: str) -> None:
    """HTTP/2's flow control holds it; once it reads, all is answered."""
    async with service.channel(port, FIXED_WINDOW) as channel:
        await _held_until_it_reads(AudienceServiceStub(channel).StreamSegments(metadata=authorization))


async def _held_until_it_reads(stream: Any) -> None:
    long_request = stream_request({"rt_segment": [{"user_id": "x" * 500_000, "seg_block": [{"seg_id": 1}]}]})
    written = 0

    async def write_many() -> None:
        nonlocal written
        for _ in range(MANY_LARGE):
            await stream.write(long_request)
            written += 1
        await stream.done_writing()

    writing = asyncio.create_task(write_many())
    last = -1
    while written != last:
        last = written
        await asyncio.sleep(0.5)
    assert written < MANY_LARGE
    answers = 0
    while await stream.read() is not grpc.aio.EOF:
        answers += 1
    await writing
    assert answers == MANY_LARGE


def fine(number: int) -> bytes:
    return apply_request(numbered(number)).SerializeToString()


REFUSED = {
    "no message": (b"\xff", grpc.StatusCode.INVALID_ARGUMENT, "SYNTAX"),
    "user_id is not UTF-8": (b"\x0a\x03\x0a\x01\xff", grpc.StatusCode.INVALID_ARGUMENT, "SYNTAX"),
    "over the limit": (
        b"\x7a\xfd\xff\x3f" + bytes(LIMIT_BYTES - 3),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "LIMIT",
    ),
}


@pytest.mark.parametrize(("body", "code", "reason"), REFUSED.values(), ids=REFUSED)
async def test_refusal_in_its_place(
    channel: grpc.aio.Channel, authorization: Any, cluster: RedisCluster, body: bytes, code: Any, reason: str
) -> None:
    stream = channel.stream_stream(STREAM)(metadata=authorization)
    for message in (fine(0), body, fine(2)):
        await stream.write(message)
    await stream.done_writing()
    answers = [pb.StreamSegmentsResponse.FromString(answer) async for answer in stream]
    assert [answer.WhichOneof("outcome") for answer in answers] == ["response", "error", "response"]
    names = [answer.request_id.rpartition(".") for answer in answers]
    assert [number for _, _, number in names] == ["1", "2", "3"]
    assert len({stream_id for stream_id, _, _ in names} - {""}) == 1
    assert_failure(answers[1].error, code, reason)
    assert (number_of(answers[0]), number_of(answers[2])) == (0, 2)
    assert await stored(cluster) == {("", USER): {10001: (2, 0)}}


async def test_a_message_far_over_the_limit_ends_the_stream(channel: grpc.aio.Channel, authorization: Any) -> None:
    stream = channel.stream_stream(STREAM)(metadata=authorization)
    await stream.write(bytes(5 * LIMIT_BYTES))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    assert_grpc_error(caught.value, grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT", "TOO_LARGE")


async def test_requests_of_any_length_come_after_a_short_one(
    channel: grpc.aio.Channel, authorization: Any, cluster: RedisCluster
) -> None:
    """Where a little of the window is missing for the rest, it opens by that little."""
    for kilobytes in (40, 64, 68, 100, 200, 500, 1000):
        stream = channel.stream_stream(STREAM)(metadata=authorization)
        unknown = UninterpretedOption(string_value=kilobytes * 1000 * b"x").SerializeToString()
        for message in (fine(0), fine(1) + unknown, fine(2)):
            await stream.write(message)
        await stream.done_writing()
        answers = [pb.StreamSegmentsResponse.FromString(answer) async for answer in stream]
        assert [number_of(answer) for answer in answers] == [0, 1, 2]


async def test_cancelling(audience: AudienceServiceStub, authorization: Any, cluster: RedisCluster) -> None:
    """What was answered stays; other streams go on."""
    stream, other = (audience.StreamSegments(metadata=authorization) for _ in range(2))
    await stream.write(stream_request(one_user("1")))
    assert (await stream.read()).response.status == "OK"
    stream.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stream.read()
    await other.write(stream_request(one_user("2")))
    assert (await other.read()).response.status == "OK"
    await other.done_writing()
    assert await stored(cluster) == {("", "1"): {10001: (0, 0)}, ("", "2"): {10001: (0, 0)}}


async def test_cancelling_with_requests_under_way(
    audience: AudienceServiceStub, authorization: Any, cluster: RedisCluster
) -> None:
    stream = audience.StreamSegments(metadata=authorization)
    for number in range(50):
        await stream.write(stream_request(one_user(str(number + 1))))
    stream.cancel()
    await asyncio.wait([asyncio.ensure_future(stream.code())])

    async def answered() -> None:
        answer = await audience.ApplySegments(apply_request(one_user("100")), metadata=authorization)
        assert answer.response.status == "OK"

    await eventually(answered)
    assert set(await stored(cluster)) <= {("", str(user_id)) for user_id in [*range(1, 51), 100]}
