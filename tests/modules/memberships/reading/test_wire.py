"""Requests are the same bytes whether their blocks are decoded or not."""

import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st
from instantaudience.v1 import audience_pb2 as pb
from instantaudience_server.memberships.reading.wire import EncodedRequest, decode_user, split_user, users_by_rest
from support.contract import strategies

HEADS = (b"\x0a\x01", b"\x0a\x02", b"\x0a\x00", b"\x0a\x80", b"\x0a\x05", b"\x12\x01", b"")
"""What an encoded user begins with: IDs of some sizes, one that is too long, no ID."""
REQUESTS = (pb.ApplySegmentsRequest, pb.StreamSegmentsRequest)


@given(request=strategies.requests, validate_only=st.booleans(), kind=st.sampled_from(REQUESTS))
def test_reads_and_writes_what_the_public_messages_do(request: dict, validate_only: bool, kind: type) -> None:
    message = ParseDict(request, kind(validate_only=validate_only))
    encoded = EncodedRequest.FromString(message.SerializeToString())
    assert encoded.validate_only == validate_only
    assert [decode_user(user) for user in encoded.rt_segment] == list(message.rt_segment)
    assert kind.FromString(encoded.SerializeToString()) == message


@pytest.mark.parametrize("kind", REQUESTS)
def test_has_the_fields_of_the_public_messages(kind: type) -> None:
    def shape(descriptor: object) -> list[tuple[str, int, bool]]:
        return [(field.name, field.number, field.is_repeated) for field in descriptor.fields]  # type: ignore[attr-defined]

    assert shape(EncodedRequest.DESCRIPTOR) == shape(kind.DESCRIPTOR)  # type: ignore[attr-defined]


@given(user=strategies.users)
def test_a_user_is_split_after_its_id(user: dict) -> None:
    message = ParseDict(user, pb.RtSegment())
    user_id, rest = split_user(message.SerializeToString())
    short = 0 < len(message.user_id.encode()) < 128
    assert user_id.decode() == (message.user_id if short else "")
    if short:
        message.ClearField("user_id")
        assert decode_user(rest) == message


@given(
    users=st.lists(st.builds(bytes.__add__, st.sampled_from(HEADS), st.binary(min_size=2, max_size=4)), max_size=6)
    | st.lists(st.builds(bytes.__add__, st.sampled_from(HEADS), st.binary(min_size=3, max_size=3)), max_size=6)
    | st.lists(st.binary(min_size=3, max_size=3).map(HEADS[0].__add__), max_size=6)
)
def test_many_users_are_split_as_one(users: list[bytes]) -> None:
    """Whether they are as long as each other or not."""
    expected: dict[bytes, list[bytes]] = {}
    for user_id, rest in map(split_user, users):
        expected.setdefault(rest, []).append(user_id)
    assert users_by_rest(users) == expected


@given(encoded=st.binary(max_size=8))
def test_splitting_takes_anything(encoded: bytes) -> None:
    user_id, rest = split_user(encoded)
    assert encoded in (rest, encoded[:2] + user_id + rest)
