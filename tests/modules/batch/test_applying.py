"""A file is applied in its order, from any checkpoint on to the same end (docs/adr/0026-files.md)."""

import asyncio
import gzip
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.batch import applying, writing, yielding
from instantaudience_server.batch.applying import FileApplying
from instantaudience_server.batch.jobs import Checkpoint, ErrorCode, JobView
from instantaudience_server.batch.reading.avro_reading import BYTES_AT_ONCE
from instantaudience_server.batch.reading.lines import SLICE_LINES
from instantaudience_server.batch.uploads.files import PART_BYTES, FileStore
from instantaudience_server.batch.writing import MOST_AT_ONCE
from instantaudience_server.batch.yielding import Yielding
from instantaudience_server.catalog import records as catalog_records
from instantaudience_server.errors import AudienceError, unavailable
from instantaudience_server.process.clock import SystemClock
from instantaudience_server.segment_sizes import SegmentSizes
from instantaudience_server.settings import Durability
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.catalog import Kind, Record
from instantaudience_server.store.interfaces.memberships import Changes
from instantaudience_server.store.interfaces.segment_sizes import Joins
from instantaudience_server.store.membership_store import ClusterMembershipStore
from instantaudience_server.store.segment_size_store import ClusterSegmentSizeStore
from instantaudience_server.store.suppression_store import ClusterSuppressionStore
from instantaudience_server.suppressions import Suppressions
from redis.asyncio import RedisCluster
from support.cluster.stored import stored
from support.contract.model import State
from support.parts.avro_files import avro_file, segment
from support.parts.files import (
    MEMBER,
    UPLOADED_MS,
    UPLOADED_S,
    Job,
    MemoryFile,
    NoSizes,
    NotedStore,
    batch_catalog,
    now_s,
)
from support.waiting import seconds_from_now, turns, until

FIELDS = {"fields": [pb.BATCH_FIELD_SEG_ID, pb.BATCH_FIELD_EXPIRATION, pb.BATCH_FIELD_TIMESTAMP]}
ACTIVE = (5848, 5849, 5850, 6000)

BLOCKS = st.tuples(
    st.sampled_from([*ACTIVE, 5848, 5848, 5851, 7000, 1, 2]),
    st.sampled_from(["", "-1", "0", "1", "10", "1440", "-2", "x"]),
    st.sampled_from(["", "", "0", str(UPLOADED_S - 300), str(UPLOADED_S + 299), str(UPLOADED_S + 301)]),
)
LINES = st.tuples(
    st.sampled_from(["1", "2", "3", "0", "18446744073709551615", "ann"]),
    st.lists(BLOCKS, min_size=1, max_size=4),
    st.lists(BLOCKS, max_size=2),
)


def text_of(line: Any) -> str:
    user_id, stay, leave = line
    said = [",".join(f"{segment}:{minutes}:{time}" for segment, minutes, time in part) for part in (stay, leave)]
    return f"{user_id};{said[0]}" + (f"\t{said[1]}" if leave else "")


