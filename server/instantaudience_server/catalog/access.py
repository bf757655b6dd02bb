"""Access rights: the caller, the member that a request is about, and the segments that a member may use (source:
contract, "What the system makes of a valid block")."""

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
    """The segment that a valid block names, or the `WarningCode` for why the member cannot use it."""
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
    """Check that the caller has the role `admin`.

    Raises:
        AudienceError: UNAUTH.
    """
    if caller.account.role is not Role.ADMIN:
        raise AudienceError(Reason.UNAUTH, "This needs the role 'admin'")


def require_member(caller: Caller, member_id: int) -> None:
    """Check that the caller belongs to this member, or has the role `admin`.

    Raises:
        AudienceError: UNAUTH.
    """
    if caller.account.role is not Role.ADMIN and caller.account.member_id != member_id:
        raise AudienceError(Reason.UNAUTH, "This belongs to another member and needs the role 'admin'")


async def member_of(
    request: NamesMember, feed: CatalogFeed, caller: Caller, deadline: float, field: str = "member_id"
) -> Member:
    """The member that a request names, even if another worker has only just created it; without one, the caller's.
    `field` is the field to name in an error.

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
    """A check that raises, as `require_member` does, for segments that the caller may not edit."""
    return lambda segment: require_member(caller, segment.member_id)
