"""The catalog in a worker's memory, for lookups (source: contract, "What the system makes of a valid block").

A catalog is built from records and updated with their changes; the cost of a change does not depend on the catalog's
size. Segments, of which there may be millions, are in an SQLite table; those in use are also cached decoded.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any, NamedTuple, Unpack

from instantaudience.v1 import catalog_pb2 as pb

from instantaudience_server.admission.quotas import Limits
from instantaudience_server.catalog.batch_settings import DEFAULTS, BatchSettings, settings_of
from instantaudience_server.catalog.records import decode_segment
from instantaudience_server.catalog.segment_table import (
    ALL_IDS,
    BY_ID,
    ROWS_AT_ONCE,
    Condition,
    Filters,
    IdRange,
    Order,
    SegmentTable,
)
from instantaudience_server.settings import Durability
from instantaudience_server.store.interfaces.catalog import Kind, Record

MOST_HOT_SEGMENTS = 50_000
"""The most segments that are cached decoded."""
FEW_SEGMENTS = 2000
"""The most segments that are searched in one step, which takes about 2 ms."""
MERGED_AT_ONCE = 1000
"""How many segments before the page a search skips before other calls run: about 2 ms."""


class Role(StrEnum):
    """The role of an account: what it may do beyond the affairs of its own member."""

    MEMBER = "member"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Member:
    """A company that uses the service.

    `segment_access` are the IDs of the members whose segments it may use, its own included. `external_member_id` is the
    member whose external IDs it sends as user IDs; None: it sends the platform's own. Memberships last at most
    `longest_expiration_minutes`; 0: no limit. `durability` is what an acknowledgement of its calls means; None: the
    service's setting.
    """

    id: int
    name: str
    default_expiration_minutes: int
    segment_access: frozenset[int]
    external_member_id: int | None
    limits: Limits
    batch: BatchSettings = DEFAULTS
    longest_expiration_minutes: int = 0
    durability: Durability | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """A user who may sign in for a member. Tokens of an earlier `token_generation` are revoked.

    A caller with a client certificate for one of `certificate_names` needs no token.
    """

    id: int
    username: str
    member_id: int
    active: bool
    role: Role
    token_generation: int
    certificate_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """A set of users that a member owns; `code` is None where it has none.

    `expire_minutes` is how long memberships last whose block has no expiration (0: for ever); None: the member's
    default applies.
    """

    id: int
    member_id: int
    code: str | None
    active: bool
    expire_minutes: int | None = None


class SegmentPage(NamedTuple):
    """A page of segments in order, and the total number of matching ones. `ids` also has those on the page that changed
    during the search and no longer match, so that one can tell whether the page was full."""

    segments: list[pb.Segment]
    total: int
    ids: list[int]


class Catalog:
    """All members, accounts and segments, initially those in `records` and in an indexed table.

    `version` changes with every change.
    """

    def __init__(self, records: Iterable[Record] = (), segments: SegmentTable | None = None) -> None:
        self.version = 0
        self.members: dict[int, Member] = {}
        self.accounts: dict[int, Account] = {}
        self._by_certificate: dict[str, set[int]] = {}
        self._hot: dict[int, Segment] = {}
        self._hot_by_code: dict[tuple[int, str], Segment] = {}
        if segments is None:
            segments = SegmentTable()
            segments.index()
        self._segments = segments
        self.put(records)

    def put(self, records: Iterable[Record]) -> None:
        """Add objects, or replace those with the same IDs."""
        segments = []
        for record in records:
            if record.kind is Kind.SEGMENT:
                segments.append(record.data)
            elif record.kind is Kind.USER:
                self._put_account(_account(pb.User.FromString(record.data)))
            else:
                member = _member(pb.Member.FromString(record.data))
                self.members[member.id] = member
        if segments:
            self._cool(self._segments.put(segments))
        self.version += 1

    def remove(self, kind: Kind, object_id: int) -> None:
        """Remove an object; one that does not exist is no error."""
        if kind is Kind.SEGMENT:
            self._segments.remove([object_id])
            self._cool([object_id])
        elif kind is Kind.USER:
            self._forget_certificates(object_id)
            self.accounts.pop(object_id, None)
        else:
            self.members.pop(object_id, None)
        self.version += 1

    def replace(self, other: "Catalog") -> None:
        """Take over the contents of another catalog, atomically; the other one must not be used any more."""
        version = self.version
        self.__dict__.update(other.__dict__)
        self.version = version + 1

    def owners_of_certificate(self, name: str) -> Set[int]:
        """The IDs of the accounts that have this name in client certificates."""
        return self._by_certificate.get(name, frozenset())

    def account_by_certificate(self, name: str) -> Account | None:
        """The account that has this name in client certificates; None where none or several have it."""
        ids = self.owners_of_certificate(name)
        return self.accounts[next(iter(ids))] if len(ids) == 1 else None

    def _put_account(self, account: Account) -> None:
        self._forget_certificates(account.id)
        self.accounts[account.id] = account
        for name in account.certificate_names:
            self._by_certificate.setdefault(name, set()).add(account.id)

    def _forget_certificates(self, account_id: int) -> None:
        known = self.accounts.get(account_id)
        for name in () if known is None else known.certificate_names:
            ids = self._by_certificate[name]
            ids.discard(account_id)
            if not ids:
                del self._by_certificate[name]

    def segment(self, segment_id: int) -> Segment | None:
        """The segment with this ID."""
        return self._hot.get(segment_id) or self._read(segment_id)

    def unknown(self, segment_ids: Iterable[int]) -> Set[int]:
        """The IDs that no segment has. For many IDs, this is several times cheaper than a lookup of each."""
        cold = set(segment_ids) - self._hot.keys()
        return cold - self._segments.ids_among(list(cold))

    def segment_by_code(self, member_id: int, code: str) -> Segment | None:
        """A member's segment with this code; case matters."""
        segment = self._hot_by_code.get((member_id, code))
        if segment is None:
            segment_id = self._segments.id_by_code(member_id, code)
            segment = None if segment_id is None else self.segment(segment_id)
            if segment is not None:
                self._hot_by_code[member_id, code] = segment
        return segment

    async def page_of_segments(
        self,
        *,
        order: Order = BY_ID,
        after_id: int = 0,
        skip: int = 0,
        limit: int,
        **filters: Unpack[Filters],
    ) -> SegmentPage:
        """The first `limit` segments, in the given order, that match all filters, without the first `skip` and those up
        to the ID `after_id`.

        During a long search, other calls run, and changes meanwhile may be missed.
        """
        matching = Condition(**filters)
        given = {name for name, value in filters.items() if value not in (None, "")}
        is_narrow = not given.isdisjoint(("ids", "code"))
        takes_all = is_narrow or (given <= {"member_id"} and order.field == "id")
        if not takes_all and self.count_segments(filters.get("member_id")) > FEW_SEGMENTS:
            return await self._search(filters, order, after_id, skip, limit)
        whole = (after_id, ALL_IDS[1])
        between: IdRange | None = whole
        if order.field == "id":
            between, skip = await self._skipped(matching, order, whole, skip), 0
        found = [] if between is None else self._segments.find(matching, order, between=between, skip=skip, limit=limit)
        is_counted = given <= {"member_id"}
        total = self.count_segments(filters.get("member_id")) if is_counted else self._segments.count(matching)
        segments = _decoded(found)
        return SegmentPage(segments, total, [segment.id for segment in segments])

    async def _skipped(self, matching: Condition, order: Order, between: IdRange, skip: int) -> IdRange | None:
        """The range without its first `skip` segments in the order of IDs; None where no more match. Other calls run in
        between."""
        while skip:
            count = min(skip, ROWS_AT_ONCE)
            last = self._segments.id_at(count - 1, matching, order, between)
            if last is None:
                return None
            between = (between[0], last) if order.descending else (last, between[1])
            skip -= count
            await asyncio.sleep(0)
        return between

    def count_segments(self, member_id: int | None = None) -> int:
        """How many segments a member has, or all members together."""
        counts = self._segments.counts
        return counts.total() if member_id is None else counts[member_id]

    async def _search(self, filters: Filters, order: Order, after_id: int, skip: int, limit: int) -> SegmentPage:
        """Scan the whole table in the order of its rows, which is far quicker than any other.

        Matches are sorted in runs, which are then merged: sorting all at once would delay other calls.
        """
        segments, matching = self._segments, Condition(**filters)
        total, runs, row = 0, list[list[tuple[Any, int]]](), 1
        while row <= segments.last_row():
            found = segments.scan(matching, order, row)
            total += len(found)
            run = sorted((each for each in found if each[1] > after_id), reverse=order.descending)
            runs.append(run[: skip + limit])
            row += ROWS_AT_ONCE
            await asyncio.sleep(0)
        merged = heapq.merge(*runs, reverse=order.descending)
        for start in range(0, min(skip, total), MERGED_AT_ONCE):
            deque(islice(merged, min(MERGED_AT_ONCE, skip - start)), maxlen=0)
            await asyncio.sleep(0)
        # A segment that changed meanwhile may have been found twice, and may no longer match.
        ids = list(islice(_unique(segment_id for _, segment_id in merged), limit))
        del merged
        freed = 0
        while runs:  # to free a million matches at once takes 0.1 s
            freed += len(runs.pop())
            if freed >= ROWS_AT_ONCE:
                freed = 0
                await asyncio.sleep(0)
        on_page = filters.copy()
        on_page["ids"] = ids
        return SegmentPage(_decoded(segments.find(Condition(**on_page), order, limit=limit)), total, ids)

    def _read(self, segment_id: int) -> Segment | None:
        record = self._segments.record(segment_id)
        if record is None:
            return None
        if len(self._hot) >= MOST_HOT_SEGMENTS:
            self._hot.clear()
            self._hot_by_code.clear()
        segment = self._hot[segment_id] = _segment(pb.Segment.FromString(record))
        return segment

    def _cool(self, segment_ids: Iterable[int]) -> None:
        """Drop segments that have changed from the caches."""
        for segment_id in segment_ids:
            segment = self._hot.pop(segment_id, None)
            if segment is not None and segment.code is not None:
                self._hot_by_code.pop((segment.member_id, segment.code), None)


