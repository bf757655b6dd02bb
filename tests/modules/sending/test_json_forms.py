"""Users in JSON: a line each, or in an array."""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from instantaudience_server.sending import json_forms
from instantaudience_server.sending.content import Content
from instantaudience_server.sending.csv_form import CsvForm
from instantaudience_server.sending.forms import form_of, read_batches
from instantaudience_server.sending.json_forms import CHUNK_BYTES
from instantaudience_server.sending.records import BATCH_BYTES, Batch, Place, SourceError

USERS = [{"user_id": str(number), "seg_block": [{"seg_id": number, "value": 1}] * 3} for number in range(1, 3000)]
LINE = json.dumps(USERS[0])
LINES = "\n".join(map(json.dumps, USERS)).encode()


def batches(path: Path, start: Place | None = None, form: str | None = None) -> list[Batch]:
    with Content(path) as opened:
        return list(read_batches(opened, form, CsvForm(), start or Place()))


def told(batches: list[Batch]) -> list[tuple[Any, ...]]:
    """The records for comparison: the line, and the user with its memberships, or the problem."""
    found: list[tuple[Any, ...]] = []
    for batch in batches:
        users = iter(batch.request.rt_segment)
        for record in batch.read():
            line, _ = record.rows[0]
            what = (record.problem,) if record.problem else (next(users).user_id, record.memberships)
            found.append((line, *what))
    return found


