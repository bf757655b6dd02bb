"""So many streams may send faster than they are read, and members share that."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from instantaudience_server.errors import AudienceError, overloaded
from instantaudience_server.transport.calls.backlogs import LOOK_SECONDS, Backlogs
from support.clocks import run_on_told_time, told_loop
from support.waiting import turns

MOST = 4
LONG = 10


class Streams:
    """Those that were begun; how they ended is what their tasks tell."""

    def __init__(self) -> None:
        self.backlogs = Backlogs(MOST, lambda: overloaded("crowded"))
        self.tasks: list[asyncio.Task[None]] = []

    def begin(self, member_id: int, *, waits: bool = False) -> "asyncio.Task[None]":
        """One that is behind, or that `waits` for its caller all the time."""

        async def read() -> None:
            backlog = self.backlogs.begin(member_id)
            try:
                async with backlog.reading():
                    if waits:
                        backlog.wait()
                    await asyncio.Event().wait()
            finally:
                self.backlogs.forget(backlog)

        self.tasks.append(asyncio.create_task(read()))
        return self.tasks[-1]

    def begin_several(self, member_id: int, count: int, *, waits: bool = False) -> "list[asyncio.Task[None]]":
        return [self.begin(member_id, waits=waits) for _ in range(count)]

    @property
    def ended(self) -> "list[asyncio.Task[None]]":
        """In the order in which they began."""
        return [task for task in self.tasks if task.done()]


def on_told_time(test: Callable[[Streams], Awaitable[None]]) -> Callable[[], None]:
    """A test with streams of its own, for whom no time passes but between looks."""

    async def with_streams() -> None:
        streams = Streams()
        try:
            await test(streams)
        finally:
            for task in streams.tasks:
                task.cancel()
            await asyncio.gather(*streams.tasks, return_exceptions=True)

    return lambda: run_on_told_time(with_streams())


async def looks(count: int = LONG) -> None:
    """Those that were begun are read, and then it is looked so often."""
    await turns()
    for _ in range(count):
        told_loop().now += LOOK_SECONDS
        await turns()


@on_told_time
async def test_the_newest_of_the_member_with_most_end(streams: Streams) -> None:
    few, many = streams.begin_several(1, 2), streams.begin_several(2, 5)
    few.append(streams.begin(1, waits=True))
    await looks(1)
    assert streams.ended == many[2:]
    for task in streams.ended:
        with pytest.raises(AudienceError, match="crowded"):
            task.result()
    await looks()
    assert len(streams.ended) == 3, "there is room for four"


@on_told_time
async def test_those_that_wait_for_their_callers_do_not_count(streams: Streams) -> None:
    streams.begin_several(1, 50, waits=True)
    streams.begin_several(1, MOST)
    await looks()
    assert streams.ended == []


@on_told_time
async def test_who_has_most_begins_no_other_and_others_do(streams: Streams) -> None:
    streams.begin_several(1, MOST)
    await looks()
    refused, other = streams.begin(1), streams.begin(2)
    await turns()
    with pytest.raises(AudienceError, match="crowded"):
        refused.result()
    await looks(1)
    assert streams.ended == [streams.tasks[MOST - 1], refused], "the other's takes the place of the newest"
    for task in streams.tasks[:2]:
        task.cancel()
    await looks(1)
    again = streams.begin(1)
    await looks()
    assert len(streams.ended) == 4
    assert not other.done()
    assert not again.done()


@on_told_time
async def test_one_that_was_read_whole_is_left_and_others_are_looked_at_as_before(streams: Streams) -> None:
    streams.begin_several(1, MOST)
    await turns()
    whole = streams.backlogs.begin(1)
    async with whole.reading():
        pass
    await looks()
    assert streams.ended == []
    streams.begin(2)
    await looks(1)
    assert len(streams.ended) == 1
    streams.backlogs.forget(whole)


@on_told_time
async def test_one_that_ends_counts_until_it_has_gone(streams: Streams) -> None:
    """So who begins another one for each that ends has no more of them."""
    streams.begin_several(1, MOST - 1)
    last = streams.backlogs.begin(1)

    async def read() -> None:
        async with last.reading():
            last.end()
            await asyncio.Event().wait()

    with pytest.raises(AudienceError, match="crowded"):
        await read()
    await looks()
    with pytest.raises(AudienceError, match="crowded"):
        streams.backlogs.begin(1)
    streams.backlogs.forget(last)
    await looks()
    streams.backlogs.forget(streams.backlogs.begin(1))


@on_told_time
async def test_who_has_caught_up_makes_room(streams: Streams) -> None:
    streams.begin_several(1, MOST - 1)
    reading = streams.backlogs.begin(1)
    await looks()
    with pytest.raises(AudienceError, match="crowded"):
        streams.backlogs.begin(1)
    for _ in range(LONG):
        reading.wait()
        await looks(1)
        reading.come()
    reading.wait()
    await looks(2)
    streams.begin(1)
    await looks(2)
    assert streams.ended == []
    streams.backlogs.forget(reading)


@on_told_time
async def test_what_ends_a_stream_otherwise_is_told_as_it_is(streams: Streams) -> None:
    backlog = streams.backlogs.begin(1)

    async def read() -> None:
        async with backlog.reading():
            raise TimeoutError

    with pytest.raises(TimeoutError):
        await read()
    streams.backlogs.forget(backlog)
