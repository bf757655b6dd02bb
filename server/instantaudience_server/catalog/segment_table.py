"""Segments in memory, millions of them: an SQLite database takes a fraction of what objects would.

A table is built in two steps, because adding rows to indices one by one takes twice as long: first `add`, any number of
times, then `index`; from then on everything else.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypedDict, Unpack

from instantaudience.v1 import catalog_pb2 as pb

ROWS_AT_ONCE = 10_000
"""Rows that a search looks at before other calls run: about 2 ms."""

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
"""What segments can be sorted by, and the SQL expression for it; texts whatever their case."""

_OLDER_COPIES = "rowid NOT IN (SELECT max(rowid) FROM segments GROUP BY id)"


class Order(NamedTuple):
    """By what segments are sorted (one of `SORTS`), and then by ID."""

    field: str = "id"
    descending: bool = False


BY_ID = Order()


class Filters(TypedDict, total=False):
    """What segments must fit: all that is given and not None.

    `search` is held by the ID, the code or the name, whatever the case. `modified_since` is Unix time in seconds.
    """

    member_id: int | None
    ids: Sequence[int] | None
    code: str | None
    search: str
    active: bool | None
    modified_since: int | None


class SegmentTable:
    """Serialised segments by ID, by member, and by code; `counts` is how many each member has."""

    def __init__(self) -> None:
        # `index` may run in another thread; nothing else happens to the table meanwhile.
        self._database = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._database.execute(_TABLE)
        # One transaction: no copies of pages for rolling back.
        self._database.execute("BEGIN")
        self.counts: Counter[int] = Counter()

    def __del__(self) -> None:
        self._database.close()

    def add(self, records: Iterable[bytes]) -> None:
        """Add segments before `index`; of those with the same ID, the last one stays."""
        self._database.executemany(_INSERT, map(_row, records))

    def index(self) -> None:
        """End the adding; takes about 2 s for a million segments, and may run in a thread of its own."""
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
        """Remove segments; those that are not there are no error."""
        for segment_id in segment_ids:
            query = "SELECT rowid, member_id FROM segments WHERE id = ?"
            for row, member_id in self._database.execute(query, (segment_id,)).fetchall():
                self._database.execute("DELETE FROM segments WHERE rowid = ?", (row,))
                self.counts[member_id] -= 1

    def record(self, segment_id: int) -> bytes | None:
        """The segment with this ID."""
        found = self._database.execute("SELECT record FROM segments WHERE id = ?", (segment_id,)).fetchone()
        return found[0] if found else None

    def ids_among(self, segment_ids: Sequence[int]) -> set[int]:
        """Those of the IDs that segments have."""
        query = "SELECT id FROM segments WHERE id IN (SELECT value FROM json_each(?))"
        return {found for (found,) in self._database.execute(query, (json.dumps(segment_ids),))}

    def id_by_code(self, member_id: int, code: str) -> int | None:
        """The ID of a member's segment with this code; case matters."""
        query = "SELECT id FROM segments WHERE code = ? AND member_id = ?"
        found = self._database.execute(query, (code, member_id)).fetchone()
        return found[0] if found else None

    def find(
        self, matching: "Condition", order: Order = BY_ID, *, after_id: int = 0, skip: int = 0, limit: int
    ) -> list[bytes]:
        """At most `limit` segments in an order, without the first `skip` and those up to the ID `after_id`."""
        direction = "DESC" if order.descending else "ASC"
        by = f"{SORTS[order.field]} {direction}, id {direction}"
        query = f"SELECT record {matching.source} AND id > ? ORDER BY {by} LIMIT ? OFFSET ?"
        return [record for (record,) in self._database.execute(query, (*matching.values, after_id, limit, skip))]

    def count(self, matching: "Condition") -> int:
        """How many segments fit."""
        (count,) = self._database.execute(f"SELECT count(*) {matching.source}", matching.values).fetchone()
        return int(count)

    def scan(self, matching: "Condition", order: Order, first_row: int) -> list[tuple[Any, int]]:
        """What those are sorted by that fit among `ROWS_AT_ONCE` rows of the table, and their IDs; in no order."""
        what = f"SELECT {SORTS[order.field]}, id FROM segments NOT INDEXED"  # noqa: S608
        query = f"{what} WHERE {matching.terms} AND rowid >= ? AND rowid < ?"
        rows = (first_row, first_row + ROWS_AT_ONCE)
        return self._database.execute(query, (*matching.values, *rows)).fetchall()

    def last_row(self) -> int:
        """Rows are numbered from 1 up to this one."""
        (last,) = self._database.execute("SELECT max(rowid) FROM segments").fetchone()
        return last or 0


class Condition:
    """Which segments are meant, for the database."""

    def __init__(self, **filters: Unpack[Filters]) -> None:
        # Without statistics SQLite takes any index for as good as the others: the narrowest is named to it.
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
        """An SQL condition; its values are `values`."""
        self.source = f"FROM segments INDEXED BY {index} WHERE {self.terms}"
        """The part of an SQL query that begins with FROM."""


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
