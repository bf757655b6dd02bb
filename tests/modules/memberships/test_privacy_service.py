"""To see what is kept of a user, to delete it, and to leave a user out (contract-neighbours, "Privacy")."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from instantaudience.rest.v1 import privacy_pb2 as rest_pb
from instantaudience.v1 import audience_pb2, catalog_pb2
from instantaudience.v1 import privacy_pb2 as pb
from instantaudience_server.admission.quotas import Quotas
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.memberships import forgetting as forgetting_module
from instantaudience_server.memberships.forgetting import Forgetting
from instantaudience_server.memberships.posts import Result
from instantaudience_server.memberships.privacy_service import PrivacyService
from instantaudience_server.memberships.service import MembershipService
from instantaudience_server.segment_sizes import SegmentSizes
from instantaudience_server.settings import Durability
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.memberships import NEVER, Memberships
from instantaudience_server.store.interfaces.suppressions import ALL_MEMBERS
from instantaudience_server.store.membership_store import ClusterMembershipStore
from instantaudience_server.store.suppression_store import ClusterSuppressionStore
from instantaudience_server.suppressions import Suppressions
from instantaudience_server.transport.calls.kinds import Method
from instantaudience_server.transport.methods.privacy import privacy_methods
from instantaudience_server.usage.counting import Usage
from redis.asyncio import RedisCluster
from support.clocks import FakeClock
from support.contract import strategies
from support.parts.accounts import AccountWorker
from support.parts.callers import caller
from support.parts.readings import CATALOG, encoded, warnings_of
from support.waiting import eventually, seconds_from_now

USER = "7738918429796999062"
KEY = f"m:p:{USER}"
UUID = "1BA98A6C-d1a5-49ef-ad1c-2d9230ebcd13"
OWN, OTHERS, FOREIGN = 10001, 20001, 40001
"""Segments of the member of `demo`, of one whose segments it may use, and of another one."""
DEMO = 123


class Worker:
    """A worker that takes privacy requests, and memberships."""

    def __init__(self, privacy: PrivacyService, service: MembershipService, suppressions: Suppressions) -> None:
        self.privacy = privacy
        self.service = service
        self.suppressions = suppressions

    async def ask(self, username: str = "demo", **request: Any) -> list[tuple[int, str]]:
        """What a REST request is answered."""
        request = {"identifier": USER, "identifier_type": "uuid2", **request}
        message = rest_pb.ConsumerRequest(**request)
        found = await self.privacy.answer_consumer(message, caller(username, CATALOG), seconds_from_now())
        return [(segment.id, segment.name) for segment in found.segments]

    async def lift(self, username: str = "demo", **request: Any) -> tuple[bool, bool]:
        """Whether there was a suppression of the user to lift, and whether the user is suppressed still."""
        message = rest_pb.ConsumerRequest(identifier=USER, identifier_type="uuid2", request_type="lift", **request)
        answer = await self.privacy.answer_consumer(message, caller(username, CATALOG), seconds_from_now())
        assert answer.lifting is not None
        return answer.lifting.lifted, answer.lifting.still_suppressed

    async def apply(self, *users: tuple[str, dict[int, int]], username: str = "demo") -> Result:
        """Put users into segments: ID → expiration."""
        request = {
            "rt_segment": [
                {"user_id": user_id, "seg_block": [{"seg_id": each, "expiration": end} for each, end in blocks.items()]}
                for user_id, blocks in users
            ]
        }
        return await self.service.apply(encoded(request), caller(username, CATALOG), seconds_from_now())

    async def is_known(self, *, concerned: bool = True) -> None:
        """Fails until the worker knows of suppressions."""
        assert self.suppressions.may_concern(DEMO) is concerned


@pytest.fixture
async def privacy_worker(
    cluster: Cluster, quotas: Quotas, usage: Usage, sizes: SegmentSizes, clock: FakeClock
) -> AsyncIterator[Worker]:
    store, memberships = ClusterSuppressionStore(cluster), ClusterMembershipStore(cluster)
    suppressions = Suppressions(store, clock)
    feed = CatalogFeed(ClusterCatalogStore(cluster), CATALOG)
    forgetting = Forgetting(feed, memberships, store)
    privacy = PrivacyService(feed, forgetting, store, quotas, clock, secrets.token_hex)
    service = MembershipService(CATALOG, memberships, quotas, usage, sizes, clock, suppressions)
    running = [asyncio.create_task(each) for each in (suppressions.follow(), forgetting.sweep())]
    worker = Worker(privacy, service, suppressions)
    await eventually(lambda: worker.is_known(concerned=False))
    yield worker
    for task in running:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await service.close()


async def planted(plain: RedisCluster, key: str = KEY) -> None:
    await plain.hset(key, mapping={str(each): 1 for each in (OWN, OTHERS, FOREIGN, 99)})


async def standing(plain: RedisCluster, key: str = KEY) -> set[int]:
    return {int(each) for each in await plain.hkeys(key)}


class TestWhatIsShownAndDeleted:
    """Whose segments a request is about."""

    @pytest.mark.parametrize(
        ("username", "member_id", "concerned"),
        [
            ("demo", None, {OWN}),
            ("demo", DEMO, {OWN}),
            ("admin", DEMO, {OWN}),
            ("admin", 777, {FOREIGN}),
            ("admin", None, {OWN, OTHERS, FOREIGN, 99}),  # a segment that the catalog has no more is among them
        ],
    )
    async def test_of_a_member_or_of_all(
        self, privacy_worker: Worker, plain: RedisCluster, username: str, member_id: int | None, concerned: set[int]
    ) -> None:
        await planted(plain)
        everything = await standing(plain)
        asked: dict[str, Any] = {} if member_id is None else {"member_id": member_id}
        shown = await privacy_worker.ask(username, request_type="access", **asked)
        assert [each for each, _ in shown] == sorted(concerned)
        assert await standing(plain) == everything
        assert await privacy_worker.ask(username, request_type="delete", **asked) == shown
        assert await standing(plain) == everything - concerned
        assert await privacy_worker.ask(username, request_type="delete", **asked) == []

    async def test_a_deletion_counts_when_it_has_what_its_member_wants(self, privacy_worker: Worker) -> None:
        """No node here has a replica."""
        demo = caller("demo", CATALOG)
        wanting = replace(demo, member=replace(demo.member, durability=Durability.REPLICA))
        request = pb.ForgetUserRequest(user_id=USER)
        with pytest.raises(AudienceError) as failed:
            await privacy_worker.privacy.forget_user(request, wanting, seconds_from_now(0.5))
        assert failed.value.reason is Reason.UNAVAILABLE
        assert await privacy_worker.privacy.forget_user(request, demo, seconds_from_now()) == []

    async def test_an_advertising_id_may_be_of_either_kind(self, privacy_worker: Worker, plain: RedisCluster) -> None:
        keys = [f"m:{letter}:{UUID.lower()}" for letter in "ia"]
        await plain.hset(keys[0], "10001", 1)
        await plain.hset(keys[1], mapping={"10001": 1, "12": 1})
        asked = {"identifier": UUID, "identifier_type": "maid"}
        assert [each for each, _ in await privacy_worker.ask(request_type="access", **asked)] == [12, 10001]
        assert [each for each, _ in await privacy_worker.ask(request_type="delete", **asked)] == [12, 10001]
        assert [await standing(plain, key) for key in keys] == [set(), set()]

    @pytest.mark.parametrize(
        ("request_", "text"),
        [
            ({}, "'request_type' must be 'access', 'delete' or 'lift'"),
            ({"request_type": "forget"}, "'request_type' must be 'access', 'delete' or 'lift'"),
            ({"request_type": "access", "identifier": ""}, "'identifier' is required and cannot be empty"),
            ({"request_type": "access", "identifier": "x"}, "'identifier' does not have the form"),
            ({"request_type": "access", "identifier_type": ""}, "'identifier_type' must be 'uuid2' or 'maid'"),
            ({"request_type": "access", "identifier_type": "maid"}, "'identifier' does not have the form"),
            ({"request_type": "access", "suppress_minutes": 0}, "'suppress_minutes' goes with"),
            ({"request_type": "delete", "suppress_minutes": -1}, "'suppress_minutes' must be 0"),
        ],
    )
    async def test_bad_input(
        self, privacy_worker: Worker, plain: RedisCluster, request_: dict[str, Any], text: str
    ) -> None:
        await planted(plain)
        with pytest.raises(AudienceError) as refused:
            await privacy_worker.ask(**request_)
        assert refused.value.reason is Reason.SYNTAX
        assert refused.value.message.startswith(text)
        assert len(await standing(plain)) == 4

    @pytest.mark.parametrize(
        ("username", "member_id", "reason"), [("demo", 777, Reason.UNAUTH), ("admin", 4711, Reason.NOT_FOUND)]
    )
    @pytest.mark.parametrize("request_type", ["access", "delete", "lift"])
    async def test_others_are_not_ones_own(
        self, privacy_worker: Worker, username: str, member_id: int, reason: Reason, request_type: str
    ) -> None:
        with pytest.raises(AudienceError) as refused:
            await privacy_worker.ask(username, request_type=request_type, member_id=member_id)
        assert refused.value.reason is reason

    async def test_what_another_worker_has_just_made_is_known(
        self, cluster: Cluster, plain: RedisCluster, another: AccountWorker, worker: AccountWorker, quotas: Quotas
    ) -> None:
        """Members, and segments: who asks for what is kept, or has it deleted, is not told less than there is."""
        store = ClusterSuppressionStore(cluster)
        forgetting = Forgetting(another.feed, ClusterMembershipStore(cluster), store)
        privacy = PrivacyService(another.feed, forgetting, store, quotas, FakeClock(), secrets.token_hex)
        admin = caller("admin", another.catalog)
        created = await worker.editor.create(catalog_pb2.Member(name="New"), seconds_from_now())
        segment = catalog_pb2.Segment(member_id=created.id, short_name="Tea")
        segment_id = (await worker.editor.create(segment, seconds_from_now())).id
        await plain.hset(KEY, str(segment_id), "1")
        shown = pb.GetUserSegmentsRequest(user_id=USER, member_id=created.id)
        assert [each.name for each in await privacy.user_segments(shown, admin, seconds_from_now())] == ["Tea"]
        another = await worker.editor.create(catalog_pb2.Segment(member_id=created.id), seconds_from_now())
        await plain.hset(KEY, str(another.id), "1")
        await privacy.forget_user(pb.ForgetUserRequest(user_id=USER, member_id=created.id), admin, seconds_from_now())
        assert await standing(plain) == set()

    async def test_the_typed_requests(self, privacy_worker: Worker, plain: RedisCluster) -> None:
        demo, privacy = caller("demo", CATALOG), privacy_worker.privacy
        key = f"m:s:{'ab' * 20}"
        await planted(plain, key)
        user = {"user_id": "AB" * 20, "domain": "sha1udid"}
        shown = await privacy.user_segments(pb.GetUserSegmentsRequest(**user), demo, seconds_from_now())
        assert [(each.id, each.member_id) for each in shown] == [(OWN, DEMO)]
        request = pb.ForgetUserRequest(**user, suppress_minutes=5)
        assert await privacy.forget_user(request, demo, seconds_from_now()) == shown
        assert OWN not in await standing(plain, key)
        assert 0 < (await plain.hpttl(f"s:{{{key}}}", str(DEMO)))[0] <= 300_000
        await privacy.lift_suppression(pb.LiftSuppressionRequest(**user), demo, seconds_from_now())
        assert not await plain.exists(f"s:{{{key}}}")
        with pytest.raises(AudienceError, match="'domain' must be empty or one of idfa, aaid"):
            await privacy.user_segments(pb.GetUserSegmentsRequest(user_id="5", domain="maid"), demo, seconds_from_now())


class FullStore(ClusterMembershipStore):
    """A store in which every user is in many segments."""

    turns = 0
    """How many the event loop has had since they were read."""

    async def read(self, keys: Sequence[bytes], deadline: float) -> list[Memberships]:
        """Read them at once."""
        self.turns = 0
        return [dict.fromkeys(range(20_000, 0, -1), (0, NEVER)) for _ in keys]

    async def tick(self) -> None:
        """Count turns, forever."""
        while True:
            await asyncio.sleep(0)
            self.turns += 1


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        ("GetUserSegments", pb.GetUserSegmentsRequest(user_id=USER)),
        (
            "AnswerConsumer",
            rest_pb.AnswerConsumerRequest(
                request=rest_pb.ConsumerRequest(identifier=USER, identifier_type="uuid2", request_type="access")
            ),
        ),
    ],
)
@pytest.mark.parametrize(("username", "shown", "turns"), [("demo", 4, 20), ("admin", 20_000, 40)])
async def test_who_is_in_many_segments_holds_nobody_up(
    cluster: Cluster, quotas: Quotas, clock: FakeClock, path: str, request_: Any, username: str, shown: int, turns: int
) -> None:
    """A user in 100,000 segments took the event loop for a second."""
    suppressions, store = ClusterSuppressionStore(cluster), FullStore(cluster)
    feed = CatalogFeed(ClusterCatalogStore(cluster), CATALOG)
    forgetting = Forgetting(feed, store, suppressions)
    methods = privacy_methods(PrivacyService(feed, forgetting, suppressions, quotas, clock, secrets.token_hex))
    (method,) = [each for each in methods if isinstance(each, Method) and each.path.endswith(f"/{path}")]
    ticking = asyncio.create_task(store.tick())
    answer = await method.handle(request_, caller(username, CATALOG), seconds_from_now())
    ticking.cancel()
    segments = answer.response.segments if path == "AnswerConsumer" else answer.segments
    assert len(segments) == shown
    assert [each.id for each in segments] == sorted(each.id for each in segments)
    assert store.turns >= turns


async def test_who_cannot_be_removed_keeps_nobody_else_in(
    cluster: Cluster, plain: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All who are due leave at once, however many they are."""
    monkeypatch.setattr(forgetting_module, "PAUSE_SECONDS", 3600)
    store = ClusterSuppressionStore(cluster)
    broken, others = ([f"m:p:{number}" for number in range(first, first + 150)] for first in (1000, 2000))
    for key in broken:
        await plain.set(key, "no hash")
    for key in others:
        await planted(plain, key)
    for keys in (broken, others):
        user_keys = [key.encode() for key in keys]
        await store.suppress(ALL_MEMBERS, user_keys, 1, NEVER, (0, 3_600_000), "a", seconds_from_now())
    feed = CatalogFeed(ClusterCatalogStore(cluster), CATALOG)
    sweeping = asyncio.create_task(Forgetting(feed, ClusterMembershipStore(cluster), store).sweep())

    async def all_others_are_out() -> None:
        assert await plain.zcard("p:{suppressions}:due") == 2 * len(broken) + len(others)

    await eventually(all_others_are_out)
    assert [await standing(plain, key) for key in others] == [set()] * len(others)
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)


