"""Whom members must not add to segments: who knows it, and how soon (contract-neighbours, "Privacy")."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import count
from typing import Any

import pytest
from instantaudience_server import suppressions as module
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.errors import unavailable
from instantaudience_server.observation.metrics import SUPPRESSIONS_STALE
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.memberships import NEVER
from instantaudience_server.store.interfaces.suppressions import ALL_MEMBERS
from instantaudience_server.store.keys import (
    SUPPRESSING_MEMBERS,
    SUPPRESSIONS_DUE,
    SUPPRESSIONS_VERSION,
    suppressed_users_key,
    suppression_key,
)
from instantaudience_server.store.suppression_store import ClusterSuppressionStore
from instantaudience_server.suppressions import Suppressions
from redis.asyncio import RedisCluster
from structlog.testing import capture_logs
from support.clocks import FakeClock
from support.cluster.nodes import on_all_nodes
from support.cluster.running import send_again
from support.waiting import eventually, seconds_from_now

MEMBER, OTHER = 123, 456
USERS = [b"m:p:1", b"m:i:1ba98a6c-d1a5-49ef-ad1c-2d9230ebcd13", b"m:p:2"]
HOUR_MS = 3_600_000
LATER = (HOUR_MS, 2 * HOUR_MS)
WITHOUT_END = -1
"""What the cluster says of the end of a field that has none."""


class Watched(ClusterSuppressionStore):
    """Counts who looks for users, and does not answer while it is `away`, nor so many `failing` questions; an answer
    takes `slow_seconds` more."""

    looks = 0
    away = False
    failing = 0
    slow_seconds = 0.0

    def _answers(self) -> None:
        if self.failing:
            self.failing -= 1
            raise unavailable("failing")
        if self.away:
            raise unavailable("away")

    async def version(self, deadline: float) -> bytes:
        self._answers()
        version = await super().version(deadline)
        await asyncio.sleep(self.slow_seconds)
        return version

    async def members(self, deadline: float) -> dict[int, int]:
        self._answers()
        return await super().members(deadline)

    async def find(self, member_id: int, user_keys: list[bytes], deadline: float) -> frozenset[bytes]:  # type: ignore[override]
        self.looks += 1
        return await super().find(member_id, user_keys, deadline)


@pytest.fixture
def store(cluster: Cluster) -> Watched:
    return Watched(cluster)


@contextlib.asynccontextmanager
async def followed(store: Watched, clock: FakeClock) -> AsyncIterator[Suppressions]:
    """They are known."""
    suppressions = Suppressions(store, clock)
    following = asyncio.create_task(suppressions.follow())
    await eventually(lambda: known(suppressions, OTHER))
    yield suppressions
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following


@pytest.fixture
async def suppressions(store: Watched, clock: FakeClock) -> AsyncIterator[Suppressions]:
    async with followed(store, clock) as suppressions:
        yield suppressions


async def known(suppressions: Suppressions, *members: int, concerned: bool = False) -> None:
    for member in members:
        assert suppressions.may_concern(member) is concerned


async def said(logged: Sequence[Mapping[str, Any]], *events: str) -> None:
    assert [entry["event"] for entry in logged] == [*events]


async def suppress(store: Watched, member: int, *users: bytes, end_ms: int = NEVER, now_ms: int = 1) -> None:
    await store.suppress(member, users, now_ms, end_ms, LATER, secrets.token_hex(4), seconds_from_now())


async def lift(store: Watched, member: int, *users: bytes, now_ms: int = 1) -> bool:
    return await store.lift(member, users, now_ms, secrets.token_hex(4), seconds_from_now())


async def found(suppressions: Suppressions, member: int) -> set[bytes]:
    return set(await suppressions.among(member, USERS, seconds_from_now()))


async def test_members_who_have_none_are_not_looked_for(suppressions: Suppressions, store: Watched) -> None:
    await suppress(store, MEMBER, USERS[0])
    await eventually(lambda: known(suppressions, MEMBER, concerned=True))
    assert await found(suppressions, MEMBER) == {USERS[0]}
    assert store.looks == 1
    assert await found(suppressions, OTHER) == set()
    assert await suppressions.among(MEMBER, [], seconds_from_now()) == frozenset()
    assert store.looks == 1


async def test_one_for_all_members_concerns_each(suppressions: Suppressions, store: Watched) -> None:
    await suppress(store, ALL_MEMBERS, USERS[1])
    await suppress(store, MEMBER, USERS[0])
    await eventually(lambda: known(suppressions, MEMBER, OTHER, concerned=True))
    assert await found(suppressions, MEMBER) == {USERS[0], USERS[1]}
    assert await found(suppressions, OTHER) == {USERS[1]}
    await lift(store, ALL_MEMBERS, *USERS)
    assert await found(suppressions, MEMBER) == set()
    await eventually(lambda: known(suppressions, MEMBER, OTHER))


async def test_lifting_says_whether_there_was_one(store: Watched) -> None:
    now_ms = FakeClock.real().ms
    await suppress(store, MEMBER, USERS[0])
    await suppress(store, OTHER, USERS[1], end_ms=now_ms + 3_600_000, now_ms=now_ms)
    assert not await lift(store, OTHER, USERS[0])
    assert not await lift(store, ALL_MEMBERS, USERS[1], now_ms=now_ms + 3_600_000), "it has ended"
    assert await lift(store, MEMBER, *USERS)
    assert not await lift(store, MEMBER, *USERS)
    await suppress(store, OTHER, USERS[1], end_ms=now_ms + 3_600_000, now_ms=now_ms)
    assert await lift(store, ALL_MEMBERS, USERS[1], now_ms=now_ms)


@pytest.mark.parametrize("lifted_for", [MEMBER, ALL_MEMBERS])
async def test_lifting_says_that_there_was_one_when_it_is_sent_again(
    store: Watched, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, lifted_for: int
) -> None:
    """After a lost answer, there is none any more."""
    send_again(cluster, monkeypatch)
    await suppress(store, MEMBER, USERS[0])
    assert await lift(store, lifted_for, USERS[0])
    assert not await lift(store, lifted_for, USERS[0])


async def test_one_for_all_members_that_was_cut_short_is_lifted(store: Watched, plain: RedisCluster) -> None:
    """Nothing says so beside the user's memberships."""
    await suppress(store, ALL_MEMBERS, USERS[1])
    await plain.delete(suppression_key(USERS[1]))
    assert await store.members(seconds_from_now()) == {ALL_MEMBERS: NEVER}
    await lift(store, ALL_MEMBERS, USERS[1])
    assert await store.members(seconds_from_now()) == {}


