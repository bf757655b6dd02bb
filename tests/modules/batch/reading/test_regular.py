"""What the extension reads, Python would read alike: the same changes, counters and error lines
(docs/adr/0044-requests-read-natively.md)."""

import asyncio
import io
import json
import random
import sys
from collections.abc import Mapping
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.batch import applying
from instantaudience_server.batch.reading import lines, regular
from instantaudience_server.batch.reading.avro_reading import AvroReading
from instantaudience_server.batch.reading.avro_schema import read_schema
from instantaudience_server.batch.reading.format import BatchFormat
from instantaudience_server.batch.reading.resolving import Resolver
from instantaudience_server.batch.reading.text_reading import TextReading
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.memberships import REMOVE
from instantaudience_server.store.interfaces.segment_sizes import Joins
from instantaudience_server.store.membership_store import ClusterMembershipStore
from instantaudience_server.store.segment_size_store import ClusterSegmentSizeStore
from instantaudience_server.store.sizes.hyperloglog import numbers_of
from instantaudience_server.transport.hosts.native import missing
from redis.asyncio import RedisCluster
from support.cluster.stored import stored
from support.parts.avro_files import SEGMENT_SCHEMA, avro_file, segment, user_schema
from support.parts.files import MEMBER, UPLOADED_MS, Job, batch_catalog, now_s, unpacked
from support.waiting import seconds_from_now

if reason := missing():
    pytest.skip(f"the native extension is not there: {reason}", allow_module_level=True)

import instantaudience_native
from instantaudience_native import LineReader, RecordReader

RANDOMS = st.integers(0, 2**32 - 1).map(random.Random)
EXTENSION = "instantaudience_native"
END = 4_000_000_000_000
LAYOUTS: tuple[dict[str, Any], ...] = (
    {},
    {"fields": [pb.BATCH_FIELD_VALUE, pb.BATCH_FIELD_SEG_ID]},
    {"fields": [pb.BATCH_FIELD_SEG_CODE, pb.BATCH_FIELD_MEMBER_ID, pb.BATCH_FIELD_EXPIRATION]},
    {"fields": [pb.BATCH_FIELD_SEG_ID], "segments_per_line": 2},
    {"fields": [pb.BATCH_FIELD_SEG_ID, pb.BATCH_FIELD_EXPIRATION, pb.BATCH_FIELD_TIMESTAMP]},
    {"user_separator": ":", "segment_separator": " ", "removal_separator": "#"},
    {"segment_separator": "", "removal_separator": ""},
    {"user_separator": "\u00e9"},
)
USERS = [b"1", b"2", b"3", b"4", b"77", b"9999999999999999999", b"18446744073709551615", b"18446744073709551616"]
ODD_USERS = [b"", b"0", b"01", b"+1", b"-1", b" 1", b"1 ", b"\xd9\xa1", b"1\xe9", b"ann"]
FIELDS = [
    b"5848",
    b"5849",
    b"6000",
    b"5848",
    b"5851",
    b"7000",
    b"05848",
    b"cars",
    b"caf\xc3\xa9",
    b"caf\xe9",
    b"1",
    b"",
]
NUMBERS = [b"", b"0", b"1", b"1440", b"-1", b"1", b"1440", b"-2", b"x", b"2147483648"]


def lines_of(draw: random.Random, batch: Mapping[str, Any], number: int) -> bytes:
    """Lines of which most are usual, and some of each kind are not."""
    separators = BatchFormat.of(batch_catalog(batch=batch).members[MEMBER].batch).separators
    user, within, field, removal, domain = (each.encode() for each in separators)
    within, removal, domain = within or b",", removal or b"\t", domain or b"^"
    size = len(batch.get("fields", "12"))
    texts = [
        field.join(draw.choice(FIELDS if place == 0 else NUMBERS) for place in range(size))
        for _ in range(draw.randint(1, 12))
    ] + [field.join([b"5848", *[b"1"] * (size - 1)]), field.join([b"5849", *[b"-1"] * (size - 1)])]
    found = []
    for _ in range(number):
        parts = [draw.choice(texts) for _ in range(draw.choice((1, 1, 1, 2, 3)))]
        line = draw.choice(USERS if draw.random() < 0.9 else ODD_USERS) + user + within.join(parts)
        if draw.random() < 0.2:
            line += removal + within.join([*parts[:1], draw.choice(texts)])
        if draw.random() < 0.05:
            line += domain + draw.choice([b"3", b"9", b""])
        found.append(line + draw.choice([b"\n", b"\n", b"\n", b"\r\n", b"\r\r\n", b"\n\n"]))
    return b"".join(found)


