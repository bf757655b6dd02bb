"""Encodes usage reports: as the contract's JSON ("GET /rt-segment-processed") and as messages of usage.proto.

Each hour is encoded (and compressed, if asked for) once, and then copied into any number of reports.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from google.api import httpbody_pb2
from instantaudience.v1 import usage_pb2 as pb

from instantaudience_server.store.interfaces.usage import (
    NO_REASONS,
    CallFailure,
    HourUsage,
    Lines,
    Reason,
    Reasons,
    Skip,
    Tally,
)
from instantaudience_server.usage import gzip_parts
from instantaudience_server.usage.spans import write_hour
from instantaudience_server.wire.protobuf_fields import tag, varint

SECONDS_PER_HOUR = 3600

_JSON_COUNTERS = {
    "num_valid_users": "valid_users",
    "num_valid_adds": "valid_adds",
    "num_valid_removes": "valid_removes",
    "num_invalid_users": "invalid_users",
    "num_invalid_segments": "invalid_segments",
    "num_unauth_segments": "unauth_segments",
    "num_inactive_segments": "inactive_segments",
    "num_other_errors": "other_errors",
}
"""JSON key → field of `Tally`, in the contract's order."""
_FAILURES = {each: f"CALL_FAILURE_{each.name}" for each in CallFailure}
_SKIPS = {each: f"WARNING_CODE_{each.name}" for each in Skip}
_NONE = Lines()

_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Piece(NamedTuple):
    """One or more encoded hours: the last hour, the sum of all counts, and the encoding of all."""

    hour: int
    tally: Tally
    encoded: bytes
    reasons: Reasons = NO_REASONS


def _sum(pieces: Sequence[Piece]) -> Tally:
    return Tally(*map(sum, zip(Tally(), *(piece.tally for piece in pieces), strict=True)))


def _sum_reasons(pieces: Sequence[Piece]) -> Reasons:
    total: Counter[Reason] = Counter()
    for piece in pieces:
        total.update(piece.reasons)
    return total


@dataclass(frozen=True, slots=True)
class Form:
    """A way to encode hours: whether it includes lines, `encode(member_id, hour, usage)`, and a function that joins
    encoded hours."""

    with_lines: bool
    encode: Callable[[int, int, HourUsage], bytes]
    join: Callable[[Sequence[bytes]], bytes]

    def piece(self, member_id: int, hour: int, usage: HourUsage) -> Piece:
        """Encode an hour of a member."""
        return Piece(hour, usage.tally, self.encode(member_id, hour, usage), usage.reasons)

    def joined(self, pieces: Sequence[Piece]) -> Piece | None:
        """Join pieces of this form into one; None if there are none."""
        if not pieces:
            return None
        encoded = self.join([piece.encoded for piece in pieces])
        return Piece(pieces[-1].hour, _sum(pieces), encoded, _sum_reasons(pieces))


class EncodedAnswer:
    """An answer that is already encoded, in pieces. It saves building a message only to encode it again."""

    def __init__(self, *pieces: bytes | memoryview) -> None:
        self._pieces = pieces

    def SerializeToString(self, *, deterministic: bool = True) -> bytes:  # noqa: N802  # as Message's
        """The bytes for the wire."""
        return b"".join(self._pieces)


def match_rate(tally: Tally) -> float:
    """The percentage of valid users among valid and invalid ones, to one decimal; 100 if there are none."""
    users = tally.valid_users + tally.invalid_users
    return round(100 * tally.valid_users / users, 1) if users else 100.0


def _hour_json(member_id: int, hour: int, usage: HourUsage) -> bytes:
    return _object(member_id, hour, usage.tally, *map("\n".join, usage.lines))


def _hour_field(member_id: int, hour: int, usage: HourUsage) -> bytes:
    return _field(_HOURS, hour_message(member_id, hour, usage).SerializeToString())


def _object(member_id: int, hour: int, tally: Tally, errors: str | None, segments: str | None) -> bytes:
    return _json(
        {
            "processed_hour": write_hour(hour),
            "member_id": member_id,
            **{key: getattr(tally, name) for key, name in _JSON_COUNTERS.items()},
            "match_rate": match_rate(tally),
            "error_log_lines": errors,
            "segment_log_lines": segments,
        }
    ).encode()


