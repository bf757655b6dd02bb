"""The files that workers write their metrics into, on a disk that may be full.

prometheus_client maps files into memory whose blocks the file system looks for when they are written to; where it has
none, the kernel ends the process (SIGBUS). So they are taken beforehand, and a series that there is no room for stays
in memory: it is not told, and nobody else notices.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

FIRST_BYTES = 1 << 16
"""prometheus_client's own first length; it doubles it when there is need."""
_BESIDE_KEY_BYTES = 32
"""What a series takes beside its key, at most: two lengths, two numbers."""


class ReservedDict(MmapedDict):
    """A file whose blocks are there before they are mapped.

    Raises:
        OSError: there is no room for them.
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
                path.unlink()  # whoever reads all files would stumble over it
            raise


def keep_in_files(worker: str) -> None:
    """Have all metrics that are made from now on write into this worker's files, in prometheus_client's directory.
    prometheus_client's own choice names files after process IDs."""
    values.MmapedDict = ReservedDict  # type: ignore[attr-defined]
    in_file: Callable[..., Any] = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]

    def value(*series: Any, **options: Any) -> Any:
        try:
            return in_file(*series, **options)
        except OSError:
            return values.MutexValue(*series, **options)  # type: ignore[no-untyped-call]

    values.ValueClass = value
