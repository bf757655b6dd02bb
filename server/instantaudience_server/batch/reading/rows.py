"""Rows (lines or records) that were read, and what they change and count."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, cast

from instantaudience_server.batch.counters import Count, Counters
from instantaudience_server.batch.reading.meanings import Meaning
from instantaudience_server.memberships.external_ids import is_external
from instantaudience_server.memberships.reading.known_blocks import Repeated
from instantaudience_server.store.interfaces.memberships import Alike, Changes, UserChanges

if TYPE_CHECKING:
    from instantaudience_native import ReadRows


class Rows(NamedTuple):
    """Lines or records, in the order of the file.

    `keys` are those of users or of external IDs; None for an invalid user ID. `text` returns the text of a row, given
    its index, for error lines. `plain`: no key is None or that of an external ID, and all meanings are plain.
    """

    keys: Sequence[bytes | None]
    meanings: Sequence[Meaning]
    text: Callable[[int], str]
    plain: bool = False

    def external_keys(self) -> list[bytes]:
        """The keys of the external IDs, which have to be resolved."""
        return [] if self.plain else [key for key in self.keys if key is not None and is_external(key)]

    def joining(self, platform_keys: Mapping[bytes, bytes]) -> list[bytes]:
        """The keys of the users whom rows add to segments, even if a later row takes them out, each once.
        `platform_keys` is as in `take`."""
        adding = [key for key, meaning in zip(self.keys, self.meanings, strict=True) if meaning.added]
        users = dict.fromkeys(_user_of(key, platform_keys) for key in adding)
        return [user for user in users if user is not None]

    def until_faults(self, most_faults: int) -> "Rows":
        """The rows up to and including the unreadable one that exceeds `most_faults`; all rows if none does."""
        faults = [index for index, meaning in enumerate(self.meanings) if meaning.fault]
        return self.first(faults[most_faults] + 1) if len(faults) > most_faults else self

    def after(self, number: int) -> "Rows":
        """The rows without the first `number`."""
        text = self.text
        return self._replace(
            keys=self.keys[number:], meanings=self.meanings[number:], text=lambda index: text(index + number)
        )

    def first(self, number: int) -> "Rows":
        """The first `number` rows."""
        return self._replace(keys=self.keys[:number], meanings=self.meanings[:number])

    @property
    def faults(self) -> int:
        """How many rows are unreadable."""
        return 0 if self.plain else sum([1 for meaning in self.meanings if meaning.fault])


class Taken(NamedTuple):
    """What rows change, the keys of the users that they change, and what they count. `packed` has rows that were read
    natively, with their changes."""

    changes: Changes
    keys: frozenset[bytes]
    counters: Counters
    packed: "ReadRows | None" = None


def take(
    rows: Rows,
    unwritten: Collection[bytes] = (),
    *,
    platform_keys: Mapping[bytes, bytes],
    most_error_lines: int,
    suppressed: Collection[bytes] = (),
) -> Taken:
    """Determine what rows change and count. `platform_keys` maps the keys of external IDs to those of users.

    Rows of users in `unwritten`, whom the cluster refused to write, count as errors. Users in `suppressed` are not
    added to segments.
    """
    counters = Counters(most_error_lines)
    counters.num_lines = len(rows.keys)
    keys, meanings = _sift(rows, platform_keys, unwritten, suppressed, counters)
    counters.add(Count.NUM_VALID_USER, len(keys))
    counters.add_memberships(*_memberships(meanings))
    different = frozenset(keys)
    changes = _alike(keys, meanings) if len(different) == len(keys) else _in_order(keys, meanings)
    return Taken(changes, different, counters)


def _sift(
    rows: Rows,
    platform_keys: Mapping[bytes, bytes],
    unwritten: Collection[bytes],
    suppressed: Collection[bytes],
    counters: Counters,
) -> tuple[Sequence[bytes], Sequence[Meaning]]:
    """Count and log invalid rows and blocks; returns the users and meanings of the valid rows."""
    if rows.plain and not unwritten and not suppressed:
        return cast("Sequence[bytes]", rows.keys), rows.meanings
    keys: list[bytes] = []
    meanings: list[Meaning] = []
    for index, (key, said) in enumerate(zip(rows.keys, rows.meanings, strict=True)):
        user = _user_of(key, platform_keys)
        wrong = _what_is_wrong(user, said, unwritten)
        if wrong is not None:
            counters.add(wrong)
            _log(wrong, counters, rows, index, said.fault)
            continue
        assert user is not None
        meaning = said
        if user in suppressed and said.added:
            counters.add(Count.NUM_INVALID_USER)
            _log(Count.NUM_INVALID_USER, counters, rows, index)
            meaning = said.leaving()
            counters.add(Count.NUM_VALID_USER, -1)  # the line counts as invalid only, even if its removals are made
        if meaning.counts:
            _count_refused(meaning, counters, rows, index)
        keys.append(user)
        meanings.append(meaning)
    return keys, meanings


def _user_of(key: bytes | None, platform_keys: Mapping[bytes, bytes]) -> bytes | None:
    return platform_keys.get(key) if key is not None and is_external(key) else key


def _what_is_wrong(user: bytes | None, meaning: Meaning, unwritten: Collection[bytes]) -> Count | None:
    """The counter of a row that changes nothing; None for one that may change something."""
    if meaning.fault:
        return Count.NUM_INVALID_FORMAT
    if user is None:
        return Count.NUM_INVALID_USER
    if meaning.untimely:
        return Count.NUM_INVALID_TIMESTAMP
    return Count.NUM_OTHER_ERROR if user in unwritten else None


def _count_refused(meaning: Meaning, counters: Counters, rows: Rows, index: int) -> None:
    for count, number in meaning.counts:
        counters.add_segment(count, number)
    for count in dict.fromkeys(count for count, _ in meaning.counts):
        _log(count, counters, rows, index)


def _log(count: Count, counters: Counters, rows: Rows, index: int, reason: str = "") -> None:
    """Keep an error line about a row, whose text is made only if there is room for it."""
    if not counters.full:
        counters.log(count, rows.text(index), reason)


def _memberships(meanings: Sequence[Meaning]) -> tuple[Mapping[int, int], Mapping[int, int]]:
    """How many memberships are added and removed, by segment."""
    equal = Counter(meanings)
    if 2 * len(equal) > len(meanings):
        added = Counter(chain.from_iterable([meaning.added for meaning in meanings]))
        return added, Counter(chain.from_iterable([meaning.removed for meaning in meanings]))
    added, removed = Counter[int](), Counter[int]()
    for meaning, number in equal.items():
        for segment_id in meaning.added:
            added[segment_id] += number
        for segment_id in meaning.removed:
            removed[segment_id] += number
    return added, removed


def _alike(keys: Sequence[bytes], meanings: Sequence[Meaning]) -> Changes:
    """The changes of rows in which each user occurs once."""
    users: dict[Meaning, list[bytes]] = {}
    for key, meaning in zip(keys, meanings, strict=True):
        if meaning in users:
            users[meaning].append(key)
        else:
            users[meaning] = [key]
    return [Alike(alike, meaning.changes) for meaning, alike in users.items() if meaning.changes]


def _in_order(keys: Sequence[bytes], meanings: Sequence[Meaning]) -> Changes:
    """The changes of rows in which users may occur several times; the last change of a segment counts."""
    by_user: dict[bytes, UserChanges] = {}
    repeated = Repeated()
    for key, meaning in zip(keys, meanings, strict=True):
        repeated.add(by_user, key, meaning.changes)
    repeated.merge(by_user)
    return [Alike([key], changes) for key, changes in by_user.items() if changes]
