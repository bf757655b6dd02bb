"""grpcio's interop cases with the grpcio client (source: doc/interop-test-descriptions.md in grpc/grpc)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Struct
from google.rpc import status_pb2
from instantaudience_server.errors import Reason
from instantaudience_server.transport.status import ROWS
from support.contract.answers import GRPC_CODES, assert_grpc_error, refusal
from support.hosts.interop_app import CALL_TIMEOUT_SECONDS, GOOD_TOKEN, LIMIT_BYTES
from support.hosts.running import path, report, streaming, struct, unary
from support.waiting import eventually

ODD_MESSAGE = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
SIZES = [31_415, 9, 2_653, 58_979]
COMPRESSIONS = [grpc.Compression.NoCompression, grpc.Compression.Deflate, grpc.Compression.Gzip]


async def test_empty_unary(channel: grpc.aio.Channel) -> None:
    assert await channel.unary_unary(path("Empty"))(b"") == b""
    call = channel.unary_unary(path("Empty"), Empty.SerializeToString, Empty.FromString)(Empty())
    assert await call == Empty()
    assert await call.code() is grpc.StatusCode.OK
    assert await call.details() == ""


def request_of(length: int, **fields: Any) -> Struct:
    """A request of so many bytes, all but a few of them payload."""
    request = struct(payload="", **fields)
    for _ in range(2):  # the second time, the lengths inside have the size that they need
        request["payload"] += "x" * (length - len(request.SerializeToString()))
        request["payload"] = request["payload"][: len(request["payload"]) + length - len(request.SerializeToString())]
    assert len(request.SerializeToString()) == length
    return request


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize(("request_bytes", "answer_bytes"), [(271_828, 314_159), (LIMIT_BYTES, 5_000_000)])
async def test_large_unary(channel: grpc.aio.Channel, compression: Any, request_bytes: int, answer_bytes: int) -> None:
    answer = await unary(channel)(request_of(request_bytes, size=answer_bytes), compression=compression)
    assert len(answer["payload"]) == answer_bytes


@pytest.mark.parametrize("compression", COMPRESSIONS)
async def test_client_streaming(channel: grpc.aio.Channel, compression: Any) -> None:
    async def requests() -> AsyncIterator[Struct]:
        for size in SIZES:
            yield struct(payload="x" * size)

    collect = channel.stream_unary(path("Collect"), Struct.SerializeToString, Struct.FromString)
    answer = await collect(requests(), compression=compression)
    assert (answer["count"], answer["length"]) == (len(SIZES), sum(SIZES))


async def test_server_streaming(channel: grpc.aio.Channel) -> None:
    output = channel.unary_stream(path("Output"), Struct.SerializeToString, Struct.FromString)
    assert [len(answer["payload"]) async for answer in output(struct(sizes=SIZES))] == SIZES


@pytest.mark.parametrize("method", ["Output", "Stream"])
async def test_ping_pong(channel: grpc.aio.Channel, method: str) -> None:
    stream = streaming(channel, method)(metadata=(("authorization", GOOD_TOKEN),))
    for size in SIZES * 3:
        await stream.write(struct(size=size, sizes=[size]))
        assert len((await asyncio.wait_for(stream.read(), 5))["payload"]) == size
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK


async def test_many_answers_to_a_slow_reader(channel: grpc.aio.Channel) -> None:
    """What flow control holds arrives in the end, whole and in order."""
    stream = streaming(channel, "Output")()
    sizes = [1_000_000 + number for number in range(20)]
    await stream.write(struct(sizes=sizes))
    await stream.done_writing()
    await asyncio.sleep(0.3)
    assert [len(answer["payload"]) async for answer in stream] == sizes


async def test_many_requests_to_a_slow_reader(channel: grpc.aio.Channel) -> None:
    """A service that does not read yet holds its caller."""

    async def requests() -> AsyncIterator[Struct]:
        for _ in range(20):
            yield struct(sizes=[1], payload="x" * 1_000_000)

    stream = streaming(channel, "Output")(requests())
    assert len([answer async for answer in stream]) == 20


@pytest.mark.parametrize("method", ["Output", "Stream"])
async def test_empty_stream(channel: grpc.aio.Channel, method: str) -> None:
    stream = streaming(channel, method)(metadata=(("authorization", GOOD_TOKEN),))
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK


# The end of calls; the fixture `channel` looks whether their handlers have ended too.


async def has_begun(channel: grpc.aio.Channel, count: int = 1) -> None:
    async def begun() -> None:
        assert (await report(channel))["running"] >= count

    await eventually(begun)


async def test_cancel_of_a_unary_call(channel: grpc.aio.Channel) -> None:
    call = unary(channel)(struct(hang=True))
    await has_begun(channel)
    call.cancel()
    assert await call.code() is grpc.StatusCode.CANCELLED


@pytest.mark.parametrize("method", ["Collect", "Output", "Stream"])
async def test_cancel_after_begin(channel: grpc.aio.Channel, method: str) -> None:
    stream = streaming(channel, method)(metadata=(("authorization", GOOD_TOKEN),))
    if method != "Stream":  # whose handlers begin with the first request
        await has_begun(channel)
    stream.cancel()
    assert await stream.code() is grpc.StatusCode.CANCELLED


@pytest.mark.parametrize("method", ["Output", "Stream"])
@pytest.mark.parametrize("hang", [{}, {"hang": True}], ids=["waits for a request", "works on one"])
async def test_cancel_after_the_first_answer(channel: grpc.aio.Channel, method: str, hang: dict[str, bool]) -> None:
    stream = streaming(channel, method)(metadata=(("authorization", GOOD_TOKEN),))
    await stream.write(struct(size=31_415, sizes=[31_415]))
    assert len((await stream.read())["payload"]) == 31_415
    if hang:
        await stream.write(struct(sizes=[], **hang))
        await has_begun(channel)
    stream.cancel()
    assert await stream.code() is grpc.StatusCode.CANCELLED


async def test_cancel_while_answers_come(channel: grpc.aio.Channel) -> None:
    """Before the first answer, or in the middle."""
    for number in range(40):
        stream = streaming(channel, "Output")()
        for _ in range(3):
            await stream.write(struct(sizes=[100_000] * 30))
        for _ in range(number % 4):
            assert len((await stream.read())["payload"]) == 100_000
        stream.cancel()
        assert await stream.code() is grpc.StatusCode.CANCELLED


async def test_cancel_of_a_stream_with_more_requests_than_it_takes(channel: grpc.aio.Channel) -> None:
    stream = streaming(channel, "Stream")(metadata=(("authorization", GOOD_TOKEN),))
    for _ in range(10):
        await stream.write(struct(hang=True))
    await has_begun(channel, 4)
    stream.cancel()
    assert await stream.code() is grpc.StatusCode.CANCELLED


@pytest.mark.parametrize("method", ["Unary", "Output", "Stream"])
async def test_timeout_on_a_sleeping_server(channel: grpc.aio.Channel, method: str) -> None:
    options = {"timeout": 0.3, "metadata": (("authorization", GOOD_TOKEN),)}
    if method == "Unary":
        call = unary(channel)(struct(hang=True), **options)
    else:
        call = streaming(channel, method)(**options)
        await call.write(struct(hang=True))
    assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_caller_whose_connection_is_gone(channel: grpc.aio.Channel, host: Any) -> None:
    async with host.channel() as other:
        calls = [unary(other)(struct(hang=True)), streaming(other, "Output")()]
        await calls[1].write(struct(sizes=[1], hang=True))
        await has_begun(channel, 2)
    codes = [await call.code() for call in calls]
    assert codes == [grpc.StatusCode.CANCELLED] * 2


# Statuses.


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.RATE_LIMIT_EXCEEDED])
async def test_status_code_and_message(channel: grpc.aio.Channel, reason: Reason) -> None:
    code = GRPC_CODES[ROWS[reason].grpc_code]
    unary_failure = await refusal(unary(channel)(struct(fail=reason.name, message=ODD_MESSAGE)))
    stream = streaming(channel, "Output")()
    await stream.write(struct(fail=reason.name, message=ODD_MESSAGE))
    for error in (unary_failure, await refusal(stream.read())):
        assert error.code() is code
        assert error.details() == ODD_MESSAGE
        trailers = dict(error.trailing_metadata())
        assert trailers["error-id"] == ROWS[reason].error_id
        assert status_pb2.Status.FromString(trailers["grpc-status-details-bin"]).message == ODD_MESSAGE


async def test_status_in_the_middle_of_a_stream(channel: grpc.aio.Channel) -> None:
    stream = streaming(channel, "Output")()
    await stream.write(struct(sizes=[1, 2], fail="UNAUTH", message=ODD_MESSAGE))
    assert [len((await stream.read())["payload"]) for _ in range(2)] == [1, 2]
    error = await refusal(stream.read())
    assert (error.code(), error.details()) == (grpc.StatusCode.PERMISSION_DENIED, ODD_MESSAGE)


async def test_a_stream_goes_on_after_a_refused_request(channel: grpc.aio.Channel) -> None:
    stream = streaming(channel, "Stream")(metadata=(("authorization", GOOD_TOKEN),))
    for request in (struct(size=1), struct(fail="NOT_FOUND", message=ODD_MESSAGE), struct(size=3)):
        await stream.write(request)
    await stream.done_writing()
    answers = [answer async for answer in stream]
    assert [len(answers[0]["payload"]), answers[1]["message"], len(answers[2]["payload"])] == [1, ODD_MESSAGE, 3]


@pytest.mark.parametrize("name", [path("Nope"), "/interop.NopeService/Unary", "/", "/a?b=%ff"])
async def test_unimplemented(channel: grpc.aio.Channel, name: str) -> None:
    assert_grpc_error(await refusal(channel.unary_unary(name)(b"")), grpc.StatusCode.UNIMPLEMENTED, "SYNTAX")
    stream = channel.stream_stream(name)()
    assert_grpc_error(await refusal(stream.read()), grpc.StatusCode.UNIMPLEMENTED, "SYNTAX")


# Metadata, deadlines, limits.

METADATA = (
    ("x-grpc-test-echo-initial", "test_initial_metadata_value"),
    ("x-grpc-test-echo-trailing-bin", b"\xab\xab\xab"),
    ("x-empty-bin", b""),
    ("x-all-bin", bytes(range(256))),
    ("x-punctuation", "~!@#$%^&*()_+={}[]|:;'<>,.?/"),
    ("x-twice", "1"),
    ("x-twice", "2"),
)


async def test_custom_metadata(channel: grpc.aio.Channel) -> None:
    metadata = (*METADATA, ("authorization", GOOD_TOKEN))
    answer = await unary(channel, "UnaryOfCaller")(struct(size=5), metadata=metadata)
    assert answer["payload"] == "x" * 5
    stream = streaming(channel, "Stream")(metadata=metadata)
    await stream.write(struct(size=5))
    assert (await stream.read())["payload"] == "x" * 5
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF


@pytest.mark.parametrize("metadata", [(), METADATA, (("authorization", "bad"),)], ids=["none", "other", "bad"])
async def test_no_good_token(channel: grpc.aio.Channel, metadata: Any) -> None:
    error = await refusal(unary(channel, "UnaryOfCaller")(struct(), metadata=metadata))
    assert_grpc_error(error, grpc.StatusCode.UNAUTHENTICATED, "NOAUTH")
    stream = streaming(channel, "Stream")(metadata=metadata)
    assert_grpc_error(await refusal(stream.read()), grpc.StatusCode.UNAUTHENTICATED, "NOAUTH")


@pytest.mark.parametrize(
    ("seconds", "at_least", "at_most"), [(5.0, 1.0, 5.0), (3600.0, 50.0, CALL_TIMEOUT_SECONDS + 0.001)]
)
async def test_deadlines_reach_the_service(
    channel: grpc.aio.Channel, seconds: float, at_least: float, at_most: float
) -> None:
    answer = await unary(channel)(struct(), timeout=seconds)
    assert at_least < answer["seconds_left"] <= at_most


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("length", [LIMIT_BYTES + 1, 2 * LIMIT_BYTES, 8 * LIMIT_BYTES])
async def test_messages_over_the_limit(channel: grpc.aio.Channel, compression: Any, length: int) -> None:
    request = request_of(length)
    error = await refusal(unary(channel)(request, compression=compression))
    assert_grpc_error(error, grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT")
    stream = streaming(channel, "Output")(compression=compression)
    await stream.write(struct(sizes=[1]))
    assert (await stream.read())["payload"] == "x"
    writing = asyncio.create_task(stream.write(request))
    assert_grpc_error(await refusal(stream.read()), grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT")
    await asyncio.gather(writing, return_exceptions=True)
