"""Parses the parameters of lists of segments over REST (source: segment.proto, FindSegmentsRequest)."""

import re
from typing import NamedTuple

from instantaudience.rest.v1 import segment_pb2 as pb
from instantaudience.v1.catalog_pb2 import SEGMENT_STATE_ACTIVE

from instantaudience_server.catalog.access import Caller, require_member
from instantaudience_server.catalog.catalog import Role
from instantaudience_server.catalog.paging import MOST_ELEMENTS, elements_of
from instantaudience_server.catalog.rules import LARGEST_ID
from instantaudience_server.catalog.segment_table import SORTS, Filters, Order
from instantaudience_server.catalog.segments.fields import FIELDS, state_of
from instantaudience_server.errors import invalid
from instantaudience_server.process.clock import DAY, read_time

_FIELD_NAMES = frozenset(field.name for field in FIELDS)
_is_id_list = re.compile(r"[0-9]{1,10}(?:,[0-9]{1,10})*").fullmatch
_is_day = re.compile(DAY).fullmatch


class Query(NamedTuple):
    """A query for segments: filters, order, page, and the fields to answer (None: all).

    `is_one`: the query is for a single segment, which must exist.
    """

    filters: Filters
    order: Order
    start: int
    size: int
    fields: frozenset[str] | None
    is_one: bool


def query_of(request: pb.FindSegmentsRequest, caller: Caller) -> Query:
    """The query of a request.

    Raises:
        AudienceError: SYNTAX, with the field and the rule; UNAUTH, for another member's segments.
    """
    ids = _ids(request.id) if request.id else None
    is_one = bool(request.code) or (ids is not None and len(ids) == 1)
    filters: Filters = {
        "member_id": _member(request, caller),
        "ids": ids,
        "code": request.code or None,
        "search": request.search,
        "active": _is_active(request),
        "modified_since": _seconds(request.min_last_modified) if request.min_last_modified else None,
    }
    start, size = elements_of(request)
    order = _order(request.sort) if request.sort else Order()
    return Query(filters, order, start, size, _fields(request.fields) if request.fields else None, is_one)


def _ids(text: str) -> list[int]:
    """The IDs in a comma-separated list.

    Raises:
        AudienceError: SYNTAX.
    """
    ids = [int(word) for word in text.split(",")] if _is_id_list(text) else []
    if not 0 < len(ids) <= MOST_ELEMENTS or not all(1 <= each <= LARGEST_ID for each in ids):
        raise invalid("id", f"must be 1 to {MOST_ELEMENTS} segment IDs, separated by commas")
    return ids


def _member(request: pb.FindSegmentsRequest, caller: Caller) -> int | None:
    """The member whose segments are asked for; None: all members. With a code, which is unique only within a member, it
    is never None."""
    if request.HasField("member_id"):
        require_member(caller, request.member_id)
        return request.member_id
    return None if caller.account.role is Role.ADMIN and not request.code else caller.member.id


def _is_active(request: pb.FindSegmentsRequest) -> bool | None:
    """Whether active or inactive segments are asked for; None: both."""
    if not request.state:
        return request.active if request.HasField("active") else None
    return state_of(request.state) == SEGMENT_STATE_ACTIVE


def _seconds(text: str) -> int:
    """The Unix time in seconds of a moment, or of when a day begins.

    Raises:
        AudienceError: SYNTAX.
    """
    try:
        return read_time(f"{text} 00:00:00" if _is_day(text) else text)
    except ValueError:
        rule = "must be a moment or a day (UTC) in the form 2014-05-22+00:00:00 or 2014-05-22"
        raise invalid("min_last_modified", rule) from None


def _order(text: str) -> Order:
    field, _, direction = text.rpartition(".")
    if field not in SORTS or direction not in ("asc", "desc"):
        raise invalid("sort", f"must be <field>.asc or <field>.desc, with a field of {', '.join(SORTS)}")
    return Order(field, direction == "desc")


def _fields(text: str) -> frozenset[str]:
    names = frozenset(text.split(","))
    if not names <= _FIELD_NAMES:
        raise invalid("fields", "must be names of fields, separated by commas; GET /segment/meta has them")
    return names
