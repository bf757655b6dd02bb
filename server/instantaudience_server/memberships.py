"""Apply memberships and read them back (source: contract, "POST /rt-segment" and "GET /rt-segment")."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server import identity, rules
from instantaudience_server.access import Caller, find_segment
from instantaudience_server.catalog import Catalog, Segment
from instantaudience_server.clock import Clock
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.skipped import skip_block, skip_request, skip_user
from instantaudience_server.store.interface import NEVER, REMOVE, Changes, Memberships, MembershipStore

MS_PER_MINUTE = 60_000
WARNINGS_PER_TURN = 500
"""Warnings that a call may make before other calls get their turn of the event loop."""


class ApplyRequest(Protocol):
    """ApplySegmentsRequest, StreamSegmentsRequest: the same fields."""

    @property
    def rt_segment(self) -> Sequence[pb.RtSegment]: ...
    @property
    def validate_only(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that was read: what to answer, once `changes` are written."""

    result: pb.ApplySegmentsResult
    changes: Changes


class MembershipService:
    """The commands on memberships. Deadlines are times of the event loop's clock, in seconds."""

    def __init__(self, catalog: Catalog, store: MembershipStore, clock: Clock) -> None:
        self._catalog = catalog
        self._store = store
        self._clock = clock

    async def apply(self, request: ApplyRequest, caller: Caller, deadline: float) -> pb.ApplySegmentsResult:
        """Apply a request and answer when the cluster has taken every write.

        Raises:
            AudienceError: UNAVAILABLE; the request may be partly applied then.
        """
        prepared = await self.prepare(request, caller, deadline)
        await self._store.write(prepared.changes, deadline)
        return prepared.result

    async def prepare(self, request: ApplyRequest, caller: Caller, deadline: float) -> Prepared:
        """Check a request and fix the ends of its memberships, without changing anything.

        Raises:
            AudienceError: UNAVAILABLE, when external IDs cannot be resolved.
        """
        now_ms = self._clock.now_ms()
        platform_keys = await self._resolve_external(request.rt_segment, caller, deadline)
        reading = _Reading(self._catalog, caller, now_ms, platform_keys)
        for index, user in enumerate(request.rt_segment):
            if len(reading.warnings) >= reading.yield_at:
                reading.yield_at = len(reading.warnings) + WARNINGS_PER_TURN
                await asyncio.sleep(0)
            reading.read_user(index, user)
        if not reading.users:
            skip_request(reading.warnings, request.rt_segment)
        result = pb.ApplySegmentsResult(
            status="OK",
            message=pb.RequestCounts(users_in_request=reading.users, segments_in_request=reading.blocks),
            warnings=reading.warnings,
        )
        return Prepared(result, {} if request.validate_only else reading.changes)

    async def write(self, prepared: Prepared, deadline: float) -> None:
        """Write what a prepared request changes (see `apply`)."""
        await self._store.write(prepared.changes, deadline)

    async def get(
        self, users: Sequence[pb.GetMembershipsRequest], caller: Caller, deadline: float
    ) -> pb.GetMembershipsResult:
        """Read the live memberships of users, as far as the caller's member may see them.

        Raises:
            AudienceError: SYNTAX, when a user cannot be meant; UNAVAILABLE.
        """
        now_ms = self._clock.now_ms()
        keys = [_checked_key(user, caller) for user in users]
        resolved = await self._platform_keys([key for key in keys if key.startswith(b"x:")], deadline)
        found = [resolved.get(key) if key.startswith(b"x:") else key for key in keys]
        read = iter(await self._store.read([key for key in found if key is not None], deadline))
        result = pb.GetMembershipsResult(status="OK")
        for user, key in zip(users, found, strict=True):
            entry = result.rt_segment.add(user_id=user.user_id)
            if user.domain:
                entry.domain = user.domain
                entry.user_id = user.user_id.lower()
            if key is not None:
                entry.seg_block.extend(self._visible(next(read), caller, now_ms))
        return result

    def _visible(self, memberships: Memberships, caller: Caller, now_ms: int) -> Iterable[pb.Membership]:
        for segment_id, (value, end) in sorted(memberships.items()):
            segment = self._catalog.segments.get(segment_id)
            if segment is not None and segment.member_id in caller.member.segment_access:
                yield pb.Membership(
                    seg_id=segment_id,
                    seg_code=segment.code,
                    member_id=segment.member_id,
                    value=value,
                    expiration=minutes_left(end, now_ms),
                )

    async def _resolve_external(
        self, users: Sequence[pb.RtSegment], caller: Caller, deadline: float
    ) -> dict[bytes, bytes]:
        """Ask the store for all external IDs of a request at once."""
        if not caller.member.use_external_uids:
            return {}
        member_id = caller.member.id
        checked = (rules.check_user(index, user, member_id) for index, user in enumerate(users[: rules.MOST_USERS]))
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


