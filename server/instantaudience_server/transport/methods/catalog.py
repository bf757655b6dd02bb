"""The methods of CatalogService."""

import asyncio
from collections.abc import Awaitable

from google.protobuf.message import Message
from instantaudience.v1 import catalog_pb2 as pb

from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.accounts.accounts import AccountService
from instantaudience_server.catalog.files.importing import ImportService
from instantaudience_server.catalog.service import CatalogService
from instantaudience_server.transport.calls.kinds import AnyMethod, Method, StreamMethod

SERVICE = pb.DESCRIPTOR.services_by_name["CatalogService"].full_name


def catalog_methods(catalog: CatalogService, accounts: AccountService, importing: ImportService) -> list[AnyMethod]:
    """Each method, wired to its service."""

    async def start_import(request: pb.ImportCatalogRequest, caller: Caller, deadline: float) -> Awaitable[Message]:
        # The work is done before the next request starts, because that may refer to objects that this one puts.
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        answer.set_result(await importing.put(request, caller, deadline))
        return answer

    return [
        Method(f"/{SERVICE}/CreateMember", pb.CreateMemberRequest, catalog.create_member),
        Method(f"/{SERVICE}/GetMember", pb.GetMemberRequest, catalog.get_member),
        Method(f"/{SERVICE}/ListMembers", pb.ListMembersRequest, catalog.list_members),
        Method(f"/{SERVICE}/UpdateMember", pb.UpdateMemberRequest, catalog.update_member),
        Method(f"/{SERVICE}/DeleteMember", pb.DeleteMemberRequest, catalog.delete_member),
        Method(f"/{SERVICE}/CreateUser", pb.CreateUserRequest, catalog.create_user),
        Method(f"/{SERVICE}/GetUser", pb.GetUserRequest, catalog.get_user),
        Method(f"/{SERVICE}/ListUsers", pb.ListUsersRequest, catalog.list_users),
        Method(f"/{SERVICE}/UpdateUser", pb.UpdateUserRequest, catalog.update_user),
        Method(f"/{SERVICE}/DeleteUser", pb.DeleteUserRequest, catalog.delete_user),
        Method(f"/{SERVICE}/ChangePassword", pb.ChangePasswordRequest, accounts.change_password),
        Method(f"/{SERVICE}/RevokeTokens", pb.RevokeTokensRequest, accounts.revoke_tokens),
        Method(f"/{SERVICE}/CreateSegment", pb.CreateSegmentRequest, catalog.create_segment),
        Method(f"/{SERVICE}/GetSegment", pb.GetSegmentRequest, catalog.get_segment),
        Method(f"/{SERVICE}/ListSegments", pb.ListSegmentsRequest, catalog.list_segments),
        Method(f"/{SERVICE}/UpdateSegment", pb.UpdateSegmentRequest, catalog.update_segment),
        Method(f"/{SERVICE}/DeleteSegment", pb.DeleteSegmentRequest, catalog.delete_segment),
        StreamMethod(f"/{SERVICE}/ImportCatalog", pb.ImportCatalogRequest, start_import, refuse=None),
    ]
