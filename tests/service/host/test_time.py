"""When calls begin, and when their time is over; streams have as much of it as they want."""

import asyncio
import time

import grpc
import pytest
from google.rpc import code_pb2
from instantaudience.v1.audience_pb2_grpc import AudienceServiceStub
from support.contract.messages import APPLY, one_user, stream_request
from support.hosts.interop_app import GOOD_TOKEN
from support.hosts.running import Host, path, struct, unary
from support.service.running import Service
from support.wire.peer import Peer, connected, grpc_headers, prefix

LATE = str(time.time() - 3600).encode()


async def test_a_request_that_does_not_come_ends_with_its_deadline(host: Host, peer: Peer) -> None:
    """Headers came, and a part of the message; the rest never does."""
    for body in (b"", b"\x00\x00\x00"):
        started = time.monotonic()
        stream_id = peer.begin(grpc_headers(path("Unary"), (b"grpc-timeout", b"300m")))
        await peer.send(stream_id, body)
        answer = await peer.answer(stream_id)
        assert 0.1 < time.monotonic() - started < 10
        assert answer.grpc_status == code_pb2.UNAVAILABLE
        assert "did not arrive in time" in answer.headers["grpc-message"]
    async with host.channel() as channel:
        await unary(channel)(struct(text="and the next one is served"))


@pytest.mark.parametrize("method", ["Stream", "Output", "Collect"])
@pytest.mark.parametrize("hangs", [False, True], ids=["idle", "at work"])
async def test_a_stream_ends_with_its_deadline(
    channel: grpc.aio.Channel, peer: Peer, method: str, *, hangs: bool
) -> None:
    """Its caller does not end it."""
    timeout, token = (b"grpc-timeout", b"300m"), (b"authorization", GOOD_TOKEN.encode())
    started = time.monotonic()
    stream_id = peer.begin(grpc_headers(path(method), timeout, token))
    if hangs:
        message = struct(hang=True).SerializeToString()
        await peer.send(stream_id, prefix(0, len(message)) + message)
    answer = await peer.answer(stream_id)
    assert 0.2 < time.monotonic() - started < 10
    assert answer.grpc_status == code_pb2.DEADLINE_EXCEEDED


@pytest.mark.parametrize("method", ["Stream", "Output", "Collect"])
async def test_a_stream_whose_time_is_over_when_it_comes(channel: grpc.aio.Channel, peer: Peer, method: str) -> None:
    headers = grpc_headers(path(method), (b"grpc-timeout", b"1n"), (b"authorization", GOOD_TOKEN.encode()))
    assert (await peer.answer(peer.begin(headers))).grpc_status == code_pb2.DEADLINE_EXCEEDED


async def test_a_caller_cannot_say_when_its_call_began(host: Host, peer: Peer) -> None:
    answer = await peer.call(grpc_headers(path("Unary"), (b"x-request-start", LATE)), b"\x00\x00\x00\x00\x00")
    assert answer.grpc_status == code_pb2.OK


BAD_HEADERS = [(b"grpc-timeout", b"x"), (b"x-odd-bin", b"!!!"), (b"grpc-encoding", b"odd"), (b"te", b"odd")]


async def test_headers_that_nobody_can_read_harm_no_other_call(open_service: Service) -> None:
    """Where the gateway has one connection to the worker. grpcio drops them from the table that both ends of a
    connection keep; so its end has none."""
    token = await open_service.token()
    async with (
        connected(open_service.http_address) as peer,
        open_service.http(headers={"authorization": token}) as http,
        open_service.channel("gateway") as channel,
    ):
        stream = AudienceServiceStub(channel).StreamSegments(metadata=(("authorization", token),))
        for number in range(40):
            await peer.call(grpc_headers(APPLY, BAD_HEADERS[number % len(BAD_HEADERS)]), b"")
            posts = [http.post("/rt-segment", json=one_user(str(user))) for user in range(1, 4)]
            answers = await asyncio.gather(*posts)
            assert [answer.status_code for answer in answers] == [200] * 3
            await stream.write(stream_request(one_user()))
            assert (await stream.read()).response.message.users_in_request == 1
        stream.cancel()
