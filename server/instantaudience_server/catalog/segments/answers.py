"""The answers about segments over REST (source: segment.proto, SegmentResult)."""

from collections.abc import Mapping, Sequence

from google.protobuf.struct_pb2 import Struct
from instantaudience.rest.v1 import answers_pb2
from instantaudience.rest.v1 import segment_pb2 as pb
from instantaudience.v1 import catalog_pb2

from instantaudience_server.catalog.paging import MOST_ELEMENTS
from instantaudience_server.catalog.segment_table import SORTS
from instantaudience_server.catalog.segments.fields import FIELDS, entry_of
from instantaudience_server.catalog.segments.queries import Query


def about(
    segment: catalog_pb2.Segment, estimated_users: int | None = None, fields: frozenset[str] | None = None
) -> pb.SegmentResult:
    """The answer with one segment, with some of its fields (None: all)."""
    result = _result("segment", 1)
    result.id = segment.id
    _put(result.segment, segment, estimated_users, fields)
    return result


def removed(segment_id: int) -> pb.SegmentResult:
    """The answer about a segment that was removed."""
    result = _result("segment", 1)
    result.id = segment_id
    return result


def page(
    segments: Sequence[catalog_pb2.Segment], sizes: Mapping[int, int], query: Query, total: int
) -> pb.SegmentResult:
    """The answer with a page of segments; `total` is the number of all that match."""
    result = _result("segments", total, query.start, query.size)
    result.segments.SetInParent()
    for segment in segments:
        _put(result.segments.add_struct(), segment, sizes.get(segment.id), query.fields)
    return result


def several(done: Sequence[catalog_pb2.Segment], failures: Sequence[Mapping[str, int | str]]) -> pb.SegmentResult:
    """The answer about several segments: those that were created or changed, and the failures."""
    result = _result("segments", len(done))
    for each in (result.segments, result.ids, result.failures):
        each.SetInParent()
    for segment in done:
        result.ids.append(segment.id)
        _put(result.segments.add_struct(), segment)
    for failure in failures:
        result.failures.add_struct().update(failure)
    return result


def description() -> answers_pb2.Meta:
    """The description of segments' fields."""
    fields = [
        answers_pb2.MetaField(
            name=field.name,
            type=field.type,
            sort_by=field.name in SORTS,
            filter_by=field.filter_by,
            read_only=field.read_only,
        )
        for field in FIELDS
    ]
    return answers_pb2.Meta(status="OK", fields=fields, dbg_info=answers_pb2.DebugInfo(output_term="fields"))


def _put(
    target: Struct,
    segment: catalog_pb2.Segment,
    estimated_users: int | None = None,
    fields: frozenset[str] | None = None,
) -> None:
    entry = entry_of(segment, estimated_users)
    target.update({name: value for name, value in entry.items() if fields is None or name in fields})


def _result(term: str, count: int, start: int = 0, size: int = MOST_ELEMENTS) -> pb.SegmentResult:
    dbg_info = answers_pb2.DebugInfo(output_term=term)
    return pb.SegmentResult(status="OK", count=count, start_element=start, num_elements=size, dbg_info=dbg_info)
