"""Reads the rows of a CSV file, with one membership each. Consecutive rows of one user become one record.

Lines are read in blocks. Usually every line is a valid row, and a block is processed at once; otherwise, and when it
must be known which rows were refused, row by row. A block's last user waits for the next block, in which its rows may
continue, unless that is slow to come.
"""

import csv
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate, compress, count, islice, pairwise, takewhile
from operator import itemgetter, ne
from typing import Any, NamedTuple

from instantaudience.rules import BODY_BYTES
from instantaudience.v1.audience_pb2 import RtSegment, SegBlock, StreamSegmentsRequest

from instantaudience_server.sending.content import Content
from instantaudience_server.sending.records import BATCH_BYTES, Batch, Place, Record, Row, batch_of
from instantaudience_server.wire.integers import integer_of
from instantaudience_server.wire.protobuf_fields import tag, varint

NAMES = ("user_id", "domain", "seg_id", "seg_code", "member_id", "value", "expiration")
"""The columns that are known, under the names of the REST contract."""
MOST_LINES = 1000
"""Maximum number of lines that a record spans."""
MOST_KNOWN = 2**16
"""Size of the cache of encoded memberships."""


def _cells(indexes: Sequence[int]) -> Any:
    """A function that returns these cells of a row, as a hashable value."""
    return itemgetter(*indexes) if indexes else lambda _row: ()


def _behind(start: Place, lines: Sequence[str]) -> Place:
    return Place(start.offset + _bytes("".join(lines)), start.line + len(lines))


def _bytes(text: str) -> int:
    return len(text.encode(errors="surrogateescape"))


def reason_of(error: csv.Error) -> str:
    """Why a row is invalid. The csv module's own text for a lone carriage return gives advice for Python programs."""
    if "new-line character" in str(error):
        return "a line ends with a carriage return alone, where a line feed is needed"
    return str(error)


def _is_empty(line: str) -> bool:
    return not line.strip("\r\n")


# The tags of a user, of its ID, and of its domain: each precedes a length.
_USER = tag(StreamSegmentsRequest.RT_SEGMENT_FIELD_NUMBER)
_USER_ID = tag(RtSegment.USER_ID_FIELD_NUMBER)
_DOMAIN = tag(RtSegment.DOMAIN_FIELD_NUMBER)

_Columns = tuple[Sequence[Any], list[Any]]
"""For each row: the cells that identify the user, and the membership, encoded as a field of the user, or why it is
invalid."""


class _Said(NamedTuple):
    """The content of a row: a user, and `what`: its membership, encoded as a field of the user; an error; or None for
    an empty row. `end` is where the next row begins."""

    row: Row
    end: Place
    user: Any
    what: bytes | str | None

    def goes_on(self, first: "_Said") -> bool:
        """Whether the row belongs to the record that begins with `first`."""
        if self.what is None:
            return True
        return not isinstance(self.what, str) and self.user == first.user and self.row[0] - first.row[0] < MOST_LINES


