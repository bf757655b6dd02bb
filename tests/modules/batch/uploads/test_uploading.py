"""What may be uploaded, and what becomes of it; over HTTP and gRPC: tests/service/host/test_batch.py."""

import asyncio
import gzip
import itertools
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.batch.uploads import uploading
from instantaudience_server.batch.uploads.files import PART_BYTES, FileStore
from instantaudience_server.batch.uploads.limits import Limit, UploadRefusedError
from instantaudience_server.batch.uploads.uploading import NoSuchUploadError, Uploads, hash_secret
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.catalog.editor import write_of
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.errors import AudienceError, Reason, RefusedCommandError, unavailable
from instantaudience_server.settings import UPLOAD_PATH
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.jobs import Job, Phase, Room
from instantaudience_server.store.jobs.job_store import ClusterJobStore
from instantaudience_server.transport.calls.call_log import CallLog
from instantaudience_server.transport.uploads import UploadServer
from instantaudience_server.usage.counting import Usage
from support.clocks import FakeClock
from support.parts.files import members_of
from support.parts.readings import CATALOG
from support.waiting import eventually, seconds_from_now

MEMBER = min(CATALOG.members)
MARK = "0123456789abcdef"
numbers = itertools.count()


def draw_last(_: int, last: int) -> int:
    """The largest number."""
    return last


class Place:
    """A member with limits, who uploads."""

    def __init__(self, cluster: Cluster, clock: FakeClock, directory: Path) -> None:
        self.jobs = ClusterJobStore(cluster)
        self.files = FileStore(directory.as_uri())
        self.clock = clock
        self.catalog = Catalog()
        self.take_uploads()
        self.limit()

    def take_uploads(self, upload_seconds: float = 3600) -> None:
        """Begin with no uploads, of which each may take so long; jobs and files stay."""
        self.uploads = Uploads(
            self.jobs, self.files, members_of(self.catalog), self.clock, secrets.token_hex, draw_last, upload_seconds
        )

    def limit(self, **limits: Any) -> None:
        """Set the member's limits."""
        member = CATALOG.members[MEMBER]
        settings = replace(member.batch, uploads_at_once=99)
        self.catalog.members[MEMBER] = replace(member, batch=replace(settings, **limits))

    async def job(self, member: int = MEMBER) -> tuple[Job, str]:
        """A job whose file may come, and what its URL ends in."""
        number, now_ms, secret = next(numbers), self.clock.now_ms(), secrets.token_hex(20)
        job = Job(f"upload{number}", 0, member, Phase.STARTING, now_ms, now_ms, now_ms + 300_000)
        made = await self.jobs.create(job, hash_secret(secret), seconds_from_now())
        assert made is not None
        return made, f"{MARK}{secret}"

    async def send(self, *pieces: bytes) -> Job:
        """Upload a file; the job then."""
        job, secret = await self.job()
        upload = await self.uploads.begin(await self.uploads.find(secret), None)
        try:
            for piece in pieces:
                await upload.add(piece)
            await upload.finish()
        except UploadRefusedError as error:
            await upload.fail(error.limit.error_code)
            raise
        return await self.found(job)

    async def found(self, job: Job) -> Job:
        found = await self.jobs.find(job.job_id, seconds_from_now())
        assert found is not None
        return found


@pytest.fixture
async def place(cluster: Cluster, clock: FakeClock, tmp_path: Path) -> Place:
    return Place(cluster, clock, tmp_path / "files")


async def test_a_file_is_kept_in_parts(place: Place) -> None:
    content = secrets.token_bytes(PART_BYTES) * 2 + b"end"
    job = await place.send(*[content[at : at + 70_001] for at in range(0, len(content), 70_001)])
    assert (job.phase, job.size_bytes, job.uploaded_ms) == (Phase.VALIDATING, len(content), place.clock.now_ms())
    assert b"".join([piece async for piece in place.files.file(job.job_id, job.size_bytes).read(0)]) == content