def hour_message(member_id: int, hour: int, usage: HourUsage) -> pb.UsageHour:
    """Make the message of an hour."""
    tally, lines, reasons = usage
    message = pb.UsageHour(
        member_id=member_id,
        match_rate=match_rate(tally),
        error_lines=lines.errors,
        segment_lines=lines.segments,
        failed_calls=[
            pb.FailedCalls(failure=name, calls=reasons[each]) for each, name in _FAILURES.items() if each in reasons
        ],
        skipped_parts=[
            pb.SkippedParts(code=name, parts=reasons[each]) for each, name in _SKIPS.items() if each in reasons
        ],
        **tally._asdict(),
    )
    message.hour.seconds = hour * SECONDS_PER_HOUR
    return message


def _list(comma: bytes, hours: Sequence[bytes]) -> list[bytes]:
    items = [comma] * (2 * len(hours) - 1)
    items[::2] = hours
    return items


_OPEN, _COMMA, _CLOSE = b'{"response":{"status":"OK","report":[', b",", b"]}}"
_GZIP_OPEN, _GZIP_COMMA, _GZIP_CLOSE = map(gzip_parts.compress, (_OPEN, _COMMA, _CLOSE))

JSON = Form(True, _hour_json, _COMMA.join)
GZIP = Form(
    True,
    lambda member_id, hour, usage: gzip_parts.compress(_hour_json(member_id, hour, usage)),
    lambda hours: gzip_parts.join(_list(_GZIP_COMMA, hours)),
)
TYPED = Form(True, _hour_field, b"".join)
COUNTS = Form(False, lambda member_id, hour, usage: _hour_field(member_id, hour, usage._replace(lines=_NONE)), b"".join)


def hours_report(pieces: Sequence[Piece]) -> EncodedAnswer:
    """The JSON report of hours in the form `JSON`, as google.api.HttpBody."""
    hours = [piece.encoded for piece in pieces]
    return _http_body(_JSON_BODY, _OPEN, *_list(_COMMA, hours), _CLOSE)


def gzip_report(pieces: Sequence[Piece]) -> EncodedAnswer:
    """The compressed JSON report of hours in the form `GZIP`, as google.api.HttpBody."""
    hours = [piece.encoded for piece in pieces]
    return _http_body(_GZIP_BODY, *gzip_parts.finish([_GZIP_OPEN, *_list(_GZIP_COMMA, hours), _GZIP_CLOSE]))


def sum_report(member_id: int, last: int, pieces: Sequence[Piece]) -> EncodedAnswer:
    """The JSON report with the sum of all hours, as google.api.HttpBody; `last` is the last hour covered."""
    hour, total = _total(last, pieces)
    report = _object(member_id, hour, total, None, None)
    return _http_body(_JSON_BODY, b'{"response":{"status":"OK","report":', report, b"}}")


def usage_answer(member_id: int, last: int, pieces: Sequence[Piece]) -> EncodedAnswer:
    """The GetUsageResponse of hours in the form `TYPED` or `COUNTS`; `last` is the last hour covered."""
    hour, tally = _total(last, pieces)
    total = hour_message(member_id, hour, HourUsage(tally, _NONE, _sum_reasons(pieces))).SerializeToString()
    return EncodedAnswer(*[piece.encoded for piece in pieces], _field(_TOTAL, total))


def _total(last: int, pieces: Sequence[Piece]) -> tuple[int, Tally]:
    """The last hour, and the sum of all. The hour may be later than `last`, if another worker's clock is ahead."""
    return max([last, *(piece.hour for piece in pieces[-1:])]), _sum(pieces)


_HOURS = pb.GetUsageResponse.HOURS_FIELD_NUMBER
_TOTAL = pb.GetUsageResponse.TOTAL_FIELD_NUMBER
_DATA = httpbody_pb2.HttpBody.DATA_FIELD_NUMBER
_JSON_BODY = httpbody_pb2.HttpBody(content_type="application/json").SerializeToString()
_GZIP_BODY = httpbody_pb2.HttpBody(content_type="application/gzip").SerializeToString()


def _http_body(head: bytes, *pieces: bytes | memoryview) -> EncodedAnswer:
    return EncodedAnswer(head, _start(_DATA, sum(map(len, pieces))), *pieces)


def _field(number: int, content: bytes) -> bytes:
    return _start(number, len(content)) + content


def _start(number: int, size: int) -> bytes:
    """The tag and length before the content of a field."""
    return tag(number) + varint(size)
