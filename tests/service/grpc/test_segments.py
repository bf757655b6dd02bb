"""SegmentService over gRPC; tests/service/rest/test_segment.py has the rules."""

from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from instantaudience.rest.v1 import answers_pb2
from instantaudience.rest.v1 import segment_pb2 as pb
from instantaudience.rest.v1.segment_pb2_grpc import SegmentServiceStub
from support.contract.answers import assert_grpc_error

Metadata = tuple[tuple[str, str], ...]


def asks(method: str, **fields: Any) -> Any:
    """A method's request, from JSON."""
    return ParseDict(fields, getattr(pb, f"{method}Request")())


@pytest.fixture
def segments(channel: grpc.aio.Channel) -> SegmentServiceStub:
    """The service's stub."""
    return SegmentServiceStub(channel)


async def test_the_life_of_a_segment(segments: SegmentServiceStub, authorization: Metadata) -> None:
    fields = {"code": "Lived", "short_name": "Name", "expire_minutes": 5}
    added = (await segments.AddSegment(asks("AddSegment", segment=fields), metadata=authorization)).response
    entry = MessageToDict(added.segment)
    assert (entry["id"], entry["member_id"], entry["code"], entry["state"]) == (added.id, 123, "Lived", "active")
    found = await segments.FindSegments(asks("FindSegments", id=str(added.id)), metadata=authorization)
    assert found.response.segment["estimated_users"] == 0
    del found.response.segment["estimated_users"]
    assert found.response == added

    change = asks("ChangeSegment", id=added.id, segment={"code": None, "state": "inactive"})
    changed = MessageToDict((await segments.ChangeSegment(change, metadata=authorization)).response.segment)
    assert {name: changed[name] for name in ("code", "short_name", "state", "expire_minutes")} == {
        **{"code": None, "short_name": "Name", "state": "inactive", "expire_minutes": 5}
    }

    removed = await segments.RemoveSegment(asks("RemoveSegment", id=added.id), metadata=authorization)
    named = answers_pb2.DebugInfo(output_term="segment")
    assert removed.response == pb.SegmentResult(status="OK", id=added.id, count=1, num_elements=100, dbg_info=named)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await segments.RemoveSegment(asks("RemoveSegment", id=added.id), metadata=authorization)
    assert_grpc_error(caught.value, grpc.StatusCode.NOT_FOUND, "SYNTAX")


async def test_a_list(segments: SegmentServiceStub, authorization: Metadata) -> None:
    request = asks("FindSegments", id="10001,30001,12", num_elements=2)
    answer = MessageToDict((await segments.FindSegments(request, metadata=authorization)).response)
    assert (answer["count"], answer["numElements"]) == (3, 2)
    assert [(each["id"], each["code"], each["state"]) for each in answer["segments"]] == [
        (12, None, "active"),
        (10001, "sports_fans", "active"),
    ]


async def test_several_at_once(segments: SegmentServiceStub, authorization: Metadata) -> None:
    request = asks("AddSegment", segments=[{"code": "SPORTS_fans"}, {"short_name": "x"}])
    answer = (await segments.AddSegment(request, metadata=authorization)).response
    assert (len(answer.ids), len(answer.failures), answer.count) == (1, 1, 1)
    assert MessageToDict(answer.failures[0])["error_id"] == "INTEGRITY"
    await segments.RemoveSegment(asks("RemoveSegment", id=int(answer.ids[0])), metadata=authorization)


REFUSED: dict[str, tuple[str, dict[str, Any], grpc.StatusCode, str]] = {
    "no fields": ("AddSegment", {}, grpc.StatusCode.INVALID_ARGUMENT, "SYNTAX"),
    "a code that is taken": (
        *("AddSegment", {"segment": {"code": "SPORTS_fans"}}),
        *(grpc.StatusCode.ALREADY_EXISTS, "INTEGRITY"),
    ),
    "another member's": (
        *("ChangeSegment", {"id": 40001, "segment": {"code": "x"}}),
        *(grpc.StatusCode.PERMISSION_DENIED, "UNAUTH"),
    ),
    "nothing": ("FindSegments", {"id": "2147483647"}, grpc.StatusCode.NOT_FOUND, "SYNTAX"),
    "no IDs": ("FindSegments", {"id": "a,b"}, grpc.StatusCode.INVALID_ARGUMENT, "SYNTAX"),
}


@pytest.mark.parametrize(("method", "fields", "code", "error_id"), REFUSED.values(), ids=REFUSED)
async def test_refused(
    segments: SegmentServiceStub,
    authorization: Metadata,
    method: str,
    fields: dict[str, Any],
    code: grpc.StatusCode,
    error_id: str,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(segments, method)(asks(method, **fields), metadata=authorization)
    assert_grpc_error(caught.value, code, error_id)
