"""CSV: a membership a row. Rows of one user that follow are one record."""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from instantaudience.v1.audience_pb2 import RtSegment, SegBlock

from instantaudience_server.sending.content import Content
from instantaudience_server.sending.records import Place, Record, Row

NAMES = ("user_id", "domain", "seg_id", "seg_code", "member_id", "value", "expiration")
"""What columns can hold, as the REST contract names it."""
MOST_ROWS = 1000
"""Rows of a record."""
MOST_KNOWN = 2**16
"""Memberships that need not be read again."""

_is_number = re.compile(r"-?[0-9]{1,20}", re.ASCII).fullmatch


class ColumnsError(Exception):
    """The columns are not those of a file of users."""


@dataclass(frozen=True)
class CsvForm:
    """How a file looks.

    `columns` says what the file calls the columns (`{"seg_id": "segment"}`); `order` what they hold, one after the
    other, in a file whose first line is no heading: empty for one that does not count.
    """

    delimiter: str = ","
    columns: tuple[tuple[str, str], ...] = ()
    order: tuple[str, ...] = ()

    def records(self, content: Content, start: Place) -> Iterator[Record]:
        """The records from there on.

        Raises:
            SourceError: it cannot be read any further.
            ColumnsError: the heading lacks a column.
        """
        lines = content.lines()
        headings = list(self.order)
        if not headings:
            row = next(csv.reader(lines, delimiter=self.delimiter, skipinitialspace=True), [])
            names = {theirs: ours for ours, theirs in self.columns}
            headings = [names.get(heading, heading if heading not in dict(self.columns) else "") for heading in row]
            if missing := [theirs for ours, theirs in self.columns if ours not in headings]:
                raise ColumnsError(f"{content.name} has no column {', '.join(missing)}")
        if start.offset:
            content.seek(start)
        return _Reading(content, headings, self.delimiter).records()


def _cells(indexes: Sequence[int]) -> Any:
    """What takes these cells of a row, as something that can be looked up."""
    return itemgetter(*indexes) if indexes else lambda _row: ()


class _Reading:
    def __init__(self, content: Content, headings: list[str], delimiter: str) -> None:
        if "user_id" not in headings or not {"seg_id", "seg_code"} & set(headings):
            raise ColumnsError(
                f"{content.name} has the columns {', '.join(filter(None, headings)) or 'none'}; it needs user_id, and "
                "seg_id or seg_code: say with --columns which ones these are"
            )
        if twice := [name for name in NAMES if headings.count(name) > 1]:
            raise ColumnsError(f"{content.name} has the column {twice[0]} twice")
        self._content = content
        self._delimiter = delimiter
        self._width = len(headings)
        self._user_cells = _cells([headings.index(name) for name in ("user_id", "domain") if name in headings])
        self._has_domain = "domain" in headings
        self._names = [name for name in NAMES[2:] if name in headings]
        self._membership_cells = _cells([headings.index(name) for name in self._names])
        self._known: dict[Any, bytes | str] = {}

    def records(self) -> Iterator[Record]:
        content, known = self._content, self._known
        reader = csv.reader(content.lines(), delimiter=self._delimiter, skipinitialspace=True, strict=True)
        current: Any = None
        rows: list[Row] = []
        memberships: list[bytes] = []
        offset = content.offset
        while True:
            line = content.line + 1
            try:
                row: list[str] | None = next(reader, None)
                problem = ""
            except csv.Error as error:
                row, problem = [], f"no CSV: {error}"
            if row is None:
                break
            if not row and not problem:  # an empty line
                offset = content.offset
                continue
            if len(row) == self._width:
                user, cells = self._user_cells(row), self._membership_cells(row)
                membership = known.get(cells)
                if membership is None:
                    membership = self._membership(cells)
                if isinstance(membership, str):
                    problem = membership
            elif not problem:
                problem = f"there are {len(row)} cells where {self._width} are expected"
            if rows and (problem or user != current or len(rows) >= MOST_ROWS):
                yield self._record(current, Place(offset, line - 1), rows, memberships)
                rows, memberships = [], []
            offset = content.offset
            if problem:
                yield Record(content.place, [(line, row)], problem=problem)
            else:
                current = user
                rows.append((line, row))
                memberships.append(membership)  # type: ignore[arg-type]  # no problem: bytes
        if rows:
            yield self._record(current, Place(offset, line - 1), rows, memberships)

    def _record(self, user: Any, end: Place, rows: list[Row], memberships: list[bytes]) -> Record:
        user_id, domain = user if self._has_domain else (user, None)
        try:
            encoded = RtSegment(user_id=user_id, domain=domain or None).SerializeToString()
        except UnicodeEncodeError:
            return Record(end, rows, memberships=len(rows), problem="the user ID or its domain is no UTF-8")
        # Messages one after the other are their sum (https://protobuf.dev/programming-guides/encoding/#last-one-wins).
        return Record(end, rows, RtSegment.FromString(encoded + b"".join(memberships)), len(rows))

    def _membership(self, cells: Any) -> bytes | str:
        """What the cells say, encoded as part of a user; or why they say nothing."""
        texts = cells if isinstance(cells, tuple) else (cells,)
        fields: dict[str, Any] = {}
        for name, text in zip(self._names, texts, strict=True):
            if not text:
                continue
            if name != "seg_code" and not _is_number(text):
                return f"{name} is no whole number: {text.encode(errors='replace').decode()}"
            fields[name] = text if name == "seg_code" else int(text)
        try:
            encoded = RtSegment(seg_block=[SegBlock(**fields)]).SerializeToString()
        except UnicodeEncodeError:
            return "seg_code is no UTF-8"
        except ValueError as error:
            return f"a number is too large: {error}"
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[cells] = encoded
        return encoded
