"""Answers usage reports, and how much of its limits a member uses (source: usage.proto; contract, "GET
/rt-segment-processed")."""

import asyncio

from instantaudience.v1 import usage_pb2 as pb

from instantaudience_server.admission.quotas import Admitted, Quotas
from instantaudience_server.catalog.access import Caller, member_of
from instantaudience_server.catalog.catalog import Member, Role
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.errors import AudienceError, Reason, invalid
from instantaudience_server.process.clock import Clock
from instantaudience_server.store.interfaces.quotas import Quota, QuotaStore
from instantaudience_server.store.interfaces.usage import KEPT_HOURS
from instantaudience_server.usage import forms
from instantaudience_server.usage.forms import COUNTS, GZIP, JSON, TYPED, EncodedAnswer, Form, Piece
from instantaudience_server.usage.hours import UsageHours
from instantaudience_server.usage.pace import Pace
from instantaudience_server.usage.spans import DEFAULT_HOURS, Span, cover, read_moment, read_timestamp

REPORT = "rt-segment-processed"
OVERVIEW = "overview"
"""The resources that the error text of an exceeded quota names (source: contract, "Limits")."""
MOST_BYTES = 60 * 2**20
"""The largest report: the gateway accepts answers up to 64 MB."""
MOST_TYPED_BYTES = 4_000_000
"""The largest report with lines as messages: the default limit of gRPC clients is 4 MB, and the gateway's thread is
blocked while it converts one to JSON, for 20 ms for each MB."""
_OR = {TYPED: ", or without lines", JSON: ", or accept gzip"}
SMALL_BYTES = 256 * 1024
BYTES_PER_SECOND, BURST_BYTES = 16 * 2**20, 64 * 2**20
"""How fast a worker sends a member's reports, and how much in a burst; reports up to `SMALL_BYTES` do not count.
Reports must not slow down writes, and a thousand reports with two weeks of lines would be 14 GB."""


class UsageService:
    """The reports. Deadlines are times of the event loop's clock, in seconds.

    Callers with the role `admin` may ask about every member, others about their own. Every method raises AudienceError:
    RATE_LIMIT_EXCEEDED; SYNTAX, naming the field and the rule; UNAUTH, for another member; NOT_FOUND, when there is no
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
            AudienceError: LIMIT, when the report would be too large; others as described for the class.
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
        """The same report as an encoded GetUsageResponse.

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
        """The caller, and how much of a member's limits is used in the present second."""
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
        """Read hours while the quota is being asked, as each takes a round trip; raises if the request is refused."""
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
