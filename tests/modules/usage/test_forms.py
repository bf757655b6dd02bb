"""How usage looks to callers (contract, "GET /rt-segment-processed"; usage.proto)."""

import gzip
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from google.api import httpbody_pb2
from hypothesis import given
from hypothesis import strategies as st
from instantaudience.v1 import usage_pb2 as pb
from instantaudience.v1.audience_pb2 import WarningCode
from instantaudience_server.store.interfaces.usage import CallFailure, HourUsage, Lines, Reason, Skip, Tally
from instantaudience_server.usage.forms import (
    COUNTS,
    GZIP,
    JSON,
    TYPED,
    EncodedAnswer,
    Form,
    Piece,
    gzip_report,
    hours_report,
    match_rate,
    sum_report,
    usage_answer,
)
from support.parts.reports import TALLY

MEMBER = 123
HOUR = 389_184  # 2014-05-26 00:00:00
KEYS = [
    *("processed_hour", "member_id", "num_valid_users", "num_valid_adds", "num_valid_removes", "num_invalid_users"),
    *("num_invalid_segments", "num_unauth_segments", "num_inactive_segments", "num_other_errors", "match_rate"),
    *("error_log_lines", "segment_log_lines"),
]
"""In the contract's order."""
LINES = Lines(['Inactive users: "é"', "b\\"], ["Valid users: 5"])

tallies = st.builds(Tally, *[st.integers(0, 2**60)] * len(Tally._fields))
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), min_size=1)
reasons = st.dictionaries(st.sampled_from([*CallFailure, *Skip]), st.integers(1, 2**60), max_size=5)
usages = st.builds(HourUsage, tallies, st.builds(Lines, st.lists(texts), st.lists(texts)), reasons)


def data(answer: EncodedAnswer, content_type: str = "application/json") -> bytes:
    """The body of a REST answer."""
    body = httpbody_pb2.HttpBody.FromString(answer.SerializeToString(deterministic=True))
    assert body.content_type == content_type
    return body.data


def http_body(answer: EncodedAnswer) -> Any:
    """The JSON of a REST answer."""
    return json.loads(data(answer))


def report(*hours: HourUsage) -> Any:
    pieces = [JSON.piece(MEMBER, HOUR + index, usage) for index, usage in enumerate(hours)]
    return http_body(hours_report(pieces))


def test_an_hour_as_json() -> None:
    document = report(HourUsage(TALLY, LINES))
    (hour,) = document["response"]["report"]
    assert document == {"response": {"status": "OK", "report": [hour]}}
    assert list(hour.items()) == list(
        zip(
            KEYS,
            ["2014-05-26 00:00:00", MEMBER, 1, 2, 3, 4, 5, 6, 7, 8, 20.0, 'Inactive users: "é"\nb\\', "Valid users: 5"],
            strict=True,
        )
    )


def test_no_hours_as_json() -> None:
    assert report() == {"response": {"status": "OK", "report": []}}


def test_without_lines_the_fields_are_empty() -> None:
    (hour,) = report(HourUsage(TALLY, Lines()))["response"]["report"]
    assert (hour["error_log_lines"], hour["segment_log_lines"]) == ("", "")


def test_the_sum_as_json() -> None:
    pieces = [COUNTS.piece(MEMBER, hour, HourUsage(TALLY, LINES)) for hour in (HOUR - 2, HOUR - 1)]
    hour = http_body(sum_report(MEMBER, HOUR, pieces))["response"]["report"]
    assert list(hour) == KEYS
    assert list(hour.values()) == ["2014-05-26 00:00:00", MEMBER, 2, 4, 6, 8, 10, 12, 14, 16, 20.0, None, None]


def test_the_sum_of_nothing() -> None:
    hour = http_body(sum_report(MEMBER, HOUR, []))["response"]["report"]
    assert list(hour.values()) == ["2014-05-26 00:00:00", MEMBER, *[0] * 8, 100.0, None, None]


def test_the_sum_s_hour_is_that_of_a_worker_ahead_of_us() -> None:
    pieces = [COUNTS.piece(MEMBER, HOUR + 1, HourUsage(TALLY, LINES))]
    assert http_body(sum_report(MEMBER, HOUR, pieces))["response"]["report"]["processed_hour"] == "2014-05-26 01:00:00"


