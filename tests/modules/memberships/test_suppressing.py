"""While suppressed users are looked for, nobody waits for a part of the cluster that its own users are not in."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from instantaudience.v1 import catalog_pb2
from instantaudience_server.admission.quotas import Quotas
from instantaudience_server.catalog import records as catalog_records
from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.errors import AudienceError
from instantaudience_server.memberships.posts import Result
from instantaudience_server.memberships.service import MembershipService
from instantaudience_server.memberships.suppressing import PATIENCE_SECONDS
from instantaudience_server.segment_sizes import SegmentSizes
from instantaudience_server.store.cluster import commands
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.external_id_store import ClusterExternalIdStore
from instantaudience_server.store.interfaces.catalog import Kind, Record
from instantaudience_server.store.interfaces.memberships import NEVER
from instantaudience_server.store.interfaces.suppressions import Found
from instantaudience_server.store.keys import external_id_key
from instantaudience_server.store.membership_store import ClusterMembershipStore
from instantaudience_server.store.suppression_store import ClusterSuppressionStore
from instantaudience_server.suppressions import Suppressions
from instantaudience_server.usage.counting import Usage
from redis.asyncio import RedisCluster
from structlog.testing import capture_logs
from support.clocks import FakeClock
from support.cluster.nodes import on_node, whole
from support.cluster.users import users_of_slots
from support.parts.callers import caller, demo_catalog
from support.parts.readings import encoded, warnings_of
from support.service.processes import standing_still
from support.waiting import seconds_from_now

DEMO = 123
EXTERNAL = 958
SEGMENT, INACTIVE, OF_EXTERNAL = 12, 30001, 50001
FIRST_NODE, THIRD_NODE = (0, 5460), (10923, 16383)
"""Slots. The member's quota and usage are on the second node."""

Apply = Callable[..., "asyncio.Future[Result]"]


