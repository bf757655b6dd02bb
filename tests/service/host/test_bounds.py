"""The bounds that are settings: of connections, of their streams, and of headers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from google.rpc import code_pb2
from support.clusters import eventually
from support.framing_peer import connected, grpc_headers
from support.messages import APPLY
from support.raw_http import Connection
from support.service import HOST_MODES, Service, running_service

EMPTY = b"\0" * 5
STREAMS, HEADER_BYTES, CONNECTIONS, CONNECTIONS_OF_ADDRESS = 3, 8192, 10, 5


@pytest.fixture(scope="module", params=HOST_MODES)
async def narrow(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    """A service with small bounds."""
    of_connections = (
        "--max-connections",
        str(CONNECTIONS),
        "--max-connections-of-address",
        str(CONNECTIONS_OF_ADDRESS),
    )
    of_requests = ("--max-streams", str(STREAMS), "--max-header-bytes", str(HEADER_BYTES))
    async with running_service("--workers", "1", *of_connections, *of_requests, host_mode=request.param) as running:
        yield running


async def test_headers(narrow: Service) -> None:
    for address in (narrow.http_address, narrow.grpc_address):
        async with connected(address) as peer:
            short, long = (b"x-long", b"x" * (HEADER_BYTES // 2)), (b"x-long", b"x" * HEADER_BYTES)
            assert (await peer.call(grpc_headers(APPLY, short), EMPTY)).grpc_status == code_pb2.UNAUTHENTICATED
            refused = await peer.call(grpc_headers(APPLY, long), EMPTY)
            own = narrow.host_mode == "grpcio" and address == narrow.grpc_address
            assert refused.grpc_status == (code_pb2.RESOURCE_EXHAUSTED if own else None)  # others: with 431, or reset


@pytest.mark.parametrize("kilobytes", [20, 55])
async def test_long_headers_that_the_gateway_lets_through(service: Service, kilobytes: int) -> None:
    """Several times: grpcio looks at its bound once a connection has answered its settings."""
    long = [(b"x-long-%d" % number, b"x" * 1000) for number in range(kilobytes)]
    async with connected(service.http_address) as peer:
        for _ in range(10):
            answer = await peer.call(grpc_headers(APPLY, (b"authorization", b"nobody"), *long), EMPTY)
            assert answer.grpc_status == code_pb2.UNAUTHENTICATED


async def test_streams(narrow: Service) -> None:
    for address in (narrow.http_address, narrow.grpc_address):
        async with connected(address) as peer:
            assert (await peer.call(grpc_headers(APPLY), EMPTY)).grpc_status == code_pb2.UNAUTHENTICATED
            for _ in range(STREAMS):
                peer.begin(grpc_headers(APPLY), end=False)
            with pytest.raises(Exception, match="outbound streams"):
                peer.begin(grpc_headers(APPLY))


async def test_connections(narrow: Service) -> None:
    """Envoy counts those of all addresses, and of both ports where it has them; a native worker also those of one."""
    bounds = {narrow.http_address: CONNECTIONS}
    if narrow.host_mode == "native":
        bounds[narrow.grpc_address] = CONNECTIONS_OF_ADDRESS
    for address, most in bounds.items():
        async with contextlib.AsyncExitStack() as stack:
            callers = [await stack.enter_async_context(Connection(address)) for _ in range(most + 3)]
            endings = [asyncio.create_task(caller.ends()) for caller in callers]

            async def are_refused(endings: list["asyncio.Task[bool]"] = endings) -> None:
                assert sum(ending.done() for ending in endings) >= 3

            await eventually(are_refused)
            assert not all(ending.done() for ending in endings)
            for ending in endings:
                ending.cancel()
