"""Jobs of the batch service: their progress, their queues, and what members have uploaded."""

import enum
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from instantaudience_server.process.clock import MS_PER_MINUTE

KEPT_MS = 30 * 86_400_000
"""How long a job is kept after it was created (source: contract-neighbours, section 2)."""
MOST_UNUSED = 1000
"""How many of a member's jobs without a file are kept."""
MOST_IN_A_DAY = 10_000
"""How many files a member may send in a day (UTC), as the job of each is kept."""

MARK_MS = 5 * MS_PER_MINUTE
"""The length of the spans of time into which marks divide upload URLs: those made within a span share a mark."""
MARK_BYTES = 8


class Phase(enum.StrEnum):
    """The state of a job."""

    STARTING = "starting"
    UPLOADING = "uploading"
    VALIDATING = "validating"
    PROCESSING = "processing"
    COMPLETED = "completed"
    ERROR = "error"


ENDED = frozenset((Phase.COMPLETED, Phase.ERROR))
"""The final phases."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job. Times are Unix times in ms, 0 for what has not happened yet.

    `open_until_ms` is when the upload URL expires; during the upload, when it times out unless more of the file has
    come. `most_lines` is how many lines the file may have where they are counted only while it is applied, else -1.
    `position_bytes` is how much of the file was applied. `checkpoint` is the state from which applying the file goes
    on, `progress` what callers get to know of it meanwhile, and `report` what is kept of it when the job has ended; the
    store does not interpret them. `lease` is a random word of the process that has the job. `tries` is how often the
    job was taken since its progress was last noted, not counting the times that it was given back.
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
    progress: str = ""
    report: str = ""
    lease: str = ""
    tries: int = 0


class Order(NamedTuple):
    """The order of a list of jobs."""

    by_change: bool = False
    """Whether to sort by the latest change; else by creation."""
    newest_first: bool = True


class JobPage(NamedTuple):
    """A page of a member's jobs, which are read lazily, and the number of all of them."""

    jobs: AsyncGenerator[Job, None]
    total: int


class OlderJobs(NamedTuple):
    """A page of a member's jobs, which are read lazily, the number of all of them, and the `before` of the next page
    (0: there is none)."""

    jobs: AsyncGenerator[Job, None]
    total: int
    before: int


class UploadLimits(NamedTuple):
    """A member's limits. `waiting_jobs` bounds the jobs that wait or are uploaded, `uploads_at_once` the uploads under
    way, the others what is uploaded in an hour and in a day (UTC). None: no limit."""

    waiting_jobs: int
    uploads_at_once: int
    hour_bytes: int | None
    day_bytes: int | None
    hour_lines: int | None
    day_lines: int | None


class Room(NamedTuple):
    """What is left of a member's limits; None: no limit."""

    hour_bytes: int | None
    day_bytes: int | None
    hour_lines: int | None
    day_lines: int | None

    @property
    def lines(self) -> int | None:
        """How many more lines both limits allow; None where neither limits them."""
        return min([each for each in (self.hour_lines, self.day_lines) if each is not None], default=None)


class Uploaded(NamedTuple):
    """The size of a file. `lines` is 0 where they were not counted. `most_lines` is how many lines the file may have
    where they have to be counted later, else -1."""

    size_bytes: int
    lines: int
    most_lines: int


class Refusal(enum.StrEnum):
    """Why an upload may not begin."""

    CLOSED = "closed"
    """There is no such job, its upload has begun already, a newer URL has replaced its own, or that has expired."""
    BUSY = "busy"
    """The member has as many uploads under way as it may."""
    FULL = "full"
    """Too many of the member's jobs wait or are being uploaded."""


class Marks(NamedTuple):
    """The marks of the current span of `MARK_MS` and, as clocks differ, of the ones before and after it: random words
    of `MARK_BYTES` bytes in hexadecimal."""

    before: str
    now: str
    after: str


