"""Jobs are taken, kept and finished, whatever happens to those who work on them (docs/adr/0027-batch-service.md).

How a file is applied is scripted here: what a job does is what its file says.
"""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.batch import runner
from instantaudience_server.batch.counters import Count, Counters
from instantaudience_server.batch.desk import CANCELLED
from instantaudience_server.batch.jobs import Checkpoint, ErrorCode, FileFailedError, JobView, StoredFile
from instantaudience_server.batch.reports import JobReport
from instantaudience_server.batch.runner import JobRunner
from instantaudience_server.batch.uploads.files import FileStore
from instantaudience_server.catalog.batch_settings import DEFAULTS, UNLIMITED
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.catalog.editor import write_of
from instantaudience_server.catalog.feed import CatalogFeed, FindMember
from instantaudience_server.errors import RefusedCommandError, unavailable
from instantaudience_server.observation.metrics import BATCH_JOBS, BATCH_MEMBERSHIPS
from instantaudience_server.observation.telemetry import Event
from instantaudience_server.process.clock import Clock, SystemClock
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.jobs import Job, Phase
from instantaudience_server.store.jobs.job_store import ClusterJobStore
from instantaudience_server.store.keys import JOB_LEASES
from redis.asyncio import RedisCluster
from structlog.testing import capture_logs
from support.clocks import FakeClock
from support.parts.files import members_of
from support.parts.jobs import LIMITS, MEMBER, OTHER, RefusedJobStore, waiting
from support.parts.readings import CATALOG
from support.service.metrics import Scrape
from support.waiting import eventually, seconds_from_now

FIND_MEMBER = members_of(CATALOG)


