"""Rows that are regular beyond doubt: the extension reads and packs them, many at once, where it is there
(docs/adr/0034-rows-read-natively.md).

It knows no rule. What a segment of a row means, it is told once for each text, after Python has read a row with it. All
that it does not know it leaves to Python, which can read the others as well.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from instantaudience_server.batch.counters import Count
from instantaudience_server.batch.reading.avro_schema import RecordSchema
from instantaudience_server.batch.reading.format import LONGEST_LINE_BYTES, BatchFormat
from instantaudience_server.batch.reading.resolving import Resolved, Resolver
from instantaudience_server.batch.reading.rows import Rows, Taken
from instantaudience_server.batch.reading.text import Block

if TYPE_CHECKING:
    from instantaudience_native import LineReader, ReadRows, RecordReader

MOST_TEXTS = 100_000
LONGEST_TEXT = 100
"""Texts of segments that the extension knows, at most, and their bytes."""


class Regular(NamedTuple):
    """Rows that were read natively. `all_rows` has Python read these, and the others that stand between them."""

    read: "ReadRows"
    all_rows: Callable[[], Rows]


class Reading(NamedTuple):
    """Rows that Python has read: all, or those beside the `regular` ones."""

    rows: Rows
    regular: Regular | None = None

    @property
    def number(self) -> int:
        """How many rows there are."""
        return len(self.rows.keys) + (0 if self.regular is None else self.regular.read.number)

    def by_python(self) -> "Reading":
        """The same, all of it read by Python."""
        return self if self.regular is None else Reading(self.regular.all_rows())


def beside(regular: Regular, taken: Taken) -> Taken | None:
    """What regular rows change and count, together with the rows beside them; None where both have a user, for then
    their order matters."""
    read = regular.read
    keys = frozenset(read.keys())
    if not keys.isdisjoint(taken.keys):
        return None
    counters = taken.counters
    counters.num_lines += read.number
    counters.add(Count.NUM_VALID_USER, read.number)
    counters.add_memberships(read.added, read.removed)
    return Taken(taken.changes, keys | taken.keys, counters, read)


class RegularLines:
    """Reads regular lines, and learns."""

    def __init__(self, reader: "LineReader", layout: BatchFormat, resolver: Resolver) -> None:
        self._separators = layout.separators
        self._resolver = resolver
        self.read = reader.read
        self._reader = reader

    @classmethod
    def of(cls, layout: BatchFormat, resolver: Resolver, external_member_id: int | None) -> "RegularLines | None":
        """For a member's lines; None where none is regular, or the extension is missing."""
        separators = layout.separators
        # Times differ from line to line: no segment would be met again.
        if external_member_id is not None or layout.timestamp is not None or not "".join(separators).isascii():
            return None
        try:
            from instantaudience_native import LineReader
        except ImportError:
            return None
        reader = LineReader(
            user=separators.user.encode(),
            segment=separators.segment.encode(),
            removal=separators.removal.encode(),
            most_segments=layout.most_segments,
            longest_line=LONGEST_LINE_BYTES,
        )
        return cls(reader, layout, resolver)

    @property
    def is_full(self) -> bool:
        """Whether it knows so much that it is time to begin anew."""
        return self._reader.known >= MOST_TEXTS

    def learn(self, rest: bytes, blocks: Sequence[Block]) -> None:
        """Learn from what follows an ID, in a line without a domain, and what it says."""
        # What is not ASCII may be UTF-8 or Latin-1, which depends on all of the line.
        if not rest.isascii():
            return
        staying, mark, leaving = rest.decode().partition(self._separators.removal or "\n")
        texts = [(text, False) for text in self._split(staying)]
        if mark:
            texts += [(text, True) for text in self._split(leaving)]
        for (text, leaves), block in zip(texts, blocks, strict=True):
            found = self._resolver.resolve(block) if len(text) <= LONGEST_TEXT else None
            if isinstance(found, Resolved):
                self._reader.learn(text.encode(), leaves, *found)

    def _split(self, part: str) -> list[str]:
        separator = self._separators.segment
        return part.split(separator) if separator else [part]


class RegularRecords:
    """Reads regular records, and learns."""

    def __init__(self, reader: "RecordReader", resolver: Resolver) -> None:
        self._reader = reader
        self._resolver = resolver
        self.read, self.finish = reader.read, reader.finish

    @classmethod
    def of(cls, schema: RecordSchema, resolver: Resolver, most_segments: int) -> "RegularRecords | None":
        """For records of a schema; None where none is regular, or the extension is missing."""
        if schema.uid_long is None:
            return None
        try:
            from instantaudience_native import RecordReader
        except ImportError:
            return None
        reader = RecordReader(uid_head=schema.uid_long, fields=schema.segment_fields, most_segments=most_segments)
        return cls(reader, resolver)

    @property
    def is_full(self) -> bool:
        """Whether it knows so much that it is time to begin anew."""
        return self._reader.known >= MOST_TEXTS

    def learn(self, data: bytes, place: int, blocks: Sequence[Block]) -> None:
        """Learn from a record at a place, and what its segments say."""
        texts = self._reader.split(data, place)
        if texts is None or len(texts) != len(blocks):
            return
        for text, block in zip(texts, blocks, strict=True):
            found = self._resolver.resolve(block) if len(text) <= LONGEST_TEXT else None
            if isinstance(found, Resolved):
                self._reader.learn(text, *found)
