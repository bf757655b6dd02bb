"""The batch service's jobs in the cluster (see `interfaces.jobs.JobStore`; docs/adr/0027-batch-service.md).

All of it is in one slot, so that queues, turns and leases change in one atomic step. The load is small: a few commands
a second; the memberships of a file go to all slots.
"""

import contextlib
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import fields, replace
from typing import Any

from instantaudience_server.errors import STORE_FAILURES
from instantaudience_server.process.clock import MS_PER_HOUR
from instantaudience_server.store import keys
from instantaudience_server.store.cluster import commands
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.jobs import (
    KEPT_MS,
    MARK_BYTES,
    MARK_MS,
    MOST_IN_A_DAY,
    MOST_UNUSED,
    Job,
    JobPage,
    Marks,
    OlderJobs,
    Order,
    Phase,
    Refusal,
    Room,
    Uploaded,
    UploadLimits,
)
from instantaudience_server.store.jobs import job_scripts, upload_scripts

JOBS_AT_ONCE = 100
"""The most job IDs that `changed` reads at once."""
CLOCKS_MS = 60_000
"""How far apart machines' clocks may be. A lease or an upload that ends later than a new one would, by more than this,
was given before a clock was set back, and counts as over."""
READ_AT_ONCE = 5
"""Jobs that are read at once; the report of each may have megabytes."""
_FIELDS = [(field.name, field.type is int or field.type == "int") for field in fields(Job)]
_NAMES = [name for name, _ in _FIELDS]