FILES = {
    "lines": LINES,
    "gzip": gzip.compress(b"\xef\xbb\xbf" + LINES),
    "an array": json.dumps(USERS, indent=1).encode(),
    "a request": b'\n{ "rt_segment" : [' + LINES.replace(b"\n", b"\n,") + b"]\n}\n",
    "two files of gzip in one": gzip.compress(LINES[: len(LINES) // 2]) + gzip.compress(LINES[len(LINES) // 2 :]),
    "gzip whose first file is empty": gzip.compress(b"") + gzip.compress(LINES),
    "a byte order mark in two files of gzip": gzip.compress(b"\xef\xbb") + gzip.compress(b"\xbf" + LINES),
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_all_users_come_and_go_on_from_any_place(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    found = batches(tmp_path / "file")
    assert [user for _, user, _ in told(found)] == [user["user_id"] for user in USERS]
    assert len(content) > CHUNK_BYTES > BATCH_BYTES or content.startswith(b"\x1f\x8b")
    assert len(found) > 3
    for index in (0, 2, len(found) - 1):
        assert told(batches(tmp_path / "file", found[index].end)) == told(found[index + 1 :])


def test_lines_that_are_no_users(tmp_path: Path) -> None:
    lines = [
        b'{"user_id":"1","seg_block":[{"seg_id":"5"}]}',  # protobuf's JSON has numbers as texts, too
        b"{",
        b"",
        b"7",
        b'{"user_id":"\xff"}',
        b'{"user_id":"1","colour":"red"}',
        b'{"user_id":"1"}',
    ]
    (tmp_path / "file").write_bytes(b"\n".join(lines))
    found = told(batches(tmp_path / "file", form="ndjson"))
    assert [line for line, *_ in found] == [1, 2, 4, 5, 6, 7]
    assert found[0] == (1, "1", 1)
    assert "property name" in found[1][1]
    assert "an object with 'user_id'" in found[2][1]
    assert found[3][1] == "no UTF-8"
    assert found[4][1] == "there is no key 'colour'"
    assert found[5] == (7, "1", 1)


@pytest.mark.parametrize(
    ("user", "problem"),
    [
        ({"user_id": 1}, "user_id: must be a string"),
        ({"user_id": "1", "userId": "1"}, "user_id stands twice"),
        ({"user_id": "1", "seg_block": [{"seg_id": "x"}]}, "seg_block.seg_id: must be a whole number"),
        ({"user_id": "1", "seg_block": [{"seg_id": 1.5}]}, "seg_block: must be a whole number"),
        ({"user_id": "1", "seg_block": [{"seg_id": True}]}, "seg_block: must be a whole number"),
        ({"user_id": "1", "seg_block": [{"seg_id": [1]}]}, "seg_block.seg_id: must be a whole number"),
        ({"user_id": "1", "seg_block": [{"seg_id": "NaN"}]}, "seg_block: must be a whole number"),
        ({"user_id": "1", "seg_block": [{"seg_id": 2**40}]}, "seg_block.seg_id: must be a whole number of 32 bits"),
        ({"user_id": "1", "seg_block": [{"segment": 1}]}, "seg_block: there is no key 'segment'"),
        ({"user_id": "1", "seg_block": [None]}, "seg_block: null cannot stand in a list"),
        ({"user_id": "1", "seg_block": [1]}, "seg_block: must be an object"),
        ({"user_id": "1", "seg_block": [[[1]]]}, "seg_block: must be an object"),
        ({"user_id": "1", "seg_block": {"seg_id": 1}}, "seg_block: must be a list"),
        ({"user_id": "\ud800"}, "no UTF-8"),
        ({"user_id": "1", "\ud800": 1}, "no UTF-8"),
        ({"user_id": "1", "seg_block": [{"\ud800": 1}]}, "no UTF-8"),
    ],
)
def test_what_is_wrong_with_a_user_is_told_in_the_words_of_the_api(tmp_path: Path, user: Any, problem: str) -> None:
    (tmp_path / "file").write_text(json.dumps(user))
    assert told(batches(tmp_path / "file")) == [(1, problem)]


@pytest.mark.parametrize("form", ["[{}\n,{}\n,{}]", "{}\n{}\n{}"], ids=["array", "lines"])
def test_a_key_that_stands_twice_is_refused_as_by_the_api(tmp_path: Path, form: str) -> None:
    users = ('{"user_id":"1","user_id":"2"}', '{"user_id":"1","seg_block":[{"seg_id":1,"value":1,"seg_id":2}]}', LINE)
    (tmp_path / "file").write_text(form.format(*users))
    assert told(batches(tmp_path / "file")) == [(1, "user_id stands twice"), (2, "seg_id stands twice"), (3, "1", 3)]


@pytest.mark.parametrize("form", ["[{}\n,{}]", "{}\n{}"], ids=["array", "lines"])
def test_a_number_that_python_does_not_read_keeps_no_other_user_back(tmp_path: Path, form: str) -> None:
    digits = "9" * (sys.int_info.default_max_str_digits + 1)
    (tmp_path / "file").write_text(form.format(f'{{"user_id":"1","seg_block":[{{"seg_id":{digits}}}]}}', LINE))
    (first, problem), second = told(batches(tmp_path / "file"))
    assert (first, second) == (1, (2, "1", 3))
    assert "Exceeds the limit" in problem


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_large_user_is_looked_at_a_few_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_whole: bool) -> None:
    looks: list[int] = []

    class Counting(json.JSONDecoder):
        def raw_decode(self, s: str, idx: int = 0) -> Any:
            looks.append(len(s))
            return super().raw_decode(s, idx)

    monkeypatch.setattr(json_forms, "_decoder", Counting())
    blocks = ",".join(['{"seg_id":10001}'] * (20 * CHUNK_BYTES // 16))
    (tmp_path / "file").write_text(f'[{{"user_id":"1","seg_block":[{blocks}' + ("]}]" if is_whole else ""))
    if is_whole:
        assert told(batches(tmp_path / "file")) == [(1, "1", blocks.count("{"))]
    else:
        with pytest.raises(SourceError, match="line 1: no JSON"):
            batches(tmp_path / "file")
    assert len(looks) < 10


LONG = "9" * 2**20


@pytest.mark.parametrize(
    ("named", "user"),
    [
        ("user_id", {"user_id": LONG, "seg_block": [{"seg_id": 1}]}),
        ("domain", {"user_id": "1", "domain": LONG, "seg_block": [{"seg_id": 1}]}),
        ("seg_code", {"user_id": "1", "seg_block": [{"seg_id": 1}, {"seg_code": LONG, "member_id": 1}]}),
    ],
)
def test_a_user_that_fits_no_request_is_none(tmp_path: Path, named: str, user: Any) -> None:
    """Where it was sent all the same, the service ended the stream at it, each time anew."""
    many = {"user_id": "3", "seg_block": [{"seg_code": LONG[: 2**19], "member_id": 1}] * 3}  # several requests have it
    (tmp_path / "file").write_text("\n".join(map(json.dumps, [USERS[0], user, many, USERS[1]])))
    assert told(batches(tmp_path / "file")) == [
        (1, "1", 3),
        (2, f"{named} is too long: a request has 1,048,576 bytes at most"),
        (3, "3", 3),
        (4, "2", 3),
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'[{"user_id":"1"} {"user_id":"2"}]', "line 1: here should be , or ]"),
        (b'[{"user_id":"1"},\n{"user_id":', "line 2: no JSON"),
        (b'[{"user_id":"1"}] x', "line 1: there is something behind the array's end"),
        (gzip.compress(LINES)[:-20], "after line .*: Compressed file ended"),
        (gzip.compress(LINES)[:2], "after line 0: Compressed file ended"),
        (gzip.compress(b"{}\n", mtime=0) + gzip.compress(LINES)[:2], "after line 1: Compressed file ended"),
    ],
)
def test_files_that_cannot_be_read_to_their_end(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(SourceError, match=problem):
        batches(tmp_path / "file")


def test_what_a_file_is(subtests: pytest.Subtests) -> None:
    for head, form in [
        (b' {"user_id":', "ndjson"),
        (b'{"rt_segment":[', "json"),
        (b"\n[", "json"),
        (b"user_id,seg_id", "csv"),
        (b"", "csv"),
    ]:
        with subtests.test(head=head, form=form):
            assert form_of(head) == form
