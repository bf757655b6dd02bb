"""REST requests that come slowly or never end: their callers' fault, told in time (source: contract, "Errors")."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from google.rpc import code_pb2
from support.contract.answers import assert_http_error
from support.contract.messages import APPLY
from support.service.running import HOST_MODES, Service, running_service
from support.service.usage import failed_calls
from support.waiting import eventually
from support.wire.floods import posting_headers
from support.wire.http1 import answer_to
from support.wire.peer import connected, grpc_headers

pytestmark = pytest.mark.wide

CALL_SECONDS = 2.0
"""In half of it, the gateway has what it refuses counted, or not at all (ADR 23); a busy machine needs that time."""
GRACE_SECONDS = 1.0
"""The gateway's (`GatewaySettings`)."""
SLACK_SECONDS = 8.0
"""On a busy machine."""
LATE_SECONDS = 0.75 * CALL_SECONDS
"""Twice, it is too late."""
TEXT = "The request did not arrive in time."

TOKEN = "authorization: {token}\r\n"
SIZED, CHUNKED = "content-length: 1000\r\n\r\n", "transfer-encoding: chunked\r\n\r\n"
POST = "POST /rt-segment HTTP/1.1\r\nhost: a\r\n"


@dataclass(frozen=True)
class Sender:
    """A request's head, and the pieces of its body: one every `every_seconds`, then nothing more."""

    head: str
    pieces: list[bytes] = field(default_factory=list)
    every_seconds: float = 0.0


SENDERS = {
    "a byte now and then": Sender(POST + TOKEN + SIZED, [b"{"] * 100, 0.1),
    "a chunk now and then": Sender(POST + TOKEN + CHUNKED, [b"1\r\n{\r\n"] * 100, 0.1),
    "no byte": Sender(POST + TOKEN + SIZED),
    "no chunk": Sender(POST + TOKEN + CHUNKED),
    "a part": Sender(POST + TOKEN + SIZED, [b'{"rt_segment":[']),
    "no last chunk": Sender(POST + TOKEN + CHUNKED, [b"2\r\n{}\r\n"]),
    "the end comes too late": Sender(POST + TOKEN + CHUNKED, [b"2\r\n{}\r\n", b"", b"0\r\n\r\n"], LATE_SECONDS),
    "a known end comes too late": Sender(POST + TOKEN + "content-length: 2\r\n\r\n", [b"{", b"", b"}"], LATE_SECONDS),
    "a sign-in": Sender("POST /auth HTTP/1.1\r\nhost: a\r\n" + SIZED, [b"{"]),
    "a body that nobody needs": Sender("GET /rt-segment?user_id=1 HTTP/1.1\r\nhost: a\r\n" + TOKEN + SIZED),
    "no token": Sender(POST + SIZED),
}


@pytest.fixture(scope="module", params=HOST_MODES)
async def impatient(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    """A service whose calls may take two seconds."""
    arguments = ("--workers", "1", "--call-timeout-seconds", str(CALL_SECONDS))
    async with running_service(*arguments, host_mode=request.param) as running:
        yield running


async def test_what_does_not_come_in_time_is_answered_with_408(impatient: Service) -> None:
    token = await impatient.token()

    async def send(sender: Sender) -> None:
        head = sender.head.format(token=token).encode()
        started = time.monotonic()
        answer = await answer_to(impatient.http_address, head, *sender.pieces, every_seconds=sender.every_seconds)
        assert_http_error(answer, 408, "SYNTAX", TEXT)
        assert time.monotonic() - started < CALL_SECONDS + GRACE_SECONDS + SLACK_SECONDS

    async with asyncio.TaskGroup() as tasks, impatient.http(headers={"authorization": token}) as http:
        for what, sender in SENDERS.items():
            tasks.create_task(send(sender), name=what)
        for _ in range(20):
            assert (await http.post("/rt-segment", json={"rt_segment": []})).status_code == 200
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("port", ["gateway", "direct"])
async def test_the_same_over_http2_leaves_the_connection_to_others(impatient: Service, port: str) -> None:
    before, unused = await failed_calls(impatient), await impatient.sign_in("demo")  # which no worker knows yet
    headers = posting_headers(await impatient.token())
    address = {"gateway": impatient.http_address, "direct": impatient.grpc_address}[port]
    async with connected(address) as peer:
        slow = peer.begin(posting_headers(unused))
        for _ in range(5):
            await peer.send(slow, b"{")
            assert (await peer.call(headers, b'{"rt_segment":[]}')).http_status == 200
            await asyncio.sleep(0.1)
        answer = await peer.answer(slow, CALL_SECONDS + GRACE_SECONDS + SLACK_SECONDS)
        assert answer.http_status == 408
        assert json.loads(answer.data) == {"response": {"status": "ERROR", "error_id": "SYNTAX", "error": TEXT}}
        assert (await peer.call(headers, b'{"rt_segment":[]}')).http_status == 200

    async def is_counted() -> None:  # the answer does not wait for that on a worker's port
        assert await failed_calls(impatient) == before | {"timeout": before.get("timeout", 0) + 1}

    await eventually(is_counted)


async def test_a_grpc_message_that_does_not_come_is_not_waited_for(impatient: Service) -> None:
    """Whatever deadline its caller has."""
    authorization = (b"authorization", (await impatient.token()).encode())

    async def call(address: str) -> None:
        async with connected(address) as peer:
            silent = peer.begin(grpc_headers(APPLY, authorization))
            assert (await peer.call(grpc_headers(APPLY), b"")).grpc_status == code_pb2.UNAUTHENTICATED
            assert (await peer.call(grpc_headers(APPLY, authorization), b"")).grpc_status == code_pb2.INVALID_ARGUMENT
            answer = await peer.answer(silent, CALL_SECONDS + SLACK_SECONDS)
            assert answer.grpc_status == code_pb2.UNAVAILABLE
            assert answer.headers["grpc-message"].startswith("the request did not arrive in time")
            assert answer.headers["error-id"] == "SYSTEM"

    await asyncio.gather(*map(call, (impatient.http_address, impatient.grpc_address)))


async def test_what_comes_too_slowly_counts(impatient: Service) -> None:
    """Where its length is not said, on every host; the service waits for no other one's end."""
    before = await failed_calls(impatient)
    head = f"POST /mapuid HTTP/1.1\r\nhost: a\r\nauthorization: {await impatient.token()}\r\n{CHUNKED}"
    assert_http_error(await answer_to(impatient.http_address, head.encode(), b"1\r\n{\r\n"), 408, "SYNTAX")

    async def is_counted() -> None:  # the answer waits for that for a fifth of a second (`FAILURE_SECONDS`)
        assert await failed_calls(impatient) == before | {"timeout": before.get("timeout", 0) + 1}

    await eventually(is_counted)


async def test_a_bad_chunk_in_the_middle_is_answered_with_400(impatient: Service) -> None:
    head = (POST + TOKEN + CHUNKED).format(token=await impatient.token()).encode()
    answer = await answer_to(impatient.http_address, head, b"1\r\n{\r\n", b"zz\r\n", every_seconds=0.1)
    assert_http_error(answer, 400, "SYNTAX")
