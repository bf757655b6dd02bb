"""Avro files that are broken, or lie (Avro 1.12 specification, "Object Container Files")."""

import asyncio
import json
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience_server.batch.counters import Counters
from instantaudience_server.batch.jobs import ErrorCode
from support.parts.avro_files import FULL_SCHEMA, avro_file, record, segment, user_schema
from support.parts.files import Job, batch_catalog

RECORDS = [{"uid": number, "segments": [segment(), segment(5849)]} for number in range(1, 1001)]
WHOLE = avro_file(RECORDS, sync_interval=2000)
SYNC = b"0123456789abcdef"


def long(value: int) -> bytes:
    """A `long` as it is encoded."""
    value, encoded = value << 1 if value >= 0 else (-value << 1) - 1, bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def text(value: bytes) -> bytes:
    return long(len(value)) + value


def header(schema: Any = FULL_SCHEMA, codec: bytes = b"null") -> bytes:
    encoded = schema if isinstance(schema, bytes) else json.dumps(schema).encode()
    metadata = text(b"avro.schema") + text(encoded) + text(b"avro.codec") + text(codec)
    return b"Obj\x01" + long(2) + metadata + long(0) + SYNC


def block(count: int, data: bytes, size: int | None = None, sync: bytes = SYNC) -> bytes:
    return long(count) + long(len(data) if size is None else size) + data + sync


LONG_USER = user_schema("long", record("segment", id="int"))
ONE = long(5) + long(1) + long(5848) + long(0)
"""A record of `LONG_USER`."""
GOOD = block(1, ONE)


def nested(depth: int) -> Any:
    kind: Any = "int"
    for _ in range(depth):
        kind = {"type": "array", "items": kind}
    return kind


DOUBLING = user_schema(
    "long",
    record("segment", id="int"),
    r0=record("r0", a="null"),
    **{f"r{n}": record(f"r{n}", a=f"r{n - 1}", b=f"r{n - 1}") for n in range(1, 40)},
)
SELF = user_schema("long", record("segment", id="int"), more=record("node", next=["null", "node"]))
ITSELF = user_schema("long", record("segment", id="int", next=["null", "segment"]))
NOTHING = user_schema("long", record("segment", id="int"), more={"type": "array", "items": "null"})
EMPTY_RECORDS = user_schema("long", record("segment", id="int"), more={"type": "array", "items": record("none")})
EMPTY_FIXED = {"type": "array", "items": {"type": "fixed", "name": "f", "size": 0}}