async def outcome(content: bytes, batch: Mapping[str, Any], refused: bool, most_lines: int | None) -> Any:
    """What a file changes, counts and says."""
    job = Job(batch_catalog(batch=batch), **({} if most_lines is None else {"most_lines": most_lines}))
    job.store.refuses = {b"m:p:3"} if refused else set()
    counters = (await job.run(content)).to_json()
    for each in (counters["added"], counters["removed"]):
        each.sort()
    failure = None if job.failure is None else job.failure.code
    return job.store.state, counters, failure


@pytest.fixture(autouse=True, scope="module")
def _small_slices() -> Any:
    """The extension learns from what was read before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "SLICE_LINES", 7)
        patch.setattr(applying, "RECORDS_AT_ONCE", 7)
        yield


def both(content: bytes, *arguments: Any) -> tuple[Any, Any]:
    """The outcome with the extension, and without."""
    with pytest.MonkeyPatch.context() as patch:
        natively = asyncio.run(outcome(content, *arguments))
        patch.setitem(sys.modules, EXTENSION, None)
        return natively, asyncio.run(outcome(content, *arguments))


@given(layout=st.sampled_from(LAYOUTS), draw=RANDOMS, refused=st.booleans())
def test_lines_are_read_alike(layout: dict[str, Any], draw: random.Random, refused: bool) -> None:
    batch = layout | {"error_lines": draw.choice([0, 3, 200])}
    if draw.random() < 0.3:
        batch["num_invalid_before_error"] = draw.randint(0, 40)
    content = lines_of(draw, batch, draw.randint(0, 120))
    natively, by_python = both(content, batch, refused, draw.choice([None, None, 61]))
    assert natively == by_python


@given(draw=RANDOMS, refused=st.booleans())
def test_records_are_read_alike(draw: random.Random, refused: bool) -> None:
    uid = draw.choice(["long", ["null", "long"], ["string", "long"]])
    full = draw.random() < 0.5
    item = SEGMENT_SCHEMA | {"fields": SEGMENT_SCHEMA["fields"] if full else SEGMENT_SCHEMA["fields"][::3]}
    segments = [
        segment(draw.choice([5848, 5849, 6000, 5851, 7000, 1]), expiration=draw.choice([-2, -1, 0, 1, 1440, -3]))
        for _ in range(draw.randint(1, 8))
    ]
    if full:
        segments += [segment(0, code="cars"), segment(0, code="boats", member_id=1, value=7), segment(0, code="x" * 60)]
    users: list[Any] = [1, 2, 3, 4, -1, 2**62, 0]
    users += ["7"] if "string" in uid else [None] if "null" in uid else []
    records = [
        {"uid": draw.choice(users), "segments": draw.choices(segments, k=draw.choice((0, 1, 1, 2, 3, 40)))}
        for _ in range(draw.randint(1, 120))
    ]
    content = avro_file(records, user_schema(uid, item), sync_interval=draw.choice([100, 5000]))
    if draw.random() < 0.1:
        content = content[: -draw.randint(1, 40)]
    natively, by_python = both(content, {}, refused, None)
    assert natively == by_python


def reader_of(**options: Any) -> LineReader:
    layout = {"user": b";", "segment": b",", "removal": b"\t", "most_segments": 100, "longest_line": 1000}
    reader = LineReader(**layout | options)
    for text, segment_id, end in ((b"5:0", 5, 0), (b"6:1", 6, END), (b"7:-1", 7, REMOVE)):
        reader.learn(text, False, segment_id, end, 3)
    reader.learn(b"5:0", True, 5, REMOVE, 3)
    return reader


def test_usual_rows_are_read_natively() -> None:
    catalog = batch_catalog()
    member = catalog.members[MEMBER]
    resolver = Resolver(catalog, member, UPLOADED_MS)
    text = TextReading(BatchFormat.of(member.batch), resolver, None)
    content = b"".join(b"%d;5848:%d,5849:0\n" % (number, number % 9) for number in range(1, 101))
    assert [text.read(content).rows.keys == [] for _ in range(2)] == [False, True]
    user = {"uid": 7, "segments": [segment(5848), segment(0, code="cars")]}
    schema = read_schema(json.dumps(user_schema("long")).encode())
    records = AvroReading(schema, resolver, member)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, user_schema("long"), user)
    found = [records.read(100 * out.getvalue(), 0, 100)[0] for _ in range(2)]
    assert [len(each.rows.keys) for each in found] == [1, 0]


def test_as_many_records_are_read_as_are_asked_for() -> None:
    reader = RecordReader(uid_head=b"\x02", fields=b"n", most_segments=10)
    reader.learn(b"\x0a", 5, END, 3)
    data = 3 * b"\x02\x02\x02\x0a\x00"
    assert [reader.read(data, place, 2) for place in (0, 10)] == [(10, 2), (15, 1)]
    assert reader.finish().number == 3


def test_who_joins_what_is_told_by_numbers() -> None:
    read = reader_of().read(b"1;5:0,6:1\n22;7:-1\n1;6:1\t5:0\n333;5:0\r\n\n4444;9:9\n")
    assert (read.number, read.others) == (4, [b"4444;9:9"])
    assert unpacked(read.commands) == {
        b"m:p:1": {END: {6: 3}, REMOVE: {5: 0}},
        b"m:p:22": {REMOVE: {7: 0}},
        b"m:p:333": {0: {5: 3}},
    }
    assert (read.added, read.removed) == ({5: 2, 6: 2}, {7: 1, 5: 1})
    assert sorted(read.keys()) == [b"m:p:1", b"m:p:22", b"m:p:333"]
    assert read.joining() == [b"m:p:1", b"m:p:333"]
    assert reader_of().read(b"1;5:0\n22;7:-1\n22;7:-1\n1;\t5:0\n1;7:-1\n").joining() == [b"m:p:1"]
    joins = Joins(*read.joins())
    numbers = np.frombuffer(joins.users, np.uint64)
    places = zip(
        np.frombuffer(joins.segment_places, np.uint32), np.frombuffer(joins.user_places, np.uint32), strict=True
    )
    expected = numbers_of([b"m:p:1", b"m:p:333"])
    assert [(joins.segments[place], numbers[user]) for place, user in places] == [(5, expected[1]), (6, expected[0])]


def test_what_may_not_be_is_left_to_python() -> None:
    assert reader_of(longest_line=4).read(b"1;5:0\n").others == [b"1;5:0"]
    assert reader_of(most_segments=1).read(b"1;5:0,6:1\n2;5:0\n").others == [b"1;5:0,6:1"]
    assert reader_of().read(b"1;5:0\t5:0\t5:0").others == [b"1;5:0\t5:0\t5:0"]
    assert reader_of().read(b"").number == 0
    for wrong in ({"user": b""}, {"segment": b"ab"}):
        with pytest.raises(ValueError, match="separator"):
            reader_of(**wrong)


ENDS = range(200)
"""Different ones: what a segment's text was before is hardly ever met again."""
NEVER_AGAIN = {
    "LineReader": b"".join(b"%d;5848:%d,5849:0\n" % (1 + end % 90, end) for end in ENDS) * 2,
    "RecordReader": avro_file([{"uid": 1 + end % 90, "segments": [segment(5848, expiration=end)]} for end in ENDS] * 2),
}