class ClusterJobStore:
    """A hash for each job; each member's queue, and whose turn it is."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def create(self, job: Job, url_hash: str | None, deadline: float) -> Job | None:
        """Run the script."""
        member = job.member_id
        job_keys = [keys.job_key(job.job_id), keys.jobs_key(member), keys.changed_jobs_key(member)]
        job_keys += [keys.uploads_key(member), keys.JOB_NUMBERS, keys.unused_jobs_key(member)]
        job_keys += [] if url_hash is None else [keys.job_url_key(url_hash)]
        hour = job.created_ms // MS_PER_HOUR
        arguments = (job.job_id, member, job.created_ms, job.open_until_ms, KEPT_MS, MOST_UNUSED, hour, MOST_IN_A_DAY)
        made = await self._run(upload_scripts.CREATE, job_keys, arguments, deadline)
        if made is None:
            return None
        number, gone = made
        with contextlib.suppress(*STORE_FAILURES):  # they expire anyway
            await self._cluster.execute([commands.delete(keys.job_key(each.decode())) for each in gone], deadline)
        return replace(job, number=number)

    async def marks(self, now_ms: int, deadline: float) -> Marks:
        """Run the script."""
        spans = [now_ms // MARK_MS + each for each in (-1, 0, 1)]
        arguments = [each for span in spans for each in (secrets.token_hex(MARK_BYTES), (span + 3) * MARK_MS)]
        mark_keys = [keys.upload_mark_key(span) for span in spans]
        found = await self._run(upload_scripts.MARKS, mark_keys, tuple(arguments), deadline)
        return Marks(*[mark.decode() for mark in found])

    async def find(self, job_id: str, deadline: float) -> Job | None:
        """Get the hash."""
        (found,) = await self._find([job_id], deadline)
        return found

    async def find_by_url(self, url_hash: str, deadline: float) -> Job | None:
        """Get the string, and then the hash."""
        (job_id,) = await self._cluster.execute([commands.get(keys.job_url_key(url_hash))], deadline)
        return None if job_id is None else await self.find(job_id.decode(), deadline)

    async def page(self, member_id: int, order: Order, start: int, size: int, now_ms: int, deadline: float) -> JobPage:
        """Run the script that finds IDs, and get the hashes."""
        arguments = (int(order.by_change), int(order.newest_first), start, size)
        total, found = await self._list(job_scripts.PAGE, member_id, arguments, now_ms, deadline)
        return JobPage(self._there(found, deadline), total)

    async def older(self, member_id: int, before: int, size: int, now_ms: int, deadline: float) -> OlderJobs:
        """Run the script that finds IDs, and get the hashes."""
        arguments = (f"({before}" if before else "+inf", size + 1)
        total, found = await self._list(job_scripts.OLDER, member_id, arguments, now_ms, deadline)
        job_ids, places = found[::2], found[1::2]
        jobs = self._there(job_ids[:size], deadline)
        return OlderJobs(jobs, total, int(float(places[size - 1])) if len(job_ids) > size else 0)

    async def changed(self, member_id: int, since_ms: int, now_ms: int, deadline: float) -> AsyncGenerator[Job, None]:
        """Run the script that finds IDs, and get the hashes; repeat from the last change on until no more are found."""
        seen: set[bytes] = set()
        size = JOBS_AT_ONCE
        while True:
            found = await self._list(job_scripts.CHANGED, member_id, (since_ms, size), now_ms, deadline)
            job_ids, moments = found[::2], found[1::2]
            async with aclosing(self._there([each for each in job_ids if each not in seen], deadline)) as jobs:
                async for job in jobs:
                    yield job
            if len(job_ids) < size:
                return
            seen.update(job_ids)
            since_ms, size = int(float(moments[-1])), JOBS_AT_ONCE + moments.count(moments[-1])

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
        """Run the script."""
        job_keys = [keys.job_key(job.job_id), keys.changed_jobs_key(job.member_id)]
        job_keys += [keys.uploads_key(job.member_id), keys.JOB_QUEUES, keys.unused_jobs_key(job.member_id)]
        begins = (job.job_id, job.member_id, lease, now_ms, until_ms, *limits[:2], now_ms // MS_PER_HOUR)
        bounds = (until_ms + CLOCKS_MS, KEPT_MS, announced_bytes, *_bounds(limits))
        answer = await self._run(upload_scripts.BEGIN_UPLOAD, job_keys, (*begins, *bounds), deadline)
        if isinstance(answer, bytes):
            return Refusal(answer.decode())
        return _room(limits, answer)

    async def room(self, member_id: int, limits: UploadLimits, now_ms: int, deadline: float) -> Room:
        """Run the script."""
        arguments = (now_ms // MS_PER_HOUR, now_ms)
        return _room(limits, await self._run(upload_scripts.USED, [keys.uploads_key(member_id)], arguments, deadline))

    async def keep_uploading(
        self, job: Job, lease: str, file: Uploaded, limits: UploadLimits, now_ms: int, until_ms: int, deadline: float
    ) -> Room | None:
        """Run the script."""
        job_keys = [keys.job_key(job.job_id), keys.changed_jobs_key(job.member_id), keys.uploads_key(job.member_id)]
        arguments = (job.job_id, lease, now_ms, until_ms, now_ms // MS_PER_HOUR, *file[:2], *_bounds(limits))
        answer = await self._run(upload_scripts.KEEP_UPLOADING, job_keys, arguments, deadline)
        return None if answer is None else _room(limits, answer)

    async def end_upload(
        self, job: Job, lease: str, file: Uploaded, limits: UploadLimits, now_ms: int, deadline: float
    ) -> bool | Room:
        """Run the script."""
        answer = await self._end_upload(job, lease, file, "", _bounds(limits), now_ms, deadline)
        return _room(limits, answer) if isinstance(answer, list) else bool(answer)

    async def fail_upload(self, job: Job, lease: str, error_code: str, now_ms: int, deadline: float) -> bool:
        """Run the script."""
        return bool(await self._end_upload(job, lease, Uploaded(0, 0, -1), error_code, (), now_ms, deadline))

    async def _end_upload(
        self,
        job: Job,
        lease: str,
        file: Uploaded,
        error_code: str,
        bounds: Sequence[int | str],
        now_ms: int,
        deadline: float,
    ) -> Any:
        job_keys = [keys.job_key(job.job_id), keys.changed_jobs_key(job.member_id)]
        job_keys += [keys.uploads_key(job.member_id), keys.JOB_QUEUES, keys.JOB_TURNS]
        job_keys += [keys.unused_jobs_key(job.member_id)]
        arguments = (job.job_id, job.member_id, lease, now_ms, *file, now_ms // MS_PER_HOUR, KEPT_MS, error_code)
        return await self._run(upload_scripts.END_UPLOAD, job_keys, (*arguments, *bounds), deadline)

    async def take(self, lease: str, lease_ms: int, now_ms: int, deadline: float) -> Job | None:
        """Run the script that finds a job, and the one that claims it. A job that is gone or cancelled is taken out of
        its queue instead, and nothing is taken this time."""
        job_keys = [keys.JOB_LEASES, keys.JOB_TURNS, keys.JOB_QUEUES, keys.taken_key(lease)]
        taken = await self._run(job_scripts.TAKE, job_keys, (lease_ms, CLOCKS_MS), deadline)
        if taken is None:
            return None
        member_id, job_id, ends = taken.decode().split(" ")
        if await self._run(job_scripts.CLAIM, [keys.job_key(job_id)], (lease, ends), deadline):
            found = await self.find(job_id, deadline)
            # Where another process has claimed it since, this lease is lost, which the first change under it shows.
            return None if found is None else replace(found, lease=lease)
        gone = await self.find(job_id, deadline) or Job(job_id, 0, int(member_id), Phase.ERROR, 0, 0, 0)
        await self.finish(gone, "", "", 0, now_ms, deadline)
        return None

    async def keep(self, job: Job, lease_ms: int, deadline: float) -> bool:
        """Run the script."""
        return await self._note(job, (lease_ms,), deadline)

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
        """Run the script."""
        return await self._note(job, (lease_ms, now_ms, position_bytes, checkpoint, progress), deadline)

    async def _note(self, job: Job, what: tuple[int | str, ...], deadline: float) -> bool:
        job_keys = [keys.job_key(job.job_id), keys.changed_jobs_key(job.member_id), keys.JOB_LEASES]
        arguments = (job.job_id, job.member_id, job.lease, *what)
        return bool(await self._run(job_scripts.NOTE, job_keys, arguments, deadline))

    async def finish(
        self, job: Job, report: str, error_code: str, lines: int, now_ms: int, deadline: float
    ) -> str | None:
        """Run the script."""
        arguments = (job.job_id, job.member_id, job.lease, now_ms, report, error_code, lines, now_ms // MS_PER_HOUR)
        job_keys = [*_queue_keys(job), keys.uploads_key(job.member_id)]
        answer = await self._run(job_scripts.FINISH, job_keys, arguments, deadline)
        return None if answer is None else str(answer.decode())

    async def give_back(self, job: Job, deadline: float) -> None:
        """Run the script."""
        job_keys = [keys.job_key(job.job_id), keys.JOB_LEASES, keys.JOB_QUEUES]
        await self._run(job_scripts.GIVE_BACK, job_keys, (job.job_id, job.member_id, job.lease), deadline)

    async def cancel(self, job: Job, error_code: str, now_ms: int, deadline: float) -> bool:
        """Run the script."""
        arguments = (job.job_id, job.member_id, now_ms, error_code)
        return bool(await self._run(job_scripts.CANCEL, _queue_keys(job), arguments, deadline))

    async def _list(
        self, script: str, member_id: int, arguments: tuple[int | str, ...], now_ms: int, deadline: float
    ) -> Any:
        job_keys = [keys.jobs_key(member_id), keys.changed_jobs_key(member_id), keys.unused_jobs_key(member_id)]
        return await self._run(script, job_keys, (now_ms - KEPT_MS, *arguments), deadline)

    async def _there(self, job_ids: Sequence[bytes], deadline: float) -> AsyncGenerator[Job, None]:
        """The jobs that still exist, `READ_AT_ONCE` at a time."""
        for start in range(0, len(job_ids), READ_AT_ONCE):
            for job in await self._find([each.decode() for each in job_ids[start : start + READ_AT_ONCE]], deadline):
                if job is not None:
                    yield job

    async def _find(self, job_ids: Sequence[str], deadline: float) -> list[Job | None]:
        asked = [commands.get_fields(keys.job_key(job_id), _NAMES) for job_id in job_ids]
        return [_job(found) for found in await self._cluster.execute(asked, deadline)]

    async def _run(
        self, script: str, job_keys: Sequence[bytes], arguments: tuple[int | str, ...], deadline: float
    ) -> Any:
        command = commands.evaluate(script, job_keys, *arguments)
        (answer,) = await self._cluster.execute([command], deadline, bounded=False, durability=self._cluster.durability)
        return answer


def _room(limits: UploadLimits, used: Sequence[int]) -> Room:
    return Room(*[None if most is None else most - each for most, each in zip(limits[2:], used[:4], strict=True)])


def _bounds(limits: UploadLimits) -> tuple[int | str, ...]:
    """The limits of bytes and lines as arguments of scripts; empty where there is none."""
    return tuple("" if most is None else most for most in limits[2:])


def _queue_keys(job: Job) -> list[bytes]:
    own = [keys.job_key(job.job_id), keys.changed_jobs_key(job.member_id)]
    return [*own, keys.JOB_LEASES, keys.JOB_QUEUES, keys.JOB_TURNS]


def _job(found: Sequence[bytes | None]) -> Job | None:
    texts = {name: value.decode() for name, value in zip(_NAMES, found, strict=True) if value is not None}
    if "number" not in texts:
        return None
    values: Mapping[str, Any] = {
        name: int(texts[name]) if is_number else texts[name] for name, is_number in _FIELDS if name in texts
    }
    return Job(**{**values, "phase": Phase(texts["phase"])})
