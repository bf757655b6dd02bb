"""Resolves the blocks of a file by the catalog: segments, and the ends of memberships (source: contract-neighbours,
"Batch Segment Service", "Text")."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server.batch.counters import Count
from instantaudience_server.batch.reading.text import Block
from instantaudience_server.catalog.access import find_segment
from instantaudience_server.catalog.catalog import Catalog, Member, Segment
from instantaudience_server.memberships.reading.known_blocks import lifetime_of
from instantaudience_server.memberships.reading.rules import expiration_of
from instantaudience_server.process.clock import MS_PER_MINUTE
from instantaudience_server.store.interfaces.memberships import NEVER, REMOVE

AHEAD_SECONDS = 300
"""How far a TIMESTAMP may lie after the end of the upload."""
_BEYOND_IDS = 2**32
_COUNTS = {
    pb.WARNING_CODE_UNKNOWN_SEGMENT: Count.NUM_INVALID_SEGMENT,
    pb.WARNING_CODE_UNAUTHORIZED_SEGMENT: Count.NUM_UNAUTH_SEGMENT,
    pb.WARNING_CODE_INACTIVE_SEGMENT: Count.NUM_INACTIVE_SEGMENT,
}


class Resolved(NamedTuple):
    """A membership: its end is a Unix time in ms, NEVER or REMOVE."""

    segment_id: int
    end: int
    value: int


class Refused(NamedTuple):
    """A block that changes nothing: its counter, and the number by which its segment is counted there."""

    kind: Count
    segment: int


class Resolver:
    """Resolves blocks of a member's file whose upload ended at `uploaded_ms` (Unix time in ms).

    Times are relative to that moment, however late the file is applied, so that a job that is resumed has the same
    result.
    """

    def __init__(self, catalog: Catalog, member: Member, uploaded_ms: int) -> None:
        self._catalog = catalog
        self._member = member
        self._uploaded_ms = uploaded_ms
        self._latest_timestamp = uploaded_ms // 1000 + AHEAD_SECONDS

    def are_timely(self, blocks: Sequence[Block]) -> bool:
        """Whether all timestamps are at most `AHEAD_SECONDS` after the upload, which those in ms are not."""
        latest = self._latest_timestamp
        return all(0 <= block.timestamp <= latest for block in blocks)

    def resolve(self, block: Block) -> Resolved | Refused:
        """The membership that a block means, or why it changes nothing."""
        segment = self._find(block)
        if isinstance(segment, Refused):
            return segment
        lifetime = lifetime_of(expiration_of(block.expiration, segment, self._member))
        if lifetime in (NEVER, REMOVE):
            return Resolved(segment.id, lifetime, block.value)
        end = (block.timestamp * 1000 or self._uploaded_ms) + lifetime * MS_PER_MINUTE
        if end <= self._uploaded_ms:
            return Refused(Count.NUM_PAST_EXPIRATION, segment.id)
        return Resolved(segment.id, end, block.value)

    def _find(self, block: Block) -> Segment | Refused:
        if isinstance(block.segment, int):
            named = pb.SegBlock(seg_id=block.segment)
        else:
            owner = self._member.id if block.member_id is None else block.member_id
            named = pb.SegBlock(seg_code=block.segment, member_id=owner)
        found = find_segment(self._catalog, self._member, named)
        if isinstance(found, Segment):
            return found
        return Refused(_COUNTS[found], self._number(named))

    def _number(self, block: pb.SegBlock) -> int:
        """A number that identifies a segment, however it is named: its ID, or a hash of a code that does not exist."""
        if block.HasField("seg_id"):
            return int(block.seg_id)
        segment = self._catalog.segment_by_code(block.member_id, block.seg_code)
        return _number_of_code(block) if segment is None else segment.id


def _number_of_code(block: pb.SegBlock) -> int:
    name = f"{block.member_id}:{block.seg_code}".encode()
    return _BEYOND_IDS + int.from_bytes(hashlib.blake2b(name, digest_size=6).digest())