@pytest.mark.parametrize("reader", NEVER_AGAIN)
def test_it_begins_anew_when_it_knows_too_much(reader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long file of a member would fill the memory for all."""
    make, made = getattr(instantaudience_native, reader), list[Any]()

    def noted(**options: Any) -> Any:
        made.append(make(**options))
        return made[-1]

    monkeypatch.setattr(instantaudience_native, reader, noted)
    monkeypatch.setattr(regular, "MOST_TEXTS", 20)
    natively, by_python = both(NEVER_AGAIN[reader], {}, False, None)
    assert natively == by_python
    assert 20 <= max(each.known for each in made) < 20 + 2 * 7


async def test_on_a_real_cluster_packed_commands_do_what_they_say(cluster: Cluster, plain: RedisCluster) -> None:
    """A user that has something else is told by its key; sizes are those of the users."""
    store, sizes = ClusterMembershipStore(cluster), ClusterSegmentSizeStore(cluster)
    await plain.set("m:p:7", "something else")
    lines_ = b"".join(b"%d;5:0,6:1\n" % number for number in range(1, 501)) + b"3;7:-1\t5:0\n"
    reader = reader_of()
    read = reader.read(lines_)
    writing = store.write([], seconds_from_now(), packed=read.commands)
    await writing.done
    assert list(writing.failures()) == [b"m:p:7"]
    await plain.delete("m:p:7")
    found = await stored(plain)
    assert found["", "3"] == {6: (3, END)}
    assert found["", "500"] == {5: (3, 0), 6: (3, END)}
    now_ms = now_s() * 1000
    sizes.take_joins(Joins(*read.joins()), now_ms)
    await sizes.send(seconds_from_now())
    assert await sizes.count([5, 6], now_ms, seconds_from_now()) == pytest.approx([499, 500], rel=0.03)
