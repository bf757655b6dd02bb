"""Applies a file: reads it, writes its changes, and yields checkpoints (docs/adr/0026-files.md)."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import NamedTuple

from instantaudience_server.batch.content import Content, Kind
from instantaudience_server.batch.counters import Count, Counters
from instantaudience_server.batch.jobs import Checkpoint, ErrorCode, FileFailedError, JobView, Layout, StoredFile
from instantaudience_server.batch.reading.avro_blocks import corrupt, read_blocks
from instantaudience_server.batch.reading.avro_reading import RECORDS_AT_ONCE, AvroReading
from instantaudience_server.batch.reading.avro_schema import RecordSchema
from instantaudience_server.batch.reading.format import BatchFormat
from instantaudience_server.batch.reading.lines import LineCutter
from instantaudience_server.batch.reading.regular import Reading, beside
from instantaudience_server.batch.reading.resolving import Resolver
from instantaudience_server.batch.reading.rows import Rows, Taken, take
from instantaudience_server.batch.reading.text_reading import TextReading
from instantaudience_server.batch.writing import FileWriter
from instantaudience_server.batch.yielding import Yielding
from instantaudience_server.catalog.catalog import Catalog, Member
from instantaudience_server.memberships.external_ids import ExternalIds
from instantaudience_server.segment_sizes import SegmentSizes
from instantaudience_server.store.interfaces.memberships import MembershipStore
from instantaudience_server.suppressions import Suppressions

BLOCK_BYTES = 4 * 2**20
BLOCK_SECONDS = 1.0
"""A checkpoint follows after this much content or this long, whichever comes first."""
RESOLVE_SECONDS = 30.0
"""How long the cluster may take to resolve external IDs, and to look up suppressed users."""


class Portion(NamedTuple):
    """Some rows, and the position in the content after them (see `Checkpoint`)."""

    reading: Reading
    position: int
    records: int
    file_bytes: int


class FileApplying:
    """Applies files, independently of each other; other processes may apply other files at the same time.

    `suppressions` has the users whom members must not add to segments; None: there are none. `block_bytes` is the most
    content between two checkpoints, approximately. `yielding` pauses the work on all files in favour of live calls;
    None: it never does.
    """

    def __init__(
        self,
        catalog: Catalog,
        store: MembershipStore,
        sizes: SegmentSizes,
        suppressions: Suppressions | None,
        *,
        block_bytes: int = BLOCK_BYTES,
        yielding: Yielding | None = None,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._external_ids = ExternalIds(store)
        self._sizes = sizes
        self._block_bytes = block_bytes
        self._suppressions = suppressions
        self._yielding = yielding or Yielding()
        self._loop = asyncio.get_running_loop()

    async def apply(
        self, file: StoredFile, job: JobView, checkpoint: Checkpoint | None = None
    ) -> AsyncGenerator[Checkpoint, None]:
        """Apply a file from a checkpoint on (None: from the beginning), yielding checkpoints; the last one covers the
        whole file.

        Checkpoints share their counters: `dump` one before asking for the next.

        Raises:
            FileFailedError: the rest of the file cannot be applied. The last checkpoint says how much was; there is
                none where the member was deleted before.
            AudienceError: UNAVAILABLE; to be resumed from the last checkpoint.
            RefusedCommandError: the cluster refused to say who is meant, or who is suppressed; likewise.
        """
        member = self._member(job)
        start = checkpoint or Checkpoint(0, 0, 0, Counters(member.batch.error_lines))
        start = start._replace(layout=start.layout or Layout.of(member.batch))
        writer = FileWriter(self._store, self._sizes, start.counters, self._yielding, member.durability, job.is_ours)
        run = _Run(start, job.most_lines, member.batch.num_invalid_before_error)
        reached = start
        next_position, next_time = start.position + self._block_bytes, self._loop.time() + BLOCK_SECONDS
        failure: FileFailedError | None = None
        try:
            try:
                content = await Content.of(file, job.most_bytes)
                read = self._read_avro if content.kind is Kind.AVRO else self._read_text
                async with aclosing(read(content, job, start)) as portions:
                    async for portion in portions:
                        reading, failure = run.admit(portion.reading)
                        await self._write(reading, job, writer)
                        reached = Checkpoint(
                            portion.position, portion.records, portion.file_bytes, writer.counters, start.layout
                        )
                        if failure is not None:
                            break
                        await asyncio.sleep(0)
                        if portion.position >= next_position or self._loop.time() >= next_time:
                            yield await _reach(reached, writer)
                            next_position = portion.position + self._block_bytes
                            next_time = self._loop.time() + BLOCK_SECONDS
            except FileFailedError as error:
                failure = error
            yield await _reach(reached, writer)
            if failure is not None:
                raise failure
        finally:
            writer.abandon()

    async def _write(self, reading: Reading, job: JobView, writer: FileWriter) -> None:
        rows, regular, most_error_lines = reading.rows, reading.regular, writer.counters.most_error_lines
        taken, take_rows = await self._take(rows, job, most_error_lines)
        if regular is not None:
            together = beside(regular, taken)
            if together is not None and not await self._suppressed(job, regular.read.joining):
                await writer.write(together, lambda unwritten: take_rows(regular.all_rows(), unwritten))
                return
            rows = regular.all_rows()
            taken, take_rows = await self._take(rows, job, most_error_lines)
        await writer.write(taken, partial(take_rows, rows))

    async def _take(self, rows: Rows, job: JobView, most_error_lines: int) -> tuple[Taken, Callable[..., Taken]]:
        """What rows change and count, and the function that finds this out again for these rows or more, which can also
        leave out some users."""
        external = rows.external_keys()
        platform_keys: Mapping[bytes, bytes] = {}
        if external:
            platform_keys = await self._external_ids.platform_keys(external, self._loop.time() + RESOLVE_SECONDS)
        take_rows = partial(take, platform_keys=platform_keys, most_error_lines=most_error_lines)
        taken = take_rows(rows)
        suppressed = await self._suppressed(job, partial(rows.joining, platform_keys))
        if suppressed:
            take_rows = partial(take_rows, suppressed=suppressed)
            taken = take_rows(rows)
        return taken, take_rows

    async def _suppressed(self, job: JobView, joining: Callable[[], Sequence[bytes]]) -> frozenset[bytes]:
        """The users among `joining()` whom the member must not add to segments."""
        if self._suppressions is None or not self._suppressions.may_concern(job.member_id):
            return frozenset()
        return await self._suppressions.among(job.member_id, joining(), self._loop.time() + RESOLVE_SECONDS)

    async def _read_text(self, content: Content, job: JobView, start: Checkpoint) -> AsyncGenerator[Portion, None]:
        assert start.layout is not None
        layout = BatchFormat.of(start.layout.settings())
        cutter, readings = LineCutter(start.position), _Readings(self._catalog, job)
        file_bytes = start.file_bytes
        async with aclosing(content.read(start.position)) as pieces:
            async for piece in pieces:
                file_bytes = piece.file_bytes
                for text, end in cutter.cut(piece.data):
                    yield Portion(readings.text(self._member(job), layout).read(text), end, 0, file_bytes)
                await asyncio.sleep(0)
        for text, end in cutter.cut(b"", last=True):
            yield Portion(readings.text(self._member(job), layout).read(text), end, 0, file_bytes)

    async def _read_avro(self, content: Content, job: JobView, start: Checkpoint) -> AsyncGenerator[Portion, None]:
        readings = _Readings(self._catalog, job)
        done = start.records
        async with aclosing(read_blocks(content, start.position)) as blocks:
            async for block in blocks:
                place = 0
                number, left_out = 0, done
                while number < block.records:
                    member = self._member(job)
                    most = min(block.records - number, RECORDS_AT_ONCE)
                    reading, place = readings.avro(member, block.schema).read(block.data, place, most)
                    read = reading.number
                    number += read
                    if left_out:
                        reading = Reading(reading.by_python().rows.after(left_out))
                    left_out = max(0, left_out - read)
                    at = (block.end, 0) if number == block.records else (block.position, number)
                    if number > done:
                        yield Portion(reading, *at, block.file_bytes)
                    else:  # these records were applied before the checkpoint
                        await asyncio.sleep(0)
                    if not place:
                        raise corrupt("a record is none, or too long")
                if place != len(block.data):
                    raise corrupt("a block is longer than its records")
                done = 0
                await asyncio.sleep(0)

    def _member(self, job: JobView) -> Member:
        member = self._catalog.members.get(job.member_id)
        if member is None:
            raise FileFailedError(ErrorCode.MEMBER_DELETED, "The member was deleted")
        return member


class _Readings:
    """The readers of a job's rows, replaced when the catalog has changed, or when one is full."""

    def __init__(self, catalog: Catalog, job: JobView) -> None:
        self._catalog = catalog
        self._uploaded_ms = job.uploaded_ms
        self._version: int | None = None
        """The catalog's version that the readers are for; it changes with the member, too."""
        self._text: TextReading | None = None
        self._avro: AvroReading | None = None

    def text(self, member: Member, layout: BatchFormat) -> TextReading:
        """The reader of lines."""
        if self._is_new() or self._text is None or self._text.is_full:
            self._text = TextReading(layout, self._resolver(member), member.external_member_id)
        return self._text

    def avro(self, member: Member, schema: RecordSchema) -> AvroReading:
        """The reader of Avro records."""
        if self._is_new() or self._avro is None or self._avro.is_full:
            self._avro = AvroReading(schema, self._resolver(member), member)
        return self._avro

    def _resolver(self, member: Member) -> Resolver:
        return Resolver(self._catalog, member, self._uploaded_ms)

    def _is_new(self) -> bool:
        known, self._version = self._version, self._catalog.version
        return known != self._version


