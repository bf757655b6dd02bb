"""Files that are written beside those that are sent."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have an OSError in here name the file: of one that is open already, it names none, as on a full disk."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise
