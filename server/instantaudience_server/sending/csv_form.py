"""The layout of CSV files of users: the delimiter, and which columns hold what."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass

from instantaudience_server.sending.content import Content
from instantaudience_server.sending.csv_rows import NAMES, CsvRows, reason_of
from instantaudience_server.sending.records import Batch, Place

MOST_SHOWN = 500
"""Maximum length of the list of columns in an error: a file that is no CSV may have any number of columns."""


class ColumnsError(Exception):
    """The columns are not those of a file of users."""


@dataclass(frozen=True)
class CsvForm:
    """The layout of a CSV file.

    `columns` maps our names of columns to the file's (`("seg_id", "segment")`). `order` lists our names for the columns
    of a file without a heading, with an empty name for columns to ignore; it is empty if the first line is a heading.
    """

    delimiter: str = ","
    columns: tuple[tuple[str, str], ...] = ()
    order: tuple[str, ...] = ()

    def batches(self, content: Content, start: Place) -> Iterator[Batch]:
        """Read the records from `start` on.

        Raises:
            SourceError: the file cannot be read any further.
            ColumnsError: the file has no heading, or one that is not CSV or lacks a column.
        """
        lines = content.lines()
        headings = list(self.order)
        if not headings:
            if b"\0" in content.head:
                raise ColumnsError(
                    f"{content.name} is no text in UTF-8: convert it (`iconv -f UTF-16 -t UTF-8`), or unpack it"
                )
            try:
                rows = csv.reader(lines, delimiter=self.delimiter, skipinitialspace=True)
                row = next(filter(None, rows), None)
            except csv.Error as error:
                raise ColumnsError(f"{content.name} begins with no CSV: {reason_of(error)}") from error
            if row is None:
                raise ColumnsError(f"{content.name} is empty")
            names = {theirs: ours for ours, theirs in self.columns}
            headings = [names.get(heading, heading if heading not in dict(self.columns) else "") for heading in row]
            if missing := [theirs for ours, theirs in self.columns if ours not in headings]:
                raise ColumnsError(f"{content.name} has no column {', '.join(missing)}")
        if start.offset:
            content.seek(start)
        _check(headings, content.name)
        return CsvRows(content, headings, self.delimiter).batches()


def _check(headings: list[str], name: str) -> None:
    """Check that the columns identify a user and a segment, and none occurs twice.

    Raises:
        ColumnsError: they do not.
    """
    if "user_id" not in headings or not {"seg_id", "seg_code"} & set(headings):
        there = ", ".join(filter(None, headings)) or "none"
        if len(there) > MOST_SHOWN:
            there = f"{there[:MOST_SHOWN]}…"
        raise ColumnsError(
            f"{name} has the columns {there}; it needs user_id, and seg_id or seg_code: say with --columns which ones "
            "these are, with --delimiter what stands between them, or with --no-header that these are no names"
        )
    if twice := [each for each in NAMES if headings.count(each) > 1]:
        raise ColumnsError(f"{name} has the column {twice[0]} twice")
