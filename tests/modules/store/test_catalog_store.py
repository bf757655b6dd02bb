"""The catalog in the cluster: what may be written, what became of it, and in which order (store interface, Write)."""

import asyncio
import itertools
from collections.abc import Collection
from typing import ClassVar, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.errors import AudienceError
from instantaudience_server.store import catalog_store
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.catalog import Change, Kind, Outcome, Version, Write
from redis.asyncio import RedisCluster
from support.cluster.running import connected
from support.waiting import seconds_from_now

STREAM = "c:{catalog}:changes"
LARGE_ID = 2_000_000_001
"""An ID that does not move the count of IDs."""

OWNER = Write(Kind.MEMBER, 1, None, b"owner")
EMPTY = Write(Kind.MEMBER, 2, None, b"empty")
ANN = Write(Kind.USER, 10, None, b"ann", 1, None, "user:ann", "hash of ann")
CARS = Write(Kind.SEGMENT, 100, None, b"cars", 1, None, "segment:1:cars")
PLAIN = Write(Kind.SEGMENT, 101, None, b"plain", 1)
BEGINNING = [OWNER, EMPTY, ANN, CARS, PLAIN]


class Case(NamedTuple):
    """A write on what stands in the beginning."""

    name: str
    write: Write
    outcome: Outcome


DONE, CONFLICT = Outcome.DONE, Outcome.CONFLICT
NAME_TAKEN, NO_OWNER, IN_USE = Outcome.NAME_TAKEN, Outcome.NO_OWNER, Outcome.IN_USE
SAME_USER = {"owner_id": 1, "name_before": "user:ann", "name_after": "user:ann"}
CODE = "segment:1:cars"
CASES = [
    Case("create a member", Write(Kind.MEMBER, 3, None, b"new"), DONE),
    Case("create a member that is there", Write(Kind.MEMBER, 1, None, b"owner"), CONFLICT),
    Case("change a member", Write(Kind.MEMBER, 1, b"owner", b"changed"), DONE),
    Case("change a member that has changed", Write(Kind.MEMBER, 1, b"old", b"changed"), CONFLICT),
    Case("change a member that is not there", Write(Kind.MEMBER, 3, b"new", b"changed"), CONFLICT),
    Case("delete a member", Write(Kind.MEMBER, 2, b"empty", None), DONE),
    Case("delete a member that owns something", Write(Kind.MEMBER, 1, b"owner", None), IN_USE),
    Case("delete a member that has changed", Write(Kind.MEMBER, 1, b"old", None), CONFLICT),
    Case("delete a member that is not there", Write(Kind.MEMBER, 3, b"new", None), CONFLICT),
    Case("create a user", Write(Kind.USER, 11, None, b"bob", 1, None, "user:bob", "hash"), DONE),
    Case("create a user of no member", Write(Kind.USER, 11, None, b"bob", 3, None, "user:bob", "hash"), NO_OWNER),
    Case("a user's name is taken", Write(Kind.USER, 11, None, b"ann", 2, None, "user:ann", "hash"), NAME_TAKEN),
    Case(
        "change a user's password alone", Write(Kind.USER, 10, b"ann", b"ann", **SAME_USER, password_hash="new"), DONE
    ),
    Case(
        "change a password that is there",
        Write(Kind.USER, 10, b"ann", b"ann", **SAME_USER, password_hash="new", hash_before="hash of ann"),
        DONE,
    ),
    Case(
        "change a password that has changed",
        Write(Kind.USER, 10, b"ann", b"ann", **SAME_USER, password_hash="new", hash_before="old"),
        CONFLICT,
    ),
    Case("delete a user", Write(Kind.USER, 10, b"ann", None, 1, "user:ann"), DONE),
    Case("create a segment", Write(Kind.SEGMENT, 102, None, b"new", 2, None, "segment:2:cars"), DONE),
    Case("create a segment of no member", Write(Kind.SEGMENT, 102, None, b"new", 3), NO_OWNER),
    Case("a code is taken", Write(Kind.SEGMENT, 102, None, b"new", 1, None, CODE), NAME_TAKEN),
    Case("a segment keeps its code", Write(Kind.SEGMENT, 100, b"cars", b"b", 1, *[CODE] * 2), DONE),
    Case("a segment gets a code", Write(Kind.SEGMENT, 101, b"plain", b"b", 1, None, "segment:1:b"), DONE),
    Case("a segment gets a taken code", Write(Kind.SEGMENT, 101, b"plain", b"b", 1, None, CODE), NAME_TAKEN),
    Case("a segment loses its code", Write(Kind.SEGMENT, 100, b"cars", b"b", 1, CODE), DONE),
    Case("delete a segment", Write(Kind.SEGMENT, 100, b"cars", None, 1, CODE), DONE),
]


