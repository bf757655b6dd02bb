"""The Connect protocol through the gateway (source: https://connectrpc.com/docs/protocol), bytes made by hand."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from google.rpc import error_details_pb2
from instantaudience.v1 import audience_pb2, authentication_pb2, status_pb2
from instantaudience_server.transport.framing import frame
from support.contract.messages import (
    APPLY,
    AUTHENTICATE,
    GET_STATUS,
    LIMIT_BYTES,
    PACKAGE,
    STREAM,
    one_user,
    stream_request,
)
from support.service.running import Service, credentials

UNARY = {"content-type": "application/proto", "connect-protocol-version": "1"}
STREAMING = {"content-type": "application/connect+proto", "connect-protocol-version": "1"}
STREAMING_JSON = STREAMING | {"content-type": "application/connect+json"}
JSON = {"content-type": "application/json", "connect-protocol-version": "1"}
END = 0x02
"""The flag of what ends a stream."""


@pytest.fixture
async def http(open_service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with open_service.http() as opened:
        yield opened


async def test_a_unary_call(http: httpx.AsyncClient) -> None:
    answer = await http.post(GET_STATUS, headers=UNARY)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/proto")
    assert status_pb2.GetStatusResponse.FromString(answer.content).response.status == "OK"


FAILURES: dict[str, Any] = {
    "no token": (APPLY, b"", 401, "unauthenticated", "TOKEN_MISSING"),
    "wrong password": (
        AUTHENTICATE,
        authentication_pb2.AuthenticateRequest(**credentials("demo", "wrong")).SerializeToString(),
        401,
        "unauthenticated",
        "WRONG_CREDENTIALS",
    ),
    "no message": (AUTHENTICATE, b"\xff", 400, "invalid_argument", "UNREADABLE_REQUEST"),
    "no method": (f"/{PACKAGE}.Nope/Nope", b"", 404, "unimplemented", "UNKNOWN_METHOD"),
    "too large": (AUTHENTICATE, bytes(LIMIT_BYTES + 1), 429, "resource_exhausted", "TOO_LARGE"),
}
"""Path, message; HTTP status, code and cause of the error."""


@pytest.mark.parametrize(("path", "message", "status", "code", "cause"), FAILURES.values(), ids=FAILURES)
async def test_a_call_that_fails(
    http: httpx.AsyncClient, path: str, message: bytes, status: int, code: str, cause: str
) -> None:
    assert_fails(await http.post(path, content=message, headers=UNARY), status, code, cause)


async def test_a_stream(http: httpx.AsyncClient, open_service: Service) -> None:
    headers = STREAMING | {"authorization": await open_service.token()}
    requests = [frame(stream_request(one_user(value=value)).SerializeToString()) for value in (1, 2)]
    answer = await http.post(STREAM, content=b"".join(requests), headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/connect+proto")
    *answers, (flag, end) = envelopes(answer.content)
    assert (flag, json.loads(end)) == (END, {})
    messages = [audience_pb2.StreamSegmentsResponse.FromString(content) for _, content in answers]
    assert [message.response.message.segments_in_request for message in messages] == [1, 1]


async def test_a_stream_that_fails(http: httpx.AsyncClient) -> None:
    answer = await http.post(STREAM, content=frame(b""), headers=STREAMING)
    ((flag, end),) = envelopes(answer.content)
    assert (answer.status_code, flag, json.loads(end)["error"]["code"]) == (200, END, "unauthenticated")


async def test_a_call_in_json(http: httpx.AsyncClient, open_service: Service) -> None:
    headers = JSON | {"authorization": await open_service.token()}
    users = [{"userId": "77", "segBlock": [{"segId": 10001, "value": 5}, {"seg_id": 99}]}]
    answer = await http.post(APPLY, json={"rtSegment": users, "validateOnly": True}, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert not [name for name in answer.headers if name.startswith("grpc-")]
    response = answer.json()["response"]
    assert response["message"] == {"usersInRequest": 1, "segmentsInRequest": 2}
    ((code, path),) = [(warning["code"], warning["path"]) for warning in response["warnings"]]
    assert (code, path) == ("WARNING_CODE_UNKNOWN_SEGMENT", "rt_segment[0].seg_block[1]")


JSON_FAILURES: dict[str, Any] = {
    "no token": (APPLY, b"{}", 401, "unauthenticated", "TOKEN_MISSING"),
    "wrong password": (
        AUTHENTICATE,
        json.dumps(credentials("demo", "wrong")).encode(),
        401,
        "unauthenticated",
        "WRONG_CREDENTIALS",
    ),
    "no JSON": (AUTHENTICATE, b"{", 400, "invalid_argument", "UNREADABLE_REQUEST"),
    "no such type": (AUTHENTICATE, b'{"auth": 1}', 400, "invalid_argument", "UNREADABLE_REQUEST"),
    "no method": (f"/{PACKAGE}.Nope/Nope", b"{}", 501, "unimplemented", "UNKNOWN_METHOD"),
    "a stream": (STREAM, b"{}", 501, "unimplemented", "UNKNOWN_METHOD"),
    "too large": (AUTHENTICATE, b" " * (LIMIT_BYTES + 1), 429, "resource_exhausted", "TOO_LARGE"),
}


@pytest.mark.parametrize(("path", "message", "status", "code", "cause"), JSON_FAILURES.values(), ids=JSON_FAILURES)
async def test_a_call_in_json_that_fails(
    http: httpx.AsyncClient, path: str, message: bytes, status: int, code: str, cause: str
) -> None:
    assert_fails(await http.post(path, content=message, headers=JSON), status, code, cause)


async def test_a_stream_in_json(http: httpx.AsyncClient, open_service: Service) -> None:
    headers = STREAMING_JSON | {"authorization": await open_service.token(), "connect-accept-encoding": "gzip"}
    requests = [one_user(value=value) | {"validateOnly": True} for value in (1, 2)]
    body = b"".join(frame(json.dumps(request).encode()) for request in requests)
    answer = await http.post(STREAM, content=body, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/connect+json")
    *answers, (flag, end) = envelopes(answer.content)
    assert (flag, json.loads(end)) == (END, {})
    results = [json.loads(content)["response"] for _, content in answers]
    assert [result["message"] for result in results] == 2 * [{"usersInRequest": 1, "segmentsInRequest": 1}]


async def test_a_stream_without_messages(http: httpx.AsyncClient, open_service: Service) -> None:
    for headers in (STREAMING, STREAMING_JSON):
        answer = await http.post(STREAM, headers=headers | {"authorization": await open_service.token()})
        ((flag, end),) = envelopes(answer.content)
        assert (answer.headers["content-type"], flag, json.loads(end)) == (headers["content-type"], END, {})


async def test_the_case_of_a_content_type_means_nothing(http: httpx.AsyncClient, open_service: Service) -> None:
    """RFC 9110, 8.3.1."""
    token = {"authorization": await open_service.token()}
    for headers, content in ((STREAMING, b""), (STREAMING_JSON, b"{}")):
        shouted = headers | token | {"content-type": headers["content-type"].upper()}
        answer = await http.post(STREAM, content=frame(content), headers=shouted)
        _, (flag, end) = envelopes(answer.content)
        assert (answer.headers["content-type"], flag, json.loads(end)) == (headers["content-type"], END, {})
    answer = await http.post(GET_STATUS, headers=UNARY | {"content-type": "Application/Proto"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/proto")


async def test_messages_of_a_stream_in_json_that_come_at_once_may_be_longer_than_one(
    http: httpx.AsyncClient, open_service: Service
) -> None:
    headers = STREAMING_JSON | {"authorization": await open_service.token()}
    message = json.dumps(one_user() | {"validateOnly": True}).ljust(LIMIT_BYTES // 25).encode()
    answer = await http.post(STREAM, content=80 * frame(message), headers=headers)
    *answers, (flag, end) = envelopes(answer.content)
    assert (len(answers), flag, json.loads(end)) == (80, END, {})


@dataclass
class Raw:
    """A stream in JSON whose requests are sent piece by piece while it is answered."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await self.writer.drain()


