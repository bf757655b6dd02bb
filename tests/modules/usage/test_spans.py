"""Which hours a report covers (contract, "GET /rt-segment-processed")."""

from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.usage.spans import cover, read_moment, read_timestamp, write_hour


def ms(text: str) -> int:
    """A moment, `2026-11-24 10:30:00`, as Unix time in ms."""
    return int(datetime.fromisoformat(f"{text}+00:00").timestamp()) * 1000


def hour(text: str) -> int:
    """An hour, `2026-11-24 10`, as hours since 1970."""
    return ms(f"{text}:00:00") // 3_600_000


NOW = "2026-11-24 10:30:00"
COVERED: dict[str, tuple[str | None, str | None, str, str, str]] = {
    "nothing said: two weeks, the hour under way included": (
        *(None, None),
        *("2026-11-10 11", "2026-11-24 10", "2026-11-24 10"),
    ),
    "whole hours, end excluded": (
        *("2026-11-20 03:00:00", "2026-11-20 05:00:00"),
        *("2026-11-20 03", "2026-11-20 04", "2026-11-20 04"),
    ),
    "hours in part are whole": (
        *("2026-11-20 03:59:59", "2026-11-20 05:00:01"),
        *("2026-11-20 03", "2026-11-20 05", "2026-11-20 05"),
    ),
    "within an hour": (
        *("2026-11-20 03:10:00", "2026-11-20 03:10:01"),
        *("2026-11-20 03", "2026-11-20 03", "2026-11-20 03"),
    ),
    "a beginning alone": ("2026-11-23 00:00:00", None, "2026-11-23 00", "2026-11-24 10", "2026-11-24 10"),
    "an end alone: two weeks before it": (
        *(None, "2026-11-20 05:00:00"),
        *("2026-11-06 05", "2026-11-20 04", "2026-11-20 04"),
    ),
    "an end to come: there is nothing after now": (
        *("2026-11-23 00:00:00", "2026-11-26 00:00:00"),
        *("2026-11-23 00", "2026-11-24 10", "2026-11-25 23"),
    ),
    "older than what is kept": (
        *("2020-01-01 00:00:00", "2026-11-01 00:00:00"),
        *("2026-10-25 10", "2026-10-31 23", "2026-10-31 23"),
    ),
}


def test_what_is_covered(subtests: pytest.Subtests) -> None:
    for start, end, first, newest, last in COVERED.values():
        with subtests.test(start=start, end=end, first=first, newest=newest, last=last):
            span = cover(start and ms(start), end and ms(end), ms(NOW))
            assert (span.hours[0], span.hours[-1], span.last) == (hour(first), hour(newest), hour(last))
            assert list(span.hours) == list(range(hour(first), hour(newest) + 1))


