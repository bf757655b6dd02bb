"""Writes the sampled lines of a usage report: what of the newest calls was applied, and what was refused (source:
contract, "GET /rt-segment-processed"; contract-neighbours, "report lines").

Each call gives one line for each kind of entry that it has. What was applied is written as it is stored, what was
refused as the caller sent it: a member must not learn from the report about segments that it may not use.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server.applied import Applied, Refusal
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.process.clock import MS_PER_MINUTE
from instantaudience_server.store.interfaces.memberships import NEVER, REMOVE
from instantaudience_server.store.interfaces.usage import MOST_LINE_BYTES, MOST_LINES

LONGEST_LINE = 2000
"""The most characters of a line; users, segments and memberships that do not fit are left out."""
MOST_ITEMS = 500
"""How many refusals of a kind are looked at in a call; equal ones are written once."""
LINE_CHARACTERS, ITEM_CHARACTERS = 70, 35
"""About how many characters a line has without its items, and each item."""

_SEGMENT = "(id, code, segment owner member id)"
_MEMBERSHIP = "(user id, segment id, expiration)"
_KINDS = {
    pb.WARNING_CODE_UNKNOWN_USER_ID: "Inactive users",
    pb.WARNING_CODE_SUPPRESSED_USER_ID: "Suppressed users",
    pb.WARNING_CODE_UNKNOWN_SEGMENT: f"Invalid segments {_SEGMENT}",
    pb.WARNING_CODE_UNAUTHORIZED_SEGMENT: f"Unauthorized segments {_SEGMENT}",
    pb.WARNING_CODE_INACTIVE_SEGMENT: f"Inactive segments {_SEGMENT}",
}


def error_lines(catalog: Catalog, calls: Sequence[Applied]) -> list[str]:
    """The newest lines about what was refused in `calls`; both calls and lines are in order, oldest first."""
    return _newest(_error_lines(catalog, applied.refusals) for applied in reversed(calls))


def segment_lines(catalog: Catalog, calls: Sequence[Applied]) -> list[str]:
    """The newest lines about what was applied by `calls`; both calls and lines are in order, oldest first."""
    newest = (each for applied in reversed(calls) for each in (applied.apart() if applied.apart else (applied,)))
    return _newest(_segment_lines(catalog, applied) for applied in newest)


def count_lines(applied: Applied) -> tuple[int, int]:
    """About how many error lines and segment lines a call has."""
    return len({refusal.code for refusal in applied.refusals}), 3 * applied.calls if applied.totals.users else 0


def count_characters(applied: Applied, lines: int) -> int:
    """About how many characters `lines` lines of a call have."""
    items = len(applied.refusals) + 2 * sum(applied.totals)
    return min(lines * LINE_CHARACTERS + items * ITEM_CHARACTERS, lines * LONGEST_LINE)


def _newest(calls: Iterable[Sequence[str]]) -> list[str]:
    """The newest lines, as many as a report keeps, oldest first. `calls` has the lines of each call, newest first."""
    lines: list[str] = []  # newest first
    characters = 0
    for own in calls:
        lines += reversed(own)
        characters += sum(map(len, own))
        if len(lines) >= MOST_LINES or characters >= MOST_LINE_BYTES:
            break
    return lines[:MOST_LINES][::-1]


def _error_lines(catalog: Catalog, refusals: Iterable[Refusal]) -> list[str]:
    """The error lines of a call, with the kinds in order of appearance."""
    kinds: dict[pb.WarningCode, list[Refusal]] = {}
    for refusal in refusals:
        kinds.setdefault(refusal.code, []).append(refusal)
    lines = []
    for code, of_kind in kinds.items():
        different = dict.fromkeys(_refused(catalog, refusal) for refusal in of_kind[:MOST_ITEMS])
        lines.append(_line(_KINDS[code], iter(different)))
    return lines


def _segment_lines(catalog: Catalog, applied: Applied) -> list[str]:
    """The segment lines of a call: its users, its segments, what was added, and what was removed."""
    changed = [keys for keys, _ in applied.changes]
    users = (_user_id(key) for keys in (*changed, applied.unchanged) for key in keys)
    segments = {
        segment_id: None for _, changes in applied.changes for values in changes.values() for segment_id in values
    }
    kinds: tuple[tuple[str, Iterator[str]], ...] = (
        ("Valid users", users),
        (f"Valid segments {_SEGMENT}", (_segment(catalog, segment_id) for segment_id in segments)),
        (f"Valid additions {_MEMBERSHIP}", _memberships(applied, lambda end: end != REMOVE)),
        (f"Valid removals {_MEMBERSHIP}", _memberships(applied, lambda end: end == REMOVE)),
    )
    return [line for kind, items in kinds if (line := _line(kind, items))]


def _line(kind: str, items: Iterator[str]) -> str:
    """A line with as many items as fit; "" if there are none."""
    first = next(items, None)
    if first is None:
        return ""
    line = f"{kind}: {first}"[:LONGEST_LINE]
    room = LONGEST_LINE - len(line)
    more = []
    for item in items:
        room -= len(item) + 2
        if room < 0:
            break
        more.append(item)
    return ", ".join([line, *more])


def _memberships(applied: Applied, wanted: Callable[[int], bool]) -> Iterator[str]:
    for keys, changes in applied.changes:
        ends = list(filter(wanted, changes))
        for key in keys if ends else ():
            user_id = _user_id(key)
            for end in ends:
                minutes = end if end in (REMOVE, NEVER) else (end - applied.now_ms) // MS_PER_MINUTE
                for segment_id in changes[end]:
                    yield f"({user_id}, {segment_id}, {minutes})"


def _refused(catalog: Catalog, refusal: Refusal) -> str:
    """A user or segment as it was sent. An inactive segment, which the caller may see, is as in the catalog."""
    part = refusal.part
    if isinstance(part, pb.RtSegment):
        return part.user_id
    if refusal.code == pb.WARNING_CODE_INACTIVE_SEGMENT:
        by_code = not part.HasField("seg_id")
        found = catalog.segment_by_code(part.member_id, part.seg_code) if by_code else catalog.segment(part.seg_id)
        if found is not None:
            return f"({found.id}, {found.code or ''!r}, {found.member_id})"
    return f"({part.seg_id}, {part.seg_code!r}, {part.member_id})"


def _segment(catalog: Catalog, segment_id: int) -> str:
    """A segment as `(321456, 'segment_312456', 123)`; 0 or an empty code where that is absent or no longer known."""
    segment = catalog.segment(segment_id)
    code, member_id = (segment.code or "", segment.member_id) if segment else ("", 0)
    return f"({segment_id}, {code!r}, {member_id})"


def _user_id(key: bytes) -> str:
    """The user ID in a key, as it is stored."""
    return key.split(b":", 2)[2].decode()
