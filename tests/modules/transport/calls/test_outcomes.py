"""What becomes of failed calls of members: they are counted before they are answered, where that is known to go."""

import asyncio
from typing import Any

import pytest
from google.rpc import code_pb2
from instantaudience_server.errors import invalid, unavailable
from instantaudience_server.observation.metrics import FAILED_CALLS
from instantaudience_server.store.interfaces.usage import CallFailure
from instantaudience_server.transport.calls.outcomes import Outcomes
from instantaudience_server.transport.framing import Flaw, flawed
from support.parts.callers import caller
from support.parts.readings import CATALOG
from support.waiting import turns

DEMO = caller("demo", CATALOG)


class Counting:
    """Usage whose counts are `done` when a test says so."""

    def __init__(self) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.counted: list[tuple[int, CallFailure, int]] = []

    def count_failure(self, member_id: int, failure: CallFailure, calls: int = 1) -> "asyncio.Future[None]":
        self.counted.append((member_id, failure, calls))
        return self.done


async def test_the_answer_waits_for_the_count_unless_the_cluster_may_be_away(subtests: pytest.Subtests) -> None:
    for error, counted_as, waits in [
        (invalid("user_id", "no"), CallFailure.SYNTAX, True),
        (unavailable("away"), CallFailure.UNAVAILABLE, False),
    ]:
        with subtests.test(error=error, counted_as=counted_as, waits=waits):
            usage: Any = Counting()
            failing = asyncio.create_task(Outcomes(usage).failed("/a/B", "r-1", error, None, DEMO))
            await turns()
            assert failing.done() is not waits
            assert usage.counted == [(DEMO.member.id, counted_as, 1)]
            usage.done.set_exception(unavailable("not counted"))
            failed = await failing
            assert failed.failure.message == error.message


async def test_a_count_that_is_cancelled_is_not_its_call() -> None:
    usage: Any = Counting()
    failing = asyncio.create_task(Outcomes(usage).failed("/a/B", "r-1", invalid("user_id", "no"), None, DEMO))
    await asyncio.sleep(0)
    usage.done.cancel()
    assert (await failing).failure.code == code_pb2.INVALID_ARGUMENT


async def test_what_its_host_has_answered_counts_for_its_member_where_that_is_known(subtests: pytest.Subtests) -> None:
    for flaw, counted_as, reason in [
        (Flaw.NOT_RECEIVED, CallFailure.TIMEOUT, "unavailable"),
        (Flaw.FOR_GATEWAY, CallFailure.NOT_FOUND, "no_such_method"),
    ]:
        with subtests.test(flaw=flaw, counted_as=counted_as, reason=reason):
            usage: Any = Counting()
            outcomes = Outcomes(usage)
            count = FAILED_CALLS.labels(reason)
            before = count._value.get()
            for who in (DEMO, None):
                outcomes.answered("/a/B", "r-1", flawed(flaw), who)
            assert usage.counted == [(DEMO.member.id, counted_as, 1)]
            assert count._value.get() == before + 2