def test_nothing_is_left_of_it(subtests: pytest.Subtests) -> None:
    """All of it is too old, or still to come; the last hour covered has a name all the same."""
    for start, end in [
        ("2020-01-01 00:00:00", "2020-02-01 00:00:00"),
        (None, "2020-02-01 00:00:00"),
        (None, "0001-01-01 00:00:00"),
        ("2027-01-01 00:00:00", "9999-12-31 23:59:59"),
    ]:
        with subtests.test(start=start, end=end):
            span = cover(start and ms(start), ms(end), ms(NOW))
            assert not span.hours
            assert write_hour(span.last) == (
                f"{end[:13]}:00:00" if end > "9999" else write_hour(max(0, ms(end) // 3_600_000 - 1))
            )


def test_two_weeks_are_336_hours() -> None:
    assert len(cover(None, None, ms(NOW)).hours) == 336
    assert len(cover(None, None, ms("2026-11-24 10:00:00")).hours) == 336


def test_the_hour_of_a_clock_that_is_ahead() -> None:
    """In the last minute of an hour, a worker's clock may be in the next one; that is no more covered by an end."""
    late = ms("2026-11-24 10:59:30")
    span = cover(None, None, late)
    assert (span.hours[0], span.hours[-1], span.last) == (
        hour("2026-11-10 11"),
        hour("2026-11-24 11"),
        hour("2026-11-24 10"),
    )
    assert cover(None, ms("2026-11-24 11:00:00"), late).hours[-1] == hour("2026-11-24 10")


def test_a_beginning_by_a_callers_clock_that_is_ahead() -> None:
    """Who asks for the hour that has begun there is not refused; until a worker counts for it, it is empty."""
    for now, start in ((NOW, NOW), (NOW, "2026-11-24 10:30:59"), ("2026-11-24 09:59:30", "2026-11-24 10:00:00")):
        span = cover(ms(start), None, ms(now))
        assert (list(span.hours), span.last) == ([hour("2026-11-24 10")], hour("2026-11-24 10"))


def test_so_many_hours() -> None:
    assert list(cover(None, None, ms(NOW), hours=1).hours) == [hour("2026-11-24 10")]
    assert len(cover(None, None, ms(NOW), hours=720).hours) == 720


def test_the_beginning_must_be_before_the_end(subtests: pytest.Subtests) -> None:
    for start, end in [
        ("2026-11-20 05:00:00", "2026-11-20 05:00:00"),
        ("2026-11-20 05:00:01", "2026-11-20 05:00:00"),
        ("2026-11-24 10:31:00", None),
        ("2027-01-01 00:00:00", None),
    ]:
        with subtests.test(start=start, end=end):
            with pytest.raises(AudienceError) as caught:
                cover(ms(start), end and ms(end), ms(NOW))
            assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.SYNTAX, "start")
            assert "'start'" in caught.value.message
            assert "'end'" in caught.value.message


def test_moments(subtests: pytest.Subtests) -> None:
    for text, moment in [
        ("", None),
        ("2014-05-22+00:00:00", "2014-05-22 00:00:00"),
        ("2014-05-22 23:59:59", "2014-05-22 23:59:59"),
        ("2024-02-29+12:00:00", "2024-02-29 12:00:00"),
        ("1969-12-31 23:00:00", "1969-12-31 23:00:00"),
    ]:
        with subtests.test(text=text, moment=moment):
            assert read_moment(text, "start") == (moment and ms(moment))


def test_what_is_no_moment(subtests: pytest.Subtests) -> None:
    for text in [
        *("x", "2014-05-22", "2014-05-22T00:00:00", "2014-05-22  00:00:00", "2014-05-22+00:00", "2014-5-22+00:00:00"),
        *("2014-05-22+24:00:00", "2014-05-22+00:60:00", "2014-02-29+00:00:00", "2014-13-01+00:00:00"),
        *("0000-01-01+00:00:00", "2014-05-22+00:00:00Z", "2014-05-22+00:00:00.5", " 2014-05-22+00:00:00", "1400000000"),
        *("2014-05-22+00:00:00\n", "٢٠١٤-05-22+00:00:00", "2014-05-22++0:00:00"),
    ]:
        with subtests.test(text=text):
            with pytest.raises(AudienceError) as caught:
                read_moment(text, "end")
            assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.SYNTAX, "end")
            assert caught.value.message.startswith("'end' ")


def test_timestamps() -> None:
    assert read_timestamp(Timestamp(seconds=5, nanos=7_999_999), "start") == 5007
    for wrong in (
        Timestamp(seconds=2**62),
        Timestamp(seconds=-(2**62)),
        Timestamp(nanos=-1),
        Timestamp(nanos=1_000_000_000),
    ):
        with pytest.raises(AudienceError) as caught:
            read_timestamp(wrong, "start")
        assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.SYNTAX, "start")


def test_hours_have_the_contract_s_form() -> None:
    assert write_hour(hour("2014-05-22 00")) == "2014-05-22 00:00:00"
    assert datetime.fromtimestamp(3600 * hour("2014-05-22 00"), UTC).hour == 0