class Model:
    """The table of "Text", as simply as can be."""

    def __init__(self) -> None:
        self.state: State = {}
        self.counts: dict[str, int] = {"num_valid": 0, "num_valid_user": 0}
        self.different: dict[str, set[int]] = {}

    def count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1

    def take(self, line: Any) -> None:
        user_id, stay, leave = line
        blocks = [*stay, *((segment, minutes, time, True) for segment, minutes, time in leave)]
        if any(block[1] in ("x", "-2") for block in blocks):
            self.count("num_invalid_format")
        elif not re.fullmatch("[1-9][0-9]*", user_id):
            self.count("num_invalid_user")
        elif any(block[2] and int(block[2]) > UPLOADED_S + 300 for block in blocks):
            self.count("num_invalid_timestamp")
        else:
            self.count("num_valid_user")
            changes = {}
            for segment, minutes, time, *removed in blocks:
                found = self.end(segment, "-1" if removed else minutes, time)
                if found is not None:
                    changes[segment] = found
            memberships = self.state.setdefault(("", user_id), {})
            for segment, end in changes.items():
                self.counts["num_valid"] += 1
                memberships.pop(segment, None)
                if end >= 0:
                    memberships[segment] = (0, end)

    def end(self, segment: int, minutes: str, time: str) -> int | None:
        refused = {1: "num_invalid_segment", 2: "num_invalid_segment", 5851: "num_inactive_segment"}
        name = {**refused, 7000: "num_unauth_segment"}.get(segment)
        if name is None and minutes in ("-1", "0"):
            return int(minutes)
        if name is None:
            start_ms = int(time) * 1000 if time not in ("", "0") else UPLOADED_MS
            end = start_ms + int(minutes or "60") * 60_000
            if end > UPLOADED_MS:
                return end
            name = "num_past_expiration"
        self.different.setdefault(name, set()).add(segment)
        return None

    @property
    def values(self) -> dict[str, int]:
        return {**self.counts, **{name: len(segments) for name, segments in self.different.items()}}


def job_of(store: NotedStore | None = None, **options: Any) -> Job:
    return Job(batch_catalog({"default_expiration": 60}, batch=FIELDS), store, **options)


@given(st.lists(LINES, max_size=30), st.integers(1, 200), st.data())
def test_a_file_is_applied_as_a_simple_model_says_however_often_it_breaks_off(
    lines: list[Any], block_bytes: int, data: st.DataObject
) -> None:
    content = "\n".join(map(text_of, lines)).encode()
    model = Model()
    for line in lines:
        model.take(line)
    job = asyncio.run(_with_breaks(content, block_bytes, data))
    counters = asyncio.run(job.run(content))
    assert {user: each for user, each in job.store.state.items() if each} == {
        user: each for user, each in model.state.items() if each
    }
    assert {name: count for name, count in counters.values().items() if count} == {
        name: count for name, count in model.values.items() if count
    }


async def _with_breaks(content: bytes, block_bytes: int, data: st.DataObject) -> Job:
    """Apply a file in several goes; in some of them, more is written than is kept as a checkpoint."""
    store, saved = NotedStore(), list[str]()
    for _ in range(data.draw(st.integers(0, 3))):
        job = job_of(store, block_bytes=block_bytes)
        job.saved = list(saved)
        await job.run(content, until=len(saved) + data.draw(st.integers(1, 4)))
        saved = job.saved[: max(len(saved), len(job.saved) - data.draw(st.integers(0, 2)))]
    job = job_of(store, block_bytes=block_bytes)
    job.saved = saved
    return job


def avro_of(text: bytes, codec: str = "null", block_bytes: int = 2000) -> bytes:
    """Lines of the fields SEG_ID and EXPIRATION as records."""
    split = [line.partition(";") for line in text.decode().splitlines()]
    records = [
        {
            "uid": int(user_id),
            "segments": [
                segment(int(segment_id), expiration=int(minutes))
                for segment_id, _, minutes in (each.partition(":") for each in rest.split(","))
            ],
        }
        for user_id, _, rest in split
    ]
    return avro_file(records, codec=codec, sync_interval=block_bytes)


MANY = b"".join(
    b"%d;%d:%d,%d:5\n" % (1 + number % 700, ACTIVE[number % 3], number % 5, (6000, 1, 5851)[number % 3])
    for number in range(2000)
)
FORMS = {
    "text": MANY,
    "gzip": gzip.compress(MANY),
    "Avro": avro_of(MANY),
    "deflated Avro": avro_of(MANY, "deflate"),
    "Avro in gzip": gzip.compress(avro_of(MANY)),
}


