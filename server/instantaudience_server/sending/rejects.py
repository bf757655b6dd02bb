"""The CSV file of rejects: for each row of the source that was not accepted, the row and the reason."""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from instantaudience_server.process.private_files import naming
from instantaudience_server.sending.records import Row

HEADINGS = ("line", "reason", "message", "record")


class Rejects:
    """The rejects of a run. The file is created with the first row; if an earlier run is resumed, it is cut to
    `size_bytes`, as the rows after that will be sent again."""

    def __init__(self, path: Path, size_bytes: int = 0) -> None:
        """Remove what an earlier run wrote after `size_bytes`."""
        self.path = path
        self._file: io.TextIOWrapper | None = None
        if size_bytes and path.exists():
            os.truncate(path, min(size_bytes, path.stat().st_size))  # somebody may have taken rows away
        else:
            path.unlink(missing_ok=True)

    def write(self, row: Row, reason: str, message: str) -> None:
        """Append a row of the source, and why it was refused."""
        with naming(self.path):
            if self._file is None:
                self._file = self.path.open("a", encoding="utf-8", errors="surrogateescape", newline="")
                if self._file.tell() == 0:
                    csv.writer(self._file, lineterminator="\n").writerow(HEADINGS)
            line, content = row
            csv.writer(self._file, lineterminator="\n").writerow((line, reason, message, _text(content)))

    def flush(self) -> None:
        """Pass what has been written to the operating system."""
        if self._file is not None:
            with naming(self.path):
                self._file.flush()

    def saved_bytes(self) -> int:
        """Flush, and return the size of the file."""
        self.flush()
        if self._file is None:
            return self.path.stat().st_size if self.path.exists() else 0
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with naming(self.path):
                self._file.close()


def _text(content: str | Sequence[str]) -> str:
    """A row as text."""
    if isinstance(content, str):
        return content
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(content)
    return text.getvalue()
