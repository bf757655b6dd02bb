"""The methods of AudienceService. Answers without warnings to ApplySegments and StreamSegments are cached."""

from collections.abc import Awaitable
from functools import lru_cache, partial

from google.protobuf.message import Message
from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server.catalog.access import Caller
from instantaudience_server.errors import invalid
from instantaudience_server.memberships.posts import Result
from instantaudience_server.memberships.reading.entities import delimited
from instantaudience_server.memberships.reading.requests import ApplyRequest
from instantaudience_server.memberships.service import MembershipService
from instantaudience_server.transport.calls.kinds import Answer, AnyMethod, Method, Posting, StreamMethod
from instantaudience_server.transport.status import Failure
from instantaudience_server.usage.forms import EncodedAnswer

SERVICE = pb.DESCRIPTOR.services_by_name["AudienceService"].full_name

MOST_READ = 1000
"""The most users of a BatchGetMemberships request (source: audience.proto)."""

KEPT = 10_000
"""How many encoded answers a worker caches."""
_RESPONSE = b"\x0a"
"""The tag of the result in ApplySegmentsResponse and in StreamSegmentsResponse."""


def audience_methods(memberships: MembershipService) -> list[AnyMethod]:
    """Each method, wired to the service."""

    async def apply(request: ApplyRequest, caller: Caller, deadline: float) -> Answer:
        return apply_answer(await memberships.apply(request, caller, deadline))

    async def start(request: ApplyRequest, caller: Caller, deadline: float) -> Awaitable[Answer]:
        return _answer(memberships.apply(request, caller, deadline, in_order=True))

    async def get(request: pb.GetMembershipsRequest, caller: Caller, deadline: float) -> Message:
        return pb.GetMembershipsResponse(response=await memberships.get([request], caller, deadline))

    async def batch_get(request: pb.BatchGetMembershipsRequest, caller: Caller, deadline: float) -> Message:
        if not 0 < len(request.users) <= MOST_READ:
            raise invalid("users", f"must hold 1 to {MOST_READ} users")
        read = await memberships.get(request.users, caller, deadline, within="users")
        return pb.BatchGetMembershipsResponse(response=read)

    return [
        Method(f"/{SERVICE}/ApplySegments", ApplyRequest, apply, Posting(memberships.post, apply_answer)),
        StreamMethod(
            f"/{SERVICE}/StreamSegments",
            ApplyRequest,
            start,
            _refusal,
            Posting(partial(memberships.post, in_order=True), apply_answer),
            _naming,
            memberships.pacing,
        ),
        Method(f"/{SERVICE}/GetMemberships", pb.GetMembershipsRequest, get),
        Method(f"/{SERVICE}/BatchGetMemberships", pb.BatchGetMembershipsRequest, batch_get),
    ]


async def _answer(result: Awaitable[Result]) -> Answer:
    return apply_answer(await result)


def _naming(request_id: str) -> bytes:
    """An encoded StreamSegmentsResponse with nothing but this ID, which must have fewer than 128 characters."""
    return b"\x1a%c%b" % (len(request_id), request_id.encode())


def _refusal(failure: Failure) -> Message:
    return pb.StreamSegmentsResponse(error=failure.status)


def apply_answer(result: Result) -> EncodedAnswer:
    """The answer of ApplySegments, or of StreamSegments to one request: both have the same encoding."""
    if result.warnings:
        return EncodedAnswer(delimited(_RESPONSE, _counts(result) + result.warnings))
    return _usual_answer(result)


@lru_cache(maxsize=KEPT)
def _usual_answer(result: Result) -> EncodedAnswer:
    return EncodedAnswer(delimited(_RESPONSE, _counts(result)))


def _counts(result: Result) -> bytes:
    counts = pb.RequestCounts(users_in_request=result.users, segments_in_request=result.segments)
    return pb.ApplySegmentsResult(status="OK", message=counts).SerializeToString(deterministic=True)
