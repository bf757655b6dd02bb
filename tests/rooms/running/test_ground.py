"""What goes on beside calls: noticed when it meets a defect, and begun anew."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial

import pytest
from instantaudience_server.running import ground
from instantaudience_server.running.ground import run_beside
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from support.service.metrics import Scrape
from support.waiting import eventually

NAME = "test_ground.Work.go_on"


def defects() -> float:
    return Scrape.of(REGISTRY.collect()).total("background_defects_total", work=NAME)


class Work:
    """Fails so often; then it goes on until it is cancelled, or ends."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.goes_on = False
        self.was_cancelled = False

    async def go_on(self, *, forever: bool = True) -> None:
        if self.failures:
            self.failures -= 1
            raise ZeroDivisionError
        self.goes_on = True
        try:
            if forever:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise


async def test_work_that_meets_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ground, "AGAIN_SECONDS", 0.01)
    work, other = Work(2), Work(0)
    before = defects()
    with capture_logs() as logs:
        async with AsyncExitStack() as stack:
            run_beside(stack, work.go_on, partial(other.go_on, forever=False))

            async def goes_on() -> None:
                assert work.goes_on
                assert other.goes_on

            await eventually(goes_on)
    assert work.was_cancelled
    assert defects() == before + 2
    assert [(each["event"], each["work"], each["exc_info"].__class__) for each in logs] == [
        ("background_defect", NAME, ZeroDivisionError)
    ] * 2
