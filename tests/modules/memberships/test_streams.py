"""Streams of requests (audience.proto, StreamSegments), from the pipeline down to a real cluster."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import Any

import pytest
from google.rpc import code_pb2
from instantaudience.v1 import audience_pb2 as pb
from instantaudience_server.admission import admission as admission_module
from instantaudience_server.admission import prices
from instantaudience_server.admission.admission import Admission
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.errors import unavailable
from instantaudience_server.memberships.service import MembershipService
from instantaudience_server.observation.observations import write_down
from instantaudience_server.sign_in.tokens import IDLE_MS, TokenService, hash_token
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.session_store import ClusterSessionStore
from instantaudience_server.transport.calls import backlogs
from instantaudience_server.transport.calls.call import Call
from instantaudience_server.transport.calls.kinds import StreamMethod
from instantaudience_server.transport.calls.outcomes import CallError
from instantaudience_server.transport.calls.pipeline import Pipeline
from instantaudience_server.transport.methods.audience import audience_methods
from instantaudience_server.usage.counting import Usage
from prometheus_client import REGISTRY
from redis.asyncio import RedisCluster
from structlog.testing import capture_logs
from support.clocks import FakeClock
from support.parts.limits import usual_admission
from support.parts.pipelines import pipeline_of
from support.parts.readings import CATALOG
from support.waiting import seconds_from_now, turns, until

TOKEN = "hbapi:1001:5ec4e7:ams1"
CALL = Call(TOKEN, "r-1", None)
WINDOW, LIMIT_BYTES = 4, 10_000


@pytest.fixture
async def tokens(cluster: Cluster, clock: FakeClock, plain: RedisCluster) -> AsyncIterator[TokenService]:
    """One token is out, of the demo user."""
    await plain.set(f"t:{hash_token(TOKEN)}", f"1001 {clock.ms} 0", pxat=clock.ms + IDLE_MS)
    feed = CatalogFeed(ClusterCatalogStore(cluster), CATALOG)
    tokens = TokenService(feed, ClusterSessionStore(cluster), clock, str, "ams1")
    yield tokens
    await tokens.close()


@pytest.fixture
async def pipeline(tokens: TokenService, usage: Usage) -> Pipeline:
    return pipeline_of(tokens, usage, body_limit_bytes=LIMIT_BYTES, stream_window=WINDOW)


@pytest.fixture
def method(service: MembershipService) -> StreamMethod[Any]:
    """StreamSegments, as it is served."""
    methods = audience_methods(service)
    return next(method for method in methods if isinstance(method, StreamMethod))


def body(user_id: int, **block: int) -> bytes:
    request = pb.StreamSegmentsRequest()
    request.rt_segment.add(user_id=str(user_id)).seg_block.add(**block)
    return request.SerializeToString()


async def sent(bodies: Iterable[bytes]) -> AsyncIterator[bytes]:
    for each in bodies:
        yield each


async def answers(
    pipeline: Pipeline, method: StreamMethod[Any], bodies: AsyncIterator[bytes]
) -> list[pb.StreamSegmentsResponse]:
    return [pb.StreamSegmentsResponse.FromString(answer) async for answer in pipeline.run_stream(method, bodies, CALL)]


async def collect(answered: list[bytes], stream: AsyncIterator[bytes]) -> None:
    """As far as the stream goes."""
    async for answer in stream:
        answered.append(answer)


async def test_requests_are_answered_and_applied_in_order(
    pipeline: Pipeline, method: StreamMethod[Any], plain: RedisCluster
) -> None:
    bodies = [body(1 + index % 7, seg_id=12, value=index, expiration=-1 if index % 3 else 0) for index in range(300)]
    bodies[150] = pb.StreamSegmentsRequest().SerializeToString()
    answered = await answers(pipeline, method, sent(bodies))
    counts = [answer.response.message.users_in_request for answer in answered]
    assert counts == [int(index != 150) for index in range(300)]
    assert answered[150].response.warnings[0].message == "No valid rt_segment in request."
    for user in range(7):
        last = max(index for index in range(300) if index % 7 == user)
        expected = {} if last % 3 else {b"12": b"%d" % last}
        assert await plain.hgetall(f"m:p:{1 + user}") == expected


async def test_a_request_that_fails_is_answered_in_its_place_and_the_stream_goes_on(
    pipeline: Pipeline, method: StreamMethod[Any], plain: RedisCluster
) -> None:
    malformed = pb.StreamSegmentsRequest()
    malformed.rt_segment.add(user_id="2")
    bodies = [
        body(1, seg_id=12, value=1),
        b"\xff",
        body(1, seg_id=12, value=2),
        b"\x00" * (LIMIT_BYTES + 1),
        b"\x0a\x06\x0a\x012\x12\x01\x08",  # a block that is cut off
        body(1, seg_id=12, value=3),
    ]
    answered = await answers(pipeline, method, sent(bodies))
    assert [answer.WhichOneof("outcome") for answer in answered] == [
        "response",
        "error",
        "response",
        "error",
        "error",
        "response",
    ]
    assert [answered[index].error.code for index in (1, 3, 4)] == [
        code_pb2.INVALID_ARGUMENT,
        code_pb2.RESOURCE_EXHAUSTED,
        code_pb2.INVALID_ARGUMENT,
    ]
    assert b"SYNTAX" in answered[1].error.details[0].value
    assert await plain.hgetall("m:p:1") == {b"12": b"3"}


async def test_requests_after_the_tokens_end_are_refused_in_their_places(
    pipeline: Pipeline, method: StreamMethod[Any], clock: FakeClock, plain: RedisCluster
) -> None:
    async def bodies() -> AsyncIterator[bytes]:
        yield body(1, seg_id=12, value=1)
        session = await plain.getdel(f"t:{hash_token(TOKEN)}")
        clock.ms += 1000
        yield body(1, seg_id=12, value=2)
        yield body(1, seg_id=12, value=3)
        await plain.set(f"t:{hash_token(TOKEN)}", session)
        yield body(1, seg_id=12, value=4)

    answered: list[bytes] = []
    await collect(answered, pipeline.run_stream(method, bodies(), CALL))
    answers = [pb.StreamSegmentsResponse.FromString(each) for each in answered]
    unauthenticated = code_pb2.UNAUTHENTICATED
    assert [answer.error.code for answer in answers] == [0, unauthenticated, unauthenticated, 0]
    assert await plain.hgetall("m:p:1") == {b"12": b"4"}


@pytest.mark.parametrize("authorization", ["", "hbapi:1001:wrong:ams1"])
async def test_without_a_token_nothing_is_read(
    pipeline: Pipeline, method: StreamMethod[Any], authorization: str
) -> None:
    read = []

    async def bodies() -> AsyncIterator[bytes]:
        read.append(1)
        yield body(1, seg_id=12)

    with pytest.raises(CallError) as refused:
        await collect([], pipeline.run_stream(method, bodies(), Call(authorization, "", None)))
    assert refused.value.failure.code == code_pb2.UNAUTHENTICATED
    assert read == []


class Gates:
    """A method whose requests finish when they are told; the user ID is the gate's number."""

    def __init__(self) -> None:
        self.read = self.finished = self.cancelled = 0
        self.gates = [asyncio.Event() for _ in range(100)]
        self.method = StreamMethod("/audience/Gates", pb.GetMembershipsRequest, self._start, self._refuse)

    async def _start(self, request: Any, calling: Any, deadline: float) -> Awaitable[pb.UserMemberships]:
        return self._finish(request)

    async def _finish(self, request: Any) -> pb.UserMemberships:
        try:
            await self.gates[int(request.user_id)].wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.finished += 1
        if request.domain:
            raise {"unavailable": unavailable("not now"), "defect": KeyError("12345678900987654321")}[request.domain]
        return pb.UserMemberships(user_id=request.user_id)

    def _refuse(self, failure: Any) -> pb.StreamSegmentsResponse:
        return pb.StreamSegmentsResponse(error=failure.status)

    async def bodies(self, count: int, domains: dict[int, str] | None = None) -> AsyncIterator[bytes]:
        for index in range(count):
            self.read += 1
            domain = (domains or {}).get(index, "")
            yield pb.GetMembershipsRequest(user_id=str(index), domain=domain).SerializeToString()