@pytest.fixture
def store(cluster: Cluster) -> ClusterCatalogStore:
    return ClusterCatalogStore(cluster)


@pytest.fixture
async def filled(store: ClusterCatalogStore) -> ClusterCatalogStore:
    """Holds BEGINNING."""
    assert await write(store, *BEGINNING) == [Outcome.DONE] * len(BEGINNING)
    return store


async def write(store: ClusterCatalogStore, *writes: Write) -> list[Outcome]:
    return await store.write(writes, seconds_from_now())


async def changes(store: ClusterCatalogStore, after: Version) -> list[Change] | None:
    following = await store.changes(after, seconds_from_now())
    if following is None:
        return None
    assert following.are_all == (len(following.changes) < catalog_store.CHANGES_AT_ONCE)
    return list(following.changes)


async def version(store: ClusterCatalogStore) -> Version:
    return await store.version(seconds_from_now())


async def found(store: ClusterCatalogStore, kind: Kind, object_id: int) -> bytes | None:
    (data,) = await store.find(kind, [object_id], seconds_from_now())
    return data


async def loaded(store: ClusterCatalogStore) -> list[tuple[Kind, bytes]]:
    return sorted([(kind, data) async for kind, page in store.load(5) for data in page])


def segments(first: int, count: int) -> list[Write]:
    return [Write(Kind.SEGMENT, number, None, b"%d" % number, 1) for number in range(first, first + count)]


class TestWriting:
    @pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
    async def test_a_write_is_made_whole_or_not_at_all(self, filled: ClusterCatalogStore, case: Case) -> None:
        write_, outcome = case.write, case.outcome
        before, everything = await version(filled), await loaded(filled)
        assert await write(filled, write_) == [outcome]
        if outcome is Outcome.DONE:
            after = await version(filled)
            assert await changes(filled, before) == [Change(after, write_.kind, write_.id, write_.after)]
            assert await found(filled, write_.kind, write_.id) == write_.after
        else:
            assert await version(filled) == before
            assert await loaded(filled) == everything

    async def test_what_goes_leaves_what_has_its_id_and_is_of_another_kind(self, filled: ClusterCatalogStore) -> None:
        """A member that owns something, and a user's password."""
        there = [Write(Kind.SEGMENT, each.id, None, b"same", 2) for each in (OWNER, ANN)]
        gone = [each._replace(before=b"same", after=None) for each in there]
        assert await write(filled, *there, *gone) == [Outcome.DONE] * 4
        assert await found(filled, Kind.MEMBER, OWNER.id) == b"owner"
        assert await filled.password_hashes([ANN.id], seconds_from_now()) == ["hash of ann"]

    async def test_one_refused_write_does_not_keep_others_from_being_made(self, filled: ClusterCatalogStore) -> None:
        good, bad = segments(200, 2), Write(Kind.SEGMENT, 100, b"other", b"b", 1)
        assert await write(filled, good[0], bad, good[1]) == [Outcome.DONE, Outcome.CONFLICT, Outcome.DONE]

    async def test_a_write_may_build_on_the_one_before(self, store: ClusterCatalogStore) -> None:
        step = Write(Kind.MEMBER, 1, b"owner", b"changed")
        assert await write(store, OWNER, step, *segments(1, 300)) == [Outcome.DONE] * 302
        assert [change.data for change in await changes(store, b"") or []][:3] == [b"owner", b"changed", b"1"]

    async def test_of_concurrent_writes_on_one_object_one_is_made(self, filled: ClusterCatalogStore) -> None:
        attempts = [Write(Kind.MEMBER, 1, b"owner", b"by %d" % number) for number in range(20)]
        outcomes = await asyncio.gather(*(write(filled, attempt) for attempt in attempts))
        assert sorted(outcomes, key=[[Outcome.CONFLICT], [Outcome.DONE]].index) == [
            *[[Outcome.CONFLICT]] * 19,
            [Outcome.DONE],
        ]

    async def test_no_writes_are_no_command(self, store: ClusterCatalogStore) -> None:
        assert await store.write([], deadline=0) == []


