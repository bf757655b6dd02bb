"""What files hold: users with their segments, each with where it stands."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from google.protobuf.json_format import ParseDict, ParseError
from instantaudience.v1.audience_pb2 import RtSegment

Row = tuple[int, str | Sequence[str]]
"""The number of a line, from 1, and what stands there: its text, or its cells."""


class SourceError(Exception):
    """A file cannot be read any further; the message says where and why."""


class Place(NamedTuple):
    """How far a file has been read: bytes, without compression, and lines."""

    offset: int = 0
    line: int = 0


@dataclass(slots=True)
class Record:
    """A user, with so many memberships; or what cannot be read as one, with the reason.

    A row has one membership each, or a single row has them all. `end` is where the next record begins.
    """

    end: Place
    rows: Sequence[Row]
    user: RtSegment | None = None
    memberships: int = 1
    problem: str = ""


def user_of(value: Any) -> RtSegment:
    """A user as it stands in JSON (source: contract, "POST /rt-segment").

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, dict):
        raise ValueError("a user is an object with 'user_id' and 'seg_block'")
    try:
        return RtSegment(**value)
    except UnicodeEncodeError:
        raise ValueError("no UTF-8") from None
    except (TypeError, ValueError):
        pass  # the usual forms are read faster so; this one has others, or is wrong
    try:
        return ParseDict(value, RtSegment())
    except ParseError as error:
        raise ValueError(re.sub(r"\s+", " ", str(error))) from None
