"""ApplySegments and StreamSegments: the contract's examples, and whatever else the schema admits."""

from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience.v1 import audience_pb2 as pb
from instantaudience.v1.audience_pb2_grpc import AudienceServiceStub
from redis.asyncio import RedisCluster
from support.cluster.stored import assert_between, forget_users, now_ms, put_before, put_external_ids, state_at, stored
from support.contract import model, strategies
from support.contract.answers import assert_grpc_error
from support.contract.messages import LIMIT_BYTES, apply_request, one_user, stream_request
from support.contract.vectors import Vector, rt_segment_vectors
from support.parts.readings import as_response
from support.service.running import Service

VECTORS = pytest.mark.parametrize("vector", rt_segment_vectors(), ids=lambda vector: vector.name)


def assert_answer(result: pb.ApplySegmentsResult, vector: Vector) -> None:
    """The contract's answer; each warning says for machines what it is about, too."""
    assert as_response(result) == vector.response
    for warning in result.warnings:
        assert warning.code != pb.WARNING_CODE_UNSPECIFIED
        assert (warning.path == "") == (warning.code == pb.WARNING_CODE_NO_VALID_USERS)


@VECTORS
async def test_examples(service: Service, audience: AudienceServiceStub, cluster: RedisCluster, vector: Vector) -> None:
    await put_before(cluster, vector)
    metadata = (("authorization", await service.token(vector.user)),)
    earliest = now_ms()
    answer = await audience.ApplySegments(apply_request(vector.request), metadata=metadata)
    latest = now_ms()
    assert_answer(answer.response, vector)
    assert_between(await stored(cluster), state_at(earliest, vector.memberships), state_at(latest, vector.memberships))


@VECTORS
async def test_examples_in_a_stream(
    service: Service, audience: AudienceServiceStub, cluster: RedisCluster, vector: Vector
) -> None:
    await put_before(cluster, vector)
    stream = audience.StreamSegments(metadata=(("authorization", await service.token(vector.user)),))
    earliest = now_ms()
    await stream.write(stream_request(vector.request))
    answer = await stream.read()
    latest = now_ms()
    assert_answer(answer.response, vector)
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert_between(await stored(cluster), state_at(earliest, vector.memberships), state_at(latest, vector.memberships))


@VECTORS
async def test_validating_alone_changes_nothing(
    service: Service, audience: AudienceServiceStub, cluster: RedisCluster, vector: Vector
) -> None:
    await put_before(cluster, vector)
    before = await stored(cluster)
    metadata = (("authorization", await service.token(vector.user)),)
    answer = await audience.ApplySegments(apply_request(vector.request, validate_only=True), metadata=metadata)
    assert_answer(answer.response, vector)
    stream = audience.StreamSegments(metadata=metadata)
    await stream.write(stream_request(vector.request, validate_only=True))
    assert_answer((await stream.read()).response, vector)
    await stream.done_writing()
    assert await stored(cluster) == before


async def test_warnings_for_machines(audience: AudienceServiceStub, authorization: Any, cluster: RedisCluster) -> None:
    good = {"seg_id": 10001}
    users = [
        {"user_id": "1", "seg_block": [good, {"seg_id": 10002, "expiration": -2}, {"seg_id": 99}]},
        {"user_id": "", "seg_block": [good]},
        {"user_id": "2", "seg_block": [good] * 101},
    ]
    answer = await audience.ApplySegments(apply_request({"rt_segment": users}), metadata=authorization)
    assert [(warning.path, warning.code) for warning in answer.response.warnings] == [
        ("rt_segment[0].seg_block[1]", pb.WARNING_CODE_INVALID_EXPIRATION),
        ("rt_segment[0].seg_block[2]", pb.WARNING_CODE_UNKNOWN_SEGMENT),
        ("rt_segment[1]", pb.WARNING_CODE_USER_ID_REQUIRED),
        ("rt_segment[2]", pb.WARNING_CODE_TOO_MANY_SEGMENTS),
    ]


async def test_absent_value_and_expiration(
    audience: AudienceServiceStub, authorization: Any, cluster: RedisCluster
) -> None:
    """Absent is not zero: without an expiration, a user of member 123 stays for 43200 minutes."""
    earliest = now_ms()
    request = pb.ApplySegmentsRequest()
    request.rt_segment.add(user_id="1").seg_block.add(seg_id=10001)
    request.rt_segment.add(user_id="2").seg_block.add(seg_id=10001, expiration=0)
    await audience.ApplySegments(request, metadata=authorization)
    (value, end_ms), forever = [segments[10001] for _, segments in sorted((await stored(cluster)).items())]
    assert value == 0
    assert 0 <= end_ms - earliest - 43200 * 60_000 <= now_ms() - earliest
    assert forever == (0, 0)


@given(
    requests=st.lists(strategies.requests, min_size=1, max_size=3),
    username=st.sampled_from(["demo", "external", "private"]),
    port=st.sampled_from(["gateway", "direct"]),
)
async def test_any_request(
    service: Service, nodes: RedisCluster, requests: list[dict[str, Any]], username: str, port: str
) -> None:
    """It is answered as the model answers it, and what stands afterwards is what stands in the model."""
    earliest: model.State = {}
    latest: model.State = {}
    catalog, ids = model.DEMO, strategies.EXTERNAL_IDS
    metadata = (("authorization", await service.token(username)),)
    await forget_users(nodes)
    await put_external_ids(nodes, ids)
    async with service.channel(port) as channel:
        apply = AudienceServiceStub(channel).ApplySegments
        for request in requests:
            message = apply_request(request)
            before_ms = now_ms()
            if message.ByteSize() > LIMIT_BYTES:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await apply(message, metadata=metadata)
                assert_grpc_error(caught.value, grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT")
                continue
            answer = await apply(message, metadata=metadata)
            response, earliest = model.apply(request, earliest, catalog, username, before_ms, ids)
            _, latest = model.apply(request, latest, catalog, username, now_ms(), ids)
            assert as_response(answer.response) == response
    assert_between(await stored(nodes), earliest, latest)


async def test_a_request_is_applied_again_without_harm(
    audience: AudienceServiceStub, authorization: Any, cluster: RedisCluster
) -> None:
    for value in (1, 2, 2):
        await audience.ApplySegments(apply_request(one_user("1", value=value)), metadata=authorization)
    assert await stored(cluster) == {("", "1"): {10001: (2, 0)}}
