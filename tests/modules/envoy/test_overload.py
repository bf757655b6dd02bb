"""What Envoy does when there is too much of everything, whoever it comes from."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.rpc import status_pb2
from instantaudience.v1 import status_pb2 as health_pb2
from instantaudience.v1 import status_pb2_grpc
from instantaudience_gateway.envoy.config import STREAM_BYTES
from instantaudience_server.transport.framing import frame
from instantaudience_server.transport.status import PUSHBACK_KEY
from support.contract.answers import assert_grpc_error, failure_of
from support.contract.messages import STREAM, apply_request, one_user
from support.gateway.running import Upstream, assert_error, running_gateway, serving
from support.waiting import eventually
from support.wire.http1 import Connection
from support.wire.peer import Peer, connected, grpc_headers

pytestmark = pytest.mark.process

GATEWAYS_WINDOW_BYTES = 2**20
"""What a caller may send of a call before it is read."""

MESSAGES = 400 * frame(apply_request(one_user()).SerializeToString())


class Deaf(Upstream):
    """Reads no streams."""

    async def StreamSegments(self, requests: Any, context: Any) -> Any:  # noqa: N802
        await self.release.wait()
        async for _ in requests:
            yield


@asynccontextmanager
async def filling(peer: Peer, streams: int) -> AsyncIterator[Callable[[], int]]:
    """Send messages on new streams of a connection without end, until the block ends. Yields a function that returns
    how many bytes have been sent."""
    sent = 0

    async def fill() -> None:
        nonlocal sent
        stream_id = peer.begin(grpc_headers(STREAM))
        while True:
            await peer.send(stream_id, MESSAGES)
            sent += len(MESSAGES)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(fill()) for _ in range(streams)]
        yield lambda: sent
        for task in tasks:
            task.cancel()


async def refused(http: httpx.AsyncClient) -> None:
    """Envoy has seen by now how much it is."""
    assert (await http.get("/healthz")).status_code == 503


async def test_no_call_is_taken_while_too_much_memory_is_in_use(directory: Path) -> None:
    upstream = Upstream()
    async with (
        serving(upstream, directory / "full.sock"),
        running_gateway(directory, "full.sock", heap_bytes=2**20) as gateway,
        gateway.client() as http,
        grpc.aio.insecure_channel(gateway.address) as channel,
    ):
        await eventually(lambda: refused(http))
        upstream.calls.clear()
        for answer in (await http.get("/healthz"), await http.post("/rt-segment", content="{}")):
            assert_error(answer, 503, "SYSTEM", "The service is out of reach; send the request again.")
        rest_seconds = {(await http.get("/healthz")).headers["retry-after"] for _ in range(50)}
        assert rest_seconds == {"1", "2", "3"}  # callers do not come back all at once
        grpc_seconds = set()
        for _ in range(50):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await status_pb2_grpc.StatusServiceStub(channel).GetStatus(health_pb2.GetStatusRequest())
            assert_grpc_error(caught.value, grpc.StatusCode.UNAVAILABLE, "SYSTEM")
            trailers = dict(caught.value.trailing_metadata())
            failure = failure_of(status_pb2.Status.FromString(trailers["grpc-status-details-bin"]))
            assert failure.retry is not None
            seconds = failure.retry.retry_delay.seconds
            assert trailers[PUSHBACK_KEY] == str(1000 * seconds)
            grpc_seconds.add(seconds)
        assert grpc_seconds == {1, 2, 3}
    assert upstream.calls == []


async def test_streams_that_are_not_read_do_not_fill_the_memory(directory: Path) -> None:
    """Their senders wait, and calls of others are served."""
    async with (
        serving(Deaf(), directory / "deaf.sock"),
        running_gateway(directory, "deaf.sock", heap_bytes=64 * 2**20) as gateway,
        gateway.client() as http,
        connected(gateway.address) as peer,
        filling(peer, 8) as sent,
    ):
        await asyncio.sleep(0.5)
        assert (await http.get("/healthz")).status_code == 200
        assert 8 * GATEWAYS_WINDOW_BYTES / 2 < sent() < 8 * (GATEWAYS_WINDOW_BYTES + 2 * STREAM_BYTES)


async def test_streams_that_are_not_read_leave_a_connection_no_more_room_at_last(directory: Path) -> None:
    """However many it has."""
    async with (
        serving(Deaf(), directory / "many.sock"),
        running_gateway(directory, "many.sock") as gateway,
        connected(gateway.address) as peer,
        filling(peer, 40) as sent,
    ):
        empty = peer.begin(grpc_headers(STREAM))

        async def is_full() -> None:
            assert peer.window(empty) == 0

        await eventually(is_full)
        assert sent() <= 16 * GATEWAYS_WINDOW_BYTES


async def test_connections_that_say_nothing_make_room_for_others(directory: Path) -> None:
    """All that there may be, of one address; they are ended at the age at which others are asked to end."""
    few = {"max_connections": 20, "connection_seconds": 2.0}
    async with (
        serving(Upstream(), directory / "idle.sock"),
        running_gateway(directory, "idle.sock", **few) as gateway,
        AsyncExitStack() as stack,
    ):
        idle = [await stack.enter_async_context(Connection(gateway.address)) for _ in range(25)]

        async def is_served() -> bool:
            with suppress(httpx.HTTPError):
                async with gateway.client() as http:
                    return (await http.get("/healthz")).status_code == 200
            return False

        async def assert_served() -> None:
            assert await is_served()

        assert not await is_served()
        await eventually(assert_served)
        assert all([await connection.ends() for connection in idle])
