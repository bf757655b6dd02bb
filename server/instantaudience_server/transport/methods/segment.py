"""The methods of the REST contract's SegmentService."""

from collections.abc import Mapping, Sequence

from google.protobuf.message import Message
from instantaudience.rest.v1 import segment_pb2 as pb
from instantaudience.v1 import catalog_pb2

from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.segments import answers
from instantaudience_server.catalog.segments.service import Failed, Outcome, SegmentService
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.transport.calls.kinds import AnyMethod, Method
from instantaudience_server.transport.status import DEFECT_TEXT, ROWS

SERVICE = pb.DESCRIPTOR.services_by_name["SegmentService"].full_name


def segment_methods(segments: SegmentService) -> list[AnyMethod]:
    """Each method, wired to the service."""

    async def add(request: pb.AddSegmentRequest, caller: Caller, deadline: float) -> Message:
        if request.segments:
            return pb.AddSegmentResponse(response=_several(await segments.add_several(request, caller, deadline)))
        return pb.AddSegmentResponse(response=await segments.add(request, caller, deadline))

    async def find(request: pb.FindSegmentsRequest, caller: Caller, deadline: float) -> Message:
        return pb.FindSegmentsResponse(response=await segments.find(request, caller, deadline))

    async def change(request: pb.ChangeSegmentRequest, caller: Caller, deadline: float) -> Message:
        if request.segments:
            return pb.ChangeSegmentResponse(response=_several(await segments.change_several(request, caller, deadline)))
        return pb.ChangeSegmentResponse(response=await segments.change(request, caller, deadline))

    async def remove(request: pb.RemoveSegmentRequest, caller: Caller, deadline: float) -> Message:
        return pb.RemoveSegmentResponse(response=await segments.remove(request, caller, deadline))

    async def describe(_: pb.DescribeSegmentsRequest, caller: Caller, deadline: float) -> Message:
        return pb.DescribeSegmentsResponse(response=await segments.describe(caller, deadline))

    return [
        Method(f"/{SERVICE}/AddSegment", pb.AddSegmentRequest, add),
        Method(f"/{SERVICE}/FindSegments", pb.FindSegmentsRequest, find),
        Method(f"/{SERVICE}/ChangeSegment", pb.ChangeSegmentRequest, change),
        Method(f"/{SERVICE}/RemoveSegment", pb.RemoveSegmentRequest, remove),
        Method(f"/{SERVICE}/DescribeSegments", pb.DescribeSegmentsRequest, describe),
    ]


def _several(outcomes: Sequence[Outcome]) -> pb.SegmentResult:
    done = [each for each in outcomes if isinstance(each, catalog_pb2.Segment)]
    failures: list[Mapping[str, int | str]] = [
        {"index": index, **_told(each)}
        for index, each in enumerate(outcomes)
        if not isinstance(each, catalog_pb2.Segment)
    ]
    return answers.several(done, failures)


def _told(error: Failed) -> Mapping[str, str]:
    """What the caller is told of an error: as where a whole call fails, nothing of a defect."""
    if isinstance(error, AudienceError):
        return {"error_id": ROWS[error.reason].error_id, "error": error.message}
    return {"error_id": ROWS[Reason.INTERNAL].error_id, "error": DEFECT_TEXT}
