"""The sampled lines of a usage report: what of the newest calls was applied, and what was not (source: contract, "GET
/rt-segment-processed").

A line is about one user, segment or membership. Users and segments stand as they are stored.
"""

from collections.abc import Sequence
from itertools import islice

from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server.applied import Applied, Refusal
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.clock import MS_PER_MINUTE
from instantaudience_server.store.interface import NEVER, REMOVE, UserChanges
from instantaudience_server.store.usage_interface import MOST_LINES

LONGEST_LINE = 300
"""Characters of a line; what is longer is cut. An external ID may have 256."""

_SEGMENT = "(id, code, segment owner member id)"
_MEMBERSHIP = "(user id, segment id, expiration)"
_REFUSED_SEGMENTS = {
    pb.WARNING_CODE_UNKNOWN_SEGMENT: f"Invalid segments {_SEGMENT}",
    pb.WARNING_CODE_UNAUTHORIZED_SEGMENT: f"Unauthorized segments {_SEGMENT}",
    pb.WARNING_CODE_INACTIVE_SEGMENT: f"Inactive segments {_SEGMENT}",
}


def error_lines(catalog: Catalog, calls: Sequence[Applied]) -> list[str]:
    """What was refused in calls that are given in their order: the newest lines, oldest first."""
    newest = (refusal for applied in reversed(calls) for refusal in reversed(applied.refusals))
    return [_refused(catalog, refusal) for refusal in islice(newest, MOST_LINES)][::-1]


def segment_lines(catalog: Catalog, calls: Sequence[Applied]) -> list[str]:
    """What was applied in calls that are given in their order: the newest lines, oldest first.

    A call's users come with their memberships, its segments last.
    """
    lines: list[str] = []  # newest first
    for applied in reversed(calls):
        lines += _lines_of(catalog, applied, MOST_LINES - len(lines))
        if len(lines) >= MOST_LINES:
            break
    return lines[::-1]


def _lines_of(catalog: Catalog, applied: Applied, most: int) -> list[str]:
    """The newest lines of a call, newest first."""
    lines: list[str] = []
    segments: dict[int, None] = {}
    changed = ((key, changes) for keys, changes in reversed(applied.changes) for key in reversed(keys))
    for key, changes in changed:
        user_id = _user_id(key)
        lines += reversed(_memberships(user_id, changes, applied.now_ms))
        lines.append(f"Valid users: {user_id}"[:LONGEST_LINE])
        segments |= dict.fromkeys(segment_id for values in changes.values() for segment_id in values)
        if len(lines) + len(segments) >= most:
            break
    else:
        lines += [f"Valid users: {_user_id(key)}"[:LONGEST_LINE] for key in islice(applied.unchanged, most)]
    described = (_segment(catalog, segment_id) for segment_id in reversed(segments))
    return [*[f"Valid segments {_SEGMENT}: {segment}"[:LONGEST_LINE] for segment in described], *lines][:most]


def _memberships(user_id: str, changes: UserChanges, now_ms: int) -> list[str]:
    lines = []
    for end, values in changes.items():
        kind = "removals" if end == REMOVE else "additions"
        minutes = end if end in (REMOVE, NEVER) else (end - now_ms) // MS_PER_MINUTE
        lines += [f"Valid {kind} {_MEMBERSHIP}: ({user_id}, {segment_id}, {minutes})" for segment_id in values]
    return lines


def _refused(catalog: Catalog, refusal: Refusal) -> str:
    part = refusal.part
    if isinstance(part, pb.RtSegment):
        return f"Inactive users: {part.user_id}"[:LONGEST_LINE]
    if part.HasField("seg_id"):
        segment = _segment(catalog, part.seg_id)
    else:
        found = catalog.segment_by_code(part.member_id, part.seg_code)
        segment = f"({found.id if found else None}, {part.seg_code!r}, {part.member_id})"
    return f"{_REFUSED_SEGMENTS[refusal.code]}: {segment}"[:LONGEST_LINE]


def _segment(catalog: Catalog, segment_id: int) -> str:
    """As `(321456, 'segment_312456', 123)`; None stands for what is not known."""
    segment = catalog.segment(segment_id)
    code, member_id = (segment.code, segment.member_id) if segment else (None, None)
    return f"({segment_id}, {code!r}, {member_id})"


def _user_id(key: bytes) -> str:
    """The user of a membership's key, in the form it is stored in."""
    return key.split(b":", 2)[2].decode()


def count_lines(applied: Applied) -> tuple[int, int]:
    """How many error lines and segment lines a call has, about."""
    return len(applied.refusals), sum(applied.totals)
