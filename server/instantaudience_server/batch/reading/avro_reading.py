"""Reads records of an Avro file (source: contract-neighbours, "Batch Segment Service", "Avro"; Avro 1.12 specification,
"Binary Encoding").

Most records have an ID of the platform and the same segments as an earlier record. Such a record is recognised by its
form and not decoded: its encoded segments are looked up in a cache of meanings.
"""

import io
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import fastavro

from instantaudience_server.batch.reading.avro_schema import RecordSchema
from instantaudience_server.batch.reading.format import LONGEST_LINE_BYTES
from instantaudience_server.batch.reading.meanings import LONGEST_KEPT, MOST_KEPT, Meaning, meaning_of
from instantaudience_server.batch.reading.record_form import RecordForm, platform_keys
from instantaudience_server.batch.reading.regular import Reading, Regular, RegularRecords
from instantaudience_server.batch.reading.resolving import Resolved, Resolver
from instantaudience_server.batch.reading.rows import Rows
from instantaudience_server.batch.reading.text import DOMAINS, Block, FormatError, Said
from instantaudience_server.catalog.catalog import Member
from instantaudience_server.memberships.reading import identity, rules

RECORDS_AT_ONCE = 1000
BYTES_AT_ONCE = 32 * 1024
"""The most records, and bytes of records read in Python, before other calls get their turn; at least one record."""
DEFAULT_EXPIRATION = -2
"""The `expiration` that means that none is given."""
_INT32 = range(-(2**31), 2**31)
_UNREADABLE = (EOFError, ValueError, LookupError, ArithmeticError, TypeError, struct.error)
"""What decoding raises for data that is not a record."""


class _Record(NamedTuple):
    """A decoded record. `kind` is the name of the record type of `uid`, empty if `uid` is a plain value."""

    kind: str
    uid: Any
    segments: Any


