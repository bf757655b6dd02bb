"""Segments as REST callers see them: create, read, list, change, remove (source: contract, "/segment")."""

import re
from datetime import UTC, datetime
from typing import Any

from instantaudience.rest.v1 import answers_pb2
from instantaudience.rest.v1 import segment_pb2 as pb
from instantaudience.v1 import catalog_pb2

from instantaudience_server.catalog.access import Caller, require_member
from instantaudience_server.catalog.catalog import Catalog, Role
from instantaudience_server.catalog.editor import CatalogEditor, not_found
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.catalog.records import Object
from instantaudience_server.catalog.rules import LARGEST_ID
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.quotas import Quotas
from instantaudience_server.segment_sizes import SegmentSizes
from instantaudience_server.store.catalog_interface import Kind

MOST_ELEMENTS = 100
"""Segments of a page, and IDs in a request, at most."""
MOST_USERS = 2**31 - 1
"""What `estimated_users` says of a segment with more."""
STATES = {
    "active": catalog_pb2.SEGMENT_STATE_ACTIVE,
    "inactive": catalog_pb2.SEGMENT_STATE_INACTIVE,
}
"""What `state` may be."""

_PLAIN_FIELDS = ("short_name", "description", "expire_minutes")
_TIME_FORMAT = "%Y-%m-%d %H:%M:%S"
_is_id_list = re.compile(r"[0-9]{1,10}(?:,[0-9]{1,10})*").fullmatch


class SegmentService:
    """The commands on segments. Deadlines are times of the event loop's clock, in seconds.

    Callers with the role `admin` may work with the segments of all members, others with their own member's. Every
    method raises AudienceError: SYNTAX, with the field and the rule; UNAUTH, for what is another member's; NOT_FOUND;
    UNAVAILABLE.
    """

    def __init__(
        self, catalog: Catalog, editor: CatalogEditor, feed: CatalogFeed, quotas: Quotas, sizes: SegmentSizes
    ) -> None:
        self._catalog = catalog
        self._editor = editor
        self._feed = feed
        self._quotas = quotas
        self._sizes = sizes

    async def add(self, request: pb.AddSegmentRequest, caller: Caller, deadline: float) -> pb.SegmentResult:
        """Create a segment, which can take users at once.

        Raises:
            AudienceError: INTEGRITY, when the member has such a code already; others as above.
        """
        fields = _fields(request)
        member_id = request.member_id if request.HasField("member_id") else caller.member.id
        require_member(caller, member_id)
        segment = catalog_pb2.Segment(member_id=member_id)
        _change(segment, fields)
        return _about(await self._editor.create(segment, deadline))

    async def find(self, request: pb.FindSegmentsRequest, caller: Caller, deadline: float) -> pb.SegmentResult:
        """Read the segment with an ID, or a page of the segments that fit everything asked for, in the order of IDs.

        Raises:
            AudienceError: RATE_LIMIT_EXCEEDED; others as above.
        """
        await self._quotas.ask_gets(caller.member, "segment", 1, deadline)
        start, size = _page(request)
        ids = _ids(request.id) if request.id else []
        conditions: dict[str, Any] = {
            "member_id": _searched_member(request, caller),
            "ids": ids or None,
            "code": request.code or None,
            "search": request.search,
        }
        if len(ids) == 1:
            await self._expect(ids[0], deadline)
        for known in filter(None, map(self._catalog.segment, ids)):
            require_member(caller, known.member_id)
        if len(ids) == 1:
            found = (await self._catalog.page_of_segments(**conditions, limit=1)).segments
            if not found:
                raise not_found(Kind.SEGMENT, ids[0])
            sizes = await self._sizes.estimates([found[0].id], deadline)
            return _about(found[0], sizes.get(found[0].id))
        page = await self._catalog.page_of_segments(**conditions, skip=start, limit=size)
        sizes = await self._sizes.estimates([segment.id for segment in page.segments], deadline)
        result = _result("segments", page.total, start, size)
        result.segments.SetInParent()
        for segment in page.segments:
            result.segments.add_struct().update(_entry(segment, sizes.get(segment.id)))
        return result

    async def change(self, request: pb.ChangeSegmentRequest, caller: Caller, deadline: float) -> pb.SegmentResult:
        """Change the fields that are sent.

        Raises:
            AudienceError: INTEGRITY, when the member has such a code already; others as above.
        """
        segment_id, fields = _segment_id(request), _fields(request)

        def edit(segment: catalog_pb2.Segment) -> None:
            require_member(caller, segment.member_id)
            _change(segment, fields)

        return _about(await self._editor.update(Kind.SEGMENT, segment_id, edit, "", deadline))

    async def remove(self, request: pb.RemoveSegmentRequest, caller: Caller, deadline: float) -> pb.SegmentResult:
        """Remove a segment from the catalog."""
        segment_id = _segment_id(request)
        await self._expect(segment_id, deadline)
        segment = self._catalog.segment(segment_id)
        if segment is None:
            raise not_found(Kind.SEGMENT, segment_id)
        require_member(caller, segment.member_id)
        await self._editor.delete(Kind.SEGMENT, segment_id, "", deadline)
        result = _result("segment", 1)
        result.id = segment_id
        return result

    async def _expect(self, segment_id: int, deadline: float) -> None:
        """Look for a segment that another worker may just have made."""
        if self._catalog.segment(segment_id) is None:
            await self._feed.catch_up(deadline)