class _Run:
    """How many lines and unreadable lines of a file were read so far, and how many may be."""

    def __init__(self, start: Checkpoint, most_lines: int | None, most_faults: int | None) -> None:
        self._lines = start.counters.num_lines
        self._faults = start.counters[Count.NUM_INVALID_FORMAT]
        self._most_lines = most_lines
        self._most_faults = most_faults

    def admit(self, reading: Reading) -> tuple[Reading, FileFailedError | None]:
        """The rows that may still be applied, and the error if some may not."""
        failure = None
        if self._most_lines is not None and self._lines + reading.number > self._most_lines:
            # `self._lines` may exceed the limit already, which may have been higher when the job began.
            reading = Reading(reading.by_python().rows.first(max(0, self._most_lines - self._lines)))
            failure = FileFailedError(ErrorCode.RATE_LIMIT_EXCEEDED, f"There are more than {self._most_lines} lines")
        if self._most_faults is not None and self._faults + reading.rows.faults > self._most_faults:
            # `self._faults` may exceed the limit already, likewise.
            reading = Reading(reading.by_python().rows.until_faults(max(0, self._most_faults - self._faults)))
            text = f"More than {self._most_faults} lines cannot be read"
            failure = FileFailedError(ErrorCode.INVALID_FORMAT_LIMIT_EXCEEDED, text)
        self._lines += reading.number
        self._faults += reading.rows.faults
        return reading, failure


async def _reach(checkpoint: Checkpoint, writer: FileWriter) -> Checkpoint:
    """Wait until everything up to a checkpoint is written, and return the checkpoint."""
    await writer.drain()
    checkpoint.counters.num_bytes = checkpoint.position
    return checkpoint
