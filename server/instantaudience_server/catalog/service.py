"""The catalog for gRPC callers: access rights, update masks and pages (source: catalog.proto, CatalogService)."""

from collections.abc import Sequence
from typing import Any

from instantaudience.v1 import catalog_pb2 as pb

from instantaudience_server.admission.quotas import Quotas
from instantaudience_server.catalog import records
from instantaudience_server.catalog.access import Caller, allowed_to, require_admin, require_member
from instantaudience_server.catalog.accounts.accounts import AccountService
from instantaudience_server.catalog.catalog import Role
from instantaudience_server.catalog.editor import CatalogEditor, Check, no_such_code, not_found
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.catalog.paging import page_of
from instantaudience_server.catalog.update_masks import edit_of
from instantaudience_server.errors import AudienceError, Reason, required
from instantaudience_server.segment_sizes import SegmentSizes
from instantaudience_server.store.interfaces.catalog import CatalogStore, Kind


class CatalogService:
    """A method for each RPC, except those on passwords and tokens, which are in `AccountService`. Deadlines are times
    of the event loop's clock, in seconds.

    Single objects are read from the cluster. Lists come from this worker's memory, after it has applied the latest
    changes. So every read sees all changes that any worker acknowledged before.

    Every method raises AudienceError UNAUTH (the caller may not do this), SYNTAX (with the field and the rule),
    NOT_FOUND or UNAVAILABLE, as it applies; methods that change something also raise as `CatalogEditor` does.
    """

    def __init__(
        self,
        store: CatalogStore,
        feed: CatalogFeed,
        editor: CatalogEditor,
        accounts: AccountService,
        quotas: Quotas,
        sizes: SegmentSizes,
    ) -> None:
        self._store = store
        self._feed = feed
        self._catalog = feed.catalog
        self._editor = editor
        self._accounts = accounts
        self._quotas = quotas
        self._sizes = sizes

    async def create_member(
        self, request: pb.CreateMemberRequest, caller: Caller, deadline: float
    ) -> pb.CreateMemberResponse:
        """Create a member."""
        require_admin(caller)
        _require(request, "member")
        return pb.CreateMemberResponse(member=await self._editor.create(request.member, deadline))

    async def get_member(self, request: pb.GetMemberRequest, caller: Caller, deadline: float) -> pb.GetMemberResponse:
        """Read a member: callers' own or, for the role `admin`, any."""
        _require_id(request.id)
        require_member(caller, request.id)
        return pb.GetMemberResponse(member=await self._read(Kind.MEMBER, request.id, deadline))

    async def list_members(
        self, request: pb.ListMembersRequest, caller: Caller, deadline: float
    ) -> pb.ListMembersResponse:
        """Read a page of all members."""
        require_admin(caller)
        page = page_of(request)
        await self._feed.catch_up(deadline)
        ids = page.first_ids(self._catalog.members)
        members, token = page.filled(await self._read_all(Kind.MEMBER, ids[: page.size], deadline), ids)
        return pb.ListMembersResponse(members=members, next_page_token=token)

    async def update_member(
        self, request: pb.UpdateMemberRequest, caller: Caller, deadline: float
    ) -> pb.UpdateMemberResponse:
        """Change the settings that the mask names."""
        require_admin(caller)
        return pb.UpdateMemberResponse(member=await self._update(request.member, request.update_mask, deadline))

    async def delete_member(
        self, request: pb.DeleteMemberRequest, caller: Caller, deadline: float
    ) -> pb.DeleteMemberResponse:
        """Delete a member that nothing refers to."""
        require_admin(caller)
        _require_id(request.id)
        await self._editor.delete(Kind.MEMBER, request.id, request.etag, deadline)
        return pb.DeleteMemberResponse()

    async def create_user(
        self, request: pb.CreateUserRequest, caller: Caller, deadline: float
    ) -> pb.CreateUserResponse:
        """Create a user with a password."""
        require_admin(caller)
        _require(request, "user")
        password_hash = await self._accounts.hash_new_password(request.password, deadline)
        return pb.CreateUserResponse(user=await self._editor.create(request.user, deadline, password_hash))

    async def get_user(self, request: pb.GetUserRequest, caller: Caller, deadline: float) -> pb.GetUserResponse:
        """Read a user: the caller itself or, for the role `admin`, any."""
        _require_id(request.id)
        if request.id != caller.account.id:
            require_admin(caller)
        return pb.GetUserResponse(user=await self._read(Kind.USER, request.id, deadline))

    async def list_users(self, request: pb.ListUsersRequest, caller: Caller, deadline: float) -> pb.ListUsersResponse:
        """Read a page of all users, or of those of a member."""
        require_admin(caller)
        page = page_of(request)
        await self._feed.catch_up(deadline)
        accounts = self._catalog.accounts.values()
        ids = page.first_ids(each.id for each in accounts if request.member_id in (0, each.member_id))
        users, token = page.filled(await self._read_all(Kind.USER, ids[: page.size], deadline), ids)
        return pb.ListUsersResponse(users=users, next_page_token=token)

    async def update_user(
        self, request: pb.UpdateUserRequest, caller: Caller, deadline: float
    ) -> pb.UpdateUserResponse:
        """Change the fields of a user that the mask names."""
        require_admin(caller)
        return pb.UpdateUserResponse(user=await self._update(request.user, request.update_mask, deadline))

    async def delete_user(
        self, request: pb.DeleteUserRequest, caller: Caller, deadline: float
    ) -> pb.DeleteUserResponse:
        """Delete a user."""
        require_admin(caller)
        _require_id(request.id)
        await self._editor.delete(Kind.USER, request.id, request.etag, deadline)
        return pb.DeleteUserResponse()

    async def create_segment(
        self, request: pb.CreateSegmentRequest, caller: Caller, deadline: float
    ) -> pb.CreateSegmentResponse:
        """Create a segment of the caller's member or, for the role `admin`, of any.

        Only the role `admin` may choose the ID, as users may still be in a deleted segment that had it.
        """
        _require(request, "segment")
        if request.segment.id:
            require_admin(caller)
        segment = pb.Segment()
        segment.CopyFrom(request.segment)
        segment.member_id = segment.member_id or caller.member.id
        require_member(caller, segment.member_id)
        return pb.CreateSegmentResponse(segment=await self._editor.create(segment, deadline))

    async def get_segment(
        self, request: pb.GetSegmentRequest, caller: Caller, deadline: float
    ) -> pb.GetSegmentResponse:
        """Read a segment, by its ID or by its code; counts as a `GET` (contract, "Limits")."""
        if request.id and request.code:
            raise AudienceError(Reason.SYNTAX, "'id' and 'code' cannot be used together", field="code")
        await self._quotas.ask_gets(caller.member, "segment", 1, deadline)
        segment_id = request.id
        if request.code:
            segment_id = await self._segment_id(request.member_id or caller.member.id, request.code, caller, deadline)
        segment = await self._segment(segment_id, caller, deadline)
        if request.with_estimated_users:
            await self._tell_sizes([segment], deadline)
        return pb.GetSegmentResponse(segment=segment)

    async def list_segments(
        self, request: pb.ListSegmentsRequest, caller: Caller, deadline: float
    ) -> pb.ListSegmentsResponse:
        """Read a page of a member's segments, or of all; counts as a `GET` (contract, "Limits")."""
        member_id = request.member_id
        if not member_id and caller.account.role is not Role.ADMIN:
            member_id = caller.member.id
        require_member(caller, member_id)
        await self._quotas.ask_gets(caller.member, "segment", 1, deadline)
        page = page_of(request)
        await self._feed.catch_up(deadline)
        found, _, ids = await self._catalog.page_of_segments(
            member_id=member_id or None, search=request.search, after_id=page.after_id, limit=page.size + 1
        )
        on_page = set(ids[: page.size])
        segments, token = page.filled([segment for segment in found if segment.id in on_page], ids)
        if request.with_estimated_users:
            await self._tell_sizes(segments, deadline)
        return pb.ListSegmentsResponse(segments=segments, next_page_token=token)

    async def update_segment(
        self, request: pb.UpdateSegmentRequest, caller: Caller, deadline: float
    ) -> pb.UpdateSegmentResponse:
        """Change the fields of a segment that the mask names."""
        check = allowed_to(caller)
        segment = await self._update(request.segment, request.update_mask, deadline, check)
        return pb.UpdateSegmentResponse(segment=segment)

    async def delete_segment(
        self, request: pb.DeleteSegmentRequest, caller: Caller, deadline: float
    ) -> pb.DeleteSegmentResponse:
        """Remove a segment from the catalog."""
        _require_id(request.id)
        check = allowed_to(caller)
        await self._editor.delete(Kind.SEGMENT, request.id, request.etag, deadline, check=check)
        return pb.DeleteSegmentResponse()

    async def _read(self, kind: Kind, object_id: int, deadline: float) -> Any:
        found = await self._read_all(kind, [object_id], deadline)
        if not found:
            raise not_found(kind, object_id)
        return found[0]

    async def _read_all(self, kind: Kind, ids: Sequence[int], deadline: float) -> list[Any]:
        """Objects in the order of the IDs, without those that do not exist."""
        found = await self._store.find(kind, ids, deadline)
        return [_shown(records.decode(kind, data)) for data in found if data is not None]

    async def _segment(self, segment_id: int, caller: Caller, deadline: float) -> pb.Segment:
        """A segment, if the caller may read it."""
        _require_id(segment_id)
        segment: pb.Segment = await self._read(Kind.SEGMENT, segment_id, deadline)
        require_member(caller, segment.member_id)
        return segment

    async def _segment_id(self, member_id: int, code: str, caller: Caller, deadline: float) -> int:
        """The ID of a member's segment with this code, even if another worker has only just created it."""
        require_member(caller, member_id)
        segment = await self._feed.segment_by_code(member_id, code, deadline)
        if segment is None:
            raise no_such_code(member_id)
        return segment.id

    async def _tell_sizes(self, segments: Sequence[pb.Segment], deadline: float) -> None:
        sizes = await self._sizes.estimates([segment.id for segment in segments], deadline)
        for segment in segments:
            if segment.id in sizes:
                segment.estimated_users = sizes[segment.id]

    async def _update(self, source: records.Object, mask: Any, deadline: float, check: Check | None = None) -> Any:
        kind = records.kind_of(source)
        _require_id(source.id, of=kind)
        edit = edit_of(source, mask)
        return _shown(await self._editor.update(kind, source.id, edit, source.etag, deadline, check=check))


def _require(request: Any, field: str) -> None:
    if not request.HasField(field):
        raise required(field)


def _require_id(object_id: int, *, of: Kind | None = None) -> None:
    if not object_id:
        raise required("id", of=of)


def _shown(message: records.Object) -> records.Object:
    """An object for an answer: without a user's keys, which have methods of their own."""
    if isinstance(message, pb.User):
        message.ClearField("public_keys")
    return message
