"""Calls with JSON on the native host: as the gateway passes them on, and as they come to a port by the REST path."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2
from instantaudience.v1 import audience_pb2 as pb
from instantaudience_gateway.contract.json_forms import json_forms
from instantaudience_gateway.contract.replies import FOR_GATEWAY, TOO_SLOW, too_large
from instantaudience_server.admission import admission as admission_module
from instantaudience_server.admission import prices
from instantaudience_server.admission.admission import Admission
from instantaudience_server.catalog.access import Caller
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.process.processes import free_ports
from instantaudience_server.transport.calls.call import Call
from instantaudience_server.transport.calls.entrance import Entrance
from instantaudience_server.transport.calls.kinds import Method, PublicMethod
from instantaudience_server.transport.framing import frame
from instantaudience_server.transport.hosts import native
from instantaudience_server.transport.hosts.native import NativeHost, missing
from instantaudience_server.transport.rest import PASSED_ON_TYPE
from support.hosts.interop_app import CALL_TIMEOUT_SECONDS, GOOD_TOKEN, LIMIT_BYTES, interop_service
from support.parts.limits import CALL_LIMITS, CONNECTION_LIMITS
from support.waiting import eventually, until
from support.wire.peer import Answer, Headers, Peer, connected, grpc_headers

pytestmark = pytest.mark.process

if reason := missing():
    pytest.skip(f"the native host cannot run here: {reason}", allow_module_level=True)

PATH, REST_PATH = "/test/Apply", "/rt-segment"
OF_MEMBERS, OF_MEMBERS_REST = "/test/ApplyOfMembers", "/of-members"
"""Likewise, for callers with a token."""
BODY_BYTES = LIMIT_BYTES - 1000
"""How long a body of JSON may be."""
GOOD = b'{"rt_segment":[{"user_id":"\\u00e9<"}]}'
ANSWER = '{"response":{"status":"OK","warnings":[{"message":"é\\u003c","entity":{"a":1.5}}]}}'.encode()


class Service:
    """Answers as the first user's ID says."""

    def __init__(self) -> None:
        self.requests: list[pb.ApplySegmentsRequest] = []
        self.calls: list[Call] = []
        self.running = 0

    async def apply(self, request: pb.ApplySegmentsRequest, call: Call, deadline: float) -> Message:
        self.calls.append(call)
        return await self._answer(request)

    async def _answer(self, request: pb.ApplySegmentsRequest) -> Message:
        self.requests.append(request)
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

    async def apply_of_caller(self, request: pb.ApplySegmentsRequest, _: Caller, deadline: float) -> Message:
        return await self._answer(request)


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


@asynccontextmanager
async def running_host(
    service: Service,
    *addresses: str,
    call_timeout_seconds: float = CALL_TIMEOUT_SECONDS,
    admission: Admission | None = None,
) -> AsyncIterator[None]:
    _, pipeline = await interop_service(admission)
    host = NativeHost(
        [
            PublicMethod(PATH, pb.ApplySegmentsRequest, service.apply),
            Method(OF_MEMBERS, pb.ApplySegmentsRequest, service.apply_of_caller),
        ],
        pipeline,
        addresses,
        message_limit_bytes=LIMIT_BYTES,
        call_timeout_seconds=call_timeout_seconds,
        **CONNECTION_LIMITS,
        json_forms=[
            form
            for each in json_forms(BODY_BYTES)
            for form in (replace(each, path=PATH), replace(each, path=OF_MEMBERS, rest_path=OF_MEMBERS_REST))
        ],
    )
    await host.start()
    try:
        yield
    finally:
        await host.drain(0)


@pytest.fixture
async def host(service: Service, socket: str, port: str) -> AsyncIterator[None]:
    async with running_host(service, socket, port):
        yield


@pytest.fixture
async def peer(host: None, socket: str) -> AsyncIterator[Peer]:
    """The gateway."""
    async with connected(socket) as opened:
        yield opened


