"""Users read from files, with their positions in the file, and batches of them."""

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from google.protobuf.json_format import ParseDict, ParseError
from instantaudience.rules import BODY_BYTES, FRAME_BYTES
from instantaudience.v1.audience_pb2 import RtSegment, StreamSegmentsRequest

Row = tuple[int, str | Sequence[str]]
"""A line number, from 1, and the line's text or cells."""


BATCH_BYTES = 3 * 2**14
"""Approximate size of a batch in the file: a few hundred users."""


class SourceError(Exception):
    """A file cannot be read any further; the message says where and why."""


class Place(NamedTuple):
    """A position in a file: decompressed bytes and lines before it."""

    offset: int = 0
    line: int = 0


@dataclass(slots=True)
class Record:
    """A user and its number of memberships; or something unreadable, with the reason in `problem`.

    Either each row has one membership, or a single row has all of them. `end` is where the next record begins.
    """

    end: Place
    rows: Sequence[Row]
    user: RtSegment | None = None
    memberships: int = 1
    problem: str = ""


@dataclass(slots=True)
class Batch:
    """Consecutive records whose users are sent in one request.

    `end` is where the next batch begins. `read` returns the records; they are created only when something is refused,
    since they are many objects.
    """

    end: Place
    request: StreamSegmentsRequest
    users: int
    memberships: int
    read: Callable[[], Sequence[Record]]
    is_readable: bool = True
    """Whether every record contains a user."""


def batch_of(records: Sequence[Record]) -> Batch:
    """The batch of at least one record. Users that do not fit into a request, however it is split, become unreadable
    records."""
    request = _request_of(records)
    if request.ByteSize() > BODY_BYTES:
        for record in records:
            if record.user is not None and (too_long := _too_long(record.user)):
                record.user = None
                record.problem = f"{too_long} is too long: a request has {BODY_BYTES:,} bytes at most"
        request = _request_of(records)
    users = len(request.rt_segment)
    memberships = sum(record.memberships for record in records if record.user is not None)
    for record in records:
        record.user = None  # it is in the request
    return Batch(records[-1].end, request, users, memberships, lambda: records, users == len(records))


def _request_of(records: Iterable[Record]) -> StreamSegmentsRequest:
    return StreamSegmentsRequest(rt_segment=[record.user for record in records if record.user is not None])


def _too_long(user: RtSegment) -> str | None:
    """The name of the field that makes a user too large for any request; None if it fits."""
    size = len(user.user_id.encode()) + len(user.domain.encode()) + 2 * FRAME_BYTES
    if size > BODY_BYTES:
        return "user_id" if len(user.user_id) >= len(user.domain) else "domain"
    longest = max((block.ByteSize() for block in user.seg_block), default=0)
    return "seg_code" if size + longest + FRAME_BYTES > BODY_BYTES else None


def batches_of(records: Iterable[Record], start: Place, has_more: Callable[[float], bool]) -> Iterator[Batch]:
    """Group records, read from `start` on, into batches. A batch is smaller if there is no more for it, which is asked
    with the time of the monotonic clock since when it waits; and at the end, also if that is because reading fails."""
    some: list[Record] = []
    try:
        for record in records:
            if not some:
                since = time.monotonic()
            some.append(record)
            if record.end.offset - start.offset >= BATCH_BYTES or not has_more(since):
                yield batch_of(some)
                start, some = record.end, []
    except SourceError:
        if some:
            yield batch_of(some)
        raise
    if some:
        yield batch_of(some)


_REASONS = {
    r"must be in \[\]": "must be a list",
    r'no field named "([^"]*)"': r"there is no key '\1'",
    r'multiple "_?(\w+)" oneof fields': r"\1 stands twice",
    "expected string": "must be a string",
    r"invalid literal for int|int\(\) argument|parse (non-)?integer|Bool value": "must be a whole number",
    "out of range": "must be a whole number of 32 bits",
    "null is not allowed": "null cannot stand in a list",
    "object is not iterable|unhashable type": "must be an object",
}
"""What is said in place of protobuf's texts, which are about messages of protobuf's, or of Python's."""


def user_of(value: Any) -> RtSegment:
    """Convert a user from JSON (source: contract, "POST /rt-segment").

    Raises:
        ValueError: it is not a valid user.
    """
    if not isinstance(value, dict):
        raise ValueError("a user is an object with 'user_id' and 'seg_block'")
    try:
        return RtSegment(**value)
    except (TypeError, ValueError):
        pass  # the usual forms are read faster so; this one has others, or is wrong
    try:
        json.dumps(value, ensure_ascii=False).encode()  # protobuf raises SystemError at a key that is no UTF-8
        return ParseDict(value, RtSegment())
    except UnicodeEncodeError:
        raise ValueError("no UTF-8") from None
    except ParseError as error:
        raise ValueError(_reason(error)) from None


def _reason(error: ParseError) -> str:
    """Why a user is not valid, and where: `seg_block.seg_id: must be a whole number`."""
    text = re.sub(r"\s+", " ", str(error))
    *path, said = re.split(r"Failed to parse (\w+) field: ", text)
    found = ((re.search(theirs, said), ours) for theirs, ours in _REASONS.items())
    reason = next((match.expand(ours) for match, ours in found if match), said)
    return f"{'.'.join(path[1::2])}: {reason}" if path else reason
