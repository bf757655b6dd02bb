"""Reports of what members sent, and how they stand with their limits (source: usage.proto; contract, "GET
/rt-segment-processed")."""

import asyncio

from instantaudience.v1 import usage_pb2 as pb

from instantaudience_server.catalog.access import Caller, member_of
from instantaudience_server.catalog.catalog import Member, Role
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.clock import Clock
from instantaudience_server.errors import AudienceError, Reason, invalid
from instantaudience_server.quotas import Admitted, Quotas
from instantaudience_server.store.interfaces.quotas import Quota, QuotaStore
from instantaudience_server.store.interfaces.usage import KEPT_HOURS
from instantaudience_server.usage import forms
from instantaudience_server.usage.forms import COUNTS, GZIP, JSON, TYPED, EncodedAnswer, Form, Piece
from instantaudience_server.usage.hours import UsageHours
from instantaudience_server.usage.pace import Pace
from instantaudience_server.usage.spans import DEFAULT_HOURS, Span, cover, read_moment, read_timestamp

REPORT = "rt-segment-processed"
OVERVIEW = "overview"
"""What reads are counted for, as the contract's text names it."""
MOST_BYTES = 60 * 2**20
"""How large a report may be: the gateway takes answers of 64 MB."""
MOST_TYPED_BYTES = 4_000_000
"""The same for a report with lines in messages. gRPC clients take 4 MB by default, and while the gateway makes JSON of
it, 20 ms for each MB, nothing else runs there."""
_OR = {TYPED: ", or without lines", JSON: ", or accept gzip"}
SMALL_BYTES = 256 * 1024
BYTES_PER_SECOND, BURST_BYTES = 16 * 2**20, 64 * 2**20
"""What a worker sends of a member's reports in a second, and at once, those that are small left out: reports must not
slow the writes, and a thousand reports with two weeks of lines would be 14 GB."""


class UsageService:
    """The reports. Deadlines are times of the event loop's clock, in seconds.

    Callers with the role `admin` may ask for every member, others for their own. Every method raises AudienceError:
    RATE_LIMIT_EXCEEDED; SYNTAX, with the field and the rule; UNAUTH, for another member; NOT_FOUND, when there is no
    such member; UNAVAILABLE.
    """

    def __init__(
        self,
        feed: CatalogFeed,
        hours: UsageHours,
        quotas: Quotas,
        quota_store: QuotaStore,
        clock: Clock,
    ) -> None:
        self._feed = feed
        self._hours = hours
        self._quotas = quotas
        self._quota_store = quota_store
        self._clock = clock
        self._pace = Pace(BYTES_PER_SECOND, BURST_BYTES)

    async def get_processed(self, request: pb.GetProcessedRequest, caller: Caller, deadline: float) -> EncodedAnswer:
        """The contract's report, as google.api.HttpBody.

        Raises:
            AudienceError: LIMIT, when the report would be too large; others as above.
        """
        admitted = self._quotas.ask_gets(caller.member, REPORT, 1, deadline)
        start, end = read_moment(request.start, "start"), read_moment(request.end, "end")
        span = cover(start, end, self._clock.now_ms())
        member = await member_of(request, self._feed, caller, deadline)
        form = COUNTS if request.agg else GZIP if request.gzip else JSON
        pieces = await self._read(member, span, form, admitted, deadline)
        if form is COUNTS:
            return forms.sum_report(member.id, span.last, pieces)
        return forms.gzip_report(pieces) if form is GZIP else forms.hours_report(pieces)

    async def get_usage(self, request: pb.GetUsageRequest, caller: Caller, deadline: float) -> EncodedAnswer:
        """The same as GetUsageResponse.

        Raises:
            AudienceError: as `get_processed`.
        """
        admitted = self._quotas.ask_gets(caller.member, REPORT, 1, deadline)
        span = _span(request, self._clock.now_ms())
        member = await member_of(request, self._feed, caller, deadline)
        pieces = await self._read(member, span, COUNTS if request.without_lines else TYPED, admitted, deadline)
        return forms.usage_answer(member.id, span.last, pieces)

    async def get_overview(
        self, request: pb.GetOverviewRequest, caller: Caller, deadline: float
    ) -> pb.GetOverviewResponse:
        """Who calls, and what of a member's limits is used in the second under way."""
        await self._quotas.ask_gets(caller.member, OVERVIEW, 1, deadline)
        member = await member_of(request, self._feed, caller, deadline)
        posts, gets = await asyncio.gather(
            *[self._quota_store.used(member.id, quota, deadline) for quota in (Quota.POSTS, Quota.GETS)]
        )
        limits = member.limits
        return pb.GetOverviewResponse(
            username=caller.account.username,
            is_admin=caller.account.role is Role.ADMIN,
            member_id=member.id,
            member_name=member.name,
            posts=pb.QuotaUse(used=posts.calls, limit=limits.posts_per_second),
            users=pb.QuotaUse(used=posts.units, limit=limits.users_per_second),
            gets=pb.QuotaUse(used=gets.units, limit=limits.gets_per_second),
        )

    async def _read(self, member: Member, span: Span, form: Form, admitted: Admitted, deadline: float) -> list[Piece]:
        """The hours, once the request is admitted; they are read meanwhile, because each takes a round trip."""
        if self._hours.kept_bytes(member.id, span.hours, form) > SMALL_BYTES:
            try:
                self._pace.check(member.id, deadline)
            except AudienceError:
                await admitted
                raise
        pieces = await self._hours.read(member.id, span.hours, form, deadline)
        await admitted
        size = sum([len(piece.encoded) for piece in pieces])
        most = MOST_TYPED_BYTES if form is TYPED else MOST_BYTES
        if size > most:
            text = f"The report would have {size} bytes, more than {most}: ask for fewer hours{_OR.get(form, '')}"
            raise AudienceError(Reason.LIMIT, text, field="start")
        if size > SMALL_BYTES:
            await self._pace.admit(member.id, size, deadline)
        return pieces


def _span(request: pb.GetUsageRequest, now_ms: int) -> Span:
    start, end = (
        read_timestamp(getattr(request, field), field) if request.HasField(field) else None
        for field in ("start", "end")
    )
    if not request.HasField("hours"):
        return cover(start, end, now_ms, DEFAULT_HOURS)
    if start is not None:
        raise invalid("hours", "and 'start' cannot be used together")
    if not 1 <= request.hours <= KEPT_HOURS:
        raise invalid("hours", f"must be 1 to {KEPT_HOURS}")
    return cover(None, end, now_ms, request.hours)
