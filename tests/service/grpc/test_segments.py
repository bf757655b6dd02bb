"""SegmentService over gRPC; tests/service/rest/test_segment.py has the rules."""

from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from instantaudience.rest.v1 import answers_pb2
from instantaudience.rest.v1 import segment_pb2 as pb
from instantaudience.rest.v1.segment_pb2_grpc import SegmentServiceStub
from support.answers import assert_grpc_error

Metadata = tuple[tuple[str, str], ...]


@pytest.fixture
def segments(channel: grpc.aio.Channel) -> SegmentServiceStub:
    """The service's stub."""
    return SegmentServiceStub(channel)


async def test_the_life_of_a_segment(segments: SegmentServiceStub, authorization: Metadata) -> None:
    fields = pb.SegmentFields(code="Lived", short_name="Name", expire_minutes=5)
    added = (await segments.AddSegment(pb.AddSegmentRequest(segment=fields), metadata=authorization)).response
    entry = added.segment
    assert (entry.id, entry.member_id, entry.code, entry.state) == (added.id, 123, "Lived", "active")
    found = await segments.FindSegments(pb.FindSegmentsRequest(id=str(added.id)), metadata=authorization)
    assert found.response.segment.estimated_users == 0
    found.response.segment.ClearField("estimated_users")
    assert found.response == added

    change = pb.ChangeSegmentRequest(id=added.id, segment=pb.SegmentFields(code="", state="inactive"))
    changed = (await segments.ChangeSegment(change, metadata=authorization)).response.segment
    assert not changed.HasField("code")
    assert (changed.short_name, changed.state, changed.expire_minutes) == ("Name", "inactive", 5)

    removed = await segments.RemoveSegment(pb.RemoveSegmentRequest(id=added.id), metadata=authorization)
    named = answers_pb2.DebugInfo(output_term="segment")
    assert removed.response == pb.SegmentResult(status="OK", id=added.id, count=1, num_elements=100, dbg_info=named)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await segments.RemoveSegment(pb.RemoveSegmentRequest(id=added.id), metadata=authorization)
    assert_grpc_error(caught.value, grpc.StatusCode.NOT_FOUND, "SYNTAX")


async def test_a_list(segments: SegmentServiceStub, authorization: Metadata) -> None:
    request = pb.FindSegmentsRequest(id="10001,30001,12", num_elements=2)
    answer = MessageToDict((await segments.FindSegments(request, metadata=authorization)).response)
    assert (answer["count"], answer["numElements"]) == (3, 2)
    assert [(each["id"], each.get("code"), each["state"]) for each in answer["segments"]] == [
        (12, None, "active"),
        (10001, "sports_fans", "active"),
    ]


REFUSED: dict[str, tuple[str, Any, grpc.StatusCode, str]] = {
    "no fields": ("AddSegment", pb.AddSegmentRequest(), grpc.StatusCode.INVALID_ARGUMENT, "SYNTAX"),
    "a code that is taken": (
        *("AddSegment", pb.AddSegmentRequest(segment={"code": "SPORTS_fans"})),
        *(grpc.StatusCode.ALREADY_EXISTS, "INTEGRITY"),
    ),
    "another member's": (
        *("ChangeSegment", pb.ChangeSegmentRequest(id=40001, segment={"code": "x"})),
        *(grpc.StatusCode.PERMISSION_DENIED, "UNAUTH"),
    ),
    "nothing": ("FindSegments", pb.FindSegmentsRequest(id="2147483647"), grpc.StatusCode.NOT_FOUND, "SYNTAX"),
    "no IDs": ("FindSegments", pb.FindSegmentsRequest(id="a,b"), grpc.StatusCode.INVALID_ARGUMENT, "SYNTAX"),
}


@pytest.mark.parametrize(("method", "request_message", "code", "error_id"), REFUSED.values(), ids=REFUSED)
async def test_refused(
    segments: SegmentServiceStub,
    authorization: Metadata,
    method: str,
    request_message: Any,
    code: grpc.StatusCode,
    error_id: str,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(segments, method)(request_message, metadata=authorization)
    assert_grpc_error(caught.value, code, error_id)


@pytest.mark.parametrize("method", ["AddSegment", "FindSegments", "ChangeSegment", "RemoveSegment"])
async def test_it_needs_a_token(segments: SegmentServiceStub, method: str) -> None:
    request = getattr(pb, f"{method}Request")()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(segments, method)(request)
    assert_grpc_error(caught.value, grpc.StatusCode.UNAUTHENTICATED, "NOAUTH")
