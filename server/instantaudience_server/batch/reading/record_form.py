"""Recognises Avro records with a plain `uid` and segments without long texts by their encoded form, without decoding
them (source: Avro 1.12 specification, "Binary Encoding")."""

import re
from collections.abc import Callable, Sequence

import numpy as np

from instantaudience_server.batch.reading.avro_schema import RecordSchema
from instantaudience_server.store.keys import PLATFORM_PREFIX

_LONGEST_LONG = 10
_SHIFTS = np.arange(0, 7 * _LONGEST_LONG, 7, dtype=np.uint64)


class RecordForm:
    """Splits records of a plain `uid` and of segments without long texts, without decoding them."""

    def __init__(self, schema: RecordSchema) -> None:
        assert schema.uid_long is not None
        head = re.escape(schema.uid_long) + rb"([\x80-\xff]{0,9}[\x00-\x7f])([\x02-\x3c])"
        self._head = re.compile(head, re.DOTALL).match
        self._item = schema.segment_form
        self._items = re.compile(schema.segment_form, re.DOTALL).findall
        self._tails: dict[int, Callable[[bytes, int], re.Match[bytes] | None]] = {}

    def split(self, data: bytes, place: int) -> tuple[bytes, bytes, int] | None:
        """The user's encoded ID, the encoded segments, and the position after the record; None for any other record."""
        head = self._head(data, place)
        if head is None:
            return None
        uid, count = head.groups()
        match = self._tails.get(count[0]) or self._tail(count[0])
        tail = match(data, head.end())
        if tail is None:
            return None
        end = tail.end()
        return uid, data[head.start(2) : end], end

    def items(self, segments: bytes) -> list[bytes]:
        """The single encoded segments in the encoded array of a regular record."""
        found: list[bytes] = self._items(segments[1:-1])
        return found

    def _tail(self, count: int) -> Callable[[bytes, int], re.Match[bytes] | None]:
        """The matcher of an array's segments and end, for the encoded number of segments."""
        form = re.compile(rb"(?:%b){%d}\x00" % (self._item, count >> 1), re.DOTALL)
        self._tails[count] = form.match
        return form.match


def platform_keys(uids: Sequence[bytes]) -> list[bytes | None]:
    """The keys of users, given by their IDs as Avro encodes a `long`: zigzag, in seven bits a byte, least significant
    first. None for 0, which is no user's ID."""
    padded = b"".join([uid.ljust(_LONGEST_LONG, b"\0") for uid in uids])
    digits = np.frombuffer(padded, np.uint8).reshape(-1, _LONGEST_LONG) & np.uint8(0x7F)
    encoded = (digits.astype(np.uint64) << _SHIFTS).sum(axis=1, dtype=np.uint64)
    one = np.uint64(1)
    user_ids = (encoded >> one) ^ (~(encoded & one) + one)
    return [PLATFORM_PREFIX + b"%d" % user_id if user_id else None for user_id in user_ids.tolist()]
