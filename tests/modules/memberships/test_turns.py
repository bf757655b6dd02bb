"""In which order the batches of a member begin to write, and what becomes of them where some cannot for long."""

import asyncio
import weakref
from dataclasses import replace
from typing import Any

import pytest
from instantaudience.v1 import catalog_pb2
from instantaudience_server.admission.quotas import Limits, Quotas
from instantaudience_server.catalog import records as catalog_records
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.memberships import applying, gathering
from instantaudience_server.memberships.posts import Result
from instantaudience_server.memberships.turns import MOST_MEMBERS, TOO_LATE, Turn, Turns
from instantaudience_server.store.interfaces.catalog import Kind, Record
from instantaudience_server.store.interfaces.quotas import Admissions
from support.parts.callers import caller, demo_catalog
from support.parts.quotas import Windows
from support.parts.readings import AllWritten, Reader, encoded, warnings_of
from support.waiting import eventually, seconds_from_now

SEGMENT, SLOW_USER = 12, 111


class SlowWrite(AllWritten):
    """A write that has not ended, and does not go on (`goes_on`: more of it is written whenever somebody asks)."""

    def __init__(self, keys: set[bytes]) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self.goes_on = False
        self.looks = 0
        self.keys = keys
        self._left = 1000

    @property
    def unanswered(self) -> int:
        """What is left of it."""
        self._left -= self.goes_on
        return self._left

    def unwritten(self) -> set[bytes]:
        """All of it, until it has ended."""
        self.looks += 1
        return set() if self.done.done() else self.keys


class SlowWindows(Windows):
    """Answers after a while."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def ask(self, *asked: Any) -> "asyncio.Future[Admissions]":
        """As at once."""
        found = super().ask(*asked).result()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Admissions] = loop.create_future()
        loop.call_later(self._seconds, answer.set_result, found)
        return answer


class Slow:
    """A service whose cluster does not end to write what a user is in, until it is told to."""

    def __init__(self, quotas: Quotas | None = None) -> None:
        self.reader = Reader(demo_catalog(), {}, quotas)
        self.catalog, self.service = self.reader.catalog, self.reader.service
        self.caller = caller("demo", self.catalog)
        self.store: Any = self.reader.store
        self.writes: list[SlowWrite] = []
        self.written: list[set[bytes]] = []
        self.store.write = self._write

    def _write(self, changes: Any, deadline: float, durability: Any = None) -> AllWritten:
        keys = {key for alike in changes for key in alike.keys}
        self.written.append(keys)
        if b"m:p:%d" % SLOW_USER not in keys:
            return AllWritten()
        self.writes.append(SlowWrite(keys))
        return self.writes[-1]

    def apply(self, *user_ids: int, seconds: float = 5.0, in_order: bool = True) -> "asyncio.Future[Result]":
        """Put users into the segment."""
        users = [{"user_id": str(user_id), "seg_block": [{"seg_id": SEGMENT}]} for user_id in user_ids]
        request = encoded({"rt_segment": users})
        return self.service.apply(request, self.caller, seconds_from_now(seconds), in_order=in_order)

    def deactivate_segment(self) -> None:
        """The segment may not be used any more."""
        segment = self.catalog.segment(SEGMENT)
        assert segment is not None
        inactive = catalog_pb2.Segment(
            id=SEGMENT, member_id=segment.member_id, state=catalog_pb2.SEGMENT_STATE_INACTIVE, short_name="x"
        )
        self.catalog.put([Record(Kind.SEGMENT, catalog_records.encode(inactive))])

    async def has_begun(self, writes: int) -> None:
        """Wait until so many writes have begun."""

        async def check() -> None:
            assert len(self.written) == writes

        await eventually(check)

    def end_writes(self) -> None:
        """The cluster has written all."""
        for write in self.writes:
            if not write.done.done():
                write.done.set_result(None)

    async def close(self) -> None:
        """End."""
        await self.service.close()
        await self.reader.quotas.close()


async def come(turn: Turn, *, seconds: float = 0.05) -> bool:
    """Whether it is this one's turn."""
    try:
        await turn.come(seconds_from_now(seconds))
    except AudienceError as error:
        return {TOO_LATE: False}[error.message]
    return True


async def test_turns_that_are_over_are_not_kept_for_ever() -> None:
    """Of however many members; those that are under way are."""
    turns, kept = Turns(), weakref.WeakSet[Any]()
    first = turns.join(0, in_order=True)
    for member in range(1, 3 * MOST_MEMBERS):
        turn = turns.join(member, in_order=True)
        kept.add(turn.over)
        turn.end()
    assert len(kept) <= MOST_MEMBERS
    second = turns.join(0, in_order=False)
    assert not await come(second, seconds=0)
    first.end()
    assert await come(second, seconds=5)


async def test_who_fails_or_lets_pass_lets_nobody_overtake_those_before(subtests: pytest.Subtests) -> None:
    for in_order in [False, True]:
        with subtests.test(in_order=in_order):
            turns = Turns()
            first, second, third = (turns.join(1, in_order=each) for each in (False, in_order, False))
            second.let_pass() if in_order else second.end()
            assert not await come(third)
            assert await come(turns.join(2, in_order=False))
            first.end()
            assert await come(third)


