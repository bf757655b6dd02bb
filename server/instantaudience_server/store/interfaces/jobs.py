"""Jobs of the batch service: how far they are, whose turn it is, and what members have uploaded."""

import enum
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from instantaudience_server.clock import MS_PER_MINUTE

KEPT_MS = 30 * 86_400_000
"""How long a job is kept after it was created (source: contract-neighbours, section 2)."""
MOST_UNUSED = 1000
"""How many jobs of a member are kept whose file has not come: nothing became of them."""
MOST_IN_A_DAY = 10_000
"""How many files of a member may come in a day (UTC): each has a job that is kept."""

MARK_MS = 5 * MS_PER_MINUTE
"""Upload URLs that are made within the same span of this length have a mark in common."""
MARK_BYTES = 8


class Phase(enum.StrEnum):
    """How far a job is."""

    STARTING = "starting"
    UPLOADING = "uploading"
    VALIDATING = "validating"
    PROCESSING = "processing"
    COMPLETED = "completed"
    ERROR = "error"


ENDED = frozenset((Phase.COMPLETED, Phase.ERROR))
"""Nothing changes any more."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job. Times are Unix times in ms, 0 where it is not so far.

    `open_until_ms` is until when its upload may begin, or, while it is uploaded, until when more of it must have come.
    `most_lines` is how many lines the file may have, where they show only while it is read, else -1. `checkpoint` is
    what its reader wrote down of what it had applied, and `report` what is left of that when it has ended; the store
    reads neither. `lease` is drawn anew each time that somebody takes the job. `tries` is how often somebody has since
    it was last written down how far it is, those left out who gave it back.
    """

    job_id: str
    number: int
    member_id: int
    phase: Phase
    created_ms: int
    modified_ms: int
    open_until_ms: int
    started_ms: int = 0
    uploaded_ms: int = 0
    validated_ms: int = 0
    completed_ms: int = 0
    size_bytes: int = 0
    most_lines: int = -1
    position_bytes: int = 0
    error_code: str = ""
    checkpoint: str = ""
    report: str = ""
    lease: str = ""
    tries: int = 0


class Order(NamedTuple):
    """How a list of jobs is sorted."""

    by_change: bool = False
    """By the latest change; else by creation, as their numbers are."""
    newest_first: bool = True


class JobPage(NamedTuple):
    """Some of a member's jobs, which are read as they are asked for, and how many it has."""

    jobs: AsyncGenerator[Job, None]
    total: int


class OlderJobs(NamedTuple):
    """Some of a member's jobs, which are read as they are asked for, how many it has, and before what the next ones are
    (0: there are none)."""

    jobs: AsyncGenerator[Job, None]
    total: int
    before: int


class UploadLimits(NamedTuple):
    """What a member may upload; None: no bound."""

    waiting_jobs: int
    uploads_at_once: int
    hour_bytes: int | None
    day_bytes: int | None
    hour_lines: int | None
    day_lines: int | None


class Room(NamedTuple):
    """What is left of a member's limits; None: no bound."""

    hour_bytes: int | None
    day_bytes: int | None
    hour_lines: int | None
    day_lines: int | None

    @property
    def lines(self) -> int | None:
        """How many more lines both limits allow; None where neither limits them."""
        return min([each for each in (self.hour_lines, self.day_lines) if each is not None], default=None)


class Uploaded(NamedTuple):
    """A file. Its lines are counted where that matters; `most_lines` is how many it may have where that was not
    possible, else -1."""

    size_bytes: int
    lines: int
    most_lines: int


class Refusal(enum.StrEnum):
    """Why an upload may not begin."""

    CLOSED = "closed"
    """There is no such job, or its upload has begun, or another job took its place, or it is too late."""
    BUSY = "busy"
    """The member uploads as many files as it may."""
    FULL = "full"
    """Too many of the member's jobs wait, or will when their files are there."""


class Marks(NamedTuple):
    """Random words of hexadecimal digits, `MARK_BYTES` each: that of the span of `MARK_MS` that is under way, and those
    of its neighbours, as clocks differ."""

    before: str
    now: str
    after: str


