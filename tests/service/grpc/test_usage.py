"""UsageService over gRPC; ../rest/test_usage.py and tests/modules/usage have the rules."""

import gzip
import json
from typing import Any

import grpc
import pytest
from instantaudience.v1 import audience_pb2
from instantaudience.v1 import usage_pb2 as pb
from instantaudience.v1.audience_pb2_grpc import AudienceServiceStub
from instantaudience.v1.usage_pb2_grpc import UsageServiceStub
from support.contract.answers import assert_grpc_error
from support.service.running import Service

Metadata = tuple[tuple[str, str], ...]
COUNTERS = {
    "valid_users": "num_valid_users",
    "valid_adds": "num_valid_adds",
    "valid_removes": "num_valid_removes",
    "invalid_users": "num_invalid_users",
    "invalid_segments": "num_invalid_segments",
    "unauth_segments": "num_unauth_segments",
    "inactive_segments": "num_inactive_segments",
    "other_errors": "num_other_errors",
    "match_rate": "match_rate",
}


@pytest.fixture
def usage(channel: grpc.aio.Channel) -> UsageServiceStub:
    """The service's stub."""
    return UsageServiceStub(channel)


async def test_a_call_is_in_the_report(
    usage: UsageServiceStub, audience: AudienceServiceStub, authorization: Metadata
) -> None:
    """Typed and as the contract's JSON alike."""

    async def total() -> pb.UsageHour:
        return (await usage.GetUsage(pb.GetUsageRequest(hours=2), metadata=authorization)).total

    before = await total()
    request = audience_pb2.ApplySegmentsRequest()
    user = request.rt_segment.add(user_id="5")
    user.seg_block.add(seg_id=10001, expiration=0)
    user.seg_block.add(seg_id=12, expiration=-1)
    for segment_id in (99, 30001, 40001):
        user.seg_block.add(seg_id=segment_id)
    await audience.ApplySegments(request, metadata=authorization)
    after = await total()
    grown = {name: getattr(after, name) - getattr(before, name) for name in ("calls", *COUNTERS) if "rate" not in name}
    assert grown == {
        "calls": 1,
        "valid_users": 1,
        "valid_adds": 1,
        "valid_removes": 1,
        "invalid_users": 0,
        "invalid_segments": 1,
        "unauth_segments": 1,
        "inactive_segments": 1,
        "other_errors": 0,
    }
    typed = await usage.GetUsage(pb.GetUsageRequest(hours=336), metadata=authorization)
    body = await usage.GetProcessed(pb.GetProcessedRequest(), metadata=authorization)
    assert body.content_type == "application/json"
    report = json.loads(body.data)["response"]["report"]
    assert len(report) == len(typed.hours) > 0
    for hour, plain in zip(typed.hours, report, strict=True):
        assert {plain_name: getattr(hour, name) for name, plain_name in COUNTERS.items()}.items() <= plain.items()
        assert "\n".join(hour.error_lines) == plain["error_log_lines"]
        assert "\n".join(hour.segment_lines) == plain["segment_log_lines"]
        assert hour.hour.ToDatetime().strftime("%Y-%m-%d %H:%M:%S") == plain["processed_hour"]


async def test_compressed(usage: UsageServiceStub, authorization: Metadata) -> None:
    """On request alone: what a client's gRPC library accepts for whole messages is another matter."""
    span = {"start": "2026-01-01 00:00:00", "end": "2026-01-01 05:00:00"}
    headers = (*authorization, ("accept-encoding", "gzip"))
    plain = await usage.GetProcessed(pb.GetProcessedRequest(**span), metadata=headers)
    body = await usage.GetProcessed(pb.GetProcessedRequest(gzip=True, **span), metadata=authorization)
    assert (plain.content_type, body.content_type) == ("application/json", "application/gzip")
    assert gzip.decompress(body.data) == plain.data
    total = await usage.GetProcessed(pb.GetProcessedRequest(gzip=True, agg=True), metadata=authorization)
    assert total.content_type == "application/json"


async def test_a_plus_may_stand_in_a_moment(usage: UsageServiceStub, authorization: Metadata) -> None:
    for start in ("2026-01-01+00:00:00", "2026-01-01 00:00:00"):
        request = pb.GetProcessedRequest(start=start, end="2026-01-01+05:00:00", agg=True)
        body = await usage.GetProcessed(request, metadata=authorization)
        assert json.loads(body.data)["response"]["report"]["processed_hour"] == "2026-01-01 04:00:00"


async def test_the_overview(usage: UsageServiceStub, service: Service) -> None:
    metadata = (("authorization", await service.token("admin")),)
    own = await usage.GetOverview(pb.GetOverviewRequest(), metadata=metadata)
    other = await usage.GetOverview(pb.GetOverviewRequest(member_id=777), metadata=metadata)
    assert (own.username, own.is_admin, other.member_id) == ("admin", True, 777)
    assert own.gets.limit == 2**31 - 1
    assert other.member_name


REFUSED: dict[str, tuple[str, Any, grpc.StatusCode, str]] = {
    "no moment": (
        *("GetProcessed", pb.GetProcessedRequest(start="x")),
        *(grpc.StatusCode.INVALID_ARGUMENT, "SYNTAX"),
    ),
    "no hours": ("GetUsage", pb.GetUsageRequest(hours=0), grpc.StatusCode.INVALID_ARGUMENT, "SYNTAX"),
    **{
        f"another member: {method}": (
            *(method, getattr(pb, f"{method}Request")(member_id=777)),
            *(grpc.StatusCode.PERMISSION_DENIED, "UNAUTH"),
        )
        for method in ("GetProcessed", "GetUsage", "GetOverview")
    },
}


@pytest.mark.parametrize(("method", "request_message", "code", "error_id"), REFUSED.values(), ids=REFUSED)
async def test_refused(
    usage: UsageServiceStub,
    authorization: Metadata,
    method: str,
    request_message: Any,
    code: grpc.StatusCode,
    error_id: str,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(usage, method)(request_message, metadata=authorization)
    assert_grpc_error(caught.value, code, error_id)
