"""Applies memberships and reads them back (source: contract, "POST /rt-segment" and "GET /rt-segment")."""

import asyncio
from collections.abc import Iterable, Sequence

from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server.admission.quotas import POSTED, Quotas
from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.errors import NOT_EMPTY, AudienceError, Reason, invalid
from instantaudience_server.memberships.applying import Applying
from instantaudience_server.memberships.external_ids import ExternalIds, is_external
from instantaudience_server.memberships.gathering import Gathering
from instantaudience_server.memberships.pacing import Pacing
from instantaudience_server.memberships.posts import AwaitedPost, Post, Result
from instantaudience_server.memberships.reading import rules
from instantaudience_server.memberships.reading.requests import ApplyRequest
from instantaudience_server.process.clock import MS_PER_MINUTE, Clock
from instantaudience_server.segment_sizes import SegmentSizes
from instantaudience_server.store.interfaces.memberships import NEVER, Memberships, MembershipStore
from instantaudience_server.suppressions import Suppressions
from instantaudience_server.usage.counting import Usage

PART = 1000
"""How many memberships of an answer are built before the event loop may run other calls."""


class MembershipService:
    """The operations on memberships. Deadlines are times of the event loop's clock, in seconds.

    `suppressions` says which users must not be added to a member's segments; None: no user is suppressed.
    """

    def __init__(
        self,
        catalog: Catalog,
        store: MembershipStore,
        quotas: Quotas,
        usage: Usage,
        sizes: SegmentSizes,
        clock: Clock,
        suppressions: Suppressions | None = None,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._quotas = quotas
        self._clock = clock
        self._external_ids = ExternalIds(store)
        applying = Applying(catalog, store, self._external_ids, quotas, usage, sizes, clock, suppressions)
        self._gathering = Gathering(applying.carry_out)

    def apply(
        self, request: ApplyRequest, caller: Caller, deadline: float, *, in_order: bool = False
    ) -> "asyncio.Future[Result]":
        """Apply a request. The returned future is done once the cluster has taken every write and the call is counted.

        Requests with `in_order` change a user in the order in which they were passed to this method.

        The future raises:
            AudienceError: SYNTAX; RATE_LIMIT_EXCEEDED; UNAVAILABLE, after which the request may be partly applied.
        """
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._gathering.add((AwaitedPost(request, deadline, result),), caller, in_order=in_order)
        return result

    @property
    def pacing(self) -> Pacing:
        """Tells streams when they may begin another request."""
        return self._gathering.pacing

    def post(self, posts: Sequence[Post], caller: Caller, *, in_order: bool = False) -> None:
        """As `apply`, for posts whose owners are told the results."""
        self._gathering.add(posts, caller, in_order=in_order)

    async def close(self) -> None:
        """Cancel the requests under way."""
        await self._gathering.close()

    async def get(
        self, users: Sequence[pb.GetMembershipsRequest], caller: Caller, deadline: float, *, within: str = ""
    ) -> pb.GetMembershipsResult:
        """Read the live memberships of users, in their order, limited to segments that the caller's member may see.

        `within` is the repeated field that holds the users, for error details; empty for a request about one user.

        Raises:
            AudienceError: RATE_LIMIT_EXCEEDED; SYNTAX, when a user's ID or domain is not valid; UNAVAILABLE.
        """
        await self._quotas.ask_gets(caller.member, POSTED, len(users), deadline)
        now_ms = self._clock.now_ms()
        keys = [_checked_key(user, caller, within, index) for index, user in enumerate(users)]
        resolved = await self._external_ids.platform_keys([key for key in keys if is_external(key)], deadline)
        found = [resolved.get(key) if is_external(key) else key for key in keys]
        read = iter(await self._store.read([key for key in found if key is not None], deadline))
        result = pb.GetMembershipsResult(status="OK")
        ready = 0
        for user, key in zip(users, found, strict=True):
            entry = result.rt_segment.add(user_id=user.user_id)
            if user.domain:
                entry.domain = user.domain
                entry.user_id = user.user_id.lower()
            if key is not None:
                memberships = next(read)
                segment_ids = sorted(memberships)
                for start in range(0, len(segment_ids), PART):
                    part = segment_ids[start : start + PART]
                    entry.seg_block.extend(self._visible(part, memberships, caller, now_ms))
                    ready += len(part)
                    if ready >= PART:
                        ready = 0
                        await asyncio.sleep(0)
        return result

    def _visible(
        self, segment_ids: Sequence[int], memberships: Memberships, caller: Caller, now_ms: int
    ) -> Iterable[pb.Membership]:
        for segment_id in segment_ids:
            segment = self._catalog.segment(segment_id)
            if segment is not None and segment.member_id in caller.member.segment_access:
                value, end = memberships[segment_id]
                yield pb.Membership(
                    seg_id=segment_id,
                    seg_code=segment.code,
                    member_id=segment.member_id,
                    value=value,
                    expiration=minutes_left(end, now_ms),
                )


def minutes_left(end_ms: int, now_ms: int) -> int:
    """The remaining lifetime of a membership in minutes, rounded up and at least 1; 0 if it never ends."""
    return 0 if end_ms == NEVER else max(1, -((now_ms - end_ms) // MS_PER_MINUTE))


def _checked_key(user: pb.GetMembershipsRequest, caller: Caller, within: str, index: int) -> bytes:
    if user.user_id:
        key, code = rules.identify(user.user_id, user.domain, caller.member.external_member_id)
        if key is not None:
            return key
        is_domain = code == pb.WARNING_CODE_INVALID_DOMAIN
        text = f"Invalid domain: {user.domain}" if is_domain else f"Invalid user_id: {user.user_id}"
        error = AudienceError(Reason.SYNTAX, text, field="domain" if is_domain else "user_id")
    else:
        error = invalid("user_id", NOT_EMPTY)
    if within:
        error.metadata["object"] = f"{within}[{index}]"
    raise error