async def test_a_job_goes_on_from_any_checkpoint_to_the_same_end(subtests: pytest.Subtests) -> None:
    for form in FORMS:
        with subtests.test(form=form):
            catalog = batch_catalog()
            whole = Job(catalog, block_bytes=3000)
            expected = (await whole.run(FORMS[form])).to_json()
            expected.pop("num_bytes")
            assert len(whole.saved) >= 3
            assert expected["num_lines"] == 2000
            for index in range(len(whole.saved)):
                again = Job(catalog, whole.store, block_bytes=100_000)
                again.saved = whole.saved[: index + 1]
                counters = (await again.run(FORMS[form])).to_json()
                counters.pop("num_bytes")
                assert counters == expected


async def test_records_of_a_block_count_once_however_often_a_job_goes_on_within_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(applying, "RECORDS_AT_ONCE", 500)
    file = avro_of(MANY, block_bytes=10**6)
    job = Job(batch_catalog(), block_bytes=0)
    for checkpoints in (3, 4, 5):
        await job.run(file, until=checkpoints)
    counters = await job.run(file)
    assert counters.values() == (await Job(batch_catalog()).run(file)).values()


async def test_after_some_records_with_many_segments_others_have_their_turn() -> None:
    """What a thousand of them take may be longer than a job is kept, which is renewed between them."""
    segments = [segment(segment_id) for segment_id in range(1, 1801)]
    file = avro_file([{"uid": user, "segments": segments} for user in range(1, 41)], sync_interval=10**9)
    job = Job(batch_catalog(), block_bytes=0)
    assert (await job.run(file)).num_lines == 40
    assert len(job.saved) >= len(file) // (2 * BYTES_AT_ONCE)


@pytest.mark.parametrize(
    ("block_bytes", "block_seconds", "lines"),
    [(30, 3600.0, [4, 8, 10]), (2**20, 0.0, [*range(1, 11), 10]), (2**20, 3600.0, [10])],
    ids=["so much of it", "so long", "its end"],
)
async def test_how_far_a_file_is_is_told_after_so_much_or_so_long(
    monkeypatch: pytest.MonkeyPatch, block_bytes: int, block_seconds: float, lines: list[int]
) -> None:
    monkeypatch.setattr(applying, "BLOCK_SECONDS", block_seconds)
    job = Job(batch_catalog(), block_bytes=block_bytes)
    await job.run(MemoryFile(b"1;5848:0\n" * 10, 1))
    assert [Checkpoint.load(saved).counters.num_lines for saved in job.saved] == lines


async def test_all_forms_end_alike() -> None:
    jobs = {form: Job(batch_catalog()) for form in FORMS}
    counters = {form: (await job.run(FORMS[form])).values() for form, job in jobs.items()}
    for form in FORMS:
        assert jobs[form].store.state == jobs["text"].store.state
        assert counters[form] == counters["text"]


async def test_plain_text_is_read_on_where_it_was_left() -> None:
    first = Job(batch_catalog(), block_bytes=3000)
    await first.run(MANY, until=2)
    file = MemoryFile(MANY)
    second = Job(batch_catalog(), first.store)
    second.saved = first.saved
    await second.run(file)
    assert max(file.reads) > 3000


async def test_past_so_many_unreadable_lines_the_job_ends_and_what_was_applied_stays(subtests: pytest.Subtests) -> None:
    for limit in [0, 1, 3]:
        with subtests.test(limit=limit):
            lines = [*(["5;5848:0", "rubbish"] * 5), "6;5848:0"]
            for block_bytes in (1, 10_000):
                catalog = batch_catalog(batch={"num_invalid_before_error": limit})
                job = Job(catalog, block_bytes=block_bytes)
                counters = await job.run("\n".join(lines).encode())
                assert job.failure is not None
                assert job.failure.code is ErrorCode.INVALID_FORMAT_LIMIT_EXCEEDED
                assert (
                    counters.values() | {"num_valid": limit + 1, "num_invalid_format": limit + 1} == counters.values()
                )
                assert ("", "6") not in job.store.state
            job = Job(batch_catalog(batch={"num_invalid_before_error": 5}))
            await job.run("\n".join(lines).encode())
            assert job.failure is None