async def test_one_that_was_cut_short_is_completed(store: Watched, plain: RedisCluster) -> None:
    """Whoever made it has died before anything said so beside the user's memberships, which stayed."""
    await plain.hset(USERS[0].decode(), mapping={"10001": 1})
    end_ms = FakeClock.real().ms + 3_600_000
    await store.suppress(MEMBER, USERS[:1], 1, end_ms, (0, 3_600_000), "a", seconds_from_now())
    await plain.delete(suppression_key(USERS[0]))
    (due,) = await store.due(seconds_from_now())
    await store.remove(due, [10001], seconds_from_now())
    assert not await plain.exists(USERS[0].decode())
    assert await plain.hpexpiretime(suppression_key(USERS[0]), str(MEMBER)) == [end_ms]


@pytest.mark.parametrize("lifted_for", [MEMBER, ALL_MEMBERS])
@pytest.mark.parametrize("first", ["suppress", "lift"])
async def test_of_two_at_once_one_is_the_last(store: Watched, plain: RedisCluster, first: str, lifted_for: int) -> None:
    """What is beside a user, and who has suppressed users, said different things: the user's adds were refused from the
    member's next suppression on, of whomever."""
    await suppress(store, MEMBER, USERS[0])
    calls = {"suppress": suppress(store, MEMBER, USERS[0]), "lift": lift(store, lifted_for, USERS[0])}
    await asyncio.gather(calls.pop(first), *calls.values())
    is_marked = bool(await plain.hexists(suppression_key(USERS[0]), str(MEMBER)))
    assert is_marked == (await plain.zscore(suppressed_users_key(MEMBER), USERS[0]) is not None)
    assert (await store.members(seconds_from_now()) == {MEMBER: NEVER}) is is_marked


