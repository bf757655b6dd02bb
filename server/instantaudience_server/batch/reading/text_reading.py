"""Reads lines of a member's file (source: contract-neighbours, "Batch Segment Service", "Text")."""

from collections.abc import Sequence

from instantaudience_server.batch.reading.format import LONGEST_LINE_BYTES, BatchFormat
from instantaudience_server.batch.reading.lines import lines_of
from instantaudience_server.batch.reading.meanings import TOO_LONG, Meaning, TextMeanings
from instantaudience_server.batch.reading.regular import Reading, Regular, RegularLines
from instantaudience_server.batch.reading.resolving import Resolver
from instantaudience_server.batch.reading.rows import Rows
from instantaudience_server.batch.reading.text import decode
from instantaudience_server.memberships.reading import identity, rules


class TextReading:
    """Reads lines; valid as long as neither the catalog nor the member changes."""

    def __init__(self, layout: BatchFormat, resolver: Resolver, external_member_id: int | None) -> None:
        self._regular = RegularLines.of(layout, resolver, external_member_id)
        self._meanings = TextMeanings(layout, resolver, None if self._regular is None else self._regular.learn)
        self._separator = layout.separators.user.encode()
        self._external_member_id = external_member_id
        self._transcodes = not "".join(layout.separators).isascii()

    @property
    def is_full(self) -> bool:
        """Whether the native reader's cache is full, so that this should be replaced by a new one."""
        return self._regular is not None and self._regular.is_full

    def read(self, text: bytes) -> Reading:
        """Read whole lines: regular ones natively, the others in Python."""
        if self._regular is None:
            return Reading(self._read(lines_of(text)))
        read = self._regular.read(text)
        rows = self._read(read.others)
        return Reading(rows, Regular(read, lambda: self._read(lines_of(text))) if read.number else None)

    def _read(self, lines: Sequence[bytes]) -> Rows:
        """Read lines, given without their ends, in Python."""
        if self._transcodes:
            lines = [decode(line).encode() for line in lines]
        separator, find, read = self._separator, self._meanings.find, self._meanings.read
        user_ids: list[bytes] = []
        meanings: list[Meaning] = []
        for line in lines:
            user_id, _, rest = line.partition(separator)
            user_ids.append(user_id)
            meanings.append(find(rest) or read(rest, line))
        plain = self._external_member_id is None and False not in [meaning.plain for meaning in meanings]
        platform_keys = identity.encoded_platform_keys(user_ids) if plain else None
        if platform_keys is not None:
            return Rows(platform_keys, meanings, lambda index: decode(lines[index]), plain=True)
        for index, line in enumerate(lines):
            if len(line) > LONGEST_LINE_BYTES:
                meanings[index] = TOO_LONG
        keys = [self._key(*each) for each in zip(user_ids, meanings, strict=True)]
        return Rows(keys, meanings, lambda index: decode(lines[index]))

    def _key(self, user_id: bytes, meaning: Meaning) -> bytes | None:
        """The key of a user or external ID; None where the ID is invalid, or the line is unreadable anyway."""
        if meaning.fault:
            return None
        domain = meaning.domain
        if domain is None and self._external_member_id is None:
            return identity.encoded_platform_key(user_id)
        if domain == "":
            return None
        return rules.identify(decode(user_id), domain or "", self._external_member_id)[0]
