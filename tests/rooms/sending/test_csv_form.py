"""Rows of CSV, and the users that they are."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience_server.sending.content import Content
from instantaudience_server.sending.csv_form import MOST_ROWS, ColumnsError, CsvForm
from instantaudience_server.sending.records import Place, Record


def records(path: Path, content: bytes, form: CsvForm, start: Place | None = None) -> list[Record]:
    path.write_bytes(content)
    with Content(path) as opened:
        return list(form.records(opened, start or Place()))


def told(record: Record) -> tuple[Any, ...]:
    """A record for comparison: the user, and the memberships that say something."""
    lines = [line for line, _ in record.rows]
    if record.user is None:
        return (*lines, record.problem)
    blocks = [{field.name: value for field, value in block.ListFields()} for block in record.user.seg_block]
    return (*lines, record.user.user_id, record.user.domain, *blocks)


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
    "nothing": (b"user_id,seg_id\n", CsvForm(), []),
}


@pytest.mark.parametrize(("content", "form", "expected"), CASES.values(), ids=CASES)
def test_rows(tmp_path: Path, content: bytes, form: CsvForm, expected: list[tuple[Any, ...]]) -> None:
    assert [told(record) for record in records(tmp_path / "file", content, form)] == expected


def test_a_user_has_so_many_rows_at_most(tmp_path: Path) -> None:
    content = b"user_id,seg_id\n" + b"1,5\n" * (MOST_ROWS + 1)
    assert [record.memberships for record in records(tmp_path / "file", content, CsvForm())] == [MOST_ROWS, 1]


@pytest.mark.parametrize(
    ("heading", "columns", "problem"),
    [
        (b"uid,segment\n", (), "needs user_id, and seg_id or seg_code"),
        (b"user_id,value\n", (), "needs user_id, and seg_id or seg_code"),
        (b"", (), "has the columns none"),
        (b"user_id,seg_id,seg_id\n", (), "has the column seg_id twice"),
        (b"user_id,seg_id\n", (("value", "amount"),), "has no column amount"),
    ],
)
def test_columns(tmp_path: Path, heading: bytes, columns: tuple[tuple[str, str], ...], problem: str) -> None:
    with pytest.raises(ColumnsError, match=problem):
        records(tmp_path / "file", heading, CsvForm(columns=columns))


def _row() -> st.SearchStrategy[bytes]:
    user = st.sampled_from([b"1", b"2", b"\xc3\xa9", b"\xff"])
    segment = st.sampled_from([b"5", b"6", b"x", b"", b"5,6", b'"7"'])
    end = st.sampled_from([b"\n", b"\r\n", b"\n\n"])
    return st.builds(lambda *parts: parts[0] + b"," + parts[1] + parts[2], user, segment, end)


@given(st.lists(_row(), max_size=12), st.data())
def test_from_the_end_of_any_record_the_others_follow(
    tmp_path_factory: pytest.TempPathFactory, rows: list[bytes], data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "rows.csv"
    content = b"user_id,seg_id\n" + b"".join(rows)
    found = records(path, content, CsvForm())
    if found:
        index = data.draw(st.integers(0, len(found) - 1))
        rest = records(path, content, CsvForm(), found[index].end)
        assert [told(record) for record in rest] == [told(record) for record in found[index + 1 :]]
