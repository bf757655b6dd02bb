"""Where a file is sent, and the two files beside it: the position up to which it has been sent, and its rejects."""

import time
from dataclasses import dataclass
from pathlib import Path

from instantaudience_server.sending.content import Content
from instantaudience_server.sending.csv_form import CsvForm
from instantaudience_server.sending.positions import Position, fingerprint, read_position, read_rejects, write_position
from instantaudience_server.sending.records import Place
from instantaudience_server.sending.rejects import Rejects

KEPT_SECONDS = 0.2
"""Minimum interval between writes of the position."""
STDIN = Path("-")


@dataclass(frozen=True)
class Way:
    """How files are read, and where they are sent."""

    form: str | None
    csv_form: CsvForm
    rejects: Path | None
    is_dry: bool
    destination: tuple[str, str]
    """URL of the service, and account."""

    def rejects_path(self, file: Path) -> Path:
        """The path of a file's rejects."""
        return rejects_path(self.rejects, file, is_dry=self.is_dry)

    def position_path(self, file: Path) -> Path | None:
        """The path of a file's position; None if it cannot be resumed."""
        return None if self.is_dry else _position_path(file)


def rejects_path(named: Path | None, file: Path, *, is_dry: bool) -> Path:
    """The path of a file's rejects: `named`, or beside the file. Those of a dry run have a name of their own, because
    an earlier run may be resumed, which appends to its rejects."""
    ending = "dry-run.rejects.csv" if is_dry else "rejects.csv"
    return named or _beside(Path("standard-input") if file == STDIN else file, ending)


def rejects_kept(file: Path) -> Path | None:
    """The rejects to which the next run of this file appends; None if it starts from the beginning."""
    path = _position_path(file)
    return None if path is None else read_rejects(path)


def _position_path(file: Path) -> Path | None:
    return None if file == STDIN else _beside(file, "position")


def _beside(file: Path, ending: str) -> Path:
    return file.with_name(f"{file.name}.{ending}")


class Journal:
    """The position and the rejects of a file that is being sent, by one run at a time.

    Raises:
        SourceError: another run sends the file.
    """

    def __init__(self, way: Way, file: Path, content: Content) -> None:
        self.path = way.position_path(file)
        if self.path is not None:
            content.hold()
        whose = (content.size_bytes, content.modified_ns, content.head)
        rejects = way.rejects_path(file)
        self._rejects_path = rejects.resolve()
        self._fingerprint = fingerprint(way.destination, way.form, way.csv_form, self._rejects_path, *whose)
        found = None if self.path is None else read_position(self.path, self._fingerprint)
        self.position = found or Position()
        self.rejects = Rejects(rejects, self.position.rejects_bytes)
        self._kept = time.monotonic()
        self.goes_on = found is not None and not found.is_done
        """Whether an earlier run has sent a part of the file."""

    def keep(self, place: Place, *, now: bool = False, is_done: bool = False) -> None:
        """Record that everything before a place is answered; at intervals only, unless `now`.

        If it cannot be resumed, only the rejects are saved, each time: standard input may go on for days.
        """
        if self.path is None:
            self.rejects.flush()
            return
        is_time = place != self.position.place and time.monotonic() - self._kept >= KEPT_SECONDS
        if not (now or is_time):
            return
        self.position.place, self.position.is_done = place, is_done
        self.position.rejects_bytes = self.rejects.saved_bytes()
        write_position(self.path, self._fingerprint, self.position, self._rejects_path)
        self._kept = time.monotonic()

    def close(self) -> None:
        """Close the rejects file."""
        self.rejects.close()