@pytest.mark.parametrize(
    ("limits", "pieces", "limit"),
    [
        ({"file_bytes": 9}, [b"12345", b"67890"], Limit.FILE_BYTES),
        ({"file_bytes": PART_BYTES}, [bytes(PART_BYTES), b"1"], Limit.FILE_BYTES),
        ({"bytes_per_day": 9}, [b"1234567890"], Limit.DAY_BYTES),
        ({"bytes_per_hour": 9}, [b"1234567890"], Limit.HOUR_BYTES),
        ({"lines_per_day": 2}, [b"1\n2\n", b"3\n"], Limit.DAY_LINES),
        ({"lines_per_hour": 2}, [b"1\n2\n3\n"], Limit.HOUR_LINES),
        ({"lines_per_hour": 2}, [b"1\n2\n", b"3"], Limit.HOUR_LINES),
    ],
    ids=lambda value: value.name if isinstance(value, Limit) else "",
)
async def test_limits(place: Place, limits: dict[str, int], pieces: list[bytes], limit: Limit) -> None:
    place.limit(**limits)
    with pytest.raises(UploadRefusedError) as raised:
        await place.send(*pieces)
    assert raised.value.limit is limit
    assert await place.files.job_ids() == []


async def test_an_announced_length_that_is_too_much_ends_its_job(place: Place) -> None:
    place.limit(bytes_per_day=9)
    job, secret = await place.job()
    with pytest.raises(UploadRefusedError, match="bytes per day"):
        await place.uploads.begin(await place.uploads.find(secret), 10)
    ended = await place.found(job)
    assert (ended.phase, ended.error_code) == (Phase.ERROR, Limit.DAY_BYTES.error_code)


async def test_what_was_uploaded_before_counts(place: Place) -> None:
    place.limit(bytes_per_hour=9, lines_per_day=3)
    await place.send(b"12\n4\n")
    with pytest.raises(UploadRefusedError, match="bytes per hour"):
        await place.send(b"123456")
    with pytest.raises(UploadRefusedError, match="lines per day"):
        await place.send(b"\n\n")
    await place.send(b"123\n")
    with pytest.raises(UploadRefusedError):  # nothing is left
        await place.send(b"")
    place.clock.ms += 86_400_000
    await place.send(b"12\n4\n")


async def test_files_that_come_at_once_have_what_is_left_between_them(place: Place) -> None:
    place.limit(bytes_per_day=11, lines_per_day=3)
    begun = []
    for _ in range(3):
        _, secret = await place.job()
        begun.append(await place.uploads.begin(await place.uploads.find(secret), None))
    first, second, third = begun
    await first.add(b"12345\n")
    await second.add(b"12345\n")
    await third.add(b"1\n")
    await first.finish()
    with pytest.raises(UploadRefusedError, match="bytes per day"):
        await second.finish()
    with pytest.raises(UploadRefusedError, match="bytes per day"):
        await second.add(b"1")
    await third.add(b"\n\n")
    with pytest.raises(UploadRefusedError, match="lines per day"):
        await third.finish()
    await second.fail("RATE_LIMIT_EXCEEDED")
    await third.fail("RATE_LIMIT_EXCEEDED")
    await place.send(b"12\n")


async def test_what_is_announced_is_left_to_nobody_else_until_it_has_failed(place: Place) -> None:
    place.limit(bytes_per_hour=9)
    _, secret = await place.job()
    first = await place.uploads.begin(await place.uploads.find(secret), 6)
    _, secret = await place.job()
    with pytest.raises(UploadRefusedError, match="bytes per hour"):
        await place.uploads.begin(await place.uploads.find(secret), 4)
    _, secret = await place.job()
    second = await place.uploads.begin(await place.uploads.find(secret), None)
    await second.add(b"123")
    with pytest.raises(UploadRefusedError, match="bytes per hour"):
        await second.add(b"4")
    _, secret = await place.job()
    third = await place.uploads.begin(await place.uploads.find(secret), None)
    await second.fail("RATE_LIMIT_EXCEEDED")
    await third.add(b"123")
    await first.fail("UPLOAD_INCOMPLETE")
    await third.add(b"456789")  # the room is another one now
    await third.finish()


