"""A request to apply memberships as it is read: its users are still encoded.

Users of a request differ in their ID and hardly in their blocks: many users, few segments. Left as bytes, users with
equal blocks are found by hash, and each distinct list of blocks is decoded and checked once
(docs/adr/0006-users-stay-encoded.md). On the wire a message and its bytes are the same, so this reads what
ApplySegmentsRequest and StreamSegmentsRequest write.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server.errors import AudienceError, Reason

_Field = descriptor_pb2.FieldDescriptorProto
_VARINT_OF_ONE_BYTE = 0x80
_USER_ID_TAG = 0x0A
"""What `user_id` begins with: field 1, length-delimited (https://protobuf.dev/programming-guides/encoding/)."""


class ApplyRequest(Protocol):
    """ApplySegmentsRequest or StreamSegmentsRequest, with encoded RtSegments."""

    @property
    def rt_segment(self) -> Sequence[bytes]: ...
    @property
    def validate_only(self) -> bool: ...


def _leave_users_encoded() -> type[Any]:
    """The class of ApplySegmentsRequest, but for the type of `rt_segment`."""
    file = descriptor_pb2.FileDescriptorProto(name="wire.proto", package="instantaudience.wire", syntax="proto3")
    request = file.message_type.add()
    pb.ApplySegmentsRequest.DESCRIPTOR.CopyToProto(request)
    for field in request.field:
        field.ClearField("options")
        if field.name == "rt_segment":
            field.ClearField("type_name")
            field.type = _Field.TYPE_BYTES
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("instantaudience.wire.ApplySegmentsRequest"))


EncodedRequest = _leave_users_encoded()
"""The message class to read requests with; its messages are `ApplyRequest`s."""


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
    ids: dict[bytes, list[bytes]] = {}
    for encoded in users:
        if len(encoded) > 2 and encoded[0] == _USER_ID_TAG and encoded[1] < _VARINT_OF_ONE_BYTE:
            end = 2 + encoded[1]
            rest = encoded[end:]
            if rest in ids:
                ids[rest].append(encoded[2:end])
            else:
                ids[rest] = [encoded[2:end]]
        else:
            ids.setdefault(encoded, []).append(b"")
    return ids


def decode_user(encoded: bytes) -> pb.RtSegment:
    """A user of a request.

    Raises:
        AudienceError: SYNTAX.
    """
    try:
        return pb.RtSegment.FromString(encoded)
    except DecodeError:
        raise AudienceError(
            Reason.SYNTAX, "The request holds an 'rt_segment' that is not a readable RtSegment"
        ) from None
