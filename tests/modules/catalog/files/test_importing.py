"""Importing many objects (catalog.proto, ImportCatalog), on a real cluster."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.admission.quotas import Quotas
from instantaudience_server.catalog.accounts.public_keys import PublicKeyService
from instantaudience_server.catalog.rules import MOST_IMPORTED
from instantaudience_server.errors import AudienceError, Reason, unavailable
from instantaudience_server.passwords.hashing import Passwords
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.catalog import Kind, Outcome, Write
from support.clocks import FakeClock
from support.credentials.key_pairs import public_pem
from support.parts.callers import caller, quick_hash
from support.parts.catalogs import OTHER, OWN, CatalogWorker, before_writing, begin, catalog_worker, without_etag
from support.parts.quotas import Windows
from support.waiting import seconds_from_now

NOW_S = 1_700_000_000
PASSWORD = "Some-Passw0rd!"
HASH = quick_hash(PASSWORD)
A, B, C = 11, 12, 13
"""New members."""


@pytest.fixture
async def worker(cluster: Cluster, clock: FakeClock, passwords: Passwords) -> AsyncIterator[CatalogWorker]:
    """Two members with a user each, and an admin."""
    clock.ms = NOW_S * 1000
    async with catalog_worker(cluster, clock, passwords) as running:
        await begin(running)
        yield running


def everything() -> dict[str, Any]:
    """Objects of all kinds that refer to each other."""
    return {
        "members": [
            {"id": A, "name": "A", "segment_access": [B, OWN], "limits": {"posts_per_second": 5}},
            {"id": B, "name": "B", "segment_access": [A], "use_external_uids": True, "external_member_uid": A},
        ],
        "users": [
            {"user": {"id": 101, "username": "a", "member_id": A, "role": pb.ROLE_ADMIN}, "password": PASSWORD},
            {"user": {"id": 102, "username": "b", "member_id": B, "deactivated": True}, "password_hash": HASH},
        ],
        "segments": [
            {"id": 201, "member_id": A, "code": "Fans", "short_name": "Fans"},
            {"id": 202, "member_id": B, "state": pb.SEGMENT_STATE_INACTIVE, "expire_minutes": 5},
        ],
    }


def counts(answer: pb.ImportCatalogResponse) -> tuple[int, int, int]:
    assert not answer.problems
    return answer.created, answer.changed, answer.unchanged


def problems(answer: pb.ImportCatalogResponse) -> list[tuple[str, str]]:
    return [(problem.path, problem.message) for problem in answer.problems]


async def hash_of(worker: CatalogWorker, user_id: int) -> str | None:
    (password_hash,) = await worker.store.password_hashes([user_id], seconds_from_now())
    return password_hash


async def test_it_creates_what_is_missing(worker: CatalogWorker, passwords: Passwords) -> None:
    assert counts(await worker.put(**everything())) == (6, 0, 0)
    member = await worker.stored(Kind.MEMBER, A)
    assert without_etag(member) == pb.Member(**everything()["members"][0])
    assert without_etag(await worker.stored(Kind.USER, 102)) == pb.User(
        id=102, username="b", member_id=B, role=pb.ROLE_MEMBER, deactivated=True, token_generation=NOW_S
    )
    segment = await worker.stored(Kind.SEGMENT, 201)
    assert (segment.state, segment.last_modified.seconds) == (pb.SEGMENT_STATE_ACTIVE, NOW_S)
    assert await passwords.matches(PASSWORD, await hash_of(worker, 101), seconds_from_now())
    assert await hash_of(worker, 102) == HASH
    assert worker.feed.catalog.segment_by_code(A, "Fans") is not None
    assert worker.feed.catalog.accounts[101].member_id == A


async def test_twice_changes_nothing(worker: CatalogWorker, clock: FakeClock) -> None:
    await worker.put(**everything())
    before, password_hash = await worker.version(), await hash_of(worker, 101)
    clock.ms += 5000
    assert counts(await worker.put(**everything())) == (0, 0, 6)
    assert await worker.version() == before
    assert await hash_of(worker, 101) == password_hash


async def test_what_was_read_can_be_put_back(worker: CatalogWorker, clock: FakeClock) -> None:
    await worker.put(**everything())
    before = await worker.version()
    clock.ms += 5000
    answer = await worker.put(
        members=(await worker.call("ListMembers")).members,
        users=[{"user": user} for user in (await worker.call("ListUsers")).users],
        segments=(await worker.call("ListSegments")).segments,
    )
    assert counts(answer) == (0, 0, 4 + 5 + 2)
    assert await worker.version() == before


async def test_members_that_are_not_put_are_named_by_none(worker: CatalogWorker) -> None:
    """Another company could get the ID that they would have had."""
    objects = everything()
    objects["members"] += [
        {"id": 14, "name": "Fourteen", "segment_access": [15, A]},
        {"id": 15, "name": "Fifteen", "segment_access": [16]},
        {"id": 16},
        {"id": OWN, "name": "Own", "segment_access": [16]},
        {"id": 17, "name": "Seventeen", "segment_access": [OWN, 17]},
    ]
    answer = await worker.put(**objects)
    assert sorted(problems(answer)) == [
        ("members[2]", "'segment_access': there is no member 15"),
        ("members[3]", "'segment_access': there is no member 16"),
        ("members[4]", "'name' must have 1 to 255 characters"),
        ("members[5]", "'segment_access': there is no member 16"),
    ]
    assert (answer.created, answer.changed) == (7, 0)
    assert sorted(worker.feed.catalog.members) == [OWN, OTHER, A, B, 17]


@pytest.mark.parametrize(
    ("kind", "index", "change"),
    [
        ("members", 0, {"name": "New"}),
        ("members", 0, {"limits": {}}),
        ("members", 0, {"segment_access": [B]}),
        ("users", 0, {"user": {"id": 101, "username": "renamed", "member_id": A, "role": pb.ROLE_ADMIN}}),
        ("users", 0, {"user": {"id": 101, "username": "a", "member_id": A}}),
        ("users", 0, {"password": "Other-Passw0rd!"}),
        ("users", 1, {"password_hash": quick_hash(PASSWORD)}),
        ("segments", 0, {"code": "FANS"}),
        ("segments", 1, {"state": pb.SEGMENT_STATE_ACTIVE}),
    ],
)
async def test_it_changes_what_differs(
    worker: CatalogWorker, clock: FakeClock, kind: str, index: int, change: Any
) -> None:
    await worker.put(**everything())
    clock.ms += 5000
    objects = everything()
    objects[kind][index] |= change
    assert counts(await worker.put(**objects)) == (0, 1, 5)
    assert counts(await worker.put(**objects)) == (0, 0, 6)
    for position, segment_id in enumerate((201, 202)):
        stored = await worker.stored(Kind.SEGMENT, segment_id)
        changed = (kind, index) == ("segments", position)
        assert stored.last_modified.seconds == NOW_S + (5 if changed else 0)


async def test_members_name_those_that_come_much_later(worker: CatalogWorker) -> None:
    """In another command; what belongs to them comes after all of them."""
    members = [{"id": 1000 + number, "name": "M", "segment_access": [1200 - number]} for number in range(1, 200)]
    segments = [{"id": 300 + number, "member_id": 1000 + number, "short_name": "S"} for number in range(1, 200)]
    del members[99]["segment_access"]
    assert counts(await worker.put(members=members, segments=segments)) == (398, 0, 0)


async def test_a_member_that_goes_meanwhile_is_named_by_none(
    worker: CatalogWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands in the request, and was taken for there."""
    names, named = {"id": A, "name": "A"}, {"id": B, "name": "B"}
    await worker.put(members=[names, named])
    before_writing(worker, monkeypatch, lambda: worker.editor.delete(Kind.MEMBER, B, "", seconds_from_now()))
    answer = await worker.put(members=[names | {"segment_access": [B]}, named])
    assert problems(answer) == [("members[0]", f"'segment_access': there is no member {B}")]
    assert not (await worker.stored(Kind.MEMBER, A)).segment_access


