"""The bytes of files."""

import gzip
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from instantaudience_server.sending.content import HEAD_BYTES, Content
from instantaudience_server.sending.csv_form import CsvForm
from instantaudience_server.sending.forms import read_batches
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


def test_what_has_come_on_standard_input_does_not_wait_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the last user, who may go on."""
    head, line = FORMS["csv"]
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin, os.fdopen(writing, "w") as program:
        program.write(head + "".join(map(line.format, range(HEAD_BYTES // 4))))
        program.flush()
        monkeypatch.setattr(sys, "stdin", stdin)
        with Content(None) as content:
            batches, users = read_batches(content, "csv", CsvForm(), Place()), 0
            while users < HEAD_BYTES // 4 - 1:
                users += next(batches).users
