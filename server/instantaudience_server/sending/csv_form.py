"""CSV files of users: their columns, by a heading or as they are told."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass

from instantaudience_server.sending.content import Content
from instantaudience_server.sending.csv_rows import NAMES, CsvRows, reason_of
from instantaudience_server.sending.records import Batch, Place

MOST_SHOWN = 500
"""Characters of columns that are none of ours: a file that is no CSV may have any number."""


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

    def batches(self, content: Content, start: Place) -> Iterator[Batch]:
        """The records from there on.

        Raises:
            SourceError: it cannot be read any further.
            ColumnsError: the heading lacks a column, or is none.
        """
        lines = content.lines()
        headings = list(self.order)
        if not headings:
            try:
                row = next(csv.reader(lines, delimiter=self.delimiter, skipinitialspace=True), [])
            except csv.Error as error:
                raise ColumnsError(f"{content.name} begins with no CSV: {reason_of(error)}") from error
            names = {theirs: ours for ours, theirs in self.columns}
            headings = [names.get(heading, heading if heading not in dict(self.columns) else "") for heading in row]
            if missing := [theirs for ours, theirs in self.columns if ours not in headings]:
                raise ColumnsError(f"{content.name} has no column {', '.join(missing)}")
        if start.offset:
            content.seek(start)
        _check(headings, content.name)
        return CsvRows(content, headings, self.delimiter).batches()


def _check(headings: list[str], name: str) -> None:
    """Raises ColumnsError, where the columns do not tell a user and a segment."""
    if "user_id" not in headings or not {"seg_id", "seg_code"} & set(headings):
        there = ", ".join(filter(None, headings)) or "none"
        if len(there) > MOST_SHOWN:
            there = f"{there[:MOST_SHOWN]}…"
        raise ColumnsError(
            f"{name} has the columns {there}; it needs user_id, and seg_id or seg_code: say with --columns "
            "which ones these are"
        )
    if twice := [each for each in NAMES if headings.count(each) > 1]:
        raise ColumnsError(f"{name} has the column {twice[0]} twice")