@pytest.fixture
async def raw(open_service: Service) -> AsyncIterator[Raw]:
    headers = STREAMING_JSON | {"authorization": await open_service.token(), "transfer-encoding": "chunked"}
    lines = [f"POST {STREAM} HTTP/1.1", "host: any", *(f"{name}: {value}" for name, value in headers.items())]
    async with asyncio.timeout(30):
        opened = Raw(*await asyncio.open_connection(*open_service.http_address.split(":")))
        opened.writer.write("\r\n".join([*lines, "", ""]).encode())
        yield opened
    opened.writer.close()


async def test_a_stream_in_json_goes_both_ways_at_once(raw: Raw) -> None:
    """Each answer comes before the next request is sent, whose pieces end anywhere."""
    for value in (1, 2, 3):
        envelope = frame(json.dumps(one_user(value=value)).encode())
        await raw.send(envelope[:3], envelope[3:20], envelope[20:])
        assert b'"status":"OK"' in await raw.reader.readuntil(b"}}")
    raw.writer.write(b"0\r\n\r\n")
    assert bytes((END, 0, 0, 0, 2)) + b"{}" in await raw.reader.readuntil(b"\r\n0\r\n\r\n")


async def test_what_cannot_be_read_breaks_a_stream_in_json_that_is_answered(raw: Raw, http: httpx.AsyncClient) -> None:
    """Without Connect's end: it is not mistaken for a stream that has ended well."""
    await raw.send(frame(json.dumps(one_user()).encode()))
    await raw.reader.readuntil(b"}}")
    rest = b""
    with contextlib.suppress(ConnectionResetError):  # that is one way to break it
        await raw.send(frame(b"{"), frame(b"{}"))
        rest = await raw.reader.read()
    assert not rest.endswith(b"0\r\n\r\n"), rest
    assert (await http.post(GET_STATUS, content=b"{}", headers=JSON)).json()["response"]["status"] == "OK"