def _unique(ids: Iterable[int]) -> Iterator[int]:
    seen: set[int] = set()
    for each in ids:
        if each not in seen:
            seen.add(each)
            yield each


def _decoded(records: Iterable[bytes]) -> list[pb.Segment]:
    return [decode_segment(record) for record in records]


def _segment(message: pb.Segment) -> Segment:
    active = message.state != pb.SEGMENT_STATE_INACTIVE
    expire_minutes = message.expire_minutes if message.HasField("expire_minutes") else None
    return Segment(message.id, message.member_id, message.code or None, active, expire_minutes)


def _account(message: pb.User) -> Account:
    role = Role.ADMIN if message.role == pb.ROLE_ADMIN else Role.MEMBER
    return Account(
        message.id,
        message.username,
        message.member_id,
        not message.deactivated,
        role,
        message.token_generation,
        tuple(message.certificate_names),
    )


_DURABILITIES = {
    pb.DURABILITY_PRIMARY: Durability.PRIMARY,
    pb.DURABILITY_REPLICA: Durability.REPLICA,
    pb.DURABILITY_DISK: Durability.DISK,
}


def _member(message: pb.Member) -> Member:
    external: int | None = None
    if message.use_external_uids:
        external = message.external_member_uid if message.HasField("external_member_uid") else message.id
    return Member(
        message.id,
        message.name,
        message.default_expiration,
        frozenset((message.id, *message.segment_access)),
        external,
        Limits(**{field.name: value for field, value in message.limits.ListFields()}),
        settings_of(message.batch) if message.HasField("batch") else DEFAULTS,
        message.longest_expiration_minutes,
        _DURABILITIES.get(message.durability),
    )
