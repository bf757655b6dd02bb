"""What a warning repeats of a request, as `google.protobuf.Struct`s that are encoded already (source: contract, the
tables of "POST /rt-segment"; the wire format of google/protobuf/struct.proto). Entries are in their keys' order.

Keys that were absent stay away, and an empty list counts as absent. A request can be full of faults, and a Struct that
is filled field by field costs several times as much.
"""

import struct
from collections.abc import Generator, Iterable

from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server.protobuf_fields import varint

_ENTRY, _ITEM = b"\x0a", b"\x0a"
"""Tags of Struct.fields and ListValue.values."""
_KEY, _VALUE = b"\x0a", b"\x12"
"""Tags of an entry's parts."""
_TEXT, _STRUCT, _LIST = b"\x1a", b"\x2a", b"\x32"
"""Tags of a Value's kinds that have a length."""
_double = struct.Struct("<d").pack
PER_TURN = 200
"""Users or blocks that are described before other calls get their turn of the event loop, about."""
LEAST_BLOCK_BYTES = 20
"""A user with more blocks than so many bytes each is too large, whatever is in them: one that says anything takes no
less. Those that say nothing can come by the hundred thousand, and cost as much, here and where they become JSON."""


def delimited(tag: bytes, content: bytes) -> bytes:
    """A field that has a length, such as a text or a message."""
    size = len(content)
    if size < 0x80:
        return b"%b%c%b" % (tag, size, content)
    return tag + varint(size) + content


def _number_entry(name: str) -> bytes:
    """All of an entry but the eight bytes of its number."""
    value = _VALUE + b"\x09\x11"
    key = delimited(_KEY, name.encode())
    return _ENTRY + bytes([len(key) + len(value) + 8]) + key + value


_NUMBERS = {name: _number_entry(name) for name in ("seg_id", "value", "expiration", "member_id")}


_KEYS = {
    name: delimited(_KEY, name.encode()) + _VALUE
    for name in ("seg_code", "user_id", "domain", "seg_block", "rt_segment")
}
"""Entries as far as the lengths of their values."""


def _entry(name: str, kind: bytes, content: bytes) -> bytes:
    """An entry whose value has a length."""
    key, size = _KEYS[name], len(content)
    if len(key) + size + 3 < 0x80:  # as `delimited` has it, in a third of the time
        return b"%b%c%b%c%b%c%b" % (_ENTRY, len(key) + size + 3, key, size + 2, kind, size, content)
    return delimited(_ENTRY, delimited(key, delimited(kind, content)))


def _item(entity: bytes) -> bytes:
    """A struct as one value of a list."""
    size = len(entity)
    if size + 2 < 0x80:  # as `delimited` has it, in half of the time
        return b"%b%c%b%c%b" % (_ITEM, size + 2, _STRUCT, size, entity)
    return delimited(_ITEM, delimited(_STRUCT, entity))


def block_entity(block: pb.SegBlock) -> bytes:
    """A block."""
    entity = b""
    if block.HasField("expiration"):
        entity = _NUMBERS["expiration"] + _double(block.expiration)
    if block.HasField("member_id"):
        entity += _NUMBERS["member_id"] + _double(block.member_id)
    if block.HasField("seg_code"):
        entity += _entry("seg_code", _TEXT, block.seg_code.encode())
    if block.HasField("seg_id"):
        entity += _NUMBERS["seg_id"] + _double(block.seg_id)
    if block.HasField("value"):
        entity += _NUMBERS["value"] + _double(block.value)
    return entity


def user_entity(
    user: pb.RtSegment, blocks: Iterable[pb.SegBlock], most_bytes: float = float("inf")
) -> Generator[None, None, bytes | None]:
    """A user, with these blocks; None where it has more bytes than allowed. Yields when other calls should get their
    turn of the event loop."""
    if len(user.seg_block) * LEAST_BLOCK_BYTES > most_bytes:
        return None
    domain = _entry("domain", _TEXT, user.domain.encode()) if user.HasField("domain") else b""
    user_id = _entry("user_id", _TEXT, user.user_id.encode()) if user.HasField("user_id") else b""
    size, items = len(domain) + len(user_id), []
    for block in blocks:
        items.append(_item(block_entity(block)))
        size += len(items[-1])
        if size > most_bytes:
            return None
        if len(items) % PER_TURN == 0:
            yield
    return domain + (_entry("seg_block", _LIST, b"".join(items)) if items else b"") + user_id


def request_entity(users: Iterable[pb.RtSegment], most_bytes: float = float("inf")) -> Generator[None, None, bytes]:
    """A request of these users, as many as have their place in so many bytes. Yields as `user_entity` does."""
    size, items = 0, []
    looked_at = 0
    for user in users:
        described = yield from user_entity(user, user.seg_block, most_bytes - size)
        if described is None:
            break
        looked_at += 1 + len(user.seg_block)
        if looked_at >= PER_TURN:
            looked_at = 0
            yield
        items.append(_item(described))
        size += len(items[-1])
    return _entry("rt_segment", _LIST, b"".join(items)) if items else b""
