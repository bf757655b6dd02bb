"""External IDs: map, resolve, forget (source: identity.proto; contract, "Domains")."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
from instantaudience.v1 import audience_pb2, catalog_pb2
from instantaudience.v1 import identity_pb2 as pb
from instantaudience_server.admission.quotas import Quotas
from instantaudience_server.catalog import records as catalog_records
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.catalog.editor import CatalogEditor
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.memberships.identity_service import IdentityService
from instantaudience_server.memberships.service import MembershipService
from instantaudience_server.segment_sizes import SegmentSizes
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.external_id_store import ClusterExternalIdStore
from instantaudience_server.store.interfaces.catalog import Record
from instantaudience_server.store.membership_store import ClusterMembershipStore
from instantaudience_server.store.quota_store import ClusterQuotaStore
from instantaudience_server.usage.counting import Usage
from redis.asyncio import RedisCluster
from support.clocks import FakeClock
from support.parts.callers import caller
from support.parts.readings import encoded, warnings_of
from support.waiting import seconds_from_now

LIFETIME_MS = 18 * 24 * 3_600_000
OWNER, BORROWER, STRANGER = 1, 2, 3
OBJECTS = (
    catalog_pb2.Member(id=OWNER, name="Owner", use_external_uids=True),
    catalog_pb2.Member(id=BORROWER, name="Borrower", use_external_uids=True, external_member_uid=OWNER),
    catalog_pb2.Member(id=STRANGER, name="Stranger"),
    catalog_pb2.User(id=1, username="owner", member_id=OWNER, role=catalog_pb2.ROLE_MEMBER),
    catalog_pb2.User(id=2, username="borrower", member_id=BORROWER, role=catalog_pb2.ROLE_MEMBER),
    catalog_pb2.User(id=3, username="admin", member_id=STRANGER, role=catalog_pb2.ROLE_ADMIN),
    catalog_pb2.Segment(id=10, member_id=OWNER, state=catalog_pb2.SEGMENT_STATE_ACTIVE),
    catalog_pb2.Segment(id=20, member_id=BORROWER, state=catalog_pb2.SEGMENT_STATE_ACTIVE),
)
CATALOG = Catalog(Record(catalog_records.kind_of(each), catalog_records.encode(each)) for each in OBJECTS)


@pytest.fixture
async def identities(cluster: Cluster, clock: FakeClock) -> IdentityService:
    feed = CatalogFeed(ClusterCatalogStore(cluster), CATALOG)
    return IdentityService(feed, ClusterExternalIdStore(cluster), clock)


@pytest.fixture
async def memberships(
    cluster: Cluster, usage: Usage, sizes: SegmentSizes, clock: FakeClock
) -> AsyncIterator[MembershipService]:
    quotas = Quotas(ClusterQuotaStore(cluster, secrets.token_hex()))
    yield MembershipService(CATALOG, ClusterMembershipStore(cluster), quotas, usage, sizes, clock)
    await quotas.close()


async def map_user(service: IdentityService, *external_ids: str, username: str = "owner", **mapping: Any) -> int:
    request = pb.MapUserRequest(mapuid={"user_id": "7", "external_ids": external_ids, **mapping})
    result = await service.map_user(request, caller(username, CATALOG), seconds_from_now())
    assert result.status == "OK"
    return result.count


async def resolve(
    service: IdentityService, *external_ids: str, username: str = "owner", **fields: Any
) -> list[tuple[str, str | None]]:
    request = pb.ResolveUserRequest(external_ids=external_ids, **fields)
    users = await service.resolve_users(request, caller(username, CATALOG), seconds_from_now())
    assert all(user.HasField("end") <= user.HasField("user_id") for user in users)
    return [(user.external_id, user.user_id if user.HasField("user_id") else None) for user in users]


async def unmap(service: IdentityService, *external_ids: str, username: str = "owner", **fields: Any) -> int:
    request = pb.UnmapUserRequest(external_ids=external_ids, **fields)
    result = await service.unmap_users(request, caller(username, CATALOG), seconds_from_now())
    assert result.status == "OK"
    return result.count


ODD_IDS = ["a", "A b", "{}", "{tag}", "}{", "x:1:y", "é", "Ωμέγα", "日本", "😀", "%00", "'\"\\", "a" * 256]


async def test_a_mapping_lasts_18_days(identities: IdentityService, plain: RedisCluster, clock: FakeClock) -> None:
    assert await map_user(identities, "CRM-1", "crm-2") == 2
    for external_id in ("crm-1", "crm-2"):
        assert await plain.get(f"x:1:{external_id}") == b"7"
        assert await plain.pexpiretime(f"x:1:{external_id}") == clock.ms + LIFETIME_MS
    request = pb.ResolveUserRequest(external_ids=["crm-1"])
    (user,) = await identities.resolve_users(request, caller("owner", CATALOG), seconds_from_now())
    assert user.end.ToMilliseconds() == clock.ms + LIFETIME_MS


async def test_mapping_again_renews(identities: IdentityService, plain: RedisCluster, clock: FakeClock) -> None:
    await map_user(identities, "a", "b")
    clock.ms += 1000
    await map_user(identities, "B", user_id="18446744073709551615")
    assert await resolve(identities, "a", "b") == [("a", "7"), ("b", "18446744073709551615")]
    assert await plain.pexpiretime("x:1:a") == clock.ms - 1000 + LIFETIME_MS
    assert await plain.pexpiretime("x:1:b") == clock.ms + LIFETIME_MS


async def test_a_mapping_that_ended_is_none(identities: IdentityService, clock: FakeClock) -> None:
    clock.ms -= LIFETIME_MS + 1
    await map_user(identities, "a")
    assert await resolve(identities, "a") == [("a", None)]


async def test_a_mapping_that_never_ends(identities: IdentityService, plain: RedisCluster) -> None:
    await plain.set("x:1:a", "7")
    request = pb.ResolveUserRequest(external_ids=["a"])
    (user,) = await identities.resolve_users(request, caller("owner", CATALOG), seconds_from_now())
    assert user == pb.ResolvedUser(external_id="a", user_id="7")


async def test_odd_ids(identities: IdentityService) -> None:
    for number, external_id in enumerate(ODD_IDS, 1):
        assert await map_user(identities, external_id.upper(), user_id=str(number)) == 1
    expected = [(each.lower(), str(number)) for number, each in enumerate(ODD_IDS, 1)]
    assert await resolve(identities, *ODD_IDS) == expected
    assert await unmap(identities, *ODD_IDS) == len(ODD_IDS)


async def test_an_id_that_stands_twice_is_one(identities: IdentityService) -> None:
    assert await map_user(identities, "a", "A", "b", "a") == 2
    assert await resolve(identities, "A", "x", "a", "X") == [("a", "7"), ("x", None), ("a", "7"), ("x", None)]
    assert await unmap(identities, "a", "A", "x", "X") == 1
    assert await unmap(identities, "a") == 0
    assert await resolve(identities, "a", "b") == [("a", None), ("b", "7")]


async def test_each_member_has_ids_of_its_own(identities: IdentityService) -> None:
    await map_user(identities, "a", user_id="1")
    await map_user(identities, "a", user_id="2", username="borrower")
    await map_user(identities, "a", user_id="3", username="admin")
    seen = [await resolve(identities, "a", username=name) for name in ("owner", "borrower", "admin")]
    assert seen == [[("a", "1")], [("a", "2")], [("a", "3")]]


async def test_own_member_or_admin(identities: IdentityService) -> None:
    await map_user(identities, "a", member_id=OWNER)
    await map_user(identities, "b", member_id=OWNER, username="admin")
    assert await resolve(identities, "a", "b", member_id=OWNER) == [("a", "7"), ("b", "7")]
    assert await resolve(identities, "a", "b", member_id=OWNER, username="admin") == [("a", "7"), ("b", "7")]
    for member_id in (OWNER, STRANGER, 99, 0, -1):
        for call in (map_user, resolve, unmap):
            with pytest.raises(AudienceError) as caught:
                await call(identities, "a", member_id=member_id, username="borrower")
            assert caught.value.reason is Reason.UNAUTH
    assert await unmap(identities, "a", "b", member_id=OWNER, username="admin") == 2


@pytest.mark.parametrize(("call", "field"), [(map_user, "mapuid.member_id"), (resolve, "member_id")])
async def test_a_member_that_does_not_exist(identities: IdentityService, call: Any, field: str) -> None:
    with pytest.raises(AudienceError) as caught:
        await call(identities, "a", member_id=99, username="admin")
    assert (caught.value.reason, caught.value.metadata) == (Reason.NOT_FOUND, {"field": field})


async def test_a_member_that_another_worker_has_just_made(cluster: Cluster, clock: FakeClock) -> None:
    store = ClusterCatalogStore(cluster)
    feed, others = CatalogFeed(store, Catalog()), CatalogFeed(store, Catalog())
    for each in (feed, others):
        await each.load()
    member = await CatalogEditor(store, others, clock).create(catalog_pb2.Member(name="New"), seconds_from_now())
    identities = IdentityService(feed, ClusterExternalIdStore(cluster), clock)
    assert await map_user(identities, "a", member_id=member.id, username="admin") == 1


INVALID = {
    "no mapuid": (pb.MapUserRequest(), "mapuid"),
    **{
        f"user_id {user_id!r}": ({"user_id": user_id, "external_ids": ["a"]}, "mapuid.user_id")
        for user_id in ("", "0", "01", "-1", "x", " 1", "1.0", "18446744073709551616")
    },
    "no external_ids": ({"user_id": "1"}, "mapuid.external_ids"),
    "too many external_ids": ({"user_id": "1", "external_ids": map(str, range(101))}, "mapuid.external_ids"),
    "an empty one": ({"user_id": "1", "external_ids": ["a", ""]}, "mapuid.external_ids[1]"),
    "one that is too long": ({"user_id": "1", "external_ids": ["a", "b", "c", "a" * 257]}, "mapuid.external_ids[3]"),
    "one with a line's end": ({"user_id": "1", "external_ids": ["a\n"]}, "mapuid.external_ids[0]"),
}


@pytest.mark.parametrize(("request_or_mapping", "field"), INVALID.values(), ids=INVALID)
async def test_invalid_mappings(
    identities: IdentityService, plain: RedisCluster, request_or_mapping: Any, field: str
) -> None:
    request = pb.MapUserRequest(mapuid=request_or_mapping) if field != "mapuid" else request_or_mapping
    with pytest.raises(AudienceError) as caught:
        await identities.map_user(request, caller("owner", CATALOG), seconds_from_now())
    assert caught.value.reason is Reason.SYNTAX
    assert caught.value.message.startswith(f"'{field}' ")
    assert caught.value.metadata == {"field": field}
    assert await plain.dbsize(target_nodes=RedisCluster.PRIMARIES) == 0


@pytest.mark.parametrize("call", [resolve, unmap])
@pytest.mark.parametrize(
    ("external_ids", "field"),
    [([], "external_ids"), (list(map(str, range(1001))), "external_ids"), (["a", "\t"], "external_ids[1]")],
)
async def test_invalid_questions(identities: IdentityService, call: Any, external_ids: list[str], field: str) -> None:
    with pytest.raises(AudienceError) as caught:
        await call(identities, *external_ids)
    assert (caught.value.reason, caught.value.metadata) == (Reason.SYNTAX, {"field": field})
    assert caught.value.message.startswith(f"'{field}' ")


async def test_the_most(identities: IdentityService) -> None:
    many = [f"id-{number}" for number in range(1000)]
    for start in range(0, 1000, 100):
        assert await map_user(identities, *many[start : start + 100], user_id=str(start + 1)) == 100
    expected = [(each, str(number // 100 * 100 + 1)) for number, each in enumerate(many)]
    assert await resolve(identities, *many) == expected
    assert await unmap(identities, *many) == 1000


async def test_a_member_may_use_the_ids_of_another(
    identities: IdentityService, memberships: MembershipService, plain: RedisCluster
) -> None:
    """`external_member_uid`: they are the owner's to map, and the borrower's to use."""
    await map_user(identities, "{Shared}", user_id="5")
    await map_user(identities, "{shared}", "own", user_id="6", username="borrower")
    blocks = [{"seg_id": 20, "expiration": 0}]
    users = [{"user_id": name, "seg_block": blocks} for name in ("{SHARED}", "own")]
    borrower = caller("borrower", CATALOG)
    result = await memberships.apply(encoded({"rt_segment": users}), borrower, seconds_from_now())
    assert [warning.message for warning in warnings_of(result)] == ["Unknown user_id: own"]
    assert [key async for key in plain.scan_iter(match="m:*")] == [b"m:p:5"]
    asked = [audience_pb2.GetMembershipsRequest(user_id="{shared}")]
    read = await memberships.get(asked, borrower, seconds_from_now())
    assert [block.seg_id for block in read.rt_segment[0].seg_block] == [20]


async def test_what_was_forgotten_is_unknown(identities: IdentityService, memberships: MembershipService) -> None:
    request = {"rt_segment": [{"user_id": "A", "seg_block": [{"seg_id": 10}]}]}

    async def messages() -> list[str]:
        result = await memberships.apply(encoded(request), caller("owner", CATALOG), seconds_from_now())
        return [warning.message for warning in warnings_of(result)]

    await map_user(identities, "a")
    assert await messages() == []
    await unmap(identities, "A")
    assert await messages() == ["Unknown user_id: A"]
