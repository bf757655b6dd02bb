"""Regular calls that come together begin together on the native host, and each ends as it would alone
(docs/adr/0045-calls-that-begin-together.md)."""

import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from instantaudience.v1 import audience_pb2 as pb
from instantaudience_gateway.contract.json_forms import json_forms
from instantaudience_server.admission import prices
from instantaudience_server.admission.admission import Admission
from instantaudience_server.catalog.access import Caller
from instantaudience_server.memberships.service import MembershipService
from instantaudience_server.observation.observations import write_down
from instantaudience_server.process.processes import free_ports
from instantaudience_server.transport.calls.call import Call
from instantaudience_server.transport.calls.direct import DirectCalls, Gathered
from instantaudience_server.transport.calls.kinds import Method
from instantaudience_server.transport.calls.outcomes import DEFECT_TEXT
from instantaudience_server.transport.calls.pipeline import Pipeline
from instantaudience_server.transport.framing import frame
from instantaudience_server.transport.hosts.native import NativeHost, missing
from instantaudience_server.transport.methods.audience import audience_methods
from instantaudience_server.usage.counting import Usage
from prometheus_client import REGISTRY
from redis.asyncio import RedisCluster
from structlog.testing import capture_logs
from support.contract.messages import APPLY
from support.parts.accounts import AccountWorker
from support.parts.limits import CONNECTION_LIMITS, usual_admission
from support.parts.pipelines import pipeline_of
from support.waiting import eventually
from support.wire.peer import Answer, Peer, connected, grpc_headers

pytestmark = pytest.mark.process

if reason := missing():
    pytest.skip(f"the native host cannot run here: {reason}", allow_module_level=True)

HOST = "127.0.0.1"
LIMIT_BYTES = 10_000
OK, RESOURCE_EXHAUSTED, INTERNAL, UNAUTHENTICATED = 0, 8, 13, 16


def message(*user_ids: str, value: int = 0, **more: bool) -> bytes:
    request = pb.ApplySegmentsRequest(**more)
    for user_id in user_ids:
        request.rt_segment.add(user_id=user_id).seg_block.add(seg_id=12, value=value)
    return request.SerializeToString()


@pytest.fixture
async def admission() -> Admission:
    return usual_admission()


@pytest.fixture
async def pipeline(worker: AccountWorker, usage: Usage, admission: Admission) -> Pipeline:
    return pipeline_of(worker.tokens, usage, admission, body_limit_bytes=LIMIT_BYTES)


@pytest.fixture
def method(service: MembershipService) -> Method[Any]:
    methods = audience_methods(service)
    return next(each for each in methods if isinstance(each, Method) and each.path == APPLY)


@pytest.fixture
async def token(worker: AccountWorker) -> str:
    return await worker.sign_in()


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """How many calls were to begin together, each time, and whether they did."""
    counts: list[tuple[int, bool]] = []
    begin_together = DirectCalls.begin_together

    def noted(direct: DirectCalls, method: Method[Any], calls: Sequence[Gathered], caller: Caller) -> bool:
        has_begun = begin_together(direct, method, calls, caller)
        counts.append((len(calls), has_begun))
        return has_begun

    monkeypatch.setattr(DirectCalls, "begin_together", noted)
    return counts


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    """The gateway's way to the host."""
    return tmp_path / "host.sock"


@pytest.fixture
async def peer(
    method: Method[Any], pipeline: Pipeline, token: str, begun: list[Any], socket: Path
) -> AsyncIterator[Peer]:
    """A caller of a host that knows the token."""
    address = f"{HOST}:{free_ports(HOST, 1)[0]}"
    addresses = [address, f"unix:{socket}"]
    host = NativeHost(
        [method],
        pipeline,
        addresses,
        message_limit_bytes=LIMIT_BYTES,
        call_timeout_seconds=5,
        json_forms=json_forms(LIMIT_BYTES),
        **CONNECTION_LIMITS,
    )
    await host.start()
    async with connected(address) as opened:
        for _ in range(2):
            await opened.answer(await begin(opened, token, message("9")))
        begun.clear()
        yield opened
    await host.drain(0)


