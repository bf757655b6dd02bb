"""Entities as they are encoded by hand are the Structs that JSON has for the same."""

from collections.abc import Generator, Iterable
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st
from instantaudience.v1 import audience_pb2 as pb
from instantaudience_server.memberships.reading.entities import (
    LEAST_BLOCK_BYTES,
    block_entity,
    request_entity,
    user_entity,
)

texts = st.text(max_size=5) | st.just("x" * 200) | st.just("ü" * 9000)
int32 = st.integers(-(2**31), 2**31 - 1)
OF_TYPE = {FieldDescriptor.CPPTYPE_INT32: int32, FieldDescriptor.CPPTYPE_STRING: texts}


def any_of(fields: Iterable[FieldDescriptor], **others: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """What may stand in a message: all of its fields, those of later versions too."""
    values = {each.name: OF_TYPE[each.cpp_type] for each in fields if each.name not in others}
    return st.fixed_dictionaries({}, optional=values | others)


blocks = any_of(pb.SegBlock.DESCRIPTOR.fields)
users = any_of(pb.RtSegment.DESCRIPTOR.fields, seg_block=st.lists(blocks, min_size=1, max_size=3))


Entity = TypeVar("Entity")


def whole(work: Generator[None, None, Entity]) -> Entity:
    """What comes of it; who lets others have their turn between goes on at once."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            entity: Entity = end.value
            return entity


def decoded(entity: bytes) -> dict[str, Any]:
    return MessageToDict(Struct.FromString(entity))


@given(blocks)
def test_a_block(block: dict[str, Any]) -> None:
    assert decoded(block_entity(ParseDict(block, pb.SegBlock()))) == block


@given(users)
def test_a_user(user: dict[str, Any]) -> None:
    message = ParseDict(user, pb.RtSegment())
    entity = whole(user_entity(message, message.seg_block))
    assert entity is not None
    assert decoded(entity) == user


@given(st.lists(users, max_size=3))
def test_a_request(sent: list[dict[str, Any]]) -> None:
    messages = [ParseDict(user, pb.RtSegment()) for user in sent]
    assert decoded(whole(request_entity(messages))) == ({"rt_segment": sent} if sent else {})


def test_users_of_each_length() -> None:
    """From some length on, a length itself takes another byte."""
    sent = [{"user_id": "x" * length} for length in range(200)]
    assert decoded(whole(request_entity(ParseDict(user, pb.RtSegment()) for user in sent))) == {"rt_segment": sent}


def test_what_has_no_place() -> None:
    user = pb.RtSegment(user_id="1", seg_block=[pb.SegBlock(seg_id=1)] * 10)
    entity = whole(user_entity(user, user.seg_block))
    assert entity is not None
    assert whole(user_entity(user, user.seg_block, len(entity))) == entity
    assert whole(user_entity(user, user.seg_block, len(entity) // 2)) is None
    assert decoded(whole(request_entity([user] * 5, 5 * len(entity) // 2)))["rt_segment"] == [decoded(entity)] * 2


def test_blocks_that_say_nothing_have_a_place_as_long_as_others_would() -> None:
    user = pb.RtSegment(seg_block=[pb.SegBlock()] * 10)
    assert whole(user_entity(user, user.seg_block, 10 * LEAST_BLOCK_BYTES)) is not None
    assert whole(user_entity(user, user.seg_block, 10 * LEAST_BLOCK_BYTES - 1)) is None
    saying = pb.RtSegment(seg_block=[pb.SegBlock(seg_code="")])
    assert len(whole(user_entity(saying, saying.seg_block)) or b"") >= LEAST_BLOCK_BYTES
