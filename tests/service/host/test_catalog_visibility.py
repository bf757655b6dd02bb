"""A segment that one worker creates takes users on every worker within a second (contract, "/segment")."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from instantaudience.v1 import audience_pb2, catalog_pb2
from instantaudience_server.transport.framing import frame
from support.clusters import eventually
from support.framing_peer import Peer, connected, grpc_headers
from support.interop_sockets import owner
from support.messages import APPLY, PACKAGE, apply_request, one_user
from support.processes import descendants, needs_proc
from support.service import Service, running_service

pytestmark = needs_proc

WORKERS = 4
VISIBLE_SECONDS = 1.0
STATUS = f"/{PACKAGE}.StatusService/GetStatus"
CREATE = f"/{PACKAGE}.CatalogService/CreateSegment"
SEGMENTS = 5


@pytest.fixture(scope="module")
async def four_workers(host_mode: str) -> AsyncIterator[Service]:
    async with running_service("--workers", str(WORKERS), host_mode=host_mode) as running:
        yield running
        assert "call_defect" not in running.log


async def test_a_segment_is_usable_on_every_worker_within_a_second(four_workers: Service) -> None:
    token = await four_workers.token()
    async with AsyncExitStack() as stack:
        peers = await one_peer_each(stack, four_workers)
        for creator in range(SEGMENTS):
            created = await create(peers[creator % WORKERS], token, f"segment_{creator}")
            started = time.monotonic()
            await asyncio.gather(*(usable(peer, token, created.id) for peer in peers))
            assert time.monotonic() - started <= VISIBLE_SECONDS
            # The worker that created it knows it when it answers.
            assert await takes_users(peers[creator % WORKERS], token, created.id)


async def one_peer_each(stack: AsyncExitStack, service: Service) -> list[Peer]:
    """A connection to each worker."""
    port = int(service.grpc_address.rpartition(":")[2])
    pids = [process.pid for process in descendants(service.process.pid)]
    found: dict[int, Peer] = {}
    async with asyncio.timeout(20):
        while len(found) < WORKERS:
            peer = await stack.enter_async_context(connected(service.grpc_address))
            assert (await peer.call(grpc_headers(STATUS), frame(b""))).grpc_status == 0
            pid = owner(port, peer.port, pids)
            assert pid is not None
            found.setdefault(pid, peer)
    return list(found.values())


async def call(peer: Peer, path: str, token: str, message: bytes) -> bytes:
    answer = await peer.call(grpc_headers(path, (b"authorization", token.encode())), frame(message))
    assert answer.grpc_status == 0, answer
    return answer.message


async def create(peer: Peer, token: str, code: str) -> catalog_pb2.Segment:
    request = catalog_pb2.CreateSegmentRequest(segment=catalog_pb2.Segment(code=code))
    answer = await call(peer, CREATE, token, request.SerializeToString())
    return catalog_pb2.CreateSegmentResponse.FromString(answer).segment


async def takes_users(peer: Peer, token: str, segment_id: int) -> bool:
    request = apply_request(one_user(seg_id=segment_id))
    answer = audience_pb2.ApplySegmentsResponse.FromString(await call(peer, APPLY, token, request.SerializeToString()))
    return not answer.response.warnings


async def usable(peer: Peer, token: str, segment_id: int) -> None:
    async def check() -> None:
        assert await takes_users(peer, token, segment_id)

    await eventually(check)