STREAM_JSON_FAILURES: dict[str, Any] = {
    "no token": (STREAM, frame(b"{}"), "unauthenticated", "TOKEN_MISSING"),
    "no JSON": (STREAM, frame(b"{"), "invalid_argument", "UNREADABLE_REQUEST"),
    "nothing": (STREAM, frame(b""), "invalid_argument", "UNREADABLE_REQUEST"),
    "no envelope": (STREAM, b"{", "invalid_argument", "UNREADABLE_REQUEST"),
    "half a message": (STREAM, frame(b"{}")[:-1], "invalid_argument", "UNREADABLE_REQUEST"),
    "compressed": (STREAM, b"\x01" + frame(b"{}")[1:], "invalid_argument", "UNREADABLE_REQUEST"),
    "too large": (STREAM, frame(b" " * (LIMIT_BYTES + 1)), "resource_exhausted", "TOO_LARGE"),
    "no method": (f"/{PACKAGE}.Nope/Nope", frame(b"{}"), "unimplemented", "UNKNOWN_METHOD"),
    "an upload": (f"/{PACKAGE}.BatchSegmentService/UploadBatchFile", frame(b"{}"), "unimplemented", "UNKNOWN_METHOD"),
    "a watch": ("/grpc.health.v1.Health/Watch", frame(b"{}"), "unimplemented", "UNKNOWN_METHOD"),
    "no stream": (APPLY, frame(b"{}"), "unimplemented", "UNKNOWN_METHOD"),
}


@pytest.mark.parametrize(("path", "body", "code", "cause"), STREAM_JSON_FAILURES.values(), ids=STREAM_JSON_FAILURES)
async def test_a_stream_in_json_that_fails(
    http: httpx.AsyncClient, open_service: Service, path: str, body: bytes, code: str, cause: str
) -> None:
    token = "" if cause == "TOKEN_MISSING" else await open_service.token()
    answer = await http.post(path, content=body, headers=STREAMING_JSON | {"authorization": token})
    ((flag, end),) = envelopes(answer.content)
    assert (answer.status_code, answer.headers["content-type"], flag) == (200, "application/connect+json", END)
    error = json.loads(end)["error"]
    assert (error["code"], bool(error["message"]), cause_of(error)) == (code, True, cause)


async def test_a_query_means_nothing(http: httpx.AsyncClient, open_service: Service) -> None:
    token = {"authorization": await open_service.token()}
    users = {"rtSegment": [{"userId": "77", "segBlock": [{"segId": 99}]}], "validateOnly": True}
    for query in ("x=1", "detail=false"):
        answer = await http.post(f"{APPLY}?{query}", json=users, headers=JSON | token)
        ((code, path),) = [(each["code"], each["path"]) for each in answer.json()["response"]["warnings"]]
        assert (code, path) == ("WARNING_CODE_UNKNOWN_SEGMENT", "rt_segment[0].seg_block[0]")
        body = frame(json.dumps(users).encode())
        answer = await http.post(f"{STREAM}?{query}", content=body, headers=STREAMING_JSON | token)
        (_, result), (flag, end) = envelopes(answer.content)
        assert (len(json.loads(result)["response"]["warnings"]), flag, json.loads(end)) == (1, END, {})


async def test_deadlines_in_json(http: httpx.AsyncClient, open_service: Service) -> None:
    headers = JSON | {"authorization": await open_service.token(), "connect-timeout-ms": "0"}
    answer = await http.post(APPLY, json={}, headers=headers)
    error = answer.status_code, answer.json()["code"]
    assert error in [(503, "unavailable"), (504, "deadline_exceeded")], "the service's word, or grpc's own"


async def test_it_is_taken_by_post_alone(http: httpx.AsyncClient) -> None:
    answer = await http.get(GET_STATUS, params={"connect": "v1", "encoding": "json", "message": "{}"})
    assert answer.status_code == 404


async def test_it_has_to_be_asked_for(service: Service) -> None:
    """A service without it takes such a call for REST, which has no such path."""
    async with service.http() as opened:
        answer = await opened.post(GET_STATUS, headers=UNARY)
    assert (answer.status_code, answer.json()["response"]["error_id"]) == (404, "SYNTAX")


async def test_what_does_not_say_that_it_is_connect_is_rest(http: httpx.AsyncClient) -> None:
    """The contract: bodies are JSON, whatever their type."""
    answer = await http.post(
        "/auth", content=json.dumps(credentials("demo")), headers={"content-type": UNARY["content-type"]}
    )
    assert answer.json()["response"]["status"] == "OK"


def cause_of(error: dict[str, Any]) -> str:
    """What ErrorInfo says."""
    (value,) = [each["value"] for each in error["details"] if each["type"] == "google.rpc.ErrorInfo"]
    return error_details_pb2.ErrorInfo.FromString(base64.b64decode(value + "=" * (-len(value) % 4))).metadata["cause"]


def assert_fails(answer: httpx.Response, status: int, code: str, cause: str) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    error = answer.json()
    assert (error["code"], bool(error["message"]), cause_of(error)) == (code, True, cause)


def envelopes(body: bytes) -> list[tuple[int, bytes]]:
    """Flags and contents."""
    found = []
    while body:
        length = int.from_bytes(body[1:5], "big")
        found.append((body[0], body[5 : 5 + length]))
        body = body[5 + length :]
    return found