@pytest.mark.parametrize(("first", "step"), [("suppress", 1), ("suppress", 2), ("lift", 1), ("lift", 2), ("lift", 3)])
async def test_whoever_the_other_one_comes_between_is_the_last(
    store: Watched, cluster: Cluster, plain: RedisCluster, monkeypatch: pytest.MonkeyPatch, first: str, step: int
) -> None:
    """All of one after a step of the other: both places say the same before anybody removes the user once more."""
    execute, calls = cluster.execute, count(1)
    one, other = (suppress, lift) if first == "suppress" else (lift, suppress)
    if first == "lift":
        await suppress(store, MEMBER, USERS[0])

    async def interrupted(*arguments: Any, **options: Any) -> Any:
        replies = await execute(*arguments, **options)
        if next(calls) == step:
            await other(store, MEMBER, USERS[0])
        return replies

    monkeypatch.setattr(cluster, "execute", interrupted)
    await one(store, MEMBER, USERS[0])
    is_marked = await plain.hexists(suppression_key(USERS[0]), str(MEMBER))
    is_noted = await plain.zscore(suppressed_users_key(MEMBER), USERS[0]) is not None
    assert (is_marked, is_noted) == (first == "suppress", first == "suppress")


async def until(plain: RedisCluster, user: bytes) -> tuple[int, float]:
    """Until when a user is suppressed: what is beside the user, and the note."""
    (end_ms,) = await plain.hpexpiretime(suppression_key(user), str(MEMBER))
    return end_ms, await plain.zscore(suppressed_users_key(MEMBER), user)