async def test_a_job_that_goes_on_when_fewer_unreadable_lines_are_allowed() -> None:
    lines = b"rubbish\n" * SLICE_LINES + b"rubbish\n6;5848:0"
    first = Job(batch_catalog(), block_bytes=1)
    assert (await first.run(lines, until=1))["num_invalid_format"] > 2
    second = Job(batch_catalog(batch={"num_invalid_before_error": 2}))
    second.saved = first.saved
    await second.run(lines)
    assert second.failure is not None
    assert second.failure.code is ErrorCode.INVALID_FORMAT_LIMIT_EXCEEDED
    assert ("", "6") not in second.store.state


async def test_no_more_lines_are_applied_than_may_be() -> None:
    job = Job(batch_catalog(), most_lines=1999)
    counters = await job.run(MANY)
    assert job.failure is not None
    assert (job.failure.code, counters.num_lines) == (ErrorCode.RATE_LIMIT_EXCEEDED, 1999)
    job = Job(batch_catalog(), most_lines=2000)
    await job.run(MANY)
    assert job.failure is None


async def test_a_job_that_goes_on_when_fewer_lines_are_left() -> None:
    first = Job(batch_catalog(), block_bytes=1)
    lines = (await first.run(MANY, until=1)).num_lines
    second = Job(batch_catalog(), most_lines=lines - 1)
    second.saved = first.saved
    assert (await second.run(MANY)).num_lines == lines
    assert second.failure is not None
    assert second.failure.code is ErrorCode.RATE_LIMIT_EXCEEDED


async def test_a_job_that_is_resumed_reads_the_lines_as_it_did_before() -> None:
    """Its member has another format since: for the next file."""
    first, at_once = Job(batch_catalog(), block_bytes=1), Job(batch_catalog())
    await first.run(MANY, until=1)
    resumed = Job(batch_catalog(batch={"user_separator": "~", **FIELDS}))
    resumed.saved = first.saved
    assert (await resumed.run(MANY)).to_json() == (await at_once.run(MANY)).to_json()


async def test_a_catalog_that_changes_while_a_file_is_applied_counts_from_then_on(subtests: pytest.Subtests) -> None:
    for form in ["text", "Avro"]:
        with subtests.test(form=form):
            catalog = batch_catalog()
            job = Job(catalog, block_bytes=1)
            lines = b"5;5848:0\n" * 2 * SLICE_LINES
            inactive = pb.Segment(id=5848, member_id=MEMBER, state=pb.SEGMENT_STATE_INACTIVE)
            counted: list[dict[str, int]] = []
            content = lines if form == "text" else avro_of(lines, block_bytes=1000)
            async for checkpoint in job.applying.apply(MemoryFile(content), job.view):
                counted.append(checkpoint.counters.values())
                catalog.put([Record(Kind.SEGMENT, catalog_records.encode(inactive))])
            first, last = counted[0], counted[-1]
            assert (first["num_inactive_segment"], last["num_inactive_segment"]) == (0, 1)
            assert 0 < first["num_valid"] == last["num_valid"]


async def test_a_member_that_is_deleted_ends_its_jobs() -> None:
    catalog = batch_catalog()
    job = Job(catalog, block_bytes=1)
    await job.run(MANY, until=1)
    catalog.remove(Kind.MEMBER, MEMBER)
    await job.run(MANY)
    assert job.failure is not None
    assert job.failure.code is ErrorCode.MEMBER_DELETED