LIES: dict[str, tuple[bytes, ErrorCode, int]] = {
    "an endless header": (b"Obj\x01" + long(2**60) + text(b"k") + long(2**62), ErrorCode.CORRUPT_FILE, 0),
    "a header of many pairs": (
        b"Obj\x01" + long(2**60) + (text(b"k") + text(b"v")) * 400_000,
        ErrorCode.CORRUPT_FILE,
        0,
    ),
    "a negative size in it": (b"Obj\x01" + long(1) + long(-5), ErrorCode.CORRUPT_FILE, 0),
    "a number that does not end": (b"Obj\x01" + b"\xff" * 100, ErrorCode.CORRUPT_FILE, 0),
    "nothing after the magic": (b"Obj\x01", ErrorCode.FILE_CUT_OFF, 0),
    "another codec": (header(codec=b"snappy") + GOOD, ErrorCode.UNKNOWN_CODEC, 0),
    "no schema": (b"Obj\x01" + long(0) + SYNC + GOOD, ErrorCode.UNKNOWN_SCHEMA, 0),
    "a schema that is no JSON": (header(b"{") + GOOD, ErrorCode.UNKNOWN_SCHEMA, 0),
    "a schema that is too deep to read": (header(b"[" * 100_000) + GOOD, ErrorCode.UNKNOWN_SCHEMA, 0),
    **{
        f"the schema {json.dumps(schema)[:40]} {number}": (header(schema) + GOOD, ErrorCode.UNKNOWN_SCHEMA, 0)
        for number, schema in enumerate(
            [
                "long",
                [],
                5,
                {"type": "record"},
                {"type": "array", "items": FULL_SCHEMA},
                record("user", uid="long"),
                record("user", segments={"type": "array", "items": record("s", id="int")}),
                record("user", uid="long", segments="int"),
                record("user", uid="long", segments={"type": "array", "items": "int"}),
                record("user", uid="long", segments={"type": "array", "items": record("s", value="int")}),
                record("user", uid="nobody", segments={"type": "array", "items": record("s", id="int")}),
                user_schema("long", record("segment", id="int"), more=nested(30)),
                user_schema("long", record("segment", id="int"), more=EMPTY_FIXED),
                user_schema("long", record("segment", id="int"), more=[]),
                user_schema("long", record("segment", id="int"), more={"type": "fixed", "name": "f", "size": -1}),
                user_schema("long", record("segment", id="int"), more={"type": "enum", "name": "e"}),
                DOUBLING,
                SELF,
                ITSELF,
                NOTHING,
                EMPTY_RECORDS,
            ]
        )
    },
    "a block of 2^60 bytes": (header(LONG_USER) + GOOD + block(1, ONE, 2**60), ErrorCode.CORRUPT_FILE, 1),
    "a block of a negative size": (header(LONG_USER) + GOOD + block(1, ONE, -1), ErrorCode.CORRUPT_FILE, 1),
    "a block of a negative count": (header(LONG_USER) + GOOD + block(-1, ONE), ErrorCode.CORRUPT_FILE, 1),
    "a block of 2^60 records": (header(LONG_USER) + GOOD + block(2**60, ONE), ErrorCode.CORRUPT_FILE, 1),
    "a record too few": (header(LONG_USER) + GOOD + block(2, ONE), ErrorCode.CORRUPT_FILE, 2),
    "another end of a block": (header(LONG_USER) + GOOD + block(1, ONE, sync=b"x" * 16), ErrorCode.CORRUPT_FILE, 1),
    "more than its records": (header(LONG_USER) + GOOD + block(1, ONE + b"x"), ErrorCode.CORRUPT_FILE, 2),
    "an array of 2^60": (header(LONG_USER) + GOOD + block(1, long(5) + long(2**60) + b"\2"), ErrorCode.CORRUPT_FILE, 1),
    "a text of 2^60 bytes": (
        header(user_schema("long", record("segment", code="string"))) + block(1, long(5) + long(1) + long(2**60)),
        ErrorCode.CORRUPT_FILE,
        0,
    ),
    "a branch that is none": (header() + block(1, long(99) + ONE), ErrorCode.CORRUPT_FILE, 0),
    "a record that is too long": (
        header(LONG_USER) + GOOD + block(1, long(5) + long(270_000) + b"\2" * 270_000 + long(0)),
        ErrorCode.CORRUPT_FILE,
        1,
    ),
    "what is not deflated": (header(LONG_USER, b"deflate") + block(1, b"rubbish"), ErrorCode.CORRUPT_FILE, 0),
    "a block that is deflated in part": (
        header(LONG_USER, b"deflate") + block(1, zlib.compress(ONE * 99)[2:-8]),
        ErrorCode.CORRUPT_FILE,
        0,
    ),
    "a bomb": (
        header(LONG_USER, b"deflate") + block(1, zlib.compress(b"\0" * 2**28, 9)[2:-4]),
        ErrorCode.CORRUPT_FILE,
        0,
    ),
}


async def test_a_file_that_lies_ends_its_job_within_bounds(subtests: pytest.Subtests) -> None:
    for name in LIES:
        with subtests.test(name=name):
            content, code, lines = LIES[name]
            job = Job(batch_catalog())
            tracemalloc.start()
            try:
                counters = await job.run(content)
                used = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert job.failure is not None
            assert (job.failure.code, counters.num_lines) == (code, lines)
            assert used < 64 * 2**20


async def test_what_blocks_hold_past_what_a_member_may_send_ends_the_job() -> None:
    """Not what they take in the file."""
    deflated = zlib.compress(ONE * 10_000, 9)[2:-4]
    job = Job(batch_catalog(), most_bytes=10 * len(ONE) * 10_000)
    counters = await job.run(header(LONG_USER, b"deflate") + 20 * block(10_000, deflated))
    assert job.failure is not None
    assert job.failure.code is ErrorCode.FILESIZE_LIMIT_EXCEEDED
    assert 80_000 <= counters.num_lines <= 100_000


async def test_a_file_that_is_cut_off_applies_its_whole_blocks_and_says_so() -> None:
    starts = [place for place in range(len(WHOLE)) if WHOLE.startswith(WHOLE[-16:], place)][1:]
    for cut in (starts[2] + 16 + 40, starts[3] + 15):
        job = Job(batch_catalog())
        counters = await job.run(WHOLE[:cut])
        assert job.failure is not None
        assert job.failure.code is ErrorCode.FILE_CUT_OFF
        assert counters.num_lines == counters.values()["num_valid_user"]
        whole = Job(batch_catalog())
        assert (await whole.run(WHOLE[: starts[2] + 16])).num_lines == counters.num_lines
        assert whole.failure is None
        assert whole.store.state == job.store.state


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_whatever_byte_is_wrong_the_job_ends(place: int, difference: int) -> None:
    content = bytearray(WHOLE)
    content[place] ^= difference
    job, counters = asyncio.run(_run(bytes(content)))
    assert counters.num_lines <= 2000
    assert len(job.saved) >= 1


async def _run(content: bytes) -> tuple[Job, Counters]:
    job = Job(batch_catalog())
    return job, await job.run(content)
