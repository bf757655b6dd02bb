"""Requests are the same bytes whether their blocks are decoded or not."""

import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import given, settings
from hypothesis import strategies as st
from instantaudience.v1 import audience_pb2 as pb
from instantaudience_server.wire import EncodedRequest
from support import strategies

REQUESTS = (pb.ApplySegmentsRequest, pb.StreamSegmentsRequest)


@settings(max_examples=50, deadline=None)
@given(request=strategies.requests, validate_only=st.booleans(), kind=st.sampled_from(REQUESTS))
def test_reads_and_writes_what_the_public_messages_do(request: dict, validate_only: bool, kind: type) -> None:
    message = ParseDict(request, kind(validate_only=validate_only))
    encoded = EncodedRequest.FromString(message.SerializeToString())
    assert encoded.validate_only == validate_only
    assert len(encoded.rt_segment) == len(message.rt_segment)
    for user, expected in zip(encoded.rt_segment, message.rt_segment, strict=True):
        assert (user.user_id, user.domain) == (expected.user_id, expected.domain)
        assert [user.HasField(name) for name in ("user_id", "domain")] == [
            expected.HasField(name) for name in ("user_id", "domain")
        ]
        assert [pb.SegBlock.FromString(block) for block in user.seg_block] == list(expected.seg_block)
    assert kind.FromString(encoded.SerializeToString()) == message


@pytest.mark.parametrize("kind", REQUESTS)
def test_has_the_fields_of_the_public_messages(kind: type) -> None:
    def shape(descriptor: object) -> list[tuple[str, int, bool]]:
        return [(field.name, field.number, field.is_repeated) for field in descriptor.fields]  # type: ignore[attr-defined]

    assert shape(EncodedRequest.DESCRIPTOR) == shape(kind.DESCRIPTOR)  # type: ignore[attr-defined]
    user = EncodedRequest.DESCRIPTOR.fields_by_name["rt_segment"].message_type
    assert shape(user) == shape(pb.RtSegment.DESCRIPTOR)
