"""Work on files rests where the cluster answers late."""

import asyncio
import time

import pytest
from instantaudience_server.batch import yielding
from instantaudience_server.batch.yielding import LATE_SECONDS, LOOKS, RESTS, Yielding

FAR_TOO_LATE_SECONDS = 20 * LATE_SECONDS
WORK_SECONDS = 0.05


class Nodes:
    """Answer after `seconds`, and count what they were asked."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.asked = 0

    async def ask(self) -> None:
        self.asked += 1
        await asyncio.sleep(self.seconds)


@pytest.fixture(autouse=True)
def always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked before each piece of work, however short the one before was."""
    monkeypatch.setattr(yielding, "WORK_SECONDS", WORK_SECONDS)
    monkeypatch.setattr(yielding, "MOST_WORK_SECONDS", WORK_SECONDS)
    monkeypatch.setattr(yielding, "TURN_SECONDS", 0.0)


async def _worked(work: Yielding) -> float:
    """How long it takes until the next piece of work may begin, after one that it is looked after."""
    await asyncio.sleep(2 * WORK_SECONDS)
    began = time.monotonic()
    await work.come()
    return time.monotonic() - began


async def test_rests_while_answers_are_late(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes()
    work = Yielding(nodes.ask)
    await work.come()
    nodes.seconds = FAR_TOO_LATE_SECONDS
    await _worked(work)

    assert await _worked(work) >= RESTS * WORK_SECONDS

    nodes.seconds = 0.0
    await _worked(work)
    asked = nodes.asked
    monkeypatch.setattr(yielding, "WORK_SECONDS", 1000.0)
    await work.come()
    assert nodes.asked == asked, "it went on resting, and looking"


async def test_looks_again_where_an_answer_is_late() -> None:
    nodes = Nodes()
    work = Yielding(nodes.ask)
    await work.come()
    assert nodes.asked == 1
    nodes.seconds = FAR_TOO_LATE_SECONDS
    await _worked(work)

    assert nodes.asked == 1 + LOOKS


async def test_looks_where_there_is_a_pause_anyway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yielding, "MOST_WORK_SECONDS", 1000.0)
    nodes = Nodes()
    work, done = Yielding(nodes.ask), asyncio.get_running_loop().create_future()
    await work.come()
    work.begin(done)
    await _worked(work)
    assert nodes.asked == 1
    done.set_result(None)
    await _worked(work)

    assert nodes.asked == 2


async def test_looks_while_nothing_is_under_way() -> None:
    done = asyncio.get_running_loop().create_future()
    seen: list[bool] = []

    async def ask() -> None:
        seen.append(done.done())

    work = Yielding(ask)
    work.begin(done)
    coming = asyncio.create_task(work.come())
    behind = asyncio.create_task(work.come())
    await asyncio.sleep(0.05)
    assert not coming.done()
    assert not behind.done(), "another job's work began, and the question would have been behind it"
    done.set_result(None)
    await asyncio.gather(coming, behind)

    assert seen == [True]


async def test_does_not_wait_forever_for_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yielding, "PATIENCE_SECONDS", 0.01)
    nodes = Nodes()
    work = Yielding(nodes.ask)
    work.begin(asyncio.get_running_loop().create_future())

    await work.come()

    assert not nodes.asked


async def test_never_rests_where_there_is_nobody_to_yield_to() -> None:
    work = Yielding()
    work.begin(asyncio.get_running_loop().create_future())

    await work.come()
