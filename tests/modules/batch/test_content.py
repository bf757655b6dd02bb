"""Content is told by its bytes, and decompressed within bounds."""

import asyncio
import gzip
import random
import tracemalloc
import zlib

import pytest
from instantaudience_server.batch.content import Content, Kind
from instantaudience_server.batch.jobs import ErrorCode, FileFailedError
from support.parts.files import Job, MemoryFile, batch_catalog

TEXT = b"".join(b"%d;5848:0\n" % random.Random(1).getrandbits(63) for _ in range(3000))
LINE = b"7652266028043224430;5848:0\n"


async def read(content: bytes, position: int = 0, piece_bytes: int = 2**20) -> bytes:
    found = await Content.of(MemoryFile(content, piece_bytes))
    return b"".join([piece.data async for piece in found.read(position)])


FORMS = {
    "plain": TEXT,
    "gzip": gzip.compress(TEXT),
    "members": gzip.compress(TEXT[:10_000]) + gzip.compress(b"") + gzip.compress(TEXT[10_000:]),
    "padded": gzip.compress(TEXT) + b"\0" * 1000,
    "stored": gzip.compress(TEXT, 0),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("piece_bytes", [1, 700, 2**20])
async def test_content_is_the_same_from_any_place(form: str, piece_bytes: int) -> None:
    assert await read(FORMS[form], 0, piece_bytes) == TEXT
    for position in (1, 10_000, len(TEXT) - 1, len(TEXT)):
        assert await read(FORMS[form], position, 700) == TEXT[position:]


async def test_the_kind_is_told_by_the_first_bytes() -> None:
    for content, kind in [(b"Obj\x01", Kind.AVRO), (b"Obj\x02", Kind.TEXT), (b"O", Kind.TEXT), (b"", Kind.TEXT)]:
        for stored in (content, gzip.compress(content)):
            assert (await Content.of(MemoryFile(stored, 1))).kind is kind


async def test_an_empty_file_has_no_lines() -> None:
    for content in (b"", gzip.compress(b""), b"\n\n"):
        counters = await Job(batch_catalog()).run(content)
        assert (counters.num_lines, counters.error_log_lines) == (0, "")


BROKEN = {
    "cut off": (gzip.compress(LINE * 1000)[:-9], ErrorCode.FILE_CUT_OFF),
    "cut off in its header": (gzip.compress(LINE)[:5], ErrorCode.FILE_CUT_OFF),
    "no gzip": (b"\x1f\x8b" + b"rubbish" * 9, ErrorCode.CORRUPT_FILE),
    "rubbish after it": (gzip.compress(LINE * 1000) + b"rubbish" * 9, ErrorCode.CORRUPT_FILE),
    "another checksum": (gzip.compress(LINE * 1000)[:-8] + b"12345678", ErrorCode.CORRUPT_FILE),
}


async def test_a_broken_gzip_ends_the_job_and_what_was_read_stays(subtests: pytest.Subtests) -> None:
    for name in BROKEN:
        with subtests.test(name=name):
            content, code = BROKEN[name]
            job = Job(batch_catalog())
            counters = await job.run(content)
            assert job.failure is not None
            assert job.failure.code is code
            assert counters.num_lines == counters.values()["num_valid"]
            assert (counters.num_lines > 0) == (name in {"rubbish after it", "cut off"})


async def test_a_bomb_takes_no_memory_and_ends_where_it_may_not_go_on() -> None:
    squeezer = zlib.compressobj(9, wbits=31)
    bomb = b"".join([squeezer.compress(b"x" * 2**20) for _ in range(300)]) + squeezer.flush()
    assert len(bomb) < 400_000
    job = Job(batch_catalog(), most_bytes=200 * 2**20)
    tracemalloc.start()
    try:
        await job.run(gzip.compress(LINE) + bomb)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()
    assert job.failure is not None
    assert job.failure.code is ErrorCode.FILESIZE_LIMIT_EXCEEDED


async def test_lines_past_what_a_member_may_send_end_the_job() -> None:
    for content in (LINE * 100_000, gzip.compress(LINE * 100_000)):
        job = Job(batch_catalog(), most_bytes=10**6)
        counters = await job.run(content)
        assert job.failure is not None
        assert job.failure.code is ErrorCode.FILESIZE_LIMIT_EXCEEDED
        assert counters.num_lines == 10**6 // len(LINE)


async def test_others_have_their_turn_while_nothing_is_found() -> None:
    turns, members = 0, 500

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count_turns())
    assert (await Content.of(MemoryFile(gzip.compress(b"") * members))).kind is Kind.TEXT
    counting.cancel()
    assert turns >= members


async def test_a_broken_gzip_is_told_before_anything() -> None:
    with pytest.raises(FileFailedError):
        await Content.of(MemoryFile(b"\x1f\x8brubbish"))