class CsvRows:
    """The rows of a file with these column headings; columns that are not in `NAMES` are ignored."""

    def __init__(self, content: Content, headings: list[str], delimiter: str) -> None:
        self._content = content
        self._delimiter = delimiter
        self._is_user_first = headings[0] == "user_id" and "domain" not in headings
        self._rows = partial(csv.reader, delimiter=delimiter, skipinitialspace=True, strict=True)
        self._width = len(headings)
        self._user_cells = _cells([headings.index(name) for name in ("user_id", "domain") if name in headings])
        self._has_domain = "domain" in headings
        self._names = [name for name in NAMES[2:] if name in headings]
        self._membership_cells = _cells([headings.index(name) for name in self._names])
        self._known: dict[str | tuple[str, ...], bytes] = {}
        """Cache of encoded memberships, by the rest of a row or by its cells."""

    def batches(self) -> Iterator[Batch]:
        """Read the records from the content's current place on.

        Raises:
            SourceError: the file cannot be read any further.
        """
        place = self._content.place
        lines: list[str] = []
        is_last = False
        while not is_last:
            more = self._content.some_lines(BATCH_BYTES)
            is_last = not more
            if not lines:
                since = time.monotonic()
            lines += more
            if empty := sum(1 for _ in takewhile(_is_empty, lines)):
                place, lines = _behind(place, lines[:empty]), lines[empty:]
            if not lines:
                continue
            goes_on = not is_last and self._content.has_more(since)
            batch = self._all_at_once(lines, place, goes_on) or self._one_by_one(lines, place, goes_on, is_last)
            if batch is not None:
                yield batch
                lines = lines[batch.end.line - place.line :]
                place, since = batch.end, time.monotonic()

    def _all_at_once(self, lines: list[str], start: Place, goes_on: bool) -> Batch | None:
        """The batch of these lines. If the file `goes_on` at once, the last user is left out, since its rows may
        continue in the next block.

        None if there is nothing to return, or if the lines need to be read one by one.
        """
        columns = self._begin_with_users(lines) or self._any_columns(lines)
        if columns is None or str in map(type, columns[1]):
            return None
        users, memberships = columns
        changes = compress(count(1), map(ne, users, islice(users, 1, None)))
        bounds = [0, *changes, *([] if goes_on else [len(users)])]
        encoded: list[bytes] = []
        for first, end in pairwise(bounds):
            if end - first > MOST_LINES:
                return None
            try:
                user = self._encode(users[first], memberships[first:end])
            except UnicodeEncodeError:
                return None
            encoded += _USER, varint(len(user)), user
        if not encoded:
            return None
        request = StreamSegmentsRequest.FromString(b"".join(encoded))
        if request.ByteSize() > BODY_BYTES:
            return None
        taken = lines[: bounds[-1]]
        read = partial(self._records, taken, start, goes_on=False, is_last=True)
        return Batch(_behind(start, taken), request, len(bounds) - 1, len(taken), read)

    def _begin_with_users(self, lines: Sequence[str]) -> _Columns | None:
        """Splits lines at the first delimiter; None unless the user is the first column and nothing is quoted."""
        text = "".join(lines)
        if not self._is_user_first or '"' in text or " " in text or text.count("\r") != text.count("\r\n"):
            return None
        users, _, rests = zip(*[line.partition(self._delimiter) for line in lines], strict=True)
        known, rest_of_row = self._known.get, self._rest_of_row
        return users, [known(rest) or rest_of_row(rest) for rest in rests]

    def _any_columns(self, lines: Sequence[str]) -> _Columns | None:
        """Splits lines by all rules of CSV; None if a line is not a valid row or has another number of cells."""
        try:
            rows = list(self._rows(lines))
        except csv.Error:
            return None
        if len(rows) != len(lines) or set(map(len, rows)) != {self._width}:
            return None
        return list(map(self._user_cells, rows)), [
            self._membership(cells) for cells in map(self._membership_cells, rows)
        ]

    def _rest_of_row(self, rest: str) -> bytes | str:
        """The membership in the rest of a row, after its user, or why it is invalid."""
        try:
            row = next(self._rows([self._delimiter + rest]))
        except csv.Error as error:
            return reason_of(error)
        if not rest or len(row) != self._width:
            return "it lacks cells"
        membership = self._membership(self._membership_cells(row))
        if isinstance(membership, bytes):
            self._remember(rest, membership)
        return membership

    def _one_by_one(self, lines: list[str], start: Place, goes_on: bool, is_last: bool) -> Batch | None:
        """Like `_all_at_once`, for any lines; None if they contain no complete record."""
        records = self._records(lines, start, goes_on, is_last)
        return batch_of(records) if records else None

    def _records(self, lines: list[str], start: Place, goes_on: bool, is_last: bool) -> list[Record]:
        """The records of these lines. If the file `goes_on` at once, without a last record that may continue; unless
        `is_last`, without a last row that may."""
        found: list[Record] = []
        alike: list[_Said] = []
        end = start
        for said in self._each_row(lines, start, is_last):
            if alike and not said.goes_on(alike[0]):
                found.append(self._record(alike, end))
                alike = []
            end = said.end
            if isinstance(said.what, str):
                found.append(Record(end, [said.row], problem=said.what))
            elif said.what is not None:
                alike.append(said)
        if alike and (not goes_on or end.line + 1 - alike[0].row[0] >= MOST_LINES):
            found.append(self._record(alike, end))
        return found

    def _each_row(self, lines: list[str], start: Place, is_last: bool) -> Iterator[_Said]:
        """The content of each row. Unless `is_last`, without a last row that may continue."""
        offsets = accumulate(map(_bytes, lines), initial=start.offset)
        places = [Place(offset, start.line + number) for number, offset in enumerate(offsets)]
        reader = self._rows(lines)
        while True:
            before = reader.line_num
            row: list[str] = []
            user: Any = None
            what: bytes | str | None = None
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if reader.line_num == len(lines) and not is_last:
                    return
                what = f"no CSV: {reason_of(error)}"
            if len(row) == self._width:
                user, what = self._user_cells(row), self._membership(self._membership_cells(row))
            elif row:
                what = f"there are {len(row)} cells where {self._width} are expected"
            shown = row or "".join(lines[before : reader.line_num]).rstrip("\r\n")
            yield _Said((start.line + before + 1, shown), places[reader.line_num], user, what)

    def _record(self, rows: Sequence[_Said], end: Place) -> Record:
        """The record of these rows of one user."""
        shown = [said.row for said in rows]
        try:
            encoded = self._encode(rows[0].user, [said.what for said in rows if isinstance(said.what, bytes)])
        except UnicodeEncodeError:
            return Record(end, shown, memberships=len(rows), problem="the user ID or its domain is no UTF-8")
        return Record(end, shown, RtSegment.FromString(encoded), len(rows))

    def _encode(self, cells: Any, memberships: Iterable[bytes]) -> bytes:
        """Encode a user with these memberships: a message is the concatenation of its fields.

        Raises:
            UnicodeEncodeError: the cells are not valid UTF-8.
        """
        user_id, domain = cells if self._has_domain else (cells, "")
        encoded_id = user_id.encode()
        encoded: bytes = _USER_ID + varint(len(encoded_id)) + encoded_id + b"".join(memberships)
        if domain:
            encoded_domain = domain.encode()
            encoded += _DOMAIN + varint(len(encoded_domain)) + encoded_domain
        return encoded

    def _membership(self, cells: Any) -> bytes | str:
        """The membership in these cells, encoded as a field of a user; or why it is invalid."""
        texts = cells if isinstance(cells, tuple) else (cells,)
        if (encoded := self._known.get(texts)) is not None:
            return encoded
        fields: dict[str, Any] = {}
        for name, text in zip(self._names, texts, strict=True):
            if not text:
                continue
            fields[name] = text if name == "seg_code" else integer_of(text)
            if fields[name] is None:
                return f"{name} is no whole number: {text.encode(errors='replace').decode()}"
        try:
            encoded = RtSegment(seg_block=[SegBlock(**fields)]).SerializeToString()
        except UnicodeEncodeError:
            return "seg_code is no UTF-8"
        except ValueError as error:
            return f"a number is too large: {error}"
        self._remember(texts, encoded)
        return encoded

    def _remember(self, said: str | tuple[str, ...], encoded: bytes) -> None:
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[said] = encoded
