"""The methods of the service: which message goes to which service. Hosts serve what stands here."""

from collections.abc import Awaitable
from functools import partial

from google.protobuf.message import Message
from instantaudience.rest.v1 import batch_pb2 as rest_batch_pb2
from instantaudience.rest.v1 import member_pb2, public_key_pb2, segment_pb2, sign_in_pb2
from instantaudience.rest.v1 import privacy_pb2 as rest_privacy_pb2
from instantaudience.v1 import audience_pb2 as pb
from instantaudience.v1 import authentication_pb2 as auth_pb
from instantaudience.v1 import batch_pb2, catalog_pb2, identity_pb2, privacy_pb2, usage_pb2
from instantaudience.v1 import status_pb2 as status_pb

from instantaudience_server.catalog.access import Caller
from instantaudience_server.errors import invalid
from instantaudience_server.health import HealthService
from instantaudience_server.memberships.posts import Result
from instantaudience_server.memberships.requests import ApplyRequest
from instantaudience_server.memberships.service import MembershipService
from instantaudience_server.transport.apply_answers import apply_answer
from instantaudience_server.transport.calls import Answer, AnyMethod, Call, Method, Posting, PublicMethod, StreamMethod
from instantaudience_server.transport.status import Failure

FILES = (
    pb.DESCRIPTOR,
    auth_pb.DESCRIPTOR,
    status_pb.DESCRIPTOR,
    catalog_pb2.DESCRIPTOR,
    identity_pb2.DESCRIPTOR,
    segment_pb2.DESCRIPTOR,
    usage_pb2.DESCRIPTOR,
    member_pb2.DESCRIPTOR,
    sign_in_pb2.DESCRIPTOR,
    batch_pb2.DESCRIPTOR,
    rest_batch_pb2.DESCRIPTOR,
    privacy_pb2.DESCRIPTOR,
    rest_privacy_pb2.DESCRIPTOR,
    public_key_pb2.DESCRIPTOR,
)
"""The proto files whose services are served."""
SERVICES = tuple(service.full_name for file in FILES for service in file.services_by_name.values())

MOST_READ = 1000
"""Users of a BatchGetMemberships request (source: audience.proto)."""


def build_methods(memberships: MembershipService, health: HealthService) -> list[AnyMethod]:
    """The methods on memberships and health, wired to their services; others have modules of their own."""

    async def apply(request: ApplyRequest, caller: Caller, deadline: float) -> Answer:
        return apply_answer(await memberships.apply(request, caller, deadline))

    async def start(request: ApplyRequest, caller: Caller, deadline: float) -> Awaitable[Answer]:
        return _answer(memberships.apply(request, caller, deadline, in_order=True))

    async def get(request: pb.GetMembershipsRequest, caller: Caller, deadline: float) -> Message:
        return pb.GetMembershipsResponse(response=await memberships.get([request], caller, deadline))

    async def batch_get(request: pb.BatchGetMembershipsRequest, caller: Caller, deadline: float) -> Message:
        if not 0 < len(request.users) <= MOST_READ:
            raise invalid("users", f"must hold 1 to {MOST_READ} users")
        return pb.BatchGetMembershipsResponse(response=await memberships.get(request.users, caller, deadline))

    async def get_status(_: status_pb.GetStatusRequest, _call: Call, _deadline: float) -> Message:
        return status_pb.GetStatusResponse(response=status_pb.StatusResult(status="OK"))

    async def get_readiness(_: status_pb.GetReadinessRequest, _call: Call, deadline: float) -> Message:
        nodes = [node.name for node in await health.check(deadline)]
        return status_pb.GetReadinessResponse(response=status_pb.ReadinessResult(status="OK", nodes=nodes))

    audience, _, status = SERVICES[:3]
    return [
        Method(f"/{audience}/ApplySegments", ApplyRequest, apply, Posting(memberships.post, apply_answer)),
        StreamMethod(
            f"/{audience}/StreamSegments",
            ApplyRequest,
            start,
            _refusal,
            Posting(partial(memberships.post, in_order=True), apply_answer),
            _naming,
            memberships.pacing,
        ),
        Method(f"/{audience}/GetMemberships", pb.GetMembershipsRequest, get),
        Method(f"/{audience}/BatchGetMemberships", pb.BatchGetMembershipsRequest, batch_get),
        PublicMethod(f"/{status}/GetStatus", status_pb.GetStatusRequest, get_status),
        PublicMethod(f"/{status}/GetReadiness", status_pb.GetReadinessRequest, get_readiness),
    ]


async def _answer(result: Awaitable[Result]) -> Answer:
    return apply_answer(await result)


def _naming(request_id: str) -> bytes:
    """An encoded StreamSegmentsResponse that has the ID, of fewer than 128 characters, and nothing else."""
    return b"\x1a%c%b" % (len(request_id), request_id.encode())


def _refusal(failure: Failure) -> Message:
    return pb.StreamSegmentsResponse(error=failure.status)
