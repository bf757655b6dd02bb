"""Writing the catalog into a file."""

from pathlib import Path

import click
import pytest
from instantaudience_server.commands.catalog import whole


def test_a_file_that_was_not_written_to_its_end_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "catalog.yaml"
    file.write_text("before")
    file.chmod(0o640)

    def cut_short() -> None:
        with whole(file) as output:
            output.write("half")
            raise click.ClickException("the service is away")

    with pytest.raises(click.ClickException, match="away"):
        cut_short()
    assert file.read_text() == "before"
    with whole(file) as output:
        output.write("after")
    assert file.read_text() == "after"
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [file]


def test_what_is_no_file_on_a_disk_stays(tmp_path: Path) -> None:
    with whole(Path("/dev/null")) as output:
        output.write("nothing")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(click.ClickException, match="No such file or directory"), whole(tmp_path / "none" / "file"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(click.ClickException, match="Not a directory"), whole(tmp_path / "file" / "file"):
        pass


def test_a_full_disk_is_told_as_it_is() -> None:
    with pytest.raises(click.ClickException) as told, whole(Path("/dev/full")) as output:
        output.write("nothing")
    assert told.value.format_message() == "/dev/full: No space left on device"