class JobStore(Protocol):
    """Jobs, and what members uploaded.

    A lease is the random word of the process that uploads or applies a job, and the methods that change the job demand
    it. Where another process has the lease by now, or a caller has cancelled the job, they change nothing and return
    False (or what they say otherwise).
    """

    async def create(self, job: Job, url_hash: str | None, deadline: float) -> Job | None:
        """Keep a new job, and return it with its number. Its upload URL, given by its hash, replaces an unused one of
        the member; None: it has none, as its file is here already. The oldest of the member's jobs without a file are
        deleted beyond `MOST_UNUSED`. None: the member has sent as many files as it may in a day."""

    async def marks(self, now_ms: int, deadline: float) -> Marks:
        """The marks of upload URLs made about now; the same for all processes."""

    async def find(self, job_id: str, deadline: float) -> Job | None:
        """The job, or None."""

    async def find_by_url(self, url_hash: str, deadline: float) -> Job | None:
        """The job whose upload URL has this hash, or None."""

    async def page(self, member_id: int, order: Order, start: int, size: int, now_ms: int, deadline: float) -> JobPage:
        """`size` of a member's jobs, from position `start` on."""

    async def older(self, member_id: int, before: int, size: int, now_ms: int, deadline: float) -> OlderJobs:
        """`size` of a member's jobs, newest first, from `OlderJobs.before` of the previous page on (0: from the
        newest). None is missing and none comes twice, even when jobs are created between pages."""

    def changed(self, member_id: int, since_ms: int, now_ms: int, deadline: float) -> AsyncGenerator[Job, None]:
        """A member's jobs that changed since a moment (Unix time in ms), the oldest change first. None is missing and
        none comes twice, even when jobs change meanwhile."""

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
        """Begin the upload of a job's file, which times out at `until_ms` unless more has come by then. Returns what
        the member's other uploads, by what they announced or noted, leave of the limits. If `announced_bytes` fit in
        that, they are reserved for this upload."""

    async def room(self, member_id: int, limits: UploadLimits, now_ms: int, deadline: float) -> Room:
        """What is left of a member's limits; less than 0 where it has sent more."""

    async def keep_uploading(
        self, job: Job, lease: str, file: Uploaded, limits: UploadLimits, now_ms: int, until_ms: int, deadline: float
    ) -> Room | None:
        """Note how much of the file has come, and prolong the upload until `until_ms`, if it fits in the limits.
        Returns the room, as `begin_upload`; None where the upload is over."""

    async def end_upload(
        self, job: Job, lease: str, file: Uploaded, limits: UploadLimits, now_ms: int, deadline: float
    ) -> bool | Room:
        """End the upload of a complete file, and queue the job. Where the file exceeds the limits, returns the room
        instead; the caller then has to `fail_upload`."""

    async def fail_upload(self, job: Job, lease: str, error_code: str, now_ms: int, deadline: float) -> bool:
        """End the upload and the job with an error."""

    async def take(self, lease: str, lease_ms: int, now_ms: int, deadline: float) -> Job | None:
        """Take the next job to apply, with a lease of `lease_ms` by the cluster's clock, which the returned job has.

        That is a job whose lease has ended, else the oldest job of the member that has waited longest for its turn. A
        member has at most one job running. None: there is none, or the one whose turn it was had ended already.
        """

    async def keep(self, job: Job, lease_ms: int, deadline: float) -> bool:
        """Renew a job's lease: it ends `lease_ms` from now."""

    async def note(
        self,
        job: Job,
        checkpoint: str,
        progress: str,
        position_bytes: int,
        lease_ms: int,
        now_ms: int,
        deadline: float,
    ) -> bool:
        """Note a job's progress, and renew its lease."""

    async def finish(
        self, job: Job, report: str, error_code: str, lines: int, now_ms: int, deadline: float
    ) -> str | None:
        """End a job; without an error code it is complete. `report` replaces checkpoint and progress; `lines` are added
        to what the member has sent, where they were not counted before. Returns the error code with which the job
        ended, which is another one where a caller cancelled it before. None: another process has it, or it is gone."""

    async def give_back(self, job: Job, deadline: float) -> None:
        """End the lease of a job, so that another process can go on with it at once; does nothing where the job has
        ended."""

    async def cancel(self, job: Job, error_code: str, now_ms: int, deadline: float) -> bool:
        """End a job with an error, whichever process has it. False where it had ended otherwise, or is gone."""