async def begin(peer: Peer, token: str, body: bytes, *more: tuple[bytes, bytes]) -> int:
    stream_id = peer.begin(grpc_headers(APPLY, (b"authorization", b"Bearer " + token.encode()), *more))
    await peer.send(stream_id, frame(body), end=True)
    return stream_id


async def called_at_once(peer: Peer, token: str, *bodies: bytes) -> list[Answer]:
    """Calls that are all there before the event loop looks."""
    streams = [await begin(peer, token, body) for body in bodies]
    time.sleep(0.2)  # noqa: ASYNC251 - that is what this is for
    return [await peer.answer(stream) for stream in streams]


async def called_with_one_large(peer: Peer, token: str) -> list[Answer]:
    """Three calls at once; of the second, it is said that its body was large."""
    large = (b"x-request-body-bytes", b"9999999")
    streams = [await begin(peer, token, message(str(user)), *more) for user, more in ((1, ()), (2, (large,)), (3, ()))]
    time.sleep(0.2)  # noqa: ASYNC251 - they are to be taken together
    return [await peer.answer(stream) for stream in streams]


async def test_regular_calls_begin_together_and_end_as_they_would_alone(
    peer: Peer, token: str, pipeline: Pipeline, method: Method[Any], begun: list[Any], plain: RedisCluster
) -> None:
    bodies = [message("1"), message("2", "3"), message("?"), message("4", validate_only=True), message(), message("5")]
    answers = await called_at_once(peer, token, *bodies)
    assert begun == [(3, True)]  # those behind an odd one follow it
    assert [answer.message for answer in answers] == [
        await pipeline.run(method, body, Call(token, "", None)) for body in bodies
    ]
    assert [await plain.hgetall(f"m:p:{user}") for user in (1, 2, 3, 5)] == [{b"12": b"0"}] * 4
    assert not await plain.exists("m:p:4")


async def test_what_every_call_in_json_says_leaves_it_regular(
    peer: Peer, token: str, pipeline: Pipeline, method: Method[Any], begun: list[Any]
) -> None:
    bodies = [message("1", detail=False), message("?"), message("?", detail=False), message("?", detail=True)]
    answers = await called_at_once(peer, token, *bodies)
    assert begun == [(3, True)]
    assert [answer.message for answer in answers] == [
        await pipeline.run(method, body, Call(token, "", None)) for body in bodies
    ]
    assert answers[1].message == answers[3].message != answers[2].message  # that has no paths


async def test_none_overtakes_an_earlier_one_that_is_not_regular(
    peer: Peer, token: str, begun: list[Any], plain: RedisCluster
) -> None:
    """Of two calls of a user, the later one counts, whichever of them says more than users."""
    odd_first = [message("1", value=1, detail=True), message("1", value=2)]
    odd_last = [message("2", value=1), message("2", value=2, detail=True)]
    answers = await called_at_once(peer, token, *odd_last, *odd_first, message("3"))
    assert [answer.grpc_status for answer in answers] == [OK] * 5
    assert [await plain.hget(f"m:p:{user}", "12") for user in (1, 2, 3)] == [b"2", b"2", b"0"]
    assert begun == [(1, True)]


async def test_tokens_that_come_together_are_told_apart(
    peer: Peer, token: str, worker: AccountWorker, begun: list[Any]
) -> None:
    """Though both are known."""
    unknown, other = "x" * len(token), await worker.sign_in()
    await peer.answer(await begin(peer, other, message("9")))
    begun.clear()
    tokens = (token, token, unknown, other, other, unknown)
    streams = [await begin(peer, each, message("1")) for each in tokens]
    time.sleep(0.2)  # noqa: ASYNC251 - they are to be taken together
    statuses = [(await peer.answer(stream)).grpc_status for stream in streams]
    assert statuses == [OK, OK, UNAUTHENTICATED] * 2
    assert begun == [(2, True), (2, True)]