class JobStore(Protocol):
    """Jobs, and what members uploaded.

    A job's changes are written under its lease, the random word of who uploads or applies it: whoever has lost it to
    another one, or to a caller who cancelled the job, is told so (False), and nothing is changed.
    """

    async def create(self, job: Job, url_hash: str, deadline: float) -> Job | None:
        """Keep a new job, and number it; its upload URL, by its hash, replaces the member's unused one. Jobs whose file
        has not come go where there are more than `MOST_UNUSED`. None: as many files as may come in a day have."""

    async def marks(self, now_ms: int, deadline: float) -> Marks:
        """What the upload URLs have in common that are made about now. All who ask are told the same."""

    async def find(self, job_id: str, deadline: float) -> Job | None:
        """The job, or None."""

    async def find_by_url(self, url_hash: str, deadline: float) -> Job | None:
        """The job whose upload URL has this hash, or None."""

    async def page(self, member_id: int, order: Order, start: int, size: int, now_ms: int, deadline: float) -> JobPage:
        """A page of a member's jobs."""

    async def older(self, member_id: int, before: int, size: int, now_ms: int, deadline: float) -> OlderJobs:
        """A member's jobs, the newest first, from those on that are `before` what another page said (0: all). None is
        missing and none comes twice, whatever jobs are made between pages."""

    def changed(self, member_id: int, since_ms: int, now_ms: int, deadline: float) -> AsyncGenerator[Job, None]:
        """A member's jobs that changed since a moment (Unix time in ms), those first that have not changed for longest.
        None is missing and none comes twice, whatever changes meanwhile."""

    async def begin_upload(
        self,
        job: Job,
        lease: str,
        announced_bytes: int,
        limits: UploadLimits,
        now_ms: int,
        until_ms: int,
        deadline: float,
    ) -> Room | Refusal:
        """Begin to upload a job's file. What others of the member's uploads have announced or written down is not left;
        nor is, for these, what was announced here, if there is room for it."""

    async def room(self, member_id: int, limits: UploadLimits, now_ms: int, deadline: float) -> Room:
        """What is left of a member's limits; less than 0 where it has sent more."""

    async def keep_uploading(
        self, job: Job, lease: str, file: Uploaded, limits: UploadLimits, now_ms: int, until_ms: int, deadline: float
    ) -> Room | None:
        """Write down how much of the file has come, if there is room for it. Answers the room, as `begin_upload`; None
        where the upload is over."""

    async def end_upload(
        self, job: Job, lease: str, file: Uploaded, limits: UploadLimits, now_ms: int, deadline: float
    ) -> bool | Room:
        """The file is there: the job waits for its turn. The room, where there is not enough: the upload is to fail."""

    async def fail_upload(self, job: Job, lease: str, error_code: str, now_ms: int, deadline: float) -> bool:
        """The file is not to come."""

    async def take(self, lease: str, lease_ms: int, now_ms: int, deadline: float) -> Job | None:
        """Take the job whose turn it is: one whose lease has ended, else of the members that have some waiting, the
        oldest of the one that has waited longest for its turn. A member has one job under way at most. What is answered
        has the lease, by which those that follow change it. It is so long by the cluster's clock."""

    async def keep(self, job: Job, lease_ms: int, deadline: float) -> bool:
        """Keep a job that was taken for so long from now on."""

    async def note(
        self, job: Job, checkpoint: str, position_bytes: int, lease_ms: int, now_ms: int, deadline: float
    ) -> bool:
        """Write down how far a job is, and keep it."""

    async def finish(
        self, job: Job, report: str, error_code: str, lines: int, now_ms: int, deadline: float
    ) -> str | None:
        """End a job; without an error code it is complete. `report` takes the checkpoint's place; `lines` were sent and
        not counted before. Answers the error code with which it has ended: another one where a caller has cancelled it
        before. None: somebody else has it, or it is gone."""

    async def give_back(self, job: Job, deadline: float) -> None:
        """Let somebody else go on with a job, at once; nothing where it is over."""

    async def cancel(self, job: Job, error_code: str, now_ms: int, deadline: float) -> bool:
        """End a job that has not ended, whoever has it; False when it had ended."""