@pytest.fixture
async def one_place(monkeypatch: pytest.MonkeyPatch) -> Admission:
    """One call runs at a time, however long it takes."""
    monkeypatch.setattr(admission_module, "SLOW_SECONDS", 60.0)
    monkeypatch.setattr(prices, "KEPT_PLACES", 0)
    return Admission(lambda low, _: low, most_running=1, most_waiting=10)


@pytest.mark.parametrize("call_timeout_seconds", [5.0, 0.03])
async def test_requests_that_have_come_begin_together_when_it_is_their_turn(
    tokens: TokenService,
    usage: Usage,
    method: StreamMethod[Any],
    plain: RedisCluster,
    one_place: Admission,
    call_timeout_seconds: float,
) -> None:
    """Where it does not come in time, each is refused in its place."""
    pipeline = pipeline_of(tokens, usage, one_place, call_timeout_seconds=call_timeout_seconds, stream_window=30)
    await tokens.verify(TOKEN, seconds_from_now())
    other = await one_place.enter(0, seconds_from_now())
    come = deque([body(user, seg_id=12, value=1) for user in range(1, 11)])
    answered: list[bytes] = []
    calls, batches = _gathered()
    stream = pipeline.run_stream(method, sent([come.popleft()]), CALL, lambda: come.popleft() if come else None)
    collecting = asyncio.create_task(collect(answered, stream))
    if call_timeout_seconds == 5.0:
        await asyncio.sleep(1.2)  # longer than other calls wait
        await until(lambda: one_place.waiting == 1)
        assert len(come) == 9
        one_place.leave(other)
    await collecting
    codes = {pb.StreamSegmentsResponse.FromString(answer).error.code for answer in answered}
    expected = ({code_pb2.OK}, 10, 1) if call_timeout_seconds == 5.0 else ({code_pb2.UNAVAILABLE}, 0, 0)
    assert (codes, _gathered()[0] - calls, _gathered()[1] - batches) == expected
    assert (len(answered), await plain.hgetall("m:p:10")) == (10, {b"12": b"1"} if expected[1] else {})