@pytest.fixture
async def caller(host: None, port: str) -> AsyncIterator[Peer]:
    """Who calls the port."""
    async with connected(port) as opened:
        yield opened


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
    answer = await peer.call(headers(), b" " * 1000, b" " * (BODY_BYTES - 999))
    assert_refused(answer, 413, "LIMIT", too_large(BODY_BYTES).text)
    assert service.requests == []
    longest = await peer.call(headers(), GOOD, b" " * (BODY_BYTES - len(GOOD)))
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


async def test_a_message_over_the_limit_is_no_body(peer: Peer) -> None:
    """Although the gateway has made it of one."""
    sent = grpc_headers(PATH, (b"x-request-body-bytes", b"9"))
    answer = await peer.call(sent, frame(bytes(LIMIT_BYTES + 1)))
    assert answer.grpc_status == code_pb2.RESOURCE_EXHAUSTED
    text = f"The request has {LIMIT_BYTES + 1} bytes; at most {LIMIT_BYTES} are allowed"
    assert answer.headers["grpc-message"] == text


async def test_a_caller_may_leave(peer: Peer, service: Service) -> None:
    stream_id = peer.begin(headers())
    await peer.send(stream_id, b'{"rt_segment":[{"user_id":"hang"}]}', end=True)

    async def runs(count: int) -> None:
        assert service.running == count

    await eventually(lambda: runs(1), seconds=5)
    peer.reset(stream_id)
    await eventually(lambda: runs(0), seconds=5)
    assert bytes((await peer.call(headers(), GOOD)).data) == ANSWER


OF_ONE_ANSWER = {":status", "content-type", "content-length", "x-request-id", "date"}
"""The headers of every answer on a port."""


def posting(*more: tuple[bytes, bytes], path: str = REST_PATH) -> Headers:
    """What callers of the port send."""
    return grpc_headers(path, (b"content-type", b"application/json"), *more, without=[b"te"])


async def test_a_port_answers_its_callers(caller: Peer, service: Service) -> None:
    answer = await caller.call(posting(), GOOD)
    assert answer.headers.keys() == OF_ONE_ANSWER
    told = (answer.headers["content-type"], answer.headers["content-length"])
    assert (answer.http_status, *told) == (200, "application/json", str(len(ANSWER)))
    assert abs(parsedate_to_datetime(answer.headers["date"]) - datetime.now(UTC)) < timedelta(seconds=20)
    assert (bytes(answer.data), answer.trailers, answer.reset) == (ANSWER, {}, None)
    assert [call.request_id for call in service.calls] == [answer.headers["x-request-id"]]
    for content_type in (b"", b"text/plain", b"application/x-www-form-urlencoded", PASSED_ON_TYPE.encode()):
        answer = await caller.call(posting((b"content-type", content_type)), GOOD)
        assert (answer.http_status, bytes(answer.data)) == (200, ANSWER)
    assert bytes((await caller.call(grpc_headers(REST_PATH, without=[b"content-type"]), GOOD)).data) == ANSWER


async def test_callers_of_a_port_may_name_their_requests(caller: Peer, service: Service) -> None:
    for own, is_kept in [(b"mine", True), (b"~" * 128, True), (b"~" * 129, False), (b"two words", False), (b"", False)]:
        sent = posting((b"x-request-id", own))
        answers = [await caller.call(sent, body) for body in (GOOD, GOOD, b"{")]
        answers.append(await caller.call(posting((b":method", b"PUT"), (b"x-request-id", own)), GOOD))
        given = [answer.headers["x-request-id"] for answer in answers]
        assert len(set(given)) == (1 if is_kept else len(given))
        assert (own.decode() in given) is is_kept
        assert [call.request_id for call in service.calls] == given[:2]
        service.calls.clear()


async def test_failures_on_a_port(caller: Peer) -> None:
    """With what behind the gateway is for it alone, they end here."""
    for why, status, error_id, more in [
        ("UNAVAILABLE", 503, "SYSTEM", {"retry-after": "7"}),
        ("RATE_LIMIT_EXCEEDED", 429, "RATE_LIMIT_EXCEEDED", {"retry-after": "7", "x-ratelimit-code": "429"}),
        ("NOAUTH_DISABLED", 401, "NOAUTH_DISABLED", {"retry-after": "7", "www-authenticate": "Bearer"}),
    ]:
        answer = await caller.call(posting(), b'{"rt_segment":[{"user_id":"%b"}]}' % why.encode())
        assert_refused(answer, status, error_id, 'no "<é>"')
        assert answer.headers.items() >= more.items()
        assert answer.headers.keys() == OF_ONE_ANSWER | more.keys()


