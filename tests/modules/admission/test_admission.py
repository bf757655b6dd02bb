"""Whose turn it is: members in turn, bounded queues, bounded waits (docs/adr/0018-admission.md)."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from instantaudience_server.admission import admission as module
from instantaudience_server.admission import prices, queues
from instantaudience_server.admission.admission import Admission
from instantaudience_server.admission.queues import Ticket
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.observation.metrics import ADMISSION_REFUSALS
from instantaudience_server.observation.observations import Observed
from prometheus_client import CollectorRegistry, Histogram
from support.clocks import run_on_told_time, told_loop
from support.waiting import eventually, seconds_from_now, turns

FLOOD, NEIGHBOUR, THIRD = 1, 2, 3


@pytest.fixture
def _bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody runs slowly, nothing is kept for anybody, and a turn is one call long, unless a test says so."""
    monkeypatch.setattr(prices, "TURN_PLACES", 1)
    monkeypatch.setattr(prices, "KEPT_PLACES", 0)
    monkeypatch.setattr(prices, "FIRST_TAKES", 1)
    monkeypatch.setattr(prices, "PARTS", 1)
    monkeypatch.setattr(module, "SLOW_SECONDS", 60.0)


@pytest.fixture
async def admission(_bounds: None) -> AsyncIterator[Admission]:
    """Two run at once, four wait."""
    admission = Admission(lambda low, high: high, most_running=2, most_waiting=4)
    yield admission
    admission.close()


async def entering(admission: Admission, *members: int) -> "list[asyncio.Task[Ticket]]":
    """Calls that come one after the other."""
    tasks = []
    for member in members:
        tasks.append(asyncio.create_task(admission.enter(member, seconds_from_now(60))))
        await turns()
    return tasks


async def passes(seconds: float) -> None:
    """Time, on a loop that has to be told."""
    loop = told_loop()
    end = loop.now + seconds
    while loop.now < end:
        loop.now += module.LOOK_SECONDS / 2
        await turns()


def state(task: "asyncio.Task[Ticket]") -> str:
    if not task.done():
        return "waits"
    error = task.exception()
    if error is None:
        return "runs"
    assert isinstance(error, AudienceError)
    assert error.reason is Reason.UNAVAILABLE
    assert error.retry_after_seconds == module.RETRY_SECONDS[1]
    return "refused"


def states(tasks: "list[asyncio.Task[Ticket]]") -> list[str]:
    return [state(task) for task in tasks]


async def test_so_many_run_and_the_next_one_begins_when_one_has_ended(admission: Admission) -> None:
    tasks = await entering(admission, FLOOD, FLOOD, FLOOD, FLOOD)
    assert states(tasks) == ["runs", "runs", "waits", "waits"]
    admission.waiting_at_host = 3
    assert (admission.under_way, admission.waiting) == (2, 5)
    admission.leave(await tasks[0])
    await turns()
    assert states(tasks) == ["runs", "runs", "runs", "waits"]
    assert (admission.under_way, admission.waiting) == (2, 4)


async def test_members_take_turns(admission: Admission) -> None:
    tasks = await entering(admission, FLOOD, FLOOD, FLOOD, FLOOD, FLOOD, NEIGHBOUR)
    admission.leave(await tasks[0])
    admission.leave(await tasks[1])
    await turns()
    assert states(tasks) == ["runs", "runs", "runs", "waits", "waits", "runs"]


async def test_full_queues_refuse_the_newest_of_the_longest(admission: Admission) -> None:
    tasks = await entering(admission, *[FLOOD] * 6)
    assert states(tasks) == ["runs", "runs", "waits", "waits", "waits", "waits"]
    refusals = ADMISSION_REFUSALS.labels("full")
    before = refusals._value.get()
    tasks += await entering(admission, FLOOD)
    assert states(tasks) == ["runs", "runs", "waits", "waits", "waits", "waits", "refused"]
    tasks += await entering(admission, NEIGHBOUR, THIRD)
    assert states(tasks) == ["runs", "runs", "waits", "waits", "refused", "refused", "refused", "waits", "waits"]
    assert refusals._value.get() == before + 3


