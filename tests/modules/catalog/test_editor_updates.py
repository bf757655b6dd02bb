"""Changing the catalog, by one editor or by several at once (catalog.proto, CatalogService), on a real cluster."""

import asyncio
import string
from collections.abc import Callable
from typing import Any

import pytest
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.store import keys
from instantaudience_server.store.interfaces.catalog import Kind
from redis.cluster import RedisCluster
from support.clocks import FakeClock
from support.parts.catalogs import (
    NOW_S,
    OTHER,
    OWN,
    CatalogWorker,
    another,
    mask,
    new_segment,
    said,
    without_etag,
    worker,
)
from support.waiting import seconds_from_now

__all__ = ["another", "worker"]
"""Fixtures that are imported."""


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
            ("UpdateSegment", {"segment": {"id": 1}}, "original_fields.fields.key", None),
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
        assert (error.reason, error.metadata["field"]) == (reason, field)
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

    async def test_without_an_etag_many_at_once_are_all_made(
        self, worker: CatalogWorker, another: CatalogWorker
    ) -> None:
        segment = await new_segment(worker, description="")

        def adding(letter: str) -> Callable[[pb.Segment], None]:
            def add(changed: pb.Segment) -> None:
                changed.description += letter

            return add

        letters = string.ascii_letters
        await asyncio.gather(
            *(
                each.editor.update(Kind.SEGMENT, segment.id, adding(letter), "", seconds_from_now(20))
                for each, letter in zip([worker, another] * (len(letters) // 2), letters, strict=True)
            )
        )
        assert sorted((await worker.stored(Kind.SEGMENT, segment.id)).description) == sorted(letters)

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
            await worker.editor.update(Kind.MEMBER, OWN, lose, "", seconds_from_now(1))
        assert error.value.reason is Reason.UNAVAILABLE
        assert edits > 5
        assert (await worker.stored(Kind.MEMBER, OWN)).name == f"Own {edits}"
