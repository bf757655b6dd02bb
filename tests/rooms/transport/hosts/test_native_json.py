"""Calls with JSON on the native host, as the gateway passes them on."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf.message import Message
from instantaudience.v1 import audience_pb2 as pb
from instantaudience_gateway.contract.json_forms import json_forms
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.processes import free_ports
from instantaudience_server.transport.calls.call import Call
from instantaudience_server.transport.calls.kinds import PublicMethod
from instantaudience_server.transport.framing import frame
from instantaudience_server.transport.hosts.native import NativeHost, missing
from instantaudience_server.transport.rest import PASSED_ON_TYPE
from support.hosts.interop_app import CALL_TIMEOUT_SECONDS, LIMIT_BYTES, interop_service
from support.parts.limits import CONNECTION_LIMITS
from support.waiting import eventually
from support.wire.peer import Answer, Headers, Peer, connected, grpc_headers

if reason := missing():
    pytest.skip(f"the native host cannot run here: {reason}", allow_module_level=True)

PATH = "/test/Apply"
GOOD = b'{"rt_segment":[{"user_id":"\\u00e9<"}]}'
ANSWER = '{"response":{"status":"OK","warnings":[{"message":"é\\u003c","entity":{"a":1.5}}]}}'.encode()


class Service:
    """Answers as the first user's ID says."""

    def __init__(self) -> None:
        self.requests: list[pb.ApplySegmentsRequest] = []
        self.calls: list[Call] = []
        self.running = 0

    async def apply(self, request: pb.ApplySegmentsRequest, call: Call, deadline: float) -> Message:
        self.requests.append(request)
        self.calls.append(call)
        user_id = request.rt_segment[0].user_id if request.rt_segment else ""
        if user_id == "hang":
            self.running += 1
            try:
                await asyncio.Event().wait()
            finally:
                self.running -= 1
        if user_id in Reason.__members__:
            raise AudienceError(Reason[user_id], 'no "<é>"', retry_after_seconds=7)
        answer = pb.ApplySegmentsResponse()
        answer.response.status = "OK"
        answer.response.warnings.add(message=user_id, path="unseen").entity.update({"a": 1.5})
        return answer


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def socket(tmp_path: Path) -> str:
    """Where the gateway comes in."""
    return f"unix:{tmp_path}/host.sock"


@pytest.fixture
def port() -> str:
    """Where callers do."""
    return f"127.0.0.1:{free_ports('127.0.0.1', 1)[0]}"


@pytest.fixture
async def peer(service: Service, socket: str, port: str) -> AsyncIterator[Peer]:
    _, pipeline = await interop_service()
    method = PublicMethod(PATH, pb.ApplySegmentsRequest, service.apply)
    host = NativeHost(
        [method],
        pipeline,
        [socket, port],
        message_limit_bytes=LIMIT_BYTES,
        call_timeout_seconds=CALL_TIMEOUT_SECONDS,
        **CONNECTION_LIMITS,
        json_forms=[replace(form, path=PATH) for form in json_forms(LIMIT_BYTES)],
    )
    await host.start()
    async with connected(socket) as opened:
        yield opened
    await host.drain(0)


def headers(*more: tuple[bytes, bytes], path: str = PATH) -> Headers:
    return grpc_headers(path, (b"content-type", PASSED_ON_TYPE.encode()), *more, without=[b"te"])


def assert_refused(answer: Answer, status: int, error_id: str, text: str) -> None:
    assert (answer.http_status, answer.headers["content-type"]) == (status, "application/json")
    expected = {"status": "ERROR", "error_id": error_id, "error": text}
    assert json.loads(answer.data) == {
        "response": expected | ({"error_code": "RATE_EXCEEDED"} if status == 429 else {})
    }
    assert not answer.trailers


async def test_a_call_is_answered_in_json(peer: Peer, service: Service) -> None:
    answer = await peer.call(headers(), GOOD)
    assert answer.headers == {":status": "200", "content-type": "application/json", "content-length": str(len(ANSWER))}
    assert (bytes(answer.data), answer.trailers) == (ANSWER, {})
    assert service.requests[0].rt_segment[0].user_id == "é<"