async def test_full_queues_of_one_each_make_room_too(admission: Admission) -> None:
    tasks = await entering(admission, FLOOD, FLOOD, 11, 12, 13, 14, NEIGHBOUR)
    assert states(tasks) == ["runs", "runs", "refused", "waits", "waits", "waits", "waits"]
    for task in tasks[:2]:
        admission.leave(await task)
    await turns()
    assert states(tasks) == ["runs", "runs", "refused", "runs", "runs", "waits", "waits"]


async def test_who_has_waited_too_long_is_refused(admission: Admission, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.05)
    tasks = await entering(admission, FLOOD, FLOOD, FLOOD, NEIGHBOUR)
    await asyncio.wait(tasks[2:], timeout=5)
    assert states(tasks) == ["runs", "runs", "refused", "refused"]
    for task in tasks[:2]:
        admission.leave(await task)
    assert states(await entering(admission, NEIGHBOUR)) == ["runs"]


async def test_who_has_little_time_waits_for_a_part_of_it(admission: Admission) -> None:
    tasks = await entering(admission, FLOOD, FLOOD, FLOOD)
    hurried = asyncio.create_task(admission.enter(FLOOD, seconds_from_now(0.2)))
    await asyncio.wait([hurried], timeout=5)
    assert states([*tasks, hurried]) == ["runs", "runs", "waits", "refused"]


async def test_what_a_call_has_waited_before_counts(admission: Admission, monkeypatch: pytest.MonkeyPatch) -> None:
    """But where its member has few calls under way, others are to blame for that."""
    late = asyncio.create_task(admission.enter(FLOOD, seconds_from_now(60), waited_seconds=2.0))
    await turns()
    assert state(late) == "runs"
    monkeypatch.setattr(module, "FEW", 1)
    late, other = (
        asyncio.create_task(admission.enter(member, seconds_from_now(60), waited_seconds=2.0))
        for member in (FLOOD, NEIGHBOUR)
    )
    await turns()
    assert states([late, other]) == ["refused", "runs"]


@pytest.mark.usefixtures("_bounds")
def test_how_long_a_call_waits_is_a_share_of_what_it_had_when_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """To its host, and no matter how long it has waited there."""
    monkeypatch.setattr(module, "FEW", 0)

    async def run() -> None:
        admission = Admission(lambda low, high: high, most_running=2, most_waiting=4)
        patience = module.PATIENCE_SHARE * 2.0
        for waited_seconds, expected in ((patience - 0.01, "runs"), (patience + 0.01, "refused")):
            deadline = asyncio.get_running_loop().time() + 2.0 - waited_seconds
            entered = asyncio.create_task(admission.enter(FLOOD, deadline, waited_seconds=waited_seconds))
            await turns()
            assert state(entered) == expected
        admission.close()

    run_on_told_time(run())


@pytest.mark.usefixtures("_bounds")
def test_it_is_measured_how_long_calls_have_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    """From when they came, to their host or here, until they run."""
    registry = CollectorRegistry()
    waited = Observed(Histogram("seconds", "…", registry=registry))
    monkeypatch.setattr(module, "waited", waited)

    async def run() -> None:
        admission = Admission(lambda low, high: high, most_running=1, most_waiting=4)
        ticket = await admission.enter(FLOOD, seconds_from_now(60), waited_seconds=0.25)
        waiting = asyncio.create_task(admission.enter(FLOOD, seconds_from_now(60), waited_seconds=0.5))
        await turns()
        told_loop().now += 0.125
        admission.leave(ticket)
        await waiting
        admission.close()

    run_on_told_time(run())
    waited.write()
    found = [registry.get_sample_value(f"seconds_{what}") for what in ("count", "sum")]
    assert found == [2, pytest.approx(0.25 + 0.5 + 0.125)]


