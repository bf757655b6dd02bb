"""The commands on segments over REST: create, read, list, change, remove (source: contract, "/segment";
contract-neighbours, "Conventions of all REST answers")."""

from collections.abc import Awaitable, Callable, Iterable, Sequence

from instantaudience.rest.v1 import answers_pb2
from instantaudience.rest.v1 import segment_pb2 as pb
from instantaudience.v1 import catalog_pb2

from instantaudience_server.admission.quotas import Quotas
from instantaudience_server.catalog.access import Caller, allowed_to, require_member
from instantaudience_server.catalog.editor import CatalogEditor, Check, no_such_code, not_found
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.catalog.rules import LARGEST_ID
from instantaudience_server.catalog.segments.answers import about, description, page, removed
from instantaudience_server.catalog.segments.fields import change
from instantaudience_server.catalog.segments.queries import Query, query_of
from instantaudience_server.errors import (
    STORE_FAILURES,
    AudienceError,
    Reason,
    RefusedCommandError,
    invalid,
    required,
)
from instantaudience_server.segment_sizes import SegmentSizes
from instantaudience_server.store.interfaces.catalog import Kind

RESOURCE = "segment"
"""The name of these calls in errors of members' quotas."""
MOST_AT_ONCE = 100
"""The most segments in a request that creates or changes several."""

_OF_ONE = ("segment", "id", "code")
"""What only a request about one segment can have."""

Failed = AudienceError | RefusedCommandError
Outcome = catalog_pb2.Segment | Failed
"""The outcome for one of several segments: the segment as it is now, or the error."""


class SegmentService:
    """The commands on segments. Deadlines are times of the event loop's clock, in seconds.

    Callers with the role `admin` may use the segments of all members, others those of their own. A request that names
    another member is refused as a whole (source: contract-neighbours, "many at once"). Every method raises
    AudienceError SYNTAX (with the field and the rule), UNAUTH (the segment is another member's), NOT_FOUND, INTEGRITY
    (the member has a segment with this code) or UNAVAILABLE, as it applies.
    """

    def __init__(self, editor: CatalogEditor, feed: CatalogFeed, quotas: Quotas, sizes: SegmentSizes) -> None:
        self._editor = editor
        self._feed = feed
        self._catalog = feed.catalog
        self._quotas = quotas
        self._sizes = sizes

    async def add(self, request: pb.AddSegmentRequest, caller: Caller, deadline: float) -> pb.SegmentResult:
        """Create a segment; users can be added to it at once."""
        _require_one(request)
        return about(await self._add(request, request.segment, caller, deadline))

    async def add_several(self, request: pb.AddSegmentRequest, caller: Caller, deadline: float) -> list[Outcome]:
        """Create several segments; returns the outcome of each, in order. One that fails does not affect the others."""
        _named(caller, request)
        _require_several(request)
        return await _each(request.segments, lambda fields: self._add(request, fields, caller, deadline))

    async def find(self, request: pb.FindSegmentsRequest, caller: Caller, deadline: float) -> pb.SegmentResult:
        """Read one segment, or a page of the segments that match all parameters, including all changes that any worker
        acknowledged before.

        Raises:
            AudienceError: RATE_LIMIT_EXCEEDED; others as above.
        """
        await self._quotas.ask_gets(caller.member, RESOURCE, 1, deadline)
        query = query_of(request, caller)
        # Another worker may have changed these segments just now.
        await self._feed.catch_up(deadline)
        for known in filter(None, map(self._catalog.segment, query.filters["ids"] or ())):
            require_member(caller, known.member_id)
        limit = 1 if query.is_one else query.size
        skip = 0 if query.is_one else query.start
        found, total, _ = await self._catalog.page_of_segments(
            **query.filters, order=query.order, skip=skip, limit=limit
        )
        if query.is_one and not found:
            raise self._missing(query)
        sizes = await self._sizes_of(found, query.fields, deadline)
        if query.is_one:
            return about(found[0], sizes.get(found[0].id), query.fields)
        return page(found, sizes, query, total)

    async def change(self, request: pb.ChangeSegmentRequest, caller: Caller, deadline: float) -> pb.SegmentResult:
        """Change the fields of a segment that the request has."""
        named = _named(caller, request, request.segment)
        segment_id = await self._id(request, named, caller, deadline)
        _require_one(request)
        check = _fits(named, caller, request.code)
        return about(await self._change(segment_id, request.segment, check, deadline))

    async def change_several(self, request: pb.ChangeSegmentRequest, caller: Caller, deadline: float) -> list[Outcome]:
        """Change several segments, given by their IDs; returns the outcome of each, in order. One that fails does not
        affect the others."""
        _named(caller, request)
        _require_several(request)

        async def change_one(fields: pb.SegmentFields) -> catalog_pb2.Segment:
            named = _named(caller, request, fields)
            return await self._change(_checked_id(fields), fields, _fits(named, caller), deadline)

        return await _each(request.segments, change_one)

    async def remove(self, request: pb.RemoveSegmentRequest, caller: Caller, deadline: float) -> pb.SegmentResult:
        """Remove a segment from the catalog."""
        named = _named(caller, request)
        segment_id = await self._id(request, named, caller, deadline)
        check = _fits(named, caller, request.code)
        await self._editor.delete(Kind.SEGMENT, segment_id, "", deadline, check=check)
        return removed(segment_id)

    async def describe(self, caller: Caller, deadline: float) -> answers_pb2.Meta:
        """Describe the fields of segments; counts as a `GET` (contract, "Limits")."""
        await self._quotas.ask_gets(caller.member, RESOURCE, 1, deadline)
        return description()

    async def _add(
        self, request: pb.AddSegmentRequest, fields: pb.SegmentFields, caller: Caller, deadline: float
    ) -> catalog_pb2.Segment:
        named = _named(caller, request, fields)
        segment = catalog_pb2.Segment(member_id=caller.member.id if named is None else named)
        change(segment, fields)
        return await self._editor.create(segment, deadline)

    async def _change(
        self, segment_id: int, fields: pb.SegmentFields, check: Check, deadline: float
    ) -> catalog_pb2.Segment:
        def edit(segment: catalog_pb2.Segment) -> None:
            change(segment, fields)

        changed = await self._editor.update(Kind.SEGMENT, segment_id, edit, "", deadline, check=check)
        assert isinstance(changed, catalog_pb2.Segment)
        return changed

    async def _id(
        self,
        request: pb.ChangeSegmentRequest | pb.RemoveSegmentRequest,
        named: int | None,
        caller: Caller,
        deadline: float,
    ) -> int:
        """The ID of the segment that a request is about: its `id`, or that of the segment with its `code`, or the `id`
        among the fields to change."""
        if request.HasField("id"):
            return _checked_id(request)
        if not request.code:
            return _checked_id(request.segment if isinstance(request, pb.ChangeSegmentRequest) else request)
        member_id = caller.member.id if named is None else named
        segment = await self._feed.segment_by_code(member_id, request.code, deadline)
        if segment is None:
            raise no_such_code(member_id)
        return segment.id

    def _missing(self, query: Query) -> AudienceError:
        """The error for a single segment that does not exist, or that does not fit all that is asked for."""
        ids, code, member_id = query.filters["ids"], query.filters["code"], query.filters["member_id"]
        if ids:
            segment, error = self._catalog.segment(ids[0]), not_found(Kind.SEGMENT, ids[0])
        else:
            assert code is not None
            assert member_id is not None
            segment, error = self._catalog.segment_by_code(member_id, code), no_such_code(member_id)
        return error if segment is None else _unfit(error)

    async def _sizes_of(
        self, found: Iterable[catalog_pb2.Segment], fields: frozenset[str] | None, deadline: float
    ) -> dict[int, int]:
        if fields is not None and "estimated_users" not in fields:
            return {}
        return dict(await self._sizes.estimates([segment.id for segment in found], deadline))


