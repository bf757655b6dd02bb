"""The methods of SegmentService."""

from google.protobuf.message import Message
from instantaudience.rest.v1 import segment_pb2 as pb

from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.segment_service import SegmentService
from instantaudience_server.transport.calls import AnyMethod, Method

SERVICE = pb.DESCRIPTOR.services_by_name["SegmentService"].full_name


def segment_methods(segments: SegmentService) -> list[AnyMethod]:
    """Each method, wired to the service."""

    async def add(request: pb.AddSegmentRequest, caller: Caller, deadline: float) -> Message:
        return pb.AddSegmentResponse(response=await segments.add(request, caller, deadline))

    async def find(request: pb.FindSegmentsRequest, caller: Caller, deadline: float) -> Message:
        return pb.FindSegmentsResponse(response=await segments.find(request, caller, deadline))

    async def change(request: pb.ChangeSegmentRequest, caller: Caller, deadline: float) -> Message:
        return pb.ChangeSegmentResponse(response=await segments.change(request, caller, deadline))

    async def remove(request: pb.RemoveSegmentRequest, caller: Caller, deadline: float) -> Message:
        return pb.RemoveSegmentResponse(response=await segments.remove(request, caller, deadline))

    return [
        Method(f"/{SERVICE}/AddSegment", pb.AddSegmentRequest, add),
        Method(f"/{SERVICE}/FindSegments", pb.FindSegmentsRequest, find),
        Method(f"/{SERVICE}/ChangeSegment", pb.ChangeSegmentRequest, change),
        Method(f"/{SERVICE}/RemoveSegment", pb.RemoveSegmentRequest, remove),
    ]
