"""How fast the sampled lines are written down."""

import asyncio

import pytest
from instantaudience_server.applied import Applied, Totals
from instantaudience_server.store.interfaces.memberships import Alike
from instantaudience_server.store.interfaces.usage import MOST_LINE_BYTES, MOST_LINES, Lines
from instantaudience_server.usage import samples
from instantaudience_server.usage.lines import LONGEST_LINE
from instantaudience_server.usage.samples import LinePace, Samples
from support.parts.readings import CATALOG

KEYS = [b"m:p:%d" % user_id for user_id in range(10**15, 10**15 + 100)]
CALL = Applied(0, [Alike(KEYS, {86_400_000: (10001,)})], (), (), Totals(100, 100, 0))
"""With three lines, of some 4,000 characters."""
SMALL = [Alike(KEYS[:1], {86_400_000: (10001,)})]
NOTHING = Applied(0, (), (), (), Totals(0, 0, 0))
"""Without any."""


def characters(hour: Samples) -> int:
    """What is written down of a call that comes now."""
    hour.add(CALL)
    lines = hour.take()
    return sum(map(len, lines.segments)) + sum(map(len, lines.errors))


async def test_what_is_held_back_follows_when_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "CHARACTERS_AT_ONCE", 1000)
    pace, resumed = LinePace(), asyncio.Event()
    hour = Samples(CATALOG, pace, resumed.set)
    assert characters(hour) > 3000
    hour.add(NOTHING)
    assert hour.take() == Lines()
    assert (bool(hour), pace.held_back) == (False, 0)
    assert [characters(hour) for _ in range(3)] == [0] * 3
    assert (bool(hour), pace.held_back) == (True, 1)
    await asyncio.wait_for(resumed.wait(), 5)
    assert pace.held_back == 0
    assert len(hour.take().segments) == 9
    assert not hour
    resumed.clear()
    assert characters(hour) == 0
    await asyncio.wait_for(resumed.wait(), 5)  # though nothing more comes


async def test_a_long_pause_makes_room_for_one_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "CHARACTERS_AT_ONCE", 1000)
    hour = Samples(CATALOG, LinePace(), lambda: None)
    hour._room_at -= 3600
    assert characters(hour) > 3000
    assert characters(hour) == 0
    hour.hurry()


async def test_no_more_calls_are_kept_than_there_is_room_for(subtests: pytest.Subtests) -> None:
    for changes, totals, count in [
        (SMALL, Totals(1, 1, 0), MOST_LINES // 3 + 1),
        (CALL.changes, CALL.totals, MOST_LINE_BYTES // (3 * LONGEST_LINE)),
    ]:
        with subtests.test(changes=changes, totals=totals, count=count):
            hour = Samples(CATALOG, LinePace(), lambda: None)
            calls = [Applied(number, changes, (), (), totals) for number in range(2 * MOST_LINES)]
            for first in range(2):
                for call in calls[first:]:
                    hour.add(call)
                assert hour._segments.take() == calls[-count:]


async def test_hours_that_are_held_back_share_what_a_worker_writes_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "CHARACTERS_AT_ONCE", 1000)
    pace = LinePace()
    hours = [Samples(CATALOG, pace, lambda: None) for _ in range(50)]
    assert pace.characters_per_second == samples.CHARACTERS_PER_SECOND
    for hour in hours:
        characters(hour)
        assert characters(hour) == 0
    assert pace.characters_per_second == samples.CHARACTERS_PER_SECOND_OF_ALL / 50
    for hour in hours:
        hour.hurry()
        assert characters(hour) > 3000
    assert pace.held_back == 0
