"""A member's settings for files: their format, and limits (source: contract-neighbours, "Batch Segment Service"; the
comments of `BatchSettings` in catalog.proto)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from instantaudience.v1 import catalog_pb2 as pb

UNLIMITED = 0
"""The value of a limit that means no limit."""
_FORBIDDEN = frozenset("[](){}$\\/|?*+-\r\n")
_SEPARATORS = "user", "segment", "field", "removal", "domain"
_OPTIONAL = frozenset(("segment", "removal", "domain"))


class BatchField(StrEnum):
    """A field of a segment in a line."""

    SEG_ID = "SEG_ID"
    SEG_CODE = "SEG_CODE"
    MEMBER_ID = "MEMBER_ID"
    EXPIRATION = "EXPIRATION"
    TIMESTAMP = "TIMESTAMP"
    VALUE = "VALUE"


class Separators(NamedTuple):
    """The separators s1 to s5. An empty one is not used, and lines cannot have what would follow it."""

    user: str = ";"
    """s1: between the user and the first segment."""
    segment: str = ","
    """s2: between segments."""
    field: str = ":"
    """s3: between the fields of a segment."""
    removal: str = "\t"
    """s4: before the segments from which the user is removed."""
    domain: str = "^"
    """s5: before the domain of the user's ID."""


STANDARD = Separators()


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """A member's settings for files. The defaults are the contract's. Limits of bytes and lines in an hour or a day may
    be `UNLIMITED`."""

    separators: Separators = STANDARD
    fields: tuple[BatchField, ...] = (BatchField.SEG_ID, BatchField.EXPIRATION)
    """The fields of each segment in a line, in this order."""
    file_bytes: int = 2**29
    segments_per_line: int = 1800
    waiting_jobs: int = 200
    uploads_at_once: int = 1
    upload_minutes: int = 90
    bytes_per_hour: int = UNLIMITED
    bytes_per_day: int = 10 * 2**30
    lines_per_hour: int = UNLIMITED
    lines_per_day: int = UNLIMITED
    num_invalid_before_error: int | None = None
    """How many unreadable lines are skipped; the next one ends the job. None: no limit."""
    error_lines: int = 200
    batch_job_as_list: bool = False
    """Whether REST answers with a list of one where a single job is read."""


DEFAULTS = BatchSettings()

LIMITS: Mapping[str, tuple[int, int]] = {
    "file_bytes": (1, 2**40),
    "segments_per_line": (1, 100_000),
    "waiting_jobs": (1, 100_000),
    "uploads_at_once": (1, 100),
    "upload_minutes": (1, 1440),
    "bytes_per_hour": (UNLIMITED, 2**50),
    "bytes_per_day": (UNLIMITED, 2**50),
    "lines_per_hour": (UNLIMITED, 2**50),
    "lines_per_day": (UNLIMITED, 2**50),
    "num_invalid_before_error": (0, 2**31 - 1),
    "error_lines": (0, 999),
}
"""Setting → its least and largest value."""


def settings_of(message: pb.BatchSettings) -> BatchSettings:
    """The settings in a valid message, with defaults where it has none."""
    given: dict[str, Any] = {
        field.name: value for field, value in message.ListFields() if field.name in LIMITS or field.name in _FLAGS
    }
    if message.fields:
        given["fields"] = tuple([_FIELDS[field] for field in message.fields])
    return BatchSettings(separators=separators_of(message), **given)


def separators_of(message: pb.BatchSettings) -> Separators:
    """The separators in a message, with defaults where it has none. An optional one that is absent is not used if the
    message uses its default for another separator."""
    given = {name: getattr(message, f"{name}_separator") for name in _SEPARATORS if _has(message, name)}
    taken = set(given.values())
    return Separators(
        *[
            given.get(name, "" if name in _OPTIONAL and default in taken else default)
            for name, default in zip(_SEPARATORS, STANDARD, strict=True)
        ]
    )


def _has(message: pb.BatchSettings, name: str) -> bool:
    return bool(message.HasField(f"{name}_separator"))


_FLAGS = frozenset(("batch_job_as_list",))
_FIELDS = {pb.BatchField.Value(f"BATCH_FIELD_{field}"): field for field in BatchField}
Holds = Callable[[pb.BatchSettings], bool]


def _is_separator(text: str) -> bool:
    return len(text) == 1 and not text.isalnum() and text not in _FORBIDDEN


def _separator_holds(name: str) -> Holds:
    def holds(message: pb.BatchSettings) -> bool:
        text = getattr(message, f"{name}_separator")
        return not _has(message, name) or _is_separator(text) or (not text and name in _OPTIONAL)

    return holds


def _are_different(message: pb.BatchSettings) -> bool:
    separators = separators_of(message)
    used = [each for name, each in zip(_SEPARATORS, separators, strict=True) if each and name != "field"]
    return len(set(used)) == len(used) and separators.field not in used[1:]


def _names_a_segment(message: pb.BatchSettings) -> bool:
    fields = list(message.fields)
    names = {pb.BATCH_FIELD_SEG_ID, pb.BATCH_FIELD_SEG_CODE} & set(fields)
    known = all(field in _FIELDS for field in fields)
    return not fields or (known and len(set(fields)) == len(fields) and len(names) == 1)


_SEPARATOR_TEXT = "must be one character: no letter, no digit, no line break, and none of [](){}$\\/|?*+-"
RULES: tuple[tuple[str, Holds, str], ...] = (
    *(
        (
            f"{name}_separator",
            _separator_holds(name),
            _SEPARATOR_TEXT + ("; or empty, where it is not used" if name in _OPTIONAL else ""),
        )
        for name in _SEPARATORS
    ),
    (
        "separators",
        _are_different,
        "must all be different; only 'user_separator' and 'field_separator' may be equal",
    ),
    (
        "fields",
        _names_a_segment,
        "must hold SEG_ID or SEG_CODE, one of the two, and no field twice; the others are MEMBER_ID, EXPIRATION, "
        "TIMESTAMP and VALUE",
    ),
)
"""Field, whether a message obeys the rule, and the rule as text; the rules of limits are in `LIMITS`."""