async def test_a_member_that_names_one_who_comes_too_late(
    worker: CatalogWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told that its code is taken, which members do not have."""
    write, written = worker.store.write, list[Outcome]()

    async def write_and_create(writes: Sequence[Write], deadline: float) -> list[Outcome]:
        outcomes = await write(writes, deadline)
        written.extend(outcomes)
        if writes and written == [Outcome.NO_MEMBER] * 2:  # there is no third attempt
            created = pb.Member(id=B, name="B").SerializeToString()
            assert await write([Write(Kind.MEMBER, B, None, created)], deadline) == [Outcome.DONE]
        return outcomes

    monkeypatch.setattr(worker.store, "write", write_and_create)
    answer = await worker.put(members=[{"id": A, "name": "A", "segment_access": [B]}])
    assert problems(answer) == [("members[0]", "It was changed meanwhile; import it again")]
    assert await worker.stored(Kind.MEMBER, B) is not None


class TestCertificates:
    """No two users have a name in certificates: it would be nobody's."""

    @staticmethod
    def user(user_id: int, *names: str) -> dict[str, Any]:
        user = {"id": user_id, "username": f"u{user_id}", "member_id": OWN, "certificate_names": names}
        return {"user": user, "password_hash": HASH}

    async def test_a_name_that_another_user_has(self, worker: CatalogWorker) -> None:
        assert counts(await worker.put(users=[self.user(101, "a", "b")])) == (1, 0, 0)
        answer = await worker.put(users=[self.user(102, "c", "b"), self.user(103, "d")])
        assert (answer.created, problems(answer)) == (1, [("users[0]", "'certificate_names': user 101 has 'b'")])
        answer = await worker.put(users=[self.user(103, "a")])
        assert (answer.changed, problems(answer)) == (0, [("users[0]", "'certificate_names': user 101 has 'a'")])
        assert (await worker.stored(Kind.USER, 103)).certificate_names == ["d"]

    async def test_a_name_that_two_of_a_request_have(self, worker: CatalogWorker) -> None:
        await worker.put(users=[self.user(101, "a")])
        others = [{"user": {"id": number, "username": str(number), "member_id": OWN}} for number in range(1000, 1100)]
        answer = await worker.put(
            users=[self.user(102, "a"), *(each | {"password_hash": HASH} for each in others), self.user(101, "a")]
        )
        assert (answer.created, answer.unchanged) == (100, 1)
        assert problems(answer) == [("users[0]", "'certificate_names': user 101 has 'a'")]
        answer = await worker.put(users=[self.user(103, "n"), self.user(104, "n")])
        assert [text for _, text in problems(answer)] == [
            f"'certificate_names': user {each} has 'n'" for each in (104, 103)
        ]

    async def test_a_name_that_another_user_is_given_meanwhile(
        self, worker: CatalogWorker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rival = pb.User(id=101, username="rival", member_id=OWN, certificate_names=["a"])
        before_writing(worker, monkeypatch, lambda: worker.editor.create(rival, seconds_from_now(), HASH))
        answer = await worker.put(users=[self.user(102, "a")])
        assert (answer.created, problems(answer)) == (0, [("users[0]", "'certificate_names': user 101 has 'a'")])

    async def test_a_name_that_a_request_gives_to_another_user(self, worker: CatalogWorker) -> None:
        await worker.put(users=[self.user(101, "a")])
        assert counts(await worker.put(users=[self.user(102, "a"), self.user(101, "b")])) == (1, 1, 0)
        owner = worker.feed.catalog.account_by_certificate("a")
        assert owner is not None
        assert owner.id == 102

    async def test_names_that_change_places(self, worker: CatalogWorker) -> None:
        await worker.put(users=[self.user(101, "a"), self.user(102, "b"), self.user(103, "c")])
        around = [self.user(101, "c"), self.user(102, "a"), self.user(103, "b")]
        assert counts(await worker.put(users=around)) == (0, 3, 0)
        others = [self.user(number) for number in range(1000, 1100)]
        assert counts(await worker.put(users=[self.user(101, "d"), *others, self.user(102, "c")])) == (100, 2, 0)
        assert counts(await worker.put(users=[self.user(101, "c"), *others, self.user(102, "d")])) == (0, 2, 100)

    @pytest.mark.parametrize("between", [0, 100])
    @pytest.mark.parametrize("field", [{"username": "u103"}, {"username": ""}, {"member_id": 2}])
    async def test_a_name_of_a_user_that_is_not_put_stays_its_own(
        self, worker: CatalogWorker, between: int, field: dict[str, Any]
    ) -> None:
        """The request gives it to others, of which one gives its own to the next: both had it."""
        await worker.put(users=[self.user(101, "a"), self.user(102, "b"), self.user(103)])
        giver = self.user(101)
        giver["user"] |= field
        others = [self.user(number) for number in range(1000, 1000 + between)]
        for users in (
            [giver, *others, self.user(102, "a")],
            [self.user(103, "b"), self.user(102, "a"), *others, giver],
        ):
            answer = await worker.put(users=users)
            assert answer.changed == 0
            assert "'certificate_names': user 101 has 'a'" in [text for _, text in problems(answer)]
        for user_id, name in ((101, "a"), (102, "b")):
            owner = worker.feed.catalog.account_by_certificate(name)
            assert owner is not None
            assert owner.id == user_id


async def test_a_user_that_comes_and_goes_meanwhile_leaves_no_password(
    worker: CatalogWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was read after the user that was not there yet: the import's own was the same, and was not set."""
    user = {"id": 102, "username": "b", "member_id": OWN}
    read = worker.store.password_hashes

    async def read_between(user_ids: Sequence[int], deadline: float) -> list[str | None]:
        if user_ids:
            await worker.editor.create(pb.User(**user), deadline, HASH)
        hashes = await read(user_ids, deadline)
        if user_ids:
            await worker.editor.delete(Kind.USER, 102, "", deadline)
        return hashes

    monkeypatch.setattr(worker.store, "password_hashes", read_between)
    assert counts(await worker.put(users=[{"user": user, "password_hash": HASH}])) == (1, 0, 0)
    monkeypatch.undo()
    assert await hash_of(worker, 102) == HASH


async def test_a_password_is_checked_against_the_stored_hash(worker: CatalogWorker, passwords: Passwords) -> None:
    user = {"id": 102, "username": "b", "member_id": OWN}
    assert counts(await worker.put(users=[{"user": user, "password_hash": HASH}])) == (1, 0, 0)
    assert counts(await worker.put(users=[{"user": user, "password": PASSWORD}])) == (0, 0, 1)
    assert await hash_of(worker, 102) == HASH
    assert counts(await worker.put(users=[{"user": user}])) == (0, 0, 1)
    assert counts(await worker.put(users=[{"user": user, "password": "Other-Passw0rd!"}])) == (0, 1, 0)
    assert await passwords.matches("Other-Passw0rd!", await hash_of(worker, 102), seconds_from_now())
    assert (await worker.stored(Kind.USER, 102)).token_generation == NOW_S, "its tokens are as good as before"
    renamed = user | {"username": "c"}
    assert counts(await worker.put(users=[{"user": renamed}])) == (0, 1, 0)
    assert await passwords.matches("Other-Passw0rd!", await hash_of(worker, 102), seconds_from_now())


async def test_revoked_tokens_stay_revoked(worker: CatalogWorker) -> None:
    await worker.call("RevokeTokens", "own")
    user = {"id": 2, "username": "own", "member_id": OWN}
    assert counts(await worker.put(users=[{"user": user}])) == (0, 0, 1)
    assert counts(await worker.put(users=[{"user": user | {"deactivated": True, "token_generation": 9}}])) == (0, 1, 0)
    assert (await worker.stored(Kind.USER, 2)).token_generation == NOW_S + 1


async def test_tokens_of_a_user_that_is_gone_are_not_those_of_one_that_is_put_in_its_place(
    worker: CatalogWorker,
) -> None:
    await worker.call("RevokeTokens", "own")
    await worker.editor.delete(Kind.USER, 2, "", seconds_from_now())
    user = {"id": 2, "username": "own", "member_id": OWN}
    assert counts(await worker.put(users=[{"user": user, "password_hash": HASH}])) == (1, 0, 0)
    assert (await worker.stored(Kind.USER, 2)).token_generation == NOW_S + 2


async def test_keys_are_as_they_stand_however_often_an_import_begins_again(
    worker: CatalogWorker, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key is deactivated between the look at the user and its change."""
    keys = PublicKeyService(worker.editor, worker.store, Quotas(Windows()), clock)
    own = caller("own", worker.feed.catalog)
    await keys.add(0, "key", public_pem("ES256"), own, seconds_from_now())

    async def deactivate() -> None:
        await keys.set_active(0, 1, False, own, seconds_from_now())

    before_writing(worker, monkeypatch, deactivate)
    user = {"id": 2, "username": "renamed", "member_id": OWN}
    assert counts(await worker.put(users=[{"user": user}])) == (0, 1, 0)
    stored = await worker.stored(Kind.USER, 2)
    assert (stored.username, [(key.name, key.active) for key in stored.public_keys]) == ("renamed", [("key", False)])


PROBLEMS: list[tuple[dict[str, Any], str]] = [
    ({"members": [{"name": "x"}]}, "'id' is required"),
    ({"members": [{"id": C}]}, "'name' must have 1 to 255 characters"),
    ({"members": [{"id": C, "name": "x", "segment_access": [99]}]}, "'segment_access': there is no member 99"),
    (
        {"members": [{"id": OWN, "name": "x", "use_external_uids": True, "external_member_uid": 99}]},
        "'external_member_uid': there is no member 99",
    ),
    ({"users": [{"user": {"id": 9, "username": "x", "member_id": 99}, "password_hash": HASH}]}, None),
    ({"users": [{"user": {"id": 9, "username": "own", "member_id": OWN}, "password_hash": HASH}]}, None),
    (
        {"users": [{"user": {"id": 9, "username": "x", "member_id": OWN}}]},
        "'password' or 'password_hash' is required for a new user",
    ),
    ({"users": [{"user": {"id": 2, "username": "own", "member_id": OTHER}}]}, "'member_id' cannot be changed"),
    ({"users": [{"user": {"id": 2, "username": "other", "member_id": OWN}}]}, "'username' is taken"),
    ({"users": [{"user": {"id": 2, "username": "own", "member_id": OWN}, "password": ""}]}, None),
    ({"users": [{"user": {"id": 2, "username": "own", "member_id": OWN}, "password": "weak"}]}, None),
    (
        {"users": [{"user": {"id": 2, "username": "own", "member_id": OWN}, "password_hash": "$argon2id$x"}]},
        "'password_hash' must be an argon2id hash in argon2's own format, of at most t=10,m=262144,p=16",
    ),
    ({"users": [{"password": PASSWORD}]}, "'id' is required"),
    ({"segments": [{"id": 9, "member_id": 99}]}, "'member_id': there is no member 99"),
    ({"segments": [{"id": 9}]}, "'member_id' must be 1 to 2147483647"),
    ({"segments": [{"id": 9, "member_id": OWN, "code": ""}]}, "'code' must have 1 to 50 characters"),
]


@pytest.mark.parametrize(("objects", "text"), PROBLEMS)
async def test_what_cannot_be_put_is_told_with_its_place(
    worker: CatalogWorker, objects: dict[str, Any], text: str | None
) -> None:
    """The others are put nevertheless."""
    before = await worker.version()
    ((kind, faulty),) = objects.items()
    answer = await worker.put(**objects)
    ((path, message),) = problems(answer)
    assert (path, message) == (f"{kind}[0]", text or message)
    assert "weak" not in message
    assert await worker.version() == before
    request = everything()
    request[kind] = [*request[kind], *faulty]
    answer = await worker.put(**request)
    assert (answer.created, answer.changed, answer.unchanged) == (6, 0, 0)
    assert problems(answer) == [(f"{kind}[2]", message)]


async def test_an_object_must_stand_once(worker: CatalogWorker) -> None:
    answer = await worker.put(
        members=[{"id": A, "name": "first"}, {"id": A, "name": "second"}],
        segments=[{"id": A, "member_id": A}],
    )
    assert (answer.created, problems(answer)) == (2, [("members[1]", f"'id' {A} stands at members[0] too")])
    assert (await worker.stored(Kind.MEMBER, A)).name == "first"


async def test_a_taken_code_is_a_problem_of_the_second(worker: CatalogWorker) -> None:
    segments = [{"id": 1, "member_id": OWN, "code": "Same"}, {"id": 2, "member_id": OWN, "code": "SAME"}]
    answer = await worker.put(segments=segments)
    assert (answer.created, problems(answer)) == (
        1,
        [("segments[1]", "'code' is taken in member 1, whatever its case")],
    )


class TestNamesThatChangePlaces:
    """What is right as a whole goes in as a whole, in whatever order its objects stand."""

    def segments(self, codes: Sequence[str]) -> list[dict[str, Any]]:
        return [{"id": index, "member_id": OWN, "code": code} for index, code in enumerate(codes, 1)]

    async def codes(self, worker: CatalogWorker, count: int) -> list[str]:
        return [(await worker.stored(Kind.SEGMENT, index)).code for index in range(1, count + 1)]

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("ab", "ba"),
            ("ab", "bA"),
            ("abc", "bca"),
            ("abc", "bcd"),
            ("abcd", "badc"),
            ("abcde", "cdefb"),
        ],
    )
    async def test_of_segments(self, worker: CatalogWorker, before: str, after: str) -> None:
        await worker.put(segments=self.segments(before))
        assert counts(await worker.put(segments=self.segments(after))) == (0, len(after), 0)
        assert await self.codes(worker, len(after)) == list(after)
        for index, code in enumerate(after, 1):
            found = worker.feed.catalog.segment_by_code(OWN, code)
            assert found is not None
            assert found.id == index
        again = self.segments(f"{after[1:]}{after[0]}")
        assert counts(await worker.put(segments=again)) == (0, len(after), 0)

    @pytest.mark.parametrize("shift", [1, 500, 999])
    async def test_of_as_many_as_a_request_has(self, worker: CatalogWorker, shift: int) -> None:
        codes = [f"code {number}" for number in range(MOST_IMPORTED)]
        await worker.put(segments=self.segments(codes))
        moved = codes[shift:] + codes[:shift]
        assert counts(await worker.put(segments=self.segments(moved))) == (0, MOST_IMPORTED, 0)
        assert await self.codes(worker, MOST_IMPORTED) == moved

    async def test_of_users(self, worker: CatalogWorker) -> None:
        users = [
            {"user": {"id": number, "username": name, "member_id": OWN}, "password_hash": quick_hash(name)}
            for number, name in ((2, "third"), (101, "own"), (102, "first"))
        ]
        users.append({"user": {"id": 103, "username": "second", "member_id": OWN}, "password_hash": HASH})
        await worker.put(users=[users[1] | {"user": users[1]["user"] | {"username": "first"}}])
        await worker.put(users=[users[2] | {"user": users[2]["user"] | {"username": "third"}}])
        assert sum(counts(await worker.put(users=users))) == 4
        for each in users:
            name = each["user"]["username"]
            data, password_hash = await worker.store.credentials_by_name(f"user:{name}", seconds_from_now())
            assert data is not None
            assert pb.User.FromString(data).id == each["user"]["id"]
            assert password_hash == each["password_hash"]

    async def test_who_hangs_on_one_that_cannot_have_its_name_keeps_its_own(self, worker: CatalogWorker) -> None:
        await worker.put(segments=self.segments("abcdx"))
        answer = await worker.put(segments=[*self.segments("bcx"), {"id": 4, "member_id": OWN, "code": "e"}])
        taken = "'code' is taken in member 1, whatever its case"
        assert sorted(problems(answer)) == [(f"segments[{index}]", taken) for index in range(3)]
        assert answer.changed == 1
        assert await self.codes(worker, 5) == list("abcex")

    async def test_while_others_give_the_same_names(
        self, worker: CatalogWorker, cluster: Cluster, clock: FakeClock, passwords: Passwords
    ) -> None:
        await worker.put(segments=self.segments("abcd"))
        async with catalog_worker(cluster, clock, passwords) as another:
            for _ in range(20):
                await asyncio.gather(
                    worker.put(segments=self.segments("badc")), another.put(segments=self.segments("bcda"))
                )
                stored = await self.codes(worker, 4)
                assert sorted(stored) == list("abcd")
                for index, code in enumerate(stored, 1):
                    found = await another.feed.segment_by_code(OWN, code, seconds_from_now())
                    assert found is not None
                    assert found.id == index


async def test_a_thousand_objects_at_most(worker: CatalogWorker) -> None:
    segments = [{"id": number, "member_id": OWN} for number in range(1, MOST_IMPORTED + 2)]
    before = await worker.version()
    with pytest.raises(AudienceError) as error:
        await worker.put(segments=segments)
    assert (error.value.reason, error.value.message) == (Reason.SYNTAX, "A request must hold at most 1000 objects")
    assert await worker.version() == before
    assert counts(await worker.put(segments=segments[:-1])) == (1000, 0, 0)
    segments[500]["short_name"] = "changed"
    assert counts(await worker.put(segments=segments[:-1])) == (0, 1, 999)


async def test_only_the_role_admin_imports(worker: CatalogWorker) -> None:
    before = await worker.version()
    with pytest.raises(AudienceError) as error:
        await worker.put("own", segments=[{"id": 1, "member_id": OWN}])
    assert error.value.reason is Reason.UNAUTH
    assert await worker.version() == before


async def test_an_outage_fails_the_request(worker: CatalogWorker) -> None:
    calling = caller("admin", worker.feed.catalog)
    with pytest.raises(AudienceError) as error:
        await worker.importing.put(pb.ImportCatalogRequest(**everything()), calling, seconds_from_now(-1))
    assert error.value.reason is Reason.UNAVAILABLE


async def test_an_outage_in_the_middle_is_no_problem_of_an_entry(
    worker: CatalogWorker, passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_password: str, _deadline: float) -> str:
        raise unavailable("nobody is there")

    monkeypatch.setattr(passwords, "hash", away)
    with pytest.raises(AudienceError) as error:
        await worker.put(**everything())
    assert error.value.reason is Reason.UNAVAILABLE


async def test_what_others_change_all_the_time_is_told(
    worker: CatalogWorker, cluster: Cluster, clock: FakeClock, passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = worker.store.write
    async with catalog_worker(cluster, clock, passwords) as rival:

        async def write_late(writes: Sequence[Write], deadline: float) -> list[Outcome]:
            if writes:
                await rival.call("RevokeTokens", "own")
            return await write(writes, deadline)

        monkeypatch.setattr(worker.store, "write", write_late)
        answer = await worker.put(users=[{"user": {"id": 2, "username": "new", "member_id": OWN}}])
    assert problems(answer) == [("users[0]", "It was changed meanwhile; import it again")]
    assert (answer.changed, (await worker.stored(Kind.USER, 2)).username) == (0, "own")


async def test_two_imports_and_an_editor_at_once_lose_nothing(
    worker: CatalogWorker, cluster: Cluster, clock: FakeClock, passwords: Passwords
) -> None:
    segments = [{"id": number, "member_id": OWN, "short_name": "new"} for number in range(1, 301)]
    edited = {"segment": {"id": 150, "code": "mine"}, "update_mask": {"paths": ["code"]}}
    await worker.put(segments=[segment | {"short_name": "old"} for segment in segments])
    async with catalog_worker(cluster, clock, passwords) as another:
        answers = await asyncio.gather(
            worker.put(segments=segments),
            another.put(segments=segments),
            *(another.call("UpdateSegment", **edited) for _ in range(3)),
        )
        for answer in answers[:2]:
            assert sum(counts(answer)) == 300
        assert sum(answer.changed for answer in answers[:2]) >= 300
        await another.call("UpdateSegment", **edited)
    assert (await worker.feed.catalog.page_of_segments(search="new", limit=1)).total == 300
    assert (await worker.stored(Kind.SEGMENT, 150)).code == "mine"


async def test_many_passwords_do_not_run_out_of_time(worker: CatalogWorker) -> None:
    """Each has the time of a call, and other calls run in between."""
    users = [
        {"user": {"id": 500 + number, "username": f"u{number}", "member_id": OWN}, "password": PASSWORD}
        for number in range(25)
    ]
    calling = caller("admin", worker.feed.catalog)
    importing = asyncio.create_task(
        worker.importing.put(pb.ImportCatalogRequest(users=users), calling, seconds_from_now(1.5))
    )
    turns = 0
    while not importing.done():
        await asyncio.sleep(0.005)
        turns += 1
    assert counts(await importing) == (25, 0, 0)
    assert turns > 25
