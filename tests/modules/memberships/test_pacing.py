"""Requests of streams over their member's limits wait for the next window, in their order (docs/adr/0011-quotas.md)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience_server.admission.quotas import Limits, Quotas
from instantaudience_server.catalog.access import Caller
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.memberships.pacing import Pacing
from instantaudience_server.memberships.posts import AwaitedPost
from instantaudience_server.store.interfaces.quotas import Admissions, Counts, Quota
from support.parts.callers import caller
from support.parts.quotas import Windows
from support.parts.readings import CATALOG, Reader, encoded
from support.waiting import seconds_from_now, turns

WINDOW_SECONDS = 0.02
LONG = 60.0


class QuickWindows(Windows):
    """Windows that are shorter than a second."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(lambda: loop.time() / WINDOW_SECONDS)
        self.asked = asyncio.Event()
        """Anything was."""

    def ask(
        self, member_id: int, quota: Quota, calls: Sequence[int], limits: Counts, deadline: float
    ) -> "asyncio.Future[Admissions]":
        """As by seconds."""
        self.asked.set()
        answer = super().ask(member_id, quota, calls, limits, deadline).result()
        shorter: asyncio.Future[Admissions] = asyncio.get_running_loop().create_future()
        shorter.set_result(answer._replace(left_seconds=answer.left_seconds * WINDOW_SECONDS))
        return shorter


def limited(**limits: int) -> Caller:
    """A caller whose member has these limits."""
    of = caller("demo", CATALOG)
    return replace(of, member=replace(of.member, limits=Limits(**limits)))


def request(value: int, users: int = 1) -> Any:
    """A request that gives some users, the first ones of all, a value."""
    blocks = [{"seg_id": 10001, "value": value}]
    return encoded({"rt_segment": [{"user_id": str(number + 1), "seg_block": blocks} for number in range(users)]})


@asynccontextmanager
async def paced(windows: Windows) -> AsyncIterator[Reader]:
    """A service with these windows."""
    reader = Reader(CATALOG, {}, Quotas(windows))
    try:
        yield reader
    finally:
        await reader.service.close()
        await reader.quotas.close()


async def sent(reader: Reader, calling: Caller, requests: Sequence[Any], seconds: float = LONG) -> list[Any]:
    """What becomes of the requests of a stream, which come three in a turn."""
    results: list[asyncio.Future[Any]] = []
    for index, each in enumerate(requests):
        results.append(reader.service.apply(each, calling, seconds_from_now(seconds), in_order=True))
        if index % 3 == 0:
            await asyncio.sleep(0)
    return await asyncio.gather(*results, return_exceptions=True)


def values_written(reader: Reader) -> list[int]:
    """The values that the first user was given, in their order."""
    return [
        value
        for changes in reader.store.changes
        for keys, change in changes
        if b"m:p:1" in keys
        for values in change.values()
        for value in values.values()
    ]


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=12), posts=st.integers(1, 4), users=st.integers(3, 6))
async def test_no_request_overtakes_another_and_no_window_admits_too_many(
    sizes: list[int], posts: int, users: int
) -> None:
    """Those that no window has room for are refused, in their place."""
    windows = QuickWindows()
    async with paced(windows) as reader:
        calling = limited(posts_per_second=posts, users_per_second=users)
        results = await sent(reader, calling, [request(value, size) for value, size in enumerate(sizes)])
        values = values_written(reader)
    for size, result in zip(sizes, results, strict=True):
        if size > users:
            assert isinstance(result, AudienceError)
            assert result.reason is Reason.RATE_LIMIT_EXCEEDED
        else:
            assert result.users == size
    assert values == sorted(values)
    last = max((value for value, size in enumerate(sizes) if size <= users), default=None)
    assert (values[-1] if values else None) == last
    for admitted in windows.admitted.values():
        assert len(admitted) <= posts
        assert sum(admitted) <= users


async def test_what_cannot_wait_is_refused() -> None:
    """The next window begins after its deadline."""
    async with paced(Windows(lambda: 0.0)) as reader:
        results = await sent(reader, limited(posts_per_second=1), [request(1), request(2)], 0.5)
    assert results[0].users == 1
    assert results[1].reason is Reason.RATE_LIMIT_EXCEEDED


async def test_who_leaves_while_it_waits_is_not_asked_for_again() -> None:
    """It would take what those behind it may send."""
    windows = QuickWindows()
    async with paced(windows) as reader:
        calling = limited(posts_per_second=1)
        first, left, last = (
            reader.service.apply(request(value), calling, seconds_from_now(LONG), in_order=True) for value in (1, 2, 3)
        )
        await windows.asked.wait()
        left.cancel()
        await asyncio.gather(first, last)
        assert values_written(reader) == [1, 3]
    assert sum(map(len, windows.admitted.values())) == 2


async def test_other_calls_are_refused_at_once_and_not_held_up() -> None:
    windows = Windows(lambda: 0.0)
    async with paced(windows) as reader:
        calling = limited(posts_per_second=2, users_per_second=3)
        first = reader.service.apply(request(1, 2), calling, seconds_from_now(LONG), in_order=True)
        await first
        waiting = reader.service.apply(request(2, 2), calling, seconds_from_now(LONG), in_order=True)
        await asyncio.sleep(0.05)
        assert (await reader.service.apply(request(3), calling, seconds_from_now(LONG))).users == 1
        with pytest.raises(AudienceError, match="Rate limit exceeded"):
            await reader.service.apply(request(4), calling, seconds_from_now(LONG))
        assert not waiting.done()
        waiting.cancel()


async def test_streams_are_read_on_while_a_seconds_worth_is_under_way() -> None:
    pacing, calling = Pacing(), limited(posts_per_second=2, users_per_second=10)

    def post(users: int) -> AwaitedPost:
        return AwaitedPost(request(0, users), LONG, asyncio.get_running_loop().create_future())

    few, another, many = post(1), post(1), post(10)
    pacing.begin(calling.member.id, (few,))
    assert pacing.has_room(calling)
    pacing.begin(calling.member.id, (another,))
    assert not pacing.has_room(calling), "two calls are a second's worth"
    pacing.begin(calling.member.id, (many,))
    streams = [asyncio.create_task(pacing.room(calling)) for _ in range(2)]
    await turns()
    streams.pop().cancel()
    pacing.end(calling.member.id, [few, another])
    await turns()
    assert not streams[0].done(), "ten users are a second's worth"
    pacing.end(calling.member.id, [many])
    await streams[0]
    assert pacing.has_room(calling)
    assert not pacing._under_way, "of a member that sends nothing any more, nothing is kept"
