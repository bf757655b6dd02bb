"""The operations that callers have on jobs (create, find, list, cancel, upload), common to REST and gRPC."""

import asyncio
import contextlib
import math
import secrets
import string
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import NamedTuple

from instantaudience_server.admission.quotas import Quotas
from instantaudience_server.batch.jobs import RANDOM_CHARACTERS
from instantaudience_server.batch.uploads.files import FileStore
from instantaudience_server.batch.uploads.limits import Limit, UploadRefusedError
from instantaudience_server.batch.uploads.uploading import (
    SECRET_BYTES,
    STORE_SECONDS,
    UPLOAD_FAILED,
    UPLOAD_INCOMPLETE,
    NoSuchUploadError,
    Upload,
    Uploads,
    hash_secret,
)
from instantaudience_server.catalog.access import Caller, NamesMember, member_of, require_member
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.errors import STORE_FAILURES, AudienceError, Reason, RefusedCommandError, required
from instantaudience_server.process.clock import MS_PER_HOUR, MS_PER_MINUTE, Clock
from instantaudience_server.store.interfaces.jobs import (
    ENDED,
    MOST_IN_A_DAY,
    Job,
    JobPage,
    JobStore,
    OlderJobs,
    Order,
    Phase,
)

OPEN_MS = 5 * MS_PER_MINUTE
"""How long an upload URL is valid (source: contract-neighbours)."""
RESOURCE = "batch-segment"
"""The name of these calls in errors of members' quotas."""
UPLOAD_URL_EXPIRED, CANCELLED = "UPLOAD_URL_EXPIRED", "CANCELLED"
"""The `error_code` of jobs whose upload did not begin in time, and of those that a caller ended."""
_ALPHABET = string.ascii_letters + string.digits
_MS_PER_DAY = 24 * MS_PER_HOUR


class NewJob(NamedTuple):
    """A job, and the last part of its upload URL: mark and secret."""

    job: Job
    url_end: str