async def test_what_was_applied_of_a_file_counts_where_the_rest_is_lost(tmp_path: Path) -> None:
    line, files = b"5;5848:0\n", FileStore(tmp_path.as_uri())
    content = line * (PART_BYTES // len(line) + 1)
    await files.write("job", 0, content[:PART_BYTES])
    job = Job(batch_catalog())
    counters = await job.run(files.file("job", len(content)))
    assert job.failure is not None
    assert (job.failure.code, counters.num_lines) == (ErrorCode.FILE_LOST, PART_BYTES // len(line))


class AwayStore(NotedStore):
    """A store whose cluster goes away after so many writes."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self._left = writes

    def write(self, *arguments: Any, **options: Any) -> Any:
        """See `NotedStore`."""
        written: Any = super().write(*arguments, **options)
        self._left -= 1
        if self._left < 0:
            written.failures = lambda: {b"m:p:1": unavailable("away")}
        return written


async def test_while_the_cluster_is_away_nothing_is_counted() -> None:
    store = AwayStore(1)
    job = Job(batch_catalog(), store, block_bytes=1)
    with pytest.raises(AudienceError):
        await job.run(MANY)
    again = Job(batch_catalog())
    again.saved = job.saved
    counters = await again.run(MANY)
    assert counters.to_json() == (await Job(batch_catalog()).run(MANY)).to_json()


async def test_lines_of_a_user_that_the_cluster_refuses_do_not_count_as_taken(subtests: pytest.Subtests) -> None:
    """Nor does the job end with them."""
    for times in [1, SLICE_LINES]:
        with subtests.test(times=times):
            job = Job(batch_catalog())
            job.store.refuses = {b"m:p:2"}
            counters = await job.run(b"1;5848:0\n2;5849:0\n" * times)
            taken = {"num_valid_user": times, "num_valid": times, "num_other_error": times}
            assert counters.values() | taken == counters.values()
            assert job.store.state == {("", "1"): {5848: (0, 0)}}


class HeldStore(NotedStore):
    """A store whose cluster does not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[Any] = []

    def write(self, *arguments: Any, **options: Any) -> Any:
        """See `NotedStore`."""
        written: Any = super().write(*arguments, **options)
        written.done = asyncio.get_running_loop().create_future()
        self.writes.append(written)
        return written


async def test_a_job_that_is_given_up_leaves_no_write_under_way() -> None:
    """Whoever goes on with it, or with the member's next file, would be overtaken."""
    store = HeldStore()
    content = b"".join(b"%d;5848:0\n" % user for user in range(1, (MOST_AT_ONCE + 1) * SLICE_LINES))
    applying = asyncio.create_task(job_of(store).run(content))

    await until(lambda: len(store.writes) == MOST_AT_ONCE)
    applying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await applying
    assert [write.done.cancelled() for write in store.writes] == [True] * MOST_AT_ONCE


async def test_what_a_file_changes_of_a_user_waits_for_what_it_changed_before() -> None:
    """A command that is sent again would be overtaken; other users do not wait."""
    store = HeldStore()
    content = b"1;5848:0\n2;5848:0\n1;5848:-1\n3;5848:0\n"
    applying = asyncio.create_task(Job(batch_catalog(), store).run(MemoryFile(content, 1)))

    await until(lambda: len(store.writes) == 2)
    await turns(100)
    assert len(store.writes) == 2
    store.writes[0].done.set_result(None)
    await until(lambda: len(store.writes) == 4)
    for write in store.writes[1:]:
        write.done.set_result(None)
    assert (await applying)["num_valid"] == 4


async def test_who_has_lost_a_job_writes_nothing_more(cluster: Cluster, plain: RedisCluster) -> None:
    """Another one may have gone on with it, and with the member's next file, while the process stood still."""
    answers = [True, False]
    job = Job(batch_catalog(), ClusterMembershipStore(cluster), is_ours=lambda: answers.pop(0))
    applying = asyncio.create_task(job.run(MemoryFile(b"1;5848:0\n2;5848:0\n", 9)))

    await until(lambda: not answers)
    applying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await applying
    assert await stored(plain) == {("", "1"): {5848: (0, 0)}}


class FullStore(NotedStore):
    """A store that takes nothing on so many times."""

    def __init__(self, times: float) -> None:
        super().__init__()
        self._left = times

    def write(self, *arguments: Any, **options: Any) -> Any:
        """See `NotedStore`."""
        self._left -= 1
        if self._left >= 0:
            raise unavailable("full")
        return super().write(*arguments, **options)


async def test_a_job_waits_until_its_changes_are_taken_on_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it rests, and makes room for others'."""
    monkeypatch.setattr(writing, "RETRY_SECONDS", 0.01)
    assert (await Job(batch_catalog(), FullStore(2)).run(b"1;5848:0"))["num_valid"] == 1
    monkeypatch.setattr(writing, "WRITE_SECONDS", 0.05)
    async with asyncio.timeout(20):
        with pytest.raises(AudienceError):
            await Job(batch_catalog(), FullStore(math.inf)).run(MANY)


async def test_a_file_waits_for_live_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked how these fare before anything is written, and again when that is done."""
    for name, seconds in {"WORK": 0.0, "MOST_WORK": 0.0, "LATE": 60.0, "PATIENCE": 60.0}.items():
        monkeypatch.setattr(yielding, f"{name}_SECONDS", seconds)
    store, looks, may_go_on = HeldStore(), list[list[bool]](), asyncio.Event()

    async def look() -> None:
        looks.append([write.done.done() for write in store.writes])
        await may_go_on.wait()

    job = Job(batch_catalog(), store, yielding=Yielding(look))
    job_done = asyncio.create_task(job.run(MemoryFile(b"1;5848:0\n2;5848:0\n", 9)))

    await until(lambda: len(looks) == 1)
    assert not store.writes
    may_go_on.set()
    await until(lambda: len(store.writes) == 1)
    await turns(100)
    assert len(looks) == 1
    store.writes[0].done.set_result(None)
    await until(lambda: len(store.writes) == 2)
    store.writes[1].done.set_result(None)
    await job_done
    assert looks == [[], [True]]


async def test_what_a_file_changes_is_where_its_member_wants_it() -> None:
    """A job that is completed says that of its lines."""
    for wanted, stands in ((pb.DURABILITY_DISK, Durability.DISK), (pb.DURABILITY_UNSPECIFIED, None)):
        job = Job(batch_catalog({"durability": wanted}))
        await job.run(b"1;5848:0")
        assert job.store.durabilities == {stands}


class FullSizes(NoSizes):
    """Sizes that have no room for more users until `room`; `noted` are those that they were told."""

    def __init__(self) -> None:
        self.room = asyncio.Event()
        self.noted = 0

    async def make_room(self) -> None:
        """See `SegmentSizes`."""
        await self.room.wait()

    def note(self, changes: Changes | Joins) -> None:
        """See `SegmentSizes`."""
        assert not isinstance(changes, Joins)
        self.noted += sum(len(keys) for keys, _ in changes)


async def test_a_file_waits_until_its_users_can_be_counted_in_the_sizes_of_segments() -> None:
    """Most of a long one would be left out."""
    sizes, store = FullSizes(), NotedStore()
    job_done = asyncio.create_task(Job(batch_catalog(), store, sizes=sizes).run(b"1;5848:0\n2;5848:0\n"))
    await until(lambda: len(store.state) == 2)
    await turns(100)
    assert not sizes.noted
    sizes.room.set()
    await job_done
    assert sizes.noted == 2


@pytest.mark.parametrize("piece_bytes", [1, 2**20])
async def test_suppressed_users_join_nothing(cluster: Cluster, plain: RedisCluster, piece_bytes: int) -> None:
    """What they leave, they leave; each line counts once; also where a line says what one before it has said."""
    suppression_store = ClusterSuppressionStore(cluster)
    await suppression_store.suppress(MEMBER, [b"m:p:2", b"m:p:3"], 1, 0, (10**9, 10**9), "a", seconds_from_now())
    await plain.hset("m:p:2", mapping={"5848": 1})
    suppressions = Suppressions(suppression_store, SystemClock())  # that knows nothing yet looks for everyone
    job = Job(batch_catalog(), ClusterMembershipStore(cluster), suppressions=suppressions)
    content = b"1;5848:0\n2;5849:0,5848:-1\n3;5849:0\n3;5848:-1\n2;5848:0\n"
    counters = await job.run(MemoryFile(content, piece_bytes))
    assert counters.values() | {"num_valid_user": 2, "num_invalid_user": 3, "num_valid": 3} == counters.values()
    refused = ["2;5849:0,5848:-1", "3;5849:0", "2;5848:0"]
    assert counters.to_json()["error_lines"] == [f"num_invalid_user-{line}" for line in refused]
    assert await stored(plain) == {("", "1"): {5848: (0, 0)}}


@pytest.mark.parametrize("piece_bytes", [1, 2**20])
@pytest.mark.parametrize("user", ["2", "0123456789abcdef0123456789abcdef^5"])
async def test_a_suppressed_user_joins_nothing_that_a_later_line_takes_it_out_of(
    cluster: Cluster, user: str, piece_bytes: int
) -> None:
    """The counters of a file say the same however it was cut into pieces."""
    key = b"m:p:2" if user == "2" else b"m:m:0123456789abcdef0123456789abcdef"
    suppression_store = ClusterSuppressionStore(cluster)
    await suppression_store.suppress(MEMBER, [key], 1, 0, (10**9, 10**9), "a", seconds_from_now())
    suppressions = Suppressions(suppression_store, SystemClock())
    job = Job(batch_catalog(), ClusterMembershipStore(cluster), suppressions=suppressions)
    user_id, mark, domain = user.partition("^")
    joins, leaves = (f"{user_id};5848:{minutes}{mark}{domain}" for minutes in (0, -1))
    counters = await job.run(MemoryFile(f"{joins}\n{leaves}\n".encode(), piece_bytes))
    assert counters.values() | {"num_valid_user": 1, "num_invalid_user": 1, "num_valid": 1} == counters.values()
    assert counters.to_json()["error_lines"] == [f"num_invalid_user-{joins}"]


async def test_on_a_real_cluster_the_state_is_the_models(cluster: Cluster, plain: RedisCluster) -> None:
    """A membership that has ended meanwhile is gone, as if the file had been applied at once."""
    sizes = SegmentSizes(ClusterSegmentSizeStore(cluster), SystemClock())
    store = ClusterMembershipStore(cluster)
    applying = FileApplying(batch_catalog(), store, sizes, None, block_bytes=20_000)
    uploaded_ms = (now_s() - 3600) * 1000
    content = b"".join(
        b"%d;5848:%d,5849:0\n%d;5850:%d\n" % (number, 30 + number % 60, number, 200) for number in range(1, 1500)
    )
    content += b"1;5848:0,5849:-1\n2;5849:30\n"
    last = None
    async for checkpoint in applying.apply(MemoryFile(content), JobView(MEMBER, uploaded_ms)):
        last = checkpoint
    await sizes.close()
    assert last is not None
    assert last.counters.values() | {"num_valid": 4500, "num_past_expiration": 0} == last.counters.values()
    expected: State = {}
    for number in range(1, 1500):
        minutes = 30 + number % 60
        of_user = expected[("", str(number))] = {5849: (0, 0), 5850: (0, uploaded_ms + 200 * 60_000)}
        if minutes > 61:
            of_user[5848] = (0, uploaded_ms + minutes * 60_000)
    expected[("", "1")] = {5848: (0, 0), 5850: expected[("", "1")][5850]}
    del expected[("", "2")][5849]
    found = await stored(plain)
    for each in [*found.values(), *expected.values()]:
        for segment_id, (_, end) in list(each.items()):
            if end and end <= uploaded_ms + 61 * 60_000:
                del each[segment_id]
    assert found == expected
    assert await ClusterSegmentSizeStore(cluster).count(
        [5848, 5850], now_s() * 1000, seconds_from_now()
    ) == pytest.approx([1499, 1499], rel=0.03)
