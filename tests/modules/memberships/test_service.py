"""Apply memberships and read them back (contract, "POST /rt-segment" and "GET /rt-segment")."""

import asyncio
from collections.abc import Callable, Generator
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import assume, given
from hypothesis import strategies as st
from instantaudience.v1 import audience_pb2 as pb
from instantaudience_server.admission.quotas import Quotas
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.memberships import batch_reading
from instantaudience_server.memberships.service import MembershipService, minutes_left
from instantaudience_server.segment_sizes import SegmentSizes
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.groups import PackedChanges
from instantaudience_server.store.interfaces.memberships import Changes
from instantaudience_server.store.membership_store import ClusterMembershipStore
from instantaudience_server.usage.counting import Usage
from redis.asyncio import RedisCluster
from support.clocks import NOW_MS, FakeClock
from support.cluster.running import connected
from support.cluster.stored import SlowStore
from support.contract import model, strategies
from support.contract.strategies import UUID
from support.contract.vectors import Vector, rt_segment_vectors
from support.parts.callers import caller
from support.parts.readings import CATALOG, LETTERS, encoded, response_to
from support.waiting import seconds_from_now

MINUTE_MS = 60_000


async def apply(service: MembershipService, request: Any, username: str = "demo") -> dict[str, Any]:
    message = encoded(request) if isinstance(request, dict) else request
    return response_to(await service.apply(message, caller(username, CATALOG), seconds_from_now()))


