"""Whose turn it is, on the native host: calls wait where Python does not know of them (docs/adr/0018-admission.md)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import hpack
import pytest
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from instantaudience_server.admission import admission as admission_module
from instantaudience_server.admission import prices
from instantaudience_server.admission.admission import Admission
from instantaudience_server.catalog.access import Caller
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.process.processes import free_ports
from instantaudience_server.store.interfaces.usage import CallFailure
from instantaudience_server.transport.calls.call import Call
from instantaudience_server.transport.calls.kinds import Method, PublicMethod
from instantaudience_server.transport.framing import frame
from instantaudience_server.transport.hosts import native
from instantaudience_server.transport.hosts.native import NativeHost, missing
from support.parts.callers import caller, demo_catalog
from support.parts.limits import CALL_LIMITS, CONNECTION_LIMITS
from support.parts.pipelines import pipeline_of
from support.waiting import eventually, until
from support.wire.http2 import DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, http2_frame
from support.wire.peer import Answer, Peer, connected, grpc_headers

pytestmark = pytest.mark.process

if reason := missing():
    pytest.skip(f"the native host cannot run here: {reason}", allow_module_level=True)

HOST = "127.0.0.1"
MOST_RUNNING = 2
WORK, PUBLIC = "/test/Work", "/test/Public"
OK, UNAVAILABLE, NOAUTH = 0, 14, 16
CONNECTIONS, CALLS_EACH = 11, 95
TOKENS = {"flood": "demo", "neighbour": "private", "admin": "admin"}
"""Tokens, and the accounts of the demo catalog that they belong to."""


class Work:
    """Calls end one after the other, when they are told to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.running: list[asyncio.Event] = []

    async def run(self, request: Struct, caller: Caller, deadline: float) -> Message:
        self.begun.append(request["name"])
        end = asyncio.Event()
        self.running.append(end)
        try:
            await end.wait()
        finally:
            self.running.remove(end)
        return request

    async def public(self, request: Struct, _: Call, deadline: float) -> Message:
        return request

    async def end_one(self) -> None:
        """End the oldest."""
        oldest = self.running[0]
        oldest.set()
        await until(lambda: oldest not in self.running)


class Tokens:
    """Knows `TOKENS`, and how often it was asked."""

    def __init__(self) -> None:
        catalog = demo_catalog()
        self._callers = {token: caller(username, catalog) for token, username in TOKENS.items()}

    def member_of(self, token: str) -> int:
        return self._callers[token].member.id

    async def verify(self, token: str, deadline: float) -> Caller:
        if token not in self._callers:
            raise AudienceError(Reason.NOAUTH, "The token is not known")
        return self._callers[token]


class Usage:
    """How many failures each member had."""

    def __init__(self) -> None:
        self.failures: dict[int, int] = {}

    def count_failure(self, member_id: int, failure: CallFailure, calls: int = 1) -> "asyncio.Future[None]":
        assert failure is CallFailure.UNAVAILABLE
        self.failures[member_id] = self.failures.get(member_id, 0) + calls
        counted = asyncio.get_running_loop().create_future()
        counted.set_result(None)
        return counted


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
def usage() -> Usage:
    return Usage()


@pytest.fixture
async def admission() -> Admission:
    return Admission(lambda low, _: low, **CALL_LIMITS | {"most_running": MOST_RUNNING})


@pytest.fixture
async def peer(
    monkeypatch: pytest.MonkeyPatch, work: Work, tokens: Tokens, usage: Usage, admission: Admission
) -> AsyncIterator[Peer]:
    """A caller of a host where two calls run at once, and none runs slowly; the others are patient."""
    monkeypatch.setattr(prices, "FIRST_TAKES", 1)
    monkeypatch.setattr(prices, "PARTS", 1)
    monkeypatch.setattr(prices, "TURN_PLACES", 1)
    monkeypatch.setattr(prices, "KEPT_PLACES", 0)
    monkeypatch.setattr(admission_module, "SLOW_SECONDS", 60.0)
    monkeypatch.setattr(native, "COUNT_SECONDS", 0.05)
    monkeypatch.setattr(native, "PATIENCE_SECONDS", 60.0)
    pipeline = pipeline_of(tokens, usage, admission, call_timeout_seconds=60.0, body_limit_bytes=1_000_000)  # type: ignore[arg-type]
    methods = [Method(WORK, Struct, work.run), PublicMethod(PUBLIC, Struct, work.public)]
    address = f"{HOST}:{free_ports(HOST, 1)[0]}"
    host = NativeHost(
        methods, pipeline, [address], message_limit_bytes=1_000_000, call_timeout_seconds=60.0, **CONNECTION_LIMITS
    )
    await host.start()
    async with connected(address) as opened:
        for token in TOKENS:  # so that the host learns them
            call = asyncio.create_task(called(opened, token))
            await until(lambda: bool(work.running))
            await work.end_one()
            assert (await call).grpc_status == OK
        work.begun.clear()
        yield opened
        for running in work.running:
            running.set()
    await host.drain(0)


