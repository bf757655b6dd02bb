"""Posts of one turn are taken together, and each keeps what is its own."""

import asyncio
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience_server.admission.quotas import Limits
from instantaudience_server.applied import Totals
from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.catalog import Member
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.errors import AudienceError, Reason, RefusedCommandError
from instantaudience_server.memberships import gathering
from instantaudience_server.memberships.posts import Result
from instantaudience_server.memberships.service import MembershipService
from instantaudience_server.process.waiting import SWEEP_SECONDS
from instantaudience_server.segment_sizes import SegmentSizes
from instantaudience_server.store.cluster.cluster import LONGEST_PAUSE_SECONDS
from redis.asyncio import RedisCluster
from structlog.testing import capture_logs
from support.cluster.nodes import on_node, owner_of, whole
from support.cluster.stored import put_external_ids, stored
from support.cluster.users import user_of_slots, users_of_slots
from support.contract import model, strategies
from support.parts.callers import caller
from support.parts.readings import CATALOG, Reader, applied, by_user, encoded, piece, reading, response_to
from support.service.processes import standing_still
from support.waiting import seconds_from_now

regular_users = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from(["1", "2", "12", "345", "678", str(2**64 - 1)]),
        "seg_block": st.lists(
            st.fixed_dictionaries(
                {
                    "seg_id": st.sampled_from([10001, 10002, 12]),
                    "value": st.integers(0, 3),
                    "expiration": st.sampled_from([-1, 0, 1, 1440]),
                }
            ),
            min_size=1,
            max_size=3,
        ),
    }
)
regular = st.fixed_dictionaries({"rt_segment": st.lists(regular_users, min_size=1, max_size=4)})
turns = st.lists(st.one_of(regular, regular, regular, strategies.requests), min_size=1, max_size=8)
USERNAMES = st.sampled_from(["demo", "external"])
SLOT = 100


def user(user_id: str, *blocks: dict[str, int]) -> dict[str, Any]:
    return {"user_id": user_id, "seg_block": list(blocks) or [{"seg_id": 12}]}


def of_users(*user_ids: str, value: int = 0) -> Any:
    return encoded({"rt_segment": [user(user_id, {"seg_id": 12, "value": value}) for user_id in user_ids]})


async def outcomes(
    service: MembershipService, requests: Sequence[Any], calling: Caller, *, seconds: float = 5.0
) -> list[Result | BaseException]:
    """What becomes of requests that are there in one turn."""
    deadline = seconds_from_now(seconds)
    return await asyncio.gather(
        *[service.apply(request, calling, deadline) for request in requests], return_exceptions=True
    )


def counted(reader: Reader) -> tuple[int, Totals, int]:
    """How many calls were counted, their totals, and their refusals."""
    of = reader.counted.applied
    totals = Totals(*(sum(each) for each in zip(*[each.totals for each in of], strict=True))) if of else Totals(0, 0, 0)
    return sum(each.calls for each in of), totals, sum(len(each.refusals) for each in of)


@pytest.mark.parametrize("in_order", [False, True])
@given(requests=turns, username=USERNAMES)
async def test_a_turn_ends_as_its_requests_one_by_one(
    in_order: bool, requests: list[dict[str, Any]], username: str
) -> None:
    calling = caller(username, CATALOG)
    async with (
        reading(external_ids=strategies.EXTERNAL_IDS) as together,
        reading(external_ids=strategies.EXTERNAL_IDS) as apart,
    ):
        deadline = float("inf")
        results = await asyncio.gather(
            *[together.service.apply(encoded(each), calling, deadline, in_order=in_order) for each in requests],
            return_exceptions=True,
        )
        state: model.State = {}
        expected_state: model.State = {}
        for request, result in zip(requests, results, strict=True):
            (expected,) = await outcomes(apart.service, [encoded(request)], calling, seconds=60)
            if isinstance(expected, AudienceError):
                assert isinstance(result, AudienceError)
                assert (result.reason, result.message) == (expected.reason, expected.message)
                continue
            assert isinstance(result, Result)
            assert result == expected
            modelled, expected_state = model.apply(
                request, expected_state, model.DEMO, username, apart.clock.ms, strategies.EXTERNAL_IDS
            )
            assert response_to(result) == modelled
        for changes in together.store.changes:
            state = applied(by_user(changes), state)
        assert state == expected_state
        assert counted(together) == counted(apart)


