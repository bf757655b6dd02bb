"""JSON files: one user per line (NDJSON), or an array of users, either bare or in an object as in the contract."""

import codecs
import json
import re
from collections.abc import Iterator

from instantaudience_server.sending.content import Content
from instantaudience_server.sending.records import Place, Record, SourceError, user_of

CHUNK_BYTES = 2**16
MOST_USER_CHARACTERS = 2**24

_opening = re.compile(r'\ufeff?\s*(?:\{\s*"rt_segment"\s*:\s*)?\[\s*')
_comma = re.compile(r"\s*,\s*")
_closing = re.compile(r"\s*\]\s*\}?\s*")
_may_open = re.compile(r'\s*(?:\[|\{\s*"rt_segment")')
_decoder = json.JSONDecoder()


def holds_array(head: str) -> bool:
    """Whether a file that begins like this is an array of users."""
    return _may_open.match(head) is not None


def ndjson_records(content: Content, start: Place) -> Iterator[Record]:
    """The users from `start` on, one per line.

    Raises:
        SourceError: the file cannot be read any further.
    """
    if start.offset:
        content.seek(start)
    for text in content.lines():
        text = text.rstrip("\r\n")
        if text.strip():
            yield _record(content.place, content.place.line, text)


def array_records(content: Content, start: Place) -> Iterator[Record]:
    """The users of an array from `start` on.

    Raises:
        SourceError: the file cannot be read any further, or is not an array.
    """
    text = _Text(content)
    if start.offset:
        content.seek(start)
    else:
        text.drop(_opening)
    is_first = not start.offset
    while not text.drop(_closing, whole=True):
        if not is_first and not text.drop(_comma):
            raise text.error("here should be , or ]")
        is_first = False
        line = content.place.line + 1
        user = text.value()
        yield _record(content.place, line, user)


def _record(end: Place, line: int, text: str) -> Record:
    try:
        user = user_of(json.loads(text))
    except (ValueError, RecursionError) as error:
        return Record(end, [(line, text)], problem=str(error))
    return Record(end, [(line, text)], user, max(1, len(user.seg_block)))


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

    def drop(self, pattern: re.Pattern[str], whole: bool = False) -> bool:
        """Consume text that matches the pattern; returns whether it did. Matches are shorter than a chunk. If `whole`,
        nothing may follow.

        Raises:
            SourceError: something follows.
        """
        while len(self._text) < CHUNK_BYTES // 2 and self._more():
            pass
        found = pattern.match(self._text)
        if found is None:
            return False
        if whole and found.end() < len(self._text):
            raise self.error("there is something behind the array's end")
        self._drop(found.end())
        return True

    def value(self) -> str:
        """Consume the next JSON value; returns its text.

        Raises:
            SourceError: there is no valid value.
        """
        while True:
            try:
                _, end = _decoder.raw_decode(self._text)
            except (ValueError, RecursionError) as error:
                size = len(self._text)
                # Doubled each time: parsing again after each chunk would take quadratic time, a minute for a few
                # megabytes.
                while size <= MOST_USER_CHARACTERS and len(self._text) < max(2 * size, CHUNK_BYTES) and self._more():
                    pass
                if len(self._text) == size:
                    raise self.error(f"no JSON: {error}") from None
                continue
            value = self._text[:end]
            self._drop(end)
            return value

    def _more(self) -> bool:
        if not self._ended:
            data = self._content.read(CHUNK_BYTES)
            self._ended = not data
            self._text += self._decode(data, final=self._ended)
        return not self._ended

    def _drop(self, end: int) -> None:
        gone, self._text = self._text[:end], self._text[end:]
        self._content.pass_by(len(gone.encode(errors="surrogateescape")), gone.count("\n"))
