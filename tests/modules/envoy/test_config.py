"""Calls on their way through Envoy: gRPC passes untouched; workers may be gone, calls slow, the gateway draining."""

import asyncio
import stat
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2, status_pb2
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import RequestReceived
from instantaudience.v1 import audience_pb2, audience_pb2_grpc, status_pb2_grpc
from instantaudience.v1 import status_pb2 as health_pb2
from instantaudience_gateway.envoy import admin
from instantaudience_gateway.envoy.config import build_config
from instantaudience_gateway.envoy.settings import GatewaySettings
from instantaudience_server.errors import Reason
from instantaudience_server.settings import UPLOAD_PATH, UPLOAD_SILENT_SECONDS
from instantaudience_server.transport.status import ERROR_ID_KEY, ROWS
from support.contract.messages import LIMIT_BYTES
from support.gateway.running import ODD_TEXT, Gateway, Upstream, assert_error, body_for, running_gateway, serving
from support.service.processes import standing_still
from support.wire.floods import applying, message_of
from support.wire.http1 import Connection
from support.wire.peer import Peer, connected

pytestmark = pytest.mark.process


async def test_grpc_unary_is_untouched(channel: grpc.aio.Channel, upstream: Upstream) -> None:
    stub = audience_pb2_grpc.AudienceServiceStub(channel)
    request = audience_pb2.ApplySegmentsRequest(validate_only=True)
    request.rt_segment.add(user_id="warnings:2")
    answer = await stub.ApplySegments(request, metadata=(("authorization", "t"), ("x-a", "1")))
    assert answer.response.warnings[1].code == audience_pb2.WARNING_CODE_INVALID_DOMAIN
    (call,) = upstream.calls
    assert call.request == request
    assert call.metadata["authorization"] == "t"
    assert call.metadata["x-a"] == "1"
    assert call.seconds_left is None


async def test_grpc_deadline_reaches_the_server(channel: grpc.aio.Channel, upstream: Upstream) -> None:
    stub = status_pb2_grpc.StatusServiceStub(channel)
    await stub.GetStatus(health_pb2.GetStatusRequest(), timeout=1000)
    assert 900 < (upstream.calls[0].seconds_left or 0) < 1100  # grpc rounds


@pytest.mark.parametrize("reason", list(Reason))
async def test_grpc_error_is_untouched(channel: grpc.aio.Channel, reason: Reason) -> None:
    stub = audience_pb2_grpc.AudienceServiceStub(channel)
    request = audience_pb2.ApplySegmentsRequest()
    request.rt_segment.add(user_id=f"row:{reason.name}")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ApplySegments(request)
    assert caught.value.code().value[0] == ROWS[reason].grpc_code
    assert caught.value.details() == ODD_TEXT
    trailers = dict(caught.value.trailing_metadata())
    assert trailers[ERROR_ID_KEY] == ROWS[reason].error_id
    details = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    assert details.message == ODD_TEXT


async def test_grpc_stream_is_not_buffered(channel: grpc.aio.Channel) -> None:
    stream = audience_pb2_grpc.AudienceServiceStub(channel).StreamSegments()
    for turn in range(3):
        request = audience_pb2.StreamSegmentsRequest()
        request.rt_segment.add(user_id=str(turn))
        await stream.write(request)
        assert (await asyncio.wait_for(stream.read(), 5)).response.status == str(turn)
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF


def connection_manager(settings: GatewaySettings) -> Any:
    """What is configured of the public port's connections."""
    (listener,) = build_config(settings)["static_resources"]["listeners"]
    ((manager,),) = (chain["filters"] for chain in listener["filter_chains"])
    return manager["typed_config"]


def test_uploads_and_their_connections_have_the_time_of_who_receives_them(gateway: Gateway) -> None:
    manager = connection_manager(gateway.settings)
    keepalive = manager["http2_protocol_options"]["connection_keepalive"]
    assert float(keepalive["timeout"].removesuffix("s")) >= UPLOAD_SILENT_SECONDS
    routes = manager["route_config"]["virtual_hosts"][0]["routes"]
    uploads = [route["route"] for route in routes if route["match"].get("prefix") == UPLOAD_PATH]
    for route in uploads:
        assert float(route["idle_timeout"].removesuffix("s")) > UPLOAD_SILENT_SECONDS, "who receives it says so first"
        longest = route["max_stream_duration"]["max_stream_duration"]
        assert float(longest.removesuffix("s")) > gateway.settings.upload_seconds, "likewise"
    assert len(uploads) == 2