@pytest.mark.parametrize(
    ("odd", "code"),
    [(b"\xff", code_pb2.INVALID_ARGUMENT), (bytes(LIMIT_BYTES + 1), code_pb2.RESOURCE_EXHAUSTED)],
    ids=["unreadable", "too long"],
)
async def test_one_that_cannot_be_read_waits_for_one_turn(
    method: StreamMethod[Any],
    tokens: TokenService,
    usage: Usage,
    one_place: Admission,
    odd: bytes,
    code: int,
) -> None:
    """It waited for another one after it, behind whoever had come meanwhile, with all of its time once more."""
    pipeline = pipeline_of(tokens, usage, one_place, body_limit_bytes=LIMIT_BYTES)
    await tokens.verify(TOKEN, seconds_from_now())
    first = await one_place.enter(0, seconds_from_now())
    answered: list[bytes] = []
    collecting = asyncio.create_task(collect(answered, pipeline.run_stream(method, sent([odd]), CALL)))
    await until(lambda: one_place.waiting == 1)
    behind = asyncio.create_task(one_place.enter(0, seconds_from_now()))
    await until(lambda: one_place.waiting == 2)
    one_place.leave(first)
    await collecting
    (answer,) = answered
    assert pb.StreamSegmentsResponse.FromString(answer).error.code == code
    one_place.leave(await behind)
    assert one_place.under_way == 0


@pytest.mark.parametrize("by_gateway", [True, False])
async def test_one_of_too_many_streams_that_send_faster_than_they_are_read_ends(
    tokens: TokenService, usage: Usage, monkeypatch: pytest.MonkeyPatch, by_gateway: bool
) -> None:
    """It does not wait for what is under way on it: that may take long, and the gateway holds what was sent behind it.
    Streams that come straight to a worker do not wait in the gateway's memory."""
    monkeypatch.setattr(backlogs, "LOOK_SECONDS", 0.02)
    admission = usual_admission()
    pipeline = pipeline_of(tokens, usage, admission, stream_window=WINDOW, most_backlogs=1)
    call = CALL._replace(by_gateway=by_gateway)
    gates, answered = [Gates(), Gates()], [list[bytes](), list[bytes]()]
    streams = []
    for each, answers in zip(gates, answered, strict=True):
        stream = pipeline.run_stream(each.method, each.bodies(3 * WINDOW), call)
        streams.append(asyncio.create_task(collect(answers, stream)))
    await until(lambda: all(each.read >= WINDOW for each in gates))
    await asyncio.sleep(10 * backlogs.LOOK_SECONDS)
    assert [stream.done() for stream in streams] == [False, by_gateway]
    for each in gates:
        for gate in each.gates:
            gate.set()
    ends = await asyncio.gather(*streams, return_exceptions=True)
    counts = [len(answers) for answers in answered]
    if by_gateway:
        assert ends[0] is None
        assert isinstance(ends[1], CallError)
        assert ends[1].failure.code == code_pb2.UNAVAILABLE
        assert counts == [3 * WINDOW, 0]
    else:
        assert (ends, counts) == ([None, None], [3 * WINDOW, 3 * WINDOW])
    assert admission.under_way == 0


