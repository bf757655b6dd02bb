"""Every host answers the same to the calls of the table, on each of its ports."""

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from instantaudience.v1 import audience_pb2 as pb
from instantaudience.v1.audience_pb2_grpc import AudienceServiceStub
from instantaudience_server.transport.framing import frame
from support.contract.answers import GRPC_CODES, assert_failure, assert_http_error
from support.contract.messages import APPLY, GET_STATUS, LIMIT_BYTES, apply_request, one_user, stream_request
from support.service.running import Service
from support.wire.peer import Answer, connected, grpc_headers

from .cases import ANSWERS, BOTH, CALLS, FINE, REQUESTS, Call, Request

pytestmark = pytest.mark.conformance

ON_PORTS = [pytest.param(call, port, id=f"{name}-{port}") for name, call in CALLS.items() for port in call.ports]
REST_ON_PORTS = [pytest.param(row, port, id=f"{name}-{port}") for name, row in REQUESTS.items() for port in row.ports]


def contains(actual: Any, expected: Any) -> bool:
    """Whether JSON has all of this; lists must be equally long."""
    if isinstance(expected, dict):
        return all(name in actual and contains(actual[name], value) for name, value in expected.items())
    if isinstance(expected, list):
        return len(actual) == len(expected) and all(map(contains, actual, expected))
    return bool(actual == expected)


def messages(data: bytes) -> list[bytes]:
    """The messages in a body."""
    found = []
    while data:
        end = 5 + int.from_bytes(data[1:5], "big")
        assert len(data) >= end
        found.append(data[5:end])
        data = data[end:]
    return found


async def send(service: Service, port: str, call: Call, tokens: dict[str, str]) -> Answer:
    """What a gRPC call is answered, on a connection of its own."""
    scheme, _, caller = call.caller.rpartition(" ")
    token = f"{scheme} {tokens[caller]}".strip()
    headers = call.headers | ({"authorization": token} if token else {})
    pieces = [frame(each.SerializeToString()) if isinstance(each, Message) else each for each in call.requests]
    address = {"gateway": service.http_address, "direct": service.grpc_address}[port]
    async with connected(address) as peer:
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        return await peer.call(grpc_headers(call.path, *encoded), *pieces)


@pytest.mark.parametrize(("call", "port"), ON_PORTS)
async def test_calls(conforming: Service, tokens: dict[str, str], call: Call, port: str) -> None:
    answer = await send(conforming, port, call, tokens)
    decides = conforming.host_mode == "grpcio" and call.on_grpcio is not None
    code = call.on_grpcio if decides else call.code
    assert (answer.http_status, answer.grpc_status, answer.reset) == (200, code, None), answer
    assert answer.headers["content-type"].startswith("application/grpc")
    if decides:
        return
    bodies = [ANSWERS[call.path].FromString(body) for body in messages(bytes(answer.data))]
    found = [
        MessageToDict(body, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        for body in bodies
    ]
    assert contains(found, call.answers), found
    if call.reason:
        assert_details(answer.headers | answer.trailers, call)


def assert_details(trailers: dict[str, str], call: Call) -> None:
    """Check google.rpc.Status, and gRPC's own delay, which must agree."""
    code = GRPC_CODES[call.code]
    status = status_pb2.Status.FromString(_base64(trailers["grpc-status-details-bin"]))
    failure = assert_failure(status, code, call.reason, call.cause)
    delay = None if failure.retry is None else str(1000 * failure.retry.retry_delay.seconds)
    assert trailers.get("grpc-retry-pushback-ms") == delay
    bad_request = error_details_pb2.BadRequest()
    if call.broken_field:
        assert any(detail.Unpack(bad_request) for detail in status.details)
    assert [each.field for each in bad_request.field_violations] == ([call.broken_field] if call.broken_field else [])


def _base64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))


@pytest.fixture(scope="module")
async def callers(conforming: Service) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    """REST callers, by port."""
    async with conforming.http() as gateway, conforming.http("direct") as direct:
        yield {"gateway": gateway, "direct": direct}


