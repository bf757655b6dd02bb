"""Receives uploads: begins them, checks them against limits while they come, and stores them (source:
contract-neighbours, "Batch Segment Service")."""

import asyncio
import contextlib
import hashlib
import re
from collections.abc import Callable
from functools import partial

from instantaudience_server.admission.admission import RETRY_SECONDS
from instantaudience_server.batch.content import AVRO, GZIP
from instantaudience_server.batch.uploads.files import PART_BYTES, FileStore
from instantaudience_server.batch.uploads.limits import Allowance, Limit, UploadRefusedError, limits_of
from instantaudience_server.catalog.batch_settings import BatchSettings
from instantaudience_server.catalog.feed import FindMember
from instantaudience_server.errors import STORE_FAILURES, AudienceError, overloaded
from instantaudience_server.observation.metrics import BATCH_UPLOADED_BYTES
from instantaudience_server.process.clock import Clock
from instantaudience_server.settings import UPLOAD_SILENT_SECONDS
from instantaudience_server.store.interfaces.jobs import (
    MARK_BYTES,
    Job,
    JobStore,
    Refusal,
    Room,
    Uploaded,
    UploadLimits,
)

STORE_SECONDS = 5.0
"""How long the cluster may take for a change of a job."""
END_SECONDS = 30.0
"""How long the cluster may take to end an upload; if it fails, the whole file has to be sent again."""
LEASE_MS, RENEW_SECONDS = 120_000, 15.0
"""After how long an upload times out whose progress is not noted, and how often progress is noted."""
MOST_UPLOADS = 100
"""The most uploads under way in a process; each may have two parts of its file in memory."""
TOO_MANY = "too many files are uploaded at once; try again later"
COMPRESSED = (GZIP, AVRO)
"""The first bytes of files whose lines cannot be counted during the upload; they contain no line feed."""
BEGINNING_BYTES = max(map(len, COMPRESSED))
SECRET_BYTES = 20
URL_END = re.compile(f"[0-9a-f]{{{2 * MARK_BYTES}}}([0-9a-f]{{{2 * SECRET_BYTES}}})")
"""The last part of an upload URL: the mark of the time when it was made, which only the gateway uses, and the secret of
`SECRET_BYTES` random bytes."""
_REFUSALS = {Refusal.BUSY: Limit.UPLOADS, Refusal.FULL: Limit.WAITING}
"""Refusal → the limit of the member that is the reason."""


class NoSuchUploadError(Exception):
    """There is no such upload URL, or its job does not (or no longer) take a file."""


UPLOAD_INCOMPLETE = "UPLOAD_INCOMPLETE"
"""The `error_code` of a job whose file was not sent to its end."""
UPLOAD_FAILED = "UPLOAD_FAILED"
"""The `error_code` of a job whose file could not be stored."""


