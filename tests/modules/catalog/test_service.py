"""Reading the catalog, and who may do what (catalog.proto, CatalogService), on a real cluster."""

import asyncio
import copy
from typing import Any

import pytest
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server import segment_sizes
from instantaudience_server.catalog import catalog, paging, records, segment_table
from instantaudience_server.catalog.segment_table import Condition, Order, SegmentTable
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.store.interfaces.catalog import Kind, Record
from instantaudience_server.store.interfaces.memberships import NEVER, Alike
from support.clocks import FakeClock
from support.parts.catalogs import (
    OTHER,
    OWN,
    PASSWORD,
    CatalogWorker,
    another,
    mask,
    new_segment,
    page_of,
    pages_of,
    worker,
)
from support.waiting import eventually, seconds_from_now

__all__ = ["another", "worker"]
"""Fixtures that are imported."""


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

    async def test_a_segment_by_its_code(self, worker: CatalogWorker, another: CatalogWorker) -> None:
        segment = await new_segment(worker, code="Fans")
        await new_segment(worker, OTHER, code="Fans")
        for fields in ({}, {"member_id": OWN}):
            assert (await another.call("GetSegment", "own", code="Fans", **fields)).segment == segment
        assert (await another.call("GetSegment", member_id=OWN, code="Fans")).segment == segment
        for fields, reason in (
            ({"code": "fans"}, Reason.NOT_FOUND),
            ({"code": "Fans", "member_id": OTHER}, Reason.UNAUTH),
            ({"code": "Fans", "id": segment.id}, Reason.SYNTAX),
        ):
            assert (await another.refusal("GetSegment", "own", **fields)).reason is reason

    async def test_sizes_where_they_are_asked_for(self, worker: CatalogWorker, clock: FakeClock) -> None:
        clock.ms = FakeClock.real().ms  # the cluster's, which does not keep the sizes of years ago
        segment = await new_segment(worker, code="c", estimated_users=7)
        assert not segment.HasField("estimated_users")
        worker.sizes.note([Alike([b"m:p:1", b"m:p:2"], {NEVER: {segment.id: 0}})])
        asked = {"with_estimated_users": True}
        expected = copy.deepcopy(segment)
        expected.estimated_users = 2

        async def are_told() -> None:
            assert (await worker.call("GetSegment", id=segment.id, **asked)).segment == expected

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(segment_sizes, "FRESH_SECONDS", 0)
            await eventually(are_told)
        assert list((await worker.call("ListSegments", **asked)).segments) == [expected]
        assert list((await worker.call("ListSegments")).segments) == [segment]
        refused = await worker.refusal("UpdateSegment", segment={"id": segment.id}, update_mask=mask("estimated_users"))
        assert refused.reason is Reason.SYNTAX

    async def test_pages_in_the_order_of_ids(self, worker: CatalogWorker) -> None:
        for object_id in (7, 3, 2**31 - 1, 5, 4):
            await new_segment(worker, id=object_id)
        assert await pages_of(worker, "ListSegments", page_size=2) == [[3, 4], [5, 7], [2**31 - 1]]
        assert page_of(await worker.call("ListSegments", page_size=5))[1] == ""
        # What goes or comes between two pages does not move the others.
        _, token = page_of(await worker.call("ListSegments", page_size=2))
        for object_id in (3, 4, 5):
            await worker.call("DeleteSegment", id=object_id)
        await new_segment(worker, id=1)
        assert page_of(await worker.call("ListSegments", page_size=2, page_token=token)) == ([7, 2**31 - 1], "")

    @pytest.mark.parametrize("change", ["removed", "renamed", "written"])
    async def test_a_change_during_a_search_does_not_end_the_pages(
        self, worker: CatalogWorker, monkeypatch: pytest.MonkeyPatch, change: str
    ) -> None:
        """What a long search has found is gone, fits no more, or is found once more."""
        for number in range(1, 6):
            await new_segment(worker, id=number, short_name="x")
        monkeypatch.setattr(catalog, "FEW_SEGMENTS", 0)
        for module in (catalog, segment_table):
            monkeypatch.setattr(module, "ROWS_AT_ONCE", 2)
        known, scan = worker.feed.catalog, SegmentTable.scan

        def meanwhile(table: SegmentTable, matching: Condition, order: Order, first_row: int) -> list[tuple[Any, int]]:
            found = scan(table, matching, order, first_row)
            if first_row == 1 and change == "removed":
                known.remove(Kind.SEGMENT, 1)
            elif first_row == 1:
                segment = pb.Segment(id=1, member_id=OWN, short_name="x" if change == "written" else "y")
                known.put([Record(Kind.SEGMENT, records.encode(segment))])
            return found

        monkeypatch.setattr(SegmentTable, "scan", meanwhile)
        ids, token = page_of(await worker.call("ListSegments", search="x", page_size=2))
        assert ids == ([1, 2] if change == "written" else [2])
        ids, token = page_of(await worker.call("ListSegments", search="x", page_size=2, page_token=token))
        assert ids == [3, 4]
        assert page_of(await worker.call("ListSegments", search="x", page_size=2, page_token=token)) == ([5], "")

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
            ("ListSegments", {"search": "3"}, [[3]]),
        ],
    )
    async def test_what_lists_hold(self, worker: CatalogWorker, rpc: str, fields: Any, pages: Any) -> None:
        await new_segment(worker, OWN, code="Fans")
        await new_segment(worker, OTHER, short_name="Their fans")
        await new_segment(worker, OWN)
        assert await pages_of(worker, rpc, **fields, page_size=1) == pages

    async def test_a_page_has_a_hundred_objects_unless_told(self, worker: CatalogWorker) -> None:
        await worker.put(segments=[{"id": number, "member_id": OWN} for number in range(1, 1001)])
        ids, token = page_of(await worker.call("ListSegments"))
        assert (ids, bool(token)) == (list(range(1, 101)), True)
        assert page_of(await worker.call("ListSegments", page_size=1000)) == (list(range(1, 1001)), "")

    async def test_a_page_has_no_more_than_clients_take(
        self, worker: CatalogWorker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A page of a thousand objects could have more than the 4 MB that gRPC clients take by default."""
        assert paging.MOST_BYTES < 4 * 2**20
        small, large = "s", "l" * 400
        for number, text in enumerate((small, small, large, large, small, small), start=1):
            await new_segment(worker, id=number, description=text)
        monkeypatch.setattr(paging, "MOST_BYTES", 400)
        assert await pages_of(worker, "ListSegments", page_size=5) == [[1, 2], [3], [4], [5, 6]]
        for rpc in ("ListMembers", "ListUsers"):
            monkeypatch.setattr(paging, "MOST_BYTES", 1)
            ids, token = page_of(await worker.call(rpc))
            assert len(ids) == 1
            assert page_of(await worker.call(rpc, page_token=token))[0] > ids

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
    ("CreateSegment", {"segment": {"id": 8}}),
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
