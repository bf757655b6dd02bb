"""Interprets what follows the user's ID in lines, with a cache, as campaigns repeat the same text for many users."""

from collections.abc import Callable, Mapping, Sequence

from instantaudience_server.batch.reading.format import LONGEST_LINE_BYTES, BatchFormat
from instantaudience_server.batch.reading.resolving import Refused, Resolved, Resolver
from instantaudience_server.batch.reading.text import Block, FormatError, Said, decode, read_said
from instantaudience_server.store.interfaces.memberships import REMOVE, UserChanges

Learn = Callable[[bytes, Sequence[Block]], None]
"""A callback that gets the text after the ID in a line without a domain, and its blocks."""

MOST_KEPT = 10_000
LONGEST_KEPT = 300
"""The most texts that are cached, and the most bytes of one."""


class Meaning:
    """What a line or record means for its user.

    `fault` is why it is unreadable, or empty. `domain` is as in `Said`. `untimely`: a timestamp is out of range.
    `counts` are the refused blocks. `added` and `removed` are the IDs of the segments in `changes`.
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
        """Whether this only changes one of the platform's users, with nothing to count as an error."""

    def leaving(self) -> "Meaning":
        """The same meaning, without the segments to which the user would be added."""
        return Meaning(self.domain, {each: Resolved(each, REMOVE, 0) for each in self.removed}, self.counts)


TOO_LONG = Meaning(None, {}, fault=f"the line is longer than {LONGEST_LINE_BYTES} bytes")


def meaning_of(said: Said, resolver: Resolver) -> Meaning:
    """The meaning of parsed blocks; of several for the same segment, the last one counts."""
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
    """Interprets the texts after users' IDs in lines, caching the results; valid as long as the catalog does not
    change.

    `learn` is called with texts that were not cached.
    """

    def __init__(self, layout: BatchFormat, resolver: Resolver, learn: Learn | None) -> None:
        self._learn = learn
        self._layout = layout
        self._resolver = resolver
        self._known: dict[bytes, Meaning] = {}
        self._segments: dict[bytes, Resolved] = {}
        """A segment's text in a line → its membership, for segments that were not refused."""
        separators = [each.encode() for each in layout.separators]
        self._segment_separator = separators[1]
        self._parts = [each for each in separators[3:] if each]
        """The separators of removals and of the domain."""
        self._splits = bool(separators[1]) and layout.timestamp is None
        self.find = self._known.get
        """Looks a text up in the cache of whole texts."""

    def read(self, rest: bytes, line: bytes) -> Meaning:
        """Interpret the text after the user's ID in a line, and cache the result."""
        if len(line) > LONGEST_LINE_BYTES:
            return TOO_LONG
        meaning = self._read_known_segments(rest) or self._read(rest)
        if len(rest) <= LONGEST_KEPT:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            self._known[rest] = meaning
        return meaning

    def _read_known_segments(self, rest: bytes) -> Meaning | None:
        """Compose the meaning from segments that were read in other lines; None if one was not."""
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
