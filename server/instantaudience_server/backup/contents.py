"""What a backup holds, what it leaves out, and what is counted of it."""

from collections import Counter, defaultdict
from typing import NamedTuple

from instantaudience_server.store import keys
from instantaudience_server.store.whole_keys import Kind, Part, live_fields


class Sort(NamedTuple):
    """Keys that begin with one letter. `kind`: what they are, None where they differ; `by_field`: whether each field
    of a hash counts, and ends by itself, or the key as a whole."""

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
"""By the letter of their keys."""
TOGETHER = {b"p": Sort("suppressing", None), b"c": Sort("catalog_objects", None, by_field=True)}
"""Those that lie in one slot, and are read last, as a whole; put back, they replace what is there."""
TOGETHER_IN = (keys.key_slot(keys.SUPPRESSING_MEMBERS), keys.key_slot(keys.CATALOG_MEMBERS))
"""The slots that they lie in."""
NOT_KEPT = b"tafqb"
"""The letters of what is left out: sessions, sign-ins and guesses (callers sign in again), quotas (they last a second),
and jobs: their files are in another place."""
LEFT_OUT = (keys.CATALOG_SEEDING, keys.CATALOG_PARTIAL, keys.RESTORE_LEASE, keys.catalog_answer_key(0)[:-1])
"""Beginnings of keys among them that nobody needs later."""
OBJECTS = (keys.CATALOG_MEMBERS, keys.CATALOG_USERS, keys.CATALOG_SEGMENTS)


def sort_of(key: bytes) -> Sort | None:
    """What a key is; None: it is left out."""
    if key[1:2] != b":" or key.startswith(LEFT_OUT):
        return None
    return SORTS.get(key[:1]) or TOGETHER.get(key[:1])


class Totals:
    """Counts what parts hold: memberships, suppressions and the catalog's objects by fields, other keys as one each;
    what has ended by now apart.

    What was read once more counts once: an empty part says that all of its slot begins anew, what lies together in it
    or the rest.
    """

    def __init__(self) -> None:
        self._by_slot: defaultdict[tuple[int, bool], Counter[str]] = defaultdict(Counter)

    def add(self, part: Part, now_ms: int = 0) -> None:
        """Count a part, as it is at a time (Unix time in ms)."""
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
        """How many there are of each."""
        total: Counter[str] = Counter()
        for counts in self._by_slot.values():
            total.update(counts)
        return total
