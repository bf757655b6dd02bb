"""Files that their owner alone can read, and that have their name once they are whole: tokens, passwords, backups."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name this file in every OSError that is raised in here: one about an open file, as on a full disk, names none."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


class Draft:
    """What is to become a file, beside it until `finish`: whoever leaves before that leaves nothing behind, and what
    had the file's name stays. Raises OSError where it cannot be written, and FileExistsError where what has the name is
    no file: for root, a device can be replaced, /dev/null for example, and then is missing to all programs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._draft = path.with_name(f"{path.name}.{os.getpid()}.part")

    def __enter__(self) -> Self:
        with naming(self._path):
            if self._path.exists() and not (self._path.is_file() or self._path.is_dir()):
                raise FileExistsError(errno.EEXIST, "not an ordinary file, so nothing takes its place: name another")
            # One that somebody left may be open to others.
            self._draft.unlink(missing_ok=True)
            descriptor = os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self.file: BinaryIO = os.fdopen(descriptor, "wb")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            # What is left to be written fails as what was did; of that, whoever wrote it knows.
            with contextlib.suppress(OSError):
                self.file.close()
        finally:
            self._draft.unlink(missing_ok=True)

    def finish(self) -> int:
        """Give the file its name; how many bytes it has."""
        self.file.flush()
        os.fsync(self.file.fileno())  # else a power failure may leave an empty file under its name
        size = self.file.tell()
        self._draft.replace(self._path)
        return size


def write(path: Path, text: str) -> None:
    """Write a file, for its owner alone, whoever could read it before: whole or, whatever happens, not at all.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    with Draft(path) as draft:
        draft.file.write(text.encode())
        draft.finish()