async def test_others_files_show_while_one_comes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at its end alone: the rest of it would come for nothing."""
    place.limit(bytes_per_day=9)
    _, secret = await place.job()
    upload = await place.uploads.begin(await place.uploads.find(secret), None)
    await upload.add(b"123456")
    await place.send(b"1234")
    monkeypatch.setattr(upload, "_renew_at", 0.0)
    with pytest.raises(UploadRefusedError, match="bytes per day"):
        await upload.add(b"7")
    await upload.fail("RATE_LIMIT_EXCEEDED")


async def test_a_last_line_without_an_end_counts(place: Place) -> None:
    place.limit(lines_per_day=3)
    await place.send(b"1")
    await place.send(b"2\n", b"")
    await place.send(b"3", b"")
    with pytest.raises(UploadRefusedError, match="lines per day"):
        await place.send(b"4")


async def test_lines_that_do_not_show_are_bounded_later(place: Place) -> None:
    place.limit(lines_per_day=3, lines_per_hour=2)
    assert (await place.send(gzip.compress(b"\n" * 999))).most_lines == 2
    assert (await place.send(b"Obj\x01\n\n\n\n\n")).most_lines == 2
    for compressed in (gzip.compress(b"\n" * 999), b"Obj\x01\n\n\n\n\n"):
        for cut in (1, 3):
            assert (await place.send(compressed[:1], compressed[1:cut], compressed[cut:])).most_lines == 2
    assert (await place.send(b"\n")).most_lines == -1
    place.limit()
    assert (await place.send(gzip.compress(b"\n"))).most_lines == -1


async def test_a_job_that_is_cancelled_takes_no_file(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploading, "RENEW_SECONDS", 0.0)
    job, secret = await place.job()
    upload = await place.uploads.begin(await place.uploads.find(secret), 5)
    await upload.add(b"1")
    assert await place.jobs.cancel(job, "CANCELLED", place.clock.now_ms(), seconds_from_now())
    with pytest.raises(NoSuchUploadError):
        await upload.add(b"2")
    with pytest.raises(NoSuchUploadError):
        await upload.finish()
    await upload.fail("UPLOAD_INCOMPLETE")
    assert (await place.found(job)).error_code == "CANCELLED"


class AwayStore(ClusterJobStore):
    """The cluster is away whenever more of a file has come, but for the first time."""

    was_there = False

    async def keep_uploading(self, *arguments: Any) -> Room | None:
        """See `ClusterJobStore`."""
        if self.was_there:
            raise unavailable("away")
        self.was_there = True
        return await super().keep_uploading(*arguments)


async def test_an_upload_goes_on_while_the_cluster_is_away_for_less_than_its_lease(
    place: Place, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploading, "RENEW_SECONDS", 0.0)
    place.jobs = AwayStore(cluster)
    place.take_uploads()
    assert (await place.send(b"1", b"2", b"3")).phase is Phase.VALIDATING
    monkeypatch.setattr(uploading, "LEASE_MS", 0)
    with pytest.raises(AudienceError):
        await place.send(b"1", b"2")


class FailingOverStore(ClusterJobStore):
    """The cluster is away when an upload ends, and back after 20 seconds."""

    async def end_upload(self, *arguments: Any) -> bool | Room:
        """See `ClusterJobStore`."""
        *_, deadline = arguments
        if deadline < seconds_from_now(20):
            raise unavailable("away")
        return await super().end_upload(*arguments)


@pytest.mark.parametrize("is_whole", [True, False])
async def test_an_upload_that_callers_were_told_is_over_stays_so(
    place: Place, monkeypatch: pytest.MonkeyPatch, is_whole: bool
) -> None:
    """Its process stood still, and the member's next file has come; the job had failed, and then was done after all,
    after the next one."""
    monkeypatch.setattr(uploading, "RENEW_SECONDS", 0)
    job, secret = await place.job()
    upload = await place.uploads.begin(await place.uploads.find(secret), None)
    await upload.add(b"1\n")
    place.clock.ms += uploading.LEASE_MS
    assert (await place.send(b"2\n")).phase is Phase.VALIDATING
    with pytest.raises(NoSuchUploadError):
        await (upload.finish() if is_whole else upload.add(b"3\n"))
    await upload.fail("UPLOAD_INCOMPLETE")
    assert (await place.found(job)).phase is Phase.ERROR
    assert await place.jobs.take("a", 1000, place.clock.now_ms(), seconds_from_now()) is not None
    assert await place.jobs.take("b", 1000, place.clock.now_ms(), seconds_from_now()) is None
    assert job.job_id not in await place.files.job_ids()


async def test_a_file_that_has_come_waits_for_the_cluster(place: Place, cluster: Cluster) -> None:
    place.jobs = FailingOverStore(cluster)
    place.take_uploads()
    assert (await place.send(b"1;1:0\n")).phase is Phase.VALIDATING


class DeafStore(ClusterJobStore):
    """Jobs whose upload ends, without an answer."""

    async def end_upload(self, *arguments: Any) -> bool | Room:
        """See `ClusterJobStore`."""
        await super().end_upload(*arguments)
        raise unavailable("away")


@pytest.mark.parametrize("lost", [unavailable("away"), asyncio.CancelledError()], ids=["cluster", "sender"])
async def test_an_upload_that_began_and_nobody_knows_it_does_not_keep_the_next_one_out(
    place: Place, monkeypatch: pytest.MonkeyPatch, lost: BaseException
) -> None:
    """The cluster's answer was lost, or the sender left."""
    place.limit(uploads_at_once=1)
    begin_upload = place.jobs.begin_upload

    async def losing(*arguments: Any) -> None:
        await begin_upload(*arguments)
        raise lost

    job, secret = await place.job()
    with monkeypatch.context() as patched:
        patched.setattr(place.jobs, "begin_upload", losing)
        with pytest.raises(type(lost)):
            await place.uploads.begin(await place.uploads.find(secret), None)

    async def is_over() -> None:
        assert (await place.found(job)).error_code == "UPLOAD_FAILED"

    await eventually(is_over)
    assert (await place.send(b"7;1")).phase is Phase.VALIDATING


