"""The methods of IdentityService."""

from google.protobuf.message import Message
from instantaudience.v1 import identity_pb2 as pb

from instantaudience_server.catalog.access import Caller
from instantaudience_server.memberships.identity_service import IdentityService
from instantaudience_server.transport.calls.kinds import AnyMethod, Method

SERVICE = pb.DESCRIPTOR.services_by_name["IdentityService"].full_name


def identity_methods(identities: IdentityService) -> list[AnyMethod]:
    """Each method, wired to the service."""

    async def map_user(request: pb.MapUserRequest, caller: Caller, deadline: float) -> Message:
        return pb.MapUserResponse(response=await identities.map_user(request, caller, deadline))

    async def resolve_user(request: pb.ResolveUserRequest, caller: Caller, deadline: float) -> Message:
        return pb.ResolveUserResponse(users=await identities.resolve_users(request, caller, deadline))

    async def unmap_user(request: pb.UnmapUserRequest, caller: Caller, deadline: float) -> Message:
        return pb.UnmapUserResponse(response=await identities.unmap_users(request, caller, deadline))

    return [
        Method(f"/{SERVICE}/MapUser", pb.MapUserRequest, map_user),
        Method(f"/{SERVICE}/ResolveUser", pb.ResolveUserRequest, resolve_user),
        Method(f"/{SERVICE}/UnmapUser", pb.UnmapUserRequest, unmap_user),
    ]
