"""Encodes the entities of warnings: the user, block or request that was skipped, as a `google.protobuf.Struct`.

Source: contract, the tables of "POST /rt-segment"; the wire format of google/protobuf/struct.proto. Keys are in
alphabetical order; those that the request did not have are left out, and an empty list counts as absent. Encoding
directly costs a fraction of filling a Struct field by field, and every part of a request may need a warning.
"""

import struct
from collections.abc import Generator, Iterable

from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server.wire.protobuf_fields import varint

_ENTRY, _ITEM = b"\x0a", b"\x0a"
"""Tags of Struct.fields and ListValue.values."""
_KEY, _VALUE = b"\x0a", b"\x12"
"""Tags of the key and the value of a map entry."""
_TEXT, _STRUCT, _LIST = b"\x1a", b"\x2a", b"\x32"
"""Tags of Value.string_value, struct_value and list_value."""
_double = struct.Struct("<d").pack
PER_TURN = 200
"""About how many users and blocks are encoded before the event loop may run other calls."""
LEAST_BLOCK_BYTES = 20
"""The bytes that each block is assumed to need when a limit is checked. A block with any field needs at least that. An
empty one needs less, but as much time, here and in the conversion to JSON, and a request may have hundreds of thousands
of them."""


def delimited(tag: bytes, content: bytes) -> bytes:
    """Encode a length-delimited field, such as a string or a message, with its tag."""
    size = len(content)
    if size < 0x80:
        return b"%b%c%b" % (tag, size, content)
    return tag + varint(size) + content


def _number_entry(name: str) -> bytes:
    """An entry with a number, up to the eight bytes of the number."""
    value = _VALUE + b"\x09\x11"
    key = delimited(_KEY, name.encode())
    return _ENTRY + bytes([len(key) + len(value) + 8]) + key + value


_NUMBERS = {name: _number_entry(name) for name in ("seg_id", "value", "expiration", "member_id")}


_KEYS = {
    name: delimited(_KEY, name.encode()) + _VALUE
    for name in ("seg_code", "user_id", "domain", "seg_block", "rt_segment")
}
"""The beginnings of entries, up to the lengths of their values."""


def _entry(name: str, kind: bytes, content: bytes) -> bytes:
    """An entry whose value is length-delimited."""
    key, size = _KEYS[name], len(content)
    if len(key) + size + 3 < 0x80:  # the same as below, in a third of the time
        return b"%b%c%b%c%b%c%b" % (_ENTRY, len(key) + size + 3, key, size + 2, kind, size, content)
    return delimited(_ENTRY, delimited(key, delimited(kind, content)))


def _item(entity: bytes) -> bytes:
    """A Struct as an item of a ListValue."""
    size = len(entity)
    if size + 2 < 0x80:  # the same as below, in half the time
        return b"%b%c%b%c%b" % (_ITEM, size + 2, _STRUCT, size, entity)
    return delimited(_ITEM, delimited(_STRUCT, entity))


def block_entity(block: pb.SegBlock) -> bytes:
    """Encode a block."""
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
    """Encode a user with these blocks; None if that takes more than `most_bytes`.

    Yields where the event loop should run other calls.
    """
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
    """Encode a request with the first of these users, as many as fit into `most_bytes`. Yields as `user_entity`."""
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
