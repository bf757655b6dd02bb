"""Determines the hours that a report covers (source: contract, "GET /rt-segment-processed")."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from instantaudience_server.errors import AudienceError, Reason, invalid
from instantaudience_server.process.clock import MS_PER_HOUR, read_time
from instantaudience_server.store.interfaces.usage import KEPT_HOURS

DEFAULT_HOURS = 14 * 24
"""How many hours a report without `start` covers."""
AHEAD_MS = 60_000
"""How far another clock may be ahead of this one: a worker's, whose calls may then count for an hour that has not begun
here, or that of a caller who asks from now on."""

_EPOCH = datetime(1970, 1, 1)  # UTC, as all times here
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
"""The range of a Timestamp, the years 1 to 9999, in Unix time (source: google/protobuf/timestamp.proto)."""


class Span(NamedTuple):
    """The hours of a report. An hour is given by the number of hours from 1970 to its beginning (UTC).

    `hours` are those to read, oldest first; `last` is the last hour that is covered, which need not be among them.
    """

    hours: Sequence[int]
    last: int


def cover(start_ms: int | None, end_ms: int | None, now_ms: int, hours: int = DEFAULT_HOURS) -> Span:
    """The hours from `start_ms` to `end_ms` (Unix times in ms, the end excluded), including those covered in part.

    Without a start, these are the last `hours` hours; without an end, the present hour is the last one.

    Raises:
        AudienceError: SYNTAX, when the start is not before the end, or is to come where there is none.
    """
    if start_ms is not None and start_ms >= (now_ms + AHEAD_MS if end_ms is None else end_ms):
        text = (
            "'start' must be before 'end'" if end_ms is not None else "'start' must be before now where 'end' is absent"
        )
        raise AudienceError(Reason.SYNTAX, text, field="start")
    last = (max(now_ms, start_ms or now_ms) if end_ms is None else end_ms - 1) // MS_PER_HOUR
    first = last - hours + 1 if start_ms is None else start_ms // MS_PER_HOUR
    oldest, newest = now_ms // MS_PER_HOUR - KEPT_HOURS, (now_ms + AHEAD_MS) // MS_PER_HOUR
    if end_ms is not None:
        newest = min(newest, last)
    return Span(range(max(first, oldest), newest + 1), max(last, 0))


def read_moment(text: str, field: str) -> int | None:
    """Parse a moment in the contract's form (`read_time`) as Unix time in ms; None for an empty text.

    Raises:
        AudienceError: SYNTAX.
    """
    if not text:
        return None
    try:
        return read_time(text) * 1000
    except ValueError:
        raise invalid(field, "must be a moment (UTC) in the form 2014-05-22+00:00:00") from None


def read_timestamp(moment: Timestamp, field: str) -> int:
    """Convert a timestamp to Unix time in ms.

    Raises:
        AudienceError: SYNTAX, when it is not within the years 1 to 9999.
    """
    if not (_FIRST_SECOND <= moment.seconds <= _LAST_SECOND and 0 <= moment.nanos < 1_000_000_000):
        raise invalid(field, "must be a moment of the years 1 to 9999")
    return moment.seconds * 1000 + moment.nanos // 1_000_000


def write_hour(hour: int) -> str:
    """Format an hour as the contract does: `2014-05-22 00:00:00`."""
    return (_EPOCH + timedelta(hours=hour)).isoformat(" ")