class Interrupted(ClusterSuppressionStore):
    """Has something done `meanwhile`, once: after it has found who is suppressed, and before it says so."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.meanwhile: list[Callable[[], Awaitable[None] | None]] = []

    async def find(self, member_id: int, user_keys: Sequence[bytes], deadline: float) -> Found:
        found = await super().find(member_id, user_keys, deadline)
        while self.meanwhile:
            done = self.meanwhile.pop()()
            if done is not None:
                await done
        return found


@pytest.fixture
def store(cluster: Cluster) -> Interrupted:
    return Interrupted(cluster)


@pytest.fixture
def catalog() -> Catalog:
    """The demo catalog, for this test alone."""
    return demo_catalog()


@pytest.fixture
async def service(
    store: Interrupted,
    catalog: Catalog,
    cluster: Cluster,
    quotas: Quotas,
    usage: Usage,
    sizes: SegmentSizes,
    clock: FakeClock,
) -> AsyncIterator[MembershipService]:
    """Nobody tells it who has suppressed users: all members are looked for."""
    memberships = ClusterMembershipStore(cluster)
    service = MembershipService(catalog, memberships, quotas, usage, sizes, clock, Suppressions(store, clock))
    yield service
    await service.close()


@pytest.fixture
def demo(catalog: Catalog) -> Caller:
    return caller("demo", catalog)


@pytest.fixture
def apply(service: MembershipService, demo: Caller) -> Apply:
    """Applies a value for users."""

    def apply(*users: str, value: int, in_order: bool, seconds: float = 20.0) -> "asyncio.Future[Result]":
        blocks = [{"seg_id": SEGMENT, "value": value}]
        request: Any = encoded({"rt_segment": [{"user_id": user, "seg_block": blocks} for user in users]})
        return service.apply(request, demo, seconds_from_now(seconds), in_order=in_order)

    return apply


async def suppress(store: Interrupted, *users: str, member: int = DEMO) -> None:
    keys = [f"m:p:{user}".encode() for user in users]
    await store.suppress(member, keys, 1, NEVER, (0, 0), "a", seconds_from_now())


async def values(plain: RedisCluster, users: Sequence[str]) -> list[Any]:
    return [await plain.hget(f"m:p:{user}", str(SEGMENT)) for user in users]


async def written(*posts: Awaitable[Result]) -> None:
    assert [result.warnings for result in await asyncio.gather(*posts)] == [b""] * len(posts)


async def suppressed(post: Awaitable[Result]) -> None:
    assert [each.message.split(":")[0] for each in warnings_of(await post)] == ["Suppressed user_id"]


@pytest.mark.parametrize("in_order", [False, True])
async def test_posts_wait_for_their_own_users_alone_until_their_own_deadlines(
    apply: Apply, store: Interrupted, embedded: EmbeddedCluster, plain: RedisCluster, in_order: bool
) -> None:
    there, there_suppressed = users_of_slots(*FIRST_NODE, count=2)
    here, here_suppressed, other, next_one = users_of_slots(*THIRD_NODE, count=4)
    await suppress(store, there_suppressed, here_suppressed)
    await written(apply(there, here, other, next_one, value=1, in_order=in_order))
    node = embedded.nodes[0]
    assert await on_node(node.port, "EXISTS", f"m:p:{there}")
    with standing_still(node.child.pid):
        waiting = [apply(each, value=2, in_order=in_order) for each in (there, there_suppressed)]
        late = apply(there, other, value=3, in_order=in_order, seconds=1.0)
        here_posts = [apply(each, value=2, in_order=in_order) for each in (here, here_suppressed)]  # of the same turn
        await written(here_posts[0])
        await suppressed(here_posts[1])
        await written(apply(next_one, value=2, in_order=in_order))
        assert not late.done()
        with pytest.raises(AudienceError, match="did not answer in time"):
            await late
        assert not any(each.done() for each in waiting)
        await written(apply(here, other, value=4, in_order=in_order, seconds=5.0))
    await written(waiting[0])
    await suppressed(waiting[1])
    assert await values(plain, [there, there_suppressed, here, here_suppressed, other, next_one]) == [
        *(b"2", None),
        *(b"4", None, b"4", b"2"),
    ]
    await whole(embedded)


@pytest.mark.parametrize("in_order", [False, True])
async def test_nothing_overtakes_a_post_whose_users_are_looked_for(
    apply: Apply, embedded: EmbeddedCluster, plain: RedisCluster, in_order: bool
) -> None:
    (there,) = users_of_slots(*FIRST_NODE, count=1)
    first, second, third, free = users_of_slots(*THIRD_NODE, count=4)
    with standing_still(embedded.nodes[0].child.pid):
        waiting = [
            apply(there, first, value=1, in_order=in_order),
            apply(first, second, value=2, in_order=in_order),
        ]
        same_turn = apply(free, value=1, in_order=in_order)
        await written(same_turn)
        waiting.append(apply(second, third, value=3, in_order=in_order))
        await written(apply(free, value=2, in_order=in_order))
        waiting.append(apply(third, value=4, in_order=in_order))
        await written(apply(free, value=3, in_order=in_order))
        await asyncio.sleep(0.2)  # all of them have been looked for
        assert not any(each.done() for each in waiting)
    await written(*waiting)
    assert await values(plain, [there, first, second, third, free]) == [b"1", b"2", b"3", b"4", b"3"]
    await whole(embedded)


async def test_a_post_that_was_left_while_its_users_were_looked_for_changes_nothing(
    apply: Apply, embedded: EmbeddedCluster, plain: RedisCluster
) -> None:
    left, other = users_of_slots(*FIRST_NODE, count=2)
    (elsewhere,) = users_of_slots(*THIRD_NODE, count=1)
    with standing_still(embedded.nodes[0].child.pid):
        post = apply(left, value=1, in_order=False)
        await written(apply(elsewhere, value=1, in_order=False))
        await asyncio.sleep(2 * PATIENCE_SECONDS)  # it has its users looked for alone
        post.cancel()
    for value in (1, 2):
        await written(apply(other, value=value, in_order=False))
    assert await values(plain, [left, other, elsewhere]) == [None, b"2", b"1"]
    await whole(embedded)


async def test_a_post_whose_users_cannot_be_looked_for_fails_alone(apply: Apply, plain: RedisCluster) -> None:
    broken, sound = users_of_slots(*THIRD_NODE, count=2)
    await plain.set(f"s:{{m:p:{broken}}}", "no hash")
    with capture_logs() as logged:
        posts = [apply(each, value=1, in_order=False) for each in (broken, sound)]
        await written(posts[1])
        with pytest.raises(RuntimeError):
            await posts[0]
    assert {each["event"] for each in logged} == {"store_command_refused"}
    assert await values(plain, [broken, sound]) == [None, b"1"]


@pytest.mark.parametrize("in_order", [False, True])
async def test_users_are_looked_for_when_the_process_stood_still_before_it_could_ask(
    apply: Apply, store: Interrupted, plain: RedisCluster, monkeypatch: pytest.MonkeyPatch, in_order: bool
) -> None:
    free, suppressed_user = users_of_slots(*THIRD_NODE, count=2)
    await suppress(store, suppressed_user)
    stills, get_fields = iter([2 * PATIENCE_SECONDS]), commands.get_fields

    def get_fields_late(*arguments: Any) -> Any:
        time.sleep(next(stills, 0))
        return get_fields(*arguments)

    monkeypatch.setattr(commands, "get_fields", get_fields_late)
    posts = [apply(each, value=1, in_order=in_order) for each in (free, suppressed_user)]
    await written(posts[0])
    await suppressed(posts[1])
    assert next(stills, None) is None
    assert await values(plain, [free, suppressed_user]) == [b"1", None]


def activate(catalog: Catalog) -> None:
    segment = catalog_pb2.Segment(id=INACTIVE, member_id=DEMO, state=catalog_pb2.SEGMENT_STATE_ACTIVE)
    catalog.put([Record(Kind.SEGMENT, catalog_records.encode(segment))])


@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("away", [False, True])
async def test_whoever_joins_something_only_by_the_catalog_of_now_is_looked_for_too(
    service: MembershipService,
    apply: Apply,
    demo: Caller,
    store: Interrupted,
    catalog: Catalog,
    embedded: EmbeddedCluster,
    plain: RedisCluster,
    away: bool,
    in_order: bool,
) -> None:
    """Posts that hold a suppressed user are read again, and a segment has become active meanwhile."""
    (there,) = users_of_slots(*FIRST_NODE, count=1)
    here, free = users_of_slots(*THIRD_NODE, count=2)
    await suppress(store, there, here)
    blocks = {there: SEGMENT, here: INACTIVE, free: SEGMENT}
    users = [{"user_id": user, "seg_block": [{"seg_id": segment}]} for user, segment in blocks.items()]
    post: Any = encoded({"rt_segment": users})
    if not away:
        store.meanwhile.append(lambda: activate(catalog))
    with standing_still(embedded.nodes[0].child.pid) if away else contextlib.nullcontext():
        first = service.apply(post, demo, seconds_from_now(20.0), in_order=in_order)
        later = apply(free, value=1, in_order=in_order)
        if away:
            await asyncio.sleep(2 * PATIENCE_SECONDS)  # the post has its users looked for alone
            activate(catalog)
    expected = [f"Suppressed user_id: {user}" for user in (there, here)]
    assert [each.message for each in warnings_of(await first)] == expected
    await written(later)
    assert not await plain.exists(f"m:p:{there}", f"m:p:{here}")
    assert await values(plain, [free]) == [b"1"]
    await whole(embedded)


async def test_whoever_an_external_id_means_only_now_is_looked_for_too(
    service: MembershipService, store: Interrupted, catalog: Catalog, cluster: Cluster, plain: RedisCluster
) -> None:
    """Posts that hold a suppressed user are read again, and another one's external ID was mapped anew meanwhile."""
    first, before, now = users_of_slots(*THIRD_NODE, count=3)
    external_ids = ClusterExternalIdStore(cluster)

    async def map_id(name: str, user: str) -> None:
        key = external_id_key(EXTERNAL, name)
        await external_ids.map([key], user, round(time.time() * 1000) + 60_000, seconds_from_now())

    await map_id("a", first)
    await map_id("b", before)
    await suppress(store, first, now, member=EXTERNAL)
    users = [{"user_id": name, "seg_block": [{"seg_id": OF_EXTERNAL}]} for name in ("a", "b")]
    store.meanwhile.append(lambda: map_id("b", now))
    post: Any = encoded({"rt_segment": users})
    result = await service.apply(post, caller("external", catalog), seconds_from_now(20.0))
    assert [each.message for each in warnings_of(result)][:2] == ["Suppressed user_id: a", "Suppressed user_id: b"]
    assert not await plain.exists(*[f"m:p:{user}" for user in (first, before, now)])
