"""Calls that are served without a task of their own end as the others do."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from google.rpc import code_pb2
from instantaudience.v1 import audience_pb2 as pb
from instantaudience_server.admission import prices
from instantaudience_server.admission.quotas import Limits
from instantaudience_server.catalog.access import Caller
from instantaudience_server.memberships.service import MembershipService
from instantaudience_server.observation.observations import write_down
from instantaudience_server.transport.calls.call import Call
from instantaudience_server.transport.calls.direct import DirectCalls
from instantaudience_server.transport.calls.kinds import Method, Posting
from instantaudience_server.transport.calls.outcomes import DEFECT_TEXT
from instantaudience_server.transport.calls.pipeline import Pipeline
from instantaudience_server.transport.methods.audience import audience_methods
from instantaudience_server.transport.status import Failure
from instantaudience_server.usage.counting import Usage
from prometheus_client import REGISTRY
from redis.asyncio import RedisCluster
from structlog.testing import capture_logs
from support.parts.accounts import PASSWORDS, AccountWorker
from support.parts.pipelines import pipeline_of
from support.waiting import eventually

LIMIT_BYTES = 10_000


class Ends:
    """How calls end, by their numbers."""

    def __init__(self) -> None:
        self.answers: dict[int, bytes] = {}
        self.failures: dict[int, Failure] = {}

    def answer(self, numbers: Sequence[int], message: bytes) -> None:
        assert not (self.answers | self.failures).keys() & set(numbers)
        self.answers |= dict.fromkeys(numbers, message)

    def fail(self, number: int, failure: Failure) -> None:
        assert number not in self.answers | self.failures
        self.failures[number] = failure

    async def all_of(self, *numbers: int) -> None:
        """Wait until these have ended."""

        async def have_ended() -> None:
            assert self.answers.keys() | self.failures.keys() >= set(numbers)

        await eventually(have_ended)


@pytest.fixture
def ends() -> Ends:
    return Ends()


@pytest.fixture
async def pipeline(worker: AccountWorker, usage: Usage) -> Pipeline:
    return pipeline_of(worker.tokens, usage, body_limit_bytes=LIMIT_BYTES)


@pytest.fixture
async def direct(pipeline: Pipeline, ends: Ends) -> AsyncIterator[DirectCalls]:
    direct = pipeline.direct(ends)
    yield direct
    await direct.close()


@pytest.fixture
def method(service: MembershipService, worker: AccountWorker) -> Method[Any]:
    """ApplySegments, as it is served."""
    methods = audience_methods(service)
    return next(each for each in methods if isinstance(each, Method) and each.posting)


@pytest.fixture
async def call(worker: AccountWorker) -> Call:
    """A call of the demo user, whose token is known."""
    token = await worker.sign_in()
    await worker.verify(token)
    return Call(f"Bearer {token}", "r-1", None)


@pytest.fixture
def calling(direct: DirectCalls, call: Call) -> Caller:
    caller = direct.caller(call.authorization)
    assert caller is not None
    return caller


def message(*user_ids: str) -> bytes:
    request = pb.ApplySegmentsRequest()
    for user_id in user_ids:
        request.rt_segment.add(user_id=user_id).seg_block.add(seg_id=12)
    return request.SerializeToString()


async def test_a_call_ends_as_in_the_pipeline(
    direct: DirectCalls,
    pipeline: Pipeline,
    method: Method[Any],
    ends: Ends,
    call: Call,
    calling: Caller,
    plain: RedisCluster,
) -> None:
    bodies = [message("1"), message("2", "?"), message(), message("3", "4")]
    for number, body in enumerate(bodies):
        assert direct.begin(number, method, body, call, calling)
    await ends.all_of(*range(len(bodies)))
    assert [ends.answers[number] for number in range(len(bodies))] == [
        await pipeline.run(method, body, call) for body in bodies
    ]
    assert [await plain.hgetall(f"m:p:{user}") for user in (1, 2, 3, 4)] == [{b"12": b"0"}] * 4


async def test_answers_of_a_turn_are_all_counted(
    direct: DirectCalls, method: Method[Any], ends: Ends, call: Call, calling: Caller
) -> None:
    def counts() -> list[float]:
        labels = {"method": method.path.removeprefix("/")}
        return [
            REGISTRY.get_sample_value("instant_audience_calls_total", labels | {"code": "OK"}) or 0.0,
            REGISTRY.get_sample_value("instant_audience_call_seconds_count", labels | {"outcome": "ok"}) or 0.0,
        ]

    write_down()
    before = counts()
    for number in range(5):
        assert direct.begin(number, method, message(str(number + 1)), call, calling)
    await ends.all_of(*range(5))
    await asyncio.sleep(0)
    write_down()
    assert [after - earlier for after, earlier in zip(counts(), before, strict=True)] == [5, 5]


async def test_what_cannot_be_served_like_this_is_left(
    pipeline: Pipeline,
    direct: DirectCalls,
    method: Method[Any],
    ends: Ends,
    call: Call,
    calling: Caller,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other: Method[Any] = Method(method.path, method.request, method.handle)
    assert not direct.begin(1, other, message("1"), call, calling)
    assert not direct.begin(2, method, b"\xff", call, calling)
    assert not direct.begin(3, method, b"\0" * (LIMIT_BYTES + 1), call, calling)
    assert not direct.begin(4, method, message("1"), call._replace(remaining_seconds=0.0), calling)
    limited = replace(calling, member=replace(calling.member, limits=Limits(body_bytes=100)))
    assert not direct.begin(4, method, message("1"), call._replace(body_bytes=101), limited)
    too_long: Any = SimpleNamespace(number=4, size_bytes=9, sent_bytes=101, waited_seconds=0.0)
    assert not direct.begin_together(method, [too_long], limited)
    assert pipeline.admission.under_way == 0
    pipeline.admission.most_running = 1
    monkeypatch.setattr(prices, "PARTS", 1)
    assert direct.begin(5, method, message("1"), call, calling)
    assert not direct.begin(6, method, message("1"), call, calling)  # it has to wait for its turn
    await ends.all_of(5)
    assert direct.begin(7, method, message("1"), call._replace(waited_seconds=2.0), calling)  # at its host
    await ends.all_of(7)
    assert ends.failures == {}
    assert ends.answers.keys() == {5, 7}


async def test_a_call_that_comes_late_is_refused_where_it_is_left_to(
    direct: DirectCalls, method: Method[Any], call: Call, calling: Caller
) -> None:
    def refused() -> float:
        return REGISTRY.get_sample_value("instant_audience_admission_refusals_total", {"reason": "late"}) or 0.0

    before = refused()
    assert not direct.begin(1, method, message("1"), call._replace(remaining_seconds=0.0), calling)
    assert refused() == before


async def test_a_token_that_is_not_known_has_to_be_verified(direct: DirectCalls, worker: AccountWorker) -> None:
    token = await worker.sign_in("private", PASSWORDS["private"])
    for unknown in (token, "", "hbapi:1001:made:up"):
        assert direct.caller(unknown) is None
    await worker.verify(token)
    assert direct.caller(token) == await worker.verify(token)


async def test_an_admins_call_needs_no_turn_and_is_left(
    direct: DirectCalls, method: Method[Any], call: Call, worker: AccountWorker
) -> None:
    token = await worker.sign_in("admin", PASSWORDS["admin"])
    admin = await worker.verify(token)
    assert not direct.begin(1, method, message("1"), call, admin)


async def test_a_caller_who_has_left_is_not_served(
    direct: DirectCalls, method: Method[Any], ends: Ends, call: Call, calling: Caller, plain: RedisCluster
) -> None:
    assert direct.begin(1, method, message("1"), call, calling)
    assert direct.begin(2, method, message("2"), call, calling)
    direct.leave(1)
    direct.leave(1)
    await ends.all_of(2)
    assert ends.answers.keys() == {2}
    assert not await plain.exists("m:p:1")


@pytest.mark.parametrize("fails", [False, True])
async def test_a_caller_may_leave_at_any_moment(
    pipeline: Pipeline,
    direct: DirectCalls,
    method: Method[Any],
    ends: Ends,
    call: Call,
    calling: Caller,
    plain: RedisCluster,
    fails: bool,
) -> None:
    """Who came with it is told what became of its own call."""
    users = ("1", "2")
    for user in users if fails else ():
        await plain.set(f"m:p:{user}", "no hash")
    with capture_logs():
        for turns in range(12):
            for place, user in enumerate(users):
                assert direct.begin(2 * turns + place, method, message(user), call, calling)
            for _ in range(turns):
                await asyncio.sleep(0)
            direct.leave(2 * turns)
            await ends.all_of(2 * turns + 1)
            if not turns:
                assert 0 not in ends.answers | ends.failures
    assert set(range(1, 24, 2)) <= (ends.failures if fails else ends.answers).keys()
    assert not (ends.answers if fails else ends.failures)
    assert not direct.under_way
    assert pipeline.admission.under_way == 0


async def test_a_failure_is_the_calls_own_and_is_noted(
    direct: DirectCalls, method: Method[Any], ends: Ends, call: Call, calling: Caller, plain: RedisCluster
) -> None:
    await plain.set("m:p:2", "no hash")
    with capture_logs() as logs:
        for number in (1, 2, 3):
            assert direct.begin(number, method, message(str(number)), call, calling)
        await ends.all_of(1, 2, 3)
    assert ends.answers.keys() == {1, 3}
    assert (ends.failures[2].code, ends.failures[2].message) == (code_pb2.INTERNAL, DEFECT_TEXT)
    assert [entry["request_id"] for entry in logs if entry["event"] == "call_defect"] == ["r-1"]


async def test_a_defect_of_an_answer_is_its_calls_own(
    direct: DirectCalls, method: Method[Any], ends: Ends, call: Call, calling: Caller
) -> None:
    answered: list[Any] = []

    def answer(result: Any) -> Any:
        answered.append(result)
        if len(answered) == 1:
            raise KeyError("12345678900987654321")
        assert method.posting is not None
        return method.posting.answer(result)

    assert method.posting is not None
    broken: Method[Any] = Method(method.path, method.request, method.handle, Posting(method.posting.add, answer))
    with capture_logs():
        for number in (1, 2):
            assert direct.begin(number, broken, message(str(number)), call, calling)
        await ends.all_of(1, 2)
    assert ends.answers.keys() == {2}
    assert ends.failures[1].message == DEFECT_TEXT


async def test_what_is_under_way_at_the_end_fails(
    direct: DirectCalls, method: Method[Any], ends: Ends, call: Call, calling: Caller, service: MembershipService
) -> None:
    assert direct.begin(1, method, message("1"), call, calling)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await service.close()
    await ends.all_of(1)
    assert ends.failures[1].code == code_pb2.UNAVAILABLE
