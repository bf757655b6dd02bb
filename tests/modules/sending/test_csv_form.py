"""Rows of CSV, and the users that they are."""

import gzip
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience.v1.audience_pb2 import RtSegment
from instantaudience_server.sending import csv_rows
from instantaudience_server.sending.content import Content
from instantaudience_server.sending.csv_form import ColumnsError, CsvForm
from instantaudience_server.sending.csv_rows import MOST_LINES
from instantaudience_server.sending.records import BATCH_BYTES, Batch, Place, Record


def batches(path: Path, content: bytes, form: CsvForm, start: Place | None = None) -> list[Batch]:
    path.write_bytes(content)
    with Content(path) as opened:
        return list(form.batches(opened, start or Place()))


def told(batches: list[Batch]) -> list[tuple[Any, ...]]:
    """The records for comparison: users as they are sent, with the memberships that say something; or problems."""
    found = []
    for batch in batches:
        users, records = iter(batch.request.rt_segment), batch.read()
        found += [_told(record, None if record.problem else next(users)) for record in records]
        assert (batch.users, next(users, None)) == (len(batch.request.rt_segment), None)
        assert batch.is_readable == (batch.users == len(records))
        assert batch.memberships == sum(record.memberships for record in records if not record.problem)
        assert batch.end == records[-1].end
    return found


def _told(record: Record, user: RtSegment | None) -> tuple[Any, ...]:
    lines = [line for line, _ in record.rows]
    if user is None:
        return (*lines, record.problem)
    blocks = [{field.name: value for field, value in block.ListFields()} for block in user.seg_block]
    return (*lines, user.user_id, user.domain, *blocks)


HEADED = b"user_id,domain,seg_id,seg_code,member_id,value,expiration\n"
CASES = {
    "rows of a user that follow are one": (
        HEADED + b"1,,5,,,,\n1,,6,,,0,-1\n2,idfa,,code,7,,\n1,,5,,,3,\n",
        CsvForm(),
        [
            (2, 3, "1", "", {"seg_id": 5}, {"seg_id": 6, "value": 0, "expiration": -1}),
            (4, "2", "idfa", {"seg_code": "code", "member_id": 7}),
            (5, "1", "", {"seg_id": 5, "value": 3}),
        ],
    ),
    "the file's own names, and columns that do not count": (
        b"note;segment;uid\nx;5;1\n",
        CsvForm(";", columns=(("user_id", "uid"), ("seg_id", "segment"))),
        [(2, "1", "", {"seg_id": 5})],
    ),
    "no heading": (b"1\tx\t5\n", CsvForm("\t", order=("user_id", "", "seg_id")), [(1, "1", "", {"seg_id": 5})]),
    "a mark, empty lines, spaces, a line's other end, no end": (
        b"\xef\xbb\xbfuser_id, seg_id\r\n\r\n1, 5\r\n\n2,6",
        CsvForm(),
        [(3, "1", "", {"seg_id": 5}), (5, "2", "", {"seg_id": 6})],
    ),
    "empty lines before the heading": (
        b"\n\r\nuser_id,seg_id\n1,5\n",
        CsvForm(),
        [(4, "1", "", {"seg_id": 5})],
    ),
    "a cell of two lines": (
        b'user_id,seg_code\n1,"a\nb"\n2,"c,d"\n',
        CsvForm(),
        [(2, "1", "", {"seg_code": "a\nb"}), (4, "2", "", {"seg_code": "c,d"})],
    ),
    "rows that say nothing": (
        b"user_id,seg_id\n1,5\n1,x\n1\n1,99999999999\n\xff,5\n1,5\n",
        CsvForm(),
        [
            (2, "1", "", {"seg_id": 5}),
            (3, "seg_id is no whole number: x"),
            (4, "there are 1 cells where 2 are expected"),
            (5, "a number is too large: Value out of range: 99999999999"),
            (6, "the user ID or its domain is no UTF-8"),
            (7, "1", "", {"seg_id": 5}),
        ],
    ),
    "users first, and other ends of lines": (
        b"user_id,note,seg_id\r\n1,x,5\r\n1,y,6\r\n,x,7",
        CsvForm(),
        [(2, 3, "1", "", {"seg_id": 5}, {"seg_id": 6}), (4, "", "", {"seg_id": 7})],
    ),
    "lines without cells": (
        b"user_id,seg_id\n1,\n1\n2,5\n\n2,6\n3,",
        CsvForm(),
        [
            (2, "1", "", {}),
            (3, "there are 1 cells where 2 are expected"),
            (4, 6, "2", "", {"seg_id": 5}, {"seg_id": 6}),
            (7, "3", "", {}),
        ],
    ),
    "a quote that does not end": (
        b'user_id,seg_code\n1,a\n2,"b\n3,c\n',
        CsvForm(),
        [(2, "1", "", {"seg_code": "a"}), (3, "no CSV: unexpected end of data")],
    ),
    "a mark, and no heading": (
        b"\xef\xbb\xbf1,5\n",
        CsvForm(order=("user_id", "seg_id")),
        [(1, "1", "", {"seg_id": 5})],
    ),
    "nothing": (b"user_id,seg_id\n", CsvForm(), []),
}


@pytest.mark.parametrize("size", [1, 20, BATCH_BYTES])
@pytest.mark.parametrize(("content", "form", "expected"), CASES.values(), ids=CASES)
def test_rows(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    form: CsvForm,
    expected: list[tuple[Any, ...]],
    size: int,
) -> None:
    """However much of the file is read at once."""
    monkeypatch.setattr(csv_rows, "BATCH_BYTES", size)
    assert told(batches(tmp_path / "file", content, form)) == expected