class TestSendingAgain:
    """A command is sent again when its answer got lost; by then, others may have changed what it wrote."""

    BACK = Write(Kind.MEMBER, 1, b"changed", b"owner")
    CASES: ClassVar[dict[str, tuple[list[Write], list[Write]]]] = {
        "create": ([Write(Kind.MEMBER, 3, None, b"new")], []),
        "change": ([Write(Kind.MEMBER, 1, b"owner", b"changed")], []),
        "change, which somebody took back": ([Write(Kind.MEMBER, 1, b"owner", b"changed")], [BACK]),
        "change twice": ([Write(Kind.MEMBER, 1, b"owner", b"changed"), BACK], []),
        "delete": ([Write(Kind.SEGMENT, 101, b"plain", None, 1)], []),
        "delete, and somebody created it anew": ([Write(Kind.SEGMENT, 101, b"plain", None, 1)], [PLAIN]),
        "refused": ([Write(Kind.MEMBER, 3, b"new", b"newer")], [Write(Kind.MEMBER, 3, None, b"new")]),
    }

    @pytest.mark.parametrize("name", CASES)
    async def test_it_is_carried_out_once_and_answered_alike(
        self, filled: ClusterCatalogStore, cluster: Cluster, name: str
    ) -> None:
        writes, meanwhile = self.CASES[name]
        sender = ClusterCatalogStore(cluster, name_command=lambda: 77)
        outcomes = await write(sender, *writes)
        await write(filled, *meanwhile)
        before, everything = await version(filled), await loaded(filled)
        assert await write(sender, *writes) == outcomes
        assert (await version(filled), await loaded(filled)) == (before, everything)

    async def test_every_command_has_a_name_of_its_own_which_is_forgotten(
        self, filled: ClusterCatalogStore, plain: RedisCluster
    ) -> None:
        await write(filled, *segments(200, 250))
        names = [key async for key in plain.scan_iter("c:{catalog}:answer:*")]
        assert len(names) == 2
        for name in names:
            assert 60 < await plain.ttl(name) <= catalog_store.ANSWERS_KEPT_SECONDS


class TestOwners:
    async def test_a_member_can_go_when_all_that_it_owned_has_gone(self, filled: ClusterCatalogStore) -> None:
        going = [
            (Write(Kind.USER, 10, b"ann", None, 1, "user:ann"), Outcome.IN_USE),
            (Write(Kind.SEGMENT, 100, b"cars", None, 1, "segment:1:cars"), Outcome.IN_USE),
            (Write(Kind.SEGMENT, 101, b"plain", None, 1), Outcome.DONE),
        ]
        for gone, outcome in going:
            assert await write(filled, gone, Write(Kind.MEMBER, 1, b"owner", None)) == [Outcome.DONE, outcome]

    async def test_changes_and_refusals_do_not_count(self, filled: ClusterCatalogStore) -> None:
        segment = Write(Kind.SEGMENT, 5, None, b"5", 2)
        await write(filled, segment, segment, segment._replace(before=b"5", after=b"6"))
        assert await write(filled, segment._replace(before=b"6", after=None)) == [Outcome.DONE]
        assert await write(filled, Write(Kind.MEMBER, 2, b"empty", None)) == [Outcome.DONE]


