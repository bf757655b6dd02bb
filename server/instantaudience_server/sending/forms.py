"""Detection of a file's format, and the reader for each."""

from collections.abc import Iterator

from instantaudience_server.sending.content import Content
from instantaudience_server.sending.csv_form import CsvForm
from instantaudience_server.sending.json_forms import array_batches, holds_array, ndjson_batches
from instantaudience_server.sending.records import Batch, Place

FORMS = ("csv", "ndjson", "json")


def form_of(head: bytes) -> str:
    """The format of a file that begins with these bytes."""
    text = head.decode(errors="replace")
    if holds_array(text):
        return "json"
    return "ndjson" if text.lstrip().startswith("{") else "csv"


def read_batches(content: Content, form: str | None, csv_form: CsvForm, start: Place) -> Iterator[Batch]:
    """Read a file from `start` on; if `form` is None, its format is detected.

    Raises:
        SourceError: the file cannot be read any further.
        ColumnsError: the file is CSV, and its heading lacks a column.
    """
    form = form or form_of(content.head)
    if form == "csv":
        return csv_form.batches(content, start)
    return ndjson_batches(content, start) if form == "ndjson" else array_batches(content, start)
