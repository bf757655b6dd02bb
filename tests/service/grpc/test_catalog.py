"""CatalogService over gRPC; tests/modules/catalog has the rules."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from instantaudience.v1 import audience_pb2, audience_pb2_grpc
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience.v1.catalog_pb2_grpc import CatalogServiceStub
from redis.asyncio import RedisCluster
from support.contract.answers import assert_grpc_error
from support.contract.messages import apply_request
from support.service.running import Service
from support.waiting import eventually

Metadata = tuple[tuple[str, str], ...]
PASSWORD = "New-Passw0rd!"


@pytest.fixture
def catalog(channel: grpc.aio.Channel) -> CatalogServiceStub:
    """The service's stub."""
    return CatalogServiceStub(channel)


@pytest.fixture
async def admin(service: Service) -> Metadata:
    """The metadata with the token of the account `admin`."""
    return (("authorization", await service.token("admin")),)


@pytest.fixture
async def member(catalog: CatalogServiceStub, admin: Metadata) -> AsyncIterator[pb.Member]:
    """A new member; it goes at the end, with what it owns."""
    created = (await catalog.CreateMember(pb.CreateMemberRequest(member={"name": "New"}), metadata=admin)).member
    yield created
    users = await catalog.ListUsers(pb.ListUsersRequest(member_id=created.id), metadata=admin)
    for user in users.users:
        await catalog.DeleteUser(pb.DeleteUserRequest(id=user.id), metadata=admin)
    segments = await catalog.ListSegments(pb.ListSegmentsRequest(member_id=created.id), metadata=admin)
    for segment in segments.segments:
        await catalog.DeleteSegment(pb.DeleteSegmentRequest(id=segment.id), metadata=admin)
    await catalog.DeleteMember(pb.DeleteMemberRequest(id=created.id), metadata=admin)


async def sign_in(service: Service, username: str) -> Metadata:
    return (("authorization", await service.sign_in(username, PASSWORD)),)


async def test_a_new_user_puts_people_into_a_new_segment(
    service: Service,
    channel: grpc.aio.Channel,
    catalog: CatalogServiceStub,
    member: pb.Member,
    admin: Metadata,
    cluster: RedisCluster,
) -> None:
    new_user = pb.CreateUserRequest(user={"username": f"new {member.id}", "member_id": member.id}, password=PASSWORD)
    user = (await catalog.CreateUser(new_user, metadata=admin)).user
    authorization = await eventually(lambda: sign_in(service, user.username), seconds=5)

    async def known_everywhere() -> None:
        for _ in range(10):
            call = catalog.GetUser(pb.GetUserRequest(id=user.id), metadata=authorization)
            assert await call.code() is grpc.StatusCode.OK

    await eventually(known_everywhere, seconds=3)
    request = pb.CreateSegmentRequest(segment={"code": "new"})
    segment = (await catalog.CreateSegment(request, metadata=authorization)).segment
    assert segment.member_id == member.id
    audience = audience_pb2_grpc.AudienceServiceStub(channel)

    async def apply() -> None:
        blocks = [{"seg_code": "new", "member_id": member.id}]
        applied = await audience.ApplySegments(
            apply_request({"rt_segment": [{"user_id": "7", "seg_block": blocks}]}), metadata=authorization
        )
        assert not applied.response.warnings

    await eventually(apply, seconds=3)

    async def read() -> None:
        request = audience_pb2.GetMembershipsRequest(user_id="7")
        found = await audience.GetMemberships(request, metadata=authorization)
        assert [block.seg_id for block in found.response.rt_segment[0].seg_block] == [segment.id]

    await eventually(read, seconds=3)
    change = pb.UpdateUserRequest(user={"id": user.id, "deactivated": True}, update_mask={"paths": ["deactivated"]})
    await catalog.UpdateUser(change, metadata=admin)

    async def refused() -> None:
        call = catalog.GetUser(pb.GetUserRequest(id=user.id), metadata=authorization)
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
        assert ("error-id", "NOAUTH_DISABLED") in tuple(await call.trailing_metadata())

    await eventually(refused, seconds=3)


async def test_changes_and_pages(catalog: CatalogServiceStub, member: pb.Member, admin: Metadata) -> None:
    change = pb.UpdateMemberRequest(
        member={"id": member.id, "limits": {"users_per_call": 7}, "etag": member.etag},
        update_mask={"paths": ["limits.users_per_call"]},
    )
    changed = (await catalog.UpdateMember(change, metadata=admin)).member
    assert (changed.name, changed.limits.users_per_call) == ("New", 7)
    assert (await catalog.GetMember(pb.GetMemberRequest(id=member.id), metadata=admin)).member == changed
    found: list[pb.Member] = []
    token = ""
    while not found or token:
        page = await catalog.ListMembers(pb.ListMembersRequest(page_size=2, page_token=token), metadata=admin)
        assert len(page.members) <= 2
        found, token = [*found, *page.members], page.next_page_token
    ids = [each.id for each in found]
    assert ids == sorted(set(ids))
    assert {123, 777, 958, 1262, 1661} <= set(ids)
    assert changed in found


