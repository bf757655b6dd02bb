"""A request to apply memberships as it is read: its users are still encoded.

Users of a request differ in their ID and hardly in their blocks: many users, few segments. Left as bytes, users with
equal blocks are found by hash, and each distinct list of blocks is decoded and checked once
(docs/adr/0006-users-stay-encoded.md). On the wire a message and its bytes are the same, so this reads what
ApplySegmentsRequest and StreamSegmentsRequest write.
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
"""Types that are other ones here: of the same form on the wire, but they refer to nothing."""
_VARINT_OF_ONE_BYTE = 0x80
_HEAD_BYTES = 2
"""Before a short ID: its tag and its length."""
_USER_ID_TAG = 0x0A
"""What `user_id` begins with: field 1, length-delimited (https://protobuf.dev/programming-guides/encoding/)."""


def _leave_users_encoded() -> type[Any]:
    """The class of ApplySegmentsRequest, but for some types."""
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
"""The message class to read requests with: its users are bytes."""


def split_user(encoded: bytes) -> tuple[bytes, bytes]:
    """The bytes of a user's ID, and the rest of its message.

    The ID is empty where the message does not begin with a short one, as every protobuf library writes it. A rest may
    hold another ID, which would count instead; `decode_user(rest)` tells.
    """
    if len(encoded) > 2 and encoded[0] == _USER_ID_TAG and encoded[1] < _VARINT_OF_ONE_BYTE:
        end = 2 + encoded[1]
        return encoded[2:end], encoded[end:]
    return b"", encoded


def users_by_rest(users: Sequence[bytes]) -> dict[bytes, list[bytes]]:
    """As `split_user`, of many: the IDs of the users that have each rest, in their order."""
    ids: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for user_id, rest in _split_alike(users) or map(split_user, users):
        ids[rest].append(user_id)
    return ids


def _split_alike(users: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]] | None:
    """As `split_user`, of users that are as long as each other, with IDs as long as each other; None for others.

    Requests often have such users, and all are split by one format.
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
    """Find out whether users of a request are readable, from one on, without looking at each.

    Raises:
        AudienceError: SYNTAX.
    """
    # Where there are hundreds of thousands, most are alike.
    different = different_users(users, start) or set(users[start:])
    _decode(pb.ApplySegmentsRequest, EncodedRequest(rt_segment=different).SerializeToString())


def decode_user(encoded: bytes) -> pb.RtSegment:
    """A user of a request.

    Raises:
        AudienceError: SYNTAX.
    """
    return _decode(pb.RtSegment, encoded)


def _decode(message: type[Decoded], encoded: bytes) -> Decoded:
    try:
        return message.FromString(encoded)
    except DecodeError:
        raise unreadable("The request holds an 'rt_segment' that is not a readable RtSegment") from None
