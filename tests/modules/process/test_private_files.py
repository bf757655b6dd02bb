"""What only its owner may read: whole or not at all, whatever was there and whatever goes wrong."""

import os
import stat
from pathlib import Path

import pytest
from instantaudience_server.process import private_files
from instantaudience_server.process.private_files import Draft


def test_it_is_for_its_owner_alone_whoever_could_read_it_before(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("before")
    file.chmod(0o644)
    private_files.write(file, "sécret")
    assert file.read_text(encoding="utf-8") == "sécret"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_what_cannot_take_its_place_leaves_nothing_behind(tmp_path: Path) -> None:
    place = tmp_path / "place"
    (place / "taken").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        private_files.write(place, "secret")
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.parametrize("is_link", [False, True])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, is_link: bool) -> None:
    """Root who named a device, /dev/null for a try, left an ordinary file in its place to all programs."""
    place = tmp_path / "pipe"
    os.mkfifo(place)
    if is_link:
        place = tmp_path / "link"
        place.symlink_to("pipe")
    before = set(tmp_path.iterdir())
    with pytest.raises(FileExistsError, match="not an ordinary file") as failed:
        private_files.write(place, "secret")
    assert failed.value.filename == str(place)
    assert place.is_fifo()
    assert set(tmp_path.iterdir()) == before


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as failed:
        private_files.write(tmp_path / "none" / "file", "secret")
    assert failed.value.filename == str(tmp_path / "none" / "file")


def test_what_is_not_finished_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("before")
    with Draft(file) as draft:
        draft.file.write(b"half")
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_a_disk_that_is_full_leaves_nothing_behind(tmp_path: Path) -> None:
    """Not even what was to be written still when that was noticed."""

    def write() -> None:
        with Draft(tmp_path / "file") as draft:
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, draft.file.fileno())
            os.close(full)
            draft.file.write(b"half")
            draft.finish()

    with pytest.raises(OSError, match="No space left on device"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_what_somebody_left_is_not_written_into(tmp_path: Path) -> None:
    """It may be open to others, or lead elsewhere."""
    file, elsewhere = tmp_path / "file", tmp_path / "elsewhere"
    elsewhere.write_text("theirs")
    (tmp_path / f"file.{os.getpid()}.part").symlink_to(elsewhere)
    private_files.write(file, "ours")
    assert (file.read_text(), elsewhere.read_text()) == ("ours", "theirs")
    assert not file.is_symlink()
