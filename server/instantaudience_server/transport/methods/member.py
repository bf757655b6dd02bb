"""The methods of the REST contract's MemberService."""

from google.protobuf.message import Message
from instantaudience.rest.v1 import member_pb2 as pb

from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.member_service import MemberService
from instantaudience_server.transport.calls.kinds import AnyMethod, Method

SERVICE = pb.DESCRIPTOR.services_by_name["MemberService"].full_name


def member_methods(members: MemberService) -> list[AnyMethod]:
    """Each method, wired to the service."""

    async def show(_: pb.ShowMemberRequest, caller: Caller, deadline: float) -> Message:
        return pb.ShowMemberResponse(response=await members.show(caller, deadline))

    return [Method(f"/{SERVICE}/ShowMember", pb.ShowMemberRequest, show)]
