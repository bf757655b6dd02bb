"""Apply memberships and read them back (source: contract, "POST /rt-segment" and "GET /rt-segment")."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.catalog import Catalog, Member
from instantaudience_server.clock import MS_PER_MINUTE, Clock
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.memberships import identity, rules
from instantaudience_server.memberships.known_blocks import KnownBlocks
from instantaudience_server.memberships.reading import Reading
from instantaudience_server.memberships.wire import ApplyRequest, decode_user
from instantaudience_server.quotas import POSTED, Admitted, Quotas
from instantaudience_server.segment_sizes import SegmentSizes
from instantaudience_server.store.interface import NEVER, Changes, MembershipStore
from instantaudience_server.usage.counting import Usage

PART = 1000
"""Memberships that are made ready for an answer before other calls get their turn."""
Membership = tuple[int, tuple[int, int]]
"""Segment ID, and its value and end."""
READ_AHEAD_BYTES = 32_768
"""A request up to this size is read while nobody knows yet whether its member may send it: a stream would wait for one
answer after the other, and reading it costs no more than asking."""


class Prepared(NamedTuple):
    """A request of a member that was read: what to answer, once it is `admitted`, and then applied.

    `reading` is what to write and to count of it; None of one that is only checked.
    """

    result: pb.ApplySegmentsResult
    member_id: int
    reading: Reading | None
    admitted: Admitted

    @property
    def changes(self) -> Changes:
        """What to write."""
        return () if self.reading is None else self.reading.changes


class MembershipService:
    """The commands on memberships. Deadlines are times of the event loop's clock, in seconds."""

    def __init__(
        self,
        catalog: Catalog,
        store: MembershipStore,
        quotas: Quotas,
        usage: Usage,
        sizes: SegmentSizes,
        clock: Clock,
    ) -> None:
        self._catalog = catalog
        self._known = KnownBlocks(catalog)
        self._store = store
        self._quotas = quotas
        self._usage = usage
        self._sizes = sizes
        self._clock = clock

    async def apply(self, request: ApplyRequest, caller: Caller, deadline: float) -> pb.ApplySegmentsResult:
        """Apply a request and answer when the cluster has taken every write, and counted the call.

        Raises:
            AudienceError: SYNTAX, RATE_LIMIT_EXCEEDED; UNAVAILABLE, the request may be partly applied then.
        """
        prepared = await self.prepare(request, caller, deadline)
        await self.write(prepared, deadline)
        return prepared.result

    async def prepare(self, request: ApplyRequest, caller: Caller, deadline: float) -> Prepared:
        """Check a request and fix the ends of its memberships, without changing anything.

        The question whether the member may send it is asked first. A small request is read while it is under way.

        Raises:
            AudienceError: SYNTAX; RATE_LIMIT_EXCEEDED; UNAVAILABLE, when external IDs cannot be resolved.
        """
        now_ms = self._clock.now_ms()
        users = list(request.rt_segment)  # the message itself would make each one anew whenever it is looked at
        counted = min(len(users), caller.member.limits.users_per_call)
        admitted = self._quotas.ask_posts(caller.member, counted, deadline)
        if request.ByteSize() > READ_AHEAD_BYTES:
            await admitted
        external = caller.member.external_member_id
        platform_keys = {} if external is None else await self._resolve_external(users, caller.member, deadline)
        reading = Reading(self._catalog, self._known, caller, now_ms, platform_keys)
        position = reading.read(users)
        while position < len(users):
            await asyncio.sleep(0)
            position = reading.read(users, position)
        invalid_users = None if reading.users else map(decode_user, users)
        result = pb.ApplySegmentsResult(status="OK", warnings=reading.warnings.of_answer(invalid_users))
        result.message.users_in_request = reading.users
        result.message.segments_in_request = reading.segments
        return Prepared(result, caller.member.id, None if request.validate_only else reading, admitted)

    async def write(self, prepared: Prepared, deadline: float) -> None:
        """Write what a prepared request changes, once it is admitted, and count it.

        Raises:
            AudienceError: RATE_LIMIT_EXCEEDED, nothing was changed; UNAVAILABLE (see `apply`).
        """
        await prepared.admitted
        reading = prepared.reading
        if reading is None:
            return
        counted = self._usage.count(prepared.member_id, reading.applied, deadline)
        await self._store.write(reading.changes, deadline)
        self._sizes.note(reading.changes)
        await counted

    async def get(
        self, users: Sequence[pb.GetMembershipsRequest], caller: Caller, deadline: float
    ) -> pb.GetMembershipsResult:
        """Read the live memberships of users, as far as the caller's member may see them.

        Raises:
            AudienceError: RATE_LIMIT_EXCEEDED; SYNTAX, when a user cannot be meant; UNAVAILABLE.
        """
        await self._quotas.ask_gets(caller.member, POSTED, len(users), deadline)
        now_ms = self._clock.now_ms()
        keys = [_checked_key(user, caller) for user in users]
        resolved = await self._platform_keys([key for key in keys if key.startswith(b"x:")], deadline)
        found = [resolved.get(key) if key.startswith(b"x:") else key for key in keys]
        read = iter(await self._store.read([key for key in found if key is not None], deadline))
        result = pb.GetMembershipsResult(status="OK")
        ready = 0
        for user, key in zip(users, found, strict=True):
            entry = result.rt_segment.add(user_id=user.user_id)
            if user.domain:
                entry.domain = user.domain
                entry.user_id = user.user_id.lower()
            if key is not None:
                for part in _parts(sorted(next(read).items())):
                    entry.seg_block.extend(self._visible(part, caller, now_ms))
                    ready += len(part)
                    if ready >= PART:
                        ready = 0
                        await asyncio.sleep(0)
        return result

    def _visible(self, part: Sequence[Membership], caller: Caller, now_ms: int) -> Iterable[pb.Membership]:
        for segment_id, (value, end) in part:
            segment = self._catalog.segment(segment_id)
            if segment is not None and segment.member_id in caller.member.segment_access:
                yield pb.Membership(
                    seg_id=segment_id,
                    seg_code=segment.code,
                    member_id=segment.member_id,
                    value=value,
                    expiration=minutes_left(end, now_ms),
                )

    async def _resolve_external(self, users: Sequence[bytes], member: Member, deadline: float) -> dict[bytes, bytes]:
        """Ask the store for all external IDs of a request at once."""
        most_users = member.limits.users_per_call
        decoded = map(decode_user, users[:most_users])
        checked = (
            rules.check_user(index, user, member.external_member_id, most_users) for index, user in enumerate(decoded)
        )
        return await self._platform_keys([key for key, _ in checked if key.startswith(b"x:")], deadline)

    async def _platform_keys(self, external_keys: Sequence[bytes], deadline: float) -> dict[bytes, bytes]:
        """The platform users' keys of external IDs, by external key; unmapped ones are left out."""
        unique = list(dict.fromkeys(external_keys))
        user_ids = await self._store.resolve_external_ids(unique, deadline)
        keys = {
            external: identity.platform_key(user_id)
            for external, user_id in zip(unique, user_ids, strict=True)
            if user_id is not None
        }
        return {external: key for external, key in keys.items() if key is not None}


def _parts(memberships: Sequence[Membership]) -> Iterator[Sequence[Membership]]:
    """So many that other calls need not wait long for their turn."""
    for start in range(0, len(memberships), PART):
        yield memberships[start : start + PART]


def minutes_left(end_ms: int, now_ms: int) -> int:
    """What is left of a membership in minutes, rounded up; 0 for one that never ends."""
    return 0 if end_ms == NEVER else max(1, -((now_ms - end_ms) // MS_PER_MINUTE))


def _checked_key(user: pb.GetMembershipsRequest, caller: Caller) -> bytes:
    if not user.user_id:
        raise AudienceError(Reason.SYNTAX, "'user_id' is required and cannot be empty", field="user_id")
    key, code = rules.identify(user.user_id, user.domain, caller.member.external_member_id)
    if key is None:
        is_domain = code == pb.WARNING_CODE_INVALID_DOMAIN
        text = f"Invalid domain: {user.domain}" if is_domain else f"Invalid user_id: {user.user_id}"
        raise AudienceError(Reason.SYNTAX, text, field="domain" if is_domain else "user_id")
    return key
