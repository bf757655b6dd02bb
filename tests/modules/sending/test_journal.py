"""How far files were sent is kept beside them."""

import gzip
import os
from dataclasses import replace
from pathlib import Path

import pytest
from instantaudience_server.sending.content import HEAD_BYTES, Content
from instantaudience_server.sending.csv_form import CsvForm
from instantaudience_server.sending.journal import STDIN, Journal, Way, rejects_kept
from instantaudience_server.sending.records import Place, SourceError

WAY = Way(None, CsvForm(), None, False, ("http://127.0.0.1:1", "1001"))
BEGINNING = b"user_id,seg_id\n" + b"1,10001\n" * HEAD_BYTES


def begun(file: Path, way: Way = WAY) -> Journal:
    with Content(file) as content:
        return Journal(way, file, content)


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_is_sent_by_one_run_at_a_time(tmp_path: Path, packed: bool) -> None:
    """Two at once had one position, and wrote what was refused into the same file. A dry run keeps nobody away."""
    file = tmp_path / "users.csv"
    file.write_bytes(gzip.compress(BEGINNING) if packed else BEGINNING)
    dry = replace(WAY, is_dry=True)
    with Content(file) as content:
        Journal(WAY, file, content)
        with pytest.raises(SourceError, match=r"users\.csv is being sent by another command: wait for its end"):
            begun(file)
        begun(file, dry)
    with Content(file) as content:
        Journal(dry, file, content)
        begun(file)


def test_what_was_written_since_is_another_file(tmp_path: Path) -> None:
    """Of a new one that was as long and began alike, what stood before the place was left out without a word."""
    file = tmp_path / "users.csv"
    file.write_bytes(BEGINNING + b"2,10001\n")
    begun(file).keep(Place(len(BEGINNING), HEAD_BYTES + 1), now=True)
    assert begun(file).position.place == Place(len(BEGINNING), HEAD_BYTES + 1)
    later = file.stat().st_mtime_ns + 1_000_000_000
    file.write_bytes(BEGINNING[:-8] + b"3,10001\n2,10001\n")
    os.utime(file, ns=(later, later))
    assert not begun(file).goes_on


def test_a_dry_run_takes_no_rejects_away_from_a_run_that_goes_on(tmp_path: Path) -> None:
    """Of what had been refused until then, nothing told any more, nor had it been sent."""
    file = tmp_path / "users.csv"
    file.write_bytes(BEGINNING)
    first = begun(file)
    first.rejects.write((2, "1,99"), "UNKNOWN_SEGMENT", "no")
    first.keep(Place(20, 2), now=True)
    first.close()
    told = first.rejects.path.read_text()
    dry = begun(file, replace(WAY, is_dry=True))
    dry.rejects.write((3, "1,98"), "UNKNOWN_SEGMENT", "no")
    dry.close()
    begun(file, replace(WAY, is_dry=True)).close()
    again = begun(file)
    assert again.goes_on
    assert again.rejects.path.read_text() == told
    assert {*tmp_path.iterdir()} == {file, first.path, first.rejects.path}


def test_what_is_done_is_not_sent_again_while_others_are(tmp_path: Path) -> None:
    """Of several files, until all are sent; its counts and its rejects stay."""
    file = tmp_path / "users.csv"
    file.write_bytes(BEGINNING)
    first = begun(file)
    first.position.totals.users = 7
    first.rejects.write((2, "1,\udcff"), "UNREADABLE", "no")
    first.keep(Place(len(BEGINNING), HEAD_BYTES + 1), now=True, is_done=True)
    first.close()
    told = first.rejects.path.read_bytes()
    assert told.endswith(b'2,UNREADABLE,no,"1,\xff"\n')
    again = begun(file)
    again.close()
    assert (again.goes_on, again.position) == (False, first.position)
    assert again.rejects.path.read_bytes() == told


def test_what_cannot_be_gone_on_with_has_no_position(tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    assert WAY.position_path(STDIN) is None
    assert replace(WAY, is_dry=True).position_path(file) is None
    assert WAY.position_path(file) == tmp_path / "users.csv.position"


def test_rejects_that_go_elsewhere_begin_from_the_start(tmp_path: Path) -> None:
    """What was refused before stands in another file; in this one, what somebody had written was cut."""
    file, elsewhere = tmp_path / "users.csv", tmp_path / "others"
    file.write_bytes(BEGINNING)
    elsewhere.write_text("something else\n" * 100)
    first = begun(file)
    first.rejects.write((2, "1,77"), "UNKNOWN_SEGMENT", "Invalid segment: 77")
    first.keep(Place(22, 2), now=True)
    first.close()
    assert not begun(file, replace(WAY, rejects=elsewhere)).goes_on
    assert not elsewhere.exists()
    assert begun(file).goes_on


def test_rejects_that_were_emptied_since_are_not_filled_with_zeros(tmp_path: Path) -> None:
    file, rejects = tmp_path / "users.csv", tmp_path / "users.csv.rejects.csv"
    file.write_bytes(BEGINNING)
    for line in (2, 3):
        journal = begun(file)
        journal.rejects.write((line, "1,77"), "UNKNOWN_SEGMENT", "Invalid segment: 77")
        journal.keep(Place(22, line), now=True)
        journal.close()
        if line == 2:
            rejects.write_text("")
    assert rejects.read_text() == 'line,reason,message,record\n3,UNKNOWN_SEGMENT,Invalid segment: 77,"1,77"\n'


def test_rejects_that_are_named_otherwise_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From another directory, the same words name another file: what was refused before was in none of the two."""
    file, elsewhere = tmp_path / "users.csv", tmp_path / "elsewhere"
    file.write_bytes(BEGINNING)
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    first = begun(file, replace(WAY, rejects=Path("refused")))
    first.rejects.write((2, "1,77"), "UNKNOWN_SEGMENT", "Invalid segment: 77")
    first.keep(Place(22, 2), now=True)
    first.close()
    assert begun(file, replace(WAY, rejects=tmp_path / "refused")).goes_on
    monkeypatch.chdir(elsewhere)
    assert not begun(file, replace(WAY, rejects=Path("refused"))).goes_on


def test_what_the_next_run_goes_on_with_is_known(tmp_path: Path) -> None:
    """Whoever sends it, and where to."""
    file, refused = tmp_path / "users.csv", tmp_path / "refused"
    file.write_bytes(BEGINNING)
    assert rejects_kept(file) is rejects_kept(STDIN) is None
    begun(file, replace(WAY, rejects=refused)).keep(Place(22, 2), now=True)
    assert rejects_kept(file) == refused
    (tmp_path / "users.csv.position").write_text("[]")
    assert rejects_kept(file) is None


def test_a_full_disk_names_what_it_has_no_room_for(tmp_path: Path) -> None:
    """It was the file that is sent."""
    file = tmp_path / "users.csv"
    file.write_bytes(BEGINNING)
    journal = begun(file)
    position, rejects = tmp_path / "users.csv.position", journal.rejects.path
    rejects.symlink_to("/dev/full")
    journal.rejects.write((2, "1,77"), "UNKNOWN_SEGMENT", "no")
    with pytest.raises(OSError, match="No space left") as failed:
        journal.keep(Place(22, 2), now=True)
    assert failed.value.filename == str(rejects)
    with pytest.raises(OSError, match="No space left") as failed:
        journal.close()
    assert failed.value.filename == str(rejects)
    rejects.unlink()
    journal = begun(file)
    position.with_name(f"{position.name}.new").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as failed:
        journal.keep(Place(22, 2), now=True)
    assert failed.value.filename == str(position)
