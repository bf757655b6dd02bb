"""The files that workers, and the supervisor, write their metrics into, protected against a full disk.

prometheus_client maps sparse files into memory. If the disk is full when such a block is first written to, the kernel
kills the process (SIGBUS). So blocks are allocated beforehand. A series that there is no room for stays in memory: it
is not reported, and nothing else is affected.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import Counter, values
from prometheus_client.mmap_dict import MmapedDict, mmap_key

FIRST_BYTES = 1 << 16
"""The first size of a file in prometheus_client, which doubles it when necessary."""
_BESIDE_KEY_BYTES = 32
"""The most bytes that a series takes beside its key: a length, padding, and two numbers."""


class ReservedDict(MmapedDict):
    """A file of prometheus_client whose blocks are allocated before they are mapped.

    Raises:
        OSError: the disk is full.
    """

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        if not read_mode:
            _reserve(Path(filename))
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        capacity, needed = self._capacity, self._used + len(key.encode()) + _BESIDE_KEY_BYTES
        while capacity < needed:
            capacity *= 2
        if capacity > self._capacity:
            os.posix_fallocate(self._f.fileno(), 0, capacity)
        super()._init_value(key)  # type: ignore[no-untyped-call]


def _reserve(path: Path) -> None:
    with path.open("ab") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            os.posix_fallocate(file.fileno(), 0, max(FIRST_BYTES, size))
        except OSError:
            if size == 0:
                path.unlink()  # readers of the directory fail on an empty file
            raise


def keep_in_files(worker: str) -> None:
    """Have all metrics that are made from now on write into this worker's files, in prometheus_client's directory.

    By default, prometheus_client would name the files after the process ID.
    """
    values.MmapedDict = ReservedDict  # type: ignore[attr-defined]
    in_file: Callable[..., Any] = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]

    def value(*series: Any, **options: Any) -> Any:
        try:
            return in_file(*series, **options)
        except OSError:
            return values.MutexValue(*series, **options)  # type: ignore[no-untyped-call]

    values.ValueClass = value


class OwnCounts:
    """Counts of a process whose other metrics are in no file, in one that is merged with those of workers.

    prometheus_client's public interface keeps either all metrics of a process in files or none. requirements.lock pins
    the version whose private names are used here.

    Raises:
        OSError: the disk is full.
    """

    def __init__(self, directory: Path, process: str) -> None:
        self._file: Any = ReservedDict(str(directory / f"counter_{process}.db"))

    def close(self) -> None:
        """Nothing counts any more."""
        self._file.close()

    def begin(self, counter: Counter, *labels: str) -> Callable[[], None]:
        """Put the series with these labels into the file, with 0; returns what counts one more."""
        name = counter._name
        key = mmap_key(name, f"{name}_total", counter._labelnames, list(labels), counter._documentation)
        self._file.read_value(key)

        def count() -> None:
            former, _ = self._file.read_value(key)
            self._file.write_value(key, former + 1, 0.0)

        return count
