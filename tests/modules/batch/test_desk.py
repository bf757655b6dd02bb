"""What becomes of callers' wishes about jobs; over REST and gRPC: tests/service/host/test_batch.py."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from instantaudience.v1 import batch_pb2 as pb
from instantaudience_server.admission.quotas import Limits, Quotas
from instantaudience_server.batch.desk import CANCELLED, OPEN_MS, UPLOAD_URL_EXPIRED, JobDesk
from instantaudience_server.batch.service import BatchSegmentService
from instantaudience_server.batch.uploads import uploading
from instantaudience_server.batch.uploads.files import PART_BYTES, FileStore
from instantaudience_server.batch.uploads.limits import limits_of
from instantaudience_server.batch.uploads.uploading import UPLOAD_FAILED, UPLOAD_INCOMPLETE, Uploads
from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.errors import AudienceError, Reason, RefusedCommandError, unavailable
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.jobs import Order, Phase, Room
from instantaudience_server.store.jobs import job_store
from instantaudience_server.store.jobs.job_store import ClusterJobStore
from support.clocks import FakeClock
from support.parts.accounts import refused
from support.parts.callers import caller
from support.parts.files import members_of
from support.parts.readings import CATALOG
from support.waiting import seconds_from_now

DEMO = caller("demo", CATALOG)


class AwayFiles(FileStore):
    """A store of files that is out of reach when a file is to go."""

    async def delete(self, job_id: str) -> None:
        """See `FileStore`."""
        raise unavailable("away")


@pytest.fixture
async def desk(
    request: pytest.FixtureRequest, cluster: Cluster, quotas: Quotas, clock: FakeClock, tmp_path: Path
) -> JobDesk:
    files = getattr(request, "param", FileStore)((tmp_path / "files").as_uri())
    jobs = ClusterJobStore(cluster)
    uploads = Uploads(jobs, files, members_of(CATALOG), clock, secrets.token_hex, lambda first, _: first, 3600)
    return JobDesk(jobs, files, uploads, CatalogFeed(ClusterCatalogStore(cluster), Catalog()), quotas, clock)


async def test_a_job_whose_upload_did_not_begin_in_time_has_ended(desk: JobDesk, clock: FakeClock) -> None:
    """It is not cancelled any more, though nobody has written it down."""
    job = (await desk.create(DEMO.member.id, DEMO, seconds_from_now())).job
    clock.ms += OPEN_MS
    await refused(desk.cancel(job.job_id, DEMO, seconds_from_now()), Reason.IN_USE)
    found = await desk.find(job.job_id, DEMO, seconds_from_now())
    assert (found.phase, found.error_code, found.completed_ms, found.modified_ms) == (
        *(Phase.ERROR, UPLOAD_URL_EXPIRED),
        *(job.open_until_ms, job.open_until_ms),
    )
    newer = (await desk.create(DEMO.member.id, DEMO, seconds_from_now())).job
    for since_ms, changed in ((job.open_until_ms, [found, newer]), (job.open_until_ms + 1, [])):
        jobs = desk.changed_since(DEMO.member.id, since_ms, DEMO, seconds_from_now())
        assert [each async for each in jobs] == changed


@pytest.mark.parametrize("desk", [AwayFiles], indirect=True)
async def test_a_job_is_cancelled_though_its_file_cannot_be_deleted_now(desk: JobDesk) -> None:
    """Whoever looks for files that nobody needs deletes it later."""
    job = (await desk.create(DEMO.member.id, DEMO, seconds_from_now())).job
    assert (await desk.cancel(job.job_id, DEMO, seconds_from_now())).error_code == CANCELLED


async def test_a_file_whose_first_message_comes_late_is_taken(desk: JobDesk, clock: FakeClock) -> None:
    """Senders over gRPC may take their time, which is that of the upload and not that of a call."""

    async def requests() -> AsyncIterator[pb.UploadBatchFileRequest]:
        yield pb.UploadBatchFileRequest(data=b"1;10001:0\n")

    over = asyncio.get_running_loop().time()
    job = (await BatchSegmentService(desk, clock).upload(requests(), DEMO, over)).job
    assert job.phase == pb.BATCH_JOB_PHASE_VALIDATING


BROKEN_OFF: dict[str, tuple[BaseException, str]] = {
    "its sender left": (asyncio.CancelledError(), UPLOAD_INCOMPLETE),
    "its sender sent nonsense": (AudienceError(Reason.SYNTAX, "nonsense"), UPLOAD_INCOMPLETE),
    "a defect": (ZeroDivisionError(), UPLOAD_INCOMPLETE),
    "the cluster is away": (unavailable("away"), UPLOAD_FAILED),
    "the cluster refuses it": (RefusedCommandError("node", "NOPERM"), UPLOAD_FAILED),
}


@pytest.mark.parametrize(("error", "error_code"), BROKEN_OFF.values(), ids=BROKEN_OFF)
async def test_an_upload_that_breaks_off_ends_its_job_and_makes_room_for_the_next(
    desk: JobDesk, tmp_path: Path, error: BaseException, error_code: str
) -> None:
    async def pieces(*last: BaseException) -> AsyncIterator[bytes]:
        yield bytes(PART_BYTES)
        for each in last:
            raise each

    with pytest.raises(type(error)):
        await desk.upload(DEMO.member.id, pieces(error), DEMO, seconds_from_now())
    (broken_off,) = [job async for job in (await desk.older(DEMO.member.id, 0, 1, DEMO, seconds_from_now())).jobs]
    assert (broken_off.phase, broken_off.error_code) == (Phase.ERROR, error_code)
    job = await desk.upload(DEMO.member.id, pieces(), DEMO, seconds_from_now())
    assert job.phase is Phase.VALIDATING
    files = FileStore((tmp_path / "files").as_uri())
    assert await files.job_ids() == [job.job_id]
    await desk.cancel(job.job_id, DEMO, seconds_from_now())
    assert await files.job_ids() == []


@pytest.mark.parametrize(("most_uploads", "error_code"), [(2, "RATE_LIMIT_EXCEEDED"), (1, UPLOAD_FAILED)])
async def test_an_upload_that_is_refused_before_it_begins_ends_its_job(
    desk: JobDesk, monkeypatch: pytest.MonkeyPatch, most_uploads: int, error_code: str
) -> None:
    """The member, or the process, has as many under way as it may. Nobody has a URL for it, which could expire."""
    monkeypatch.setattr(uploading, "MOST_UPLOADS", most_uploads)

    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"7;10001:0\n"
        with pytest.raises(AudienceError):
            await desk.upload(DEMO.member.id, nothing(), DEMO, seconds_from_now())

    uploaded = await desk.upload(DEMO.member.id, pieces(), DEMO, seconds_from_now())
    refused, other = [job async for job in (await desk.older(DEMO.member.id, 0, 9, DEMO, seconds_from_now())).jobs]
    assert (other.job_id, other.phase) == (uploaded.job_id, Phase.VALIDATING)
    assert (refused.phase, refused.error_code) == (Phase.ERROR, error_code)


async def test_an_upload_over_grpc_leaves_who_has_a_url_its_turn(
    desk: JobDesk, cluster: Cluster, clock: FakeClock
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"7;10001:0\n"

    new = await desk.create(DEMO.member.id, DEMO, seconds_from_now())
    await desk.upload(DEMO.member.id, pieces(), DEMO, seconds_from_now())
    limits, until_ms = limits_of(DEMO.member.batch), clock.ms + OPEN_MS
    begun = await ClusterJobStore(cluster).begin_upload(
        new.job, "lease", 0, limits, clock.ms, until_ms, seconds_from_now()
    )
    assert isinstance(begun, Room)


async def test_a_member_that_has_sent_many_files_today_sends_more_tomorrow(
    desk: JobDesk, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_store, "MOST_IN_A_DAY", 1)
    clock.ms += 86_400_000 - clock.ms % 86_400_000 + 60_001

    async def send() -> None:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"7;10001:0\n"

        await desk.upload(DEMO.member.id, pieces(), DEMO, seconds_from_now())

    await send()
    error = await refused(send(), Reason.RATE_LIMIT_EXCEEDED)
    assert error.message == "Member exceeds maximum allowed number of files per day: 10000"
    assert (error.retry_after_seconds, error.metadata["subject"]) == (86_340, f"member:{DEMO.member.id}")
    clock.ms += 86_340_000
    await send()


async def test_every_call_counts_as_a_read(desk: JobDesk) -> None:
    member_id = DEMO.member.id
    job_id = (await desk.create(member_id, DEMO, seconds_from_now())).job.job_id

    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    spent = Caller(DEMO.account, replace(DEMO.member, limits=Limits(gets_per_second=0)))
    for call in (
        desk.create(member_id, spent, seconds_from_now()),
        desk.upload(member_id, nothing(), spent, seconds_from_now()),
        desk.find(job_id, spent, seconds_from_now()),
        desk.page(member_id, Order(), 0, 9, spent, seconds_from_now()),
        desk.older(member_id, 0, 9, spent, seconds_from_now()),
        anext(desk.changed_since(member_id, 0, spent, seconds_from_now())),
        desk.cancel(job_id, spent, seconds_from_now()),
    ):
        await refused(call, Reason.RATE_LIMIT_EXCEEDED)


async def test_which_job_is_required(desk: JobDesk) -> None:
    for call in (desk.find("", DEMO, seconds_from_now()), desk.cancel("", DEMO, seconds_from_now())):
        assert (await refused(call, Reason.SYNTAX)).message == "'job_id' is required"
