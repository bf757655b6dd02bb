"""Parses a line of a file (source: contract-neighbours, "Batch Segment Service", "Text")."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from instantaudience_server.batch.reading.format import BatchFormat
from instantaudience_server.memberships.reading.rules import LEAVE
from instantaudience_server.wire.integers import integer_of

_INT32 = range(-(2**31), 2**31)
DOMAINS = {"3": "idfa", "4": "sha1udid", "5": "md5udid", "7": "openudid", "8": "aaid"}
"""Number of a domain → its name, as in `memberships.reading.identity`. 6 was sha1mac, which is withdrawn."""


class Block(NamedTuple):
    """A block of a line: a segment and how long the user belongs to it. `segment` is an ID, or a code of `member_id`
    (None: the sender).

    `expiration` is in minutes, or LEAVE; None if absent. `timestamp` is a Unix time in seconds; 0 if absent.
    """

    segment: int | str
    member_id: int | None = None
    expiration: int | None = None
    timestamp: int = 0
    value: int = 0


class Said(NamedTuple):
    """The text after the user's ID, parsed. `domain` is the name of the ID's domain; None if absent, empty if
    unknown."""

    domain: str | None
    blocks: Sequence[Block]


class FormatError(Exception):
    """A line or record is unreadable; the message is the reason."""


def decode(text: bytes) -> str:
    """Decode a line or a part of it as UTF-8 or, if it is not valid, as Latin-1."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def read_said(text: str, layout: BatchFormat) -> Said:
    """Parse the text after the user's ID and its separator.

    Raises:
        FormatError: it is unreadable.
    """
    separators = layout.separators
    domain: str | None = None
    if separators.domain and separators.domain in text:
        text, _, number = text.partition(separators.domain)
        domain = DOMAINS.get(number, "")
    stay, leave = text, ""
    if separators.removal and separators.removal in text:
        stay, _, leave = text.partition(separators.removal)
        if separators.removal in leave:
            raise FormatError("there is more than one separator of removals")
    blocks = list(_blocks(stay, layout))
    if leave or len(stay) < len(text):
        blocks += [block._replace(expiration=LEAVE) for block in _blocks(leave, layout)]
    if len(blocks) > layout.most_segments:
        raise FormatError(f"there are more than {layout.most_segments} segments")
    return Said(domain, blocks)


def _blocks(text: str, layout: BatchFormat) -> Iterator[Block]:
    separator = layout.separators.segment
    segments = text.split(separator) if separator else [text]
    if len(segments) > layout.most_segments:
        raise FormatError(f"there are more than {layout.most_segments} segments")
    for segment in segments:
        yield _block(segment, layout)


def _block(text: str, layout: BatchFormat) -> Block:
    fields = text.split(layout.separators.field)
    if len(fields) != layout.size:
        raise FormatError(f"a segment has {len(fields)} fields instead of {layout.size}")
    expiration = _int32(fields, layout.expiration, "EXPIRATION")
    if expiration is not None and expiration < LEAVE:
        raise FormatError("EXPIRATION is less than -1")
    if layout.seg_id is not None:
        segment: int | str | None = _int32(fields, layout.seg_id, "SEG_ID")
        if segment is None or (isinstance(segment, int) and segment < 0):
            raise FormatError("SEG_ID is no ID")
    else:
        assert layout.seg_code is not None
        segment = fields[layout.seg_code]
        if not segment:
            raise FormatError("SEG_CODE is empty")
    timestamp = _number(fields, layout.timestamp, "TIMESTAMP")
    return Block(
        segment,
        _int32(fields, layout.member_id, "MEMBER_ID"),
        expiration,
        timestamp or 0,
        _int32(fields, layout.value, "VALUE") or 0,
    )


def _int32(fields: Sequence[str], place: int | None, name: str) -> int | None:
    number = _number(fields, place, name)
    if number is not None and number not in _INT32:
        raise FormatError(f"{name} is out of range")
    return number


def _number(fields: Sequence[str], place: int | None, name: str) -> int | None:
    """A field as a number; None where lines do not have it, or it is empty."""
    text = "" if place is None else fields[place]
    if not text:
        return None
    number = integer_of(text)
    if number is None:
        raise FormatError(f"{name} is no number")
    return number
