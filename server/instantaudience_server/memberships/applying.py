"""Carries out batches of posts: may they, what do they hold, write it, count it (source: contract, "POST /rt-segment").

Each post keeps what is its own: its decision, its answer, its failure.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import NamedTuple

from instantaudience_server import tracing
from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.clock import Clock
from instantaudience_server.errors import unavailable
from instantaudience_server.memberships.batch_reading import BatchReading, Read, users_of
from instantaudience_server.memberships.external_ids import ExternalIds
from instantaudience_server.memberships.pacing import decided_in_time
from instantaudience_server.memberships.posts import Batch, Post, fail, succeed
from instantaudience_server.memberships.suppressing import Suppressing
from instantaudience_server.memberships.turns import TOO_LATE, Turn, Turns
from instantaudience_server.memberships.writes import Write, Writes
from instantaudience_server.quotas import Decision, Decisions, Quotas
from instantaudience_server.segment_sizes import SegmentSizes
from instantaudience_server.store.interfaces.memberships import NOT_CONFIRMED, Alike, Changes, MembershipStore, Writing
from instantaudience_server.suppressions import Suppressions
from instantaudience_server.usage.counting import Counted, Usage

PATIENCE_SECONDS = 0.05
"""How long posts that were read as one wait for earlier writes to the users of some of them."""
READ_AHEAD_BYTES = 32_768
"""A request up to this size is read while nobody knows yet whether its member may send it: it would wait for the answer
otherwise, and reading it costs no more than asking."""


class _UnderWay(NamedTuple):
    """What was read, while it is written and counted."""

    read: Read
    writing: Writing
    counted: Counted


class _Slow:
    """A write of posts that were read as one, which takes long.

    Those whose users are written get their results once nothing more is written from one look to the next: a node may
    stand still. While there is progress, all of them are about to end, and to look at every user would slow it down.
    """

    def __init__(self, writing: Writing, settle: Callable[[], bool]) -> None:
        self._writing = writing
        self._settle = settle
        self._unanswered = -1
        self._settled = False

    def look(self) -> None:
        """See what is written."""
        unanswered = self._writing.unanswered
        if unanswered != self._unanswered:
            self._unanswered, self._settled = unanswered, False
        elif not self._settled:
            self._settled = self._settle()


class Applying:
    """Carries out batches. What is to be in order is written after what came before to the same users."""

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
        """Apply posts; each one gets its result when the cluster has taken all its writes, and counted it.

        The question whether the member may send them is asked first. Small requests are read while it is under way.
        Those that are to be in order, and are too many for this second, are asked for again in the next ones.

        Raises:
            AudienceError: UNAVAILABLE, for all of them; the other ways to fail are each post's own.
        """
        member = caller.member
        most = member.limits.users_per_call
        counts = [post.user_count if post.user_count <= most else most for post in batch.posts]
        decisions = self._quotas.ask_posts(member, counts, batch.deadline)
        # Looking external IDs up may wait for any part of the cluster: only what is to be in order waits behind that.
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
        """Read the posts that may be applied, those `in_order` when they may be."""
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
        """Write at once, unless that would overtake what must not be."""
        if self._writes.before(read.keys, in_order=False):
            return self._begin_in_order(read, batch, caller, not_passed=True)
        return self._finish(self._begin(read, batch, caller))

    def _begin_in_order(
        self, read: Read, batch: Batch, caller: Caller, *, not_passed: bool = False, is_known: bool = True
    ) -> Write:
        """Write after earlier writes to the same users: one that is sent again, after a redirection or a lost
        connection, could be overtaken."""
        earlier = self._writes.before(read.keys, in_order=True)
        write = self._write_after if is_known else self._write_when_known
        task = asyncio.create_task(write(earlier, read, batch, caller))
        self._writes.add(task, read.keys, not_passed=not_passed)
        return task

    async def _write_when_known(self, earlier: Sequence[Write], read: Read, batch: Batch, caller: Caller) -> None:
        """Write a post when it is known who of its users is suppressed, and after earlier writes."""
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
        """Write posts that were read as one each by itself, so that only those wait that have to.

        Each user is this task's until it is written: what came later to the same user waits for that.
        """
        task = asyncio.current_task()
        assert task is not None
        # The catalog may have changed: what was regular need not be so any more. None of them is suppressed.
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
        """Begin to write what posts change, and to count it; None where there is nothing to wait for. What has ended
        while it waited is not begun: its caller may have changed the same users since."""
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
        """Wait until all is written and counted, and give the posts their results."""
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
        """Give those posts their results whose users are written; others may wait for another part of the cluster.
        False where they are not counted yet."""
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
    """The posts that may be applied; the others fail."""
    if not any(decisions):
        return posts
    for post, error in zip(posts, decisions, strict=True):
        if error is not None:
            fail((post,), error)
    return [post for post, error in zip(posts, decisions, strict=True) if error is None]


def _users_among(post: Post, keys: Collection[bytes], *, alone: bool) -> bytes | None:
    """One of the keys that is a user's of this post. Where a post is not `alone`, its users are on the platform."""
    if alone:
        return next(iter(keys))
    return next((key for key in users_of(post) if key in keys), None)


def _without(changes: Changes, failures: Collection[bytes]) -> Changes:
    """The changes that were made."""
    return [Alike([key for key in keys if key not in failures], each) for keys, each in changes]
