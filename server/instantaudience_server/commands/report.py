"""`report`: a member's usage by hour."""

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import click
from instantaudience.v1 import usage_pb2 as pb
from instantaudience.v1.audience_pb2 import WarningCode

from instantaudience_server.commands.connection.client import Client
from instantaudience_server.commands.connection.options import member_option, with_client
from instantaudience_server.commands.printing.as_json import json_option, print_json
from instantaudience_server.commands.printing.tables import show_lines, table_lines, width_of_output

MOST_HOURS = 720
"""Maximum number of hours in a report (source: GetUsageRequest)."""
COUNTERS = {
    "calls": "calls",
    "valid_users": "users",
    "valid_adds": "adds",
    "valid_removes": "removes",
    "invalid_users": "unknown users",
    "invalid_segments": "unknown segments",
    "unauth_segments": "not allowed",
    "inactive_segments": "inactive",
    "other_errors": "failed calls",
}
"""Field of `UsageHour` → heading."""
TAKEN = ("valid_adds", "valid_removes")
REFUSED = ("invalid_users", "invalid_segments", "unauth_segments", "inactive_segments", "other_errors")
LINES = ("error_lines", "segment_lines")
FAILURES = {
    "SYNTAX": "the request could not be read (400)",
    "INVALID": "a privacy request was not valid (422)",
    "NOAUTH": "wrong password, revoked token or deactivated user (401)",
    "UNAUTH": "the user may not do this (403)",
    "NOT_FOUND": "no such path or object (404)",
    "METHOD": "the path does not take the method (405)",
    "TIMEOUT": "the request did not arrive in time (408)",
    "INTEGRITY": "the change does not fit what is there (409)",
    "LIMIT": "the request was too large (413)",
    "RATE_LIMIT": "too many calls or users in a second (429)",
    "UNAVAILABLE": "the service was busy or could not reach its data (503)",
    "INTERNAL": "something went wrong inside the service (500)",
}
"""`CallFailure` → description."""
SKIPS = {
    "TOO_MANY_USERS": "users past the most that a call may have",
    "USER_ID_REQUIRED": "users without an ID",
    "SEG_BLOCK_REQUIRED": "users without segments",
    "INVALID_DOMAIN": "users whose kind of ID (domain) is not known",
    "INVALID_USER_ID": "users whose ID does not have the form of its kind",
    "NO_VALID_SEGMENTS": "users without a valid segment",
    "SUPPRESSED_USER_ID": "users that are suppressed for privacy",
    "SEGMENT_REQUIRED": "segments without an ID, and without code and member",
    "SEGMENT_AMBIGUOUS": "segments with both an ID and a code",
    "INVALID_EXPIRATION": "segments whose expiration is below -1",
    "TOO_MANY_SEGMENTS": "users with more segments than a user may have",
}
"""`WarningCode` of a skipped part → description."""
STEPS = (1, 2, 3, 6, 12, 24, 48)
"""Possible numbers of hours per bar."""
MOST_BARS = 31
BAR_WIDTH = 32
LEAST_BAR_WIDTH = 4

_SECONDS = 3600


