"""The table of all segments in memory: an SQLite database, which takes a fraction of the memory of Python objects.

A table is built in two steps, because adding rows to indices one by one takes twice as long: first `add` any number of
times, then `index` once. All other methods may be used only after that.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypedDict, Unpack

from instantaudience.v1 import catalog_pb2 as pb

ROWS_AT_ONCE = 10_000
"""How many rows a search scans before other calls run: about 2 ms."""
IdRange = tuple[int, int]
"""IDs that are larger than the first number and smaller than the second."""
ALL_IDS: IdRange = (0, 2**31)

_TABLE = (
    "CREATE TABLE segments (id INTEGER, member_id INTEGER, code TEXT, any_code TEXT, any_name TEXT, active INTEGER, "
    "minutes INTEGER, modified INTEGER, record BLOB)"
)
_BY_ID = "CREATE UNIQUE INDEX by_id ON segments (id)"
_OTHER_INDICES = (
    "CREATE INDEX by_member ON segments (member_id, id)",
    "CREATE INDEX by_code ON segments (code, member_id) WHERE code IS NOT NULL",
)
_INSERT = "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"

SORTS = {
    "id": "id",
    "code": "any_code",
    "state": "NOT active",
    "short_name": "any_name",
    "member_id": "member_id",
    "expire_minutes": "ifnull(minutes, -1)",
    "last_modified": "modified",
}
"""Field by which segments can be sorted → the SQL expression for it; texts regardless of case."""

_OLDER_COPIES = "rowid NOT IN (SELECT max(rowid) FROM segments GROUP BY id)"


class Order(NamedTuple):
    """A sort order of segments: by a field (one of `SORTS`), then by ID."""

    field: str = "id"
    descending: bool = False

    @property
    def direction(self) -> str:
        """In SQL."""
        return "DESC" if self.descending else "ASC"


BY_ID = Order()


class Filters(TypedDict, total=False):
    """Filters, all of which segments must match; those that are absent or None do not apply.

    `search` is a part of the ID, the code or the name, regardless of case. `modified_since` is a Unix time in seconds.
    """

    member_id: int | None
    ids: Sequence[int] | None
    code: str | None
    search: str
    active: bool | None
    modified_since: int | None


class SegmentTable:
    """Serialised segments, indexed by ID, member, and code. `counts` is member ID → how many segments it has."""

    def __init__(self) -> None:
        # `index` may run in another thread; the table is not used otherwise meanwhile.
        self._database = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._database.execute(_TABLE)
        # A single transaction until `index` ends, so that SQLite keeps no copies of pages for a rollback.
        self._database.execute("BEGIN")
        self.counts: Counter[int] = Counter()

    def __del__(self) -> None:
        self._database.close()

    def add(self, records: Iterable[bytes]) -> None:
        """Add segments, before `index`; of several with the same ID, the last one counts."""
        self._database.executemany(_INSERT, map(_row, records))

    def index(self) -> None:
        """Finish adding, and build the indices. Takes about 2 s for a million segments; may run in another thread."""
        try:
            self._database.execute(_BY_ID)
        except sqlite3.IntegrityError:
            self._database.execute(f"DELETE FROM segments WHERE {_OLDER_COPIES}")  # noqa: S608
            self._database.execute(_BY_ID)
        for statement in _OTHER_INDICES:
            self._database.execute(statement)
        self._database.execute("COMMIT")
        self.counts.update(dict(self._database.execute("SELECT member_id, count(*) FROM segments GROUP BY member_id")))

    def put(self, records: Iterable[bytes]) -> list[int]:
        """Add segments, or replace those with the same ID; returns their IDs."""
        rows = {row[0]: row for row in map(_row, records)}
        self._database.execute("BEGIN")
        self.remove(rows)
        self._database.executemany(_INSERT, rows.values())
        self._database.execute("COMMIT")
        self.counts.update(row[1] for row in rows.values())
        return list(rows)

    def remove(self, segment_ids: Iterable[int]) -> None:
        """Remove segments; those that do not exist are no error."""
        for segment_id in segment_ids:
            query = "SELECT rowid, member_id FROM segments WHERE id = ?"
            for row, member_id in self._database.execute(query, (segment_id,)).fetchall():
                self._database.execute("DELETE FROM segments WHERE rowid = ?", (row,))
                self.counts[member_id] -= 1

    def record(self, segment_id: int) -> bytes | None:
        """The serialised segment with this ID; None where there is none."""
        found = self._database.execute("SELECT record FROM segments WHERE id = ?", (segment_id,)).fetchone()
        return found[0] if found else None

    def ids_among(self, segment_ids: Sequence[int]) -> set[int]:
        """The IDs, among these, that segments have."""
        query = "SELECT id FROM segments WHERE id IN (SELECT value FROM json_each(?))"
        return {found for (found,) in self._database.execute(query, (json.dumps(segment_ids),))}

    def id_by_code(self, member_id: int, code: str) -> int | None:
        """The ID of a member's segment with this code; case matters."""
        query = "SELECT id FROM segments WHERE code = ? AND member_id = ?"
        found = self._database.execute(query, (code, member_id)).fetchone()
        return found[0] if found else None

    def find(
        self,
        matching: "Condition",
        order: Order = BY_ID,
        *,
        between: IdRange = ALL_IDS,
        skip: int = 0,
        limit: int,
    ) -> list[bytes]:
        """At most `limit` matching segments in order, without the first `skip`, of those with IDs in the range."""
        by = f"{SORTS[order.field]} {order.direction}, id {order.direction}"
        query = f"SELECT record {matching.source} AND id > ? AND id < ? ORDER BY {by} LIMIT ? OFFSET ?"
        values = (*matching.values, *between, limit, skip)
        return [record for (record,) in self._database.execute(query, values)]

    def id_at(self, place: int, matching: "Condition", order: Order, between: IdRange) -> int | None:
        """The ID at a place, counted from 0, of what `find` finds in the order of IDs; None where that is fewer. Takes
        about 0.2 µs for each one before it."""
        query = f"SELECT id {matching.source} AND id > ? AND id < ? ORDER BY id {order.direction} LIMIT 1 OFFSET ?"
        found = self._database.execute(query, (*matching.values, *between, place)).fetchone()
        return found[0] if found else None

    def count(self, matching: "Condition") -> int:
        """How many segments match."""
        (count,) = self._database.execute(f"SELECT count(*) {matching.source}", matching.values).fetchone()
        return int(count)

    def scan(self, matching: "Condition", order: Order, first_row: int) -> list[tuple[Any, int]]:
        """The matching segments among `ROWS_AT_ONCE` rows from `first_row` on: unsorted pairs of sort key and ID."""
        what = f"SELECT {SORTS[order.field]}, id FROM segments NOT INDEXED"  # noqa: S608
        query = f"{what} WHERE {matching.terms} AND rowid >= ? AND rowid < ?"
        rows = (first_row, first_row + ROWS_AT_ONCE)
        return self._database.execute(query, (*matching.values, *rows)).fetchall()

    def last_row(self) -> int:
        """The number of the last row; rows are numbered from 1 on. 0 where there are none."""
        (last,) = self._database.execute("SELECT max(rowid) FROM segments").fetchone()
        return last or 0