async def begin(peer: Peer, token: str, name: str = "", path: str = WORK, *more: tuple[bytes, bytes]) -> int:
    """A call that is not waited for."""
    request = Struct()
    request.update({"name": name or token})
    stream_id = peer.begin(grpc_headers(path, (b"authorization", token.encode()), *more))
    await peer.send(stream_id, frame(request.SerializeToString()), end=True)
    return stream_id


async def called(peer: Peer, *arguments: Any) -> Answer:
    return await peer.answer(await begin(peer, *arguments))


async def full(peer: Peer, work: Work) -> None:
    """As many calls run as may."""
    for number in range(MOST_RUNNING):
        await begin(peer, "flood", f"running {number}")
    await until(lambda: len(work.running) == MOST_RUNNING)


async def have_begun(work: Work, calls: int) -> None:
    await until(lambda: len(work.begun) == calls)


async def wait_for_their_turn(admission: Admission, calls: int) -> None:
    await until(lambda: admission.waiting_at_host == calls)


async def test_members_take_turns(peer: Peer, work: Work, admission: Admission) -> None:
    await full(peer, work)
    calls = [("flood", number) for number in range(5)] + [("neighbour", number) for number in range(2)]
    for waiting, (member, number) in enumerate(calls, 1):
        await begin(peer, member, f"{member} {number}")
        await wait_for_their_turn(admission, waiting)
    assert len(work.begun) == MOST_RUNNING
    for ended in range(1, len(calls) + 1):
        await work.end_one()
        await have_begun(work, MOST_RUNNING + ended)
    assert work.begun[MOST_RUNNING:] == [
        "flood 0", "neighbour 0", "flood 1", "neighbour 1", "flood 2", "flood 3", "flood 4"
    ]  # fmt: skip


