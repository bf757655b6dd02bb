"""Files of memberships: the whole way, uploads that go wrong, processes that die (contract-neighbours, section 2)."""

import asyncio
import gzip
import io
import itertools
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import fastavro
import grpc
import httpx
import pytest
from instantaudience.v1 import batch_pb2 as pb
from instantaudience.v1.batch_pb2_grpc import BatchSegmentServiceStub
from instantaudience_gateway.contract.uploads import MARKED, MARKED_KEY
from instantaudience_gateway.envoy.config import MOST_UNMARKED_UPLOADS
from support.contract.answers import assert_http_error
from support.contract.model import UNLIMITED_DEMO
from support.service.processes import descendants
from support.service.running import ON_ONE_HOST, Service, new_directory, running_service
from support.service.usage import assert_counted
from support.waiting import eventually
from support.wire.http1 import Connection, answer_to

UPLOAD_SECONDS = 10
"""Long for a file of a test, short for who waits for the end of this."""
JOB_SECONDS = 90
LIMITED = {"file_bytes": 1000, "bytes_per_day": 1500, "lines_per_hour": 3, "batch_job_as_list": True}
"""Member 777's."""
users = itertools.count(5_000_000_000)


@pytest.fixture(scope="module")
async def service(host_mode: str) -> AsyncIterator[Service]:
    """A service of this file's own: its uploads may not take long, and its processes are killed."""
    members = [each | {"batch": LIMITED} if each["id"] == 777 else each for each in UNLIMITED_DEMO["members"]]
    async with new_directory() as directory:
        catalog = directory / "members.yaml"
        catalog.write_text(json.dumps(UNLIMITED_DEMO | {"members": members}))
        words = ("--workers", "1", "--batch-workers", "2", "--batch-upload-seconds", str(UPLOAD_SECONDS))
        async with running_service(
            *words, directory=directory, host_mode=host_mode, catalog=f"--catalog={catalog}"
        ) as running:
            yield running
            assert "call_defect" not in running.log
            assert "batch_job_defect" not in running.log
            # The URLs' secrets are credentials.
            assert "batch-segment-upload" not in running.log


