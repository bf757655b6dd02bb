"""PrivacyService, and suppression over every way in (source: privacy.proto; contract-neighbours, "Privacy")."""

import asyncio
import itertools
from collections.abc import Iterator

import grpc
import httpx
import pytest
from instantaudience.v1 import audience_pb2, audience_pb2_grpc, privacy_pb2_grpc
from instantaudience.v1 import privacy_pb2 as pb
from redis.asyncio import RedisCluster
from support.contract.answers import assert_grpc_error
from support.waiting import eventually, seconds_from_now

OWN, FOREIGN = 10001, 40001
BLOCKS = [{"seg_id": OWN, "value": 1, "expiration": 0}]
Metadata = tuple[tuple[str, str], ...]
numbers = itertools.count(7_000_000)


@pytest.fixture
def privacy(channel: grpc.aio.Channel) -> privacy_pb2_grpc.PrivacyServiceStub:
    """The service's stub."""
    return privacy_pb2_grpc.PrivacyServiceStub(channel)


async def test_the_way_of_a_device(
    privacy: privacy_pb2_grpc.PrivacyServiceStub, cluster: RedisCluster, authorization: Metadata
) -> None:
    key, user = f"m:m:{'0a' * 16}", {"user_id": "0A" * 16, "domain": "md5udid"}
    await cluster.hset(key, mapping={str(OWN): 1, str(FOREIGN): 1})
    shown = await privacy.GetUserSegments(pb.GetUserSegmentsRequest(**user), metadata=authorization)
    assert shown.segments == [pb.UserSegment(id=OWN, name="Sports fans", member_id=123)]
    removed = await privacy.ForgetUser(pb.ForgetUserRequest(**user), metadata=authorization)
    assert removed.segments == shown.segments
    assert await cluster.hkeys(key) == [str(FOREIGN).encode()]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await privacy.GetUserSegments(pb.GetUserSegmentsRequest(user_id="x"), metadata=authorization)
    assert_grpc_error(refused.value, grpc.StatusCode.INVALID_ARGUMENT, "SYNTAX")


async def test_a_suppressed_user_is_refused_over_every_way_in(
    privacy: privacy_pb2_grpc.PrivacyServiceStub,
    audience: audience_pb2_grpc.AudienceServiceStub,
    demo: httpx.AsyncClient,
    cluster: RedisCluster,
    authorization: Metadata,
) -> None:
    """Alone, and among others that come at the same time."""
    user_id = str(next(numbers))
    await privacy.ForgetUser(pb.ForgetUserRequest(user_id=user_id, suppress_minutes=60), metadata=authorization)
    known_everywhere = seconds_from_now(1)
    message = f"Suppressed user_id: {user_id}"
    users = [audience_pb2.RtSegment(user_id=each, seg_block=BLOCKS) for each in (user_id, str(next(numbers)))]

    async def is_refused() -> None:
        request = audience_pb2.ApplySegmentsRequest(rt_segment=users)
        answer = await audience.ApplySegments(request, metadata=authorization)
        assert [warning.message for warning in answer.response.warnings] == [message]

    await eventually(is_refused)

    def requests() -> Iterator[audience_pb2.StreamSegmentsRequest]:
        for each in (users[1:], users[:1], users):
            yield audience_pb2.StreamSegmentsRequest(rt_segment=each)

    async def is_refused_in_streams() -> None:  # they may come to another worker
        answers = [each async for each in audience.StreamSegments(requests(), metadata=authorization)]
        found = [[warning.message for warning in each.response.warnings] for each in answers]
        assert found == [[], [message], [message]]

    async def is_refused_over_rest() -> None:
        for expected in ([user_id], [user_id, users[1].user_id]):
            body = {"rt_segment": [{"user_id": each, "seg_block": BLOCKS} for each in expected]}
            warnings = (await demo.post("/rt-segment", json=body)).json()["response"].get("warnings", ())
            assert [warning["message"] for warning in warnings] == [message]

    await eventually(is_refused_in_streams)
    await eventually(is_refused_over_rest)
    # A file is applied once, perhaps before the process that does it knows.
    await asyncio.sleep(known_everywhere - asyncio.get_running_loop().time())
    job = (await demo.post("/batch-segment")).json()["response"]["batch_segment_upload_job"]
    lines = "".join(f"{each.user_id};{OWN}:0\n" for each in users)
    await demo.put(job["upload_url"], content=lines.encode(), headers={"authorization": ""})

    async def is_refused_in_files() -> None:
        answer = await demo.get("/batch-segment", params={"job_id": job["job_id"]})
        done = answer.json()["response"]["batch_segment_upload_job"]
        found = [done[name] for name in ("phase", "num_valid_user", "num_invalid_user")]
        assert found == ["completed", 1, 1]

    await eventually(is_refused_in_files, 60)

    async def is_out() -> None:  # whom a worker let through that did not know yet
        assert not await cluster.exists(f"m:p:{user_id}")

    await eventually(is_out)
    assert await cluster.exists(f"m:p:{users[1].user_id}")
    lift = pb.LiftSuppressionRequest(user_id=user_id)
    answers = [await privacy.LiftSuppression(lift, metadata=authorization) for _ in range(2)]
    assert answers == [pb.LiftSuppressionResponse(lifted=True), pb.LiftSuppressionResponse()]
    answer = await audience.ApplySegments(audience_pb2.ApplySegmentsRequest(rt_segment=users), metadata=authorization)
    assert not answer.response.warnings  # at once: who is suppressed is looked up