class _Reading:
    """One request while it is read: counts, warnings and changes so far."""

    def __init__(self, catalog: Catalog, caller: Caller, now_ms: int, platform_keys: dict[bytes, bytes]) -> None:
        self._catalog = catalog
        self._member = caller.member
        self._external_member_id = caller.member.id if caller.member.use_external_uids else None
        self._now_ms = now_ms
        self._platform_keys = platform_keys
        self.users = 0
        self.blocks = 0
        self.warnings: list[pb.Warning] = []
        self.changes: dict[bytes, dict[int, tuple[int, int]]] = {}
        self.yield_at = WARNINGS_PER_TURN

    def read_user(self, index: int, user: pb.RtSegment) -> None:
        """Check a user and its blocks, and note what changes."""
        key, code = rules.check_user(index, user, self._external_member_id)
        if code:
            skip_user(self.warnings, code, index, user)
            return
        known: bytes | None = key
        if self._external_member_id is not None and not user.domain:
            known = self._platform_keys.get(key)
        valid = self._read_blocks(index, user, known)
        blocks = user.seg_block
        if len(blocks) > rules.MOST_BLOCKS:
            skip_user(self.warnings, pb.WARNING_CODE_TOO_MANY_SEGMENTS, index, user, blocks[rules.MOST_BLOCKS :])
        if not valid:
            skip_user(self.warnings, pb.WARNING_CODE_NO_VALID_SEGMENTS, index, user)
            return
        self.users += 1
        self.blocks += valid
        if known is None:
            skip_user(self.warnings, pb.WARNING_CODE_UNKNOWN_USER_ID, index, user)

    def _read_blocks(self, user_index: int, user: pb.RtSegment, key: bytes | None) -> int:
        """Check a user's blocks; returns how many are valid. Without a key, the catalog is not asked."""
        valid = 0
        blocks = user.seg_block
        changes: dict[int, tuple[int, int]] = {} if key is None else self.changes.get(key, {})
        for index, block in enumerate(blocks if len(blocks) <= rules.MOST_BLOCKS else blocks[: rules.MOST_BLOCKS]):
            code = rules.check_block(block)
            if code:
                skip_block(self.warnings, code, user_index, index, block)
                continue
            valid += 1
            if key is None:
                continue
            segment = find_segment(self._catalog, self._member, block)
            if isinstance(segment, Segment):
                changes[segment.id] = (block.value, self._end(block))
            else:
                skip_block(self.warnings, segment, user_index, index, block)
        if key is not None and changes:
            self.changes[key] = changes
        return valid

    def _end(self, block: pb.SegBlock) -> int:
        if block.HasField("expiration"):
            return end_of(block.expiration, self._now_ms)
        return end_of(self._member.default_expiration_minutes, self._now_ms)


def end_of(expiration_minutes: int, now_ms: int) -> int:
    """The end of a membership that is written at `now_ms` (Unix time in ms): a Unix time in ms, NEVER or REMOVE."""
    if 0 < expiration_minutes <= rules.LONGEST_EXPIRATION_MINUTES:
        return now_ms + expiration_minutes * MS_PER_MINUTE
    return REMOVE if expiration_minutes == rules.LEAVE else NEVER


def minutes_left(end_ms: int, now_ms: int) -> int:
    """What is left of a membership in minutes, rounded up; 0 for one that never ends."""
    return 0 if end_ms == NEVER else max(1, -((now_ms - end_ms) // MS_PER_MINUTE))


def _checked_key(user: pb.GetMembershipsRequest, caller: Caller) -> bytes:
    if not user.user_id:
        raise AudienceError(Reason.SYNTAX, "'user_id' is required and cannot be empty", field="user_id")
    member = caller.member
    key, code = rules.identify(user.user_id, user.domain, member.id if member.use_external_uids else None)
    if key is None:
        is_domain = code == pb.WARNING_CODE_INVALID_DOMAIN
        text = f"Invalid domain: {user.domain}" if is_domain else f"Invalid user_id: {user.user_id}"
        raise AudienceError(Reason.SYNTAX, text, field="domain" if is_domain else "user_id")
    return key
