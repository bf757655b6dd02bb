"""Creating and deleting what the catalog holds (catalog.proto, CatalogService), on a real cluster."""

import asyncio
from typing import Any, ClassVar

import pytest
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.store.interfaces.catalog import Kind
from support.clocks import FakeClock
from support.parts.catalogs import (
    NOW_S,
    OTHER,
    OWN,
    PASSWORD,
    CatalogWorker,
    another,
    before_writing,
    mask,
    new_segment,
    said,
    without_etag,
    worker,
)
from support.waiting import seconds_from_now

__all__ = ["another", "worker"]
"""Fixtures that are imported."""
NAMES = "certificate_names"


class TestCreating:
    async def test_a_member(self, worker: CatalogWorker) -> None:
        settings = {
            "name": "New",
            "default_expiration": 60,
            "segment_access": [OWN, OTHER],
            "use_external_uids": True,
            "external_member_uid": OWN,
            "limits": {"posts_per_second": 5},
        }
        created = (await worker.call("CreateMember", member={**settings, "etag": "ignored"})).member
        assert without_etag(created) == pb.Member(id=3, **settings)
        assert created == await worker.stored(Kind.MEMBER, 3)
        known = worker.feed.catalog.members[3]
        assert (known.external_member_id, known.limits.posts_per_second) == (OWN, 5)

    async def test_a_user(self, worker: CatalogWorker) -> None:
        fields = {"username": "new", "member_id": OWN, "token_generation": 7, "etag": "ignored"}
        fields["public_keys"] = [{"id": 1, "name": "unchecked", "active": True}]
        created = (await worker.call("CreateUser", user=fields, password=PASSWORD)).user
        assert without_etag(created) == pb.User(
            id=4, username="new", member_id=OWN, role=pb.ROLE_MEMBER, token_generation=NOW_S
        )
        (password_hash,) = await worker.store.password_hashes([4], seconds_from_now())
        assert str(password_hash).startswith("$argon2id$")
        assert worker.feed.catalog.accounts[4].username == "new"

    async def test_a_segment(self, worker: CatalogWorker) -> None:
        created = await new_segment(worker, code="Fans", short_name="n", description="d", expire_minutes=5)
        expected = pb.Segment(
            id=1,
            member_id=OWN,
            code="Fans",
            short_name="n",
            description="d",
            state=pb.SEGMENT_STATE_ACTIVE,
            expire_minutes=5,
        )
        expected.last_modified.FromSeconds(NOW_S)
        assert without_etag(created) == expected
        found = worker.feed.catalog.segment_by_code(OWN, "Fans")
        assert found is not None
        assert (found.id, found.active) == (1, True)

    async def test_a_segment_is_the_callers_members_unless_told(self, worker: CatalogWorker) -> None:
        for username, member_id in (("own", OWN), ("admin", OTHER)):
            answer = await worker.call("CreateSegment", username, segment={"short_name": "x"})
            assert answer.segment.member_id == member_id

    async def test_ids_go_on_from_the_largest_in_use(self, worker: CatalogWorker) -> None:
        assert [(await new_segment(worker)).id for _ in range(2)] == [1, 2]
        assert (await new_segment(worker, id=500)).id == 500
        assert (await new_segment(worker)).id == 501
        assert (await new_segment(worker, id=3)).id == 3
        await worker.call("DeleteSegment", id=501)
        assert (await new_segment(worker)).id == 502

    async def test_workers_never_give_the_same_id(self, worker: CatalogWorker, another: CatalogWorker) -> None:
        created = await asyncio.gather(*(new_segment(each) for each in [worker, another] * 20))
        assert {segment.id for segment in created} == set(range(1, 41))

    async def test_an_id_that_an_import_takes_meanwhile_is_not_the_next_one(
        self, worker: CatalogWorker, another: CatalogWorker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        allocate = worker.store.allocate_id

        async def slowly(kind: Kind, deadline: float) -> int:
            number = await allocate(kind, deadline)
            if number < 3:
                await another.put(segments=[pb.Segment(id=number, member_id=OTHER)])
            return number

        monkeypatch.setattr(worker.store, "allocate_id", slowly)
        assert (await new_segment(worker)).id == 3

    @pytest.mark.parametrize(
        ("rpc", "fields", "reason", "text", "field"),
        [
            ("CreateMember", {}, Reason.SYNTAX, "'member' is required", "member"),
            ("CreateUser", {"password": PASSWORD}, Reason.SYNTAX, "'user' is required", "user"),
            ("CreateSegment", {}, Reason.SYNTAX, "'segment' is required", "segment"),
            ("CreateMember", {"member": {}}, Reason.SYNTAX, "'name' must have 1 to 255 characters", "name"),
            (
                "CreateMember",
                {"member": {"id": OWN, "name": "Own"}},
                Reason.INTEGRITY,
                "'id' is taken: there is a member 1",
                "id",
            ),
            (
                "CreateMember",
                {"member": {"name": "x", "segment_access": [OWN, 99]}},
                Reason.NOT_FOUND,
                "'segment_access': there is no member 99",
                "segment_access",
            ),
            (
                "CreateMember",
                {"member": {"name": "x", "use_external_uids": True, "external_member_uid": 98}},
                Reason.NOT_FOUND,
                "'external_member_uid': there is no member 98",
                "external_member_uid",
            ),
            (
                "CreateUser",
                {"user": {"username": "own", "member_id": OTHER}, "password": PASSWORD},
                Reason.INTEGRITY,
                "'username' is taken",
                "username",
            ),
            (
                "CreateUser",
                {"user": {"username": "x", "member_id": 99}, "password": PASSWORD},
                Reason.NOT_FOUND,
                "'member_id': there is no member 99",
                "member_id",
            ),
            (
                "CreateUser",
                {"user": {"username": "x", "member_id": OWN}},
                Reason.SYNTAX,
                "'password' must have at least 10 characters, with a lower-case letter, an upper-case letter, a digit, "
                "and another character",
                "password",
            ),
            (
                "CreateSegment",
                {"segment": {"member_id": 99}},
                Reason.NOT_FOUND,
                "'member_id': there is no member 99",
                "member_id",
            ),
            ("CreateSegment", {"segment": {"state": 9}}, Reason.SYNTAX, None, "state"),
        ],
    )
    async def test_what_is_refused(
        self, worker: CatalogWorker, rpc: str, fields: Any, reason: Reason, text: str | None, field: str
    ) -> None:
        before = await worker.version()
        error = await worker.refusal(rpc, **fields)
        assert said(error) == (reason, text or error.message, field)
        assert await worker.version() == before


class TestUniqueNames:
    async def test_a_code_is_unique_in_its_member_whatever_its_case(self, worker: CatalogWorker) -> None:
        first = await new_segment(worker, code="Größe")
        for code in ("Größe", "GRÖSSE", "größe"):
            error = await worker.refusal("CreateSegment", segment={"member_id": OWN, "code": code})
            assert said(error) == (Reason.INTEGRITY, "'code' is taken in member 1, whatever its case", "code")
        await new_segment(worker, OTHER, code="Größe")
        second = await new_segment(worker, code="other")
        error = await worker.refusal(
            "UpdateSegment", segment={"id": second.id, "code": "grösse"}, update_mask=mask("code")
        )
        assert error.reason is Reason.INTEGRITY
        # It may be written otherwise, and is free again when its segment takes another or goes.
        await worker.call("UpdateSegment", segment={"id": first.id, "code": "GRÖSSE"}, update_mask=mask("code"))
        await worker.call("UpdateSegment", segment={"id": first.id}, update_mask=mask("code"))
        await worker.call("UpdateSegment", segment={"id": second.id, "code": "größe"}, update_mask=mask("code"))
        await worker.call("DeleteSegment", id=second.id)
        assert (await new_segment(worker, code="GRÖßE")).code == "GRÖßE"

    async def test_the_case_of_a_user_name_matters(self, worker: CatalogWorker) -> None:
        user = {"username": "Own", "member_id": OTHER}
        created = (await worker.call("CreateUser", user=user, password=PASSWORD)).user
        fields = {"user": {"id": created.id, "username": "own"}, "update_mask": mask("username")}
        assert said(await worker.refusal("UpdateUser", **fields)) == (
            Reason.INTEGRITY,
            "'username' is taken",
            "username",
        )
        await worker.call("DeleteUser", id=2)
        assert (await worker.call("UpdateUser", **fields)).user.username == "own"

    async def test_of_two_at_once_one_gets_the_name(self, worker: CatalogWorker, another: CatalogWorker) -> None:
        created = await asyncio.gather(
            *(new_segment(each, code=code) for each, code in ((worker, "same"), (another, "SAME"))),
            return_exceptions=True,
        )
        (refused,) = (each for each in created if isinstance(each, AudienceError))
        assert refused.reason is Reason.INTEGRITY


class TestCertificates:
    """A name in certificates that two users have is nobody's: neither gets in any more."""

    FIELDS: ClassVar = {"member_id": OWN, "certificate_names": ["pod"]}

    @pytest.mark.parametrize("is_imported", [False, True], ids=["created", "imported"])
    async def test_a_name_that_another_worker_has_just_given_is_taken(
        self, worker: CatalogWorker, another: CatalogWorker, is_imported: bool
    ) -> None:
        await worker.call("CreateUser", user={"username": "x", **self.FIELDS}, password=PASSWORD)
        user = {"id": 77, "username": "y", **self.FIELDS}
        if is_imported:
            answer = await another.put(users=[{"user": user, "password": PASSWORD}])
            assert [each.message for each in answer.problems] == ["'certificate_names': user 4 has 'pod'"]
        else:
            error = await another.refusal("CreateUser", user=user, password=PASSWORD)
            assert said(error) == (Reason.INTEGRITY, "'certificate_names': user 4 has 'pod'", "certificate_names")

    async def test_of_many_at_once_one_gets_the_name(self, worker: CatalogWorker, another: CatalogWorker) -> None:
        changes = [
            each.call("UpdateUser", user={"id": number, "certificate_names": ["pod"]}, update_mask=mask(NAMES))
            for each, number in ((worker, 2), (another, 3))
        ]
        changes += [
            each.call("CreateUser", user={"username": f"u{number}", **self.FIELDS}, password=PASSWORD)
            for each, number in ((worker, 4), (another, 5))
        ]
        outcomes = await asyncio.gather(*changes, return_exceptions=True)
        refused = [each for each in outcomes if isinstance(each, BaseException)]
        assert [getattr(each, "reason", each) for each in refused] == [Reason.INTEGRITY] * 3
        await worker.feed.catch_up(seconds_from_now())
        assert worker.feed.catalog.account_by_certificate("pod") is not None

    @pytest.mark.parametrize("is_new", [True, False], ids=["created", "changed"])
    async def test_a_name_that_another_user_is_given_meanwhile(
        self, worker: CatalogWorker, another: CatalogWorker, monkeypatch: pytest.MonkeyPatch, is_new: bool
    ) -> None:
        rival = pb.User(id=101, username="rival", **self.FIELDS)
        before_writing(worker, monkeypatch, lambda: another.editor.create(rival, seconds_from_now(), "$argon2id$"))
        if is_new:
            error = await worker.refusal("CreateUser", user={"username": "y", **self.FIELDS}, password=PASSWORD)
        else:
            user = {"id": 2, "certificate_names": ["pod"]}
            error = await worker.refusal("UpdateUser", user=user, update_mask=mask(NAMES))
        assert said(error) == (Reason.INTEGRITY, "'certificate_names': user 101 has 'pod'", "certificate_names")


class TestDeleting:
    async def test_what_is_gone_is_not_found(self, worker: CatalogWorker) -> None:
        segment = await new_segment(worker, code="c")
        for kind, object_id in (("Segment", segment.id), ("User", 3)):
            await worker.call(f"Delete{kind}", id=object_id)
            for rpc in (f"Delete{kind}", f"Get{kind}"):
                error = await worker.refusal(rpc, id=object_id)
                assert said(error) == (Reason.NOT_FOUND, f"'id': there is no {kind.lower()} {object_id}", "id")
        assert worker.feed.catalog.segment(segment.id) is None
        assert 3 not in worker.feed.catalog.accounts
        assert await worker.store.password_hashes([3], seconds_from_now()) == [None]

    async def test_a_member_in_use_stays(self, worker: CatalogWorker, another: CatalogWorker) -> None:
        created = [(await worker.call("CreateMember", member={"name": name})).member.id for name in "abcd"]
        owner, namer, mapper, lonely = created
        segment = await new_segment(another, owner)
        user = (await another.call("CreateUser", user={"username": "x", "member_id": owner}, password=PASSWORD)).user
        for rpc, object_id in (("DeleteSegment", segment.id), ("DeleteUser", user.id)):
            error = await worker.refusal("DeleteMember", id=owner)
            assert said(error) == (Reason.IN_USE, f"Member {owner} is in use: it has users or segments", "id")
            await another.call(rpc, id=object_id)
        names = [
            (namer, {"segment_access": [owner]}, ("segment_access",)),
            (
                mapper,
                {"use_external_uids": True, "external_member_uid": owner},
                ("use_external_uids", "external_member_uid"),
            ),
        ]
        for member_id, fields, paths in names:
            await another.call("UpdateMember", member={"id": member_id, **fields}, update_mask=mask(*paths))
            error = await worker.refusal("DeleteMember", id=owner)
            assert said(error) == (
                Reason.IN_USE,
                f"Member {owner} is in use: member {member_id} names it",
                "id",
            )
            await another.call("UpdateMember", member={"id": member_id}, update_mask=mask(*paths))
        for member_id in (owner, lonely):
            await worker.call("DeleteMember", id=member_id)
        assert set(worker.feed.catalog.members) == {OWN, OTHER, namer, mapper}

    @pytest.mark.parametrize("clock_ms", [0, 900, -30_000], ids=["at once", "soon", "by a clock that is behind"])
    @pytest.mark.parametrize("is_imported", [False, True], ids=["created", "imported"])
    async def test_tokens_of_a_user_that_is_gone_are_none_of_the_next_one_with_its_id(
        self, worker: CatalogWorker, another: CatalogWorker, clock: FakeClock, clock_ms: int, is_imported: bool
    ) -> None:
        former = (await worker.stored(Kind.USER, 2)).token_generation
        for _ in range(3):
            await worker.call("RevokeTokens", id=2)
            former += 1
        assert (await worker.stored(Kind.USER, 2)).token_generation == former
        await worker.call("DeleteUser", id=2)
        clock.ms += clock_ms
        user = {"id": 2, "username": "own", "member_id": OWN}
        if is_imported:
            await another.put(users=[{"user": user, "password": PASSWORD}])
        else:
            await another.call("CreateUser", user=user, password=PASSWORD)
        assert (await worker.stored(Kind.USER, 2)).token_generation > former

    async def test_nobody_names_a_member_that_is_deleted_at_the_same_time(
        self, worker: CatalogWorker, another: CatalogWorker
    ) -> None:
        for _ in range(20):
            going = (await worker.call("CreateMember", member={"name": "going"})).member.id
            naming = {"name": "naming", "segment_access": [going]}
            created = another.call("CreateMember", member=naming)
            fields = {"member": {"id": OWN, "segment_access": [going]}, "update_mask": mask("segment_access")}
            imported = another.put(members=[{"id": 77, **naming}])
            await asyncio.gather(
                *(worker.call("DeleteMember", id=going), another.call("UpdateMember", **fields), created, imported),
                return_exceptions=True,
            )
            await worker.feed.catch_up(seconds_from_now())
            members = worker.feed.catalog.members
            assert {each for member in members.values() for each in member.segment_access} == set(members)
            for name in set(members) - {OWN, OTHER, going}:
                await worker.call("DeleteMember", id=name)
            await worker.call("UpdateMember", member={"id": OWN}, update_mask=mask("segment_access"))

    @pytest.mark.parametrize("kind", ["Member", "User", "Segment"])
    async def test_an_id_is_required(self, worker: CatalogWorker, kind: str) -> None:
        for rpc in (f"Delete{kind}", f"Get{kind}"):
            assert said(await worker.refusal(rpc)) == (Reason.SYNTAX, "'id' is required", "id")
        error = await worker.refusal(f"Update{kind}", update_mask=mask("id"))
        assert said(error) == (Reason.SYNTAX, "'id' is required", "id")
        assert error.metadata["object"] == kind.lower()