async def test_a_file_stays_where_it_is_not_known_that_its_job_waits(place: Place, cluster: Cluster) -> None:
    place.jobs = DeafStore(cluster)
    place.take_uploads()
    job, secret = await place.job()
    upload = await place.uploads.begin(await place.uploads.find(secret), None)
    await upload.add(b"1;1:0\n")
    with pytest.raises(AudienceError):
        await upload.finish()
    await upload.fail("UPLOAD_FAILED")
    assert (await place.found(job)).phase is Phase.VALIDATING
    assert await place.files.job_ids() == [job.job_id]


async def test_an_upload_is_over_also_where_the_cluster_refuses_to_note_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nobody told the sender."""

    async def refuses(*_: Any) -> None:
        raise RefusedCommandError("node", "NOPERM")

    _, secret = await place.job()
    upload = await place.uploads.begin(await place.uploads.find(secret), None)
    monkeypatch.setattr(place.jobs, "end_upload", refuses)
    monkeypatch.setattr(place.jobs, "fail_upload", refuses)
    with pytest.raises(RefusedCommandError):
        await upload.finish()
    await upload.fail("UPLOAD_FAILED")


class ForgetfulFiles(FileStore):
    """A store that cannot keep one of a file's parts."""

    lost_part = 0

    async def write(self, job_id: str, number: int, part: bytes) -> None:
        """See `FileStore`."""
        if number == self.lost_part:
            raise unavailable("away")
        await super().write(job_id, number, part)


@pytest.mark.parametrize("lost_part", [0, 1, 2])
async def test_a_file_of_which_a_part_could_not_be_kept_has_not_come(
    place: Place, tmp_path: Path, lost_part: int
) -> None:
    place.files = files = ForgetfulFiles((tmp_path / "files").as_uri())
    files.lost_part = lost_part
    place.take_uploads()
    job, secret = await place.job()
    upload = await place.uploads.begin(await place.uploads.find(secret), None)

    async def send() -> None:
        await upload.add(bytes(2 * PART_BYTES + 1))
        await upload.finish()

    with pytest.raises(AudienceError):
        await send()
    assert (await place.found(job)).phase is Phase.UPLOADING


async def test_who_is_refused_may_send_on_until_it_has_read_why(place: Place, tmp_path: Path, usage: Usage) -> None:
    """The gateway, which is cut off, would say that nobody is there."""
    place.limit(file_bytes=9)
    _, secret = await place.job()
    server, path = UploadServer(place.uploads, usage, CallLog()), str(tmp_path / "uploads")
    await server.start(path)
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        head = f"PUT {UPLOAD_PATH}{secret} HTTP/1.1\r\nhost: service\r\ncontent-length: {2**24}\r\n\r\n"
        writer.write(head.encode())
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 413 ")
        for _ in range(2**6):
            writer.write(bytes(2**16))
            await writer.drain()
    finally:
        writer.close()
        await server.drain(1.0)


@pytest.mark.parametrize("secret", ["", "x", MARK, "0" * 40, "0" * 56, "0" * 57, "../" + "0" * 53, "é" * 56])
async def test_an_unknown_url(place: Place, secret: str) -> None:
    with pytest.raises(NoSuchUploadError):
        await place.uploads.begin(await place.uploads.find(secret), None)