class TestNames:
    async def test_a_name_is_free_again_when_its_owner_gave_it_up(self, filled: ClusterCatalogStore) -> None:
        other = Write(Kind.SEGMENT, 7, None, b"7", 1, None, "segment:1:cars")
        renamed = Write(Kind.SEGMENT, 100, b"cars", b"b", 1, "segment:1:cars", "segment:1:b")
        assert await write(filled, other) == [Outcome.NAME_TAKEN]
        assert await write(filled, renamed) == [Outcome.DONE]
        assert await write(filled, other) == [Outcome.DONE]
        deleted = Write(Kind.SEGMENT, 7, b"7", None, 1, "segment:1:cars")
        assert await write(filled, deleted, other._replace(id=8)) == [Outcome.DONE, Outcome.DONE]

    OTHER = Write(Kind.SEGMENT, 7, None, b"7", 1, None, "segment:1:cars")
    RENAMED = Write(Kind.SEGMENT, 100, b"cars", b"b", 1, "segment:1:cars", "segment:1:b")
    CODED = Write(Kind.SEGMENT, 101, b"plain", b"b", 1, None, "segment:1:b")
    GIVEN_UP: ClassVar[dict[str, tuple[list[Write], list[Outcome], dict[str, bytes]]]] = {
        "by one that comes later": ([OTHER, RENAMED], [DONE, DONE], {"cars": b"7", "b": b"100"}),
        "by one that goes later": (
            [OTHER, Write(Kind.SEGMENT, 100, b"cars", None, 1, CODE)],
            [DONE, DONE],
            {"cars": b"7"},
        ),
        "by one that has changed": ([OTHER, RENAMED._replace(before=b"old")], [NAME_TAKEN, CONFLICT], {"cars": b"100"}),
        "by one that cannot have another": (
            [CODED, OTHER, RENAMED],
            [DONE, NAME_TAKEN, NAME_TAKEN],
            {"cars": b"100", "b": b"101"},
        ),
        "by one whose next name another wants": (
            [OTHER, CODED, RENAMED],
            [DONE, NAME_TAKEN, DONE],
            {"cars": b"7", "b": b"100"},
        ),
        "to the first of two": (
            [OTHER, OTHER._replace(id=8), RENAMED],
            [DONE, NAME_TAKEN, DONE],
            {"cars": b"7", "b": b"100"},
        ),
        "by one that is changed before": (
            [OTHER, Write(Kind.SEGMENT, 100, b"cars", b"c", 1, CODE, CODE), RENAMED],
            [NAME_TAKEN, DONE, CONFLICT],
            {"cars": b"100"},
        ),
        "by one that took it before": (
            [OTHER._replace(name_after="segment:1:b"), Write(Kind.SEGMENT, 7, b"7", None, 1, "segment:1:b"), CODED],
            [DONE, DONE, DONE],
            {"cars": b"100", "b": b"101"},
        ),
    }

    @pytest.mark.parametrize("name", GIVEN_UP)
    async def test_a_name_is_free_that_the_same_command_gives_up(
        self, filled: ClusterCatalogStore, plain: RedisCluster, name: str
    ) -> None:
        writes, outcomes, owners = self.GIVEN_UP[name]
        assert await write(filled, *writes) == outcomes
        names = await plain.hgetall("c:{catalog}:names")
        assert names == {b"user:ann": b"10", **{f"segment:1:{code}".encode(): owner for code, owner in owners.items()}}


USERS = range(20, 26)


def named(number: int) -> Write:
    """Create a user. Its data are its name here, so that it is seen who has which."""
    name = f"user:{number}"
    return Write(Kind.USER, number, None, name.encode(), 1, None, name)


def renamed(number: int, name: str, *givers: int) -> Write:
    """Give such a user a name, and names in certificates that `givers` have."""
    old = f"user:{number}"
    return Write(Kind.USER, number, old.encode(), name.encode(), 1, old, name, givers=givers)


@st.composite
def changes_of_users(draw: st.DrawFn) -> list[Write]:
    """Changes of all users, in any order."""
    name, givers = st.sampled_from([*USERS, "x", "y"]), st.sets(st.sampled_from(USERS), max_size=2)
    return [renamed(each, f"user:{draw(name)}", *draw(givers) - {each}) for each in draw(st.permutations(USERS))]


def can_be_made(changed: Collection[Write]) -> bool:
    """Whether these changes, and no others, leave each name to one user, and take nothing from who is not changed."""
    by_id = {each.id: each for each in changed}
    names = {by_id[user].name_after if user in by_id else f"user:{user}" for user in USERS}
    return len(names) == len(USERS) and all(by_id.keys() >= set(each.givers) for each in changed)


