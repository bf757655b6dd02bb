"""Carries out batches of posts (source: contract, "POST /rt-segment").

Asks the member's quota, reads the posts, writes their changes, and counts them for the usage report. Each post of a
batch is admitted, answered or failed by itself.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import NamedTuple

from instantaudience_server.admission.quotas import Decision, Decisions, Quotas
from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.errors import unavailable
from instantaudience_server.memberships.batch_reading import BatchReading, Read, users_of
from instantaudience_server.memberships.external_ids import ExternalIds
from instantaudience_server.memberships.pacing import decided_in_time
from instantaudience_server.memberships.posts import Batch, Post, fail, succeed
from instantaudience_server.memberships.suppressing import Suppressing
from instantaudience_server.memberships.turns import TOO_LATE, Turn, Turns
from instantaudience_server.memberships.writes import Write, Writes
from instantaudience_server.observation import tracing
from instantaudience_server.process.clock import Clock
from instantaudience_server.segment_sizes import SegmentSizes
from instantaudience_server.store.interfaces.memberships import NOT_CONFIRMED, Alike, Changes, MembershipStore, Writing
from instantaudience_server.suppressions import Suppressions
from instantaudience_server.usage.counting import Counted, Usage

PATIENCE_SECONDS = 0.05
"""How long posts that were read as one wait for earlier writes to their users, before each is written by itself."""
READ_AHEAD_BYTES = 32_768
"""Posts up to this size are read while their quota is still being asked, which saves that time. To read one in vain
costs no more than to ask."""


class _UnderWay(NamedTuple):
    """Posts whose changes are being written and counted."""

    read: Read
    writing: Writing
    counted: Counted


class _Slow:
    """A write of posts that were read as one, watched in case a part of it takes long.

    If a node stands still, the posts whose users are on other nodes need not wait for it. So once nothing more has been
    written between two looks, those whose users are all written get their results. While there is progress, all posts
    are about to end, and checking every user would only slow that down.
    """

    def __init__(self, writing: Writing, settle: Callable[[], bool]) -> None:
        self._writing = writing
        self._settle = settle
        self._unanswered = -1
        self._settled = False

    def look(self) -> None:
        """Settle the posts that are done, if there was no progress since the last look."""
        unanswered = self._writing.unanswered
        if unanswered != self._unanswered:
            self._unanswered, self._settled = unanswered, False
        elif not self._settled:
            self._settled = self._settle()


class Applying:
    """Carries out batches of posts. Batches in order are written after all earlier changes of the same users."""

    def __init__(
        self,
        catalog: Catalog,
        store: MembershipStore,
        external_ids: ExternalIds,
        quotas: Quotas,
        usage: Usage,
        sizes: SegmentSizes,
        clock: Clock,
        suppressions: Suppressions | None,
    ) -> None:
        self._reading = BatchReading(catalog, external_ids, store)
        self._store = store
        self._quotas = quotas
        self._usage = usage
        self._sizes = sizes
        self._clock = clock
        self._suppressing = Suppressing(suppressions, self._reading) if suppressions is not None else None
        self._turns = Turns()
        self._writes = Writes()

    async def carry_out(self, batch: Batch, caller: Caller, in_order: bool) -> None:
        """Apply posts. Each gets its result once the cluster has taken all its writes and it is counted.

        Posts in order that exceed the quota of this second ask again in the next ones; others fail.

        Raises:
            AudienceError: UNAVAILABLE, for the whole batch. Failures of single posts are told to their owners instead.
        """
        member = caller.member
        most = member.limits.users_per_call
        counts = [post.user_count if post.user_count <= most else most for post in batch.posts]
        decisions = self._quotas.ask_posts(member, counts, batch.deadline)
        # Looking up external IDs may wait for any node of the cluster; only batches in order have to wait behind it.
        waits = in_order or member.external_member_id is None
        turn = self._turns.join(member.id, in_order=in_order) if waits else Turn([])
        try:
            with tracing.step("read"):
                reads = await self._read(batch, counts, decisions, caller, turn if in_order else None)
            unknown: Sequence[Read] = ()
            if self._suppressing is not None and self._suppressing.may_concern(caller):
                reads, unknown = await self._suppressing.look(reads, batch, caller)
            reads = await self._reading.packed(reads)
            await turn.come(batch.deadline)
            under_way: list[Awaitable[None]] = [
                self._begin_in_order(read, batch, caller) if in_order else self._begin_next(read, batch, caller)
                for read in reads
            ]
            under_way += [
                self._begin_in_order(read, batch, caller, not_passed=True, is_known=False) for read in unknown
            ]
        finally:
            turn.end()
        if len(under_way) == 1:
            await under_way[0]
        else:
            await asyncio.gather(*under_way)

    async def _read(
        self, batch: Batch, counts: Sequence[int], decisions: Decisions, caller: Caller, in_order: Turn | None
    ) -> Sequence[Read]:
        """Read the posts that the quota admits. `in_order` is the turn of a batch in order, which may wait for room."""
        now_ms = self._clock.now_ms()
        posts = batch.posts
        ahead = not decisions.done() and max([post.size_bytes for post in posts]) <= READ_AHEAD_BYTES
        reads: Sequence[Read] = await self._reading.read(posts, batch, caller, now_ms) if ahead else ()
        if in_order is None:
            decided = await decisions
        else:
            decided = await decided_in_time(self._quotas, caller.member, batch, counts, decisions, in_order)
        admitted = _admitted(posts, decided)
        batch.overdue_text = NOT_CONFIRMED
        if ahead and not any(post.ended for post in posts):
            return reads
        return await self._reading.read(admitted, batch, caller, now_ms)

    def _begin_next(self, read: Read, batch: Batch, caller: Caller) -> Awaitable[None]:
        """Write at once, unless that would overtake a write that must not be overtaken."""
        if self._writes.before(read.keys, in_order=False):
            return self._begin_in_order(read, batch, caller, not_passed=True)
        return self._finish(self._begin(read, batch, caller))

    def _begin_in_order(
        self, read: Read, batch: Batch, caller: Caller, *, not_passed: bool = False, is_known: bool = True
    ) -> Write:
        """Write after earlier writes to the same users have ended: until then, the cluster may redirect them or the
        connection may be lost, and they would be sent again after this one.

        `not_passed`: no later write to these users may overtake this one. `is_known`: it is known which of the users
        are suppressed.
        """
        earlier = self._writes.before(read.keys, in_order=True)
        write = self._write_after if is_known else self._write_when_known
        task = asyncio.create_task(write(earlier, read, batch, caller))
        self._writes.add(task, read.keys, not_passed=not_passed)
        return task

    async def _write_when_known(self, earlier: Sequence[Write], read: Read, batch: Batch, caller: Caller) -> None:
        """Find out which users of a post are suppressed, then write it after earlier writes."""
        assert self._suppressing is not None
        try:
            known = await self._suppressing.look_alone(read, batch, caller)
        except Exception as error:
            fail(read.posts, error)
            return
        for each in known:
            await self._write_after(earlier, each, batch, caller)

    async def _write_after(self, earlier: Sequence[Write], read: Read, batch: Batch, caller: Caller) -> None:
        time = asyncio.get_running_loop().time
        while earlier:
            await asyncio.wait(earlier, timeout=PATIENCE_SECONDS)
            earlier = self._writes.busy_with(read.keys, earlier)
            if earlier and time() >= batch.deadline:
                fail(read.posts, unavailable(TOO_LATE))
                return
            if len(read.posts) > 1 and (earlier or any(post.ended for post in read.posts)):
                await self._write_apart(earlier, read, batch, caller)
                return
        await self._finish(self._begin(read, batch, caller))

    async def _write_apart(self, earlier: Sequence[Write], read: Read, batch: Batch, caller: Caller) -> None:
        """Write posts that were read as one separately, so that only those wait whose users have earlier writes.

        This task stays responsible for each user until that user is written, so later writes to it wait.
        """
        task = asyncio.current_task()
        assert task is not None
        # The catalog may have changed, so a post that was regular may have warnings now. None has suppressed users.
        apart = await self._reading.read_each(read.posts, batch, caller, read.applied.now_ms, frozenset())
        left = Counter(key for each in apart for key in each.keys)
        self._writes.leave(task, left.keys())

        async def write(each: Read) -> None:
            await self._write_after(self._writes.busy_with(each.keys, earlier), each, batch, caller)
            left.subtract(each.keys)
            for key in each.keys:
                if not left[key]:
                    del left[key]

        await asyncio.gather(*map(write, apart))

    def _begin(self, read: Read, batch: Batch, caller: Caller) -> _UnderWay | None:
        """Begin to write and count the changes of posts; None where there is nothing to wait for.

        Posts that have all ended are not written: their caller may have changed the same users since.
        """
        applied, _, posts, results, packed = read
        if all(post.ended for post in posts):
            return None
        if posts[0].validate_only:
            succeed(posts, results)
            return None
        try:
            writing = self._store.write(packed or applied.changes, batch.deadline, caller.member.durability)
            counted = self._usage.count(caller.member.id, applied, batch.deadline)
        except Exception as error:
            fail(posts, error)
            return None
        if len(posts) > 1:
            batch.look = _Slow(writing, partial(self._settle, read, writing, counted, asyncio.current_task())).look
        return _UnderWay(read, writing, counted)

    async def _finish(self, under_way: _UnderWay | None) -> None:
        """Wait until everything is written and counted, and give the posts their results."""
        if under_way is None:
            return
        (applied, _, posts, results, _), writing, counted = under_way
        try:
            try:
                await writing.done
            except asyncio.CancelledError:
                self._sizes.note(_without(applied.changes, writing.unwritten()))
                raise
            failures = writing.failures()
            self._sizes.note(_without(applied.changes, failures) if failures else applied.changes)
            await counted
        except Exception as error:
            fail(posts, error)
            return
        if not failures:
            succeed(posts, results)
            return
        for post, result in zip(posts, results, strict=True):
            failed = _users_among(post, failures, alone=len(posts) == 1)
            if failed is None:
                succeed((post,), (result,))
            else:
                fail((post,), failures[failed])

    def _settle(self, read: Read, writing: Writing, counted: Counted, task: Write | None) -> bool:
        """Give results to the posts whose users are all written, and let later writes to these users go on.

        Returns False if the posts are not counted yet, so that none could get a result.
        """
        unwritten = frozenset(writing.unwritten())
        self._writes.leave(task, unwritten)
        if not counted.done():
            return False
        if not counted.cancelled() and counted.exception() is None:
            for post, result in zip(read.posts, read.results, strict=True):
                if _users_among(post, unwritten, alone=False) is None:
                    succeed((post,), (result,))
        return True


def _admitted(posts: Sequence[Post], decisions: Sequence[Decision]) -> Sequence[Post]:
    """The posts that were admitted; fails the others."""
    if not any(decisions):
        return posts
    for post, error in zip(posts, decisions, strict=True):
        if error is not None:
            fail((post,), error)
    return [post for post, error in zip(posts, decisions, strict=True) if error is None]


def _users_among(post: Post, keys: Collection[bytes], *, alone: bool) -> bytes | None:
    """One of the keys that belongs to a user of this post, or None. `alone`: the post was written alone, so all do."""
    if alone:
        return next(iter(keys))
    return next((key for key in users_of(post) if key in keys), None)


def _without(changes: Changes, failures: Collection[bytes]) -> Changes:
    """The changes, without the users that failed."""
    return [Alike([key for key in keys if key not in failures], each) for keys, each in changes]
