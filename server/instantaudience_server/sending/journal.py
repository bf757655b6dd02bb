"""Where files go, and what is kept beside each: how far it was sent, and what of it was refused."""

import time
from dataclasses import dataclass
from pathlib import Path

from instantaudience_server.sending.content import Content
from instantaudience_server.sending.csv_form import CsvForm
from instantaudience_server.sending.positions import Position, fingerprint, read_position, read_rejects, write_position
from instantaudience_server.sending.records import Place
from instantaudience_server.sending.rejects import Rejects

KEPT_SECONDS = 0.2
"""How often it is written down how far a file has been sent."""
STDIN = Path("-")


@dataclass(frozen=True)
class Way:
    """How files are read and where they go."""

    form: str | None
    csv_form: CsvForm
    rejects: Path | None
    is_dry: bool
    destination: tuple[str, str]
    """The service, and the account."""

    def rejects_path(self, file: Path) -> Path:
        """Where the rejects of a file go."""
        return rejects_path(self.rejects, file, is_dry=self.is_dry)

    def position_path(self, file: Path) -> Path | None:
        """Where it is kept how far a file was sent; None where that cannot be gone on with."""
        return None if self.is_dry else _position_path(file)


def rejects_path(named: Path | None, file: Path, *, is_dry: bool) -> Path:
    """Where the rejects of a file go: to the name that they were given, or beside it. Those of a dry run have a name of
    their own: an earlier run may be gone on with, which adds to its rejects."""
    ending = "dry-run.rejects.csv" if is_dry else "rejects.csv"
    return named or _beside(Path("standard-input") if file == STDIN else file, ending)


def rejects_kept(file: Path) -> Path | None:
    """The rejects that the next run of a file goes on with; None where it begins anew."""
    path = _position_path(file)
    return None if path is None else read_rejects(path)


def _position_path(file: Path) -> Path | None:
    return None if file == STDIN else _beside(file, "position")


def _beside(file: Path, ending: str) -> Path:
    return file.with_name(f"{file.name}.{ending}")


class Journal:
    """Keeps how far a file was sent, and its rejects."""

    def __init__(self, way: Way, file: Path, content: Content) -> None:
        self.path = way.position_path(file)
        whose = (content.size_bytes, content.modified_ns, content.head)
        rejects = way.rejects_path(file)
        self._rejects_path = rejects.resolve()
        self._fingerprint = fingerprint(way.destination, way.form, way.csv_form, self._rejects_path, *whose)
        found = None if self.path is None else read_position(self.path, self._fingerprint)
        self.position = found or Position()
        self.rejects = Rejects(rejects, self.position.rejects_bytes)
        self._kept = time.monotonic()
        self.goes_on = found is not None and not found.is_done
        """Whether an earlier run has sent some of it."""

    def keep(self, place: Place, *, now: bool = False, is_done: bool = False) -> None:
        """Write down that all before a place is answered; from time to time is enough, unless `now`."""
        is_time = place != self.position.place and time.monotonic() - self._kept >= KEPT_SECONDS
        if self.path is None or not (now or is_time):
            return
        self.position.place, self.position.is_done = place, is_done
        self.position.rejects_bytes = self.rejects.saved_bytes()
        write_position(self.path, self._fingerprint, self.position, self._rejects_path)
        self._kept = time.monotonic()

    def close(self) -> None:
        """Close the file of rejects."""
        self.rejects.close()