async def get(service: MembershipService, *users: dict[str, str], username: str = "demo") -> list[dict[str, Any]]:
    asked = [pb.GetMembershipsRequest(**user) for user in users]
    result = await service.get(asked, caller(username, CATALOG), seconds_from_now())
    response = MessageToDict(result, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    assert response["status"] == "OK"
    return list(response["rt_segment"])


async def standing(plain: RedisCluster) -> model.State:
    """Everything that stands in the cluster."""
    state: model.State = {}
    async for key in plain.scan_iter(match="m:*"):
        _, letter, user_id = key.decode().split(":", 2)
        values = await plain.hgetall(key)
        ends = await plain.hpexpiretime(key, *values)
        state[LETTERS[letter], user_id] = {
            int(segment): (int(value), max(end, 0)) for (segment, value), end in zip(values.items(), ends, strict=True)
        }
    return state


async def planted(plain: RedisCluster, state: model.State, external_ids: model.ExternalIds) -> None:
    """What stands in the cluster before a test."""
    letters = {name: letter for letter, name in LETTERS.items()}
    for (domain, user_id), memberships in state.items():
        for segment_id, (value, end) in memberships.items():
            expiry = ("PXAT", end) if end else ()
            key = f"m:{letters[domain]}:{user_id}"
            await plain.execute_command("HSETEX", key, *expiry, "FIELDS", 1, segment_id, value)
    for (member_id, external_id), user_id in external_ids.items():
        await plain.set(f"x:{member_id}:{external_id}", user_id)


@pytest.mark.parametrize("vector", rt_segment_vectors(), ids=lambda vector: vector.name)
async def test_examples(service: MembershipService, plain: RedisCluster, clock: FakeClock, vector: Vector) -> None:
    before: model.State = {
        user: {segment_id: (99, 0) for segment_id, membership in segments.items() if membership.expiration == -1}
        for user, segments in vector.memberships.items()
    }
    await planted(plain, before, {})
    assert await apply(service, vector.request, vector.user) == vector.response
    expected = {
        user: {
            segment_id: (membership.value, clock.ms + MINUTE_MS * membership.expiration if membership.expiration else 0)
            for segment_id, membership in segments.items()
            if membership.expiration >= 0
        }
        for user, segments in vector.memberships.items()
    }
    assert await standing(plain) == {user: segments for user, segments in expected.items() if segments}


@given(
    steps=st.lists(
        st.tuples(
            strategies.requests.filter(lambda request: len(request.get("rt_segment", ())) <= 20),
            st.sampled_from(["demo", "external", "private"]),
            st.integers(0, 10**9),
        ),
        min_size=1,
        max_size=3,
    )
)
async def test_any_sequence_of_requests_leaves_what_the_contract_says(
    service: MembershipService, plain: RedisCluster, clock: FakeClock, steps: list[tuple[dict[str, Any], str, int]]
) -> None:
    await plain.flushall(target_nodes=RedisCluster.PRIMARIES)
    await planted(plain, {}, strategies.EXTERNAL_IDS)
    clock.ms = FakeClock.real().ms
    state: model.State = {}
    for request, username, later_ms in steps:
        clock.ms += later_ms
        expected, state = model.apply(request, state, model.DEMO, username, clock.ms, strategies.EXTERNAL_IDS)
        assert await apply(service, request, username) == expected
        assert await standing(plain) == state
    # What has ended by this clock stands in the nodes until theirs says so.
    assume(not any(0 < end_ms <= clock.ms for held in state.values() for _, end_ms in held.values()))
    users = [("", "1"), ("", "12"), ("idfa", UUID), ("aaid", UUID.upper())]
    for username, (domain, user_id) in [("demo", user) for user in users] + [("private", users[0])]:
        (read,) = await get(service, {"user_id": user_id, "domain": domain}, username=username)
        response = model.read(user_id, domain, state, model.DEMO, username, clock.ms)
        assert read == response["response"]["rt_segment"][0]


class TestReadingBack:
    async def test_only_what_the_callers_member_may_use_is_seen(
        self, service: MembershipService, plain: RedisCluster
    ) -> None:
        segments = {10001: 1, 12: 2, 20001: 3, 20002: 4, 30001: 5, 40001: 6, 50001: 7, 99: 8}
        await planted(plain, {("", "5"): {segment: (value, 0) for segment, value in segments.items()}}, {})
        await planted(plain, {}, {(958, "crm-5"): "5"})
        seen = {
            username: [
                block["seg_id"]
                for block in (await get(service, {"user_id": user_id}, username=username))[0]["seg_block"]
            ]
            for username, user_id in {"demo": "5", "private": "5", "external": "crm-5"}.items()
        }
        assert seen == {"demo": [12, 10001, 20001, 20002, 30001], "private": [40001], "external": [50001]}

    async def test_a_block_says_all_about_a_membership(
        self, service: MembershipService, plain: RedisCluster, clock: FakeClock
    ) -> None:
        await planted(plain, {("", "5"): {12: (-3, 0), 10001: (0, clock.ms + 90_000)}}, {})
        assert await get(service, {"user_id": "5"}) == [
            {
                "user_id": "5",
                "seg_block": [
                    {"seg_id": 12, "member_id": 123, "value": -3, "expiration": 0},
                    {"seg_id": 10001, "seg_code": "sports_fans", "member_id": 123, "value": 0, "expiration": 2},
                ],
            }
        ]

    async def test_users_come_in_the_order_asked_for(self, service: MembershipService, plain: RedisCluster) -> None:
        await planted(plain, {("", "7"): {12: (7, 0)}, ("idfa", UUID): {12: (8, 0)}, ("aaid", UUID): {12: (9, 0)}}, {})
        read = await get(
            service,
            {"user_id": UUID.upper(), "domain": "aaid"},
            {"user_id": "6"},
            {"user_id": "7"},
            {"user_id": UUID, "domain": "idfa"},
            {"user_id": "7"},
        )
        assert [
            (user["user_id"], user.get("domain"), [block["value"] for block in user["seg_block"]]) for user in read
        ] == [(UUID, "aaid", [9]), ("6", None, []), ("7", None, [7]), (UUID, "idfa", [8]), ("7", None, [7])]

    async def test_external_ids_lead_to_users_and_come_back_as_asked_for(
        self, service: MembershipService, plain: RedisCluster
    ) -> None:
        await planted(plain, {("", "7"): {50001: (1, 0)}}, {(958, "crm-7"): "7", (958, "{crm}"): "7", (777, "x"): "7"})
        users = [{"user_id": user_id} for user_id in ("CRM-7", "nobody", "{crm}", "x")]
        read = await get(service, *users, username="external")
        assert [(user["user_id"], len(user["seg_block"])) for user in read] == [
            ("CRM-7", 1),
            ("nobody", 0),
            ("{crm}", 1),
            ("x", 0),
        ]

    async def test_an_external_id_that_maps_to_no_user_id_maps_to_nobody(
        self, service: MembershipService, plain: RedisCluster
    ) -> None:
        await planted(plain, {}, {(958, "broken"): "007"})
        assert (await get(service, {"user_id": "broken"}, username="external"))[0]["seg_block"] == []

    @pytest.mark.parametrize(
        ("user", "message", "field"),
        [
            ({}, "'user_id' is required and cannot be empty", "user_id"),
            ({"user_id": "", "domain": "idfa"}, "'user_id' is required and cannot be empty", "user_id"),
            ({"user_id": "0"}, "Invalid user_id: 0", "user_id"),
            ({"user_id": "5", "domain": "idfa"}, "Invalid user_id: 5", "user_id"),
            ({"user_id": "5", "domain": "email"}, "Invalid domain: email", "domain"),
            ({"user_id": "?", "domain": "sha1mac"}, "Invalid domain: sha1mac", "domain"),
        ],
    )
    async def test_a_user_that_cannot_be_meant_is_a_syntax_error(
        self, service: MembershipService, user: dict[str, str], message: str, field: str
    ) -> None:
        with pytest.raises(AudienceError) as refused:
            await get(service, {"user_id": "5"}, user)
        assert (refused.value.reason, refused.value.message) == (Reason.SYNTAX, message)
        assert refused.value.metadata == {"field": field}

    def test_minutes_are_rounded_up(self, subtests: pytest.Subtests) -> None:
        for left_ms, minutes in [
            (1, 1),
            (59_999, 1),
            (60_000, 1),
            (60_001, 2),
            (120_000, 2),
            (525_600_000 * MINUTE_MS, 525_600_000),
            (0, 1),
        ]:
            with subtests.test(left_ms=left_ms, minutes=minutes):
                assert minutes_left(NOW_MS + left_ms, NOW_MS) == minutes

    def test_never_is_0(self) -> None:
        assert minutes_left(0, NOW_MS) == 0


async def test_a_request_that_is_only_validated_changes_nothing(
    service: MembershipService, plain: RedisCluster
) -> None:
    await planted(plain, {("", "5"): {10001: (1, 0)}}, {(958, "crm-7"): "7"})
    request = {"rt_segment": [{"user_id": "5", "seg_block": [{"seg_id": 12}, {"seg_id": 10001, "expiration": -1}, {}]}]}
    message = encoded(request)
    message.validate_only = True
    answer = await apply(service, message)
    assert await standing(plain) == {("", "5"): {10001: (1, 0)}}
    assert answer == await apply(service, request)
    assert set((await standing(plain))["", "5"]) == {12}


async def test_the_end_is_fixed_when_the_request_is_read(
    cluster: Cluster, plain: RedisCluster, quotas: Quotas, usage: Usage, sizes: SegmentSizes, clock: FakeClock
) -> None:
    request = {"rt_segment": [{"user_id": "5", "seg_block": [{"seg_id": 12, "expiration": 10}]}]}
    read_at = clock.ms
    service = MembershipService(CATALOG, SlowStore(cluster, clock, 5 * MINUTE_MS), quotas, usage, sizes, clock)
    await apply(service, request)
    assert clock.ms == read_at + 5 * MINUTE_MS
    assert await standing(plain) == {("", "5"): {12: (0, read_at + 10 * MINUTE_MS)}}


async def test_a_write_that_is_not_confirmed_is_unavailable(service: MembershipService) -> None:
    request = encoded({"rt_segment": [{"user_id": "5", "seg_block": [{"seg_id": 12}]}]})
    for username in ("demo", "external"):
        with pytest.raises(AudienceError) as failed:
            await service.apply(request, caller(username, CATALOG), seconds_from_now(-1))
        assert failed.value.reason is Reason.UNAVAILABLE
        assert failed.value.retry_after_seconds == 1


class TickingStore(ClusterMembershipStore):
    """A store that notes, of each piece that it packs, how many turns the event loop has had."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.turns = 0
        self.pieces: list[int] = []

    async def tick(self) -> None:
        """Count turns, forever."""
        while True:
            await asyncio.sleep(0)
            self.turns += 1

    def pack(self, changes: Changes) -> Generator[None, None, PackedChanges]:
        """Note the pieces."""
        packing = super().pack(changes)
        while True:
            self.pieces.append(self.turns)
            try:
                next(packing)
            except StopIteration as end:
                packed: PackedChanges = end.value
                return packed
            yield


async def test_where_there_is_much_to_pack_other_calls_have_their_turn(
    cluster: Cluster,
    plain: RedisCluster,
    quotas: Quotas,
    usage: Usage,
    sizes: SegmentSizes,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of many users with different blocks, be these known or not; what many have in common is packed once."""
    monkeypatch.setattr(batch_reading, "MOST_PACKED", 300)
    store = TickingStore(cluster)
    service = MembershipService(CATALOG, store, quotas, usage, sizes, clock)
    ticking = asyncio.create_task(store.tick())

    def request(values: Callable[[int], int]) -> dict[str, Any]:
        blocks = {number: [{"seg_id": 12, "value": values(number), "expiration": 0}] for number in range(1, 351)}
        return {"rt_segment": [{"user_id": str(number), "seg_block": block} for number, block in blocks.items()]}

    for _ in range(2):
        await apply(service, request(lambda number: number))
        assert len(store.pieces) == 5
        assert store.pieces == sorted(set(store.pieces))
        expected = {("", str(number)): {12: (number, 0)} for number in range(1, 351)}
        assert await standing(plain) == expected
        await plain.flushall(target_nodes=RedisCluster.PRIMARIES)
        store.pieces.clear()
    await apply(service, request(lambda _: 1))
    assert store.pieces == []
    ticking.cancel()
    await service.close()


async def test_memberships_that_end_while_they_are_read_are_left_out(
    embedded: EmbeddedCluster, plain: RedisCluster, quotas: Quotas, usage: Usage, sizes: SegmentSizes, clock: FakeClock
) -> None:
    """Values and ends are read one after the other; what leaves in between is not there."""

    async with connected(embedded.url) as cluster:
        leaving: Any = Leaving(cluster, plain)
        service = MembershipService(CATALOG, ClusterMembershipStore(leaving), quotas, usage, sizes, clock)
        await planted(plain, {("", "5"): {12: (1, 0), 10001: (2, 0)}, ("", "6"): {12: (3, 0)}}, {})
        read = await get(service, {"user_id": "5"}, {"user_id": "6"})
        assert [[block["seg_id"] for block in user["seg_block"]] for user in read] == [[10001], []]


class Leaving:
    """The way to the cluster, on which users leave a segment between two steps."""

    def __init__(self, cluster: Cluster, plain: RedisCluster) -> None:
        self._cluster = cluster
        self._plain = plain

    async def execute(self, commands: Any, deadline: float) -> Any:
        replies = await self._cluster.execute(commands, deadline)
        await self._plain.hdel("m:p:5", 12)
        await self._plain.hdel("m:p:6", 12)
        return replies
