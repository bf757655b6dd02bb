"""What workers stand on, and what goes on beside calls: noticed when it meets a defect, and begun anew."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial

import pytest
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.errors import AudienceError
from instantaudience_server.running import ground
from instantaudience_server.running.ground import WorkerConfig, lay_ground, run_beside
from instantaudience_server.settings import Durability, Settings
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.memberships import NEVER
from prometheus_client import REGISTRY
from pydantic import SecretStr
from structlog.testing import capture_logs
from support.cluster.running import writing_to_disk
from support.cluster.users import for_each, of_users, user_key
from support.service.metrics import Scrape
from support.waiting import eventually, seconds_from_now

NAME = "test_ground.Work.go_on"


def defects() -> float:
    return Scrape.of(REGISTRY.collect()).total("background_defects_total", work=NAME)


class Work:
    """Fails so; then it goes on until it is cancelled, or ends."""

    def __init__(self, *failures: type[Exception]) -> None:
        self.failures = list(failures)
        self.goes_on = False
        self.was_cancelled = False

    async def go_on(self, *, forever: bool = True) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.goes_on = True
        try:
            if forever:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise


async def test_work_that_meets_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ground, "AGAIN_SECONDS", 0.01)
    work, other = Work(ZeroDivisionError, ZeroDivisionError), Work()
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
    ]


@pytest.mark.parametrize(
    ("told_seconds", "lines"),
    [
        (60.0, [(ZeroDivisionError, 1), (KeyError, 3), (ZeroDivisionError, 1)]),
        (0.0, [*[(ZeroDivisionError, 1)] * 3, (KeyError, 1), (ZeroDivisionError, 1)]),
    ],
    ids=["within a minute", "a minute later"],
)
async def test_a_defect_that_comes_again_and_again_is_told_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, told_seconds: float, lines: list[tuple[type[Exception], int]]
) -> None:
    """It was a traceback each second; one of another type is told at once."""
    monkeypatch.setattr(ground, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(ground, "TOLD_SECONDS", told_seconds)
    work = Work(*[ZeroDivisionError] * 3, KeyError, ZeroDivisionError)
    with capture_logs() as logs:
        await ground.keep_running(partial(work.go_on, forever=False))
    assert [(type(each["exc_info"]), each["times"]) for each in logs] == lines


@pytest.mark.parametrize(("brought_along", "is_enough"), [(True, True), (False, False)], ids=["embedded", "another"])
async def test_a_disk_alone_is_enough_in_the_embedded_cluster_only(
    embedded: EmbeddedCluster, cluster: Cluster, brought_along: bool, is_enough: bool
) -> None:
    """Of another one, a replica has to have what is written, too (docs/adr/0030-durability.md)."""
    async with writing_to_disk(embedded, "always"), AsyncExitStack() as stack:
        settings = Settings(durability=Durability.DISK, redis=None if brought_along else SecretStr(embedded.url))
        config = WorkerConfig(number=0, settings=settings, redis=embedded.url, host="native")
        memberships = (await lay_ground(config, stack)).memberships
        writing = memberships.write(
            of_users({user_key(1): {NEVER: {1: 1}}}), seconds_from_now(10 if is_enough else 0.5)
        )
        await writing.done
        assert bool(writing.failures()) != is_enough


async def test_no_more_waits_for_the_cluster_than_is_set(embedded: EmbeddedCluster, cluster: Cluster) -> None:
    many, fewer = (for_each([user_key(each) for each in range(users)], {NEVER: {1: 1}}) for users in (7000, 3000))
    async with AsyncExitStack() as stack:
        settings = Settings(max_pending_bytes=2**20)
        config = WorkerConfig(number=0, settings=settings, redis=embedded.url, host="native")
        memberships = (await lay_ground(config, stack)).memberships
        with pytest.raises(AudienceError, match="overloaded"):
            memberships.write(many, seconds_from_now())
        await memberships.write(fewer, seconds_from_now()).done