async def _each(
    several: Sequence[pb.SegmentFields], do: Callable[[pb.SegmentFields], Awaitable[catalog_pb2.Segment]]
) -> list[Outcome]:
    """Call `do` for each, and collect the outcomes.

    Raises:
        AudienceError: UNAVAILABLE, if that happens before any has succeeded.
        RefusedCommandError: likewise.
    """
    outcomes: list[Outcome] = []
    for fields in several:
        try:
            outcomes.append(await do(fields))
        except STORE_FAILURES as error:
            is_callers = isinstance(error, AudienceError) and error.reason is not Reason.UNAVAILABLE
            if not is_callers and all(isinstance(each, STORE_FAILURES) for each in outcomes):
                raise
            outcomes.append(error)
    return outcomes


def _named(
    caller: Caller,
    *parts: pb.AddSegmentRequest | pb.ChangeSegmentRequest | pb.RemoveSegmentRequest | pb.SegmentFields,
) -> int | None:
    """The member named by the first of a request's parts that names one, if the caller may use it; None: none does.

    Raises:
        AudienceError: UNAUTH.
    """
    for part in parts:
        if part.HasField("member_id"):
            require_member(caller, part.member_id)
            return part.member_id
    return None


def _fits(named: int | None, caller: Caller, code: str = "") -> Check:
    """A check that a segment is one that the caller may use, and has the member and code that the request names. It
    raises what reading the segment would: UNAUTH or NOT_FOUND."""
    allow = allowed_to(caller)

    def check(segment: catalog_pb2.Segment) -> None:
        allow(segment)
        if named not in (None, segment.member_id) or code not in ("", segment.code):
            raise _unfit(not_found(Kind.SEGMENT, segment.id))

    return check


def _require_one(request: pb.AddSegmentRequest | pb.ChangeSegmentRequest) -> None:
    if not request.HasField("segment"):
        raise required("segment")


def _require_several(request: pb.AddSegmentRequest | pb.ChangeSegmentRequest) -> None:
    for field, _ in request.ListFields():
        if field.name in _OF_ONE:
            text = f"'{field.name}' and 'segments' cannot be used together"
            raise AudienceError(Reason.SYNTAX, text, field="segments")
    if len(request.segments) > MOST_AT_ONCE:
        raise invalid("segments", f"must hold at most {MOST_AT_ONCE}")


def _checked_id(named: pb.ChangeSegmentRequest | pb.RemoveSegmentRequest | pb.SegmentFields) -> int:
    if not named.HasField("id"):
        raise required("id")
    if named.id < 1:
        raise invalid("id", f"must be 1 to {LARGEST_ID}")
    return named.id


def _unfit(error: AudienceError) -> AudienceError:
    """The error for a segment that exists, and is not what else the request says of it; `error` is that for none."""
    return AudienceError(error.reason, f"{error.message} that fits the other parameters", field=error.metadata["field"])