async def test_a_body_may_come_in_pieces(peer: Peer) -> None:
    for cut in range(1, len(GOOD)):
        answer = await peer.call(headers(), GOOD[:cut], GOOD[cut:])
        assert bytes(answer.data) == ANSWER
    long = GOOD + b" " * 500_000
    assert bytes((await peer.call(headers(), long)).data) == ANSWER


async def test_a_bad_body_is_refused(peer: Peer, service: Service) -> None:
    for body, text in [
        (b"{", "The body is not JSON (byte 2)."),
        (b'{"rt_segment":{}}', "rt_segment: must be a list."),
        (b'{"a":1e999}', "The body must have no number beyond a double (byte 6)."),
    ]:
        assert_refused(await peer.call(headers(), body), 400, "SYNTAX", text)
    assert service.requests == []


async def test_a_body_over_the_limit_is_refused(peer: Peer, service: Service) -> None:
    answer = await peer.call(headers(), b" " * 1000, b" " * LIMIT_BYTES)
    assert (answer.http_status, json.loads(answer.data)["response"]["error_id"]) == (413, "LIMIT")
    assert service.requests == []
    longest = await peer.call(headers(), GOOD, b" " * (LIMIT_BYTES - len(GOOD)))
    assert bytes(longest.data) == ANSWER


async def test_a_body_that_does_not_come_in_time_is_its_senders_fault(peer: Peer, service: Service) -> None:
    stream_id = peer.begin(headers((b"grpc-timeout", b"200m")))
    await peer.send(stream_id, GOOD[:-1])
    assert_refused(await peer.answer(stream_id), 408, "SYNTAX", "The request did not arrive in time.")
    assert service.requests == []


async def test_a_call_knows_how_long_its_body_was(peer: Peer, service: Service) -> None:
    body = GOOD + b" " * 1000
    await peer.call(headers((b"x-request-body-bytes", b"1")), body)
    assert [call.body_bytes for call in service.calls] == [len(body)]


async def test_failures(peer: Peer) -> None:
    for why, status, error_id, more in [
        ("UNAVAILABLE", 503, "SYSTEM", {"retry-after": "7"}),
        ("RATE_LIMIT_EXCEEDED", 429, "RATE_LIMIT_EXCEEDED", {"retry-after": "7", "x-ratelimit-code": "429"}),
        ("NOAUTH_DISABLED", 401, "NOAUTH_DISABLED", {"retry-after": "7", "www-authenticate": "Bearer"}),
        ("CHANGED_MEANWHILE", 409, "INTEGRITY", {"retry-after": "7"}),
    ]:
        answer = await peer.call(headers(), b'{"rt_segment":[{"user_id":"%b"}]}' % why.encode())
        assert_refused(answer, status, error_id, 'no "<é>"')
        assert b'no \\"\\u003c\xc3\xa9\\u003e\\"' in answer.data
        assert answer.headers.items() >= more.items()
        assert answer.headers.keys() == {":status", "content-type", "content-length", "error-id", *more}


async def test_what_callers_send_is_no_such_call(peer: Peer, port: str, service: Service) -> None:
    async with connected(port) as caller:
        assert (await caller.call(headers(), GOOD)).http_status == 415
    for content_type in (b"application/json", PASSED_ON_TYPE.encode() + b";charset=utf-8", b"text/plain"):
        answer = await peer.call(headers((b"content-type", content_type)), GOOD)
        assert answer.http_status == 415
    assert (await peer.call(headers(path="/test/Other"), GOOD)).http_status == 415
    assert (await peer.call(headers((b":method", b"PUT")), GOOD)).http_status == 415
    assert service.requests == []


async def test_grpc_goes_on_as_before(peer: Peer) -> None:
    answer = await peer.call(grpc_headers(PATH), frame(b""))
    assert answer.grpc_status == 0
    assert pb.ApplySegmentsResponse.FromString(answer.message).response.status == "OK"


async def test_a_caller_may_leave(peer: Peer, service: Service) -> None:
    stream_id = peer.begin(headers())
    await peer.send(stream_id, b'{"rt_segment":[{"user_id":"hang"}]}', end=True)

    async def runs(count: int) -> None:
        assert service.running == count

    await eventually(lambda: runs(1), seconds=5)
    peer.reset(stream_id)
    await eventually(lambda: runs(0), seconds=5)
    assert bytes((await peer.call(headers(), GOOD)).data) == ANSWER