class TestGivers:
    """Users give up names in certificates that others take, while their own names change, too."""

    CIRCLES: ClassVar[dict[str, tuple[list[Write], list[Outcome]]]] = {
        "all can be made": (
            [renamed(20, "user:21", 21), renamed(21, "user:22", 22), renamed(22, "user:20", 20)],
            [DONE, DONE, DONE],
        ),
        "one wants a name that those give away on whom it waits": (
            [renamed(20, "user:21"), renamed(22, "user:20"), renamed(21, "user:20", 20, 22)],
            [NAME_TAKEN, NAME_TAKEN, NAME_TAKEN],
        ),
        "the first is refused, on whom others have counted": (
            [renamed(20, "user:25", 21), renamed(21, "user:22"), renamed(22, "user:x", 20)],
            [NAME_TAKEN, NAME_TAKEN, NAME_TAKEN],
        ),
        "the first is refused, and a name that another was to have stays free": (
            [renamed(20, "user:25", 21), renamed(21, "user:x", 20), renamed(22, "user:x")],
            [NAME_TAKEN, NAME_TAKEN, DONE],
        ),
        "the first is refused, as it wants a name that two exchange": (
            [renamed(22, "user:20"), renamed(20, "user:21"), renamed(21, "user:20")],
            [NAME_TAKEN, DONE, DONE],
        ),
        "the first is refused, as is the second, and the others exchange their names": (
            [renamed(23, "user:22"), renamed(22, "user:20"), renamed(20, "user:21"), renamed(21, "user:20")],
            [NAME_TAKEN, NAME_TAKEN, DONE, DONE],
        ),
    }

    @pytest.mark.parametrize("name", CIRCLES)
    async def test_those_who_wait_for_each_other_change_together_or_not_at_all(
        self, store: ClusterCatalogStore, plain: RedisCluster, name: str
    ) -> None:
        writes, outcomes = self.CIRCLES[name]
        await write(store, OWNER, *map(named, USERS))
        assert await write(store, *writes) == outcomes
        await self.assert_exact(plain)

    @given(changed=changes_of_users())
    async def test_names_are_exact_whatever_changes_together(
        self, store: ClusterCatalogStore, plain: RedisCluster, changed: list[Write]
    ) -> None:
        """And who is changed takes names in certificates only from those who are changed, too. Nobody is refused who
        could have been changed beside them."""
        await plain.flushall(target_nodes=RedisCluster.PRIMARIES)
        await write(store, OWNER, *map(named, USERS))
        outcomes = await write(store, *changed)
        made = [each for each, outcome in zip(changed, outcomes, strict=True) if outcome is DONE]
        assert can_be_made(made)
        await self.assert_exact(plain)
        refused = [each for each in changed if each not in made]
        for count in range(1, len(refused) + 1):
            for more in itertools.combinations(refused, count):
                assert not can_be_made([*made, *more])

    async def assert_exact(self, plain: RedisCluster) -> None:
        """Each user has the name that it shows, and no other."""
        shown = await plain.hgetall("c:{catalog}:users")
        assert await plain.hgetall("c:{catalog}:names") == {name: number for number, name in shown.items()}
        assert len(set(shown.values())) == len(USERS)

    async def test_many_who_wait_for_several_keep_the_node_for_no_longer(self, filled: ClusterCatalogStore) -> None:
        """Each waits for the next two: there are millions of ways from the first to the last."""
        users = range(1000, 1030)
        await write(filled, *map(named, users))
        changed = [renamed(each, f"user:{each}", *{each + 1, each + 2} & {*users}) for each in users]
        assert set(await write(filled, *(each._replace(after=b"changed") for each in changed))) == {DONE}