async def test_bodies_on_a_port(caller: Peer, service: Service) -> None:
    for cut in range(1, len(GOOD), 9):
        assert bytes((await caller.call(posting(), GOOD[:cut], GOOD[cut:])).data) == ANSWER
    assert bytes((await caller.call(posting(), GOOD, b" " * (BODY_BYTES - len(GOOD)))).data) == ANSWER
    assert service.calls[-1].body_bytes == BODY_BYTES
    service.requests.clear()
    for pieces, status, error_id, text in [
        ((), 400, "SYNTAX", "The body is empty."),
        ((b"",), 400, "SYNTAX", "The body is empty."),
        ((b"{",), 400, "SYNTAX", "The body is not JSON (byte 2)."),
        ((frame(b""),), 400, "SYNTAX", "The body is not JSON (byte 1)."),
        ((b" " * 1000, b" " * (BODY_BYTES - 999)), 413, "LIMIT", too_large(BODY_BYTES).text),
        ((b" " * 2 * BODY_BYTES,), 413, "LIMIT", too_large(BODY_BYTES).text),
    ]:
        answer = await caller.call(posting(), *pieces)
        assert_refused(answer, status, error_id, text)
        assert answer.headers.keys() == OF_ONE_ANSWER
    assert service.requests == []


@pytest.mark.parametrize("announced", [True, False])
async def test_more_long_bodies_at_once_than_there_is_room_for_are_all_read(caller: Peer, announced: bool) -> None:
    """Their pieces come by turns: none is kept by parts of others that wait as well."""
    whole = GOOD + b" " * (BODY_BYTES - len(GOOD))
    length = [(b"content-length", b"%d" % len(whole))] if announced else []
    streams = [caller.begin(posting(*length)) for _ in range(99)]

    async def fill(stream_id: int) -> None:
        for place in range(0, len(whole), 16_384):
            await caller.send(stream_id, whole[place : place + 16_384], end=place + 16_384 >= len(whole))

    await asyncio.gather(*map(fill, streams))
    assert {(await caller.answer(stream_id)).http_status for stream_id in streams} == {200}


async def test_who_waits_until_a_body_is_wanted_is_told(caller: Peer) -> None:
    put = (b":method", b"PUT")
    cases = [((), b"100-continue", ["100"]), ((put,), b"100-Continue", ["100"]), ((), b"x", [])]
    for more, expect, interim in cases:
        stream_id = caller.begin(posting(*more, (b"expect", expect)))
        await caller.send(stream_id, GOOD, end=True)
        assert (await caller.answer(stream_id)).interim == interim