CHANGE_CODE = {"paths": ["code"]}
REFUSED: dict[str, tuple[str, Any, grpc.StatusCode, str, str]] = {
    "a rule broken": (
        *("CreateMember", pb.CreateMemberRequest(member={"name": ""})),
        *(grpc.StatusCode.INVALID_ARGUMENT, "SYNTAX", "name"),
    ),
    "an unknown path": (
        *("UpdateUser", pb.UpdateUserRequest(user={"id": 1001}, update_mask={"paths": ["x"]})),
        *(grpc.StatusCode.INVALID_ARGUMENT, "SYNTAX", "update_mask"),
    ),
    "nothing there": (
        *("GetSegment", pb.GetSegmentRequest(id=999_999)),
        *(grpc.StatusCode.NOT_FOUND, "SYNTAX", "id"),
    ),
    "a name taken": (
        *(
            "UpdateSegment",
            pb.UpdateSegmentRequest(segment={"id": 10001, "code": "CAR_shoppers"}, update_mask=CHANGE_CODE),
        ),
        *(grpc.StatusCode.ALREADY_EXISTS, "INTEGRITY", "code"),
    ),
    "an old etag": (
        *("DeleteSegment", pb.DeleteSegmentRequest(id=10001, etag="old")),
        *(grpc.StatusCode.ABORTED, "INTEGRITY", "etag"),
    ),
    "in use": (
        *("DeleteMember", pb.DeleteMemberRequest(id=777)),
        *(grpc.StatusCode.FAILED_PRECONDITION, "INTEGRITY", "id"),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_errors_have_a_code_and_name_the_field(catalog: CatalogServiceStub, admin: Metadata, case: str) -> None:
    rpc, request, code, reason, field = REFUSED[case]
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await getattr(catalog, rpc)(request, metadata=admin)
    assert_grpc_error(error.value, code, reason)
    assert info_of(error.value).metadata["field"] == field


def info_of(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info


class TestImporting:
    async def test_requests_are_carried_out_in_order(
        self, catalog: CatalogServiceStub, member: pb.Member, admin: Metadata
    ) -> None:
        """Each may refer to what an earlier one has put, and none waits for an answer."""
        new_id, number = member.id + 100_000, 10
        users = [{"user": {"id": new_id, "username": f"u{new_id}", "member_id": new_id}, "password": PASSWORD}]
        requests = [
            pb.ImportCatalogRequest(members=[{"id": new_id, "name": "Imported"}]),
            pb.ImportCatalogRequest(users=users, segments=[{"id": -1, "member_id": new_id}]),
            *(
                pb.ImportCatalogRequest(segments=[{"id": new_id + each, "member_id": new_id, "code": f"c{each}"}])
                for each in range(number)
            ),
        ]
        segment_ids = [new_id + each for each in range(number)]
        for created in (1, 0):
            answers = [answer async for answer in catalog.ImportCatalog(iter(requests), metadata=admin)]
            assert [(each.created, each.changed, each.unchanged) for each in answers] == [
                (created, 0, 1 - created)
            ] * len(requests)
            assert [[problem.path for problem in each.problems] for each in answers] == [
                [],
                ["segments[0]"],
                *([[]] * number),
            ]
        listed = await catalog.ListSegments(pb.ListSegmentsRequest(member_id=new_id), metadata=admin)
        assert [each.id for each in listed.segments] == segment_ids
        for segment_id in segment_ids:
            await catalog.DeleteSegment(pb.DeleteSegmentRequest(id=segment_id), metadata=admin)
        await catalog.DeleteUser(pb.DeleteUserRequest(id=new_id), metadata=admin)
        await catalog.DeleteMember(pb.DeleteMemberRequest(id=new_id), metadata=admin)

    async def test_the_role_member_may_not(self, catalog: CatalogServiceStub, authorization: Metadata) -> None:
        stream = catalog.ImportCatalog(metadata=authorization)
        await stream.write(pb.ImportCatalogRequest(segments=[{"id": 10001, "member_id": 123}]))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stream.read()
        assert_grpc_error(error.value, grpc.StatusCode.PERMISSION_DENIED, "UNAUTH")

    async def test_a_request_that_fails_ends_the_stream(self, catalog: CatalogServiceStub, admin: Metadata) -> None:
        stream = catalog.ImportCatalog(metadata=admin)
        await stream.write(pb.ImportCatalogRequest())
        assert await stream.read() == pb.ImportCatalogResponse()
        await stream.write(pb.ImportCatalogRequest(segments=[{}] * 1001))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stream.read()
        assert_grpc_error(error.value, grpc.StatusCode.INVALID_ARGUMENT, "SYNTAX")
