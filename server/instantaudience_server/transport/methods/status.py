"""The methods of StatusService. They need no token, as supervisors and load balancers have none."""

from google.protobuf.message import Message
from instantaudience.v1 import status_pb2 as pb

from instantaudience_server.health import HealthService
from instantaudience_server.transport.calls.call import Call
from instantaudience_server.transport.calls.kinds import AnyMethod, PublicMethod

SERVICE = pb.DESCRIPTOR.services_by_name["StatusService"].full_name


def status_methods(health: HealthService) -> list[AnyMethod]:
    """Each method, wired to the service."""

    async def get_status(_: pb.GetStatusRequest, _call: Call, _deadline: float) -> Message:
        return pb.GetStatusResponse(response=pb.StatusResult(status="OK"))

    async def get_readiness(_: pb.GetReadinessRequest, _call: Call, deadline: float) -> Message:
        nodes = [node.name for node in await health.check(deadline)]
        return pb.GetReadinessResponse(response=pb.ReadinessResult(status="OK", nodes=nodes))

    return [
        PublicMethod(f"/{SERVICE}/GetStatus", pb.GetStatusRequest, get_status),
        PublicMethod(f"/{SERVICE}/GetReadiness", pb.GetReadinessRequest, get_readiness),
    ]
