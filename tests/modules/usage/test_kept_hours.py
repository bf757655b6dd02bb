"""What a member's shelf keeps of finished hours, for how long, and how much it says that is."""

from collections.abc import Sequence

from instantaudience_server.process.clock import MS_PER_HOUR
from instantaudience_server.store.interfaces.usage import Tally
from instantaudience_server.usage.forms import JSON, Piece
from instantaudience_server.usage.kept_hours import (
    KEPT_SECONDS,
    LARGEST_RUN_BYTES,
    PIECE_BYTES,
    SHELF_BYTES,
    SHORTEST_RUN,
    Shelf,
)
from support.clocks import FakeClock, run_on_told_time, told_loop

SIZE = 1000
HOURS = range(100, 100 + SHORTEST_RUN)


def empty_shelf() -> Shelf:
    """One for whom all hours of these tests are finished."""
    return Shelf(JSON, FakeClock(1000 * MS_PER_HOUR), lambda size: None)


def keep(shelf: Shelf, hours: Sequence[int], size: int = SIZE) -> None:
    for hour in hours:
        shelf.keep(hour, Piece(hour, Tally(), b"x" * size))


def joined_hours() -> Shelf:
    """Some hours, joined."""
    shelf = empty_shelf()
    keep(shelf, HOURS)
    shelf.keep_run(HOURS)
    return shelf


async def test_an_hour_that_is_read_again_is_kept_once() -> None:
    shelf = empty_shelf()
    keep(shelf, [1, 1, 2])
    assert shelf.size == SHELF_BYTES + 2 * (PIECE_BYTES + SIZE)
    shelf.drop(1)
    shelf.drop(2)
    assert shelf.size == SHELF_BYTES


def test_joined_hours_are_kept_no_longer_than_each_of_them() -> None:
    async def run() -> None:
        loop, shelf = told_loop(), joined_hours()
        while len(shelf.kept(HOURS)) == SHORTEST_RUN:
            assert shelf.run(HOURS).hours == SHORTEST_RUN
            assert loop.now < KEPT_SECONDS
            loop.now += 1
        assert shelf.run(HOURS).hours == 0

    run_on_told_time(run())


def test_joined_hours_go_when_nobody_asks_for_them() -> None:
    async def run() -> None:
        loop, shelf = told_loop(), joined_hours()
        loop.now = KEPT_SECONDS
        shelf.tidy()
        assert shelf.size == SHELF_BYTES

    run_on_told_time(run())


async def test_large_hours_are_not_joined_though_most_are_small() -> None:
    for more in (0, 1):
        shelf = empty_shelf()
        keep(shelf, range(HOURS[0]), 0)
        keep(shelf, HOURS, LARGEST_RUN_BYTES // SHORTEST_RUN + more)
        shelf.keep_run(HOURS)
        assert shelf.run(HOURS).hours == (0 if more else SHORTEST_RUN)