async def test_who_is_not_in_order_passes_all_that_let_it_pass() -> None:
    """Though those wait for each other still."""
    turns = Turns()
    first, second, third = (turns.join(1, in_order=each) for each in (True, True, False))
    first.let_pass()
    second.let_pass()
    assert await come(third)
    assert not await come(second)


async def test_in_order_nobody_overtakes_those_before_one_that_has_failed() -> None:
    turns = Turns()
    first, second, third = (turns.join(1, in_order=True) for _ in range(3))
    second.end()
    assert not await come(third)
    first.let_pass()
    assert not await come(third)
    first.end()
    assert await come(third)


async def test_what_is_written_apart_is_answered_though_the_catalog_has_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it names is not there any more, when it is read again."""
    monkeypatch.setattr(applying, "PATIENCE_SECONDS", 0.5)
    slow = Slow()
    try:
        first = slow.apply(SLOW_USER)
        await slow.has_begun(1)
        same, other = slow.apply(SLOW_USER), slow.apply(222)  # of one turn, so they are read as one
        await asyncio.sleep(0.01)
        slow.deactivate_segment()
        result = await other
        assert (result.users, len(warnings_of(result))) == (1, 1)
        slow.end_writes()
        assert (await first).warnings == b""
        assert len(warnings_of(await same)) == 1
    finally:
        await slow.close()


async def test_in_order_who_waits_for_an_earlier_write_waits_until_its_own_deadline() -> None:
    slow = Slow()
    try:
        first = slow.apply(SLOW_USER)
        await slow.has_begun(1)
        late = slow.apply(SLOW_USER, seconds=0.1)
        with pytest.raises(AudienceError, match=TOO_LATE):
            await late
        assert not first.done()
        later = slow.apply(SLOW_USER)
        await asyncio.sleep(0.1)
        assert len(slow.written) == 1
        slow.end_writes()
        await first
        await slow.has_begun(2)
        slow.end_writes()
        await later
    finally:
        await slow.close()


async def test_of_a_slow_write_users_are_looked_at_once_it_does_not_go_on() -> None:
    slow = Slow()
    try:
        stuck, other = slow.apply(SLOW_USER, in_order=False), slow.apply(222, in_order=False)
        await slow.has_begun(1)
        (write,) = slow.writes
        write.goes_on = True
        await asyncio.sleep(8 * gathering.SLOW_SECONDS)
        assert not write.looks
        write.goes_on = False
        write.keys = {b"m:p:%d" % SLOW_USER}
        await other
        await asyncio.sleep(8 * gathering.SLOW_SECONDS)
        assert write.looks == 1
        assert not stuck.done()
        slow.end_writes()
        await stuck
    finally:
        await slow.close()


async def test_what_is_over_before_the_quota_is_known_is_not_applied() -> None:
    """It was told that nothing was changed."""
    slow = Slow(Quotas(SlowWindows(0.3)))
    try:
        over, other = slow.apply(1, seconds=0.1, in_order=False), slow.apply(2, in_order=False)
        with pytest.raises(AudienceError, match="nothing was changed"):
            await over
        await other
        assert slow.written == [{b"m:p:2"}]
        assert sum(each.calls for each in slow.reader.counted.applied) == 1
    finally:
        await slow.close()


async def test_what_is_not_written_is_not_counted() -> None:
    slow = Slow()

    def refuse(*_: Any) -> AllWritten:
        raise AudienceError(Reason.UNAVAILABLE, "nothing was changed")

    slow.store.write = refuse
    try:
        with pytest.raises(AudienceError, match="nothing was changed"):
            await slow.apply(1)
        assert slow.reader.counted.applied == []
    finally:
        await slow.close()


async def test_users_past_those_of_a_call_count_for_no_limit() -> None:
    windows = Windows()
    slow = Slow(Quotas(windows))
    slow.caller = replace(slow.caller, member=replace(slow.caller.member, limits=Limits(users_per_call=2)))
    try:
        result, other = await asyncio.gather(slow.apply(1, 2, 3, 4, in_order=False), slow.apply(5, in_order=False))
        assert (result.users, other.users) == (2, 1)
        assert windows.questions == [[2, 1]]
    finally:
        await slow.close()


@pytest.mark.parametrize("in_order", [False, True])
async def test_only_what_is_in_order_waits_for_external_ids_of_others(in_order: bool) -> None:
    """They may be in any part of the cluster."""
    known = asyncio.Event()

    async def resolve(keys: list[bytes], deadline: float) -> list[str | None]:
        if keys[0].endswith(b":%d" % SLOW_USER):
            await known.wait()
        return ["1"] * len(keys)

    slow = Slow()
    slow.caller = caller("external", slow.catalog)
    slow.store.resolve_external_ids = resolve
    try:
        first, second = slow.apply(SLOW_USER, in_order=in_order), slow.apply(222, in_order=in_order)
        done, _ = await asyncio.wait([second], timeout=0.2)
        assert bool(done) is not in_order
        assert not first.done()
        known.set()
        await asyncio.gather(first, second)
    finally:
        await slow.close()
