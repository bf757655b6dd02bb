"""The bounds that are settings: of connections, of their streams, of calls, of headers, and of a node's silence."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest
from google.rpc import code_pb2
from support.contract.messages import APPLY, STREAM, USER, one_user
from support.service.metrics import scrape
from support.service.processes import standing_still
from support.service.running import COMMAND, HOST_MODES, Service, running_service
from support.waiting import eventually, until
from support.wire.http1 import Connection
from support.wire.peer import Peer, connected, grpc_headers

EMPTY = b"\0" * 5
STREAMS, HEADER_BYTES, CONNECTIONS, CONNECTIONS_OF_ADDRESS = 3, 8192, 10, 5
ACTIVE_CALLS = 10


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
    others = ("--max-active-calls", str(ACTIVE_CALLS), "--stalled-seconds", "60", "--metrics-port", "0")
    words = ("--workers", "1", *of_connections, *of_requests, *others)
    async with running_service(*words, host_mode=request.param) as running:
        yield running


async def test_headers(narrow: Service) -> None:
    for address in (narrow.http_address, narrow.grpc_address):
        async with connected(address) as peer:
            short, long = (b"x-long", b"x" * (HEADER_BYTES // 2)), (b"x-long", b"x" * HEADER_BYTES)
            assert (await peer.call(grpc_headers(APPLY, short), EMPTY)).grpc_status == code_pb2.UNAUTHENTICATED
            refused = await peer.call(grpc_headers(APPLY, long), EMPTY)
            assert refused.grpc_status is None  # with 431, or reset


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


async def test_calls(narrow: Service) -> None:
    """Those that the gateway has at workers; with grpcio, streams have a bound of their own."""
    own = (b"authorization", (await narrow.token()).encode())
    health = grpc_headers("/healthz", (b":method", b"GET"), without=(b"te", b"content-type"))

    async with contextlib.AsyncExitStack() as asking, contextlib.AsyncExitStack() as calling:
        asker = await _accepted(narrow, asking)

        async def assert_answered(status: int) -> None:
            assert (await asker.call(health)).http_status == status

        for _ in range(-(-ACTIVE_CALLS // STREAMS)):
            peer = await _accepted(narrow, calling)
            for _ in range(STREAMS):
                peer.begin(grpc_headers(STREAM, own), end=False)
        await eventually(lambda: assert_answered(200 if narrow.host_mode == "grpcio" else 503))
        await calling.aclose()
        await eventually(lambda: assert_answered(200))


async def _accepted(service: Service, stack: contextlib.AsyncExitStack) -> Peer:
    """A connection to the gateway, which notices late that earlier ones have ended, and refuses one too many."""

    async def is_accepted() -> Peer:
        peer = await stack.enter_async_context(connected(service.http_address))
        assert (await peer.call(grpc_headers(APPLY), EMPTY)).grpc_status == code_pb2.UNAUTHENTICATED
        return peer

    accepted: Peer = await eventually(is_accepted)
    return accepted


async def test_a_node_may_be_silent_for_as_long_as_is_set(narrow: Service) -> None:
    """Its connection is not replaced before, whatever becomes of the calls meanwhile."""
    async with narrow.http(headers={"authorization": await narrow.token()}) as http:
        assert (await http.post("/rt-segment", json=one_user(USER))).status_code == 200
        async with narrow.cluster() as cluster:
            found = cluster.get_node_from_key(f"m:p:{USER}")
        assert found is not None
        process = (await narrow.on_node(found.port, "INFO", "server"))["process_id"]
        with standing_still(process):
            assert (await http.post("/rt-segment", json=one_user(USER))).status_code == 503
        node = f"{found.host}:{found.port}"
        assert (await scrape(narrow)).total("store_connection_failures_total", node=node) == 0


async def test_connections(narrow: Service) -> None:
    """Envoy counts those of all addresses, and of both ports where it has them; a native worker also those of one."""
    bounds = {narrow.http_address: CONNECTIONS}
    if narrow.host_mode == "native":
        bounds[narrow.grpc_address] = CONNECTIONS_OF_ADDRESS
    for address, most in bounds.items():
        async with contextlib.AsyncExitStack() as stack:
            callers = [await stack.enter_async_context(Connection(address)) for _ in range(most + 3)]
            endings = [asyncio.create_task(caller.ends()) for caller in callers]
            await until(lambda: sum(ending.done() for ending in endings) >= 3)  # noqa: B023 - it is over before the next
            assert not all(ending.done() for ending in endings)
            for ending in endings:
                ending.cancel()


@pytest.mark.parametrize("host_mode", HOST_MODES)
async def test_connections_that_there_are_no_open_files_for_are_refused(host_mode: str) -> None:
    """They would wait, and everybody with them, though bounds allow more; who is there already is served."""
    limited = ["sh", "-c", 'ulimit -n 160; exec "$@"', "sh", *COMMAND]
    arguments = ("--workers", "1", "--metrics-port", "0")
    async with (
        running_service(*arguments, host_mode=host_mode, command=limited) as service,
        contextlib.AsyncExitStack() as stack,
        httpx.AsyncClient(base_url=service.url, timeout=20) as http,
    ):
        (told,) = [event for event in service.events if event["event"] == "few_open_files"]
        assert (await http.get("/readyz")).status_code == 200
        most: int = told["max_connections"]
        others = [await stack.enter_async_context(Connection(service.http_address)) for _ in range(most + 20)]
        endings = [asyncio.create_task(other.ends()) for other in others]
        await until(lambda: sum(ending.done() for ending in endings) >= 21)
        assert (await http.get("/readyz")).status_code == 200

        async def are_counted() -> None:
            assert (await scrape(service)).total("gateway_refusals_total", reason="connections") == 21

        await eventually(are_counted)
        assert sum(ending.done() for ending in endings) == 21
        for ending in endings:
            ending.cancel()
        assert "background_defect" not in service.log


async def test_as_many_files_may_be_open_as_the_machine_lets() -> None:
    """Who starts the service in a shell has a lower limit."""
    limited = ["sh", "-c", 'ulimit -Sn 100; exec "$@"', "sh", *COMMAND]
    async with running_service("--workers", "1", command=limited) as service, contextlib.AsyncExitStack() as stack:
        for address in (service.http_address, service.grpc_address):
            for _ in range(150):
                await stack.enter_async_context(Connection(address))
        async with connected(service.grpc_address) as peer:
            assert (await peer.call(grpc_headers(APPLY), EMPTY)).grpc_status == code_pb2.UNAUTHENTICATED
        assert "few_open_files" not in service.log