async def test_they_are_counted_each(peer: Peer, token: str, begun: list[Any]) -> None:
    def counts() -> list[float]:
        write_down()
        labels = {"method": method_name, "code": "OK"}
        return [
            REGISTRY.get_sample_value("instant_audience_calls_total", labels) or 0.0,
            REGISTRY.get_sample_value("instant_audience_waiting_seconds_count") or 0.0,
        ]

    def seconds() -> float:
        labels = {"method": method_name, "outcome": "ok"}
        return REGISTRY.get_sample_value("instant_audience_call_seconds_sum", labels) or 0.0

    method_name = APPLY.removeprefix("/")
    before, earlier_seconds = counts(), seconds()
    await called_at_once(peer, token, *[message(str(user)) for user in range(1, 8)])

    async def are_counted() -> None:
        assert [after - earlier for after, earlier in zip(counts(), before, strict=True)] == [7, 7]

    await eventually(are_counted)
    assert begun == [(7, True)]
    assert seconds() - earlier_seconds > 7 * 0.1, "from when they came"


async def test_a_failure_is_the_calls_own(peer: Peer, token: str, begun: list[Any], plain: RedisCluster) -> None:
    await plain.set("m:p:2", "no hash")
    with capture_logs() as logs:
        answers = await called_at_once(peer, token, message("1"), message("2"), message("3"))
    assert begun == [(3, True)]
    assert [answer.grpc_status for answer in answers] == [OK, INTERNAL, OK]
    assert answers[1].headers["grpc-message"].startswith(DEFECT_TEXT.split(" ", 1)[0])
    assert [entry["event"] for entry in logs].count("call_defect") == 1


@pytest.mark.usefixtures("peer")
async def test_where_one_is_too_large_each_begins_alone(socket: Path, token: str, begun: list[Any]) -> None:
    async with connected(f"unix:{socket}") as gateway:
        answers = await called_with_one_large(gateway, token)
    assert begun == [(3, False)]
    assert [answer.grpc_status for answer in answers] == [OK, RESOURCE_EXHAUSTED, OK]


async def test_who_calls_cannot_say_that_a_call_is_large(peer: Peer, token: str, begun: list[Any]) -> None:
    answers = await called_with_one_large(peer, token)
    assert begun == [(3, True)]
    assert [answer.grpc_status for answer in answers] == [OK, OK, OK]


async def test_where_they_cannot_begin_together_each_is_answered(
    peer: Peer, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bool:
        raise KeyError("broken")

    monkeypatch.setattr(DirectCalls, "begin_together", broken)
    answers = await called_at_once(peer, token, message("1"), message("2"))
    assert [answer.grpc_status for answer in answers] == [OK, OK]


async def test_where_there_is_no_room_for_all_they_take_turns(
    peer: Peer, token: str, begun: list[Any], monkeypatch: pytest.MonkeyPatch, admission: Admission
) -> None:
    admission.most_running = 1
    monkeypatch.setattr(prices, "PARTS", 2)
    monkeypatch.setattr(prices, "FIRST_TAKES", 1)
    monkeypatch.setattr(prices, "TURN_PLACES", 1)
    answers = await called_at_once(peer, token, *[message(str(user)) for user in range(1, 8)])
    assert [answer.grpc_status for answer in answers] == [OK] * 7
    assert sum(count for count, _ in begun) == 7
    assert len(begun) > 1
    assert (admission.under_way, admission.waiting, admission.room) == (0, 0, 2)


async def test_one_that_has_left_is_not_carried_out(
    peer: Peer, token: str, admission: Admission, monkeypatch: pytest.MonkeyPatch, plain: RedisCluster
) -> None:
    begin_together = DirectCalls.begin_together

    def left_by_one(direct: DirectCalls, method: Method[Any], calls: Sequence[Gathered], caller: Caller) -> bool:
        has_begun = begin_together(direct, method, calls, caller)
        for _ in range(2):
            direct.leave(calls[1].number)
        return has_begun

    monkeypatch.setattr(DirectCalls, "begin_together", left_by_one)
    streams = [await begin(peer, token, message(str(user))) for user in (1, 2, 3)]
    time.sleep(0.2)  # noqa: ASYNC251 - they are to be taken together
    for stream in (streams[0], streams[2]):
        assert (await peer.answer(stream)).grpc_status == OK
    assert admission.under_way == 0
    assert [await plain.exists(f"m:p:{user}") for user in (1, 2, 3)] == [1, 0, 1]