def _fields(request: pb.AddSegmentRequest | pb.ChangeSegmentRequest) -> pb.SegmentFields:
    if not request.HasField("segment"):
        raise AudienceError(Reason.SYNTAX, "'segment' is required", field="segment")
    return request.segment


def _segment_id(request: pb.ChangeSegmentRequest | pb.RemoveSegmentRequest) -> int:
    if not request.HasField("id"):
        raise AudienceError(Reason.SYNTAX, "'id' is required", field="id")
    if request.id < 1:
        raise AudienceError(Reason.SYNTAX, f"'id' must be 1 to {LARGEST_ID}", field="id")
    return request.id


def _page(request: pb.FindSegmentsRequest) -> tuple[int, int]:
    """How many segments to skip, and how many to answer at most."""
    size = request.num_elements if request.HasField("num_elements") else MOST_ELEMENTS
    if request.start_element < 0:
        raise AudienceError(Reason.SYNTAX, "'start_element' must be 0 or more", field="start_element")
    if not 1 <= size <= MOST_ELEMENTS:
        raise AudienceError(Reason.SYNTAX, f"'num_elements' must be 1 to {MOST_ELEMENTS}", field="num_elements")
    return request.start_element, size


def _ids(text: str) -> list[int]:
    """The IDs of a list that is separated by commas."""
    ids = [int(word) for word in text.split(",")] if _is_id_list(text) else []
    if not 0 < len(ids) <= MOST_ELEMENTS or not all(1 <= each <= LARGEST_ID for each in ids):
        rule = f"must be 1 to {MOST_ELEMENTS} segment IDs, separated by commas"
        raise AudienceError(Reason.SYNTAX, f"'id' {rule}", field="id")
    return ids


def _searched_member(request: pb.FindSegmentsRequest, caller: Caller) -> int | None:
    """Whose segments are asked for; None means everybody's."""
    if request.HasField("member_id"):
        require_member(caller, request.member_id)
        return request.member_id
    return None if caller.account.role is Role.ADMIN else caller.member.id


def _change(segment: catalog_pb2.Segment, fields: pb.SegmentFields) -> None:
    """Take over the fields that are there; an empty code takes the code away."""
    if fields.HasField("state"):
        if fields.state not in STATES:
            raise AudienceError(Reason.SYNTAX, f"'state' must be {' or '.join(map(repr, STATES))}", field="state")
        segment.state = STATES[fields.state]
    if fields.code:
        segment.code = fields.code
    elif fields.HasField("code"):
        segment.ClearField("code")
    for field in _PLAIN_FIELDS:
        if fields.HasField(field):
            setattr(segment, field, getattr(fields, field))


def _entry(segment: catalog_pb2.Segment, estimated_users: int | None) -> dict[str, int | str]:
    """The fields of a `SegmentEntry`."""
    code = {"code": segment.code} if segment.HasField("code") else {}
    size = {} if estimated_users is None else {"estimated_users": min(estimated_users, MOST_USERS)}
    return {
        "id": segment.id,
        **code,
        "state": "inactive" if segment.state == catalog_pb2.SEGMENT_STATE_INACTIVE else "active",
        "short_name": segment.short_name,
        "description": segment.description,
        "member_id": segment.member_id,
        "expire_minutes": segment.expire_minutes,
        "last_modified": datetime.fromtimestamp(segment.last_modified.seconds, UTC).strftime(_TIME_FORMAT),
        **size,
    }


def _result(term: str, count: int, start: int = 0, size: int = MOST_ELEMENTS) -> pb.SegmentResult:
    dbg_info = answers_pb2.DebugInfo(output_term=term)
    return pb.SegmentResult(status="OK", count=count, start_element=start, num_elements=size, dbg_info=dbg_info)


def _about(found: Object, estimated_users: int | None = None) -> pb.SegmentResult:
    """The answer about one segment."""
    assert isinstance(found, catalog_pb2.Segment)
    entry: dict[str, Any] = _entry(found, estimated_users)
    result = _result("segment", 1)
    result.id = found.id
    result.segment.CopyFrom(pb.SegmentEntry(**entry))
    return result
