"""Who calls, and which segments its member may use (source: contract, "What the system makes of a valid block")."""

from dataclasses import dataclass

from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server.catalog import Account, Catalog, Member, Segment


@dataclass(frozen=True, slots=True)
class Caller:
    """The account behind a call, and its member."""

    account: Account
    member: Member


def find_segment(catalog: Catalog, member: Member, block: pb.SegBlock) -> "Segment | pb.WarningCode":
    """The segment that a valid block names, or the `WarningCode` that says why the member cannot put users into it."""
    seg_id = block.seg_id
    if seg_id or block.HasField("seg_id"):
        segment = catalog.segments.get(seg_id)
    else:
        segment = catalog.segments_by_code.get((block.member_id, block.seg_code))
    if segment is None:
        return pb.WARNING_CODE_UNKNOWN_SEGMENT
    if segment.member_id not in member.segment_access:
        return pb.WARNING_CODE_UNAUTHORIZED_SEGMENT
    if not segment.active:
        return pb.WARNING_CODE_INACTIVE_SEGMENT
    return segment