def test_an_end_of_line_within_a_line(tmp_path: Path) -> None:
    read = batches(tmp_path / "file", b"user_id,seg_id\r\n1,5\r\n1\r,5\r\n2,6\r\n", CsvForm())
    assert [record.rows for batch in read for record in batch.read() if record.problem] == [[(3, "1\r,5")]]
    found = told(read)
    assert found[0::2] == [(2, "1", "", {"seg_id": 5}), (4, "2", "", {"seg_id": 6})]
    assert found[1][1].startswith("no CSV: a line ends with a carriage return alone")


def test_a_record_has_so_many_lines_at_most(tmp_path: Path) -> None:
    content = b"user_id,seg_id\n" + b"1,5\n" * (MOST_LINES + 1)
    records = [record for batch in batches(tmp_path / "file", content, CsvForm()) for record in batch.read()]
    assert [record.memberships for record in records] == [MOST_LINES, 1]


def test_a_cell_without_end_is_given_up_with_what_was_read_of_it(tmp_path: Path) -> None:
    """After 131,072 characters, which is csv's field limit: the rest of a large file is not one cell."""
    rows = b"".join(b"%d,5\n" % number for number in range(100_000))
    found = told(batches(tmp_path / "file", b'user_id,seg_id\n0,"5\n' + rows, CsvForm()))
    assert "field larger than field limit (131072)" in found[0][1]
    assert found[-1] == (100_002, "99999", "", {"seg_id": 5})
    assert 70_000 < len(found) < 90_000


def test_a_user_that_is_longer_than_a_cell_may_be(tmp_path: Path) -> None:
    """Where it was sent all the same, the service ended the stream at it, each time anew."""
    found = told(batches(tmp_path / "file", b"user_id,seg_id\n1,5\n%s,5\n2,6\n" % (b"9" * 2**20), CsvForm()))
    assert found[0::2] == [(2, "1", "", {"seg_id": 5}), (4, "2", "", {"seg_id": 6})]
    assert found[1] == (3, "no CSV: field larger than field limit (131072)")


@pytest.mark.parametrize("empty", [b"\n", b"\r\n"])
def test_empty_lines_take_no_memory(tmp_path: Path, empty: bytes) -> None:
    content = b"user_id,seg_id\n" + empty * 100_000 + b"1,5\n" + empty * 100_000 + b"1,6\n"
    found = batches(tmp_path / "file", content, CsvForm())
    assert told(found) == [(100_002, "1", "", {"seg_id": 5}), (200_003, "1", "", {"seg_id": 6})]


@pytest.mark.parametrize(
    ("heading", "columns", "problem"),
    [
        (b"uid,segment\n", (), "needs user_id, and seg_id or seg_code"),
        (b"user_id,value\n", (), "needs user_id, and seg_id or seg_code"),
        (b"", (), "file is empty$"),
        (b"\xef\xbb\xbf", (), "file is empty$"),
        (gzip.compress(b"", mtime=0), (), "file is empty$"),
        (b"\n\r\n", (), "file is empty$"),
        (b"user_id;seg_id\n", (), "say .* with --delimiter what stands between them"),
        (b"1,5\n", (), "or with --no-header that these are no names$"),
        ("user_id,seg_id\n1,5\n".encode("utf-16"), (), "file is no text in UTF-8: convert it .*, or unpack it$"),
        (b"PK\x03\x04\x14\x00\x00\x00\x08\x00users.csv\r", (), "file is no text in UTF-8"),
        (b"user_id,seg_id,seg_id\n", (), "has the column seg_id twice"),
        (b"user_id,seg_id\n", (("value", "amount"),), "has no column amount"),
        (b"user_id,seg_id\r1,5\r", (), "file begins with no CSV: a line ends with a carriage return alone"),
        (b'"' + 200_000 * b"a", (), "file begins with no CSV: field larger than"),
        (100_000 * b"a", (), "has the columns a{500}…; it needs"),
    ],
)
def test_columns(tmp_path: Path, heading: bytes, columns: tuple[tuple[str, str], ...], problem: str) -> None:
    with pytest.raises(ColumnsError, match=problem):
        batches(tmp_path / "file", heading, CsvForm(columns=columns))


def _row() -> st.SearchStrategy[bytes]:
    user = st.sampled_from([b"1", b"2", b"\xc3\xa9", b"\xff"])
    segment = st.sampled_from([b"5", b"6", b"x", b"", b"5,6", b'"7"'])
    end = st.sampled_from([b"\n", b"\r\n", b"\n\n"])
    return st.builds(lambda *parts: parts[0] + b"," + parts[1] + parts[2], user, segment, end)


@given(st.lists(_row(), max_size=12), st.integers(1, 60), st.data())
def test_from_the_end_of_any_batch_the_others_follow(
    tmp_path_factory: pytest.TempPathFactory, rows: list[bytes], size: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "rows.csv"
    content = b"user_id,seg_id\n" + b"".join(rows)
    whole = told(batches(path, content, CsvForm()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_rows, "BATCH_BYTES", size)
        found = batches(path, content, CsvForm())
        assert told(found) == whole
        if found:
            index = data.draw(st.integers(0, len(found) - 1))
            assert told(batches(path, content, CsvForm(), found[index].end)) == told(found[index + 1 :])
