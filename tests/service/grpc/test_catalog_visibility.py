"""A segment that one worker creates takes users on every worker within a second (contract, "/segment")."""

import asyncio
import time

from instantaudience.v1 import audience_pb2, catalog_pb2
from support.clusters import eventually
from support.messages import apply_request, one_user
from support.processes import needs_proc
from support.service import Service
from support.workers import WorkerPeer, connected_to_each

pytestmark = needs_proc

VISIBLE_SECONDS = 1.0 + 2.0
"""A busy machine may take longer."""
SEGMENTS = 5


async def test_a_segment_is_usable_on_every_worker_within_a_second(four: Service) -> None:
    token = await four.token()
    async with connected_to_each(four) as peers:
        for number in range(SEGMENTS):
            creator = peers[number % len(peers)]
            created = await create(creator, token, f"segment_{number}")
            started = time.monotonic()
            await asyncio.gather(*(usable(peer, token, created.id) for peer in peers))
            assert time.monotonic() - started <= VISIBLE_SECONDS
            # The worker that created it knows it when it answers.
            assert await takes_users(creator, token, created.id)


async def create(peer: WorkerPeer, token: str, code: str) -> catalog_pb2.Segment:
    request = catalog_pb2.CreateSegmentRequest(segment=catalog_pb2.Segment(code=code))
    return (await peer.call("CatalogService/CreateSegment", request, catalog_pb2.CreateSegmentResponse, token)).segment


async def takes_users(peer: WorkerPeer, token: str, segment_id: int) -> bool:
    request = apply_request(one_user(seg_id=segment_id))
    answer = await peer.call("AudienceService/ApplySegments", request, audience_pb2.ApplySegmentsResponse, token)
    return not answer.response.warnings


async def usable(peer: WorkerPeer, token: str, segment_id: int) -> None:
    async def check() -> None:
        assert await takes_users(peer, token, segment_id)

    await eventually(check)
