"""The checks of `POST /rt-segment`: pure functions over the parsed request (source: contract, "POST /rt-segment").

Each returns a `WarningCode`, with `OK` for "nothing to say". They run for every user and block of every call, so
they read each field once and make no objects.
"""

from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server.catalog.catalog import Member, Segment
from instantaudience_server.memberships.reading import identity

OK = pb.WARNING_CODE_UNSPECIFIED

LONGEST_EXPIRATION_MINUTES = 525_600_000
"""A thousand years; a longer lifetime is stored as never ending, because Redis cannot hold every int32 of minutes."""
NEVER = 0
"""The expiration of a membership that never ends."""
LEAVE = -1
"""The expiration that removes the user from the segment."""


def check_user(
    index: int, user: pb.RtSegment, external_member_id: int | None, most_users: int
) -> tuple[bytes, pb.WarningCode]:
    """Check a user's place in the request, identifier and domain, in the contract's order.

    `external_member_id` is the caller's member if it is set up for external IDs, else None; `most_users` is the limit
    of users in a request. Returns the user's key (for an external ID, the key under which it is mapped) and `OK`, or an
    empty key and the first rule that is broken.
    """
    if index >= most_users:
        return b"", pb.WARNING_CODE_TOO_MANY_USERS
    user_id = user.user_id
    if not user_id:
        return b"", pb.WARNING_CODE_USER_ID_REQUIRED
    if not user.seg_block:
        return b"", pb.WARNING_CODE_SEG_BLOCK_REQUIRED
    key, code = identify(user_id, user.domain, external_member_id)
    return key or b"", code


def identify(user_id: str, domain: str, external_member_id: int | None) -> tuple[bytes | None, pb.WarningCode]:
    """The key of an identifier and `OK`, or None and the rule that it breaks (source: contract, "Domains")."""
    if domain:
        known = identity.DOMAINS.get(domain)
        if known is None:
            return None, pb.WARNING_CODE_INVALID_DOMAIN
        key = identity.device_key(known, user_id)
    elif external_member_id is None:
        key = identity.platform_key(user_id)
    else:
        key = identity.external_key(external_member_id, user_id)
    return key, OK if key else pb.WARNING_CODE_INVALID_USER_ID


def check_block(block: pb.SegBlock) -> pb.WarningCode:
    """Check that a block names one segment and a lifetime. An empty `seg_code` counts as absent."""
    if block.seg_id or block.HasField("seg_id"):
        if block.seg_code:
            return pb.WARNING_CODE_SEGMENT_AMBIGUOUS
    elif not (block.seg_code and block.HasField("member_id")):
        return pb.WARNING_CODE_SEGMENT_REQUIRED
    if block.expiration < LEAVE:
        return pb.WARNING_CODE_INVALID_EXPIRATION
    return OK


def expiration_of(given: int | None, segment: Segment, member: Member) -> int:
    """The expiration in effect when `member` puts a user into a segment: the block's (`given`), else the segment's,
    else the member's default, limited to the member's longest (source: contract-neighbours, "Conventions of all REST
    answers" and "Longest lifetime")."""
    expiration = segment.expire_minutes if given is None else given
    if expiration is None:
        expiration = member.default_expiration_minutes
    longest = member.longest_expiration_minutes
    if longest and (expiration == NEVER or expiration > longest):
        return longest
    return expiration
