"""The position up to which a file has been sent. It is stored in a file beside it, so that the next run continues
there."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from instantaudience_server.process.private_files import naming
from instantaudience_server.sending.following import Totals
from instantaudience_server.sending.records import Place

_NONE = (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError)
"""Exceptions when there is no position file, or it is another program's."""


@dataclass
class Position:
    """The position, the totals up to there, and the size of the rejects file that belongs to it."""

    place: Place = field(default_factory=Place)
    is_done: bool = False
    rejects_bytes: int = 0
    totals: Totals = field(default_factory=Totals)


def fingerprint(*parts: object) -> str:
    """Identifies a sending: the file's size, modification time and beginning, how it is read, and where it is sent."""
    return hashlib.sha256(repr(parts).encode(errors="surrogateescape")).hexdigest()


def read_position(path: Path, expected: str) -> Position | None:
    """The position that a run with this fingerprint has left behind; None if there is none."""
    try:
        read = _read(path)
        if read["fingerprint"] != expected:
            return None
        totals = Totals(read["users"], read["memberships"], Counter(read["refused"]))
        return Position(Place(read["offset"], read["line"]), read["is_done"], read["rejects_bytes"], totals)
    except _NONE:
        return None


def read_rejects(path: Path) -> Path | None:
    """The rejects file of the run that has left a position behind; None if there is none."""
    try:
        return Path(_read(path)["rejects"])
    except _NONE:
        return None


def write_position(path: Path, its_fingerprint: str, position: Position, rejects: Path) -> None:
    """Store a position atomically; `rejects` is the path of the rejects file."""
    new = path.with_name(f"{path.name}.new")
    fields = {
        "fingerprint": its_fingerprint,
        **position.place._asdict(),
        "is_done": position.is_done,
        "rejects": str(rejects),
        "rejects_bytes": position.rejects_bytes,
        **vars(position.totals),
    }
    with naming(path):
        new.write_text(json.dumps(fields), encoding="utf-8")
        new.replace(path)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
