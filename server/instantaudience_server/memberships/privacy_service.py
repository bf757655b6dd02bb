"""Handles requests of data subjects: access to their memberships, deletion, and suppression (source:
contract-neighbours, "Privacy"; privacy.proto)."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from instantaudience.rest.v1 import privacy_pb2 as rest_pb
from instantaudience.v1 import audience_pb2
from instantaudience.v1 import privacy_pb2 as pb

from instantaudience_server.admission.quotas import Quotas
from instantaudience_server.catalog.access import Caller, require_member
from instantaudience_server.catalog.catalog import Role
from instantaudience_server.catalog.editor import not_found
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.errors import NOT_EMPTY, invalid
from instantaudience_server.memberships.forgetting import AGAIN_MS, IDS_AT_ONCE, Forgetting
from instantaudience_server.memberships.reading import identity, rules
from instantaudience_server.process.clock import MS_PER_MINUTE, Clock
from instantaudience_server.process.steps import in_steps
from instantaudience_server.store.interfaces.catalog import Kind
from instantaudience_server.store.interfaces.memberships import NEVER
from instantaudience_server.store.interfaces.suppressions import ALL_MEMBERS, SuppressionStore

RESOURCE = "privacy"
"""The resource that an exceeded quota names; every request counts as one read."""
IDENTIFIER_TYPES = {"uuid2": ("",), "maid": ("idfa", "aaid")}
"""The values of `identifier_type` in REST requests, and the domains that an identifier of each may belong to."""
REQUEST_TYPES = ("access", "delete", "lift")
"""The values of `request_type` in REST requests."""
FOR_EVER = 0
"""The `suppress_minutes` of a suppression that never ends."""
Request = pb.GetUserSegmentsRequest | pb.ForgetUserRequest | pb.LiftSuppressionRequest | rest_pb.ConsumerRequest


class Answer(NamedTuple):
    """The answer to a REST request: the segments that were found or removed, by ID, and what became of a `lift`."""

    segments: Sequence[pb.UserSegment]
    lifting: pb.LiftSuppressionResponse | None = None


class PrivacyService:
    """The operations on a user's data. Deadlines are times of the event loop's clock, in seconds.

    A request concerns the segments of one member: its `member_id`, else the caller's member. Without a `member_id`, a
    request of an admin concerns those of all members.

    `random_name` returns a new unique name each time. Every method raises AudienceError: RATE_LIMIT_EXCEEDED; SYNTAX,
    naming the field and the rule; UNAUTH, for another member without the role `admin`; NOT_FOUND, when there is no such
    member; UNAVAILABLE, after which the request may be partly carried out.
    """

    def __init__(
        self,
        feed: CatalogFeed,
        forgetting: Forgetting,
        suppressions: SuppressionStore,
        quotas: Quotas,
        clock: Clock,
        random_name: Callable[[], str],
    ) -> None:
        self._feed = feed
        self._catalog = feed.catalog
        self._forgetting = forgetting
        self._suppressions = suppressions
        self._quotas = quotas
        self._clock = clock
        self._random_name = random_name

    async def user_segments(
        self, request: pb.GetUserSegmentsRequest, caller: Caller, deadline: float
    ) -> list[pb.UserSegment]:
        """The segments that a user is in, by ID."""
        return await self._access([_key(request.user_id, request.domain)], request, caller, deadline)

    async def forget_user(self, request: pb.ForgetUserRequest, caller: Caller, deadline: float) -> list[pb.UserSegment]:
        """Remove a user from its segments, and suppress it if the request says so. Returns the segments it was in."""
        return await self._delete([_key(request.user_id, request.domain)], request, caller, deadline)

    async def lift_suppression(
        self, request: pb.LiftSuppressionRequest, caller: Caller, deadline: float
    ) -> pb.LiftSuppressionResponse:
        """End a user's suppression."""
        return await self._lift([_key(request.user_id, request.domain)], request, caller, deadline)

    async def answer_consumer(self, request: rest_pb.ConsumerRequest, caller: Caller, deadline: float) -> Answer:
        """Answer a REST request, whose `request_type` selects one of the other methods."""
        keys = _keys_of(request.identifier, request.identifier_type)
        if request.request_type != "delete" and request.HasField("suppress_minutes"):
            raise invalid("suppress_minutes", "goes with the request_type 'delete' alone")
        if request.request_type == "access":
            return Answer(await self._access(keys, request, caller, deadline))
        if request.request_type == "delete":
            return Answer(await self._delete(keys, request, caller, deadline))
        if request.request_type == "lift":
            return Answer([], await self._lift(keys, request, caller, deadline))
        *names, last = map(repr, REQUEST_TYPES)
        raise invalid("request_type", f"must be {', '.join(names)} or {last}")

    async def _access(
        self, keys: Sequence[bytes], request: Request, caller: Caller, deadline: float
    ) -> list[pb.UserSegment]:
        member_id = await self._scope(request, caller, deadline)
        return await self._described(await self._forgetting.segments(keys, member_id, deadline))

    async def _delete(
        self,
        keys: Sequence[bytes],
        request: pb.ForgetUserRequest | rest_pb.ConsumerRequest,
        caller: Caller,
        deadline: float,
    ) -> list[pb.UserSegment]:
        """Suppress users if asked to, then remove them. In this order, an add that was admitted before the suppression
        is removed here or, if it is written later, by a further removal (`AGAIN_MS`)."""
        minutes = request.suppress_minutes
        if minutes < 0:
            raise invalid("suppress_minutes", "must be 0 (for ever) or more")
        member_id = await self._scope(request, caller, deadline)
        if request.HasField("suppress_minutes"):
            now_ms = self._clock.now_ms()
            is_endless = minutes == FOR_EVER or minutes > rules.LONGEST_EXPIRATION_MINUTES
            end_ms = NEVER if is_endless else now_ms + minutes * MS_PER_MINUTE
            name = self._random_name()
            await self._suppressions.suppress(member_id, keys, now_ms, end_ms, AGAIN_MS, name, deadline)
        removed = await self._forgetting.remove(keys, member_id, deadline, caller.member.durability)
        return await self._described(removed)

    async def _lift(
        self, keys: Sequence[bytes], request: Request, caller: Caller, deadline: float
    ) -> pb.LiftSuppressionResponse:
        member_id = await self._scope(request, caller, deadline)
        lifted = await self._suppressions.lift(member_id, keys, self._clock.now_ms(), self._random_name(), deadline)
        found = await self._suppressions.find(member_id, keys, deadline)
        return pb.LiftSuppressionResponse(lifted=lifted, still_suppressed=bool(found.known_of_all()))

    async def _scope(self, request: Request, caller: Caller, deadline: float) -> int:
        """The ID of the member whose segments a request concerns, or `ALL_MEMBERS`; checks permission and quota."""
        is_of_all = not request.HasField("member_id") and caller.account.role is Role.ADMIN
        member_id = request.member_id if request.HasField("member_id") else caller.member.id
        if not is_of_all:
            require_member(caller, member_id)
        await self._quotas.ask_gets(caller.member, RESOURCE, 1, deadline)
        if is_of_all:
            return ALL_MEMBERS
        # Another worker may just have created the member, or segments of it that the user is in.
        await self._feed.catch_up(deadline)
        if member_id not in self._catalog.members:
            raise not_found(Kind.MEMBER, member_id, "member_id")
        return member_id

    async def _described(self, found: Iterable[Iterable[int]]) -> list[pb.UserSegment]:
        """Look segments up by ID: each once, ascending. One that the catalog does not have has its ID only. Other calls
        run in between."""
        segment_ids = sorted({each for ids in found for each in ids})
        described: list[pb.UserSegment] = []
        async for ids in in_steps(segment_ids, IDS_AT_ONCE):
            page = await self._catalog.page_of_segments(ids=ids, limit=len(ids))
            known = {segment.id: segment for segment in page.segments}
            described += [
                pb.UserSegment(id=each, name=known[each].short_name, member_id=known[each].member_id)
                if each in known
                else pb.UserSegment(id=each)
                for each in ids
            ]
        return described


def _key(user_id: str, domain: str, field: str = "user_id") -> bytes:
    """The key of a user; IDs without a domain are platform IDs, also for members with external IDs."""
    if not user_id:
        raise invalid(field, NOT_EMPTY)
    key, code = rules.identify(user_id, domain, None)
    if code == audience_pb2.WARNING_CODE_INVALID_DOMAIN:
        raise invalid("domain", f"must be empty or one of {', '.join(identity.DOMAINS)}")
    if key is None:
        raise invalid(field, "does not have the form that its kind asks for")
    return key


def _keys_of(identifier: str, identifier_type: str) -> list[bytes]:
    """The keys of all users that an identifier may belong to."""
    if identifier_type not in IDENTIFIER_TYPES:
        raise invalid("identifier_type", f"must be {' or '.join(map(repr, IDENTIFIER_TYPES))}")
    return [_key(identifier, domain, "identifier") for domain in IDENTIFIER_TYPES[identifier_type]]