def _gathered() -> tuple[float, float]:
    """Calls that were gathered so far, and batches."""
    write_down()
    name = "instant_audience_gathered_calls"
    values = [REGISTRY.get_sample_value(f"{name}_{part}", {}) for part in ("sum", "count")]
    return values[0] or 0.0, values[1] or 0.0


@pytest.fixture
async def warm(pipeline: Pipeline, tokens: TokenService) -> Pipeline:
    """A pipeline that knows the token already, so that nothing of a stream waits for the cluster."""
    await tokens.verify(TOKEN, seconds_from_now())
    await tokens.close()
    await turns(50)
    return pipeline


async def test_the_window_bounds_what_is_read_and_under_way(warm: Pipeline) -> None:
    gates = Gates()
    stream = warm.run_stream(gates.method, gates.bodies(10), CALL)
    first = asyncio.ensure_future(anext(stream))
    await turns(50)
    assert gates.read == WINDOW
    gates.gates[1].set()  # an answer out of turn makes no room
    await turns(50)
    assert (gates.read, gates.finished, first.done()) == (WINDOW, 1, False)
    gates.gates[0].set()
    await first
    await turns(50)
    assert gates.read == WINDOW  # it has been handed over, and may not have been sent
    await anext(stream)
    await turns(50)
    assert gates.read == WINDOW + 1
    for gate in gates.gates:
        gate.set()
    rest = [pb.UserMemberships.FromString(answer).user_id async for answer in stream]
    assert rest == [str(index) for index in range(2, 10)]


async def test_one_that_fails_late_is_answered_in_its_place(pipeline: Pipeline) -> None:
    gates = Gates()
    for gate in gates.gates:
        gate.set()
    bodies = gates.bodies(3, {1: "unavailable"})
    answered = [answer async for answer in pipeline.run_stream(gates.method, bodies, CALL)]
    assert pb.StreamSegmentsResponse.FromString(answered[1]).error.code == code_pb2.UNAVAILABLE
    assert [pb.UserMemberships.FromString(answered[index]).user_id for index in (0, 2)] == ["0", "2"]


async def test_a_defect_is_answered_in_its_place_with_a_bare_text(pipeline: Pipeline) -> None:
    gates = Gates()
    for gate in gates.gates:
        gate.set()
    bodies = gates.bodies(3, {1: "defect"})
    with capture_logs() as logs:
        answered = [answer async for answer in pipeline.run_stream(gates.method, bodies, CALL)]
    error = pb.StreamSegmentsResponse.FromString(answered[1]).error
    assert (error.code, error.message) == (code_pb2.INTERNAL, "internal error")
    assert [pb.UserMemberships.FromString(answered[index]).user_id for index in (0, 2)] == ["0", "2"]
    assert [(entry["event"], entry["request_id"]) for entry in logs] == [("call_defect", "r-1.2")]


@pytest.mark.parametrize("how", ["cancelled", "closed"])
async def test_a_stream_that_is_left_leaves_nothing_behind(warm: Pipeline, how: str) -> None:
    before = asyncio.all_tasks()
    gates = Gates()
    gates.gates[0].set()
    stream = warm.run_stream(gates.method, gates.bodies(10), CALL)
    await anext(stream)
    await turns(50)
    if how == "cancelled":
        waiting = asyncio.ensure_future(anext(stream))
        await turns(50)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    else:
        await stream.aclose()  # type: ignore[attr-defined]
    await turns(50)
    assert asyncio.all_tasks() == before
    assert gates.cancelled == gates.read - gates.finished > 0


async def test_a_request_that_starts_just_when_its_stream_is_left_is_cancelled_too(warm: Pipeline) -> None:
    gates, go = Gates(), asyncio.Event()

    async def bodies() -> AsyncIterator[bytes]:
        await go.wait()
        async for each in gates.bodies(1):
            yield each

    waiting = asyncio.ensure_future(anext(warm.run_stream(gates.method, bodies(), CALL)))
    await turns(50)
    go.set()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (gates.read, gates.cancelled) == (1, 1)
