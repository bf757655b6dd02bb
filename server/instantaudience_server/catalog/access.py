"""Who calls, whom a request is about, and which segments a member may use (source: contract, "What the system makes of
a valid block")."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from instantaudience.v1 import audience_pb2 as pb
from instantaudience.v1 import catalog_pb2

from instantaudience_server.catalog.catalog import Account, Catalog, Member, Role, Segment
from instantaudience_server.catalog.editor import not_found
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.store.interfaces.catalog import Kind


@dataclass(frozen=True, slots=True)
class Caller:
    """The account behind a call, and its member."""

    account: Account
    member: Member


class NamesMember(Protocol):
    """A message that may name a member."""

    member_id: int

    def HasField(self, _name: Literal["member_id"], /) -> bool: ...  # noqa: N802 - protobuf's name


def find_segment(catalog: Catalog, member: Member, block: pb.SegBlock) -> "Segment | pb.WarningCode":
    """The segment that a valid block names, or the `WarningCode` that says why the member cannot put users into it."""
    seg_id = block.seg_id
    if seg_id or block.HasField("seg_id"):
        segment = catalog.segment(seg_id)
    else:
        segment = catalog.segment_by_code(block.member_id, block.seg_code)
    if segment is None:
        return pb.WARNING_CODE_UNKNOWN_SEGMENT
    if segment.member_id not in member.segment_access:
        return pb.WARNING_CODE_UNAUTHORIZED_SEGMENT
    if not segment.active:
        return pb.WARNING_CODE_INACTIVE_SEGMENT
    return segment


def require_admin(caller: Caller) -> None:
    """Let only callers with the role `admin` go on.

    Raises:
        AudienceError: UNAUTH.
    """
    if caller.account.role is not Role.ADMIN:
        raise AudienceError(Reason.UNAUTH, "This needs the role 'admin'")


def require_member(caller: Caller, member_id: int) -> None:
    """Let only callers of this member, and those with the role `admin`, go on.

    Raises:
        AudienceError: UNAUTH.
    """
    if caller.account.role is not Role.ADMIN and caller.account.member_id != member_id:
        raise AudienceError(Reason.UNAUTH, "This belongs to another member and needs the role 'admin'")


async def member_of(
    request: NamesMember, feed: CatalogFeed, caller: Caller, deadline: float, field: str = "member_id"
) -> Member:
    """The member that a request names, also one that was made just now, or else the caller's; `field` is where it
    names it.

    Raises:
        AudienceError: UNAUTH; NOT_FOUND; UNAVAILABLE.
    """
    if not request.HasField("member_id"):
        return caller.member
    require_member(caller, request.member_id)
    member = await feed.member(request.member_id, deadline)
    if member is None:
        raise not_found(Kind.MEMBER, request.member_id, field)
    return member


def allowed_to(caller: Caller) -> Callable[[catalog_pb2.Segment], None]:
    """Lets only segments pass that the caller may work with; for all others it raises as `require_member` does."""
    return lambda segment: require_member(caller, segment.member_id)
