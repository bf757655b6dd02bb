"""Lines of a file, row by row (contract-neighbours, "Batch Segment Service", the table of "Text")."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.batch.counters import Count, Counters
from instantaudience_server.catalog import records as catalog_records
from instantaudience_server.store.interfaces.catalog import Kind, Record
from support.contract.model import State
from support.parts.files import EXTERNAL, UPLOADED_MS, UPLOADED_S, UUID, Job, NotedStore, batch_catalog, end

USER = "7652266028043224430"
SHA1, MD5 = "0123456789abcdef0123456789abcdef01234567", "0123456789abcdef0123456789ABCDEF"
NEVER = 0
FIELDS = {field.removeprefix("BATCH_FIELD_"): number for field, number in pb.BatchField.items()}


def user(**memberships: int) -> State:
    """The user in segments (`s5848`), until the ends given, with the value 0."""
    return {("", USER): {int(name[1:]): (0, value) for name, value in memberships.items()}}


def fields(*names: str) -> dict[str, Any]:
    return {"fields": [FIELDS[name] for name in names]}


TABS = {"user_separator": "\t", "segment_separator": "", "field_separator": "\t"}
OWN = {
    "user_separator": ",",
    "segment_separator": ";",
    "field_separator": ":",
    "removal_separator": "\t",
    "domain_separator": "^",
}

LASTING = [
    # the member's default and longest, the segment's, what the line says → minutes; 0: never
    (0, 0, None, "", 0),
    (30, 0, None, "", 30),
    (30, 0, 7, "", 7),
    (30, 0, 0, "", 0),
    (30, 0, 7, "9", 9),
    (30, 0, 7, "0", 0),
    (0, 100, None, "", 100),
    (300, 100, None, "", 100),
    (30, 100, 200, "", 100),
    (30, 100, 7, "0", 100),
    (30, 100, 7, "101", 100),
    (30, 100, 7, "99", 99),
]


async def test_how_long_a_membership_lasts(subtests: pytest.Subtests) -> None:
    for default, longest, of_segment, said, minutes in LASTING:
        with subtests.test(default=default, longest=longest, of_segment=of_segment, said=said, minutes=minutes):
            catalog = batch_catalog({"default_expiration": default, "longest_expiration_minutes": longest})
            segment = pb.Segment(id=5848, member_id=1, expire_minutes=of_segment)
            catalog.put([Record(Kind.SEGMENT, catalog_records.encode(segment))])
            job = Job(catalog)
            await job.run(f"{USER};5848:{said}".encode())
            assert job.store.state == user(s5848=end(minutes) if minutes else NEVER)


READABLE: list[tuple[str, dict[str, Any], str, State, dict[str, int]]] = [
    (
        "the first example",
        {},
        f"{USER};5848:0,5849:1440,5850:1440",
        user(s5848=NEVER, s5849=end(1440), s5850=end(1440)),
        {"num_valid": 3},
    ),
    (
        "the second example",
        OWN,
        f"{UUID},5848:1440;5849:-1^3",
        {("idfa", UUID.lower()): {5848: (0, end(1440))}},
        {"num_valid": 2},
    ),
    (
        "the third example",
        TABS | fields("TIMESTAMP", "SEG_ID", "VALUE", "EXPIRATION"),
        f"{USER}\t{UPLOADED_S - 60}\t5848\t7\t1440",
        {("", USER): {5848: (7, (UPLOADED_S - 60 + 86400) * 1000)}},
        {"num_valid": 1},
    ),
    ("removals after s4", {}, f"{USER};5848:0\t5849:0,5850:5", user(s5848=NEVER), {"num_valid": 3}),
    ("the last word counts", {}, f"{USER};5848:5,5848:0", user(s5848=NEVER), {"num_valid": 1}),
    ("a removal after an addition", {}, f"{USER};5848:5,5849:5\t5848:5", user(s5849=end(5)), {"num_valid": 2}),
    ("an absent expiration", {}, f"{USER};5848:,5849:5", user(s5848=end(30), s5849=end(5)), {"num_valid": 2}),
    ("no field for it", fields("SEG_ID"), f"{USER};5848,5849", user(s5848=end(30), s5849=end(30)), {"num_valid": 2}),
    ("longer than can be stored", {}, f"{USER};5848:525600001", user(s5848=NEVER), {"num_valid": 1}),
    ("as long as can be", {}, f"{USER};5848:525600000", user(s5848=end(525_600_000)), {"num_valid": 1}),
    (
        "codes of one's own and of others",
        fields("SEG_CODE", "MEMBER_ID", "EXPIRATION"),
        f"{USER};cars::0,cars:2:0,boats:1:0",
        user(s5848=NEVER, s6000=NEVER, s5849=NEVER),
        {"num_valid": 3},
    ),
    ("a code without a member", fields("SEG_CODE"), f"{USER};cars", user(s5848=end(30)), {"num_valid": 1}),
    (
        "values",
        fields("SEG_ID", "VALUE"),
        f"{USER};5848:-2147483648,5849:",
        {("", USER): {5848: (-(2**31), end(30)), 5849: (0, end(30))}},
        {"num_valid": 2},
    ),
    ("the largest ID", {}, "18446744073709551615;5848:0", {("", str(2**64 - 1)): {5848: (0, 0)}}, {"num_valid": 1}),
    *(
        (f"domain {number}", {}, f"{user_id};5848:0^{number}", {(name, user_id.lower()): {5848: (0, 0)}}, {})
        for number, name, user_id in [
            (3, "idfa", UUID),
            (4, "sha1udid", SHA1),
            (5, "md5udid", MD5),
            (7, "openudid", SHA1.upper()),
            (8, "aaid", UUID),
        ]
    ),
    *(
        (f"user {user_id!r}", {}, f"{user_id};5848:0{domain}", {}, {"num_invalid_user": 1, "num_valid_user": 0})
        for user_id, domain in [
            ("", ""),
            ("0", ""),
            ("007", ""),
            ("18446744073709551616", ""),
            ("abc", ""),
            (USER, "^3"),
            (UUID, ""),
            (SHA1, "^6"),
            (USER, "^"),
            (UUID, "^1"),
            (UUID, "^3^3"),
            (UUID, "^idfa"),
        ]
    ),
    ("no such segment", {}, f"{USER};1:0,5848:0,1:5", user(s5848=0), {"num_invalid_segment": 1, "num_valid": 1}),
    ("segment 0", {}, f"{USER};0:0", {}, {"num_invalid_segment": 1, "num_valid_user": 1}),
    ("another's", {}, f"{USER};7000:0,5848:0", user(s5848=0), {"num_unauth_segment": 1, "num_valid": 1}),
    ("inactive", {}, f"{USER};5851:0,5848:0", user(s5848=0), {"num_inactive_segment": 1, "num_valid": 1}),
    (
        "unknown codes",
        fields("SEG_CODE", "MEMBER_ID"),
        f"{USER};none:,none:1,none:2,CARS:,old:,secret:9",
        {},
        {"num_invalid_segment": 3, "num_inactive_segment": 1, "num_unauth_segment": 1, "num_valid_user": 1},
    ),
    (
        "an end that is past",
        fields("SEG_ID", "EXPIRATION", "TIMESTAMP"),
        f"{USER};5848:10:{UPLOADED_S - 600},5849:10:{UPLOADED_S - 599},5850:0:1,5848:1:5",
        user(s5849=(UPLOADED_S + 1) * 1000, s5850=NEVER),
        {"num_past_expiration": 1, "num_valid": 2},
    ),
    (
        "five minutes ahead",
        fields("SEG_ID", "EXPIRATION", "TIMESTAMP"),
        f"{USER};5848:10:{UPLOADED_S + 300},5849:1:0,5850:1:",
        user(s5848=(UPLOADED_S + 900) * 1000, s5849=end(1), s5850=end(1)),
        {"num_valid": 3},
    ),
    *(
        (
            f"TIMESTAMP {timestamp}",
            fields("SEG_ID", "EXPIRATION", "TIMESTAMP"),
            f"{USER};5848:10:{timestamp},1:1:",
            {},
            {"num_invalid_timestamp": 1, "num_valid_user": 0},
        )
        for timestamp in (UPLOADED_S + 301, UPLOADED_MS, -1, 10**20 - 1)
    ),
    *(
        (
            f"{reason} ({rest!r})",
            {},
            f"{USER};{rest}",
            {},
            {"num_invalid_format": 1, "num_valid_user": 0},
        )
        for rest, reason in [
            ("", "there is no segment"),
            ("5848", "a segment has 1 fields instead of 2"),
            ("5848:0:0", "a segment has 3 fields instead of 2"),
            ("5848:0,", "a segment has 1 fields instead of 2"),
            (",5848:0", "a segment has 1 fields instead of 2"),
            ("\t5848:0", "a segment has 1 fields instead of 2"),
            ("5848:0\t", "a segment has 1 fields instead of 2"),
            ("5848:0\t5849:0\t5850:0", "there is more than one separator of removals"),
            ("5848:-2", "EXPIRATION is less than -1"),
            ("5848:2147483648", "EXPIRATION is out of range"),
            ("5848:1.5", "EXPIRATION is no number"),
            ("5848:+1", "EXPIRATION is no number"),
            ("5848: 1", "EXPIRATION is no number"),
            ("5848:1_0", "EXPIRATION is no number"),
            ("5848:\u0661", "EXPIRATION is no number"),
            (f"5848:{'1' * 5000}", "EXPIRATION is no number"),
            (":0", "SEG_ID is no ID"),
            ("-1:0", "SEG_ID is no ID"),
            ("2147483648:0", "SEG_ID is out of range"),
            ("cars:0", "SEG_ID is no number"),
            (",".join(["5848:0"] * 1801), "there are more than 1800 segments"),
            (",".join(["5848:0"] * 1800) + "\t5849:0", "there are more than 1800 segments"),
        ]
    ),
    (
        "a segment has 2 fields instead of 1 (a code)",
        fields("SEG_CODE"),
        f"{USER};cars:0",
        {},
        {"num_invalid_format": 1, "num_valid_user": 0},
    ),
    ("1,800 segments", {}, f"{USER};{','.join(['5848:0'] * 1800)}", user(s5848=NEVER), {"num_valid": 1}),
    ("a line without separators", {}, "rubbish", {}, {"num_invalid_format": 1}),
]


async def test_a_line(subtests: pytest.Subtests) -> None:
    for settings, line, state, counts in [row[1:] for row in READABLE]:
        with subtests.test(settings=settings, line=line, state=state, counts=counts):
            job = Job(batch_catalog({"default_expiration": 30}, batch=settings))
            counters = await job.run(line.encode())
            assert job.store.state == state
            valid = {"num_valid": 1 if state else 0, "num_valid_user": 1 if state else 0}
            assert counters.values() == dict.fromkeys(map(str, Count), 0) | valid | counts
            assert counters.num_lines == 1


async def test_an_unreadable_line_is_logged_with_its_reason(subtests: pytest.Subtests) -> None:
    for name, settings, line in [row[:3] for row in READABLE if "format" in str(row[4])]:
        with subtests.test(name=name, settings=settings, line=line):
            counters = await Job(batch_catalog(batch=settings)).run(line.encode())
            reason = name.partition(" (")[0] if " (" in name else "there is no segment"
            assert counters.error_log_lines == f"num_invalid_format-{line[:1000]} {reason}"


async def test_each_counter_of_a_line_is_logged_once() -> None:
    line = f"{USER};1:0,5851:0,2:0,7000:0,5848:0"
    counters = await Job(batch_catalog()).run(f"{line}\n{line}".encode())
    assert counters.error_log_lines.split("\n") == 2 * [
        f"num_invalid_segment-{line}",
        f"num_inactive_segment-{line}",
        f"num_unauth_segment-{line}",
    ]
    assert counters.values()["num_invalid_segment"] == 2
    assert counters.segment_log_lines == "added:\n5848:2\nremoved:"


async def test_external_ids_are_looked_up() -> None:
    store = NotedStore({(EXTERNAL, "ann"): USER, (EXTERNAL, "bob@é"): "5"})
    content = f"Ann;8000:0\nbob@é;8000:0\nnobody;8000:0,1:0\n{UUID};8000:0^3\nann;8000:-1\n".encode()
    job = Job(batch_catalog(), store, member_id=EXTERNAL)
    counters = await job.run(content)
    assert store.state == {("", "5"): {8000: (0, 0)}, ("idfa", UUID.lower()): {8000: (0, 0)}}
    assert counters.values() == dict.fromkeys(map(str, Count), 0) | {
        "num_valid": 4,
        "num_valid_user": 4,
        "num_invalid_user": 1,
    }
    assert counters.error_log_lines == "num_invalid_user-nobody;8000:0,1:0"


async def test_latin_1_is_read_where_it_is_no_utf_8() -> None:
    settings = {"user_separator": "§"} | fields("SEG_CODE")
    catalog = batch_catalog(batch=settings)
    content = f"{USER}§cars\n".encode() + f"{USER}§bo\xe4ts,boats\n".encode("latin-1")
    job = Job(catalog)
    counters = await job.run(content)
    assert job.store.state == user(s5848=NEVER, s5849=NEVER)
    assert counters.error_log_lines == f"num_invalid_segment-{USER}§boäts,boats"


async def test_lines_end_with_or_without_carriage_returns_and_empty_ones_do_not_count() -> None:
    content = f"\ufeff{USER};5848:0\r\n\r\n\n{USER};5849:0\n{USER};5850:0\r\n\n".encode()
    job = Job(batch_catalog())
    counters = await job.run(content)
    assert job.store.state == user(s5848=NEVER, s5849=NEVER, s5850=NEVER)
    assert (counters.num_lines, counters.num_bytes) == (3, len(content))


async def test_the_cluster_may_refuse_a_user() -> None:
    store = NotedStore()
    store.refuses = {b"m:p:5"}
    content = b"5;5848:0,1:0\n6;5848:0\n5;5849:-1\n7;2:0\n"
    counters = await Job(batch_catalog(), store).run(content)
    assert store.state == {("", "6"): {5848: (0, 0)}}
    assert counters.values() == dict.fromkeys(map(str, Count), 0) | {
        "num_valid": 1,
        "num_valid_user": 2,
        "num_invalid_segment": 1,
        "num_other_error": 2,
    }
    assert counters.error_log_lines.split("\n") == [
        "num_other_error-5;5848:0,1:0",
        "num_other_error-5;5849:-1",
        "num_invalid_segment-7;2:0",
    ]


@given(
    st.binary(max_size=3000) | st.text("5:;,^\t0-8\n\r5848é", max_size=300).map(str.encode),
    st.sampled_from([{}, OWN, TABS, {"user_separator": "é", "segment_separator": "§"}, fields("SEG_CODE", "VALUE")]),
)
def test_rubbish_counts_line_by_line(content: bytes, settings: dict[str, Any]) -> None:
    counters = asyncio.run(_counted(content, settings))
    of_lines = ("num_valid_user", "num_invalid_user", "num_invalid_format", "num_invalid_timestamp", "num_other_error")
    assert sum(counters.values()[name] for name in of_lines) == counters.num_lines


async def _counted(content: bytes, settings: dict[str, Any]) -> Counters:
    if content.startswith((b"\x1f\x8b", b"Obj\x01")):
        return Counters(0)
    return await Job(batch_catalog(batch=settings)).run(content)