class TestNamedMembers:
    """A member that another names stays: its ID, given again, would mean another company."""

    NAMING = Write(Kind.MEMBER, 1, b"owner", b"names 2", named=[2])
    DELETING = Write(Kind.MEMBER, 2, b"empty", None)

    async def test_it_has_to_be_there(self, filled: ClusterCatalogStore) -> None:
        for named, outcome in (([3], Outcome.NO_MEMBER), ([2, 3], Outcome.NO_MEMBER), ([1, 2], DONE)):
            assert await write(filled, self.NAMING._replace(named=named)) == [outcome]

    async def test_all_of_a_group_may_name_each_other_from_the_start(self, store: ClusterCatalogStore) -> None:
        """The node had a hundred times the work for two members more: with twelve, it did not come back."""
        group = range(1, 101)
        created = [Write(Kind.MEMBER, each, None, b"new", named={*group} - {each}) for each in group]
        assert set(await write(store, *created[:9])) == {Outcome.NO_MEMBER}
        assert set(await write(store, *created)) == {DONE}

    async def test_it_goes_unless_a_member_has_changed_since_it_was_looked_at(
        self, filled: ClusterCatalogStore
    ) -> None:
        looked_at = await version(filled)
        assert await write(filled, *segments(200, 3)) == [DONE] * 3
        deleting = self.DELETING._replace(alone_since=looked_at)
        assert await write(filled, Write(Kind.MEMBER, 1, b"owner", b"changed")) == [DONE]
        assert await write(filled, deleting) == [CONFLICT]
        looked_at = await version(filled)
        assert await write(filled, *segments(300, 3)) == [DONE] * 3
        assert await write(filled, self.DELETING._replace(alone_since=looked_at)) == [DONE]

    async def test_those_of_one_command_know_of_each_other(self, filled: ClusterCatalogStore) -> None:
        looked_at = await version(filled)
        users = [Write(Kind.USER, each, None, b"u", alone_since=looked_at) for each in (70, 71, 72)]
        assert await write(filled, *users[:2]) == [DONE] * 2
        assert await write(filled, users[2]) == [CONFLICT]

    async def test_nobody_knows_what_changed_too_long_ago(
        self, filled: ClusterCatalogStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(catalog_store, "CHANGES_LOOKED_THROUGH", 3)
        deleting = self.DELETING._replace(alone_since=await version(filled))
        await write(filled, *segments(200, 3))
        assert await write(filled, deleting) == [CONFLICT]
        assert await write(filled, deleting._replace(alone_since=b"1000-1")) == [CONFLICT]
        assert await write(filled, deleting._replace(alone_since=await version(filled))) == [DONE]


class TestPasswords:
    async def hashes(self, store: ClusterCatalogStore, *user_ids: int) -> list[str | None]:
        return await store.password_hashes(user_ids, seconds_from_now())

    async def test_a_user_comes_with_its_hash(self, filled: ClusterCatalogStore) -> None:
        assert await filled.credentials(10, seconds_from_now()) == (b"ann", "hash of ann")
        assert await filled.credentials(11, seconds_from_now()) == (None, None)

    async def test_a_user_is_found_by_its_name(self, filled: ClusterCatalogStore) -> None:
        assert await filled.credentials_by_name("user:ann", seconds_from_now()) == (b"ann", "hash of ann")
        await write(filled, Write(Kind.USER, 10, b"ann", b"Ann", 1, "user:ann", "user:Ann"))
        assert await filled.credentials_by_name("user:Ann", seconds_from_now()) == (b"Ann", "hash of ann")
        for name in ("user:ann", "user:", "nobody"):
            assert await filled.credentials_by_name(name, seconds_from_now()) == (None, None)

    async def test_a_hash_is_kept_until_it_is_set_or_its_user_goes(self, filled: ClusterCatalogStore) -> None:
        assert await self.hashes(filled, 10, 11) == ["hash of ann", None]
        await write(filled, Write(Kind.USER, 10, b"ann", b"Ann", **SAME_USER))
        assert await self.hashes(filled, 10) == ["hash of ann"]
        await write(filled, Write(Kind.USER, 10, b"Ann", b"Ann", **SAME_USER, password_hash="new"))
        assert await self.hashes(filled, 10) == ["new"]
        await write(filled, Write(Kind.USER, 10, b"Ann", None, 1, "user:ann"))
        assert await self.hashes(filled, 10) == [None]

    async def test_a_refused_write_sets_none(self, filled: ClusterCatalogStore) -> None:
        assert await write(filled, ANN._replace(before=b"other", password_hash="new")) == [Outcome.CONFLICT]
        assert await self.hashes(filled, 10) == ["hash of ann"]
        assert await self.hashes(filled) == []


class TestFollowing:
    async def test_changes_come_in_order_and_each_once(self, store: ClusterCatalogStore) -> None:
        assert (await version(store), await changes(store, b"")) == (b"", [])
        writes = [OWNER, *segments(1, 3 * catalog_store.CHANGES_AT_ONCE)]
        await write(store, *writes)
        known, followed = b"", list[tuple[Kind, int, bytes | None]]()
        while part := await changes(store, known):
            assert len(part) <= catalog_store.CHANGES_AT_ONCE
            known = part[-1].version
            followed += [(change.kind, change.object_id, change.data) for change in part]
        assert part == []
        assert known == await version(store)
        assert followed == [(each.kind, each.id, each.after) for each in writes]

    async def test_what_is_no_longer_kept_cannot_be_followed(
        self, filled: ClusterCatalogStore, plain: RedisCluster
    ) -> None:
        start = await version(filled)
        await write(filled, *segments(1, 5))
        followed = await changes(filled, start) or []
        await plain.xtrim(STREAM, maxlen=3, approximate=False)
        versions = [start, *(change.version for change in followed)]
        rest = [await changes(filled, known) for known in versions]
        assert rest == [None, None, None, followed[3:], followed[4:], []]
        assert await changes(filled, b"") is None

    async def test_the_stream_is_trimmed(
        self, filled: ClusterCatalogStore, plain: RedisCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        start = await version(filled)
        monkeypatch.setattr(catalog_store, "CHANGES_KEPT", 100)
        await write(filled, *segments(1, 1000))
        assert 100 <= await plain.xlen(STREAM) < 500
        assert await changes(filled, start) is None

    @pytest.mark.parametrize("count", [0, 1, 5, 6, 400])
    async def test_another_catalog_is_not_taken_for_the_same(
        self, filled: ClusterCatalogStore, plain: RedisCluster, count: int
    ) -> None:
        known = await version(filled)
        await plain.flushall(target_nodes=RedisCluster.PRIMARIES)
        await write(filled, OWNER, *segments(1, count))
        assert await changes(filled, known) is None

    async def test_a_history_that_lost_its_end_is_not_taken_for_the_same(
        self, filled: ClusterCatalogStore, plain: RedisCluster
    ) -> None:
        """As after a failover to a replica that had not got the last changes."""
        versions = [await version(filled)]
        await write(filled, *segments(1, 1))
        versions.append(await version(filled))
        replicated = {key: await plain.dump(key) async for key in plain.scan_iter("c:*")}
        for each in segments(2, 2):
            await write(filled, each)
            versions.append(await version(filled))
        for key, content in replicated.items():
            await plain.restore(key, 0, content, replace=True)
        await write(filled, *segments(11, 3))
        lost = [await changes(filled, known) is None for known in versions]
        assert lost == [False, False, True, True]

    async def test_a_lost_stream_is_noticed(self, filled: ClusterCatalogStore, plain: RedisCluster) -> None:
        known = await version(filled)
        await write(filled, *segments(1, 2))
        await plain.delete(STREAM)
        assert await changes(filled, known) is None
        assert await changes(filled, b"") is None


class TestLoading:
    async def test_everything_comes_in_pages(self, store: ClusterCatalogStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(catalog_store, "RECORDS_AT_ONCE", 100)
        users = [Write(Kind.USER, number, None, b"u%d" % number, 1) for number in range(1, 10)]
        writes = [OWNER, *users, *segments(1, 2500)]
        await write(store, *writes)
        pages = [(kind, len(page)) async for kind, page in store.load(5)]
        assert [kind for kind, _ in itertools.groupby(kind for kind, _ in pages)] == [*Kind]
        assert len(pages) > 20
        assert max(size for _, size in pages) < 500
        assert set(await loaded(store)) == {(each.kind, each.after) for each in writes}

    async def test_an_empty_catalog_is_empty(self, store: ClusterCatalogStore) -> None:
        assert await loaded(store) == []

    async def test_a_page_that_does_not_come_ends_it(self, filled: ClusterCatalogStore) -> None:
        with pytest.raises(AudienceError, match="did not answer in time"):
            async for _ in filled.load(0):
                pass

    async def test_an_overload_does_not_keep_workers_from_following(
        self, filled: ClusterCatalogStore, embedded: EmbeddedCluster
    ) -> None:
        async with connected(embedded.url, max_pending_bytes=1) as busy:
            overloaded = ClusterCatalogStore(busy)
            assert len(await loaded(overloaded)) == len(BEGINNING)
            assert await changes(overloaded, await version(filled)) == []
            assert len(await changes(overloaded, b"") or []) == len(BEGINNING)
            with pytest.raises(AudienceError, match="overloaded"):
                await write(overloaded, PLAIN)


class TestIds:
    async def test_ids_are_never_given_twice(self, filled: ClusterCatalogStore) -> None:
        allocate = filled.allocate_id
        assert [await allocate(kind, seconds_from_now()) for kind in Kind] == [3, 11, 102]
        assert await allocate(Kind.SEGMENT, seconds_from_now()) == 103
        await write(filled, *segments(500, 1), Write(Kind.SEGMENT, 500, b"500", None, 1), *segments(300, 1))
        ids = await asyncio.gather(*(allocate(Kind.SEGMENT, seconds_from_now()) for _ in range(50)))
        assert sorted(ids) == [*range(501, 551)]

    async def test_a_very_large_id_does_not_use_up_the_others(self, filled: ClusterCatalogStore) -> None:
        assert await write(filled, *segments(LARGE_ID, 1)) == [Outcome.DONE]
        assert await filled.allocate_id(Kind.SEGMENT, seconds_from_now()) == 102