class Script:
    """Applies files a byte at a time: `.` counts one, `w` waits until it may go on, `d` is a defect, `f` a failure. `u`
    is an outage and `r` a refusal of the cluster, which are over the next time."""

    def __init__(self) -> None:
        self.may_go_on = asyncio.Event()
        self.has_started = asyncio.Event()
        self.under_way = 0
        self.outages = 0
        self.started: list[int] = []
        self.lines = 0
        """That each file has."""
        self.most_bytes: list[int | None] = []
        self.most_lines: list[int | None] = []
        self.is_ours: Callable[[], bool] = bool
        """Whether the job is, that it works on."""

    async def apply(
        self, file: StoredFile, job: JobView, checkpoint: Checkpoint | None
    ) -> AsyncGenerator[Checkpoint, None]:
        self.has_started.set()
        self.under_way += 1
        try:
            async for each in self._apply(file, job, checkpoint):
                yield each
        finally:
            self.under_way -= 1

    async def _apply(
        self, file: StoredFile, job: JobView, checkpoint: Checkpoint | None
    ) -> AsyncGenerator[Checkpoint, None]:
        position, _, _, counters, _ = checkpoint or Checkpoint(0, 0, 0, Counters(9))
        self.started.append(position)
        counters.num_lines = self.lines
        self.most_bytes.append(job.most_bytes)
        self.most_lines.append(job.most_lines)
        assert job.is_ours is not None
        self.is_ours = job.is_ours
        content = b"".join([piece async for piece in file.read(0)])
        for place in range(position, len(content)):
            match content[place : place + 1]:
                case b".":
                    counters.add(Count.NUM_VALID)
                case b"w":
                    await self.may_go_on.wait()
                case b"d":
                    raise ZeroDivisionError
                case b"f":
                    raise FileFailedError(ErrorCode.CORRUPT_FILE, "no file")
                case b"u" if not self.outages:
                    self.outages += 1
                    raise unavailable("away")
                case b"r" if not self.outages:
                    self.outages += 1
                    raise RefusedCommandError("node", "NOPERM")
            yield Checkpoint(place + 1, 0, place + 1, counters)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "NOTE_SECONDS", 0.0)
    monkeypatch.setattr(runner, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(runner, "PAUSE_SECONDS", 0.1)


@asynccontextmanager
async def running(
    jobs: ClusterJobStore,
    files: FileStore,
    script: Script,
    find_member: FindMember = FIND_MEMBER,
    clock: Clock | None = None,
) -> AsyncIterator["asyncio.Task[None]"]:
    work = JobRunner(jobs, files, script.apply, find_member, clock or SystemClock(), secrets.token_hex)
    task = asyncio.create_task(work.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def kept(jobs: ClusterJobStore, job: Job) -> Job:
    found = await jobs.find(job.job_id, seconds_from_now())
    assert found is not None
    return found


async def ended(jobs: ClusterJobStore, job: Job) -> Job:
    async def over() -> Job:
        found = await kept(jobs, job)
        assert found.phase in (Phase.COMPLETED, Phase.ERROR)
        return found

    found: Job = await eventually(over, 40)
    return found


async def at(jobs: ClusterJobStore, job: Job, position: int) -> None:
    async def reached() -> None:
        assert (await kept(jobs, job)).position_bytes == position

    await eventually(reached)


OUTCOMES = {
    "its end": (b"...", "", 3),
    "no content": (b"", "", 0),
    "a file that is none": (b"..f.", "CORRUPT_FILE", 2),
    "a defect": (b"..d.", "INTERNAL", 2),
    "an outage": (b"..u.", "", 3),
    "a refusal, as of an ACL": (b"..r.", "", 3),
}


@pytest.mark.parametrize(("content", "error_code", "valid"), OUTCOMES.values(), ids=OUTCOMES)
async def test_how_jobs_end(
    jobs: ClusterJobStore,
    files: FileStore,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    error_code: str,
    valid: int,
) -> None:
    """None of them when its lease is over: after an outage, a job is given back."""
    monkeypatch.setattr(runner, "LEASE_MS", 600_000)
    job = await waiting(jobs, files, content)
    async with running(jobs, files, Script()):
        done = await ended(jobs, job)
        assert (done.error_code, JobReport.of(done).counters["num_valid"]) == (error_code, valid)

        async def file_is_gone() -> None:
            assert await files.job_ids() == []

        await eventually(file_is_gone)


async def test_a_job_is_over_though_its_file_cannot_be_deleted(
    jobs: ClusterJobStore, files: FileStore, tmp_path: Path
) -> None:
    """The log said that it goes on."""
    job = await waiting(jobs, files, b".")
    (tmp_path / "files" / job.job_id / "not ours").mkdir()
    with capture_logs() as logs:
        async with running(jobs, files, Script()):

            async def was_tried() -> None:
                assert Event.BATCH_STORE_FAILED in [entry["event"] for entry in logs]

            await eventually(was_tried)
    assert [entry["event"] for entry in logs] == [Event.BATCH_JOB_ENDED, Event.BATCH_STORE_FAILED]


async def test_a_file_that_is_lost(jobs: ClusterJobStore, files: FileStore) -> None:
    job = await waiting(jobs, files, b"...")
    await files.delete(job.job_id)
    async with running(jobs, files, Script()):
        assert (await ended(jobs, job)).error_code == "FILE_LOST"


async def test_a_checkpoint_that_cannot_be_read(jobs: ClusterJobStore, files: FileStore) -> None:
    """Another version may have written it: the member's next job is not to wait for ever."""
    job, behind = await waiting(jobs, files, b"..."), await waiting(jobs, files, b".")
    now_ms = SystemClock().now_ms()
    taken = await jobs.take("theirs", 60_000, now_ms, seconds_from_now())
    assert taken is not None
    assert await jobs.note(taken, "[1, {}]", "", 1, 60_000, now_ms, seconds_from_now())
    await jobs.give_back(taken, seconds_from_now())
    async with running(jobs, files, Script()):
        assert (await ended(jobs, job)).error_code == "INTERNAL"
        assert (await ended(jobs, behind)).error_code == ""


async def test_a_member_that_is_gone(jobs: ClusterJobStore, files: FileStore) -> None:
    job = await waiting(jobs, files, b"...", 424_242)
    async with running(jobs, files, Script()):
        assert (await ended(jobs, job)).error_code == "MEMBER_DELETED"


async def test_a_member_that_was_made_or_changed_just_now(
    jobs: ClusterJobStore, files: FileStore, cluster: Cluster
) -> None:
    """Another worker's catalog had it first."""
    store, script = ClusterCatalogStore(cluster), Script()
    feed = CatalogFeed(store, Catalog())
    member = None
    for day_bytes in (1, 2):
        changed = pb.Member(id=424_242, name="New", batch=pb.BatchSettings(file_bytes=1, bytes_per_day=day_bytes))
        await store.write([write_of(member, changed)], seconds_from_now())
        member = changed
        job = await waiting(jobs, files, b".", 424_242)
        async with running(jobs, files, script, feed.current_member):
            assert (await ended(jobs, job)).error_code == ""
    assert script.most_bytes == [1, 2]


@pytest.mark.parametrize(
    ("file_bytes", "day_bytes", "most_bytes"),
    [(9, 8, 9), (9, 10, 10), (9, UNLIMITED, DEFAULTS.bytes_per_day), (2**40, UNLIMITED, 2**40)],
)
async def test_what_a_file_may_hold(
    jobs: ClusterJobStore, files: FileStore, file_bytes: int, day_bytes: int, most_bytes: int
) -> None:
    member = CATALOG.members[MEMBER]
    settings = replace(member.batch, file_bytes=file_bytes, bytes_per_day=day_bytes)
    catalog, script = Catalog(), Script()
    catalog.members[MEMBER] = replace(member, batch=settings)
    job = await waiting(jobs, files, b".")
    async with running(jobs, files, script, members_of(catalog)):
        await ended(jobs, job)
    assert script.most_bytes == [most_bytes]


async def test_lines_of_files_that_waited_count_for_those_behind(jobs: ClusterJobStore, files: FileStore) -> None:
    """When they were uploaded, nobody knew how many they have."""
    member, catalog, script = CATALOG.members[MEMBER], Catalog(), Script()
    catalog.members[MEMBER] = replace(member, batch=replace(member.batch, lines_per_day=5, lines_per_hour=9))
    script.lines = 3
    waited = [await waiting(jobs, files, b".", most_lines=5) for _ in range(3)]
    waited += [await waiting(jobs, files, b".", most_lines=-1)]
    async with running(jobs, files, script, members_of(catalog)):
        await ended(jobs, waited[-1])
    assert script.most_lines == [5, 2, 0, None]


async def test_members_do_not_wait_for_each_other(jobs: ClusterJobStore, files: FileStore) -> None:
    script = Script()
    slow = await waiting(jobs, files, b".w.")
    behind = await waiting(jobs, files, b".")
    others = await waiting(jobs, files, b".", OTHER)
    async with running(jobs, files, script):
        await ended(jobs, others)
        await at(jobs, slow, 1)
        assert (await kept(jobs, behind)).phase is Phase.VALIDATING
        script.may_go_on.set()
        assert (await ended(jobs, slow)).completed_ms <= (await ended(jobs, behind)).validated_ms


async def test_more_jobs_than_a_process_may_work_on_wait(
    jobs: ClusterJobStore, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "MOST_JOBS", 1)
    script = Script()
    first, second = await waiting(jobs, files, b".w"), await waiting(jobs, files, b".", OTHER)
    async with running(jobs, files, script):
        await at(jobs, first, 1)
        await asyncio.sleep(10 * runner.LOOK_SECONDS)
        assert (await kept(jobs, second)).phase is Phase.VALIDATING
        script.may_go_on.set()
        assert (await ended(jobs, first)).completed_ms <= (await ended(jobs, second)).validated_ms


async def test_the_next_job_of_a_member_begins_when_one_has_ended_whatever_others_have_under_way(
    jobs: ClusterJobStore, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not looked for it later alone: small files would take half a second each."""
    monkeypatch.setattr(runner, "LOOK_SECONDS", 60.0)
    script = Script()
    slow = await waiting(jobs, files, b".w", OTHER)
    small = [await waiting(jobs, files, b".") for _ in range(3)]
    async with running(jobs, files, script):
        for job in small:
            assert (await ended(jobs, job)).error_code == ""
        assert (await kept(jobs, slow)).phase is Phase.PROCESSING


async def test_a_job_goes_on_for_longer_than_a_lease(
    jobs: ClusterJobStore, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody begins again what is applied since it was last written down."""
    monkeypatch.setattr(runner, "LEASE_MS", 2000)
    monkeypatch.setattr(runner, "RENEW_SECONDS", 0.25)
    script = Script()
    job = await waiting(jobs, files, b".w.")
    async with running(jobs, files, script):
        await at(jobs, job, 1)
        await asyncio.sleep(3)
        script.may_go_on.set()
        assert (await ended(jobs, job)).error_code == ""
    assert script.started == [0]


class LingeringScript(Script):
    """Takes its time to stop."""

    async def apply(
        self, file: StoredFile, job: JobView, checkpoint: Checkpoint | None
    ) -> AsyncGenerator[Checkpoint, None]:
        """See `Script`."""
        try:
            async for each in super().apply(file, job, checkpoint):
                yield each
        finally:
            self.under_way += 1
            await asyncio.sleep(0.5)
            self.under_way -= 1


async def test_a_job_is_given_back_when_what_it_was_about_to_write_is_given_up(
    jobs: ClusterJobStore, files: FileStore
) -> None:
    """Whoever goes on with it would be overtaken by that."""
    first, second = LingeringScript(), Script()
    second.may_go_on.set()
    job = await waiting(jobs, files, b"..w..")
    async with running(jobs, files, first) as task:
        await at(jobs, job, 2)
        async with running(jobs, files, second):
            task.cancel()
            await second.has_started.wait()
            assert first.under_way == 0
            await ended(jobs, job)


async def test_a_job_goes_on_elsewhere_when_its_process_ends(jobs: ClusterJobStore, files: FileStore) -> None:
    first, second = Script(), Script()
    second.may_go_on.set()
    job = await waiting(jobs, files, b"..w..")
    async with running(jobs, files, first):
        await at(jobs, job, 2)
    async with running(jobs, files, second):
        done = await ended(jobs, job)
    assert (first.started, second.started) == ([0], [2])
    assert JobReport.of(done).counters["num_valid"] == 4


async def test_metrics_count_what_was_applied_before_a_job_went_on_elsewhere(
    jobs: ClusterJobStore, files: FileStore
) -> None:
    """They counted only what the last process had applied."""

    def memberships() -> float:
        return Scrape.of(BATCH_MEMBERSHIPS.collect()).total("batch_memberships_total")

    before, second = memberships(), Script()
    second.may_go_on.set()
    job = await waiting(jobs, files, b"..w..u.")
    async with running(jobs, files, Script()):
        await at(jobs, job, 2)
    async with running(jobs, files, second):
        await ended(jobs, job)
        await eventually(lambda: _has(memberships, before + 5))


async def _has(number: Callable[[], float], wanted: float) -> None:
    assert number() == wanted


async def test_a_job_that_rests_goes_on_elsewhere_when_its_process_ends(
    jobs: ClusterJobStore, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and without one try less."""
    monkeypatch.setattr(runner, "PAUSE_SECONDS", 60.0)
    script = Script()
    job = await waiting(jobs, files, b"u.")
    async with running(jobs, files, script):

        async def rests() -> None:
            assert (script.outages, script.under_way) == (1, 0)

        await eventually(rests)
    resting = await kept(jobs, job)
    assert (resting.lease, resting.tries) == ("", 0)


class HeldUpJobStore(ClusterJobStore):
    """Tells that a job was taken only when it may."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.has_taken, self.may_tell = asyncio.Event(), asyncio.Event()

    async def take(self, lease: str, lease_ms: int, now_ms: int, deadline: float) -> Job | None:
        """See `JobStore`."""
        taken = await super().take(lease, lease_ms, now_ms, deadline)
        self.has_taken.set()
        await self.may_tell.wait()
        return taken


async def test_a_job_that_is_being_taken_goes_on_elsewhere_when_its_process_ends(
    cluster: Cluster, jobs: ClusterJobStore, files: FileStore
) -> None:
    """It rested for a lease, and had one try less."""
    job = await waiting(jobs, files, b".")
    ending = HeldUpJobStore(cluster)
    async with running(ending, files, Script()):
        await ending.has_taken.wait()
        asyncio.get_running_loop().call_soon(ending.may_tell.set)
    given_back = await kept(jobs, job)
    assert (given_back.lease, given_back.tries) == ("", 0)


async def lost(jobs: ClusterJobStore, job: Job, processes: int) -> None:
    """So many processes have taken a job, and were killed."""
    for number in range(processes):
        now_ms = SystemClock().now_ms()
        taken = await jobs.take(f"{job.job_id} {number}", -1, now_ms, seconds_from_now())
        assert taken is not None
        assert taken.job_id == job.job_id


async def test_a_job_that_processes_die_of_fails_after_some(jobs: ClusterJobStore, files: FileStore) -> None:
    """It says so, keeps what it had counted, and its member's next one goes on."""
    script = Script()
    job, behind = await waiting(jobs, files, b"..w"), await waiting(jobs, files, b".")
    async with running(jobs, files, script):
        await at(jobs, job, 2)
    await lost(jobs, job, 3)
    async with running(jobs, files, script):
        done = await ended(jobs, job)
        assert (await ended(jobs, behind)).error_code == ""
    assert (done.error_code, JobReport.of(done).counters["num_valid"]) == ("PROCESS_ENDED", 2)
    assert script.started == [0, 0]


async def test_a_job_that_processes_were_lost_with_has_none_beside_it_until_it_has_come_further(
    jobs: ClusterJobStore, files: FileStore
) -> None:
    """Whoever it kills next would count a try of the others' jobs, too."""
    script = Script()
    suspect = await waiting(jobs, files, b"w.w.")
    await lost(jobs, suspect, 1)
    beside = await waiting(jobs, files, b".w.", OTHER)
    now_ms = SystemClock().now_ms()
    assert await jobs.take("meanwhile", 600, now_ms, seconds_from_now()) is not None  # the suspect, a while
    async with running(jobs, files, script):
        await at(jobs, beside, 1)

        async def alone() -> None:
            assert (script.started, script.under_way) == ([0, 0], 1)
            assert (await kept(jobs, suspect)).tries == 3

        await eventually(alone)
        assert (await kept(jobs, beside)).tries == 0  # it was given back
        await asyncio.sleep(10 * runner.LOOK_SECONDS)
        await alone()
        script.may_go_on.set()
        assert (await ended(jobs, suspect)).error_code == (await ended(jobs, beside)).error_code == ""
    assert script.started == [0, 0, 1]


async def test_who_lost_a_lease_stops(
    jobs: ClusterJobStore, files: FileStore, plain: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(runner, "MOST_JOBS", 1)
    first, second = Script(), Script()
    second.may_go_on.set()
    job = await waiting(jobs, files, b"..w..")
    async with running(jobs, files, first):
        await at(jobs, job, 2)
        # As if it had not renewed it.
        taken = None
        while taken is None:
            await plain.zadd(JOB_LEASES, {str(MEMBER): 0}, xx=True)
            taken = await jobs.take("ours", 60_000, SystemClock().now_ms(), seconds_from_now())
        await asyncio.sleep(0.5)
        first.may_go_on.set()
        await asyncio.sleep(0.2)
        assert (await kept(jobs, job)).position_bytes == 2
        await jobs.give_back(taken, seconds_from_now())
        assert JobReport.of(await ended(jobs, job)).counters["num_valid"] == 4


@pytest.mark.parametrize("off_ms", [-300_000, -30_000, 30_000, 300_000])
async def test_nobody_takes_what_another_one_has_whose_clock_differs(
    jobs: ClusterJobStore, files: FileStore, off_ms: int
) -> None:
    first, second = Script(), Script()
    job = await waiting(jobs, files, b"..w..")
    async with running(jobs, files, first):
        await at(jobs, job, 2)
        async with running(jobs, files, second, clock=FakeClock(SystemClock().now_ms() + off_ms)):
            await asyncio.sleep(10 * runner.LOOK_SECONDS)
            first.may_go_on.set()
            assert JobReport.of(await ended(jobs, job)).counters["num_valid"] == 4
    assert (first.started, second.started) == ([0], [])


class LateJobStore(ClusterJobStore):
    """Tells late that a job was taken, and never that it is kept."""

    async def take(self, lease: str, lease_ms: int, now_ms: int, deadline: float) -> Job | None:
        """See `JobStore`."""
        taken = await super().take(lease, lease_ms, now_ms, deadline)
        await asyncio.sleep(runner.LEASE_MS / 2000)
        return taken

    async def keep(self, job: Job, lease_ms: int, deadline: float) -> bool:
        """See `JobStore`."""
        await asyncio.sleep(deadline - asyncio.get_running_loop().time())
        raise unavailable("away")


async def test_who_cannot_keep_a_lease_stops_before_another_one_has_it(
    jobs: ClusterJobStore, files: FileStore, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LEASE_MS", 1000)
    monkeypatch.setattr(runner, "RENEW_SECONDS", 0.25)
    first, second = Script(), Script()
    second.may_go_on.set()
    job = await waiting(jobs, files, b"..w..")
    async with running(LateJobStore(cluster), files, first):
        await at(jobs, job, 2)
        noted = replace(await kept(jobs, job), checkpoint="")
        assert JobReport.of(noted).counters["num_valid"] == 2  # callers need not read the checkpoint
        async with running(jobs, files, second):
            await second.has_started.wait()
            assert first.under_way == 0
            await ended(jobs, job)
    assert JobReport.of(await kept(jobs, job)).counters["num_valid"] == 4


async def test_a_job_is_nobodys_once_its_process_has_stood_still_for_a_lease(
    jobs: ClusterJobStore, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one may have it, and what is to be written in the turn that goes on must not go out."""
    monkeypatch.setattr(runner, "LEASE_MS", 400)
    monkeypatch.setattr(runner, "RENEW_SECONDS", 0.1)
    script = Script()
    job = await waiting(jobs, files, b"..w")
    async with running(jobs, files, script):
        await at(jobs, job, 2)
        await asyncio.sleep(0.5)
        is_ours = script.is_ours
        assert is_ours()  # it was renewed
        time.sleep(0.4)  # noqa: ASYNC251 - it stands still
        assert not is_ours()
        script.may_go_on.set()
        await ended(jobs, job)


class SlowStore(FileStore):
    """A store that deletes nothing before it may; `deleting` are those whose file is to go."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.may_delete = asyncio.Event()
        self.deleting: list[str] = []

    async def delete(self, job_id: str) -> None:
        """See `FileStore`."""
        self.deleting.append(job_id)
        await self.may_delete.wait()
        await super().delete(job_id)


async def test_while_a_file_is_deleted_the_members_next_job_goes_on(
    jobs: ClusterJobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the lease then, and the one that is over neither renews it nor gives it back."""
    monkeypatch.setattr(runner, "RENEW_SECONDS", 0.1)
    files, script = SlowStore((tmp_path / "files").as_uri()), Script()
    job, behind = await waiting(jobs, files, b"."), await waiting(jobs, files, b".w.")
    async with running(jobs, files, script):
        await ended(jobs, job)
        await at(jobs, behind, 1)
        assert files.deleting == [job.job_id]
        await asyncio.sleep(0.5)  # some renewals
        script.may_go_on.set()
        await ended(jobs, behind)
        files.may_delete.set()

        async def files_are_gone() -> None:
            assert await files.job_ids() == []

        await eventually(files_are_gone)
    assert script.started == [0, 0]


def results() -> Counter[str]:
    """How many jobs have ended how."""
    samples = Scrape.of(BATCH_JOBS.collect()).samples
    return Counter({each.labels["result"]: int(each.value) for each in samples if each.name.endswith("_total")})


async def test_a_job_that_is_cancelled_stops_and_makes_room(
    jobs: ClusterJobStore, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lines count, even if nobody knew at its upload how many these are."""
    monkeypatch.setattr(runner, "RENEW_SECONDS", 0.1)
    job, behind = await waiting(jobs, files, b"..w..", most_lines=9), await waiting(jobs, files, b".")
    script, before = Script(), results()
    script.lines = 3
    async with running(jobs, files, script):
        await at(jobs, job, 2)
        assert await jobs.cancel(job, CANCELLED, SystemClock().now_ms(), seconds_from_now())
        assert (await ended(jobs, behind)).error_code == ""
        done = await kept(jobs, job)
        assert (done.error_code, JobReport.of(done).counters["num_valid"]) == (CANCELLED, 2)
        room = await jobs.room(MEMBER, LIMITS._replace(day_lines=10), SystemClock().now_ms(), seconds_from_now())
        assert room.lines == 10 - script.lines
    assert (results() - before)[CANCELLED] == 1


async def test_a_job_that_is_cancelled_counts_as_such_and_says_all_that_it_has_counted(
    jobs: ClusterJobStore, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "RENEW_SECONDS", 60.0)
    monkeypatch.setattr(runner, "NOTE_SECONDS", 60.0)

    job, script, before = await waiting(jobs, files, b"..w.."), Script(), results()
    async with running(jobs, files, script):
        await at(jobs, job, 1)
        assert await jobs.cancel(job, CANCELLED, SystemClock().now_ms(), seconds_from_now())
        script.may_go_on.set()

        async def has_ended() -> None:
            assert results() - before == {CANCELLED: 1}
            done = await kept(jobs, job)
            assert (done.error_code, JobReport.of(done).counters["num_valid"]) == (CANCELLED, 4)
            assert not done.checkpoint

        await eventually(has_ended)


async def test_jobs_are_taken_when_the_cluster_no_longer_refuses_it(
    jobs: ClusterJobStore, files: FileStore, cluster: Cluster
) -> None:
    job = await waiting(jobs, files, b"...")
    async with running(RefusedJobStore(cluster), files, Script()):
        assert (await ended(jobs, job)).error_code == ""
