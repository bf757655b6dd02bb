"""The bytes of files."""

import gzip
import os
import select
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from instantaudience_server.sending.content import Content
from instantaudience_server.sending.csv_form import CsvForm
from instantaudience_server.sending.forms import read_batches
from instantaudience_server.sending.incoming import PAUSE_SECONDS
from instantaudience_server.sending.records import Place, SourceError

MANY = 20_000
FORMS = {
    "csv": ("user_id,seg_id\n", "{},10001\n"),
    "ndjson": ("", '{{"user_id":"{}","seg_block":[{{"seg_id":10001}}]}}\n'),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_is_cut_while_it_is_read_did_not_come_to_its_end(tmp_path: Path, form: str) -> None:
    """It passed for one that was sent as a whole."""
    head, line = FORMS[form]
    file = tmp_path / "users"
    file.write_text(head + "".join(map(line.format, range(MANY))))
    with Content(file) as content:
        batches = read_batches(content, form, CsvForm(), Place())
        first = next(batches)
        file.write_text(head)
        with pytest.raises(SourceError, match=r"after line \d+: it has become shorter since it was opened"):
            list(batches)
        assert first.users < MANY


def test_a_file_that_grows_is_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "users"
    head, line = FORMS["csv"]
    file.write_text(head + "".join(map(line.format, range(MANY))))
    with Content(file) as content:
        batches = read_batches(content, "csv", CsvForm(), Place())
        users = next(batches).users
        with file.open("a") as more:
            more.write(line.format(MANY))
        assert users + sum(batch.users for batch in batches) == MANY + 1


@pytest.mark.parametrize("compressed", [bytes, gzip.compress])
def test_standard_input_is_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compressed: Callable[[bytes], bytes]
) -> None:
    """What was taken of it to see what it holds comes first."""
    head, line = FORMS["csv"]
    (tmp_path / "users").write_bytes(compressed(f"\ufeff{head}{''.join(map(line.format, range(MANY)))}".encode()))
    with (tmp_path / "users").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with Content(None) as content:
            batches = list(read_batches(content, None, CsvForm(), Place()))
    users = [user.user_id for batch in batches for user in batch.request.rt_segment]
    assert users == [str(number) for number in range(MANY)]


TOLD: dict[str, tuple[str, list[tuple[str, list[str]]], str]] = {
    "csv": (
        "user_id,seg_id\n",
        [
            ("1,10001\n", ["1"]),
            ("1,10002\n", ["1"]),
            ("\n2,10001\r\n3,10001\r\n4,1", ["2", "3"]),
            ("0001\n5,x\n6,10001\n", ["4", "5,x", "6"]),
            ('7,10001\n"8\n', ["7"]),
            ('",10001\n', ["8\n"]),
            ("9,10001\n" * 2, ["9"]),
        ],
        "1,10001",
    ),
    "ndjson": (
        "",
        [
            ('{"user_id":"1","seg_block":[{"seg_id":10001}]}\n', ["1"]),
            ('{"user_id":"2"}\n{"user_id":"3"}\n{"user', ["2", "3"]),
            ('_id":"4"}\n[\n', ["4", "["]),
        ],
        '{"user_id":"1"}',
    ),
    "array": (
        "[",
        [
            ('{"user_id":"1","seg_block":[{"seg_id":10001}]}', ["1"]),
            (',{"user_id":"2"},\n{"user_id":"3"},{"user', ["2", "3"]),
            ('_id":"4"} , 5', ["4"]),
            ("6,", ["56"]),
            ('{"user_id":"7"}\n,', ["7"]),
        ],
        '{"user_id":"1"}]',
    ),
    "request": ('{"rt_segment":[', [('{"user_id":"1"},', ["1"]), ('{"user_id":"2"}]}', ["2"])], "\n"),
}
"""What begins input of a form; what comes after it each time, with the users, and lines that are none, in it; and what
ends it."""