def test_no_answer_has_a_time_that_nobody_has_set(gateway: Gateway) -> None:
    """Envoy has 15 s for a route that says nothing: a watch of health would end, and a call with a longer deadline."""
    settings = replace(gateway.settings, passes_json=True)
    for route in connection_manager(settings)["route_config"]["virtual_hosts"][0]["routes"]:
        if "route" in route:
            seconds = float(route["route"]["timeout"].removesuffix("s"))
            assert seconds == 0 or seconds > settings.call_timeout_seconds


async def test_an_idle_stream_stays_open_while_its_connection_ages(directory: Path) -> None:
    old = {"idle_seconds": 0.2, "connection_seconds": 0.2}
    async with (
        serving(Upstream(), directory / "idle.sock"),
        running_gateway(directory, "idle.sock", **old) as gateway,
        grpc.aio.insecure_channel(gateway.address) as opened,
    ):
        stream = audience_pb2_grpc.AudienceServiceStub(opened).StreamSegments()
        request = audience_pb2.StreamSegmentsRequest()
        request.rt_segment.add(user_id="1")
        for _ in range(2):
            await stream.write(request)
            assert (await stream.read()).response.status == "1"
            await asyncio.sleep(0.8)
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK


async def test_connections_of_one_moment_end_one_by_one(directory: Path) -> None:
    async with running_gateway(directory, "nobody.sock", connection_seconds=2.0) as gateway:

        async def end() -> float:
            async with Connection(gateway.address) as connection:
                assert await connection.ends()
                return time.monotonic()

        ends = await asyncio.gather(*(end() for _ in range(20)))
    assert max(ends) - min(ends) > 0.05


async def test_a_connection_with_many_requests_lets_others_in(gateway: Gateway, upstream: Upstream) -> None:
    """All are there when Envoy looks."""

    async def send(peer: Peer, user_id: str) -> None:
        request = audience_pb2.ApplySegmentsRequest()
        request.rt_segment.add(user_id=user_id)
        stream = peer.begin(applying("t"))
        await peer.send(stream, message_of(request.SerializeToString()), end=True)

    async with connected(gateway.address) as one, connected(gateway.address) as other:
        for peer in (one, other):
            await send(peer, "first")
        await upstream.has_calls(2)
        with standing_still(gateway.process.pid):
            for _ in range(90):
                await send(one, "one's")
            await send(other, "other's")
        await upstream.has_calls(2 + 91)
    order = [call.request.rt_segment[0].user_id for call in upstream.calls[2:]]
    assert order.index("other's") < 45


async def test_grpc_large_messages_pass(gateway: Gateway) -> None:
    options = [("grpc.max_receive_message_length", 64 * LIMIT_BYTES)]
    request = audience_pb2.ApplySegmentsRequest()
    request.rt_segment.add(user_id="warnings:5000", domain="x" * 3 * LIMIT_BYTES)
    async with grpc.aio.insecure_channel(gateway.address, options=options) as opened:
        answer = await audience_pb2_grpc.AudienceServiceStub(opened).ApplySegments(request)
    assert len(answer.response.warnings) == 5000


