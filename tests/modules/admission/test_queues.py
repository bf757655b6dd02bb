"""Whose turn is next, by what members' calls have cost (docs/adr/0031-turns-by-cost.md)."""

import pytest
from instantaudience_server.admission import prices
from instantaudience_server.admission.queues import Queues, Ticket

COST = 4


def ticket(member: int, parts: int = COST) -> Ticket:
    return Ticket(member, 0.0, 60.0, parts)


def queues_of(*members: int) -> Queues:
    """Calls of these members wait that cost the same, and came in this order."""
    queues = Queues()
    for member in members:
        queues.add(ticket(member))
    return queues


def turns(queues: Queues, most: int = 1000) -> list[int]:
    """Whose the next turns are, each of one call."""
    taken = []
    while len(queues) and len(taken) < most:
        (one,) = queues.take_next(1)
        taken.append(one.member_id)
    return taken


def test_members_take_turns() -> None:
    assert turns(queues_of(1, 1, 1, 2, 1, 3, 2)) == [1, 2, 3, 1, 2, 1, 1]


def test_turns_are_given_by_what_calls_cost() -> None:
    queues = queues_of(2, 2, 2, 2, 2)
    for _ in range(2):
        queues.add(ticket(1, 3 * COST))
    assert turns(queues) == [2, 1, 2, 2, 1, 2, 2]


def test_what_began_at_once_counts() -> None:
    queues = queues_of(1, 1, 2, 2, 2, 2)
    assert turns(queues, 1) == [1]
    queues.charge(1, 2 * COST)
    assert turns(queues) == [2, 2, 2, 1, 2]


def test_who_comes_back_is_next() -> None:
    """Else it would wait for a turn of each of the others, who are served in step."""
    queues = queues_of(1, 2, 3, 1, 2, 3)
    assert turns(queues, 4) == [1, 2, 3, 1]
    queues.add(ticket(4))
    assert turns(queues) == [4, 2, 3]


@pytest.fixture
def _short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call each."""
    monkeypatch.setattr(prices, "TURN_PLACES", 1)
    monkeypatch.setattr(prices, "PARTS", COST)


@pytest.mark.usefixtures("_short_turns")
def test_who_has_just_had_a_turn_does_not_come_back() -> None:
    """However short the time is in which it has no call waiting."""
    queues = queues_of(*[1] * 3, *[2] * 4, *[3] * 4)
    assert turns(queues, 7) == [1, 2, 3, 1, 2, 3, 1]
    assert not queues.is_behind(1)
    assert queues.is_behind(4)
    queues.add(ticket(1))
    assert turns(queues) == [2, 3, 1, 2, 3]


@pytest.mark.usefixtures("_short_turns")
def test_who_comes_later_makes_up_for_two_turns() -> None:
    """And for no more of the time before."""
    queues = queues_of(*[2] * 8)
    assert turns(queues, 4) == [2, 2, 2, 2]
    for _ in range(5):
        queues.add(ticket(3))
    assert turns(queues) == [3, 3, 3, 2, 3, 2, 3, 2, 2]


@pytest.mark.usefixtures("_short_turns")
def test_who_was_served_is_forgotten_when_it_makes_no_difference() -> None:
    queues = queues_of(1, *[2] * 12)
    queues.charge(1, 5 * COST)
    assert turns(queues, 6) == [2, 2, 2, 2, 2, 1]
    queues.take_late(0.0)
    assert not queues.is_behind(1)
    assert turns(queues, 4) == [2, 2, 2, 2]
    queues.take_late(0.0)
    assert sorted(queues._begins) == [2]
    queues.take_all()
    assert not queues._begins
    assert queues.is_behind(2)
