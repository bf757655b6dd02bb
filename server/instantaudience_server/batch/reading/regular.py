"""Regular rows, which the native extension, if it is installed, reads and packs many at once
(docs/adr/0044-requests-read-natively.md).

The extension knows no rules. For each text of a segment, it learns the meaning once, after Python has read a row with
it. Rows with anything that it does not know are left to Python, which can also read the regular ones.
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
"""The most texts of segments that the extension learns, and the most bytes of one."""


class Regular(NamedTuple):
    """Rows that were read natively. `all_rows` reads them in Python, together with the other rows between them."""

    read: "ReadRows"
    all_rows: Callable[[], Rows]


class Reading(NamedTuple):
    """Rows that were read: `rows` in Python, and the `regular` ones natively, if any."""

    rows: Rows
    regular: Regular | None = None

    @property
    def number(self) -> int:
        """How many rows were read."""
        return len(self.rows.keys) + (0 if self.regular is None else self.regular.read.number)

    def by_python(self) -> "Reading":
        """The same rows, all read in Python."""
        return self if self.regular is None else Reading(self.regular.all_rows())


def beside(regular: Regular, taken: Taken) -> Taken | None:
    """What regular rows and the other rows (`taken`) change and count together; None if a user is in both, because then
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
    """The native reader of lines, and what teaches it."""

    def __init__(self, reader: "LineReader", layout: BatchFormat, resolver: Resolver) -> None:
        self._separators = layout.separators
        self._resolver = resolver
        self.read = reader.read
        self._reader = reader

    @classmethod
    def of(cls, layout: BatchFormat, resolver: Resolver, external_member_id: int | None) -> "RegularLines | None":
        """The reader of a member's lines; None if no line can be regular, or the extension is missing."""
        separators = layout.separators
        # With timestamps, which differ from line to line, no text of a segment would occur again.
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
        """Whether it has learned as much as it may, and should be replaced by a new one."""
        return self._reader.known >= MOST_TEXTS

    def learn(self, rest: bytes, blocks: Sequence[Block]) -> None:
        """Learn the segments in the text after an ID, in a line without a domain, from its blocks."""
        # Whether other text than ASCII is UTF-8 or Latin-1 depends on the whole line.
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
    """The native reader of records, and what teaches it."""

    def __init__(self, reader: "RecordReader", resolver: Resolver) -> None:
        self._reader = reader
        self._resolver = resolver
        self.read, self.finish = reader.read, reader.finish

    @classmethod
    def of(cls, schema: RecordSchema, resolver: Resolver, most_segments: int) -> "RegularRecords | None":
        """The reader of records of a schema; None if no record can be regular, or the extension is missing."""
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
        """Whether it has learned as much as it may, and should be replaced by a new one."""
        return self._reader.known >= MOST_TEXTS

    def learn(self, data: bytes, place: int, blocks: Sequence[Block]) -> None:
        """Learn the segments of the record at a position from its blocks."""
        texts = self._reader.split(data, place)
        if texts is None or len(texts) != len(blocks):
            return
        for text, block in zip(texts, blocks, strict=True):
            found = self._resolver.resolve(block) if len(text) <= LONGEST_TEXT else None
            if isinstance(found, Resolved):
                self._reader.learn(text, *found)