@pytest.fixture
async def private(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A REST caller of member 777."""
    async with service.http(headers={"authorization": await service.token("private")}) as client:
        yield client


async def created(http: httpx.AsyncClient, **params: Any) -> dict[str, Any]:
    answer = await http.post("/batch-segment", params=params)
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()["response"]["batch_segment_upload_job"]
    return job


async def shown(http: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    answer = await http.get("/batch-segment", params={"job_id": job_id})
    assert answer.status_code == 200, answer.text
    found = answer.json()["response"]["batch_segment_upload_job"]
    job: dict[str, Any] = found[0] if isinstance(found, list) else found
    return job


async def ended(http: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    """A job, when it has ended."""

    async def over() -> dict[str, Any]:
        job = await shown(http, job_id)
        assert job["phase"] in ("completed", "error")
        return job

    job: dict[str, Any] = await eventually(over, JOB_SECONDS)
    return job


async def failures(http: httpx.AsyncClient) -> int:
    """How many calls of the member failed in the last two weeks."""
    answer = await http.get("/rt-segment-processed", params={"agg": "true"})
    found: int = answer.json()["response"]["report"]["num_other_errors"]
    return found


async def pieces(*all_of_them: bytes) -> AsyncIterator[bytes]:
    for each in all_of_them:
        yield each


def assert_refused(answer: httpx.Response, status: int, error_code: str, text: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.json() == {"response": {"status": "ERROR", "error_code": error_code, "errors": [text]}}


LINES = """\
{0};10001:0,10002:60
not a user;10001:0
{0};99999:0,40001:0,30001:0
{0}
{1};10001:60\t10002:-1
"""


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_the_whole_way(service: Service, demo: httpx.AsyncClient, method: str) -> None:
    one, other = next(users), next(users)
    answer = (await demo.post("/batch-segment")).json()["response"]
    job = answer.pop("batch_segment_upload_job")
    assert answer == {
        "status": "OK",
        "id": job["id"],
        "start_element": 0,
        "count": 1,
        "num_elements": 100,
        "dbg_info": {"output_term": "batch_segment_upload_job"},
    }
    assert job.keys() == {"id", "job_id", "member_id", "last_modified", "upload_url"}
    assert re.fullmatch(r"[A-Za-z0-9]{30}\d{10}", job["job_id"])
    assert job["upload_url"].startswith(f"{service.url}/batch-segment-upload/")
    assert (await shown(demo, job["job_id"]))["phase"] == "starting"
    async with service.http() as nobody:  # the URL is the credential
        content = pieces(*(line.encode() + b"\n" for line in LINES.format(one, other).splitlines()))
        answered = await nobody.request(method, job["upload_url"], content=content)
    assert answered.status_code == 200, answered.text
    assert answered.json() == {"response": {"status": "OK", "segment_upload": {"job_id": job["job_id"]}}}
    done = await ended(demo, job["job_id"])
    fields = (await demo.get("/batch-segment/meta")).json()["response"]["fields"]
    assert done.keys() == {field["name"] for field in fields}
    times = [done[name] for name in ("created_on", "start_time", "uploaded_time", "validated_time", "completed_time")]
    assert times == sorted(times)
    assert re.fullmatch(r"\d+\.\d\d", done["time_to_process"])
    assert {name: value for name, value in done.items() if name.startswith("num_")} == {
        "num_valid": 4,
        "num_valid_user": 3,
        "num_invalid_user": 1,
        "num_invalid_format": 1,
        "num_invalid_segment": 1,
        "num_unauth_segment": 1,
        "num_inactive_segment": 1,
        "num_past_expiration": 0,
        "num_invalid_timestamp": 0,
        "num_other_error": 0,
    }
    assert (done["phase"], done["percent_complete"], done["error_code"]) == ("completed", 100, None)
    assert "num_invalid_user-not a user;10001:0" in done["error_log_lines"].split("\n")
    assert done["segment_log_lines"].split("\n")[:2] == ["added:", "10001:2"]
    assert await segments_of(demo, one) == {10001: 0, 10002: 60}
    assert await segments_of(demo, other) == {10001: 60}
    assert names_in(service.directory / "data/batch-files") == []


async def segments_of(http: httpx.AsyncClient, user: int) -> dict[int, int]:
    """What a user is in, and for how many minutes."""
    answer = await http.get("/rt-segment", params={"user_id": str(user)})
    (found,) = answer.json()["response"]["rt_segment"]
    return {block["seg_id"]: block["expiration"] for block in found["seg_block"]}


def avro_of(user: int) -> bytes:
    """A file with a record about a user."""
    segment = {"name": "segment", "type": "record", "fields": [{"name": "id", "type": "int"}]}
    fields = [{"name": "uid", "type": "long"}, {"name": "segments", "type": {"type": "array", "items": segment}}]
    file = io.BytesIO()
    schema = fastavro.parse_schema({"name": "user", "type": "record", "fields": fields})
    fastavro.writer(file, schema, [{"uid": user, "segments": [{"id": 10001}]}], codec="deflate")
    return file.getvalue()


FORMS: dict[str, Callable[[int], bytes]] = {
    "gzip": lambda user: gzip.compress(f"{user};10001:43200\n".encode()),
    "avro": avro_of,
}


@pytest.mark.parametrize("form", FORMS)
async def test_what_a_file_is_shows_in_its_bytes(demo: httpx.AsyncClient, form: str) -> None:
    user, job = next(users), await created(demo)
    headers = {"content-type": "application/json"}
    answer = await demo.put(job["upload_url"], content=FORMS[form](user), headers=headers)
    assert answer.status_code == 200, answer.text
    done = await ended(demo, job["job_id"])
    assert (done["phase"], done["num_valid"], done["num_valid_user"]) == ("completed", 1, 1)
    assert await segments_of(demo, user) == {10001: 43200}


async def test_lists(demo: httpx.AsyncClient, private: httpx.AsyncClient) -> None:
    jobs = [await created(demo) for _ in range(3)]
    newest = [job["job_id"] for job in reversed(jobs)]

    async def listed(**params: Any) -> list[str]:
        answer = (await demo.get("/batch-segment", params=params)).json()["response"]
        assert answer["count"] >= len(jobs)
        return [job["job_id"] for job in answer["batch_segment_upload_job"]]

    assert (await listed())[:3] == newest
    assert await listed(num_elements=1, start_element=1) == newest[1:2]
    for more in (1000, 10**10):
        assert len(await listed(num_elements=more)) >= 3
    assert (await listed(sort="created_on.asc"))[-3:] == newest[::-1]
    assert set((await listed(sort="last_modified.desc"))[:3]) == set(newest)
    assert_http_error(await demo.get("/batch-segment?sort=phase.asc"), 400, "SYNTAX")
    assert_http_error(await demo.get("/batch-segment?num_elements=0"), 400, "SYNTAX")
    assert_http_error(await demo.get("/batch-segment?phase=error"), 400, "SYNTAX")
    assert_http_error(await demo.get("/batch-segment?job_id=nobody"), 404, "SYNTAX")
    assert_http_error(await private.get("/batch-segment", params={"job_id": newest[0]}), 403, "UNAUTH")
    job = await created(private)
    answer = await private.get("/batch-segment", params={"job_id": job["job_id"]})
    assert [each["id"] for each in answer.json()["response"]["batch_segment_upload_job"]] == [job["id"]]


async def test_an_admin_makes_another_members_job(service: Service, private: httpx.AsyncClient) -> None:
    """What is in the file is what that member may do."""
    user = next(users)
    async with service.http(headers={"authorization": await service.token("admin")}) as admin:
        job = await created(admin, member_id=958)
        file = f"{user};10001:0\n".encode()
        assert (await admin.put(job["upload_url"], content=file)).status_code == 200
        done = await ended(admin, job["job_id"])
    assert (done["member_id"], done["num_valid"]) == (958, 0)


WHOSE = {
    # what: the query, the body, the job's member
    "nobody named": ("", None, 123),
    "in the query": ("?member_id=958", None, 958),
    "in the body": ("", {"member_id": 958}, 958),
    "in the body, as protobuf spells it, beside others": ("", {"memberId": 958.0, "job": {}}, 958),
    "in both": ("?member_id=777", {"member_id": 958}, 777),
    "in neither": ("?member_id=", {"member_id": None}, 123),
}


@pytest.mark.parametrize(("query", "body", "member_id"), WHOSE.values(), ids=WHOSE)
async def test_whose_a_job_is(service: Service, query: str, body: Any, member_id: int) -> None:
    """The file would be applied as that of the caller's member where the member that is named is not seen."""
    async with service.http(headers={"authorization": await service.token("admin")}) as admin:
        answer = await admin.post(f"/batch-segment{query}", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["response"]["batch_segment_upload_job"]["member_id"] == member_id


@pytest.mark.parametrize("body", ["", "null", " [ ]\n", "{}"])
async def test_a_body_that_says_nothing(demo: httpx.AsyncClient, body: str) -> None:
    """Each is what clients of the original platform send (tests/legacy/)."""
    answer = await demo.post("/batch-segment", content=body)
    assert answer.json()["response"]["batch_segment_upload_job"]["member_id"] == 123


async def test_a_body_that_names_no_member(demo: httpx.AsyncClient) -> None:
    assert_http_error(await demo.post("/batch-segment", json={"member_id": 958}), 403, "UNAUTH")
    for body, text in {
        "member_id=958": "The body is not JSON (byte 1).",
        "[1]": "The body must be an object.",
        '{"member_id": "x"}': "member_id: must be an integer of 32 bits.",
        '{"member_id": 1, "memberId": 1}': "member_id: must not stand twice.",
    }.items():
        answer = await demo.post("/batch-segment", content=body)
        assert_http_error(answer, 400, "SYNTAX")
        assert answer.json()["response"]["error"] == text


@pytest.mark.parametrize("port", ["gateway", "direct"])
async def test_over_grpc(service: Service, demo: httpx.AsyncClient, port: str) -> None:
    user = next(users)
    metadata = (("authorization", await service.token()),)
    file = f"{user};10001:0\nno\u2028body;10001:0\n".encode()  # a line to some, not here
    async with service.channel(port) as channel:
        jobs = BatchSegmentServiceStub(channel)
        requests = iter([pb.UploadBatchFileRequest(data=file[at : at + 9]) for at in range(0, len(file), 9)])
        job = (await jobs.UploadBatchFile(requests, metadata=metadata)).job
        assert job.file_bytes == len(file)
        await ended(demo, job.job_id)
        job = (await jobs.GetBatchJob(pb.GetBatchJobRequest(job_id=job.job_id), metadata=metadata)).job
        assert (job.phase, job.counters.num_valid) == (pb.BATCH_JOB_PHASE_COMPLETED, 1)
        assert list(job.error_lines) == ["num_invalid_user-no\u2028body;10001:0"]
        assert await segments_of(demo, user) == {10001: 0}
        new = await jobs.CreateBatchJob(pb.CreateBatchJobRequest(), metadata=metadata)
        page = await jobs.ListBatchJobs(pb.ListBatchJobsRequest(page_size=1), metadata=metadata)
        assert [each.job_id for each in page.jobs] == [new.job.job_id]
        again = pb.ListBatchJobsRequest(page_size=1, page_token=page.next_page_token)
        assert [each.job_id for each in (await jobs.ListBatchJobs(again, metadata=metadata)).jobs] == [job.job_id]
        failed_before = (await jobs.GetBatchUsage(pb.GetBatchUsageRequest(), metadata=metadata)).total.failed_jobs
        cancelled = await jobs.CancelBatchJob(pb.CancelBatchJobRequest(job_id=new.job.job_id), metadata=metadata)
        assert cancelled.job.error_code == "CANCELLED"
        assert_http_error(await demo.put(new.upload_path, content=b"x"), 404, "SYNTAX")
        usage = await jobs.GetBatchUsage(pb.GetBatchUsageRequest(), metadata=metadata)
        assert usage.total.failed_jobs == failed_before  # that one was never used
        assert usage.total.counters.num_valid >= 1
        assert sum(hour.completed_jobs for hour in usage.hours) == usage.total.completed_jobs >= 1
        nothing = pb.GetBatchUsageRequest()
        nothing.end.GetCurrentTime()
        nothing.end.seconds -= 3 * 3600
        assert not (await jobs.GetBatchUsage(nothing, metadata=metadata)).hours


@pytest.mark.parametrize("port", ["gateway", "direct"])
async def test_a_job_of_a_name_that_is_too_long(service: Service, port: str) -> None:
    """What repeated it would have no room in a header."""
    metadata = (("authorization", await service.token()),)
    async with service.channel(port) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await BatchSegmentServiceStub(channel).GetBatchJob(
                pb.GetBatchJobRequest(job_id="x" * 100_000), metadata=metadata
            )
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_grpc_upload_that_is_too_much_and_one_that_breaks_off(service: Service) -> None:
    metadata = (("authorization", await service.token("private")),)
    async with service.channel("direct") as channel:
        jobs = BatchSegmentServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await jobs.UploadBatchFile(iter([pb.UploadBatchFileRequest(data=bytes(1001))]), metadata=metadata)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert raised.value.details() == "Member exceeds maximum byte size allowed for a file"
        upload = jobs.UploadBatchFile(metadata=metadata)
        await upload.write(pb.UploadBatchFileRequest(data=b"x"))

        async def newest(phase: int) -> None:
            page = await jobs.ListBatchJobs(pb.ListBatchJobsRequest(page_size=1), metadata=metadata)
            assert page.jobs[0].phase == phase

        await eventually(lambda: newest(pb.BATCH_JOB_PHASE_UPLOADING), 20)
        upload.cancel()
        await eventually(lambda: newest(pb.BATCH_JOB_PHASE_ERROR), 20)


async def test_strangers_have_a_share_of_their_own(service: Service, demo: httpx.AsyncClient) -> None:
    """Who has no URL that was handed out, whatever he says of it, takes no room from who has."""
    head = f"POST /batch-segment-upload/{'0' * 56} HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n"
    says = ["", f"{MARKED_KEY}: {MARKED}\r\n"]
    posts = [f"{head}{says[number % 2]}\r\n".encode() for number in range(3 * MOST_UNMARKED_UPLOADS)]
    strangers = [asyncio.create_task(answer_to(service.http_address, post)) for post in posts]
    await asyncio.wait(strangers, return_when=asyncio.FIRST_COMPLETED)
    for _ in range(3):
        job = await created(demo)
        assert (await demo.put(job["upload_url"], content=b"")).status_code == 200
    answers = Counter([each.status_code for each in await asyncio.gather(*strangers)])
    assert answers.keys() == {404, 503}
    assert answers[503] >= MOST_UNMARKED_UPLOADS // 2


async def test_a_url_serves_one_upload(service: Service, demo: httpx.AsyncClient) -> None:
    replaced, job = await created(demo), await created(demo)
    assert_http_error(await demo.put(replaced["upload_url"], content=b"x"), 404, "SYNTAX")
    assert_http_error(await demo.put(f"{service.url}/batch-segment-upload/{'0' * 40}", content=b"x"), 404, "SYNTAX")
    assert_http_error(await demo.put(f"{service.url}/batch-segment-upload/..%2F", content=b"x"), 404, "SYNTAX")
    read = await demo.get(job["upload_url"])
    assert_http_error(read, 405, "SYNTAX")
    assert read.headers["allow"] == "POST, PUT"
    head = await demo.head(job["upload_url"])
    assert (head.status_code, head.headers["allow"], head.content) == (405, "POST, PUT", b"")
    before, began = await failures(demo), time.monotonic()
    answers = await asyncio.gather(*[demo.put(job["upload_url"], content=b"") for _ in range(20)])
    assert sorted(answer.status_code for answer in answers) == [200, *[404] * 19]
    await assert_counted(lambda: failures(demo), before + 19, began)
    assert (await ended(demo, job["job_id"]))["phase"] == "completed"


TOO_LARGE = (413, "FILESIZE_LIMIT_EXCEEDED", "Member exceeds maximum byte size allowed for a file")


def limited_files() -> Iterator[tuple[str, bytes, tuple[int, str, str]]]:
    yield "size", bytes(1001), TOO_LARGE
    yield "much more", bytes(2**23), TOO_LARGE
    lines = (429, "RATE_LIMIT_EXCEEDED", "Member exceeds maximum allowed number of lines per hour")
    yield "lines", b"x\n" * 4, lines


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
@pytest.mark.parametrize(
    ("content", "refusal"), [row[1:] for row in limited_files()], ids=[row[0] for row in limited_files()]
)
async def test_a_file_that_is_too_much(
    private: httpx.AsyncClient, content: bytes, refusal: tuple[int, str, str], announced: bool
) -> None:
    """Its member finds it among the calls that failed, although the URL has no token."""
    job = await created(private)
    before, began = await failures(private), time.monotonic()
    body = content if announced else pieces(content[:7], content[7:])
    assert_refused(await private.put(job["upload_url"], content=body), *refusal)
    await assert_counted(lambda: failures(private), before + 1, began)
    failed = await shown(private, job["job_id"])
    if not (announced and refusal is TOO_LARGE):  # else the upload has not begun
        assert (failed["phase"], failed["error_code"]) == ("error", refusal[1])


async def test_a_day_has_only_so_many_bytes(private: httpx.AsyncClient) -> None:
    statuses = []
    for _ in range(2):
        job = await created(private)
        statuses.append((await private.put(job["upload_url"], content=b"x" * 900)).status_code)
    assert statuses == [200, 429]
    assert (await shown(private, job["job_id"]))["error_code"] == "RATE_LIMIT_EXCEEDED"


def head(job: dict[str, Any], length: int) -> bytes:
    path = httpx.URL(job["upload_url"]).raw_path
    return b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (path, length)


async def test_an_upload_that_stops_half_way(service: Service, demo: httpx.AsyncClient) -> None:
    job = await created(demo)
    async with Connection(service.http_address) as connection:
        sending = asyncio.create_task(connection.answer_to(head(job, 1000), b"x" * 500))

        async def phase(expected: str) -> None:
            assert (await shown(demo, job["job_id"]))["phase"] == expected

        await eventually(lambda: phase("uploading"), 20)
        busy = await created(demo)
        answer = await demo.put(busy["upload_url"], content=b"")
        assert_refused(answer, 429, "RATE_LIMIT_EXCEEDED", "Member exceeds maximum allowed number of uploads at a time")
        assert answer.headers["retry-after"] in ("1", "2", "3")
        sending.cancel()
    await eventually(lambda: phase("error"), 20)
    assert (await shown(demo, job["job_id"]))["error_code"] == "UPLOAD_INCOMPLETE"
    assert (await demo.put(busy["upload_url"], content=b"")).status_code == 200


@pytest.mark.wide
@ON_ONE_HOST
async def test_an_upload_of_a_byte_a_second(service: Service, demo: httpx.AsyncClient) -> None:
    job = await created(demo)
    answer = await answer_to(service.http_address, head(job, 1000), *[b"x"] * 60, every_seconds=1)
    assert_refused(answer, 408, "RATE_LIMIT_EXCEEDED", "Maximum upload time exceeded")
    assert (await shown(demo, job["job_id"]))["phase"] == "error"


async def test_an_upload_is_streamed(service: Service, demo: httpx.AsyncClient) -> None:
    """The first parts are in the store of files before the last piece is sent."""
    job = await created(demo)
    folder = service.directory / "data/batch-files" / job["job_id"]

    async def content() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield b"x" * 2**20
        await eventually(lambda: has_parts(folder), 20)
        yield b"\n"

    assert (await demo.post(job["upload_url"], content=content())).status_code == 200
    assert (await ended(demo, job["job_id"]))["num_invalid_format"] == 1


async def has_parts(folder: Path) -> None:
    assert len(names_in(folder)) >= 2


def names_in(folder: Path) -> list[str]:
    """None where the folder is not there yet."""
    return [each.name for each in folder.iterdir()] if folder.exists() else []


@pytest.mark.wide
@ON_ONE_HOST
async def test_processes_that_are_killed_in_the_middle_of_a_job(service: Service, demo: httpx.AsyncClient) -> None:
    """Another one goes on: each line counts once, and stands."""
    lines, first = 300_000, next(users) * 1000
    file = b"".join([b"%d;10001:0,10002:0\n" % (first + number) for number in range(lines)])
    job = await created(demo)
    assert (await demo.put(job["upload_url"], content=file)).status_code == 200

    async def under_way() -> None:
        assert (await shown(demo, job["job_id"]))["percent_complete"]

    await eventually(under_way, JOB_SECONDS)
    nobodys = service.directory / "data/batch-files" / f"{'x' * 30}{0:010}"  # of one who died before
    nobodys.mkdir()
    (nobodys / f"{0:06}").write_bytes(b"1;10001:0\n")
    killed = [each.pid for each in descendants(service.process.pid) if "running batch_worker" in each.command]
    assert len(killed) == 2
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    done = await ended(demo, job["job_id"])
    assert (done["phase"], done["error_code"]) == ("completed", None)
    assert (done["num_valid"], done["num_valid_user"]) == (2 * lines, lines)
    assert done["segment_log_lines"] == f"added:\n10001:{lines}\n10002:{lines}\nremoved:"
    for number in (0, lines // 3, lines // 2, lines - 1):
        assert await segments_of(demo, first + number) == {10001: 0, 10002: 0}

    async def is_gone() -> None:
        assert not nobodys.exists()

    await eventually(is_gone)


@ON_ONE_HOST
async def test_what_changes_in_the_catalog_counts_in_files(demo: httpx.AsyncClient) -> None:
    answer = await demo.post("/segment", json={"segment": {"code": f"file {next(users)}", "short_name": "New"}})
    assert answer.status_code == 200, answer.text
    segment, user = answer.json()["response"]["id"], next(users)

    async def is_known() -> None:
        job = await created(demo)
        assert (await demo.put(job["upload_url"], content=f"{user};{segment}:0\n".encode())).status_code == 200
        done = await ended(demo, job["job_id"])
        assert (done["num_valid"], done["num_invalid_segment"]) == (1, 0)

    await eventually(is_known)
    assert await segments_of(demo, user) == {segment: 0}
    assert (await demo.delete("/segment", params={"id": segment})).status_code == 200
