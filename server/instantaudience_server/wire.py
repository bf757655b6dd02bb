"""A request to apply memberships as it is read: users in the open, their blocks still encoded.

The blocks of a request repeat: many users, few segments. Left as bytes, equal blocks are found by hash, and each
distinct one is decoded and checked once (docs/adr/0006-blocks-stay-encoded.md). On the wire, a message and its bytes
are the same, so this reads what ApplySegmentsRequest and StreamSegmentsRequest write.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from instantaudience.v1 import audience_pb2 as pb

_Field = descriptor_pb2.FieldDescriptorProto


class User(Protocol):
    """RtSegment, with `seg_block` as the encoded SegBlocks."""

    user_id: str
    domain: str

    @property
    def seg_block(self) -> Sequence[bytes]: ...
    def HasField(self, field_name: str) -> bool: ...  # noqa: N802 - protobuf's name


class ApplyRequest(Protocol):
    """ApplySegmentsRequest or StreamSegmentsRequest."""

    @property
    def rt_segment(self) -> Sequence[User]: ...
    @property
    def validate_only(self) -> bool: ...


def _leave_blocks_encoded() -> type[Any]:
    """The class of ApplySegmentsRequest, but for the type of `RtSegment.seg_block`."""
    file = descriptor_pb2.FileDescriptorProto(name="wire.proto", package="instantaudience.wire", syntax="proto3")
    for source in (pb.ApplySegmentsRequest.DESCRIPTOR, pb.RtSegment.DESCRIPTOR):
        source.CopyToProto(file.message_type.add())
    request, user = file.message_type
    _field(request, "rt_segment").type_name = ".instantaudience.wire.RtSegment"
    _field(request, "validate_only").ClearField("options")
    blocks = _field(user, "seg_block")
    blocks.ClearField("type_name")
    blocks.type = _Field.TYPE_BYTES
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("instantaudience.wire.ApplySegmentsRequest"))


def _field(message: descriptor_pb2.DescriptorProto, name: str) -> descriptor_pb2.FieldDescriptorProto:
    return next(field for field in message.field if field.name == name)


EncodedRequest = _leave_blocks_encoded()
"""The message class to read requests with; its messages are `ApplyRequest`s."""
