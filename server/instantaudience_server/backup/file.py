"""The file format of backups: a magic line, blocks of compressed records, and a line with counts and a checksum.

A block is its length (four bytes, big-endian) and that many bytes of zlib. Length 0 ends the blocks. The last line is a
JSON object: what the file holds, and, as `sha256`, the checksum of all before this line and of the object without it.
"""

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from isal import isal_zlib

from instantaudience_server.process.private_files import Draft
from instantaudience_server.process.threads import Progress

MAGIC = b"instant-audience backup 1\n"
BLOCK_BYTES = 1_000_000
MOST_BLOCK_BYTES = 2**28
CHECKSUM = "sha256"
_LENGTH = struct.Struct(">I")


class BackupError(Exception):
    """The file cannot be used; the message says why."""


class Writer:
    """Writes a file, which gets its name only when it is complete. Without `finish`, nothing is left of it."""

    def __init__(self, path: Path) -> None:
        self._draft = Draft(path)
        self._checksum = hashlib.sha256()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def __enter__(self) -> Self:
        self._draft.__enter__()
        self._write(MAGIC)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._draft.__exit__(kind, error, at)

    def add(self, record: bytes) -> None:
        """Add a record; it is written with its block."""
        self._waiting.append(record)
        self._waiting_bytes += len(record)
        if self._waiting_bytes >= BLOCK_BYTES:
            self._write_block()

    def finish(self, holds: Mapping[str, Any]) -> int:
        """Write the end, with what the file `holds`, and give the file its name. Returns its size in bytes."""
        self._write_block()
        self._write(_LENGTH.pack(0))
        self._checksum.update(json.dumps(holds).encode())
        self._draft.file.write(json.dumps({**holds, CHECKSUM: self._checksum.hexdigest()}).encode() + b"\n")
        return self._draft.finish()

    def _write_block(self) -> None:
        if self._waiting:
            block = isal_zlib.compress(b"".join(self._waiting), 1)
            self._write(_LENGTH.pack(len(block)) + block)
            self._waiting, self._waiting_bytes = [], 0

    def _write(self, data: bytes) -> None:
        self._checksum.update(data)
        self._draft.file.write(data)


def check(path: Path, told: Progress) -> dict[str, Any]:
    """Verify a file's structure and checksum; returns what its last line says that it holds.

    Raises:
        BackupError: it is not a backup, is incomplete or damaged.
        OSError: it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise BackupError(f"{path} is not an ordinary file, and it is read twice: write it into one first")
    size, checksum = path.stat().st_size, hashlib.sha256()
    with path.open("rb") as file:
        if _taken(file, len(MAGIC), path) != MAGIC:
            raise BackupError(f"{path} is no backup, or one of another version")
        checksum.update(MAGIC)
        length = -1
        while length != 0:
            head = _taken(file, _LENGTH.size, path)
            (length,) = _LENGTH.unpack(head)
            if length > MOST_BLOCK_BYTES:
                raise BackupError(f"{path} is damaged")
            checksum.update(head)
            checksum.update(_taken(file, length, path))
            told(file.tell(), size)
        try:
            holds: dict[str, Any] = json.loads(file.read())
        except ValueError as error:
            raise BackupError(f"{path} is damaged, or ends too early") from error
    told_checksum = holds.pop(CHECKSUM, None)
    checksum.update(json.dumps(holds).encode())
    if told_checksum != checksum.hexdigest():
        raise BackupError(f"{path} is damaged: its checksum is another one")
    return holds


def blocks(path: Path, told: Progress) -> Iterator[bytes]:
    """The decompressed blocks of a file that was checked."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(len(MAGIC))
        while length := _LENGTH.unpack(_taken(file, _LENGTH.size, path))[0]:
            yield isal_zlib.decompress(_taken(file, length, path))
            told(file.tell(), size)
    told(size, size)


def _taken(file: BinaryIO, length: int, path: Path) -> bytes:
    data = file.read(length)
    if len(data) < length:
        raise BackupError(f"{path} ends too early")
    return data