class Uploads:
    """Begins uploads. `draw` makes random words for leases, `randint(a, b)` a random integer from a to b; no upload may
    take longer than `most_seconds`."""

    def __init__(
        self,
        jobs: JobStore,
        files: FileStore,
        find_member: FindMember,
        clock: Clock,
        draw: Callable[[], str],
        randint: Callable[[int, int], int],
        most_seconds: float,
    ) -> None:
        self._jobs = jobs
        self._files = files
        self._find_member = find_member
        self._clock = clock
        self._draw = draw
        self._randint = randint
        self._most_seconds = most_seconds
        self._under_way: set[str] = set()
        """The leases of the uploads under way in this process."""
        self._withdrawing: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    async def find(self, end: str) -> Job:
        """The job whose upload URL has this last part.

        Raises:
            NoSuchUploadError: there is none.
            AudienceError: UNAVAILABLE.
        """
        job = None
        if found := URL_END.fullmatch(end):
            job = await self._jobs.find_by_url(hash_secret(found[1]), self._loop.time() + STORE_SECONDS)
        if job is None:
            raise NoSuchUploadError
        return job

    async def begin(self, job: Job, announced_bytes: int | None) -> "Upload":
        """Begin the upload of a job's file. `announced_bytes` is its size if the sender has announced it.

        Raises:
            NoSuchUploadError: the job does not take a file any more, or its member was deleted.
            UploadRefusedError: a limit of the member is exceeded.
            AudienceError: UNAVAILABLE, also if `MOST_UPLOADS` are under way.
        """
        member = await self._find_member(job.member_id, self._loop.time() + STORE_SECONDS)
        if member is None:
            raise NoSuchUploadError
        if (announced_bytes or 0) > member.batch.file_bytes:
            raise UploadRefusedError(Limit.FILE_BYTES)
        if len(self._under_way) >= MOST_UPLOADS:
            raise overloaded(TOO_MANY, self._randint(*RETRY_SECONDS))
        held = HeldJob(self._jobs, self._clock, job, self._draw(), limits_of(member.batch))
        # Before the cluster is asked, else any number could begin while it answers.
        self._under_way.add(held.lease)
        ended = partial(self._under_way.discard, held.lease)
        try:
            return await self._begin(held, announced_bytes or 0, member.batch, ended)
        except BaseException:
            ended()
            raise

    async def _begin(
        self, held: "HeldJob", announced_bytes: int, settings: BatchSettings, ended: Callable[[], None]
    ) -> "Upload":
        """As `begin`, for one of those under way; the upload calls `ended`."""
        try:
            room = await held.begin(announced_bytes)
        except (AudienceError, asyncio.CancelledError):
            task = self._loop.create_task(_withdraw(held))
            self._withdrawing.add(task)
            task.add_done_callback(self._withdrawing.discard)
            raise
        if isinstance(room, Refusal):
            if room in _REFUSALS:
                raise UploadRefusedError(_REFUSALS[room], self._randint(*RETRY_SECONDS))
            raise NoSuchUploadError
        seconds = min(self._most_seconds, 60.0 * settings.upload_minutes)
        upload = Upload(held, self._files, Allowance(settings.file_bytes, room), seconds, ended)
        try:
            upload.expect(announced_bytes)
        except UploadRefusedError as error:
            await upload.fail(error.limit.error_code)
            raise
        return upload


class HeldJob:
    """The changes to a job whose file this process uploads, under one lease and with the member's limits."""

    def __init__(self, jobs: JobStore, clock: Clock, job: Job, lease: str, limits: UploadLimits) -> None:
        self._jobs = jobs
        self._clock = clock
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self.job = job
        self.lease = lease

    async def begin(self, announced_bytes: int) -> Room | Refusal:
        """See `JobStore.begin_upload`."""
        now_ms, deadline = self._clock.now_ms(), self._loop.time() + STORE_SECONDS
        return await self._jobs.begin_upload(
            self.job, self.lease, announced_bytes, self._limits, now_ms, now_ms + LEASE_MS, deadline
        )

    async def keep(self, file: Uploaded) -> Room | None:
        """See `JobStore.keep_uploading`."""
        now_ms, deadline = self._clock.now_ms(), self._loop.time() + STORE_SECONDS
        return await self._jobs.keep_uploading(
            self.job, self.lease, file, self._limits, now_ms, now_ms + LEASE_MS, deadline
        )

    async def end(self, file: Uploaded) -> bool | Room:
        """See `JobStore.end_upload`."""
        now_ms, deadline = self._clock.now_ms(), self._loop.time() + END_SECONDS
        return await self._jobs.end_upload(self.job, self.lease, file, self._limits, now_ms, deadline)

    async def fail(self, error_code: str, seconds: float) -> bool:
        """See `JobStore.fail_upload`; `seconds` is how long the cluster may take."""
        deadline = self._loop.time() + seconds
        return await self._jobs.fail_upload(self.job, self.lease, error_code, self._clock.now_ms(), deadline)


async def _withdraw(held: HeldJob) -> None:
    """End an upload whose beginning failed here but may have been noted in the cluster, so that it does not count
    against the member's next one."""
    with contextlib.suppress(*STORE_FAILURES):
        await held.fail(UPLOAD_FAILED, END_SECONDS)