@pytest.mark.parametrize("is_gzip", [False, True], ids=["", "gzip"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["", "mark"])
@pytest.mark.parametrize("form", TOLD)
def test_what_has_come_on_standard_input_does_not_wait_for_more(
    monkeypatch: pytest.MonkeyPatch, form: str, mark: str, is_gzip: bool
) -> None:
    """A line is there when its end is; a user whose rows might go on does not wait for that."""
    begin, steps, end = TOLD[form]
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin, os.fdopen(writing, "wb", buffering=0) as program:
        monkeypatch.setattr(sys, "stdin", stdin)

        def write(text: str, mode: int = zlib.Z_SYNC_FLUSH) -> None:
            data = text.encode()
            program.write(packer.compress(data) + packer.flush(mode) if is_gzip else data)

        write(mark + begin + steps[0][0])
        with Content(None) as content:
            batches = read_batches(content, None, CsvForm(), Place())
            for text, expected in steps:
                if text is not steps[0][0]:
                    write(text)
                found: list[str] = []
                while len(found) < len(expected):
                    batch = next(batches)
                    users = iter(batch.request.rt_segment)
                    for record in batch.read():
                        row = record.rows[0][1]
                        said = row if isinstance(row, str) else ",".join(row)
                        found.append(said if record.problem else next(users).user_id)
                assert found == expected
            write(end, zlib.Z_FINISH)
            program.close()
            left = [user.user_id for batch in batches for user in batch.request.rt_segment]
            assert left == (["1"] if end.strip() else [])


LINES = "".join(map(FORMS["ndjson"][1].format, range(MANY))).encode()
DAMAGED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut": (lambda packed: packed[:-9], "Compressed file ended before the end-of-stream marker was reached"),
    "wrong": (lambda packed: packed[:-8] + b"12345678", "Error -3 while decompressing data: incorrect data check"),
    "followed by something else": (
        lambda packed: packed + b"123",
        "Error -3 while decompressing data: incorrect header check",
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("damaged", "problem"), DAMAGED.values(), ids=DAMAGED)
def test_of_damaged_gzip_what_can_be_read_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, damaged: Callable[[bytes], bytes], problem: str
) -> None:
    """The last user of CSV does not: its rows may go on."""
    head, line = FORMS[form]
    (tmp_path / "users").write_bytes(damaged(gzip.compress((head + "".join(map(line.format, range(MANY)))).encode())))
    for path in (tmp_path / "users", None):
        users: list[str] = []
        with (tmp_path / "users").open() as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            with Content(path) as content:
                batches = read_batches(content, None, CsvForm(), Place())
                said = (user.user_id for batch in batches for user in batch.request.rt_segment)
                with pytest.raises(SourceError) as raised:
                    users.extend(said)
        lines = len(users) + (2 if head else 0)
        assert str(raised.value) == f"{path or 'standard input'}: after line {lines}: {problem}"
        assert users == [str(number) for number in range(len(users))]
        assert len(users) > MANY // 2


def test_small_files_of_gzip_that_are_cut_are_read_up_to_there(tmp_path: Path) -> None:
    head, line = FORMS["csv"]
    (tmp_path / "users").write_bytes(gzip.compress((head + line.format(1) + line.format(2)).encode())[:-8])
    with Content(tmp_path / "users") as content:
        batches = read_batches(content, None, CsvForm(), Place())
        assert [user.user_id for user in next(batches).request.rt_segment] == ["1"]
        with pytest.raises(SourceError, match="after line 3: Compressed file ended"):
            next(batches)


def test_gzip_of_several_files_with_zeros_between_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = bytes(100_000)
    half = len(LINES) // 2
    packed = zeros.join([gzip.compress(LINES[:half]), gzip.compress(b""), gzip.compress(LINES[half:]), b""])
    (tmp_path / "users").write_bytes(packed)
    with (tmp_path / "users").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with Content(None) as content:
            batches = read_batches(content, None, CsvForm(), Place())
            assert sum(batch.users for batch in batches) == MANY


def test_gzip_that_grows_large_is_unpacked_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "users").write_bytes(gzip.compress(LINES[: LINES.index(b"\n") + 1] + (b" " * 4095 + b"\n") * 2**12))
    with (tmp_path / "users").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with Content(None) as content:
            tracemalloc.start()
            try:
                assert [batch.users for batch in read_batches(content, None, CsvForm(), Place())] == [1]
                _, most = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert most < 2**21


@pytest.mark.parametrize("form", FORMS)
def test_batches_of_fast_input_are_those_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    head, line = FORMS[form]
    (tmp_path / "users").write_text(head + "".join(map(line.format, range(MANY))))
    with Content(tmp_path / "users") as content:
        of_file = sum(1 for _ in read_batches(content, form, CsvForm(), Place()))
    with (tmp_path / "users").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with Content(None) as content:
            of_input = sum(1 for _ in read_batches(content, form, CsvForm(), Place()))
    assert abs(of_input - of_file) <= 1


@pytest.mark.parametrize("form", FORMS)
def test_lines_that_come_one_by_one_wait_no_longer_than_a_pause(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """Each comes before a pause is over, and none of them is another user's."""
    head, line = FORMS[form]
    now, written = 0.0, 0
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin, os.fdopen(writing, "w") as program:

        def write() -> None:
            nonlocal now, written
            now, written = now + PAUSE_SECONDS / 4, written + 1
            program.write(line.format(1))
            program.flush()

        def select_later(files: list[int], _writing: object, _failed: object, seconds: float) -> tuple[list[int], ...]:
            """Time passes only while it is waited for."""
            if seconds < PAUSE_SECONDS / 4:
                return [], [], []
            write()
            return files, [], []

        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(time, "monotonic", lambda: now)
        monkeypatch.setattr(select, "select", select_later)
        program.write(head)
        write()
        with Content(None) as content:
            batch = next(read_batches(content, form, CsvForm(), Place()))
        assert batch.memberships == written == 4
