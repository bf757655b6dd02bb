"""What a backup includes, what it leaves out, and how its contents are counted."""

from collections import Counter, defaultdict
from typing import NamedTuple

from instantaudience_server.store import keys
from instantaudience_server.store.whole_keys import Kind, Part, live_fields


class Sort(NamedTuple):
    """The keys that begin with one letter. `what` names them in counts. `kind` is their type, None where it differs.
    `by_field`: each field of a hash is counted, and expires, by itself; else the key as a whole."""

    what: str
    kind: Kind | None
    by_field: bool = False


SORTS = {
    b"m": Sort("memberships", Kind.HASH, by_field=True),
    b"s": Sort("suppressions", Kind.HASH, by_field=True),
    b"x": Sort("external_ids", Kind.STRING),
    b"r": Sort("report_hours", Kind.HASH),
    b"l": Sort("report_lines", Kind.STRING),
    b"h": Sort("segment_sizes", Kind.STRING),
}
"""Letter → the keys that begin with it, which are spread over all slots."""
TOGETHER = {b"p": Sort("suppressing", None), b"c": Sort("catalog_objects", None, by_field=True)}
"""Letter → the keys that begin with it, which are all in one slot. They are read last and as a whole; a restore
replaces what is there."""
TOGETHER_IN = (keys.key_slot(keys.SUPPRESSING_MEMBERS), keys.key_slot(keys.CATALOG_MEMBERS))
"""The slots of the keys in `TOGETHER`."""
NOT_KEPT = b"tafqb"
"""The letters of keys that are left out: sessions, sign-ins and guesses (callers sign in again), quotas (they last a
second), and jobs (their files are elsewhere)."""
LEFT_OUT = (keys.CATALOG_SEEDING, keys.CATALOG_PARTIAL, keys.RESTORE_LEASE, keys.catalog_answer_key(0)[:-1])
"""Beginnings of keys in `TOGETHER` that are left out, as they are of use only for a moment."""
OBJECTS = (keys.CATALOG_MEMBERS, keys.CATALOG_USERS, keys.CATALOG_SEGMENTS)


def sort_of(key: bytes) -> Sort | None:
    """The sort of a key; None: it is left out."""
    if key[1:2] != b":" or key.startswith(LEFT_OUT):
        return None
    return SORTS.get(key[:1]) or TOGETHER.get(key[:1])


class Totals:
    """Counts the contents of parts: memberships, suppressions and the catalog's objects by fields, other keys as one
    each. What has expired is counted separately, as `ended_…`.

    A slot that was read again is counted once: an empty part announces that all keys of its slot follow anew (those in
    `TOGETHER`, or the others, whichever its own key is one of).
    """

    def __init__(self) -> None:
        self._by_slot: defaultdict[tuple[int, bool], Counter[str]] = defaultdict(Counter)

    def add(self, part: Part, now_ms: int = 0) -> None:
        """Count a part; what has ended by `now_ms` (Unix time in ms) counts as expired."""
        sort = sort_of(part.key)
        is_together = part.key[:1] in TOGETHER
        counts = self._by_slot[keys.key_slot(part.key), is_together]
        if not part.values:
            counts.clear()
        if sort is None or not part.values or (is_together and part.key not in OBJECTS):
            return
        if part.kind is Kind.HASH and sort.by_field:
            number, live = len(part.values) // 3, live_fields(part, now_ms)
        else:
            number, live = 1, int(not 0 < part.end_ms <= now_ms)
        counts[sort.what] += live
        counts[f"ended_{sort.what}"] += number - live

    def counts(self) -> Counter[str]:
        """`Sort.what`, or `ended_` and that → how many there are."""
        total: Counter[str] = Counter()
        for counts in self._by_slot.values():
            total.update(counts)
        return total