async def test_calls_wait_for_those_that_run_to_begin_together(
    peer: Peer, work: Work, admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    admission.most_running = 8
    monkeypatch.setattr(native, "TOGETHER_SECONDS", 60.0)
    await begin(peer, "flood", "first")
    await have_begun(work, 1)
    for number in range(3):
        await begin(peer, "flood", f"flood {number}")

    async def all_wait() -> None:
        # Who comes while others wait is seen when Python looks next, in a minute, or when one comes who need not wait.
        await called(peer, "admin", "", PUBLIC)
        assert admission.waiting_at_host == 3

    await eventually(all_wait)
    assert work.begun == ["first"]
    await work.end_one()
    await have_begun(work, 4)


async def test_calls_wait_a_moment_for_those_that_run(
    peer: Peer, work: Work, admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    admission.most_running = 8
    monkeypatch.setattr(native, "TOGETHER_SECONDS", 0.05)
    for number in range(8):
        await begin(peer, "flood", f"flood {number}")
        await have_begun(work, number + 1)
    assert len(work.running) == 8


async def test_what_a_call_has_waited_is_judged_once(
    peer: Peer, work: Work, admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host is as patient as Python, so calls that waited nearly too long there would be refused here."""
    for name in ("PATIENCE_SECONDS", "FEW"):
        monkeypatch.setattr(admission_module, name, 0)
    await full(peer, work)
    waiting = await begin(peer, "flood", "has waited")
    await wait_for_their_turn(admission, 1)
    for _ in range(MOST_RUNNING):
        await work.end_one()
    await have_begun(work, MOST_RUNNING + 1)
    await work.end_one()
    assert (await peer.answer(waiting)).grpc_status == OK


async def test_tokens_that_nobody_knows_have_one_queue(peer: Peer, work: Work, admission: Admission) -> None:
    """Made-up tokens get no turns of their own; that they are wrong is said when their turn comes."""
    await full(peer, work)
    made_up = [await begin(peer, f"made up {number}") for number in range(50)]
    await wait_for_their_turn(admission, len(made_up))
    neighbour = await begin(peer, "neighbour")
    await wait_for_their_turn(admission, len(made_up) + 1)
    await work.end_one()
    await have_begun(work, MOST_RUNNING + 1)
    assert work.begun[-1] == "neighbour"
    await wait_for_their_turn(admission, len(made_up) - 1)
    await work.end_one()
    assert [(await peer.answer(stream_id)).grpc_status for stream_id in made_up] == [NOAUTH] * 50
    await work.end_one()
    assert (await peer.answer(neighbour)).grpc_status == OK


async def test_who_waits_for_nobody(peer: Peer, work: Work) -> None:
    await full(peer, work)
    assert (await called(peer, "flood", "", PUBLIC)).grpc_status == OK
    await begin(peer, "admin")
    await until(lambda: "admin" in work.begun)


async def test_who_has_waited_too_long_is_refused(peer: Peer, work: Work, tokens: Tokens, usage: Usage) -> None:
    before = admission_refusals("waited")
    await full(peer, work)
    hurried = [await begin(peer, "flood", "late", WORK, (b"grpc-timeout", b"800m")) for _ in range(6)]
    patient = await begin(peer, "neighbour")
    answers = [await peer.answer(stream_id) for stream_id in hurried]
    assert [answer.grpc_status for answer in answers] == [UNAVAILABLE] * 6
    assert sorted(answer.headers["retry-after"] for answer in answers) == ["1", "1", "2", "2", "3", "3"]
    assert {answer.headers["error-id"] for answer in answers} == {"SYSTEM"}
    assert "overloaded" in answers[0].headers["grpc-message"]
    await until(lambda: usage.failures == {tokens.member_of("flood"): 6})
    assert admission_refusals("waited") == before + 6
    await work.end_one()
    await have_begun(work, MOST_RUNNING + 1)
    assert work.begun[MOST_RUNNING:] == ["neighbour"]
    await work.end_one()
    await work.end_one()
    assert (await peer.answer(patient)).grpc_status == OK


async def test_where_too_many_wait_some_are_refused_at_once(peer: Peer, work: Work) -> None:
    """Which ones, the crate's own tests tell."""
    before = admission_refusals("full")
    await full(peer, work)
    block = hpack.Encoder().encode(grpc_headers(WORK, (b"authorization", b"flood")))
    calls = b"".join(
        http2_frame(HEADERS, END_HEADERS, stream_id, block) + http2_frame(DATA, END_STREAM, stream_id, frame(b""))
        for stream_id in range(1, 2 * CALLS_EACH, 2)
    )
    connections = [await asyncio.open_connection(HOST, peer.server_port) for _ in range(CONNECTIONS)]
    for _, writer in connections:
        writer.write(PREFACE + http2_frame(SETTINGS, 0, 0, b"") + calls)
    await until(lambda: admission_refusals("full") == before + CONNECTIONS * CALLS_EACH - 1000)
    assert len(work.begun) == MOST_RUNNING
    for _, writer in connections:
        writer.close()
        await writer.wait_closed()


async def test_a_caller_that_leaves_while_it_waits(peer: Peer, work: Work, admission: Admission) -> None:
    await full(peer, work)
    leaving = await begin(peer, "flood", "left")
    await begin(peer, "flood", "stayed")
    await wait_for_their_turn(admission, 2)
    peer.reset(leaving)
    await wait_for_their_turn(admission, 1)
    await work.end_one()
    await have_begun(work, MOST_RUNNING + 1)
    assert work.begun[-1] == "stayed"
    await work.end_one()
    assert "left" not in work.begun


async def test_what_runs_slowly_makes_room(
    peer: Peer, work: Work, admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    await full(peer, work)
    await begin(peer, "neighbour")
    await wait_for_their_turn(admission, 1)
    assert len(work.begun) == MOST_RUNNING
    monkeypatch.setattr(admission_module, "SLOW_SECONDS", 0.1)
    await until(lambda: work.begun[-1] == "neighbour")
    assert len(work.running) == MOST_RUNNING + 1


def admission_refusals(why: str) -> float:
    """How many calls were refused for this reason."""
    (metric,) = admission_module.ADMISSION_REFUSALS.collect()
    return sum(s.value for s in metric.samples if s.name.endswith("_total") and s.labels["reason"] == why)
