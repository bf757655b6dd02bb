"""Decodes requests to apply memberships with their users left encoded (docs/adr/0006-users-stay-encoded.md).

The users of a request differ in their IDs, but mostly have the same few lists of blocks. As bytes, users with equal
blocks are found by hash, and each distinct list is decoded and checked once. On the wire, a field of a message type and
one of type bytes are the same, so `EncodedRequest` reads both ApplySegmentsRequest and StreamSegmentsRequest.
"""

import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message
from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server.errors import unreadable
from instantaudience_server.memberships.reading.extension import different_users

Decoded = TypeVar("Decoded", bound=Message)

_Field = descriptor_pb2.FieldDescriptorProto
_PLAIN_TYPES = {"rt_segment": _Field.TYPE_BYTES, "warning_entities": _Field.TYPE_INT32}
"""The fields whose types refer to other definitions, and scalar types with the same encoding that replace them."""
_VARINT_OF_ONE_BYTE = 0x80
"""Numbers below this are encoded in one byte."""
_HEAD_BYTES = 2
"""The size of the tag and the length before a short ID."""
_USER_ID_TAG = 0x0A
"""The tag of `user_id`: field 1, length-delimited (https://protobuf.dev/programming-guides/encoding/)."""


def _leave_users_encoded() -> type[Any]:
    """Make a message class like ApplySegmentsRequest, with the types in `_PLAIN_TYPES`."""
    file = descriptor_pb2.FileDescriptorProto(name="wire.proto", package="instantaudience.wire", syntax="proto3")
    request = file.message_type.add()
    pb.ApplySegmentsRequest.DESCRIPTOR.CopyToProto(request)
    for field in request.field:
        field.ClearField("options")
        if field.name in _PLAIN_TYPES:
            field.ClearField("type_name")
            field.type = _PLAIN_TYPES[field.name]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("instantaudience.wire.ApplySegmentsRequest"))


EncodedRequest = _leave_users_encoded()
"""The message class that requests are decoded with: its users are bytes."""


def split_user(encoded: bytes) -> tuple[bytes, bytes]:
    """Split an encoded user into the bytes of its ID and the rest of its message.

    The ID is empty unless the message begins with an ID shorter than 128 bytes, as every protobuf library writes it.
    A rest may hold another ID, which would count instead: `decode_user(rest)` shows it.
    """
    if len(encoded) > 2 and encoded[0] == _USER_ID_TAG and encoded[1] < _VARINT_OF_ONE_BYTE:
        end = 2 + encoded[1]
        return encoded[2:end], encoded[end:]
    return b"", encoded


def users_by_rest(users: Sequence[bytes]) -> dict[bytes, list[bytes]]:
    """As `split_user`, for many users: for each rest, the IDs of the users that have it, in their order."""
    ids: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for user_id, rest in _split_alike(users) or map(split_user, users):
        ids[rest].append(user_id)
    return ids


def _split_alike(users: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]] | None:
    """As `split_user`, for users of equal length with IDs of equal length; None for others.

    Requests often have such users, and one `struct` format splits all of them.
    """
    sizes = set(map(len, users))
    if len(sizes) != 1:
        return None
    (size,), joined = sizes, b"".join(users)
    head = joined[:_HEAD_BYTES]
    if size <= _HEAD_BYTES or joined[::size] + joined[1::size] != head[:1] * len(users) + head[1:] * len(users):
        return None
    tag, id_size = head
    rest_size = size - _HEAD_BYTES - id_size
    if tag != _USER_ID_TAG or id_size >= _VARINT_OF_ONE_BYTE or rest_size < 0:
        return None
    return struct.iter_unpack(f"{_HEAD_BYTES}x{id_size}s{rest_size}s", joined)


def check_users(users: Sequence[bytes], start: int) -> None:
    """Check that a request's users, from the index `start` on, can be decoded, without decoding each of them.

    Raises:
        AudienceError: SYNTAX.
    """
    # A request with hundreds of thousands of users has many equal ones; each different one is decoded once.
    different = different_users(users, start) or set(users[start:])
    _decode(pb.ApplySegmentsRequest, EncodedRequest(rt_segment=different).SerializeToString())


def decode_user(encoded: bytes) -> pb.RtSegment:
    """Decode a user of a request.

    Raises:
        AudienceError: SYNTAX.
    """
    return _decode(pb.RtSegment, encoded)


def _decode(message: type[Decoded], encoded: bytes) -> Decoded:
    try:
        return message.FromString(encoded)
    except DecodeError:
        raise unreadable("The request holds an 'rt_segment' that is not a readable RtSegment") from None