@pytest.mark.parametrize("longer", [HOUR_MS, NEVER])
@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("first", ["shorter", "longer"])
async def test_the_longer_of_two_stands(
    store: Watched,
    cluster: Cluster,
    plain: RedisCluster,
    monkeypatch: pytest.MonkeyPatch,
    first: str,
    step: int,
    longer: int,
) -> None:
    """Whichever comes after, or between the other one's steps: only who is lifted may come back sooner."""
    now_ms = FakeClock.real().ms
    ends = {"shorter": now_ms + HOUR_MS // 2, "longer": now_ms + longer if longer else NEVER}
    execute, calls = cluster.execute, count(1)
    end_ms = ends.pop(first)
    (other_ms,) = ends.values()

    async def interrupted(*arguments: Any, **options: Any) -> Any:
        replies = await execute(*arguments, **options)
        if next(calls) == step:
            await suppress(store, MEMBER, *USERS[:2], end_ms=other_ms, now_ms=now_ms)
        return replies

    monkeypatch.setattr(cluster, "execute", interrupted)
    await suppress(store, MEMBER, USERS[0], end_ms=end_ms, now_ms=now_ms)
    assert next(calls) > step
    expected = (now_ms + longer, now_ms + longer) if longer else (WITHOUT_END, float("inf"))
    assert await until(plain, USERS[0]) == expected


async def test_one_that_is_completed_while_it_is_made_longer_stands(
    store: Watched, cluster: Cluster, plain: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever completes it has asked for its end before."""
    now_ms = FakeClock.real().ms
    await store.suppress(MEMBER, USERS[:1], now_ms, now_ms + HOUR_MS, (0, HOUR_MS), "a", seconds_from_now())
    await plain.delete(suppression_key(USERS[0]))
    (due,) = await store.due(seconds_from_now())
    execute, calls = cluster.execute, count(1)

    async def interrupted(*arguments: Any, **options: Any) -> Any:
        replies = await execute(*arguments, **options)
        if next(calls) == 2:
            await suppress(store, MEMBER, USERS[0], now_ms=now_ms)
        return replies

    monkeypatch.setattr(cluster, "execute", interrupted)
    await store.remove(due, [], seconds_from_now())
    assert await until(plain, USERS[0]) == (WITHOUT_END, float("inf"))


async def test_one_that_is_said_after_its_lifting_is_taken_back(store: Watched, plain: RedisCluster) -> None:
    """Whoever suppressed the user stood still before saying so beside its memberships, and has died then: while the
    member had suppressed others, the user was refused."""
    marker = suppression_key(USERS[0])
    await plain.hset(USERS[0].decode(), mapping={"10001": 1})
    await store.suppress(MEMBER, USERS[:1], 1, NEVER, (0, 0), "a", seconds_from_now())
    await lift(store, MEMBER, USERS[0])
    await plain.hset(marker.decode(), str(MEMBER), "1")
    for due in await store.due(seconds_from_now()):
        await store.remove(due, [10001], seconds_from_now())
    assert not await plain.exists(marker)
    assert await plain.hgetall(USERS[0].decode()) == {b"10001": b"1"}
    assert not await plain.exists(SUPPRESSIONS_DUE)


async def test_one_for_all_members_lifts_what_was_lifted_in_part(store: Watched, plain: RedisCluster) -> None:
    """What was beside the user is gone, but not the note: the user was suppressed again by who removes it once more."""
    await store.suppress(MEMBER, USERS[:1], 1, NEVER, (0, 0), "a", seconds_from_now())
    await plain.delete(suppression_key(USERS[0]))
    await lift(store, ALL_MEMBERS, USERS[0])
    for due in await store.due(seconds_from_now()):
        await store.remove(due, [10001], seconds_from_now())
    assert not await plain.exists(suppression_key(USERS[0]))
    assert await store.members(seconds_from_now()) == {}


async def test_one_for_all_members_lifts_what_is_said_beside_the_user_alone(
    store: Watched, plain: RedisCluster
) -> None:
    """Whoever suppressed it stood still until it was lifted, and nobody is to remove it once more any longer."""
    await plain.hset(suppression_key(USERS[0]).decode(), str(MEMBER), "1")
    await lift(store, ALL_MEMBERS, USERS[0])
    assert not await plain.exists(suppression_key(USERS[0]))
    await lift(store, ALL_MEMBERS, USERS[0])


async def test_a_day_after_the_last_one_has_ended_nothing_says_whom_it_was_about(
    store: Watched, plain: RedisCluster
) -> None:
    registry, now_ms = suppressed_users_key(MEMBER), FakeClock.real().ms
    day_ms, far_ms = 86_400_000, now_ms + 400 * 86_400_000
    await suppress(store, MEMBER, USERS[0], end_ms=now_ms + 60_000, now_ms=now_ms)
    assert await plain.pexpiretime(registry) == now_ms + 60_000 + day_ms
    await suppress(store, MEMBER, USERS[1], now_ms=now_ms)
    assert await plain.pexpiretime(registry) > now_ms + 2**31 * 60_000
    await suppress(store, MEMBER, USERS[2], end_ms=far_ms, now_ms=now_ms)
    assert await plain.pexpiretime(registry) > now_ms + 2**31 * 60_000
    await lift(store, MEMBER, USERS[1], now_ms=now_ms)
    assert await plain.pexpiretime(registry) == far_ms + day_ms


async def test_it_is_over_when_the_last_one_is_lifted(suppressions: Suppressions, store: Watched) -> None:
    await suppress(store, MEMBER, USERS[0], USERS[1])
    await suppress(store, MEMBER, USERS[2])
    await lift(store, MEMBER, USERS[0], USERS[2])
    await eventually(lambda: known(suppressions, MEMBER, concerned=True))
    assert await found(suppressions, MEMBER) == {USERS[1]}
    await lift(store, MEMBER, USERS[1])
    await lift(store, MEMBER, USERS[1])
    await eventually(lambda: known(suppressions, MEMBER))


async def test_it_ends_at_its_end(
    suppressions: Suppressions, store: Watched, clock: FakeClock, plain: RedisCluster
) -> None:
    await suppress(store, MEMBER, USERS[0], end_ms=clock.ms + 600_000, now_ms=clock.ms)
    await suppress(store, MEMBER, USERS[1], end_ms=clock.ms + 1_000, now_ms=clock.ms)
    await suppress(store, MEMBER, USERS[2], end_ms=clock.ms + 300_000, now_ms=clock.ms)
    assert await store.members(seconds_from_now()) == {MEMBER: clock.ms + 600_000}
    await eventually(lambda: known(suppressions, MEMBER, concerned=True))

    async def has_ended() -> None:
        assert await found(suppressions, MEMBER) == {USERS[0], USERS[2]}

    await eventually(has_ended)
    for ahead_ms, kept in ((0, 3), (1_000, 2)):  # it goes when it has ended by both clocks
        await suppress(store, MEMBER, USERS[2], end_ms=clock.ms + 300_000, now_ms=clock.ms + ahead_ms)
        assert await plain.zcard(suppressed_users_key(MEMBER)) == kept
    clock.ms += 600_001
    assert await found(suppressions, MEMBER) == {USERS[0], USERS[2]}, "by the cluster's clock it has not ended"
    clock.ms += module.AHEAD_MS
    await known(suppressions, MEMBER)


async def test_a_worker_whose_clock_is_ahead_forgets_nobody(
    suppressions: Suppressions, store: Watched, clock: FakeClock
) -> None:
    await suppress(store, MEMBER, USERS[0], end_ms=clock.ms + 600_000, now_ms=clock.ms)
    await suppress(store, MEMBER, USERS[1], now_ms=clock.ms + 3_600_000)
    await lift(store, MEMBER, USERS[1], now_ms=clock.ms + 3_600_000)
    assert await store.members(seconds_from_now()) == {MEMBER: clock.ms + 600_000}
    await eventually(lambda: known(suppressions, MEMBER, concerned=True))
    assert await found(suppressions, MEMBER) == {USERS[0]}


async def test_while_it_is_not_known_who_has_some_everyone_is_looked_for(
    suppressions: Suppressions, store: Watched
) -> None:
    """Within a second, whatever the cluster does: what says so lies beside the users' memberships."""
    await suppress(store, MEMBER, USERS[0])
    with capture_logs() as logged:
        store.away = True
        await eventually(lambda: known(suppressions, MEMBER, OTHER, concerned=True))
        assert await found(suppressions, MEMBER) == {USERS[0]}
        assert await found(suppressions, OTHER) == set()
        assert store.looks == 2
        await eventually(lambda: said(logged, "suppressions_stale"))
        assert SUPPRESSIONS_STALE._value.get() == 1
        store.away = False
        await eventually(lambda: said(logged, "suppressions_stale", "suppressions_current"))
        assert SUPPRESSIONS_STALE._value.get() == 0
        await known(suppressions, OTHER)
    assert module.FOLLOW_SECONDS + module.ANSWER_SECONDS < module.CURRENT_SECONDS < 1


async def test_a_first_answer_that_is_late_is_not_told(store: Watched, clock: FakeClock) -> None:
    """A process does much else as it begins: each start logged a warning."""
    store.failing = 1
    with capture_logs() as logged:
        async with followed(store, clock):
            assert not logged


async def test_a_question_without_an_answer_is_asked_again(suppressions: Suppressions, store: Watched) -> None:
    """What is known is trusted meanwhile; so is what was asked when the version was known already."""

    async def asked() -> None:
        assert not store.failing

    with capture_logs() as logged:
        store.failing = 1
        await eventually(asked)
        await known(suppressions, MEMBER, OTHER)
        assert not logged

        real_version = store.version

        async def version(deadline: float) -> bytes:
            found = await real_version(deadline)
            if found != before and not failed:
                failed.append(found)
                store.failing = 1  # of the members
            return found

        before, failed = await real_version(seconds_from_now()), list[bytes]()
        store.version = version  # type: ignore[method-assign]
        await suppress(store, MEMBER, USERS[0])
        await eventually(lambda: known(suppressions, MEMBER, concerned=True))
        await known(suppressions, OTHER)
        assert failed
        assert not logged


async def test_a_change_that_is_sent_again_hides_none_that_came_in_between(
    suppressions: Suppressions, store: Watched
) -> None:
    """A worker that had read the list after it was made first took that for the newest, for ever."""

    async def change(member: int, name: str) -> None:
        await store.suppress(member, USERS[:1], 1, NEVER, LATER, name, seconds_from_now())

    await change(MEMBER, "a")
    await eventually(lambda: known(suppressions, MEMBER, concerned=True))
    store.away = True
    await change(OTHER, "b")
    await change(MEMBER, "a")
    store.away = False
    await eventually(lambda: known(suppressions, OTHER, concerned=True))
    await asyncio.sleep(module.CURRENT_SECONDS)
    await known(suppressions, OTHER, concerned=True)


async def test_an_answer_is_as_old_as_its_question(
    suppressions: Suppressions, store: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suppression may have come since."""
    monkeypatch.setattr(module, "CURRENT_SECONDS", 0.1)
    store.slow_seconds = 0.2
    await eventually(lambda: known(suppressions, OTHER, concerned=True))
    end = asyncio.get_running_loop().time() + 3 * (store.slow_seconds + module.FOLLOW_SECONDS)
    while asyncio.get_running_loop().time() < end:
        await asyncio.sleep(0.01)
        await known(suppressions, OTHER, concerned=True)


async def test_while_a_backup_is_put_back_everyone_is_looked_for(
    suppressions: Suppressions, store: Watched, plain: RedisCluster
) -> None:
    """By a version that deletes what says who has some, and writes the version last."""
    await suppress(store, MEMBER, USERS[0])
    await eventually(lambda: known(suppressions, MEMBER, concerned=True))
    version, members = await plain.get(SUPPRESSIONS_VERSION), await plain.hgetall(SUPPRESSING_MEMBERS)
    await plain.delete(SUPPRESSIONS_VERSION, SUPPRESSING_MEMBERS)
    await eventually(lambda: known(suppressions, MEMBER, OTHER, concerned=True))
    assert await found(suppressions, MEMBER) == {USERS[0]}
    await plain.hset(SUPPRESSING_MEMBERS, mapping=members)
    await plain.set(SUPPRESSIONS_VERSION, version)
    await eventually(lambda: known(suppressions, OTHER))
    await known(suppressions, MEMBER, concerned=True)


async def test_who_is_due_stays_so_until_it_is_removed(store: Watched, plain: RedisCluster) -> None:
    """And one that is suppressed no more keeps what it is in."""
    await plain.hset(USERS[0].decode(), mapping={"10001": 1, "12": 2})
    await store.suppress(MEMBER, USERS[:2], 1, NEVER, (0, 3_600_000), "a", seconds_from_now())
    for _ in range(2):
        due = await store.due(seconds_from_now())
        assert {(each.member_id, each.user_key) for each in due} == {(MEMBER, key) for key in USERS[:2]}
    for each in due:
        await store.remove(each, [10001] if each.user_key == USERS[0] else [], seconds_from_now())
    assert await store.due(seconds_from_now()) == []
    assert await plain.hkeys(USERS[0].decode()) == [b"12"]
    await store.suppress(MEMBER, USERS[:1], 1, NEVER, (0, 0), "b", seconds_from_now())
    await lift(store, MEMBER, USERS[0])
    for each in await store.due(seconds_from_now()):
        await store.remove(each, [12], seconds_from_now())
    assert await plain.hkeys(USERS[0].decode()) == [b"12"]
    assert await store.due(seconds_from_now()) == []


async def test_who_is_suppressed_anew_while_it_is_removed_stays_due(store: Watched, plain: RedisCluster) -> None:
    """What was let through before the new suppression is removed later, too."""
    await store.suppress(MEMBER, USERS[:1], 1, NEVER, (0, 0), "a", seconds_from_now())
    due = await store.due(seconds_from_now())
    await store.suppress(MEMBER, USERS[:1], 1, NEVER, LATER, "b", seconds_from_now())
    for each in due:
        await store.remove(each, [], seconds_from_now())
    assert await plain.zcard(SUPPRESSIONS_DUE) == len(due) == 2


async def test_who_is_in_very_many_segments_is_removed(store: Watched, plain: RedisCluster) -> None:
    """More than a script's command takes at once."""
    segments = range(1, 20_001)
    await plain.hset(USERS[0].decode(), mapping=dict.fromkeys(map(str, segments), 1))
    await store.suppress(MEMBER, USERS[:1], 1, NEVER, (0, 3_600_000), "a", seconds_from_now())
    (due,) = await store.due(seconds_from_now())
    await store.remove(due, segments[:-1], seconds_from_now())
    assert await plain.hkeys(USERS[0].decode()) == [b"20000"]
    assert await store.due(seconds_from_now()) == []


async def test_who_is_due_is_removed_where_the_memory_is_full(
    store: Watched, plain: RedisCluster, embedded: EmbeddedCluster
) -> None:
    """And a suppression can be lifted: both make room."""
    await plain.hset(USERS[0].decode(), mapping={"1": 1, "2": 1})
    await store.suppress(MEMBER, USERS[:1], 1, NEVER, (0, 0), "a", seconds_from_now())
    await on_all_nodes(embedded, "CONFIG", "SET", "maxmemory", 1)
    try:
        for due in await store.due(seconds_from_now()):
            await store.remove(due, [1], seconds_from_now())
        assert await plain.hkeys(USERS[0].decode()) == [b"2"]
        assert await store.due(seconds_from_now()) == []
        await lift(store, MEMBER, *USERS)
    finally:
        await on_all_nodes(embedded, "CONFIG", "SET", "maxmemory", 0)
    assert await store.find(MEMBER, USERS, seconds_from_now()) == (frozenset(), {})
    assert await store.members(seconds_from_now()) == {}