class JobDesk:
    """Carries out callers' operations on jobs. Deadlines are times of the event loop's clock, in seconds.

    Callers with the role `admin` may use all jobs, others those of their own member. Every method raises AudienceError
    UNAUTH, NOT_FOUND or UNAVAILABLE, as it applies.
    """

    def __init__(
        self, jobs: JobStore, files: FileStore, uploads: Uploads, feed: CatalogFeed, quotas: Quotas, clock: Clock
    ) -> None:
        self._jobs = jobs
        self._files = files
        self._uploads = uploads
        self._feed = feed
        self._quotas = quotas
        self._clock = clock

    async def member_id(self, request: NamesMember, caller: Caller, deadline: float) -> int:
        """The ID of the member that a call names, or of the caller's member where it names none."""
        return (await member_of(request, self._feed, caller, deadline)).id

    async def count_get(self, caller: Caller, deadline: float) -> None:
        """Count a call towards the caller's quota of `GET`s (contract, "Limits").

        Raises:
            AudienceError: RATE_LIMIT_EXCEEDED; others as above.
        """
        await self._quotas.ask_gets(caller.member, RESOURCE, 1, deadline)

    async def create(self, member_id: int, caller: Caller, deadline: float) -> NewJob:
        """Create a job, whose file is uploaded later, to a URL.

        Raises:
            AudienceError: RATE_LIMIT_EXCEEDED; others as above.
        """
        await self.count_get(caller, deadline)
        secret = secrets.token_hex(SECRET_BYTES)
        marks = await self._jobs.marks(self._clock.now_ms(), deadline)
        return NewJob(await self._create(member_id, hash_secret(secret), deadline), f"{marks.now}{secret}")

    async def find(self, job_id: str, caller: Caller, deadline: float) -> Job:
        """Find a job.

        Raises:
            AudienceError: RATE_LIMIT_EXCEEDED; others as above.
        """
        await self.count_get(caller, deadline)
        return await self._own(job_id, caller, deadline)

    async def page(
        self, member_id: int, order: Order, start: int, size: int, caller: Caller, deadline: float
    ) -> JobPage:
        """A page of a member's jobs, as `JobStore.page`.

        Raises:
            AudienceError: RATE_LIMIT_EXCEEDED; others as above.
        """
        await self.count_get(caller, deadline)
        page = await self._jobs.page(member_id, order, start, size, self._clock.now_ms(), deadline)
        return page._replace(jobs=self._as_they_are(page.jobs))

    async def older(self, member_id: int, before: int, size: int, caller: Caller, deadline: float) -> OlderJobs:
        """A page of a member's jobs, newest first, as `JobStore.older`.

        Raises:
            AudienceError: RATE_LIMIT_EXCEEDED; others as above.
        """
        await self.count_get(caller, deadline)
        found = await self._jobs.older(member_id, before, size, self._clock.now_ms(), deadline)
        return found._replace(jobs=self._as_they_are(found.jobs))

    async def changed_since(
        self, member_id: int, since_ms: int, caller: Caller, deadline: float
    ) -> AsyncGenerator[Job, None]:
        """A member's jobs that changed since a moment (Unix time in ms), each once.

        Raises:
            AudienceError: RATE_LIMIT_EXCEEDED; others as above.
        """
        await self.count_get(caller, deadline)
        changed = self._jobs.changed(member_id, since_ms - OPEN_MS, self._clock.now_ms(), deadline)
        async with aclosing(self._as_they_are(changed)) as jobs:
            async for job in jobs:
                if job.modified_ms >= since_ms:
                    yield job

    async def cancel(self, job_id: str, caller: Caller, deadline: float) -> Job:
        """Cancel a job.

        Raises:
            AudienceError: IN_USE, the job has ended already; RATE_LIMIT_EXCEEDED; others as above.
        """
        await self.count_get(caller, deadline)
        job = await self._own(job_id, caller, deadline)
        if job.phase in ENDED or not await self._jobs.cancel(job, CANCELLED, self._clock.now_ms(), deadline):
            raise AudienceError(Reason.IN_USE, f"Job {job_id} has ended before", field="job_id")
        await self._files.discard(job_id)
        return await self._own(job_id, caller, deadline)

    async def upload(self, member_id: int, pieces: AsyncIterator[bytes], caller: Caller, deadline: float) -> Job:
        """Create a job, and upload its file, which may take longer than until the deadline. If that fails, so does the
        job, as nothing else can be uploaded for it.

        Raises:
            AudienceError: LIMIT, RATE_LIMIT_EXCEEDED: the file exceeds the member's limits; NOT_FOUND: the job was
                cancelled; others as above, and what `pieces` raises.
        """
        await self.count_get(caller, deadline)
        job = await self._create(member_id, None, deadline)
        upload: Upload | None = None
        error_code = UPLOAD_INCOMPLETE
        try:
            upload = await self._uploads.begin(job, None)
            while (piece := await _next(pieces, upload.patience_seconds)) is not None:
                await upload.add(piece)
            await upload.finish()
            error_code = ""
        except UploadRefusedError as error:
            error_code = error.limit.error_code
            refused = error.limit
            raise AudienceError(refused.reason, refused.text, retry_after_seconds=error.retry_after_seconds) from None
        except NoSuchUploadError:
            raise AudienceError(Reason.NOT_FOUND, f"Job {job.job_id} takes no file any more") from None
        except AudienceError as error:
            error_code = UPLOAD_FAILED if error.reason is Reason.UNAVAILABLE else UPLOAD_INCOMPLETE
            raise
        except RefusedCommandError:
            error_code = UPLOAD_FAILED
            raise
        finally:
            if error_code:
                await self._fail(job, upload, error_code)
        return await self._found(job.job_id, asyncio.get_running_loop().time() + STORE_SECONDS)

    async def _fail(self, job: Job, upload: Upload | None, error_code: str) -> None:
        """End a job whose upload failed, or (None) did not begin."""
        if upload is not None:
            await upload.fail(error_code)
            return
        with contextlib.suppress(*STORE_FAILURES):
            deadline = asyncio.get_running_loop().time() + STORE_SECONDS
            await self._jobs.cancel(job, error_code, self._clock.now_ms(), deadline)

    async def _create(self, member_id: int, url_hash: str | None, deadline: float) -> Job:
        """As `JobStore.create`.

        Raises:
            AudienceError: RATE_LIMIT_EXCEEDED, the member has sent as many files as it may in a day.
        """
        now_ms = self._clock.now_ms()
        job_id = "".join([secrets.choice(_ALPHABET) for _ in range(RANDOM_CHARACTERS)]) + str(now_ms // 1000)
        job = Job(job_id, 0, member_id, Phase.STARTING, now_ms, now_ms, now_ms + OPEN_MS)
        made = await self._jobs.create(job, url_hash, deadline)
        if made is None:
            raise _too_many_today(member_id, now_ms)
        return made

    async def _own(self, job_id: str, caller: Caller, deadline: float) -> Job:
        """A job that the caller may use, `_as_it_is`."""
        if not job_id:
            raise required("job_id")
        job = await self._found(job_id, deadline)
        require_member(caller, job.member_id)
        return self._as_it_is(job)

    async def _found(self, job_id: str, deadline: float) -> Job:
        job = await self._jobs.find(job_id, deadline) if job_id.isascii() and job_id.isalnum() else None
        if job is None:
            raise AudienceError(Reason.NOT_FOUND, f"'job_id': there is no job {job_id}", field="job_id")
        return job

    async def _as_they_are(self, jobs: AsyncGenerator[Job, None]) -> AsyncGenerator[Job, None]:
        """Each job `_as_it_is`. Other calls get their turn in between, because a job may have many lines."""
        async with aclosing(jobs):
            async for job in jobs:
                yield self._as_it_is(job)
                await asyncio.sleep(0)

    def _as_it_is(self, job: Job) -> Job:
        """The job, as failed where its upload has not begun or gone on in time, which the store does not note."""
        codes = {Phase.STARTING: UPLOAD_URL_EXPIRED, Phase.UPLOADING: UPLOAD_INCOMPLETE}
        if job.phase not in codes or self._clock.now_ms() < job.open_until_ms:
            return job
        end_ms = job.open_until_ms
        code = codes[job.phase]
        return replace(job, phase=Phase.ERROR, completed_ms=end_ms, modified_ms=end_ms, error_code=code)


def _too_many_today(member_id: int, now_ms: int) -> AudienceError:
    return AudienceError(
        Reason.RATE_LIMIT_EXCEEDED,
        f"Member exceeds maximum allowed number of files per day: {MOST_IN_A_DAY}",
        retry_after_seconds=math.ceil((_MS_PER_DAY - now_ms % _MS_PER_DAY) / 1000),
        count=str(MOST_IN_A_DAY),
        subject=f"member:{member_id}",
    )


async def _next(pieces: AsyncIterator[bytes], seconds: float) -> bytes | None:
    """The next piece; None after the last one.

    Raises:
        UploadRefusedError: it takes longer than `seconds`.
    """
    try:
        async with asyncio.timeout(seconds):
            return await anext(pieces, None)
    except TimeoutError:
        raise UploadRefusedError(Limit.TIME) from None