class Upload:
    """An upload under way. It ends with `finish` or, if that raises, with `fail`; both call `ended`."""

    def __init__(
        self, held: HeldJob, files: FileStore, allowance: Allowance, seconds: float, ended: Callable[[], None]
    ) -> None:
        self.job = held.job
        self._held = held
        self._files = files
        self._allowance = allowance
        self._loop = asyncio.get_running_loop()
        self._announced = 0
        self._until = self._loop.time() + seconds
        self._ended = ended
        self._renew_at = self._loop.time() + RENEW_SECONDS
        self._kept_until = self._loop.time() + LEASE_MS / 1000
        self._size = self._lines = self._number = 0
        self._ends_within_line = False
        self._counts_lines = allowance.room.lines is not None
        self._beginning = b""
        self._is_compressed = False
        self._part = bytearray()
        self._writing: asyncio.Task[None] | None = None

    @property
    def patience_seconds(self) -> float:
        """How long to wait for more of the file.

        Raises:
            UploadRefusedError: the time for the upload is over.
        """
        left = self._until - self._loop.time()
        if left <= 0:
            raise UploadRefusedError(Limit.TIME)
        return min(left, UPLOAD_SILENT_SECONDS)

    def expect(self, announced_bytes: int) -> None:
        """Note the announced size of the file.

        Raises:
            UploadRefusedError: it exceeds a limit.
        """
        self._announced = announced_bytes
        self._allowance.check(announced_bytes, 0)

    async def add(self, data: bytes | bytearray) -> None:
        """Take more of the file. Waits if the store of files is slower than the sender.

        Raises:
            UploadRefusedError: the file exceeds a limit.
            NoSuchUploadError: the job was cancelled, or the upload has timed out.
            AudienceError: UNAVAILABLE.
        """
        if len(self._beginning) < BEGINNING_BYTES:
            self._beginning += data[: BEGINNING_BYTES - len(self._beginning)]
            self._is_compressed = self._beginning.startswith(COMPRESSED)
        self._size += len(data)
        if self._counts_lines and not self._is_compressed:
            self._lines += data.count(b"\n")
            self._ends_within_line = not data.endswith(b"\n") if data else self._ends_within_line
        await self._hold()
        BATCH_UPLOADED_BYTES.inc(len(data))
        self._part += data
        while len(self._part) >= PART_BYTES:
            part = bytes(self._part[:PART_BYTES])
            del self._part[:PART_BYTES]
            await self._write(part)
        if self._loop.time() >= self._renew_at:
            await self._renew()

    async def finish(self) -> None:
        """End the upload of a complete file, which queues its job.

        Raises:
            UploadRefusedError: the file exceeds a limit, by a last line without a line feed, or because other files of
                the member were counted meanwhile.
            NoSuchUploadError: the job was cancelled, or the upload has timed out.
            AudienceError: UNAVAILABLE.
        """
        if self._ends_within_line and not self._is_compressed:
            self._lines += 1
        if self._part:
            await self._write(bytes(self._part))
        await self._written()
        most_lines = self._allowance.room.lines if self._is_compressed else None
        file = Uploaded(self._size, self._lines, -1 if most_lines is None else most_lines)
        ended = await self._held.end(file)
        if isinstance(ended, Room):
            self._allowance = self._allowance._replace(room=ended)
            self._allowance.check(self._size, self._lines)
        if ended is not True:
            raise NoSuchUploadError
        self._ended()

    async def fail(self, error_code: str) -> None:
        """End an incomplete upload, and delete what was stored. If the cluster does not answer, the upload times out.

        The file is kept if its job is queued already, because `finish` was carried out and only its answer was lost.
        """
        self._ended()
        with contextlib.suppress(AudienceError):
            await self._written()
        with contextlib.suppress(*STORE_FAILURES):
            if await self._held.fail(error_code, STORE_SECONDS):
                await self._files.discard(self.job.job_id)

    async def _hold(self) -> None:
        """Check what has come against the limits. Before the file is refused, what is left of them is read again, as
        other uploads of the member may have failed."""
        try:
            self._allowance.check(self._size, self._lines)
        except UploadRefusedError as error:
            if error.limit is Limit.FILE_BYTES:
                raise
            await self._renew()
            self._allowance.check(self._size, self._lines)

    async def _renew(self) -> None:
        """Note the progress, and read what the member's other files leave of the limits. If the cluster does not
        answer, that is no error until the last note has timed out."""
        asked = self._loop.time()
        self._renew_at = asked + RENEW_SECONDS
        file = Uploaded(max(self._size, self._announced), self._lines, -1)
        try:
            room = await self._held.keep(file)
        except AudienceError:
            if self._loop.time() >= self._kept_until:
                raise
            return
        if room is None:
            raise NoSuchUploadError
        self._allowance = self._allowance._replace(room=room)
        self._allowance.check(file.size_bytes, file.lines)
        self._kept_until = asked + LEASE_MS / 1000

    async def _write(self, part: bytes) -> None:
        await self._written()
        self._writing = asyncio.create_task(self._files.write(self.job.job_id, self._number, part))
        self._number += 1

    async def _written(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing


def hash_secret(secret: str) -> str:
    """The hash of an upload URL's secret, which is what the cluster keeps."""
    return hashlib.sha256(secret.encode()).hexdigest()