class Condition:
    """Filters as SQL."""

    def __init__(self, **filters: Unpack[Filters]) -> None:
        # Without statistics, SQLite cannot tell which index is the most selective; so the query names it.
        index = "by_id"
        terms = ["1"]
        self.values: list[int | str] = []
        if (member_id := filters.get("member_id")) is not None:
            index = "by_member"
            terms.append("member_id = ?")
            self.values.append(member_id)
        if (ids := filters.get("ids")) is not None:
            index = "by_id"
            terms.append(f"id IN ({', '.join('?' * len(ids))})")
            self.values += ids
        if (code := filters.get("code")) is not None:
            index = "by_code"
            terms.append("code = ?")
            self.values.append(code)
        if search := filters.get("search"):
            terms.append("(instr(any_code, ?) OR instr(any_name, ?) OR instr(id, ?))")
            self.values += [search.casefold()] * 3
        if (active := filters.get("active")) is not None:
            terms.append("active = ?")
            self.values.append(active)
        if (modified_since := filters.get("modified_since")) is not None:
            terms.append("modified >= ?")
            self.values.append(modified_since)
        self.terms = " AND ".join(terms)
        """An SQL condition, with placeholders for `values`."""
        self.source = f"FROM segments INDEXED BY {index} WHERE {self.terms}"
        """The FROM and WHERE clauses of a query, with placeholders for `values`."""


def _row(record: bytes) -> tuple[int, int, str | None, str, str, bool, int | None, int, bytes]:
    segment = pb.Segment.FromString(record)
    code = segment.code
    return (
        segment.id,
        segment.member_id,
        code or None,
        code.casefold(),
        segment.short_name.casefold(),
        segment.state != pb.SEGMENT_STATE_INACTIVE,
        segment.expire_minutes if segment.HasField("expire_minutes") else None,
        segment.last_modified.seconds,
        record,
    )