class TestTogether:
    async def test_the_posts_of_a_turn_are_one_write_and_one_count(self) -> None:
        async with reading() as reader:
            calling = caller("demo", CATALOG)
            results = await outcomes(reader.service, [of_users(str(number)) for number in range(1, 51)], calling)
            assert results == [Result(1, 1)] * 50
            assert len(reader.store.changes) == len(reader.counted.applied) == 1
            assert counted(reader) == (50, Totals(50, 50, 0), 0)

    async def test_an_irregular_one_takes_no_other_with_it(self) -> None:
        requests = [of_users("1"), of_users("2", "?"), of_users("3"), encoded({}), of_users("4")]
        broken = encoded({})
        broken.users = [*broken.users, piece(1, b"\xff")]
        async with reading() as reader:
            calling = caller("demo", CATALOG)
            results = await outcomes(reader.service, [*requests, broken], calling)
            assert isinstance(results[5], AudienceError)
            assert results[5].reason is Reason.SYNTAX
            assert [result.users for result in results[:5]] == [1, 1, 1, 0, 1]  # type: ignore[union-attr]
            assert [len(by_user(changes)) for changes in reader.store.changes] == [3, 1, 0]

    async def test_each_has_its_own_decision_of_the_quota(self) -> None:
        async with reading() as reader:
            demo = caller("demo", CATALOG)
            limited = Member(123, "M", 0, demo.member.segment_access, None, Limits(users_per_second=5))
            calling = Caller(demo.account, limited)
            requests = [of_users("1", "2"), of_users("3", "4", "5", "6"), of_users("7", "8", "9"), of_users("10")]
            results = await outcomes(reader.service, requests, calling)
            reasons = [getattr(result, "reason", None) for result in results]
            assert reasons == [None, Reason.RATE_LIMIT_EXCEEDED, None, Reason.RATE_LIMIT_EXCEEDED]
            assert set(by_user(reader.store.changes[0])) == {f"m:p:{user}".encode() for user in (1, 2, 7, 8, 9)}
            assert counted(reader) == (2, Totals(5, 5, 0), 0)

    async def test_one_that_is_refused_is_not_read(self, subtests: pytest.Subtests) -> None:
        for users in [1, 3000]:
            with subtests.test(users=users):
                async with reading() as reader:
                    demo = caller("demo", CATALOG)
                    limited = replace(demo.member, limits=Limits(posts_per_second=1, users_per_second=10))
                    calling = Caller(demo.account, limited)
                    if users == 1:
                        assert await outcomes(reader.service, [of_users("1")], calling) == [Result(1, 1)]
                    unreadable = of_users(*map(str, range(1, users + 1)))
                    unreadable.users = [*unreadable.users, piece(1, b"\xff")]
                    (result,) = await outcomes(reader.service, [unreadable], calling)
                    assert isinstance(result, AudienceError)
                    assert result.reason is Reason.RATE_LIMIT_EXCEEDED

    async def test_callers_and_large_batches_are_taken_apart(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gathering, "MOST_POSTS", 10)
        async with reading() as reader:
            flood, neighbour = caller("demo", CATALOG), caller("private", CATALOG)
            requests = [of_users(str(number)) for number in range(1, 36)]
            flooding = asyncio.create_task(outcomes(reader.service, requests, flood))
            await asyncio.sleep(0)
            (result,) = await outcomes(reader.service, [of_users("99")], neighbour)
            assert isinstance(result, Result)
            await flooding
            written = [len(by_user(changes)) for changes in reader.store.changes]
            assert sorted(written) == [0, 5, 10, 10, 10]
            # The neighbour, who may not use the segment, has its turn before the flood has its third.
            assert written.index(0) <= 2

    @pytest.mark.parametrize("in_order", [False, True])
    async def test_what_is_left_over_is_not_overtaken(self, monkeypatch: pytest.MonkeyPatch, in_order: bool) -> None:
        """Who calls is looked up anew now and then: the same account is another object from then on."""
        monkeypatch.setattr(gathering, "MOST_POSTS", 2)
        async with reading() as reader:
            before, deadline = caller("demo", CATALOG), seconds_from_now()
            callers = [*[before] * 5, Caller(before.account, before.member)]
            requests = [of_users("1", value=value) for value in range(1, 7)]
            await asyncio.gather(
                *[
                    reader.service.apply(request, calling, deadline, in_order=in_order)
                    for request, calling in zip(requests, callers, strict=True)
                ]
            )
            state: model.State = {}
            for changes in reader.store.changes:
                state = applied(by_user(changes), state)
            assert state["", "1"][12][0] == 6

    @pytest.mark.parametrize("bound", ["MOST_USERS", "MOST_BYTES"])
    async def test_a_batch_is_as_large_as_it_may_be_and_no_larger(
        self, monkeypatch: pytest.MonkeyPatch, bound: str
    ) -> None:
        """One that is larger by itself goes alone."""
        requests = [of_users(str(number), str(number + 1)) for number in range(10, 20, 2)]
        large = of_users(*map(str, range(30, 40)))
        two_users, two_bytes = (2 * each for each in (len(requests[0].users), requests[0].size_bytes))
        monkeypatch.setattr(gathering, bound, two_users if bound == "MOST_USERS" else two_bytes)
        async with reading() as reader:
            await outcomes(reader.service, [large, *requests], caller("demo", CATALOG))
            assert [len(by_user(changes)) for changes in reader.store.changes] == [10, 4, 4, 2]

    async def test_one_that_has_left_is_not_applied(self) -> None:
        async with reading() as reader:
            calling, deadline = caller("demo", CATALOG), seconds_from_now()
            left, stays = (reader.service.apply(of_users(each), calling, deadline) for each in ("1", "2"))
            left.cancel()
            assert await stays == Result(1, 1)
            assert set(by_user(reader.store.changes[0])) == {b"m:p:2"}

    @pytest.mark.parametrize("most_posts", [gathering.MOST_POSTS, 2])
    async def test_those_in_order_take_no_room_when_they_are_over(
        self, monkeypatch: pytest.MonkeyPatch, most_posts: int
    ) -> None:
        """Carried out, refused, or left before their turn: streams would be read on no more."""
        monkeypatch.setattr(gathering, "MOST_POSTS", most_posts)
        async with reading() as reader:
            demo = caller("demo", CATALOG)
            calling = Caller(demo.account, replace(demo.member, limits=Limits(posts_per_second=3, users_per_second=9)))
            deadline = seconds_from_now()
            requests = [*map(of_users, "123"), of_users(*map(str, range(1, 11)))]
            posts = [reader.service.apply(each, calling, deadline, in_order=True) for each in requests]
            posts[1].cancel()
            assert not reader.service.pacing.has_room(calling)
            await asyncio.wait(posts)
            await asyncio.sleep(0)
            assert reader.service.pacing._under_way == {}

    async def test_one_that_is_only_validated_is_not_applied_with_the_others(self) -> None:
        async with reading() as reader:
            requests = [of_users("1"), of_users("2"), of_users("3")]
            requests[1].validate_only = True
            assert await outcomes(reader.service, requests, caller("demo", CATALOG)) == [Result(1, 1)] * 3
            assert [set(by_user(changes)) for changes in reader.store.changes] == [{b"m:p:1", b"m:p:3"}]
            assert counted(reader) == (2, Totals(2, 2, 0), 0)

    async def test_posts_on_the_same_user_end_in_their_order(self) -> None:
        async with reading() as reader:
            requests = [of_users("1", "2", value=value) for value in (1, 2, 2, 3)] + [of_users("1", value=4)]
            await outcomes(reader.service, requests, caller("demo", CATALOG))
            state: model.State = {}
            for changes in reader.store.changes:
                state = applied(by_user(changes), state)
            assert {user: held[12][0] for user, held in state.items()} == {("", "1"): 4, ("", "2"): 3}


