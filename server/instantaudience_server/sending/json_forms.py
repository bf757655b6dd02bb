"""JSON files: one user per line (NDJSON), or an array of users, either bare or in an object as in the contract."""

import codecs
import contextlib
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from instantaudience_server.sending.content import Content
from instantaudience_server.sending.records import Batch, Place, Record, SourceError, batches_of, user_of

CHUNK_BYTES = 2**16
MOST_USER_CHARACTERS = 2**24

_opening = re.compile(r'\s*(?:\{\s*"rt_segment"\s*:\s*)?\[')
_between = re.compile(r"[\s,]*+")
_may_open = re.compile(r'\s*(?:\[|\{\s*"rt_segment")')
_decoder = json.JSONDecoder(parse_int=float)
"""Finds where values end, also where Python reads no such number, for which `int` has a limit of digits."""


def holds_array(head: str) -> bool:
    """Whether a file that begins like this is an array of users."""
    return _may_open.match(head) is not None


def ndjson_batches(content: Content, start: Place) -> Iterator[Batch]:
    """The users from `start` on, one per line.

    Raises:
        SourceError: the file cannot be read any further.
    """
    return batches_of(_ndjson_records(content, start), start, content.has_more)


def _ndjson_records(content: Content, start: Place) -> Iterator[Record]:
    if start.offset:
        content.seek(start)
    for text in content.lines():
        text = text.rstrip("\r\n")
        if text.strip():
            yield _record(content.place, content.place.line, text)


def array_batches(content: Content, start: Place) -> Iterator[Batch]:
    """The users of an array from `start` on.

    Raises:
        SourceError: the file cannot be read any further, or is not an array.
    """
    text = _Text(content)
    return batches_of(_array_records(text, content, start), start, text.has_more)


def _array_records(text: "_Text", content: Content, start: Place) -> Iterator[Record]:
    if start.offset:
        content.seek(start)
    else:
        text.drop_opening()
    is_first = not start.offset
    while not text.drop("]"):
        if not is_first and not text.drop(","):
            raise text.error("here should be , or ]")
        is_first = False
        yield text.record()
    text.drop("}")
    if text.goes_on():
        raise text.error("there is something behind the array's end")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, as the API takes it (ADR 3).

    Raises:
        ValueError: a key stands twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{twice.encode(errors='replace').decode()} stands twice")
    return found


_values = json.JSONDecoder(object_pairs_hook=_object)


def _record(end: Place, line: int, text: str) -> Record:
    try:
        user = user_of(_values.decode(text))
    except (ValueError, RecursionError) as error:
        return Record(end, [(line, text)], problem=str(error))
    return Record(end, [(line, text)], user, max(1, len(user.seg_block)))


def _end_of(pattern: re.Pattern[str], text: str) -> int:
    """The length of what matches at the text's beginning."""
    found = pattern.match(text)
    return 0 if found is None else found.end()


class _Text:
    """The part of the content that has been read and not consumed."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self._text = ""
        self._ended = False

    def error(self, problem: str) -> SourceError:
        """An error at the current position."""
        return SourceError(f"{self._content.name}: line {self._content.place.line + 1}: {problem}")

    def drop_opening(self) -> None:
        """Consume what precedes the first value, if it is there: it is shorter than a chunk."""
        while "[" not in self._text and len(self._text) < CHUNK_BYTES and self._more():
            pass
        self._drop(_end_of(_opening, self._text))

    def goes_on(self) -> bool:
        """Consume white space; returns whether there is something behind it."""
        while not self._text or self._text[0].isspace():
            self._drop(len(self._text) - len(self._text.lstrip()))
            if not (self._text or self._more()):
                return False
        return True

    def drop(self, character: str) -> bool:
        """Consume white space, and this character if it is the next one; returns whether it is."""
        is_next = self.goes_on() and self._text[0] == character
        if is_next:
            self._drop(1)
        return is_next

    def record(self) -> Record:
        """Consume the next JSON value; returns its record.

        Raises:
            SourceError: there is no valid value.
        """
        self.goes_on()
        line = self._content.place.line + 1
        while True:
            try:
                end = self._end_of_value(0)
            except (ValueError, RecursionError) as error:
                size = len(self._text)
                # Doubled each time, but for pauses: parsing again after each chunk would take quadratic time, a minute
                # for a few megabytes.
                while size <= MOST_USER_CHARACTERS and len(self._text) < max(2 * size, CHUNK_BYTES) and self._more():
                    if not self._content.has_more(time.monotonic(), ending=b""):
                        break
                if size > MOST_USER_CHARACTERS or (self._ended and len(self._text) == size):
                    raise self.error(f"no JSON: {error}") from None
                continue
            value = self._text[:end]
            self._drop(end)
            return _record(self._content.place, line, value)

    def has_more(self, since: float) -> bool:
        """Whether what was read may wait for the next value, as `Content.has_more` for a line."""
        while self._content.size_bytes is None and not self._ended:
            with contextlib.suppress(ValueError, RecursionError):
                self._end_of_value(_end_of(_between, self._text))
                break
            if not self._content.has_more(since, ending=b""):
                return False
            self._more()
        return True

    def _end_of_value(self, begin: int) -> int:
        """Where the value ends that begins here.

        Raises:
            ValueError: it is not valid, or may go on.
            RecursionError: it is too deep.
        """
        _, end = _decoder.raw_decode(self._text, begin)
        if not self._ended and self._text[end - 1].isdigit() and not self._text[end : end + 3].strip("+-.Ee"):
            raise ValueError("a number may go on")
        return end

    def _more(self) -> bool:
        if not self._ended:
            data = self._content.read(CHUNK_BYTES)
            self._ended = not data
            self._text += self._decode(data, final=self._ended)
        return not self._ended

    def _drop(self, end: int) -> None:
        gone, self._text = self._text[:end], self._text[end:]
        self._content.pass_by(len(gone.encode(errors="surrogateescape")), gone.count("\n"))