async def test_who_is_refused_on_a_port_leaves_few_tokens_to_look_up(
    caller: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for what is only counted, so it has a bound of its own: the cluster may take seconds to tell."""
    asked = 0

    async def ask_in_vain(*_: Any) -> Caller:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(Entrance, "caller", ask_in_vain)
    monkeypatch.setattr(native, "MOST_NOTED", 20)
    put = posting((b":method", b"PUT"), (b"authorization", b"made-up"))
    assert {(await caller.call(put, GOOD)).http_status for _ in range(30)} == {404}
    await until(lambda: asked >= 20)
    assert asked == 20


async def test_who_is_refused_on_a_port_may_send_on(caller: Peer, service: Service) -> None:
    """Clients that are answered before they have sent everything do not see the answer: curl tells of a bad stream."""
    put, query = posting((b":method", b"PUT")), posting(path=f"{REST_PATH}?x")
    for sent, size, status in [(posting(), BODY_BYTES + 1, 413), (put, 9, 404), (query, BODY_BYTES, 404)]:
        stream_id = caller.begin(sent)
        await caller.send(stream_id, b" " * size)
        assert (await caller.call(posting(), GOOD)).http_status == 200  # it has had time to answer
        await caller.send(stream_id, b" ", end=True)
        answer = await caller.answer(stream_id)
        assert (answer.http_status, answer.reset) == (status, None)
    for sent, status in [(posting(), 413), (put, 404)]:
        stream_id = caller.begin(sent)
        await caller.send(stream_id, b" " * (LIMIT_BYTES + 1))
        assert (await caller.answer(stream_id)).http_status == status
    assert len(service.requests) == 3


async def test_a_token_counts_before_a_body(caller: Peer, service: Service) -> None:
    for body in (GOOD, b"{", b"", b" " * (BODY_BYTES + 1)):
        for authorization in (b"", b"unknown"):
            answer = await caller.call(posting((b"authorization", authorization), path=OF_MEMBERS_REST), body)
            assert (answer.http_status, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert json.loads(answer.data)["response"]["error_id"] == "NOAUTH"
            assert answer.headers.keys() == OF_ONE_ANSWER | {"www-authenticate"}
    assert service.requests == []
    good = posting((b"authorization", GOOD_TOKEN.encode()), path=OF_MEMBERS_REST)
    bodies = (b"{", GOOD, b"{", b" " * (BODY_BYTES + 1))  # the first with a token that the host does not know yet
    statuses = [(await caller.call(good, body)).http_status for body in bodies]
    assert statuses == [400, 200, 400, 413]


async def test_a_body_that_comes_too_slowly_to_a_port(service: Service, port: str) -> None:
    async with running_host(service, port, call_timeout_seconds=0.3), connected(port) as caller:
        for pieces in ((), (b"",), (GOOD[:-1],)):
            stream_id = caller.begin(posting())
            for piece in pieces:
                await caller.send(stream_id, piece)
            answer = await caller.answer(stream_id)
            assert_refused(answer, TOO_SLOW.http_status, TOO_SLOW.error_id, TOO_SLOW.text)
            assert answer.headers.keys() == OF_ONE_ANSWER
        assert (await caller.call(posting(), GOOD)).http_status == 200
    assert len(service.requests) == 1


async def test_who_has_waited_too_long_on_a_port_is_told_in_json(
    monkeypatch: pytest.MonkeyPatch, service: Service, port: str
) -> None:
    for price in ("FIRST_TAKES", "PARTS", "TURN_PLACES"):
        monkeypatch.setattr(prices, price, 1)
    monkeypatch.setattr(prices, "KEPT_PLACES", 0)
    monkeypatch.setattr(admission_module, "SLOW_SECONDS", 60.0)
    monkeypatch.setattr(native, "PATIENCE_SECONDS", 0.2)
    one_at_once = Admission(lambda low, _: low, **CALL_LIMITS | {"most_running": 1})
    sent = posting((b"authorization", GOOD_TOKEN.encode()), path=OF_MEMBERS_REST)
    async with running_host(service, port, admission=one_at_once), connected(port) as caller:
        running = caller.begin(sent)
        await caller.send(running, b'{"rt_segment":[{"user_id":"hang"}]}', end=True)
        await until(lambda: service.running == 1)
        answer = await caller.call(sent, GOOD)
        assert answer.headers.keys() == OF_ONE_ANSWER | {"retry-after"}
        assert (await caller.call(posting(path=OF_MEMBERS_REST), GOOD)).http_status == 401  # takes no turn
        error = json.loads(answer.data)["response"]
        assert (answer.http_status, error["error_id"], "overloaded" in error["error"]) == (503, "SYSTEM", True)
        assert answer.headers["retry-after"] in {"1", "2", "3"}
        caller.reset(running)
        await until(lambda: service.running == 0)
        assert (await caller.call(sent, GOOD)).http_status == 200


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"])
async def test_other_methods_are_for_the_gateway(caller: Peer, service: Service, method: bytes) -> None:
    for bodies in ((), (GOOD,)):
        answer = await caller.call(posting((b":method", method)), *bodies)
        assert_refused(answer, 404, FOR_GATEWAY.error_id, FOR_GATEWAY.text)
        assert answer.headers.keys() == OF_ONE_ANSWER
    assert service.requests == []


async def test_head_is_answered_without_a_body(caller: Peer) -> None:
    """A client would take one for a fault of the whole connection (RFC 9110, "HEAD")."""
    answer = await caller.call(posting((b":method", b"HEAD")))
    assert (answer.http_status, bytes(answer.data)) == (404, b"")
    assert answer.headers["content-length"] == str(len(FOR_GATEWAY.body()))
    assert (await caller.call(posting(), GOOD)).http_status == 200


async def test_parameters_are_for_the_gateway(caller: Peer, service: Service) -> None:
    for query in ("validate_only=true", "access_token=x", "x", "%ff"):
        answer = await caller.call(posting(path=f"{REST_PATH}?{query}"), GOOD)
        assert_refused(answer, 404, FOR_GATEWAY.error_id, FOR_GATEWAY.text)
    assert service.requests == []
    assert bytes((await caller.call(posting(path=f"{REST_PATH}?"), GOOD)).data) == ANSWER


async def test_other_paths_are_none_of_a_port(caller: Peer, service: Service) -> None:
    for path in ("/rt-segment/", "/rt%2Dsegment", "/RT-SEGMENT", "/auth", PATH, "/", "*"):
        answer = await caller.call(posting(path=path), GOOD)
        assert (answer.http_status, answer.headers, bytes(answer.data)) == (415, {":status": "415"}, b"")
    assert service.requests == []


async def test_grpc_with_the_path_of_rest_is_grpc(caller: Peer, service: Service) -> None:
    answer = await caller.call(grpc_headers(REST_PATH), frame(b""))
    assert (answer.http_status, answer.grpc_status) == (200, code_pb2.UNIMPLEMENTED)
    assert answer.headers["content-type"] == "application/grpc"
    assert service.requests == []


async def test_the_path_of_rest_is_none_of_the_gateways(peer: Peer, service: Service) -> None:
    """It names the method."""
    for sent in (posting(), headers(path=REST_PATH)):
        assert (await peer.call(sent, GOOD)).http_status == 415
    assert service.requests == []


@pytest.mark.parametrize(
    "steering",
    [
        (b"grpc-timeout", b"1n"),
        (b"grpc-timeout", b"1x"),
        (b"grpc-encoding", b"gzip"),
        (b"content-type", PASSED_ON_TYPE.encode()),
        (b"x-request-start", b"0"),
        (b"x-request-body-bytes", b"99999999"),
        (b"x-caller-address", b"192.0.2.1"),
        (b"x-client-certificate", b"uri=a dns=b"),
        (b"x-trace-bin", b"!!!"),
    ],
    ids=lambda header: header[0].decode(),
)
async def test_what_the_gateway_or_grpc_say_means_nothing_on_a_port(
    caller: Peer, service: Service, steering: tuple[bytes, bytes]
) -> None:
    plain, steered = [await caller.call(posting(*more), GOOD[:9], GOOD[9:]) for more in ((), (steering,))]
    assert (steered.http_status, bytes(steered.data)) == (200, ANSWER)
    assert steered.headers.keys() == plain.headers.keys()

    def told(call: Call) -> Any:
        return call._replace(request_id="", waited_seconds=0.0)

    one, other = service.calls
    assert told(one) == told(other)
    assert (other.by_gateway, other.body_bytes, other.address) == (False, len(GOOD), "")
    assert other.waited_seconds < 20


async def test_a_caller_of_a_port_may_leave(caller: Peer, service: Service) -> None:
    stream_id = caller.begin(posting())
    await caller.send(stream_id, b'{"rt_segment":[{"user_id":"hang"}]}', end=True)
    await until(lambda: service.running == 1)
    caller.reset(stream_id)
    await until(lambda: service.running == 0)
    reading = caller.begin(posting())
    await caller.send(reading, GOOD[:-1])
    caller.reset(reading)
    assert bytes((await caller.call(posting(), GOOD)).data) == ANSWER