class _Moment(click.DateTime):
    """A time, as REST reads it. Click names times by the letters of `strftime`, in its help and its errors."""

    def __init__(self) -> None:
        super().__init__(["%Y-%m-%d %H:%M:%S", "%Y-%m-%d+%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"'{value}' is no time such as '2026-11-24 00:00:00' or 2026-11-24", param, ctx)


_moment_option = partial(click.option, type=_Moment(), metavar="TIME")


@click.command(short_help="Show what a member sent, hour by hour.")
@member_option
@_moment_option("--start", help="From this moment on (UTC), '2026-11-24 00:00:00' or 2026-11-24; hours are whole.")
@_moment_option("--end", help="Up to this moment (UTC). Without it: now.")
@click.option(
    "--hours",
    type=click.IntRange(1, MOST_HOURS),
    help="So many hours from --start on, else up to --end. Without it and --start: two weeks.",
)
@click.option("--lines", is_flag=True, help="With the sampled lines: what was refused and what was taken.")
@json_option("Print JSON, with the names of usage.proto.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, an hour a line, with the names of usage.proto.")
@with_client("admin")
def report(
    client: Client,
    member_id: int | None,
    start: datetime | None,
    end: datetime | None,
    hours: int | None,
    lines: bool,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Show what a member sent, hour by hour, as a table and a chart: what was taken and what was refused."""
    if as_csv and (as_json or lines):
        raise click.UsageError("--csv cannot be used together with --json or --lines")
    if None not in (start, end, hours):
        raise click.UsageError("--start, --end and --hours cannot be used together: give two of them")
    answer = client.usage(_request(member_id, start, end, hours))
    if lines:
        _add_lines(client, answer)
    if as_json:
        found = [_fields(hour, lines) | _reasons(hour) for hour in answer.hours]
        print_json({"hours": found, "total": _fields(answer.total, False) | _reasons(answer.total)})
    elif as_csv:
        writer = csv.DictWriter(sys.stdout, _fields(answer.total, False), lineterminator="\n")
        writer.writeheader()
        writer.writerows(_fields(hour, False) for hour in answer.hours)
    elif not answer.hours:
        click.echo(f"member {answer.total.member_id} sent nothing")
    else:
        show_lines(_lines(answer, width_of_output()))


def _request(
    member_id: int | None, start: datetime | None, end: datetime | None, hours: int | None
) -> pb.GetUsageRequest:
    """The request for these hours; at most two of `start`, `end` and `hours` are given."""
    request = pb.GetUsageRequest(member_id=member_id, without_lines=True)
    if start is not None and hours is not None:
        end, hours = start + min(timedelta(hours=hours), datetime.max - start), None
    for field, moment in (("start", start), ("end", end)):
        if moment is not None:
            getattr(request, field).FromDatetime(moment)
    if hours is not None:
        request.hours = hours
    return request


def _add_lines(client: Client, answer: pb.GetUsageResponse) -> None:
    """Request the sampled lines, one day at a time: those of two weeks would exceed the size of a response."""
    hours = {hour.hour.seconds: hour for hour in answer.hours}
    end = 0
    for start in hours:
        if start >= end:
            end = start + 24 * _SECONDS
            request = pb.GetUsageRequest(member_id=answer.total.member_id)
            request.start.seconds, request.end.seconds = start, end
            for found in client.usage(request).hours:
                if (hour := hours.get(found.hour.seconds)) is not None:
                    hour.error_lines.extend(found.error_lines)
                    hour.segment_lines.extend(found.segment_lines)


def _fields(hour: pb.UsageHour, lines: bool) -> dict[str, Any]:
    """An hour under the names of usage.proto. Counters stay numbers; protobuf JSON would make them strings."""
    return {
        "hour": _moment(hour).isoformat().replace("+00:00", "Z"),
        "member_id": hour.member_id,
        **{name: getattr(hour, name) for name in COUNTERS},
        "match_rate": hour.match_rate,
        **({name: list(getattr(hour, name)) for name in LINES} if lines else {}),
    }


def _reasons(hour: pb.UsageHour) -> dict[str, dict[str, int]]:
    """Counts of failed calls by failure, and of skipped parts by warning."""
    failed = {pb.CallFailure.Name(each.failure): each.calls for each in hour.failed_calls}
    skipped = {WarningCode.Name(each.code): each.parts for each in hour.skipped_parts}
    return {
        "failed_calls": {name.removeprefix("CALL_FAILURE_"): count for name, count in failed.items()},
        "skipped_parts": {name.removeprefix("WARNING_CODE_"): count for name, count in skipped.items()},
    }


def _reason_lines(total: pb.UsageHour) -> Iterator[str]:
    """The reasons in words, most frequent first."""
    found = _reasons(total)
    for title, name, words in (
        ("why calls failed", "failed_calls", FAILURES),
        ("what was skipped", "skipped_parts", SKIPS),
    ):
        reasons = sorted(found[name].items(), key=lambda each: -each[1])
        if reasons:
            width = len(f"{reasons[0][1]:,}")
            yield f"{title}:"
            for reason, count in reasons:
                yield f"  {count:>{width},}  {words.get(reason, reason)}"
            yield ""


def _lines(answer: pb.GetUsageResponse, width: int | None) -> Iterator[str]:
    """The report: a table with a total, the reasons of refusals, a chart, and the sampled lines."""
    rows = [(f"{_moment(hour):%Y-%m-%d %H:%M}", *_cells(hour)) for hour in answer.hours]
    headings = ("hour (UTC)", *COUNTERS.values(), "match rate")
    yield from table_lines(f"member {answer.total.member_id}", headings, rows, ("total", *_cells(answer.total)), width)
    yield from _reason_lines(answer.total)
    yield from _chart(answer.hours, width)
    for name, title in zip(LINES, ("refused", "taken"), strict=True):
        lines = [line for hour in answer.hours for line in getattr(hour, name)]
        if lines:
            yield f"\n{title}, a sample of each hour:"
            yield from lines


def _cells(hour: pb.UsageHour) -> list[str]:
    return [*(f"{getattr(hour, name):,}" for name in COUNTERS), f"{hour.match_rate:.1f}"]


def _chart(hours: Sequence[pb.UsageHour], width: int | None) -> Iterator[str]:
    """A bar chart of what was accepted and what was refused, each on its own scale.

    A bar covers as many hours as needed for the chart to fit on a screen.
    """
    first, last = (hour.hour.seconds // _SECONDS for hour in (hours[0], hours[-1]))
    step = next((step for step in STEPS if (last - first) // step < MOST_BARS), STEPS[-1])
    first -= first % step
    bars = [(0, 0)] * ((last - first) // step + 1)
    for hour in hours:
        place = (hour.hour.seconds // _SECONDS - first) // step
        taken, refused = bars[place]
        bars[place] = taken + _sum(hour, TAKEN), refused + _sum(hour, REFUSED)
    most = [max(column) for column in zip(*bars, strict=True)]
    digits = [max(len(f"{count:,}"), len(heading)) for count, heading in zip(most, ("taken", "refused"), strict=True)]
    room = BAR_WIDTH if width is None else (width - len("2026-01-01 00:00") - sum(digits) - 8) // 2
    bar_width = max(LEAST_BAR_WIDTH, min(BAR_WIDTH, room))
    yield f"by {step} h"
    yield f"{'from (UTC)':<16}  {'taken':>{digits[0]}}  {'':<{bar_width}}  {'refused':>{digits[1]}}"
    for place, counts in enumerate(bars):
        began = datetime.fromtimestamp((first + place * step) * _SECONDS, UTC)
        line = f"{began:%Y-%m-%d %H:%M}"
        for count, highest, digit, colour in zip(counts, most, digits, ("green", "red"), strict=True):
            bar = "█" * -(-count * bar_width // max(1, highest))
            line += f"  {count:>{digit},}  {click.style(f'{bar:<{bar_width}}', fg=colour)}"
        yield line


def _sum(hour: pb.UsageHour, names: Iterable[str]) -> int:
    return sum(getattr(hour, name) for name in names)


def _moment(hour: pb.UsageHour) -> datetime:
    return datetime.fromtimestamp(hour.hour.seconds, UTC)