async def test_a_member_that_was_made_just_now(place: Place, cluster: Cluster) -> None:
    """Another worker's catalog had it first."""
    store = ClusterCatalogStore(cluster)
    await store.write([write_of(None, pb.Member(id=424_242, name="New"))], seconds_from_now())
    find_member = CatalogFeed(store, Catalog()).member
    uploads = Uploads(place.jobs, place.files, find_member, place.clock, secrets.token_hex, draw_last, 3600)
    job, secret = await place.job(424_242)
    await (await uploads.begin(await uploads.find(secret), None)).finish()
    assert (await place.found(job)).phase is Phase.VALIDATING


async def test_the_url_of_a_member_that_is_gone_is_none(place: Place) -> None:
    _, secret = await place.job(424_242)
    with pytest.raises(NoSuchUploadError):
        await place.uploads.begin(await place.uploads.find(secret), None)


@pytest.mark.parametrize(
    ("limits", "limit"),
    [({"uploads_at_once": 1}, Limit.UPLOADS), ({"waiting_jobs": 1}, Limit.WAITING)],
    ids=lambda value: value.name if isinstance(value, Limit) else "",
)
async def test_one_more_than_may_be_uploaded_or_wait(place: Place, limits: dict[str, int], limit: Limit) -> None:
    """Its job goes on waiting for its file."""
    place.limit(**limits)
    _, secret = await place.job()
    first = await place.uploads.begin(await place.uploads.find(secret), None)
    if limit is Limit.WAITING:
        await first.finish()
    job, secret = await place.job()
    with pytest.raises(UploadRefusedError) as raised:
        await place.uploads.begin(await place.uploads.find(secret), None)
    assert raised.value.limit is limit
    assert raised.value.retry_after_seconds == 3  # drawn, as above
    assert (await place.found(job)).phase is Phase.STARTING


async def test_time_is_over(place: Place) -> None:
    _, secret = await place.job()
    place.take_uploads(upload_seconds=0.5)
    upload = await place.uploads.begin(await place.uploads.find(secret), None)
    assert upload.patience_seconds <= 0.5
    await asyncio.sleep(0.5)
    with pytest.raises(UploadRefusedError, match="Maximum upload time exceeded"):
        _ = upload.patience_seconds
    await upload.fail("RATE_LIMIT_EXCEEDED")


async def test_only_so_many_at_once(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, usage: Usage
) -> None:
    """Each takes memory; those of others can go on."""
    monkeypatch.setattr(uploading, "MOST_UPLOADS", 2)
    begun = [await place.uploads.begin((await place.job())[0], None) for _ in range(2)]
    with pytest.raises(AudienceError) as raised:
        await place.uploads.begin((await place.job())[0], None)
    assert raised.value.reason is Reason.UNAVAILABLE
    assert raised.value.retry_after_seconds == 3  # drawn: not all come again at once
    server, path = UploadServer(place.uploads, usage, CallLog()), str(tmp_path / "uploads")
    await server.start(path)
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=path)) as http:
        answer = await http.put(f"http://service{UPLOAD_PATH}{(await place.job())[1]}", content=b"1;2:3")
    await server.drain(1.0)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
    await begun[0].finish()
    await begun[1].fail("UPLOAD_INCOMPLETE")
    for _ in range(2):
        await place.uploads.begin((await place.job())[0], None)


async def test_those_that_begin_together_are_counted_before_the_cluster_has_answered(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploading, "MOST_UPLOADS", 2)
    jobs = [(await place.job())[0] for _ in range(5)]
    begun = await asyncio.gather(*(place.uploads.begin(job, None) for job in jobs), return_exceptions=True)
    refused = [each for each in begun if isinstance(each, AudienceError)]
    assert [each.reason for each in refused] == [Reason.UNAVAILABLE] * 3
    for each in begun:
        if isinstance(each, uploading.Upload):
            await each.fail("UPLOAD_INCOMPLETE")


async def test_those_that_do_not_begin_leave_their_place_to_others(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploading, "MOST_UPLOADS", 1)
    place.limit(bytes_per_day=10)
    job, _ = await place.job()
    with pytest.raises(UploadRefusedError):
        await place.uploads.begin(job, 11)
    with pytest.raises(NoSuchUploadError):  # its job has ended
        await place.uploads.begin(job, None)
    interrupted = asyncio.create_task(place.uploads.begin((await place.job())[0], None))
    await asyncio.sleep(0)
    interrupted.cancel()
    await asyncio.wait([interrupted])
    await place.uploads.begin((await place.job())[0], None)