@pytest.mark.parametrize(("row", "port"), REST_ON_PORTS)
async def test_requests(
    conforming: Service, callers: dict[str, httpx.AsyncClient], tokens: dict[str, str], row: Request, port: str
) -> None:
    headers = row.headers | {"authorization": tokens[row.caller], "x-request-id": "mine"}
    answer = await callers[port].request(row.method, row.path, content=row.content, headers=headers)
    if row.error_id:
        assert_http_error(answer, row.status, row.error_id)
    else:
        assert answer.status_code == row.status, answer.text
        assert contains(answer.json(), row.answer), answer.text
    assert answer.headers["x-request-id"] == "mine"
    assert contains(dict(answer.headers), row.answer_headers)


@pytest.mark.parametrize(("own", "is_kept"), [("mine", True), ("", False), ("x" * 129, False)])
async def test_request_ids(conforming: Service, tokens: dict[str, str], own: str, is_kept: bool) -> None:
    answer = await send(conforming, "gateway", Call(APPLY, [FINE], headers={"x-request-id": own}), tokens)
    name = (answer.headers | answer.trailers)["x-request-id"]
    assert name == own if is_kept else uuid.UUID(name)


@pytest.fixture(params=BOTH)
async def audience(request: pytest.FixtureRequest, conforming: Service) -> AsyncIterator[AudienceServiceStub]:
    """gRPC's own client, on each port."""
    async with conforming.channel(request.param) as channel:
        yield AudienceServiceStub(channel)


@pytest.fixture
def metadata(tokens: dict[str, str]) -> Any:
    """The metadata with a token."""
    return (("authorization", tokens["demo"]),)


async def test_what_is_written_is_read(audience: AudienceServiceStub, metadata: Any) -> None:
    for value in (1, 2):
        await audience.ApplySegments(apply_request(one_user("77", value=value)), metadata=metadata)
        answer = await audience.GetMemberships(pb.GetMembershipsRequest(user_id="77"), metadata=metadata)
        ((block,),) = [user.seg_block for user in answer.response.rt_segment]
        assert (block.seg_id, block.value) == (10001, value)


async def test_a_stream_answers_each_request_before_the_next(audience: AudienceServiceStub, metadata: Any) -> None:
    stream = audience.StreamSegments(metadata=(*metadata, ("x-request-id", "mine")))
    for number in range(1, 4):
        await stream.write(stream_request(one_user()))
        assert (await stream.read()).request_id == f"mine.{number}"
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK


async def test_a_stream_that_is_cancelled(audience: AudienceServiceStub, metadata: Any) -> None:
    """Another one of the same connection goes on."""
    stream, other = (audience.StreamSegments(metadata=metadata) for _ in range(2))
    await stream.write(stream_request(one_user()))
    assert (await stream.read()).response.status == "OK"
    stream.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stream.read()
    await other.write(stream_request(one_user()))
    assert (await other.read()).response.status == "OK"
    await other.done_writing()
    assert await other.read() is grpc.aio.EOF


async def test_the_deadline_of_a_stream(audience: AudienceServiceStub, metadata: Any) -> None:
    stream = audience.StreamSegments(metadata=metadata, timeout=1)
    await stream.write(stream_request(one_user()))
    assert (await stream.read()).response.status == "OK"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_the_longest_message(audience: AudienceServiceStub, metadata: Any) -> None:
    request = apply_request({"rt_segment": [{"user_id": "x" * (LIMIT_BYTES - 8)}]})
    assert request.ByteSize() == LIMIT_BYTES
    answer = await audience.ApplySegments(request, metadata=metadata)
    assert answer.response.warnings


async def test_grpc_web(conforming: Service) -> None:
    async with conforming.http() as http:
        headers = {"content-type": "application/grpc-web+proto"}
        answer = await http.post(GET_STATUS, content=frame(b""), headers=headers)
    assert answer.status_code == 200
    assert b"grpc-status:0" in answer.content.replace(b" ", b"")
