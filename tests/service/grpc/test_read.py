"""GetMemberships and BatchGetMemberships."""

from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from instantaudience.v1 import audience_pb2 as pb
from instantaudience.v1.audience_pb2_grpc import AudienceServiceStub
from redis.asyncio import RedisCluster
from support.cluster.stored import MINUTE_MS, now_ms, put
from support.contract.answers import assert_grpc_error, broken_rule
from support.contract.messages import USER
from support.contract.strategies import UUID
from support.service.running import Service

SPORTS_FANS = {"seg_id": 10001, "seg_code": "sports_fans", "member_id": 123}
EARLY_ADOPTERS = {"seg_id": 12, "member_id": 123}


def entries(response: pb.GetMembershipsResult) -> list[dict[str, Any]]:
    body = MessageToDict(response, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    assert body == {"status": "OK", "rt_segment": body["rt_segment"]}
    result: list[dict[str, Any]] = body["rt_segment"]
    return result


@pytest.fixture
async def two_users(cluster: RedisCluster) -> None:
    """A platform user and a device."""
    end_ms = now_ms() + 3 * MINUTE_MS // 2
    await put(cluster, {("", USER): {10001: (3, end_ms), 12: (-1, 0), 40001: (1, 0)}, ("idfa", UUID): {12: (4, 0)}})


PLATFORM = {
    "user_id": USER,
    "seg_block": [{**EARLY_ADOPTERS, "value": -1, "expiration": 0}, {**SPORTS_FANS, "value": 3, "expiration": 2}],
}
DEVICE = {"user_id": UUID, "domain": "idfa", "seg_block": [{**EARLY_ADOPTERS, "value": 4, "expiration": 0}]}
NOBODY = {"user_id": "1", "seg_block": []}


@pytest.mark.usefixtures("two_users")
async def test_one_user(audience: AudienceServiceStub, authorization: Any) -> None:
    for request, expected in (
        ({"user_id": USER}, PLATFORM),
        ({"user_id": UUID.upper(), "domain": "idfa"}, DEVICE),
        ({"user_id": "1"}, NOBODY),
    ):
        answer = await audience.GetMemberships(pb.GetMembershipsRequest(**request), metadata=authorization)
        assert entries(answer.response) == [expected]


@pytest.mark.usefixtures("two_users")
async def test_batch_is_in_the_order_asked_for(audience: AudienceServiceStub, authorization: Any) -> None:
    users = [{"user_id": "1"}, {"user_id": USER}, {"user_id": UUID, "domain": "idfa"}, {"user_id": USER}]
    request = ParseDict({"users": users}, pb.BatchGetMembershipsRequest())
    answer = await audience.BatchGetMemberships(request, metadata=authorization)
    assert entries(answer.response) == [NOBODY, PLATFORM, DEVICE, PLATFORM]


@pytest.mark.usefixtures("two_users")
async def test_batch_of_external_ids(service: Service, audience: AudienceServiceStub, cluster: RedisCluster) -> None:
    await put(cluster, {("", "7"): {50001: (1, 0)}})
    await cluster.set("x:958:known", "7")
    users = [{"user_id": "unknown"}, {"user_id": "Known"}, {"user_id": UUID, "domain": "idfa"}, {"user_id": "known"}]
    request = ParseDict({"users": users}, pb.BatchGetMembershipsRequest())
    metadata = (("authorization", await service.token("external")),)
    answer = await audience.BatchGetMemberships(request, metadata=metadata)
    found = [
        (entry["user_id"], [block["seg_id"] for block in entry["seg_block"]]) for entry in entries(answer.response)
    ]
    assert found == [("unknown", []), ("Known", [50001]), (UUID, []), ("known", [50001])]


async def test_the_largest_batch(audience: AudienceServiceStub, authorization: Any, cluster: RedisCluster) -> None:
    await put(cluster, {("", str(user_id)): {12: (user_id, 0)} for user_id in range(1, 1001, 111)})
    users = [{"user_id": str(user_id)} for user_id in range(1, 1001)]
    request = ParseDict({"users": users}, pb.BatchGetMembershipsRequest())
    answer = await audience.BatchGetMemberships(request, metadata=authorization)
    values = [[block.value for block in entry.seg_block] for entry in answer.response.rt_segment]
    assert values == [[user_id] if user_id % 111 == 1 else [] for user_id in range(1, 1001)]


BAD_BATCHES: dict[str, tuple[list[dict[str, str]], str]] = {
    "nobody": ([], "users"),
    "1001 users": ([{"user_id": "1"}] * 1001, "users"),
    "no user_id": ([{"user_id": "1"}, {}], "users[1].user_id"),
    "an invalid user_id": ([{"user_id": "1"}, {"user_id": "x"}], "users[1].user_id"),
    "a user_id longer than headers are": ([{"user_id": "x" * 500_000}], "users[0].user_id"),
    "an invalid domain": ([{"user_id": "1"}, {"user_id": "1", "domain": "x"}], "users[1].domain"),
}


@pytest.mark.parametrize(("users", "path"), BAD_BATCHES.values(), ids=BAD_BATCHES)
async def test_bad_batches(
    audience: AudienceServiceStub, authorization: Any, users: list[dict[str, str]], path: str
) -> None:
    request = ParseDict({"users": users}, pb.BatchGetMembershipsRequest())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await audience.BatchGetMemberships(request, metadata=authorization)
    assert_grpc_error(caught.value, grpc.StatusCode.INVALID_ARGUMENT, "SYNTAX")
    assert broken_rule(caught.value) == (path, caught.value.details())
