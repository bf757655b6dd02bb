"""Requests are the same bytes whether their blocks are decoded or not."""

import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import given, settings
from hypothesis import strategies as st
from instantaudience.v1 import audience_pb2 as pb
from instantaudience_server.wire import EncodedRequest, decode_user, split_user
from support import strategies

REQUESTS = (pb.ApplySegmentsRequest, pb.StreamSegmentsRequest)


@settings(max_examples=50, deadline=None)
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


@settings(max_examples=200, deadline=None)
@given(user=strategies.users.map(lambda user: ParseDict(user, pb.RtSegment())) | st.binary(max_size=12))
def test_a_user_is_split_where_a_field_ends(user: pb.RtSegment | bytes) -> None:
    encoded = user if isinstance(user, bytes) else user.SerializeToString()
    user_id, rest = split_user(encoded)
    assert encoded.endswith(rest)
    if user_id and not isinstance(user, bytes):
        assert user_id.decode() == user.user_id
        user.ClearField("user_id")
        assert decode_user(rest) == user
    elif not isinstance(user, bytes):
        assert rest == encoded
        assert not user.user_id or len(user.user_id.encode()) > 127
