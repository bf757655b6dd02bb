"""Members' limits on uploads, and the answers when they are exceeded (source: contract-neighbours, "Batch Segment
Service")."""

from enum import Enum
from typing import NamedTuple

from instantaudience_server.catalog.batch_settings import UNLIMITED, BatchSettings
from instantaudience_server.errors import Reason
from instantaudience_server.store.interfaces.jobs import Room, UploadLimits


class Limit(Enum):
    """Why an upload is refused: HTTP status, `error_code`, text."""

    FILE_BYTES = 413, "FILESIZE_LIMIT_EXCEEDED", "Member exceeds maximum byte size allowed for a file"
    DAY_BYTES = 429, "RATE_LIMIT_EXCEEDED", "Member exceeds maximum allowed bytes per day"
    HOUR_BYTES = 429, "RATE_LIMIT_EXCEEDED", "Member exceeds maximum allowed bytes per hour"
    DAY_LINES = 429, "RATE_LIMIT_EXCEEDED", "Member exceeds maximum allowed number of lines per day"
    HOUR_LINES = 429, "RATE_LIMIT_EXCEEDED", "Member exceeds maximum allowed number of lines per hour"
    UPLOADS = 429, "RATE_LIMIT_EXCEEDED", "Member exceeds maximum allowed number of uploads at a time"
    WAITING = 429, "RATE_LIMIT_EXCEEDED", "Member exceeds maximum allowed number of waiting jobs"
    TIME = 408, "RATE_LIMIT_EXCEEDED", "Maximum upload time exceeded"

    @property
    def http_status(self) -> int:
        """The status of the answer over HTTP."""
        return self.value[0]

    @property
    def error_code(self) -> str:
        """The `error_code` of the answer over HTTP, and of the job."""
        return self.value[1]

    @property
    def text(self) -> str:
        """The message for people."""
        return self.value[2]

    @property
    def reason(self) -> Reason:
        """The reason of the answer over gRPC, and in the member's usage."""
        return Reason.LIMIT if self is Limit.FILE_BYTES else Reason.RATE_LIMIT_EXCEEDED


class UploadRefusedError(Exception):
    """A file exceeds the member's limits. `retry_after_seconds` is set if the upload has not begun: the same one may
    succeed later."""

    def __init__(self, limit: Limit, retry_after_seconds: int | None = None) -> None:
        super().__init__(limit.text)
        self.limit = limit
        self.retry_after_seconds = retry_after_seconds


class Allowance(NamedTuple):
    """What a file may have: the most bytes of a single file, and what was left of the member's other limits when it was
    last read."""

    file_bytes: int
    room: Room

    def check(self, size: int, lines: int) -> None:
        """Check a file's bytes and lines.

        Raises:
            UploadRefusedError: they exceed a limit.
        """
        room = self.room
        if size > self.file_bytes:
            raise UploadRefusedError(Limit.FILE_BYTES)
        for limit, left, wanted in (
            (Limit.DAY_BYTES, room.day_bytes, size),
            (Limit.HOUR_BYTES, room.hour_bytes, size),
            (Limit.DAY_LINES, room.day_lines, lines),
            (Limit.HOUR_LINES, room.hour_lines, lines),
        ):
            if left is not None and (wanted > left or left <= 0):
                raise UploadRefusedError(limit)


def limits_of(settings: BatchSettings) -> UploadLimits:
    """The limits in a member's settings."""
    bounds = (settings.bytes_per_hour, settings.bytes_per_day, settings.lines_per_hour, settings.lines_per_day)
    return UploadLimits(
        settings.waiting_jobs, settings.uploads_at_once, *[None if each == UNLIMITED else each for each in bounds]
    )