@pytest.mark.parametrize("method", ["/no.such.Service/Method", "/rt-segment", "/"])
async def test_grpc_unknown_methods_reach_the_server(channel: grpc.aio.Channel, method: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(method)(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_nobody_but_its_owner_gets_at_the_admin_interface(gateway: Gateway) -> None:
    """It can end the gateway."""
    assert stat.S_IMODE(gateway.settings.admin_socket.stat().st_mode) == 0o600


# Workers that are gone, slow calls, draining: each with an Envoy of its own.


async def test_no_worker(directory: Path) -> None:
    async with running_gateway(directory, "nobody.sock", "no-one.sock") as gateway, gateway.client() as http:
        answer = await http.get("/healthz")
        assert_error(answer, 503, "SYSTEM", "The service is out of reach; send the request again.")
        assert answer.headers["retry-after"] in ("1", "2", "3")
        assert_error(await http.post("/rt-segment", content="{}"), 503, "SYSTEM")
        assert_error(await http.post("/rt-segment", content="{"), 400, "SYNTAX")
        async with grpc.aio.insecure_channel(gateway.address) as opened:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await status_pb2_grpc.StatusServiceStub(opened).GetStatus(health_pb2.GetStatusRequest())
    error = caught.value
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert error.details() == "The service is out of reach; send the request again."
    trailers = dict(error.trailing_metadata())
    assert trailers[ERROR_ID_KEY] == "SYSTEM"
    info, retry = status_pb2.Status.FromString(trailers["grpc-status-details-bin"]).details
    unpacked_info, unpacked_retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert info.Unpack(unpacked_info)
    assert (unpacked_info.reason, unpacked_info.domain) == ("SYSTEM", "instantaudience")
    assert retry.Unpack(unpacked_retry)
    assert unpacked_retry.retry_delay.seconds in (1, 2, 3)


async def test_dead_workers_fail_no_call(directory: Path) -> None:
    first, second = Upstream(), Upstream()
    sockets = ("first.sock", "gone.sock", "second.sock", "gone-too.sock")
    async with serving(first, directory / "first.sock"), running_gateway(directory, *sockets) as gateway:
        async with serving(second, directory / "second.sock"), gateway.client() as http:
            answers = await asyncio.gather(*(http.get("/healthz") for _ in range(40)))
            assert {answer.status_code for answer in answers} == {200}
            assert first.calls
            assert second.calls
        first.calls.clear()
        async with gateway.client() as http:
            for _ in range(20):
                assert (await http.get("/healthz")).status_code == 200
    assert len(first.calls) == 20


async def test_what_a_worker_refuses_unseen_goes_to_another_one(directory: Path) -> None:
    """As one does that ends, with what is on its way to it."""
    refused = 0

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal refused
        http = H2Connection(H2Configuration(client_side=False))
        http.initiate_connection()
        writer.write(http.data_to_send())
        while data := await reader.read(65_536):
            for event in http.receive_data(data):
                if isinstance(event, RequestReceived):
                    http.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
                    refused += 1
            writer.write(http.data_to_send())
        writer.close()

    async with (
        serving(Upstream(), directory / "taking.sock"),
        await asyncio.start_unix_server(refuse, directory / "refusing.sock"),
        running_gateway(directory, "refusing.sock", "taking.sock") as gateway,
        gateway.client() as http,
    ):
        answers = [await http.get("/healthz") for _ in range(10)]
    assert {answer.status_code for answer in answers} == {200}
    assert refused


async def test_slow_call_and_broken_call(directory: Path) -> None:
    upstream = Upstream()
    async with running_gateway(directory, "slow.sock", call_timeout_seconds=0.2, grace_seconds=0.1) as gateway:
        async with serving(upstream, directory / "slow.sock"), gateway.client() as http:
            assert_error(await http.post("/rt-segment", content=body_for("wait:")), 503, "SYSTEM")
        assert upstream.calls[0].seconds_left is not None
        assert upstream.calls[0].seconds_left <= 0.2
        async with serving(upstream, directory / "slow.sock") as server, gateway.client() as http:
            call = asyncio.create_task(http.post("/rt-segment", content=body_for("wait:")))
            await upstream.has_calls(2)
            await server.stop(0)
            assert_error(await call, 503, "SYSTEM")
    upstream.release.set()


async def test_drain(directory: Path) -> None:
    upstream = Upstream()
    async with serving(upstream, directory / "drained.sock"), running_gateway(directory, "drained.sock") as gateway:
        admin_socket = gateway.settings.admin_socket
        async with gateway.client() as http, grpc.aio.insecure_channel(gateway.address) as opened:
            assert "connection" not in (await http.get("/healthz")).headers
            stub = audience_pb2_grpc.AudienceServiceStub(opened)
            stream = stub.StreamSegments()
            request = audience_pb2.StreamSegmentsRequest()
            request.rt_segment.add(user_id="wait:")
            await stream.write(request)
            await stream.read()
            rest_call = asyncio.create_task(http.post("/rt-segment", content=body_for("wait:")))
            grpc_call = stub.ApplySegments(audience_pb2.ApplySegmentsRequest(rt_segment=request.rt_segment))
            await upstream.has_calls(4)
            assert (await admin.traffic(admin_socket)).active == 3

            assert not await admin.drain(admin_socket, 0.1)
            assert not await admin.ready(admin_socket)
            with pytest.raises(httpx.ConnectError):
                await gateway.client().get("/healthz")

            draining = asyncio.create_task(admin.drain(admin_socket, 10))
            upstream.release.set()
            answer = await rest_call
            assert answer.status_code == 200
            assert answer.headers["connection"] == "close"
            assert (await grpc_call).response.status == "OK"
            await stream.write(request)
            assert (await stream.read()).response.status == "wait:"
            assert not draining.done()
            await stream.done_writing()
            assert await stream.read() is grpc.aio.EOF
            assert await draining
    assert not await admin.ready(admin_socket)


async def test_a_call_that_is_on_its_way_when_the_gateway_drains(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caller has sent it on a connection that is open, before it could hear that this ends."""
    monkeypatch.setattr(admin, "QUIET_SECONDS", 10.0)
    async with serving(Upstream(), directory / "far.sock"), running_gateway(directory, "far.sock") as gateway:
        async with gateway.client() as http:
            await http.get("/healthz")
            draining = asyncio.create_task(admin.drain(gateway.settings.admin_socket, 60))
            await asyncio.sleep(10 * admin.LOOK_SECONDS)  # the call is on its way
            assert not draining.done()
            answer = await http.get("/healthz")
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        async with asyncio.timeout(admin.QUIET_SECONDS):
            assert await draining