def test_the_match_rate_has_one_decimal(subtests: pytest.Subtests) -> None:
    for valid, invalid, printed in [
        (0, 0, b"100.0"),
        (5, 0, b"100.0"),
        (0, 5, b"0.0"),
        (1, 1, b"50.0"),
        (2, 1, b"66.7"),
        (1, 2, b"33.3"),
        (999, 1, b"99.9"),
        (10_000, 1, b"100.0"),
        (10**18, 3 * 10**18, b"25.0"),
    ]:
        with subtests.test(valid=valid, invalid=invalid, printed=printed):
            tally = Tally(valid_users=valid, invalid_users=invalid)
            assert match_rate(tally) == float(printed)
            encoded = JSON.piece(MEMBER, HOUR, HourUsage(tally, Lines())).encoded
            assert b'"match_rate":%b,' % printed in encoded


@given(st.lists(usages, max_size=4))
def test_what_is_encoded_in_pieces_is_what_messages_encode(hours: list[HourUsage]) -> None:
    """Typed, without lines, as JSON."""
    typed = [TYPED.piece(MEMBER, HOUR + index, usage) for index, usage in enumerate(hours)]
    counts = [COUNTS.piece(MEMBER, HOUR + index, usage) for index, usage in enumerate(hours)]
    plain = [JSON.piece(MEMBER, HOUR + index, usage) for index, usage in enumerate(hours)]
    document = http_body(hours_report(plain))
    for pieces, with_lines in ((typed, True), (counts, False)):
        answer = pb.GetUsageResponse.FromString(usage_answer(MEMBER, HOUR + 9, pieces).SerializeToString())
        assert answer.total.hour.seconds == 3600 * (HOUR + 9)
        assert len(answer.hours) == len(hours) == len(document["response"]["report"])
        for index, (hour, usage) in enumerate(zip(answer.hours, hours, strict=True)):
            assert (hour.hour.seconds, hour.member_id) == (3600 * (HOUR + index), MEMBER)
            assert [getattr(hour, name) for name in Tally._fields] == list(usage.tally)
            assert hour.match_rate == document["response"]["report"][index]["match_rate"]
            lines = (list(hour.error_lines), list(hour.segment_lines))
            assert lines == (tuple(map(list, usage.lines)) if with_lines else ([], []))
            assert reasons_of(hour) == usage.reasons
        assert reasons_of(answer.total) == sum((Counter(usage.reasons) for usage in hours), Counter())
    for index, usage in enumerate(hours):
        hour_json = document["response"]["report"][index]
        assert [hour_json[key] for key in KEYS[2:10]] == list(usage.tally[1:])
        assert (hour_json["error_log_lines"], hour_json["segment_log_lines"]) == tuple(map("\n".join, usage.lines))


def reasons_of(hour: pb.UsageHour) -> dict[Reason, int]:
    failed = {CallFailure[pb.CallFailure.Name(each.failure)[13:]]: each.calls for each in hour.failed_calls}
    return failed | {Skip[WarningCode.Name(each.code)[13:]]: each.parts for each in hour.skipped_parts}


def encoded(form: Form, pieces: Sequence[Piece]) -> bytes:
    """A report of pieces of a form."""
    if form is JSON:
        return data(hours_report(pieces))
    if form is GZIP:
        return gzip.decompress(data(gzip_report(pieces), "application/gzip"))
    return usage_answer(MEMBER, HOUR + 9, pieces).SerializeToString()


@pytest.mark.parametrize("form", [JSON, GZIP, TYPED, COUNTS], ids=["json", "gzip", "typed", "counts"])
@given(hours=st.lists(usages, max_size=4), cut=st.integers(0, 4))
def test_joined_pieces_are_those_pieces(form: Form, hours: list[HourUsage], cut: int) -> None:
    pieces = [form.piece(MEMBER, HOUR + index, usage) for index, usage in enumerate(hours)]
    halves = [form.joined(pieces[:cut]), form.joined(pieces[cut:])]
    assert encoded(form, [half for half in halves if half is not None]) == encoded(form, pieces)


@given(st.lists(usages, max_size=4))
def test_what_is_compressed_is_the_json(hours: list[HourUsage]) -> None:
    plain, packed = ([form.piece(MEMBER, HOUR + i, hour) for i, hour in enumerate(hours)] for form in (JSON, GZIP))
    assert encoded(GZIP, packed) == encoded(JSON, plain)
