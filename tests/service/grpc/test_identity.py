"""IdentityService (source: identity.proto)."""

from typing import Any

import grpc
import pytest
from instantaudience.v1 import audience_pb2, audience_pb2_grpc, identity_pb2_grpc
from instantaudience.v1 import identity_pb2 as pb
from redis.asyncio import RedisCluster
from support.cluster.stored import now_ms, stored
from support.contract.answers import assert_grpc_error
from support.contract.messages import apply_request
from support.service.running import Service

LIFETIME_MS = 18 * 24 * 3_600_000
Metadata = tuple[tuple[str, str], ...]


@pytest.fixture
def identities(channel: grpc.aio.Channel, cluster: RedisCluster) -> identity_pb2_grpc.IdentityServiceStub:
    """The service's stub; nobody is mapped."""
    return identity_pb2_grpc.IdentityServiceStub(channel)


async def as_account(service: Service, username: str) -> Metadata:
    """The metadata with an account's token."""
    return (("authorization", await service.token(username)),)


async def test_map_resolve_unmap(
    service: Service,
    identities: identity_pb2_grpc.IdentityServiceStub,
    channel: grpc.aio.Channel,
    cluster: RedisCluster,
) -> None:
    metadata = await as_account(service, "external")
    before = now_ms()
    mapping = pb.UserMapping(user_id="7", external_ids=["CRM-1", "{Tag}", "crm-1"])
    mapped = await identities.MapUser(pb.MapUserRequest(mapuid=mapping), metadata=metadata)
    after = now_ms()
    assert mapped == pb.MapUserResponse(response=pb.MappingResult(status="OK", count=2))

    question = pb.ResolveUserRequest(external_ids=["{TAG}", "nobody", "Crm-1"])
    first, nobody, last = (await identities.ResolveUser(question, metadata=metadata)).users
    assert [(user.external_id, user.user_id) for user in (first, last)] == [("{tag}", "7"), ("crm-1", "7")]
    assert all(before + LIFETIME_MS <= user.end.ToMilliseconds() <= after + LIFETIME_MS for user in (first, last))
    assert nobody == pb.ResolvedUser(external_id="nobody")

    audience = audience_pb2_grpc.AudienceServiceStub(channel)
    blocks = [{"seg_id": 50001, "expiration": 0}]
    request = apply_request({"rt_segment": [{"user_id": "{tAG}", "seg_block": blocks}]})
    assert not (await audience.ApplySegments(request, metadata=metadata)).response.warnings
    assert await stored(cluster) == {("", "7"): {50001: (0, 0)}}

    unmapped = await identities.UnmapUser(
        pb.UnmapUserRequest(external_ids=["{tag}", "nobody", "{TAG}"]), metadata=metadata
    )
    assert unmapped == pb.UnmapUserResponse(response=pb.MappingResult(status="OK", count=1))
    warnings = (await audience.ApplySegments(request, metadata=metadata)).response.warnings
    assert [warning.code for warning in warnings] == [audience_pb2.WARNING_CODE_UNKNOWN_USER_ID]
    assert [key async for key in cluster.scan_iter(match="x:*")] == [b"x:958:crm-1"]


async def test_an_admin_may_work_with_every_members_ids(
    service: Service, identities: identity_pb2_grpc.IdentityServiceStub
) -> None:
    metadata = await as_account(service, "admin")
    mapping = pb.UserMapping(member_id=958, user_id="7", external_ids=["a"])
    await identities.MapUser(pb.MapUserRequest(mapuid=mapping), metadata=metadata)
    question = pb.ResolveUserRequest(external_ids=["a"])
    own = await identities.ResolveUser(question, metadata=metadata)
    assert not own.users[0].HasField("user_id")
    theirs = await identities.ResolveUser(question, metadata=await as_account(service, "external"))
    assert theirs.users[0].user_id == "7"
    forgotten = await identities.UnmapUser(pb.UnmapUserRequest(member_id=958, external_ids=["a"]), metadata=metadata)
    assert forgotten.response.count == 1


ONE = ["a"]
MAP, RESOLVE, UNMAP = "MapUser", "ResolveUser", "UnmapUser"
INVALID, DENIED, MISSING = (
    (grpc.StatusCode.INVALID_ARGUMENT, "SYNTAX"),
    (grpc.StatusCode.PERMISSION_DENIED, "UNAUTH"),
    (grpc.StatusCode.NOT_FOUND, "SYNTAX"),
)
REFUSED: dict[str, tuple[str, str, Any, tuple[grpc.StatusCode, str]]] = {
    "nothing to map": ("external", MAP, pb.MapUserRequest(), INVALID),
    "no user": ("external", MAP, pb.MapUserRequest(mapuid={"external_ids": ONE}), INVALID),
    "nothing to resolve": ("external", RESOLVE, pb.ResolveUserRequest(), INVALID),
    "too much to resolve": ("external", RESOLVE, pb.ResolveUserRequest(external_ids=ONE * 1001), INVALID),
    "nothing to forget": ("external", UNMAP, pb.UnmapUserRequest(), INVALID),
    "an empty ID": ("external", UNMAP, pb.UnmapUserRequest(external_ids=["a", ""]), INVALID),
    "map another member's": (
        *("external", MAP, pb.MapUserRequest(mapuid={"member_id": 123, "user_id": "1", "external_ids": ONE})),
        DENIED,
    ),
    "resolve another member's": ("demo", RESOLVE, pb.ResolveUserRequest(member_id=958, external_ids=ONE), DENIED),
    "forget another member's": ("demo", UNMAP, pb.UnmapUserRequest(member_id=958, external_ids=ONE), DENIED),
    "no such member": ("admin", RESOLVE, pb.ResolveUserRequest(member_id=5, external_ids=ONE), MISSING),
}


@pytest.mark.parametrize(("username", "method", "request_message", "error"), REFUSED.values(), ids=REFUSED)
async def test_refused(
    service: Service,
    identities: identity_pb2_grpc.IdentityServiceStub,
    username: str,
    method: str,
    request_message: Any,
    error: tuple[grpc.StatusCode, str],
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(identities, method)(request_message, metadata=await as_account(service, username))
    assert_grpc_error(caught.value, *error)