async def test_what_a_call_has_waited_at_its_host_counts_there(
    admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FEW", 0)
    ticket = await admission.enter(FLOOD, seconds_from_now(60), waited_seconds=2.0, had_turn=True)
    assert ticket.running


async def test_a_slow_call_makes_room(admission: Admission, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that wait for a part of the cluster that is away do not keep others from running."""
    monkeypatch.setattr(module, "SLOW_SECONDS", 0.03)
    slow = await entering(admission, FLOOD, FLOOD)
    tasks = await entering(admission, FLOOD, NEIGHBOUR)
    await asyncio.wait(tasks, timeout=5)
    assert states(tasks) == ["runs", "runs"]
    for task in slow + tasks:
        admission.leave(await task)
    monkeypatch.setattr(module, "SLOW_SECONDS", 60.0)
    assert states(await entering(admission, *[FLOOD] * 3)) == ["runs", "runs", "waits"]


@pytest.mark.usefixtures("_bounds")
def test_where_all_calls_are_slow_no_more_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """They end one after the other, each later than a slow call would."""
    monkeypatch.setattr(module, "SLOW_SECONDS", 0.1)

    async def run() -> None:
        admission = Admission(lambda low, high: high, most_running=2, most_waiting=20)
        tasks = await entering(admission, *[FLOOD] * 12)
        for ended in range(10):
            await passes(0.04)
            assert states(tasks) == ["runs"] * (ended + 2) + ["waits"] * (10 - ended)
            admission.leave(await tasks[ended])
            await turns()
        admission.close()

    run_on_told_time(run())


@pytest.mark.usefixtures("_bounds")
@pytest.mark.parametrize("parts", [1, 4])
def test_a_slow_call_that_others_overtake_makes_room(parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOW_SECONDS", 0.2)
    monkeypatch.setattr(prices, "PARTS", parts)

    async def run() -> None:
        admission = Admission(lambda low, high: high, most_running=2, most_waiting=20)
        slow, *tasks = await entering(admission, FLOOD, *[NEIGHBOUR] * 10)
        for ended in range(4):
            await passes(0.12)
            admission.leave(await tasks[ended])
            await turns()
        await passes(0.12)
        assert states(tasks) == ["runs"] * 6 + ["waits"] * 4
        admission.leave(await slow)
        admission.close()

    run_on_told_time(run())


@pytest.mark.usefixtures("_bounds")
def test_who_has_waited_long_is_not_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is how long it runs, also where others overtake it."""
    monkeypatch.setattr(module, "SLOW_SECONDS", 0.25)

    async def run() -> None:
        admission = Admission(lambda low, high: high, most_running=2, most_waiting=20)
        tasks = await entering(admission, *[FLOOD] * 14)

        async def end(number: int, after_seconds: float) -> None:
            await passes(after_seconds)
            admission.leave(await tasks[number])
            await turns()

        for number in range(5):
            await end(number, 0.06)
        for number in (5, 7, 8, 9):
            await end(number, 0.03)
        await passes(0.03)
        assert states(tasks) == ["runs"] * 11 + ["waits"] * 3
        admission.close()

    run_on_told_time(run())


@pytest.mark.usefixtures("_bounds")
@pytest.mark.parametrize(("places", "seconds"), [(1, 0.1), (3, 0.3), (7, 0.4)])
def test_a_large_call_may_take_longer(places: int, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOW_SECONDS", 0.1)

    async def run() -> None:
        admission = Admission(lambda low, high: high, most_running=places + 1, most_waiting=20)
        sizes = (places - 1) * prices.PLACE_BYTES + 2000, 0  # one that is carried out with it may take as long
        assert admission.enter_at_once(FLOOD, sizes, (0.0, 0.0), in_stream=False)
        (waiting,) = await entering(admission, NEIGHBOUR)
        await passes(seconds - 0.03)
        assert state(waiting) == "waits"
        await passes(0.08)
        assert state(waiting) == "runs"
        admission.close()

    run_on_told_time(run())


async def test_a_host_is_told_how_much_room_there_is(admission: Admission, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own calls take room, whether they run or wait; requests of streams do not."""
    assert admission.room == 2
    of_stream = await admission.enter(FLOOD, seconds_from_now(60), in_stream=True)
    admission.end_turn(of_stream)
    assert admission.room == 2
    tasks = await entering(admission, FLOOD, NEIGHBOUR)
    assert (states(tasks), admission.room) == (["runs", "waits"], 0)
    (another,) = await entering(admission, NEIGHBOUR)
    assert (state(another), admission.room) == ("waits", 0)
    for leaving in (another, tasks[1]):
        leaving.cancel()
    await turns()
    assert admission.room == 1
    admission.leave(of_stream)
    monkeypatch.setattr(module, "SLOW_SECONDS", 0.0)
    await asyncio.sleep(0.1)
    assert (states(tasks[:1]), admission.room) == (["runs"], 2)
    admission.leave(await tasks[0])
    assert admission.room == 2


async def test_a_members_first_call_takes_more_room(admission: Admission, monkeypatch: pytest.MonkeyPatch) -> None:
    admission.most_running = 10
    monkeypatch.setattr(prices, "FIRST_TAKES", 3)
    rooms = []
    tickets = []
    for member in (FLOOD, FLOOD, NEIGHBOUR):
        tickets.append(await admission.enter(member, seconds_from_now(60)))
        rooms.append(admission.room)
    assert rooms == [7, 6, 3]
    for ticket in tickets:
        admission.leave(ticket)
        rooms.append(admission.room)
    assert rooms[3:] == [4, 7, 10]


async def test_small_calls_that_are_carried_out_together_take_a_part_of_a_place(
    admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    admission.most_running = 4
    monkeypatch.setattr(prices, "FIRST_TAKES", 3)
    monkeypatch.setattr(prices, "PARTS", 4)
    tickets = []
    rooms = []
    for size_bytes in (prices.SMALL_BYTES, prices.SMALL_BYTES + 1, 0):
        ticket = admission.enter_at_once(FLOOD, (size_bytes,), (0.0,), in_stream=False)
        assert ticket is not None
        tickets.append(ticket)
        rooms.append(admission.room)
    assert rooms == [7, 3, 2]
    while (ticket := admission.enter_at_once(NEIGHBOUR, (0,), (0.0,), in_stream=True)) is not None:
        tickets.append(ticket)
    assert len(tickets) == 3 + 10
    for ticket in tickets:
        admission.leave(ticket)
    assert (admission.room, admission.under_way) == (16, 0)


async def test_large_calls_among_small_ones_take_their_places_and_give_them_back(
    admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one may take what is not there, as a call by itself may; all others have to fit."""
    admission.most_running = 4
    monkeypatch.setattr(prices, "PARTS", 4)
    small, large = prices.SMALL_BYTES, 2 * prices.PLACE_BYTES
    ticket = admission.enter_at_once(FLOOD, (small, large, 0), (0.0,) * 3, in_stream=False)
    assert ticket is not None
    assert (admission.room, admission.under_way) == (16 - 14, 3)
    admission.leave(ticket, (small, large))
    assert (admission.room, admission.under_way) == (15, 1)
    assert admission.enter_at_once(NEIGHBOUR, (large, 0, 0, 0, 0), (0.0,) * 5, in_stream=True) is None
    fitting = admission.enter_at_once(NEIGHBOUR, (large, 0, 0, large), (0.0,) * 4, in_stream=True)
    assert fitting is not None
    for each in (ticket, fitting):
        admission.leave(each)
    assert admission.enter_at_once(NEIGHBOUR, (0,) * 16, (0.0,) * 16, in_stream=True) is not None
    (waiting,) = await entering(admission, THIRD)
    assert state(waiting) == "waits"


async def test_requests_of_a_stream_go_along_with_one_whose_turn_it_is(
    admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take what a turn takes; what is left of it, others have when it ends."""
    admission.most_running = 12
    monkeypatch.setattr(prices, "TURN_PLACES", 6)
    monkeypatch.setattr(prices, "PARTS", 4)
    streams = [asyncio.create_task(admission.enter(FLOOD, seconds_from_now(60), in_stream=True)) for _ in range(3)]
    await turns()
    assert states(streams) == ["runs", "runs", "waits"]
    first, second = (each.result() for each in streams[:2])
    assert not admission.go_along(first, (prices.TURN_PLACES - 1) * prices.PLACE_BYTES)
    went = 1
    while admission.go_along(first, prices.SMALL_BYTES):
        went += 1
    assert (went, admission.under_way) == (prices.turn_room(), prices.turn_room() + 1)
    admission.leave(first, (0,) * (went - 1))
    await turns()
    assert (state(streams[2]), admission.under_way) == ("runs", 3)
    assert admission.enter_at_once(NEIGHBOUR, (0,), (0.0,), in_stream=True) is None
    admission.end_turn(second)
    assert admission.enter_at_once(NEIGHBOUR, (0,), (0.0,), in_stream=True) is not None
    admission.leave(second)
    assert not admission.go_along(second, 0)


async def test_a_turn_is_some_calls_long(admission: Admission, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where others' streams have as long ones, a member that sends few calls would have less than its part."""
    monkeypatch.setattr(prices, "TURN_PLACES", 3)
    admission.most_waiting = 20
    tasks = await entering(admission, FLOOD, FLOOD, *[FLOOD] * 4, *[NEIGHBOUR] * 2)
    admission.leave(tasks[0].result())
    await turns()
    assert states(tasks)[2:] == ["runs"] * 3 + ["waits"] * 3
    for task in tasks[1:4]:
        admission.leave(task.result())
    await turns()
    assert states(tasks)[5:] == ["waits", "runs", "runs"]


async def test_places_are_kept_for_members_none_of_whose_calls_runs(
    admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prices, "KEPT_PLACES", 2)
    tasks = await entering(admission, FLOOD, FLOOD, FLOOD, NEIGHBOUR, NEIGHBOUR, THIRD, 4, 4)
    assert states(tasks) == ["runs", "runs", "waits", "runs", "waits", "runs", "waits", "waits"]
    assert admission.enter_at_once(5, (0,), (0.0,), in_stream=False) is None
    admission.leave(tasks[3].result())
    await turns()
    assert states(tasks)[2:] == ["waits", "runs", "waits", "runs", "waits", "waits"]
    assert admission.enter_at_once(5, (0,), (0.0,), in_stream=False) is not None


async def test_kept_places_are_not_for_who_has_just_had_a_turn(
    admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And has no call running in between."""
    monkeypatch.setattr(prices, "KEPT_PLACES", 1)
    monkeypatch.setattr(queues, "CREDIT_TURNS", 1)
    tasks = await entering(admission, FLOOD, FLOOD, FLOOD, THIRD, 4, NEIGHBOUR)
    assert states(tasks) == ["runs", "runs", "waits", "runs", "waits", "waits"]
    admission.leave(tasks[3].result())
    assert admission.enter_at_once(THIRD, (0,), (0.0,), in_stream=True) is None
    neighbour = admission.enter_at_once(5, (0,), (0.0,), in_stream=True)
    assert neighbour is not None
    admission.leave(neighbour)


async def test_large_calls_that_are_carried_out_together_take_more_places(
    admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    admission.most_running = 40
    monkeypatch.setattr(prices, "FIRST_TAKES", 1)
    rooms = []
    for size_bytes in (prices.PLACE_BYTES - 1, prices.PLACE_BYTES, 3 * prices.PLACE_BYTES, 1000 * prices.PLACE_BYTES):
        ticket = admission.enter_at_once(FLOOD, (size_bytes,), (0.0,), in_stream=False)
        assert ticket is not None
        rooms.append(admission.room)
        admission.leave(ticket)
        assert admission.room == 40
    assert rooms == [39, 38, 36, 40 - prices.MOST_PLACES]
    for _ in range(2):
        assert admission.enter_at_once(FLOOD, (1000 * prices.PLACE_BYTES,), (0.0,), in_stream=True) is not None
    assert admission.enter_at_once(NEIGHBOUR, (0,), (0.0,), in_stream=True) is None


async def test_slow_calls_are_bounded_too(admission: Admission, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOW_SECONDS", 0.01)
    monkeypatch.setattr(module, "MOST_UNDER_WAY", 4)
    tasks = await entering(admission, *[FLOOD] * 5)
    await asyncio.wait(tasks[:4], timeout=5)
    await asyncio.sleep(0.1)
    assert states(tasks) == ["runs"] * 4 + ["waits"]


async def test_a_caller_who_leaves_leaves_nothing_behind(admission: Admission) -> None:
    tasks = await entering(admission, FLOOD, FLOOD, FLOOD, NEIGHBOUR)
    tasks[2].cancel()
    admission.leave(await tasks[0])
    tasks[3].cancel()  # just when its turn has come
    await asyncio.gather(*tasks, return_exceptions=True)
    assert states(await entering(admission, THIRD, THIRD)) == ["runs", "waits"]


async def test_the_end_refuses_all_that_wait(admission: Admission) -> None:
    tasks = await entering(admission, FLOOD, FLOOD, FLOOD, NEIGHBOUR)
    admission.close()
    await turns()
    assert states(tasks) == ["runs", "runs", "refused", "refused"]


async def test_whatever_happens_all_places_are_free_in_the_end(
    admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLOW_SECONDS", 0.002)
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.005)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.001)
    dice = random.Random(7)
    running = 0

    async def call(member: int) -> None:
        nonlocal running
        ticket = await admission.enter(member, seconds_from_now(60))
        running += 1
        try:
            await asyncio.sleep(dice.choice([0, 0.001, 0.004]))
        finally:
            running -= 1
            admission.leave(ticket)

    tasks = []
    for _ in range(2000):
        tasks.append(asyncio.create_task(call(dice.randint(1, 4))))
        if dice.random() < 0.2:
            dice.choice(tasks).cancel()
        if dice.random() < 0.1:
            await asyncio.sleep(0.001)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (running, admission._running, admission._under_way, len(admission._queues)) == (0, 0, 0, 0)


async def test_calls_that_have_ended_leave_nothing_behind(admission: Admission) -> None:
    for task in await entering(admission, FLOOD, NEIGHBOUR):
        admission.leave(await task)

    async def nobody_is_looked_for() -> None:
        assert admission._look is None

    await eventually(nobody_is_looked_for)
    assert not admission._started
    assert not admission._under_way_of
    assert not admission.members_with_room


async def test_a_caller_that_leaves_as_it_is_refused_has_had_no_turn(admission: Admission) -> None:
    *running, waiting = await entering(admission, FLOOD, FLOOD, FLOOD)
    admission.close()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (states(running), admission.under_way) == (["runs", "runs"], 2)
    for task in running:
        admission.leave(await task)
    assert not admission.members_with_room


async def test_a_caller_that_has_left_need_not_be_refused(admission: Admission) -> None:
    """Just before the others are."""
    *_, leaving, waiting = await entering(admission, FLOOD, FLOOD, FLOOD, NEIGHBOUR)
    leaving.cancel()
    admission.close()
    await asyncio.wait([leaving, waiting], timeout=5)
    assert (leaving.cancelled(), state(waiting), admission.waiting) == (True, "refused", 0)


async def test_a_caller_that_leaves_as_another_takes_its_place_has_left(admission: Admission) -> None:
    *others, leaving = await entering(admission, *[FLOOD] * 6)
    another = asyncio.create_task(admission.enter(NEIGHBOUR, seconds_from_now(60)))
    leaving.cancel()
    await asyncio.wait([leaving], timeout=5)
    assert leaving.cancelled()
    assert states([*others, another]) == ["runs", "runs", "waits", "waits", "waits", "waits"]
    assert admission.waiting == 4


async def test_so_many_are_under_way_those_that_are_slow_included(
    admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nobody waits for them longer than usual."""
    monkeypatch.setattr(module, "MOST_UNDER_WAY", 1)
    monkeypatch.setattr(module, "SLOW_SECONDS", 0.0)
    (slow,) = await entering(admission, FLOOD)
    assert admission.room == 0

    async def has_its_place_no_longer() -> None:
        assert not admission._started

    await eventually(has_its_place_no_longer)
    async with asyncio.timeout(20):
        with pytest.raises(AudienceError):
            await admission.enter(NEIGHBOUR, seconds_from_now(1))
    (waiting,) = await entering(admission, NEIGHBOUR)
    assert state(waiting) == "waits"
    admission.leave(await slow)
    await waiting
