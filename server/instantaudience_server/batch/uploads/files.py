"""The store of uploaded files, which are kept in parts until their job has ended (docs/adr/0027-batch-service.md).

A file is a folder named after its job, with numbered parts of equal size, except for the last one. This needs nothing
from a store but putting, getting, listing and deleting whole objects.
"""

import asyncio
import contextlib
import errno
import re
import tempfile
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

import structlog
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import from_url

from instantaudience_server.batch.jobs import ErrorCode, FileFailedError
from instantaudience_server.errors import AudienceError, unavailable
from instantaudience_server.observation.telemetry import Event

if TYPE_CHECKING:
    from obstore.store import RetryConfig

PART_BYTES = 2**20
PIECE_BYTES = 2**18
"""The size of the pieces in which a part is handed to its reader."""
RETRIES: "RetryConfig" = {"max_retries": 5, "retry_timeout": timedelta(seconds=30)}
"""The retries of requests to a remote store."""
ONE_TRY: "RetryConfig" = {"max_retries": 0, "retry_timeout": timedelta(seconds=5)}
"""The retries, none, of the request that only tests a remote store (`FileStore.problem`)."""
ADVICE = "look at --batch-store or, without it, --data-dir: until files can be kept there, uploads fail with 503"
UNREACHABLE = "the store of files is out of reach"

_SECRETS = re.compile(r"(?<=://)[^/\s]*@|\?\S*")
"""The parts of a URL that may contain a password or a request's signature."""

Result = TypeVar("Result")

log = structlog.get_logger()


class FileLostError(FileFailedError):
    """A part of a file is missing or incomplete."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.FILE_LOST, "A part of the file is not there, or not whole")


class FileStore:
    """The files in the store at a URL; credentials for remote stores come from the environment (`AWS_…`).

    Methods raise AudienceError UNAVAILABLE if the store cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    @property
    def folder(self) -> Path | None:
        """The local folder with the files; None for a remote store."""
        parts = urlsplit(self._url)
        return Path(unquote(parts.path)) if parts.scheme == "file" else None

    @cached_property
    def _store(self) -> Any:
        """obstore's client, created at first use, as most workers never need it."""
        if self.folder is not None:
            return from_url(self._url, mkdir=True, automatic_cleanup=True)
        return from_url(self._url, retry_config=RETRIES)

    @property
    def place(self) -> str:
        """Its URL, without what may be secret."""
        parts = urlsplit(self._url)
        return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"

    async def problem(self) -> str | None:
        """Why files cannot be kept, tested without retries: the folder (which is made) cannot be written to, or the
        remote store cannot be listed. None: they can."""

        def look() -> str | None:
            try:
                if self.folder is None:
                    from_url(self._url, retry_config=ONE_TRY).list_with_delimiter()
                else:
                    self.folder.mkdir(parents=True, exist_ok=True)
                    with tempfile.TemporaryFile(dir=self.folder):
                        pass
            except OSError as error:
                return error.strerror or _told(error)
            except BaseError as error:
                return _told(error)
            return None

        return await asyncio.to_thread(look)

    async def tell_problem(self) -> None:
        """Have the log say where there can be no files, and what to do: else the first sender would find out."""
        if why := await self.problem():
            log.warning(Event.BATCH_STORE_UNUSABLE, store=self.place, error=why, advice=ADVICE)

    async def write(self, job_id: str, number: int, part: bytes) -> None:
        """Write a part of a job's file, counted from 0."""
        await _apart(lambda: self._store.put(_path(job_id, number), part, use_multipart=False))

    def file(self, job_id: str, size_bytes: int) -> "StoredParts":
        """A job's file, which has `size_bytes` bytes."""
        return StoredParts(self, job_id, size_bytes)

    async def part(self, job_id: str, number: int) -> bytes:
        """A part of a job's file.

        Raises:
            FileLostError: it does not exist.
        """

        def get() -> bytes:
            try:
                return bytes(self._store.get(_path(job_id, number)).bytes())
            except (FileNotFoundError, NotFoundError):
                raise FileLostError from None

        return await _apart(get)

    async def delete(self, job_id: str) -> None:
        """Delete the parts of a job's file that exist; other processes may delete them at the same time."""

        def delete() -> None:
            if self.folder is not None:
                _remove(self.folder / job_id)
                return
            for listed in self._store.list(prefix=job_id):
                paths = [each["path"] for each in listed]
                try:
                    self._store.delete(paths)
                except (FileNotFoundError, NotFoundError):
                    for path in paths:
                        with contextlib.suppress(FileNotFoundError, NotFoundError):
                            self._store.delete(path)

        await _apart(delete)

    async def discard(self, job_id: str) -> None:
        """Delete a job's file that nobody needs any more. If the store fails, the next sweep tries again
        (`sweeping.sweep`)."""
        with contextlib.suppress(AudienceError):
            await self.delete(job_id)

    async def job_ids(self) -> list[str]:
        """The IDs of the jobs that have parts of a file here, among the names of anything else in the bucket."""
        return await _apart(lambda: [str(each) for each in self._store.list_with_delimiter()["common_prefixes"]])


class StoredParts:
    """A completely uploaded file (a `jobs.StoredFile`)."""

    def __init__(self, store: FileStore, job_id: str, size_bytes: int) -> None:
        self._store = store
        self._job_id = job_id
        self._size_bytes = size_bytes

    async def read(self, offset: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `offset` on. The next part is fetched while the caller uses one.

        Raises:
            AudienceError: UNAVAILABLE.
            FileLostError: a part is missing or incomplete.
        """
        parts = range(offset // PART_BYTES, -(-self._size_bytes // PART_BYTES))
        start = offset % PART_BYTES
        coming = self._begin(parts.start) if parts else None
        try:
            for number in parts:
                assert coming is not None
                part = await coming
                if len(part) != min(PART_BYTES, self._size_bytes - number * PART_BYTES):
                    raise FileLostError
                coming = self._begin(number + 1) if number + 1 < parts.stop else None
                for begin in range(start, len(part), PIECE_BYTES):
                    yield part[begin : begin + PIECE_BYTES]
                start = 0
        finally:
            if coming is not None:
                coming.cancel()

    def _begin(self, number: int) -> "asyncio.Task[bytes]":
        return asyncio.create_task(self._store.part(self._job_id, number))


async def _apart(work: Callable[[], Result]) -> Result:
    """Run blocking work on the store in a thread.

    obstore's own asyncio methods are not used: its threads would call Python, and one that does so while Python shuts
    down aborts the process.

    Raises:
        AudienceError: UNAVAILABLE, the store failed; the error is logged.
    """
    try:
        return await asyncio.to_thread(work)
    except (BaseError, OSError) as error:
        log.warning(Event.BATCH_STORE_FAILED, error=_told(error))
        raise unavailable(UNREACHABLE) from None


def _remove(folder: Path) -> None:
    """Delete a folder with its files, including partial ones of a process that was killed, which obstore does not
    list."""
    with contextlib.suppress(FileNotFoundError):
        for each in folder.iterdir():
            each.unlink(missing_ok=True)
        try:
            folder.rmdir()
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:  # another part was written meanwhile
                raise


def _told(error: Exception) -> str:
    """The first line of a store's error, without secrets in URLs."""
    return _SECRETS.sub("", str(error).partition("\n")[0])


def _path(job_id: str, number: int) -> str:
    return f"{job_id}/{number:06d}"