class TestFailures:
    async def test_a_command_that_is_refused_fails_its_own_post(
        self, service: MembershipService, plain: RedisCluster
    ) -> None:
        await plain.set("m:p:13", "no hash")
        numbers = range(10, 20)
        with capture_logs():
            results = await outcomes(
                service, [of_users(str(number), f"1{number}") for number in numbers], caller("demo", CATALOG)
            )
        assert [type(result) for result in results] == [
            RefusedCommandError if number == 13 else Result for number in numbers
        ]
        await plain.delete("m:p:13")
        standing = {user_id for _, user_id in await stored(plain)}
        assert standing == {str(number) for number in numbers if number != 13} | {f"1{number}" for number in numbers}

    async def test_a_command_that_is_refused_fails_a_post_of_an_external_id(
        self, service: MembershipService, sizes: SegmentSizes, plain: RedisCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And who was not put into the segment is not counted among those in it."""
        await put_external_ids(plain, strategies.EXTERNAL_IDS)
        await plain.set("m:p:12", "no hash")
        noted: list[bytes] = []
        monkeypatch.setattr(sizes, "note", lambda changes: noted.extend(by_user(changes)))
        requests = [
            encoded({"rt_segment": [user(each, {"seg_id": 50001}) for each in user_ids]})
            for user_ids in (("crm-0001", "crm-0002"), ("crm-0001",))
        ]
        with capture_logs():
            results = await outcomes(service, requests, caller("external", CATALOG))
        assert [type(result) for result in results] == [RefusedCommandError, Result]
        assert noted == [b"m:p:1", b"m:p:1"]

    @pytest.mark.parametrize("in_order", [False, True])
    async def test_those_on_other_nodes_do_not_wait_for_one_that_stands_still(
        self, service: MembershipService, embedded: EmbeddedCluster, plain: RedisCluster, in_order: bool
    ) -> None:
        """Nor do those with an earlier deadline wait for those with a later one."""
        # The member's quota and usage are in the second third of the slots, so the first node may stand still.
        there = user_of_slots(0, 5460).decode().split(":")[2]
        elsewhere = user_of_slots(10923, 16383).decode().split(":")[2]
        calling = caller("demo", CATALOG)
        await outcomes(service, [of_users(there, elsewhere)], calling)
        node = embedded.nodes[0]
        assert await on_node(node.port, "EXISTS", f"m:p:{there}")
        os.kill(node.child.pid, signal.SIGSTOP)
        try:
            posts = [
                service.apply(of_users(user_id, value=value), calling, seconds_from_now(seconds), in_order=in_order)
                for user_id, value, seconds in ((there, 2, 20.0), (elsewhere, 2, 20.0), (there, 2, 1.0))
            ]
            assert await posts[1] == Result(1, 1)
            assert not posts[2].done()
            with pytest.raises(AudienceError):
                await posts[2]
            assert not posts[0].done()
            later = service.apply(of_users(elsewhere, value=3), calling, seconds_from_now(), in_order=in_order)
            assert await later == Result(1, 1)
        finally:
            os.kill(node.child.pid, signal.SIGCONT)
        assert await posts[0] == Result(1, 1)
        await whole(embedded)


async def test_in_order_a_write_waits_for_an_earlier_one_to_the_same_user_and_for_no_other(
    service: MembershipService, embedded: EmbeddedCluster, plain: RedisCluster
) -> None:
    """Otherwise a write that is sent again after a redirection or a lost connection could be overtaken."""
    there, elsewhere = (user_of_slots(*slots).decode().split(":")[2] for slots in ((0, 5460), (10923, 16383)))
    calling = caller("demo", CATALOG)

    def start(user_id: str, value: int) -> "asyncio.Future[Result]":
        return service.apply(of_users(user_id, value=value), calling, seconds_from_now(), in_order=True)

    await start(there, 1)
    node = embedded.nodes[0]
    assert await on_node(node.port, "EXISTS", f"m:p:{there}")
    os.kill(node.child.pid, signal.SIGSTOP)
    try:
        first = start(there, 2)
        await asyncio.sleep(0.1)
        second, other = start(there, 3), start(elsewhere, 4)  # of one turn
        assert await other == Result(1, 1)
        assert not second.done()
    finally:
        os.kill(node.child.pid, signal.SIGCONT)
    await first
    await second
    assert await plain.hgetall(f"m:p:{there}") == {b"12": b"3"}
    await whole(embedded)


async def test_in_order_nothing_overtakes_posts_that_were_taken_together_and_are_written_apart(
    service: MembershipService, embedded: EmbeddedCluster, plain: RedisCluster
) -> None:
    there, elsewhere = (user_of_slots(*slots).decode().split(":")[2] for slots in ((0, 5460), (10923, 16383)))
    calling = caller("demo", CATALOG)

    def start(user_id: str, value: int) -> "asyncio.Future[Result]":
        return service.apply(of_users(user_id, value=value), calling, seconds_from_now(20), in_order=True)

    await start(there, 1)
    with standing_still(embedded.nodes[0].child.pid):
        waiting = [start(there, 2)]
        await asyncio.sleep(0.02)
        waiting.append(start(there, 3))
        other = start(elsewhere, 3)  # of the same turn
        await asyncio.sleep(0.02)
        waiting.append(start(there, 4))
        assert await other == Result(1, 1)  # they are apart
        await asyncio.sleep(0.2)
        assert not any(each.done() for each in waiting)
    await asyncio.gather(*waiting)
    assert await plain.hgetall(f"m:p:{there}") == {b"12": b"4"}
    await whole(embedded)


@pytest.mark.parametrize(("beside", "waited_seconds"), [(0, 0.1), (1, 0.03), (1, 0.1)])
async def test_what_waits_for_an_earlier_write_is_not_written_once_its_caller_has_left(
    service: MembershipService, embedded: EmbeddedCluster, plain: RedisCluster, beside: int, waited_seconds: float
) -> None:
    """Who has left may have come again: what waited came over that later change. Posts of its turn that were read as
    one with it are `beside` it, before they are apart and after."""
    (there,) = users_of_slots(0, 5460, 1)
    changed, other = users_of_slots(10923, 16383, 2)
    calling = caller("demo", CATALOG)

    def start(*user_ids: str, value: int, in_order: bool = True) -> "asyncio.Future[Result]":
        return service.apply(of_users(*user_ids, value=value), calling, seconds_from_now(20), in_order=in_order)

    with standing_still(embedded.nodes[0].child.pid):
        first = start(there, value=1)
        await asyncio.sleep(0.02)
        left, *others = start(there, changed, value=2), *[start(there, other, value=2) for _ in range(beside)]
        await asyncio.sleep(waited_seconds)
        left.cancel()
        assert await start(changed, value=3, in_order=False) == Result(1, 1)
    await asyncio.gather(first, *others)
    await start(there, value=4)  # behind all of them
    assert await plain.hgetall(f"m:p:{changed}") == {b"12": b"3"}
    assert await plain.hgetall(f"m:p:{other}") == ({b"12": b"2"} if beside else {})
    await whole(embedded)


@pytest.mark.parametrize("in_order", [False, True])
async def test_what_no_node_has_taken_is_not_sent_again_once_its_caller_has_left(
    service: MembershipService,
    sizes: SegmentSizes,
    embedded: EmbeddedCluster,
    plain: RedisCluster,
    in_order: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who has left may have come again, to another worker. Others of its turn were answered, and are counted among
    those in the segment."""
    noted: list[bytes] = []
    monkeypatch.setattr(sizes, "note", lambda changes: noted.extend(by_user(changes)))
    (user_id,), (other,) = users_of_slots(SLOT, SLOT, 1), users_of_slots(10923, 16383, 1)
    calling, key = caller("demo", CATALOG), f"m:p:{user_id}"

    def start(user_id: str, value: int) -> "asyncio.Future[Result]":
        return service.apply(of_users(user_id, value=value), calling, seconds_from_now(20), in_order=in_order)

    owner = await owner_of(embedded, SLOT)
    await on_node(owner, "CLUSTER", "DELSLOTS", SLOT)
    try:
        left, beside = start(user_id, 1), start(other, 1)
        assert await beside == Result(1, 1)
        left.cancel()
        await asyncio.sleep(3 * SWEEP_SECONDS)
    finally:
        await on_node(owner, "CLUSTER", "ADDSLOTS", SLOT)
    await plain.hset(key, "12", "2")  # type: ignore[misc]
    await asyncio.sleep(LONGEST_PAUSE_SECONDS)
    assert await plain.hgetall(key) == {b"12": b"2"}
    assert await start(user_id, 3) == Result(1, 1)
    assert noted == [f"m:p:{other}".encode(), key.encode()]
    await whole(embedded)


async def test_one_that_is_refused_is_not_answered_as_written_while_others_of_its_turn_wait(
    service: MembershipService, embedded: EmbeddedCluster, plain: RedisCluster
) -> None:
    (there,) = users_of_slots(0, 5460, 1)
    broken, sound = users_of_slots(10923, 16383, 2)
    await plain.set(f"m:p:{broken}", "no hash")
    calling = caller("demo", CATALOG)
    with standing_still(embedded.nodes[0].child.pid):
        waiting, refused, written = [
            service.apply(of_users(user_id, value=1), calling, seconds_from_now(20))
            for user_id in (there, broken, sound)
        ]
        assert await written == Result(1, 1)
        assert not waiting.done()
    await waiting
    with pytest.raises(RefusedCommandError):
        await refused
    await whole(embedded)


async def test_what_is_under_way_at_the_end_is_given_up(service: MembershipService, embedded: EmbeddedCluster) -> None:
    there = user_of_slots(0, 5460).decode().split(":")[2]
    node = embedded.nodes[0]
    os.kill(node.child.pid, signal.SIGSTOP)
    try:
        post = service.apply(of_users(there), caller("demo", CATALOG), seconds_from_now())
        await asyncio.sleep(0.1)
        await service.close()
        assert post.cancelled()
    finally:
        os.kill(node.child.pid, signal.SIGCONT)
    await whole(embedded)
