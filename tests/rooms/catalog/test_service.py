"""Editing the catalog (catalog.proto, CatalogService), on a real cluster."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.catalog.editor import ATTEMPTS
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.passwords.hashing import Passwords
from instantaudience_server.store import keys
from instantaudience_server.store.catalog_interface import Kind
from instantaudience_server.store.cluster import Cluster
from redis.cluster import RedisCluster
from support.catalogs import OTHER, OWN, CatalogWorker, begin, catalog_worker, page_of, without_etag
from support.clocks import FakeClock
from support.clusters import seconds_from_now

NOW_S = 1_700_000_000
PASSWORD = "Some-Passw0rd!"


@pytest.fixture
async def worker(cluster: Cluster, clock: FakeClock, passwords: Passwords) -> AsyncIterator[CatalogWorker]:
    """Two members with a user each, and an admin."""
    clock.ms = NOW_S * 1000 + 999
    async with catalog_worker(cluster, clock, passwords) as running:
        await begin(running)
        yield running


@pytest.fixture
async def another(
    worker: CatalogWorker, cluster: Cluster, clock: FakeClock, passwords: Passwords
) -> AsyncIterator[CatalogWorker]:
    """Another worker on the same catalog."""
    async with catalog_worker(cluster, clock, passwords) as running:
        yield running


def mask(*paths: str) -> dict[str, Any]:
    return {"paths": paths}


async def new_segment(worker: CatalogWorker, member_id: int = OWN, **fields: Any) -> pb.Segment:
    answer = await worker.call("CreateSegment", segment={"member_id": member_id, **fields})
    segment: pb.Segment = answer.segment
    return segment


def said(error: AudienceError) -> tuple[Reason, str, str | None]:
    return error.reason, error.message, error.metadata.get("field")


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


class TestUpdating:
    @pytest.mark.parametrize(
        ("paths", "fields", "changed"),
        [
            (("name",), {"name": "New", "default_expiration": 9}, {"name": "New"}),
            (("default_expiration", "name"), {"name": "New"}, {"name": "New", "default_expiration": 0}),
            (("segment_access",), {"segment_access": [OTHER]}, {"segment_access": [OTHER]}),
            (("segment_access",), {}, {"segment_access": []}),
            (("external_member_uid",), {}, {"external_member_uid": None}),
            (
                ("use_external_uids", "external_member_uid"),
                {},
                {"use_external_uids": False, "external_member_uid": None},
            ),
            (
                ("limits.posts_per_second",),
                {"limits": {"posts_per_second": 9, "body_bytes": 9}},
                {"limits": {"posts_per_second": 9, "gets_per_second": 7}},
            ),
            (("limits.posts_per_second",), {}, {"limits": {"gets_per_second": 7}}),
            (("limits.posts_per_second", "limits.gets_per_second"), {}, {"limits": None}),
            (("limits",), {"limits": {"body_bytes": 9}}, {"limits": {"body_bytes": 9}}),
            (("limits",), {"limits": {}}, {"limits": None}),
            (("limits",), {}, {"limits": None}),
        ],
    )
    async def test_what_the_mask_names(
        self, worker: CatalogWorker, paths: tuple[str, ...], fields: Any, changed: Any
    ) -> None:
        settings = {
            "name": "Old",
            "default_expiration": 60,
            "segment_access": [OWN, OTHER],
            "use_external_uids": True,
            "external_member_uid": OWN,
            "limits": {"posts_per_second": 5, "gets_per_second": 7},
        }
        created = (await worker.call("CreateMember", member=settings)).member
        updated = (
            await worker.call("UpdateMember", member={"id": created.id, **fields}, update_mask=mask(*paths))
        ).member
        assert without_etag(updated) == pb.Member(id=created.id, **settings | changed)
        assert updated.etag != created.etag
        assert updated == await worker.stored(Kind.MEMBER, created.id)

    @pytest.mark.parametrize(
        ("rpc", "object_", "path", "text"),
        [
            ("UpdateMember", {"member": {"id": OWN}}, None, "'update_mask' is required and cannot be empty"),
            (
                "UpdateUser",
                {"user": {"id": 2}},
                "member_id",
                "'update_mask': 'member_id': 'member_id' cannot be changed",
            ),
            ("UpdateUser", {"user": {"id": 2}}, "token_generation", None),
            ("UpdateMember", {"member": {"id": OWN}}, "id", None),
            ("UpdateMember", {"member": {"id": OWN}}, "etag", None),
            ("UpdateSegment", {"segment": {"id": 1}}, "member_id", None),
            ("UpdateSegment", {"segment": {"id": 1}}, "last_modified", None),
            ("UpdateSegment", {"segment": {"id": 1}}, "last_modified.seconds", None),
            ("UpdateUser", {"user": {"id": 2}}, "x", "'update_mask': 'x': there is no such field of a user"),
            ("UpdateSegment", {"segment": {"id": 1}}, "username", None),
            ("UpdateMember", {"member": {"id": OWN}}, "limits.x", None),
            ("UpdateMember", {"member": {"id": OWN}}, "limits.", None),
            ("UpdateMember", {"member": {"id": OWN}}, "limits.body_bytes.x", None),
            ("UpdateMember", {"member": {"id": OWN}}, "name.x", None),
            ("UpdateMember", {"member": {"id": OWN}}, "*", None),
            ("UpdateMember", {"member": {"id": OWN}}, "", None),
        ],
    )
    async def test_a_mask_that_cannot_be_meant(
        self, worker: CatalogWorker, rpc: str, object_: Any, path: str | None, text: str | None
    ) -> None:
        await new_segment(worker)
        before = await worker.version()
        paths = () if path is None else ("name", path) if "member" in object_ else (path,)
        error = await worker.refusal(rpc, **object_, update_mask=mask(*paths))
        assert said(error) == (Reason.SYNTAX, text or error.message, "update_mask")
        assert f"'{path or ''}" in error.message
        assert await worker.version() == before

    async def test_users_and_segments(self, worker: CatalogWorker, clock: FakeClock) -> None:
        user = (
            await worker.call(
                "UpdateUser",
                user={"id": 2, "role": pb.ROLE_ADMIN, "deactivated": True},
                update_mask=mask("role", "deactivated"),
            )
        ).user
        assert without_etag(user) == pb.User(
            id=2,
            username="own",
            member_id=OWN,
            role=pb.ROLE_ADMIN,
            deactivated=True,
            token_generation=NOW_S,
        )
        assert not worker.feed.catalog.accounts[2].active
        created = await new_segment(worker, code="c", description="d")
        clock.ms += 5000
        fields = {"id": created.id, "state": pb.SEGMENT_STATE_INACTIVE, "description": "ignored"}
        segment = (await worker.call("UpdateSegment", "own", segment=fields, update_mask=mask("state"))).segment
        assert (segment.state, segment.description) == (pb.SEGMENT_STATE_INACTIVE, "d")
        assert segment.last_modified.seconds == NOW_S + 5

    @pytest.mark.parametrize(
        ("fields", "reason", "field"),
        [
            ({"member": {"id": OWN}, "update_mask": mask("name")}, Reason.SYNTAX, "name"),
            ({"member": {"id": 99, "name": "x"}, "update_mask": mask("name")}, Reason.NOT_FOUND, "id"),
            ({"member": {"id": -1, "name": "x"}, "update_mask": mask("name")}, Reason.NOT_FOUND, "id"),
            ({"member": {"name": "x"}, "update_mask": mask("name")}, Reason.SYNTAX, "id"),
            ({"update_mask": mask("name")}, Reason.SYNTAX, "id"),
            (
                {"member": {"id": OWN, "segment_access": [99]}, "update_mask": mask("segment_access")},
                Reason.NOT_FOUND,
                "segment_access",
            ),
            (
                {"member": {"id": OWN, "external_member_uid": OTHER}, "update_mask": mask("external_member_uid")},
                Reason.SYNTAX,
                "external_member_uid",
            ),
        ],
    )
    async def test_what_is_refused(self, worker: CatalogWorker, fields: Any, reason: Reason, field: str) -> None:
        before = await worker.version()
        error = await worker.refusal("UpdateMember", **fields)
        assert (error.reason, error.metadata) == (reason, {"field": field})
        assert await worker.version() == before

    async def test_an_update_that_changes_nothing_is_none(self, worker: CatalogWorker, clock: FakeClock) -> None:
        segment = await new_segment(worker, code="c")
        before = await worker.version()
        clock.ms += 5000
        again = await worker.call("UpdateSegment", segment=segment, update_mask=mask("code", "short_name", "state"))
        assert again.segment == segment
        assert await worker.version() == before

    async def test_an_edit_cannot_change_whose_a_segment_is(self, worker: CatalogWorker) -> None:
        def give_away(segment: pb.Segment) -> None:
            segment.member_id = OTHER

        segment = await new_segment(worker)
        with pytest.raises(AudienceError, match="'member_id' cannot be changed"):
            await worker.editor.update(Kind.SEGMENT, segment.id, give_away, "", seconds_from_now())


class TestConcurrentEditors:
    async def test_an_etag_guards_what_its_holder_has_read(self, worker: CatalogWorker, another: CatalogWorker) -> None:
        seen = await new_segment(worker, short_name="a")
        await another.call("UpdateSegment", segment={"id": seen.id, "short_name": "b"}, update_mask=mask("short_name"))
        fields = {"id": seen.id, "description": "c", "etag": seen.etag}
        for error in (
            await worker.refusal("UpdateSegment", segment=fields, update_mask=mask("description")),
            await worker.refusal("DeleteSegment", id=seen.id, etag=seen.etag),
        ):
            assert (error.reason, error.metadata) == (Reason.CHANGED_MEANWHILE, {"field": "etag"})
        current = (await worker.call("GetSegment", id=seen.id)).segment
        fields["etag"] = current.etag
        changed = (await worker.call("UpdateSegment", segment=fields, update_mask=mask("description"))).segment
        assert (changed.short_name, changed.description) == ("b", "c")
        await worker.call("DeleteSegment", id=seen.id, etag=changed.etag)

    async def test_of_two_with_the_same_etag_one_wins(self, worker: CatalogWorker, another: CatalogWorker) -> None:
        for _ in range(5):
            segment = await new_segment(worker)
            answers = await asyncio.gather(
                *(
                    each.call(
                        "UpdateSegment",
                        segment={"id": segment.id, "short_name": name, "etag": segment.etag},
                        update_mask=mask("short_name"),
                    )
                    for each, name in ((worker, "a"), (another, "b"))
                ),
                return_exceptions=True,
            )
            (won,) = (each.segment for each in answers if not isinstance(each, BaseException))
            (lost,) = (each for each in answers if isinstance(each, AudienceError))
            assert lost.reason is Reason.CHANGED_MEANWHILE
            assert await worker.stored(Kind.SEGMENT, segment.id) == won

    async def test_without_an_etag_no_change_is_lost(self, worker: CatalogWorker, another: CatalogWorker) -> None:
        segment = await new_segment(worker)
        changes = {"short_name": "n", "description": "d", "code": "c", "expire_minutes": 5}
        await asyncio.gather(
            *(
                each.call("UpdateSegment", segment={"id": segment.id, field: value}, update_mask=mask(field))
                for each, (field, value) in zip([worker, another] * 2, changes.items(), strict=True)
            )
        )
        stored = await worker.stored(Kind.SEGMENT, segment.id)
        assert {field: getattr(stored, field) for field in changes} == changes

    async def test_it_gives_up_when_others_are_always_faster(
        self, worker: CatalogWorker, embedded: EmbeddedCluster
    ) -> None:
        edits = 0

        def lose(member: pb.Member) -> None:
            nonlocal edits
            edits += 1
            stored = pb.Member(id=OWN, name=f"Own {edits}")
            plain.hset(keys.CATALOG_MEMBERS.decode(), str(OWN), stored.SerializeToString(deterministic=True))
            member.name = "Mine"

        with RedisCluster.from_url(embedded.url) as plain, pytest.raises(AudienceError) as error:
            await worker.editor.update(Kind.MEMBER, OWN, lose, "", seconds_from_now())
        assert error.value.reason is Reason.CHANGED_MEANWHILE
        assert edits == ATTEMPTS
        assert (await worker.stored(Kind.MEMBER, OWN)).name == f"Own {edits}"


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

    @pytest.mark.parametrize("kind", ["Member", "User", "Segment"])
    async def test_an_id_is_required(self, worker: CatalogWorker, kind: str) -> None:
        for rpc in (f"Delete{kind}", f"Get{kind}"):
            assert said(await worker.refusal(rpc)) == (Reason.SYNTAX, "'id' is required", "id")


class TestReading:
    async def test_what_another_worker_has_just_written(self, worker: CatalogWorker, another: CatalogWorker) -> None:
        segment = await new_segment(worker, code="c")
        assert (await another.call("GetSegment", id=segment.id)).segment == segment
        changed = await worker.call(
            "UpdateSegment", segment={"id": segment.id, "short_name": "n"}, update_mask=mask("short_name")
        )
        assert list((await another.call("ListSegments")).segments) == [changed.segment]
        member = (await worker.call("CreateMember", member={"name": "New"})).member
        assert (await another.call("GetMember", id=member.id)).member == member
        assert list((await another.call("ListMembers")).members)[-1] == member
        user = (await worker.call("CreateUser", user={"username": "x", "member_id": OWN}, password=PASSWORD)).user
        assert list((await another.call("ListUsers", member_id=OWN)).users)[-1] == user

    async def test_pages_in_the_order_of_ids(self, worker: CatalogWorker) -> None:
        for object_id in (7, 3, 2**31 - 1, 5, 4):
            await new_segment(worker, id=object_id)
        pages, token = [], ""
        while True:
            ids, token = page_of(await worker.call("ListSegments", page_size=2, page_token=token))
            pages.append(ids)
            if not token:
                break
        assert pages == [[3, 4], [5, 7], [2**31 - 1]]
        assert page_of(await worker.call("ListSegments", page_size=5))[1] == ""
        # What goes or comes between two pages does not move the others.
        _, token = page_of(await worker.call("ListSegments", page_size=2))
        for object_id in (3, 4, 5):
            await worker.call("DeleteSegment", id=object_id)
        await new_segment(worker, id=1)
        assert page_of(await worker.call("ListSegments", page_size=2, page_token=token)) == ([7, 2**31 - 1], "")

    @pytest.mark.parametrize(
        ("rpc", "fields", "pages"),
        [
            ("ListMembers", {}, [[OWN], [OTHER]]),
            ("ListUsers", {}, [[1], [2], [3]]),
            ("ListUsers", {"member_id": OTHER}, [[1], [3]]),
            ("ListUsers", {"member_id": 99}, [[]]),
            ("ListSegments", {}, [[1], [2], [3]]),
            ("ListSegments", {"member_id": OWN}, [[1], [3]]),
            ("ListSegments", {"search": "FANS"}, [[1], [2]]),
            ("ListSegments", {"search": "fans", "member_id": OTHER}, [[2]]),
            ("ListSegments", {"search": "nobody"}, [[]]),
        ],
    )
    async def test_what_lists_hold(self, worker: CatalogWorker, rpc: str, fields: Any, pages: Any) -> None:
        await new_segment(worker, OWN, code="Fans")
        await new_segment(worker, OTHER, short_name="Their fans")
        await new_segment(worker, OWN)
        found, token = [], ""
        while True:
            ids, token = page_of(await worker.call(rpc, **fields, page_size=1, page_token=token))
            found.append(ids)
            if not token:
                break
        assert found == pages

    async def test_a_page_has_a_hundred_objects_unless_told(self, worker: CatalogWorker) -> None:
        await worker.put(segments=[{"id": number, "member_id": OWN} for number in range(1, 1001)])
        ids, token = page_of(await worker.call("ListSegments"))
        assert (ids, bool(token)) == (list(range(1, 101)), True)
        assert page_of(await worker.call("ListSegments", page_size=1000)) == (list(range(1, 1001)), "")

    @pytest.mark.parametrize("rpc", ["ListMembers", "ListUsers", "ListSegments"])
    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"page_size": -1}, "page_size"),
            ({"page_size": 1001}, "page_size"),
            ({"page_token": "x"}, "page_token"),
            ({"page_token": "AAAAAQ=="[:-1]}, "page_token"),
            ({"page_token": "_____w=="}, "page_token"),
            ({"page_token": "AAAAAR=="}, "page_token"),
            ({"page_token": "ü"}, "page_token"),
        ],
    )
    async def test_pages_that_cannot_be_meant(self, worker: CatalogWorker, rpc: str, fields: Any, field: str) -> None:
        error = await worker.refusal(rpc, **fields)
        assert (error.reason, error.metadata) == (Reason.SYNTAX, {"field": field})

    async def test_a_password_is_nowhere_to_be_read(self, worker: CatalogWorker) -> None:
        await worker.call("CreateUser", user={"username": "x", "member_id": OWN}, password=PASSWORD)
        (password_hash,) = await worker.store.password_hashes([4], seconds_from_now())
        answers = [await worker.call("ListUsers"), await worker.call("GetUser", id=4)]
        for answer in answers:
            assert PASSWORD not in str(answer)
            assert str(password_hash) not in str(answer)

    async def test_reading_segments_counts_as_a_get(self, worker: CatalogWorker) -> None:
        segment = await new_segment(worker)
        limits = {"id": OWN, "limits": {"gets_per_second": 1}}
        await worker.call("UpdateMember", member=limits, update_mask=mask("limits"))
        calls = [("GetSegment", {"id": segment.id}), ("ListSegments", {})]
        for rpc, fields in calls:
            answers = await asyncio.gather(
                *(worker.call(rpc, "own", **fields) for _ in range(4)), return_exceptions=True
            )
            refused = [each for each in answers if isinstance(each, AudienceError)]
            # Four calls at once meet at most two windows of a second.
            assert len(refused) >= 2
            for error in refused:
                assert error.reason is Reason.RATE_LIMIT_EXCEEDED
                assert "1 reads per 1 seconds to segment" in error.message


SEGMENT_OF_OTHER = 9
ALLOWED: list[tuple[str, dict[str, Any]]] = [
    ("GetMember", {"id": OWN}),
    ("GetUser", {"id": 2}),
    ("ListSegments", {}),
    ("ListSegments", {"member_id": OWN}),
    ("CreateSegment", {"segment": {}}),
    ("GetSegment", {"id": 1}),
    ("UpdateSegment", {"segment": {"id": 1, "code": "x"}, "update_mask": mask("code")}),
    ("DeleteSegment", {"id": 1}),
]
FORBIDDEN: list[tuple[str, dict[str, Any]]] = [
    ("GetMember", {"id": OTHER}),
    ("GetMember", {"id": 99}),
    ("GetUser", {"id": 3}),
    ("GetUser", {"id": 5}),
    ("GetUser", {"id": 99}),
    ("ListMembers", {}),
    ("ListUsers", {}),
    ("ListUsers", {"member_id": OWN}),
    ("CreateMember", {"member": {"name": "x"}}),
    ("UpdateMember", {"member": {"id": OWN, "name": "x"}, "update_mask": mask("name")}),
    ("DeleteMember", {"id": OWN}),
    ("CreateUser", {"user": {"username": "x", "member_id": OWN}, "password": PASSWORD}),
    ("UpdateUser", {"user": {"id": 2, "role": pb.ROLE_ADMIN}, "update_mask": mask("role")}),
    ("DeleteUser", {"id": 2}),
    ("ListSegments", {"member_id": OTHER}),
    ("CreateSegment", {"segment": {"member_id": OTHER}}),
    ("GetSegment", {"id": SEGMENT_OF_OTHER}),
    ("UpdateSegment", {"segment": {"id": SEGMENT_OF_OTHER, "etag": "x"}, "update_mask": mask("code")}),
    ("DeleteSegment", {"id": SEGMENT_OF_OTHER, "etag": "x"}),
]


class TestTheRoleMember:
    @pytest.fixture
    async def worker(self, worker: CatalogWorker) -> CatalogWorker:
        """With a segment of each member, and two users of the caller's."""
        await new_segment(worker)
        await new_segment(worker, OTHER, id=SEGMENT_OF_OTHER)
        user = {"id": 5, "username": "colleague", "member_id": OWN}
        await worker.call("CreateUser", user=user, password=PASSWORD)
        return worker

    @pytest.mark.parametrize(("rpc", "fields"), ALLOWED)
    async def test_may_work_with_what_is_its_own(self, worker: CatalogWorker, rpc: str, fields: Any) -> None:
        answer = await worker.call(rpc, "own", **fields)
        assert "Other" not in str(answer)

    @pytest.mark.parametrize(("rpc", "fields"), FORBIDDEN)
    async def test_may_not_touch_anything_else(self, worker: CatalogWorker, rpc: str, fields: Any) -> None:
        before = await worker.version()
        error = await worker.refusal(rpc, "own", **fields)
        assert error.reason is Reason.UNAUTH
        assert "role 'admin'" in error.message
        assert await worker.version() == before

    async def test_lists_only_its_own_segments(self, worker: CatalogWorker) -> None:
        assert page_of(await worker.call("ListSegments", "own")) == ([1], "")
        assert page_of(await worker.call("ListSegments", "admin")) == ([1, SEGMENT_OF_OTHER], "")
