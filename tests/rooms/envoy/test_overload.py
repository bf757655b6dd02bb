"""What Envoy does when there is too much of everything, whoever it comes from."""

from pathlib import Path

import grpc
import httpx
import pytest
from instantaudience.v1 import status_pb2 as health_pb2
from instantaudience.v1 import status_pb2_grpc
from support.answers import assert_grpc_error
from support.clusters import eventually
from support.gateways import Upstream, assert_error, running_gateway, serving


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
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await status_pb2_grpc.StatusServiceStub(channel).GetStatus(health_pb2.GetStatusRequest())
        assert_grpc_error(caught.value, grpc.StatusCode.UNAVAILABLE, "SYSTEM")
    assert upstream.calls == []
