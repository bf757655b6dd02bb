"""Health as long as it is watched, and no longer: a handler ends with its caller, however it leaves."""

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from instantaudience_server.transport.framing import frame
from support.hosts.interop_app import SERVICE
from support.hosts.running import Host, report
from support.wire.peer import Peer, connected, grpc_headers

Status = health_pb2.HealthCheckResponse
WATCH = "/grpc.health.v1.Health/Watch"
WATCHED = frame(health_pb2.HealthCheckRequest(service=SERVICE).SerializeToString())
SERVING = Status(status=Status.SERVING).SerializeToString()


async def test_watch_tells_of_every_change(channel: grpc.aio.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    watches = [stub.Watch(health_pb2.HealthCheckRequest(service=name)) for name in ("", SERVICE, "nope")]
    assert [(await watch.read()).status for watch in watches] == [Status.SERVING] * 2 + [Status.SERVICE_UNKNOWN]
    for serving, status in ((False, Status.NOT_SERVING), (True, Status.SERVING)):
        await report(channel, serving=serving)
        assert [(await asyncio.wait_for(watch.read(), 5)).status for watch in watches[:2]] == [status] * 2
        assert (await stub.Check(health_pb2.HealthCheckRequest(service=SERVICE))).status == status
    for watch in watches:
        watch.cancel()


async def test_watch_with_a_deadline(channel: grpc.aio.Channel) -> None:
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=0.3)
    assert (await watch.read()).status == Status.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await watch.read()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def begin_watches(peer: Peer, channel: grpc.aio.Channel) -> list[int]:
    """Watches that are answered, and others that wait for the end of their request; all are at work."""
    before = await report(channel)
    answered, waiting = ([peer.begin(grpc_headers(WATCH)) for _ in range(10)] for _ in range(2))
    for stream_id in waiting:
        await peer.send(stream_id, WATCHED)
    for stream_id in answered:
        await peer.send(stream_id, WATCHED, end=True)
        assert await peer.message(stream_id, len(SERVING)) == SERVING
    assert (await report(channel))["tasks"] >= before["tasks"] + 20
    return answered + waiting


async def test_watchers_that_reset(peer: Peer, channel: grpc.aio.Channel) -> None:
    """The fixture `channel` looks that they have ended."""
    for stream_id in await begin_watches(peer, channel):
        peer.reset(stream_id)


async def test_watchers_whose_connection_is_gone(host: Host, channel: grpc.aio.Channel) -> None:
    async with connected(host.address) as peer:
        await begin_watches(peer, channel)


async def test_a_watch_has_one_request(peer: Peer, channel: grpc.aio.Channel) -> None:
    stream_id = peer.begin(grpc_headers(WATCH))
    await peer.send(stream_id, WATCHED * 1000)
    assert (await peer.answer(stream_id)).grpc_status == 3


@pytest.mark.parametrize("data", [b"", WATCHED[:3]], ids=["no request", "half a request"])
async def test_watching_nothing(peer: Peer, data: bytes) -> None:
    answer = await peer.call(grpc_headers(WATCH), data)
    assert answer.grpc_status == (3 if data else 0)
    assert answer.data == b""
