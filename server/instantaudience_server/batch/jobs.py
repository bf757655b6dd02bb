"""What applying a file needs to know of its job, and what it tells while it goes on."""

import json
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from instantaudience_server.batch.counters import Counters
from instantaudience_server.catalog.batch_settings import BatchField, BatchSettings, Separators

RANDOM_CHARACTERS = 30
"""Of a job's ID, before the second in which it was made (source: contract-neighbours)."""
JOB_ID = re.compile(rf"[A-Za-z0-9]{{{RANDOM_CHARACTERS}}}[0-9]{{10,}}")
"""What jobs are called."""


class StoredFile(Protocol):
    """An uploaded file. It does not change while it is read."""

    def read(self, offset: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `offset` on, in pieces of any size.

        Raises:
            AudienceError: UNAVAILABLE.
            FileFailedError: a part of it is not there.
        """


@dataclass(frozen=True, slots=True)
class JobView:
    """A job whose file is to be applied.

    `uploaded_ms` (Unix time in ms) is when the upload ended: ends count from it, and what is past or too far ahead is
    so beside it, whenever the file is applied. `most_bytes` and `most_lines` bound what the file may hold once it is
    decompressed; None: nothing does. `is_ours` says whether the job is still this process's, which may have stood
    still: another one may be far ahead, or done, and what it has written must stand; None: it is.
    """

    member_id: int
    uploaded_ms: int
    most_bytes: int | None = None
    most_lines: int | None = None
    is_ours: Callable[[], bool] | None = None


class Layout(NamedTuple):
    """How the lines of a file are read: as its member was set when it was begun, whoever goes on with it."""

    separators: Sequence[str]
    fields: Sequence[str]
    segments_per_line: int

    @classmethod
    def of(cls, settings: BatchSettings) -> "Layout":
        """What a member is set to."""
        return cls(settings.separators, settings.fields, settings.segments_per_line)

    def settings(self) -> BatchSettings:
        """What gives this layout."""
        fields = tuple(map(BatchField, self.fields))
        return BatchSettings(Separators(*self.separators), fields, segments_per_line=self.segments_per_line)


class Checkpoint(NamedTuple):
    """How far a file is applied: all up to there is written, and counted.

    `position` is a place in the content (once it is decompressed): where a line, or a block of Avro, begins. So many
    `records` of that block are applied. `file_bytes` is how much of the file was read for it.
    """

    position: int
    records: int
    file_bytes: int
    counters: Counters
    layout: Layout | None = None
    """None: a process wrote it that knew of none, before it was upgraded."""

    def dump(self) -> str:
        """As text, for `load`."""
        counters = self.counters.to_json() | {"layout": self.layout}
        return json.dumps([self.position, self.records, self.file_bytes, counters])

    @classmethod
    def load(cls, text: str) -> "Checkpoint":
        """What `dump` gave."""
        position, records, file_bytes, counters = json.loads(text)
        layout = counters.get("layout")  # those that know of none pass it over here
        return cls(position, records, file_bytes, Counters.from_json(counters), layout and Layout(*layout))


class ErrorCode(StrEnum):
    """Why a job failed as a whole: its `error_code`. What was applied before stays."""

    INVALID_FORMAT_LIMIT_EXCEEDED = "INVALID_FORMAT_LIMIT_EXCEEDED"
    """More lines than the member's `num_invalid_before_error` could not be read."""
    FILESIZE_LIMIT_EXCEEDED = "FILESIZE_LIMIT_EXCEEDED"
    """The content is longer than the member may send."""
    RATE_LIMIT_EXCEEDED = "RATE_LIMIT_EXCEEDED"
    """The content has more lines than the member may send."""
    FILE_CUT_OFF = "FILE_CUT_OFF"
    """The file ends within an Avro block, or within its compressed content; all before that is applied."""
    CORRUPT_FILE = "CORRUPT_FILE"
    """From some place on, the file is no gzip or Avro; all before that is applied."""
    UNKNOWN_SCHEMA = "UNKNOWN_SCHEMA"
    """The records of an Avro file do not have what they must have."""
    UNKNOWN_CODEC = "UNKNOWN_CODEC"
    """The blocks of an Avro file are compressed by another codec than null and deflate."""
    MEMBER_DELETED = "MEMBER_DELETED"
    """The member is no longer there."""
    FILE_LOST = "FILE_LOST"
    """A part of the file is no longer in the store of files."""
    PROCESS_ENDED = "PROCESS_ENDED"
    """Each process that tried to apply what comes next in the file has died of it, or stood still."""
    INTERNAL = "INTERNAL"
    """Applying it met a defect, which is logged."""


class FileFailedError(Exception):
    """The file cannot be applied to its end; the message is for people."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code
