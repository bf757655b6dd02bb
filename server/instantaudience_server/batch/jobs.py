"""The types between a job and the application of its file: what is applied, checkpoints, errors."""

import json
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from instantaudience_server.batch.counters import Counters
from instantaudience_server.catalog.batch_settings import BatchField, BatchSettings, Separators

RANDOM_CHARACTERS = 30
"""The random characters of a job's ID; the Unix time of its creation in seconds follows (source:
contract-neighbours)."""
JOB_ID = re.compile(rf"[A-Za-z0-9]{{{RANDOM_CHARACTERS}}}[0-9]{{10,}}")
"""The form of jobs' IDs."""


class StoredFile(Protocol):
    """An uploaded file, which does not change."""

    def read(self, offset: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `offset` on, in pieces of any size.

        Raises:
            AudienceError: UNAVAILABLE.
            FileFailedError: a part of the file is missing.
        """


@dataclass(frozen=True, slots=True)
class JobView:
    """What applying a file needs to know about its job.

    `uploaded_ms` (Unix time in ms) is when the upload ended. Expirations count from it, and timestamps are past or too
    far ahead relative to it, whenever the file is applied. `most_bytes` and `most_lines` are limits of the decompressed
    content; None: no limit. `is_ours` tells whether this process still has the job's lease: if the process was stopped
    for long, another one may have gone on or finished, and its writes must not be overwritten. None: it has.
    """

    member_id: int
    uploaded_ms: int
    most_bytes: int | None = None
    most_lines: int | None = None
    is_ours: Callable[[], bool] | None = None


class Layout(NamedTuple):
    """How the lines of a file are parsed: by the member's settings at the time when the file was begun, even if another
    process goes on with it after they have changed."""

    separators: Sequence[str]
    fields: Sequence[str]
    segments_per_line: int

    @classmethod
    def of(cls, settings: BatchSettings) -> "Layout":
        """The layout of a member's settings."""
        return cls(settings.separators, settings.fields, settings.segments_per_line)

    def settings(self) -> BatchSettings:
        """Settings with this layout."""
        fields = tuple(map(BatchField, self.fields))
        return BatchSettings(Separators(*self.separators), fields, segments_per_line=self.segments_per_line)


class Checkpoint(NamedTuple):
    """A position in a file up to which everything is written and counted.

    `position` is the offset in the (decompressed) content at which a line, or an Avro block, begins. `records` is how
    many records of that block are applied too. `file_bytes` is how much of the stored file was read for this.
    """

    position: int
    records: int
    file_bytes: int
    counters: Counters
    layout: Layout | None = None
    """None in checkpoints written by versions that had no layouts."""

    def dump(self) -> str:
        """The checkpoint as text, for `load`."""
        counters = self.counters.to_json() | {"layout": self.layout}
        return json.dumps([self.position, self.records, self.file_bytes, counters])

    @classmethod
    def load(cls, text: str) -> "Checkpoint":
        """The checkpoint in the text of a `dump`."""
        position, records, file_bytes, counters = json.loads(text)
        layout = counters.get("layout")  # it is among the counters, where versions without layouts ignore it
        return cls(position, records, file_bytes, Counters.from_json(counters), layout and Layout(*layout))


class ErrorCode(StrEnum):
    """The `error_code` of a job that failed as a whole. What it applied before stays."""

    INVALID_FORMAT_LIMIT_EXCEEDED = "INVALID_FORMAT_LIMIT_EXCEEDED"
    """More lines than the member's `num_invalid_before_error` could not be read."""
    FILESIZE_LIMIT_EXCEEDED = "FILESIZE_LIMIT_EXCEEDED"
    """The content is longer than the member may send."""
    RATE_LIMIT_EXCEEDED = "RATE_LIMIT_EXCEEDED"
    """The content has more lines than the member may send."""
    FILE_CUT_OFF = "FILE_CUT_OFF"
    """The file ends within an Avro block, or within its compressed content; everything before that is applied."""
    CORRUPT_FILE = "CORRUPT_FILE"
    """From some position on, the file is not valid gzip or Avro; everything before that is applied."""
    UNKNOWN_SCHEMA = "UNKNOWN_SCHEMA"
    """The schema of an Avro file lacks required fields, or has other types."""
    UNKNOWN_CODEC = "UNKNOWN_CODEC"
    """The blocks of an Avro file are compressed with a codec other than null and deflate."""
    MEMBER_DELETED = "MEMBER_DELETED"
    """The member no longer exists."""
    FILE_LOST = "FILE_LOST"
    """A part of the file is missing in the store of files."""
    PROCESS_ENDED = "PROCESS_ENDED"
    """Several processes in a row died or hung while they applied the same part of the file."""
    INTERNAL = "INTERNAL"
    """A defect of the service, which is logged."""


class FileFailedError(Exception):
    """The file cannot be applied to its end. `code` is the job's error code; the message is for people."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code