class AvroReading:
    """Reads records; valid as long as neither the catalog nor the member changes."""

    def __init__(self, schema: RecordSchema, resolver: Resolver, member: Member) -> None:
        self._schema = schema
        self._resolver = resolver
        self._member = member
        self._most_segments = member.batch.segments_per_line
        self._native = RegularRecords.of(schema, resolver, self._most_segments)
        self._regular = RecordForm(schema) if schema.uid_long is not None else None
        self._known: dict[bytes, Meaning] = {}
        """All encoded segments of a record → their meaning."""
        self._segments: dict[bytes, Resolved] = {}
        """One encoded segment → its membership."""

    @property
    def is_full(self) -> bool:
        """Whether the native reader's cache is full, so that this should be replaced by a new one."""
        return self._native is not None and self._native.is_full

    def read(self, data: bytes, place: int, most: int) -> tuple[Reading, int]:
        """Read at most `most` records from position `place` on; returns them and the position after them, which is 0 if
        one is unreadable."""
        if self._native is None:
            rows, place = self._read_rows(data, place, most, place + BYTES_AT_ONCE)
            return Reading(rows), place
        start, number, others = place, 0, _Records(self, data)
        while number < most and others.size < BYTES_AT_ONCE:
            place, found = self._native.read(data, place, most - number)
            number += found
            if number < most:
                place = others.read(place)
                if not place:
                    break
                number += 1
        read = self._native.finish()

        def all_rows() -> Rows:
            return self._read_rows(data, start, number, len(data))[0]

        return Reading(others.rows(), Regular(read, all_rows) if read.number else None), place

    def read_one(self, data: bytes, place: int) -> tuple[bytes | None, bytes | None, Meaning, int]:
        """Read a record; returns the encoded ID of a platform user, or else a key; the meaning; and the position after
        the record, 0 if it is unreadable."""
        found = self._read_regular(data, place)
        if found is None:
            return None, *self._read(data, place)
        uid, meaning, end = found
        return uid, None, meaning, end

    def _read_rows(self, data: bytes, place: int, most: int, stop: int) -> tuple[Rows, int]:
        """Read at most `most` records that begin before `stop`, in Python; returns them and the position, as `read`."""
        records = _Records(self, data)
        for _ in range(most):
            place = records.read(place)
            if not 0 < place < stop:
                break
        return records.rows(), place

    def _read_regular(self, data: bytes, place: int) -> tuple[bytes, Meaning, int] | None:
        """Read a record of regular form: the encoded ID, the meaning, and the position after it; None for any other."""
        found = None if self._regular is None else self._regular.split(data, place)
        if found is None:
            return None
        uid, segments, end = found
        meaning = self._known.get(segments)
        if meaning is None:
            meaning, read = self._read_segments(segments, data[place:end])
            if not read:
                return None
            if len(segments) <= LONGEST_KEPT:
                if len(self._known) >= MOST_KEPT:
                    self._known.clear()
                self._known[segments] = meaning
        return uid, meaning, end

    def _read_segments(self, segments: bytes, record: bytes) -> tuple[Meaning, bool]:
        """The meaning of a record's encoded segments, from the cache of single segments or by decoding the record; and
        whether it could be read."""
        assert self._regular is not None
        items = self._regular.items(segments)
        if len(items) <= self._most_segments:
            found = [self._segments.get(item) for item in items]
            if None not in found:
                return Meaning(None, {each.segment_id: each for each in found if each is not None}), True
        _, meaning, read = self._read(record, 0)
        if meaning.plain and len(items) == len(meaning.added):
            self._keep_segments(items, meaning)
        return meaning, bool(read)

    def _keep_segments(self, items: Sequence[bytes], meaning: Meaning) -> None:
        """Cache single segments, which must all be different and none of them removals."""
        if len(self._segments) >= MOST_KEPT:
            self._segments.clear()
        resolved = {
            segment_id: Resolved(segment_id, end, value)
            for end, values in meaning.changes.items()
            for segment_id, value in values.items()
        }
        self._segments.update(zip(items, [resolved[segment_id] for segment_id in meaning.added], strict=True))

    def _read(self, data: bytes, place: int) -> tuple[bytes | None, Meaning, int]:
        """Read any record by decoding it: the key, the meaning, and the position after it, 0 if it is unreadable."""
        try:
            record, end = self._decode(data, place)
        except _UNREADABLE:
            return None, Meaning(None, {}), 0
        try:
            said = Said(None, self._blocks(record.segments))
        except FormatError as error:
            return None, Meaning(None, {}, fault=str(error)), end
        meaning = meaning_of(said, self._resolver)
        if self._native is not None and not meaning.untimely:
            self._native.learn(data, place, said.blocks)
        return self._key(record), meaning, end

    def _blocks(self, segments: Any) -> list[Block]:
        """The blocks of a record.

        Raises:
            FormatError: they are unreadable.
        """
        if not isinstance(segments, list) or not segments:
            raise FormatError("there is no segment")
        if len(segments) > self._most_segments:
            raise FormatError(f"there are more than {self._most_segments} segments")
        return [_block(each) for each in segments]

    def _decode(self, data: bytes, place: int) -> tuple[_Record, int]:
        source = io.BytesIO(data[place : place + LONGEST_LINE_BYTES])
        decoded: Any = fastavro.schemaless_reader(
            source,
            self._schema.parsed,
            None,
            return_record_name=True,
            handle_unicode_errors="replace",
        )
        uid, segments = decoded["uid"], decoded["segments"]
        if isinstance(segments, list):
            segments = [each[1] if isinstance(each, tuple) else each for each in segments]
        if isinstance(uid, tuple):
            return _Record(uid[0].rpartition(".")[2], uid[1], segments), place + source.tell()
        return _Record(self._schema.uid, uid, segments), place + source.tell()

    def _key(self, record: _Record) -> bytes | None:
        """The key of a record's user or external ID; None if that is invalid."""
        kind, uid, _ = record
        if not kind:
            return _platform_key(uid) if type(uid) is int else None
        user_id = uid.get("id") if isinstance(uid, dict) else None
        if not isinstance(user_id, str):
            return None
        if kind == "device_id":
            domain = uid.get("domain")
            name = DOMAINS.get(str(domain), str(domain))
            return rules.identify(user_id, name, None)[0] if name in identity.DOMAINS else None
        if kind == "external_id":
            own = self._member.external_member_id or self._member.id
            owner = uid.get("member_id") or own
            return identity.external_key(own, user_id) if owner in (own, self._member.id) else None
        return None

    def text(self, data: bytes, place: int) -> str:
        """A record as JSON, for error lines."""
        record, _ = self._decode(data, place)
        uid = {record.kind: record.uid} if record.kind else record.uid
        return json.dumps({"uid": uid, "segments": record.segments}, default=_text, separators=(",", ":"))