async def test_who_is_due_leaves_a_segment_that_another_worker_has_just_made(
    cluster: Cluster, plain: RedisCluster, another: AccountWorker, worker: AccountWorker
) -> None:
    """A worker that had fallen behind with the catalog struck the user off, and left it in there."""
    store = ClusterSuppressionStore(cluster)
    segment = await worker.editor.create(catalog_pb2.Segment(member_id=DEMO), seconds_from_now())
    await plain.hset(KEY, str(segment.id), "1")
    await store.suppress(DEMO, [KEY.encode()], 1, NEVER, (0, 3_600_000), "a", seconds_from_now())
    sweeping = asyncio.create_task(Forgetting(another.feed, ClusterMembershipStore(cluster), store).sweep())

    async def is_struck_off() -> None:
        assert await plain.zcard("p:{suppressions}:due") == 1

    await eventually(is_struck_off)
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)
    assert await standing(plain) == set()


class TestSuppression:
    """A suppressed user is added to nothing."""

    async def test_the_user_is_skipped_with_a_warning(self, privacy_worker: Worker, plain: RedisCluster) -> None:
        await privacy_worker.ask(request_type="delete", suppress_minutes=0)
        await eventually(privacy_worker.is_known)
        await plain.hset(KEY, "20001", 1)
        users = [("5", {OWN: 0}), (USER, {OWN: 0, OTHERS: -1, FOREIGN: 0}), ("6", {OWN: 0})]
        result = await privacy_worker.apply(*users)
        assert (result.users, result.segments) == (3, 5)
        unauthorized, suppressed = warnings_of(result)
        assert unauthorized.code == audience_pb2.WARNING_CODE_UNAUTHORIZED_SEGMENT
        assert suppressed.message == f"Suppressed user_id: {USER}"
        assert (suppressed.code, suppressed.path) == (audience_pb2.WARNING_CODE_SUPPRESSED_USER_ID, "rt_segment[1]")
        assert suppressed.entity["user_id"] == USER
        assert len(suppressed.entity["seg_block"]) == 3  # type: ignore[arg-type]
        assert await standing(plain) == set()  # what it leaves, it has left
        assert await standing(plain, "m:p:5") == await standing(plain, "m:p:6") == {OWN}
        alone = await privacy_worker.apply((USER, {OWN: 0}))
        assert [warning.message for warning in warnings_of(alone)] == [f"Suppressed user_id: {USER}"]
        leaving = await privacy_worker.apply((USER, {OWN: -1}))
        assert (leaving.users, leaving.warnings) == (1, b"")

    async def test_calls_that_come_together_keep_their_own_answers(
        self, privacy_worker: Worker, plain: RedisCluster
    ) -> None:
        await privacy_worker.ask(request_type="delete", suppress_minutes=0)
        await eventually(privacy_worker.is_known)
        users = [str(number) for number in range(1, 20)] + [USER] + [str(number) for number in range(20, 30)]
        results = await asyncio.gather(*[privacy_worker.apply((user, {OWN: 0})) for user in users])
        warned = [user for user, result in zip(users, results, strict=True) if result.warnings]
        assert warned == [USER]
        assert [user for user in users if await standing(plain, f"m:p:{user}")] == [
            each for each in users if each != USER
        ]

    async def test_it_is_found_under_an_external_id(self, privacy_worker: Worker, plain: RedisCluster) -> None:
        (member_id, external_id), user_id = next(iter(strategies.EXTERNAL_IDS.items()))
        await plain.set(f"x:{member_id}:{external_id}", user_id)
        asked = {"identifier": user_id, "request_type": "delete", "suppress_minutes": 0}
        await privacy_worker.ask("external", **asked)

        async def is_refused() -> None:
            result = await privacy_worker.apply((external_id, {99: 0, 10001: 0, 90001: 0}), username="external")
            assert result.warnings

        await eventually(is_refused)

    async def test_other_members_may(self, privacy_worker: Worker, plain: RedisCluster) -> None:
        await privacy_worker.ask(request_type="delete", suppress_minutes=0)
        await eventually(privacy_worker.is_known)
        assert (await privacy_worker.apply((USER, {FOREIGN: 0}), username="private")).warnings == b""
        assert await standing(plain) == {FOREIGN}

    async def test_an_admin_s_is_for_all_members(self, privacy_worker: Worker, plain: RedisCluster) -> None:
        await privacy_worker.ask("admin", request_type="delete", suppress_minutes=0)
        await eventually(privacy_worker.is_known)
        for username, segment in (("demo", OWN), ("private", FOREIGN)):
            assert len(warnings_of(await privacy_worker.apply((USER, {segment: 0}), username=username))) == 1
        assert await privacy_worker.lift() == (False, True), "one's own alone"
        assert len(warnings_of(await privacy_worker.apply((USER, {OWN: 0})))) == 1
        assert await privacy_worker.lift("admin") == (True, False)
        assert (await privacy_worker.apply((USER, {OWN: 0}))).warnings == b""
        assert await privacy_worker.lift("admin") == (False, False)

    async def test_who_was_let_through_before_does_not_stay(
        self, privacy_worker: Worker, plain: RedisCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Adds race with the suppression, and one comes when all is done."""
        import instantaudience_server.memberships.privacy_service as privacy_module

        assert forgetting_module.AGAIN_MS[0] < 2_000 < 180_000 < forgetting_module.AGAIN_MS[1]
        monkeypatch.setattr(privacy_module, "AGAIN_MS", (300, 1_000))
        stop = asyncio.Event()

        async def adding() -> None:
            while not stop.is_set():
                await privacy_worker.apply((USER, {OWN: 0, OTHERS: 0}))

        adders = [asyncio.create_task(adding()) for _ in range(4)]
        await privacy_worker.ask(request_type="delete", suppress_minutes=0)
        await eventually(privacy_worker.is_known)
        stop.set()
        await asyncio.gather(*adders)
        await plain.hset(KEY, str(OWN), 1)  # a write that was under way all the time

        async def is_out() -> None:
            assert OWN not in await standing(plain)
            assert not await plain.zcard("p:{suppressions}:due")

        await eventually(is_out)
