"""The store of files, in a folder and on a server that speaks S3 (docs/adr/0027-batch-service.md)."""

import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from instantaudience_server.batch.uploads.files import PART_BYTES, FileLostError, FileStore
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.process.processes import free_ports
from structlog.testing import capture_logs
from support.outside.s3 import running_s3
from support.waiting import eventually, until

pytestmark = pytest.mark.process

jobs = (f"job{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A place in a bucket."""
    with running_s3() as url:
        yield url


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    if request.param == "s3":
        return FileStore(request.getfixturevalue("s3"))
    return FileStore((tmp_path / "a folder").as_uri())


@pytest.fixture
def job() -> str:
    return next(jobs)


async def written(store: FileStore, job: str, content: bytes) -> None:
    for number in range(-(-len(content) // PART_BYTES)):
        await store.write(job, number, content[number * PART_BYTES : (number + 1) * PART_BYTES])


async def read(store: FileStore, job: str, size: int, offset: int) -> bytes:
    return b"".join([piece async for piece in store.file(job, size).read(offset)])


@pytest.mark.parametrize("size", [0, 1, PART_BYTES, 2 * PART_BYTES + 7])
async def test_a_file_is_read_from_any_place(store: FileStore, job: str, size: int) -> None:
    content = (b"0123456789abcde" * (size // 15 + 1))[:size]
    await written(store, job, content)
    for offset in {0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 3, size - 1, size} & set(range(size + 1)):
        assert await read(store, job, size, offset) == content[offset:]


async def test_a_start_tells_where_no_file_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    with capture_logs() as logs:
        await FileStore((tmp_path / "a" / "new folder").as_uri()).tell_problem()
        assert logs == []
        for folder in (tmp_path / "a file", Path("/proc/nothing")):
            await FileStore(folder.as_uri()).tell_problem()
    told = [(each["event"], each["store"], each["error"]) for each in logs]
    assert told == [
        ("batch_store_unusable", f"file://{tmp_path}/a%20file", "File exists"),
        ("batch_store_unusable", "file:///proc/nothing", "No such file or directory"),
    ]
    assert "--batch-store" in logs[0]["advice"]


async def test_a_start_tells_of_a_store_elsewhere_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports("127.0.0.1", 1)
    for name, value in (("ENDPOINT_URL", f"http://127.0.0.1:{port}"), ("ACCESS_KEY_ID", "a"), ("ALLOW_HTTP", "true")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of nobody")
    with capture_logs() as logs:
        await FileStore("s3://files/of/ours").tell_problem()
    (told,) = logs
    assert (told["event"], told["store"]) == ("batch_store_unusable", "s3://files/of/ours")
    assert "of nobody" not in str(told)


async def test_a_reader_may_leave(store: FileStore, job: str) -> None:
    await written(store, job, bytes(2 * PART_BYTES))
    pieces = store.file(job, 2 * PART_BYTES).read(0)
    assert await anext(pieces)
    await pieces.aclose()


async def test_a_file_is_deleted_by_several_at_once(store: FileStore) -> None:
    for job in itertools.islice(jobs, 10):
        for number in range(5):
            await store.write(job, number, b"x")
        await asyncio.gather(*[store.delete(job) for _ in range(3)])
        assert job not in await store.job_ids()


async def test_files_are_listed_and_deleted(store: FileStore, job: str) -> None:
    other = next(jobs)
    await written(store, job, bytes(PART_BYTES + 1))
    await written(store, other, b"x")
    assert {job, other} <= set(await store.job_ids())
    await store.delete(job)
    await store.delete(job)
    await store.delete("never there")
    assert job not in await store.job_ids()
    assert await read(store, other, 1, 0) == b"x"
    with pytest.raises(FileLostError):
        await read(store, job, 1, 0)


async def test_a_part_that_is_written_again_replaces_the_first(store: FileStore, job: str) -> None:
    await store.write(job, 0, b"first")
    await store.write(job, 0, b"again")
    assert await read(store, job, 5, 0) == b"again"


@pytest.mark.parametrize("number", [0, 2])
async def test_a_part_that_is_not_whole_is_lost(store: FileStore, job: str, number: int) -> None:
    """What follows it would be read as if it came right after."""
    await written(store, job, bytes(2 * PART_BYTES + 7))
    await store.write(job, number, b"short")
    with pytest.raises(FileLostError):
        await read(store, job, 2 * PART_BYTES + 7, 0)


async def test_a_folder_is_made_only_when_it_is_needed(tmp_path: Path) -> None:
    store = FileStore((tmp_path / "later").as_uri())
    assert not (tmp_path / "later").exists()
    await store.write("job", 0, b"x")
    await store.delete("job")
    assert list((tmp_path / "later").iterdir()) == []


async def test_of_a_file_whose_process_was_killed_nothing_stays(tmp_path: Path) -> None:
    """The part that was being written then does not have its name yet."""
    folder = tmp_path / "a folder"
    writing = (
        "import asyncio, sys\n"
        "from instantaudience_server.batch.uploads.files import FileStore\n"
        "while True:\n"
        "    asyncio.run(FileStore(sys.argv[1]).write('job', 0, bytes(2**26)))\n"
    )

    async def left_a_part() -> None:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", writing, folder.as_uri())
        try:
            await until(lambda: any(each.name != "000000" for each in folder.glob("job/*")))
        finally:
            process.kill()
            await process.wait()
        assert any(each.name != "000000" for each in folder.glob("job/*"))

    await eventually(left_a_part)
    await FileStore(folder.as_uri()).delete("job")
    assert list(folder.iterdir()) == []


async def test_a_bucket_that_is_not_there_is_out_of_reach(s3: str) -> None:
    """It may come; nobody who asks for it stops for ever."""
    store = FileStore(s3.replace("files", "others"))
    asked: list[Callable[[], Awaitable[object]]] = [
        lambda: store.write("job", 0, b"x"),
        lambda: store.delete("job"),
        store.job_ids,
    ]
    for ask in asked:
        with pytest.raises(AudienceError) as raised:
            await ask()
        assert raised.value.reason is Reason.UNAVAILABLE


async def test_a_store_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, s3: str) -> None:
    """Why is for the log alone, and no secret is."""
    address = f"127.0.0.1:{free_ports('127.0.0.1', 1)[0]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:s3cret@{address}")
    monkeypatch.setattr("instantaudience_server.batch.uploads.files.RETRIES", {"max_retries": 0})
    with pytest.raises(AudienceError) as raised, capture_logs() as logged:
        await FileStore(s3).write("job", 0, b"x")
    assert raised.value.reason is Reason.UNAVAILABLE
    assert "127.0.0.1" not in raised.value.message
    (line,) = logged
    assert line["event"] == "batch_store_failed"
    assert f"http://{address}/" in line["error"]
    assert "s3cret" not in line["error"]