class _Records:
    """Collects records that are read from data one by one."""

    def __init__(self, reading: AvroReading, data: bytes) -> None:
        self._reading = reading
        self._data = data
        self._places: list[int] = []
        self._keys: list[bytes | None] = []
        self._meanings: list[Meaning] = []
        self._uids: list[bytes] = []
        self._regular: list[int] = []
        """The indexes of the records whose encoded IDs are in `_uids`."""
        self.size = 0
        """The size of the records in bytes."""

    def read(self, place: int) -> int:
        """Read the record at a position; returns the position after it, or 0 if it is unreadable, which adds none."""
        uid, key, meaning, end = self._reading.read_one(self._data, place)
        if end:
            if uid is not None:
                self._regular.append(len(self._keys))
                self._uids.append(uid)
            self.size += end - place
            self._places.append(place)
            self._keys.append(key)
            self._meanings.append(meaning)
        return end

    def rows(self) -> Rows:
        """The records as rows."""
        keys, meanings, places = self._keys, self._meanings, self._places
        found = platform_keys(self._uids)
        if len(found) == len(keys):
            keys = found
        else:
            for index, key in zip(self._regular, found, strict=True):
                keys[index] = key
        plain = len(found) == len(keys) and None not in keys and False not in [each.plain for each in meanings]
        return Rows(keys, meanings, lambda index: self._reading.text(self._data, places[index]), plain)


def _platform_key(uid: int) -> bytes | None:
    """The key of a user whose ID was written as a `long`: its bits, without a sign."""
    return identity.encoded_platform_key(b"%d" % (uid & 2**64 - 1))


def _text(value: bytes) -> str:
    """Bytes as in Avro's JSON (Avro 1.12 specification, "JSON Encoding"); all other values are JSON anyway."""
    return value.decode("latin-1")


def _block(segment: Mapping[str, Any] | None) -> Block:
    """The block of a segment.

    Raises:
        FormatError: it is unreadable.
    """
    if segment is None:
        raise FormatError("a segment is null")
    numbers: dict[str, int] = {}
    for name, absent in _NUMBERS.items():
        number = segment.get(name)
        if number is None:
            number = absent
        if type(number) is not int or (name != "timestamp" and number not in _INT32):
            raise FormatError(f"'{name}' is no number, or out of range")
        numbers[name] = number
    code = segment.get("code") or ""
    if not isinstance(code, str):
        raise FormatError("'code' is no text")
    segment_id, expiration = numbers["id"], numbers["expiration"]
    if expiration < DEFAULT_EXPIRATION:
        raise FormatError(f"'expiration' is less than {DEFAULT_EXPIRATION}")
    if segment_id < 0 or (not segment_id and not code):
        raise FormatError("neither 'id' nor 'code' names a segment")
    if segment_id and code:
        raise FormatError("'id' and 'code' cannot be used together")
    return Block(
        segment_id or code,
        numbers["member_id"] or None,
        None if expiration == DEFAULT_EXPIRATION else expiration,
        numbers["timestamp"],
        numbers["value"],
    )


_NUMBERS = {"id": 0, "member_id": 0, "expiration": DEFAULT_EXPIRATION, "timestamp": 0, "value": 0}
"""Numeric field of a segment → its value if absent."""
