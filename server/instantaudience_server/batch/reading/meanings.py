"""What lines say of their users, by what follows the ID: campaigns repeat themselves, so most of it was read before."""

from collections.abc import Callable, Mapping, Sequence

from instantaudience_server.batch.reading.format import LONGEST_LINE_BYTES, BatchFormat
from instantaudience_server.batch.reading.resolving import Refused, Resolved, Resolver
from instantaudience_server.batch.reading.text import Block, FormatError, Said, decode, read_said
from instantaudience_server.store.interfaces.memberships import REMOVE, UserChanges

Learn = Callable[[bytes, Sequence[Block]], None]
"""Is told what follows an ID in a line without a domain, and what it says."""

MOST_KEPT = 10_000
LONGEST_KEPT = 300
"""Bytes of what follows an ID, where it is kept."""


class Meaning:
    """What a line, or a record, means for its user.

    `fault` is why it cannot be read. `domain` is as in `Said`. `counts` are the segments that were refused, and where
    they count; `added` and `removed` are the segments of `changes`.
    """

    __slots__ = ("added", "changes", "counts", "domain", "fault", "plain", "removed", "untimely")

    def __init__(
        self,
        domain: str | None,
        memberships: Mapping[int, Resolved],
        refused: Sequence[Refused] = (),
        *,
        fault: str = "",
        untimely: bool = False,
    ) -> None:
        self.fault = fault
        self.domain = domain
        self.untimely = untimely
        self.counts = refused
        changes: dict[int, dict[int, int]] = {}
        for segment_id, end, value in memberships.values():
            changes.setdefault(end, {})[segment_id] = value
        self.changes: UserChanges = changes
        self.removed = tuple(changes.get(REMOVE, ()))
        self.added = tuple(memberships) if not self.removed else tuple(memberships.keys() - changes[REMOVE].keys())
        self.plain = domain is None and not (fault or untimely or refused) and bool(changes)
        """Whether there is nothing to say but that a user of the platform is to change."""

    def leaving(self) -> "Meaning":
        """The same, but for the segments that the user would join."""
        return Meaning(self.domain, {each: Resolved(each, REMOVE, 0) for each in self.removed}, self.counts)


TOO_LONG = Meaning(None, {}, fault=f"the line is longer than {LONGEST_LINE_BYTES} bytes")


def meaning_of(said: Said, resolver: Resolver) -> Meaning:
    """What is meant by what was said; of a segment that stands twice, the last one."""
    if not resolver.are_timely(said.blocks):
        return Meaning(said.domain, {}, untimely=True)
    memberships: dict[int, Resolved] = {}
    refused: dict[Refused, None] = {}
    for block in said.blocks:
        found = resolver.resolve(block)
        if isinstance(found, Refused):
            refused[found] = None
        else:
            memberships[found.segment_id] = found
    return Meaning(said.domain, memberships, tuple(refused))


class TextMeanings:
    """What follows users' IDs in lines, and what it means; good as long as the catalog does not change.

    `learn` is told of what was not met before.
    """

    def __init__(self, layout: BatchFormat, resolver: Resolver, learn: Learn | None) -> None:
        self._learn = learn
        self._layout = layout
        self._resolver = resolver
        self._known: dict[bytes, Meaning] = {}
        self._segments: dict[bytes, Resolved] = {}
        """Segments that were not refused, as they stand in lines."""
        separators = [each.encode() for each in layout.separators]
        self._segment_separator = separators[1]
        self._parts = [each for each in separators[3:] if each]
        """What separates other parts of a line."""
        self._splits = bool(separators[1]) and layout.timestamp is None
        self.find = self._known.get
        """What was read before."""

    def read(self, rest: bytes, line: bytes) -> Meaning:
        """Read what follows the user's ID in a line."""
        if len(line) > LONGEST_LINE_BYTES:
            return TOO_LONG
        meaning = self._read_known_segments(rest) or self._read(rest)
        if len(rest) <= LONGEST_KEPT:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            self._known[rest] = meaning
        return meaning

    def _read_known_segments(self, rest: bytes) -> Meaning | None:
        """Put the meaning together from segments that stood in other lines."""
        if not self._splits or len(rest) > LONGEST_KEPT:
            return None
        for part in self._parts:
            if part in rest:
                return None
        find = self._segments.get
        memberships: dict[int, Resolved] = {}
        texts = rest.split(self._segment_separator)
        for text in texts:
            found = find(text)
            if found is None:
                return None
            memberships[found[0]] = found
        return Meaning(None, memberships) if len(texts) <= self._layout.most_segments else None

    def _read(self, rest: bytes) -> Meaning:
        try:
            if not rest:
                raise FormatError("there is no segment")
            said = read_said(decode(rest), self._layout)
        except FormatError as error:
            return Meaning(None, {}, fault=str(error))
        meaning = meaning_of(said, self._resolver)
        if self._learn is not None and said.domain is None and not meaning.untimely:
            self._learn(rest, said.blocks)
        if self._splits and meaning.plain and not meaning.removed:
            self._keep_segments(rest, said.blocks)
        return meaning

    def _keep_segments(self, rest: bytes, blocks: Sequence[Block]) -> None:
        texts = rest.split(self._segment_separator)
        if len(texts) != len(blocks) or len(rest) > LONGEST_KEPT:
            return
        if len(self._segments) >= MOST_KEPT:
            self._segments.clear()
        for text, block in zip(texts, blocks, strict=True):
            found = self._resolver.resolve(block)
            if isinstance(found, Resolved):
                self._segments[text] = found
