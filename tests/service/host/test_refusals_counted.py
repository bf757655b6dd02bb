"""Calls that the gateway refuses count as failed ones of their member, and a token counts before a body (source:
contract-neighbours, "num_other_errors" and "order of checks")."""

import time
from collections.abc import Awaitable, Callable

import grpc
import httpx
import pytest
from google.rpc.http_pb2 import HttpResponse
from instantaudience.v1 import audience_pb2, usage_pb2
from instantaudience_server.sign_in import tokens
from instantaudience_server.transport.methods.gateway_refusals import COUNT_PATH
from support.contract.answers import assert_grpc_error, assert_http_error
from support.contract.json_bodies import chunks
from support.contract.messages import LIMIT_BYTES
from support.service.running import Service
from support.service.usage import assert_counted, failed_calls, usage_of
from support.waiting import eventually

Send = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]
NOBODY = {"identifier": "x", "identifier_type": "uuid2", "request_type": "access"}
LONG = b" " * (LIMIT_BYTES + 1)


# What the transcoder refuses, where it reads the body.
HALF_A_SEGMENT = '{"rt_segment":[{"seg_block":[{"seg_id":1.5}]}]}'
# A message of 5.5 MB: hosts refuse those over 4 MiB before anything is read of them.
GROWS = b'{"segment":{"price":[' + b",".join([b"0"] * (LIMIT_BYTES // 2 - 12)) + b"]}}"
HALF_A_MINUTE = '{"segment":{"expire_minutes":1.5}}'

REFUSED: dict[str, tuple[Send, int, str]] = {
    "no such path": (lambda http: http.get("/nope"), 404, "not_found"),
    "no such path, with a body": (lambda http: http.post("/nope", content="{}"), 404, "not_found"),
    "no such method": (lambda http: http.put("/rt-segment", content="{}"), 405, "method"),
    "no JSON": (lambda http: http.post("/rt-segment", content="{"), 400, "syntax"),
    "no JSON, elsewhere": (lambda http: http.post("/mapuid", content="{"), 400, "syntax"),
    "no JSON, in chunks": (lambda http: http.post("/rt-segment", content=chunks(b"{")), 400, "syntax"),
    "no body": (lambda http: http.post("/rt-segment"), 400, "syntax"),
    "a wrong value": (lambda http: http.post("/rt-segment", content=HALF_A_SEGMENT), 400, "syntax"),
    "a wrong value, elsewhere": (lambda http: http.post("/segment", content=HALF_A_MINUTE), 400, "syntax"),
    "a wrong parameter": (lambda http: http.get("/rt-segment?user_id=%ff"), 400, "syntax"),
    "too long": (lambda http: http.post("/rt-segment", content=LONG), 413, "limit"),
    "too long, in chunks": (lambda http: http.post("/rt-segment", content=chunks(LONG)), 413, "limit"),
    "too long, elsewhere": (lambda http: http.post("/mapuid", content=LONG), 413, "limit"),
    "JSON that fits, of a message that is far too long": (
        lambda http: http.post("/segment", content=GROWS),
        413,
        "limit",
    ),
    "no privacy request": (lambda http: http.post("/privacy/consumer-request", content="{"), 422, "invalid"),
    "a wrong privacy request": (lambda http: http.post("/privacy/consumer-request", json=NOBODY), 422, "invalid"),
    "the service's own": (lambda http: http.get("/rt-segment?user_id=x"), 400, "syntax"),
}


ON_BOTH_PORTS = {"no JSON", "no JSON, in chunks", "no body", "a wrong value", "too long", "too long, in chunks"}
CASES = [
    pytest.param(port, *refused, id=f"{what}, {port}")
    for what, refused in REFUSED.items()
    for port in ("gateway", "direct")
    if port == "gateway" or what in ON_BOTH_PORTS
]


@pytest.mark.parametrize(("port", "send", "status", "failure"), CASES)
async def test_a_refused_call_is_its_members(
    service: Service, port: str, send: Send, status: int, failure: str
) -> None:
    before = await failed_calls(service)
    async with service.http(port, headers={"authorization": await service.token()}) as http:
        began = time.monotonic()
        answer = await send(http)
    assert_http_error(answer, status, "LIMIT" if status == 413 else "SYNTAX")
    await assert_counted(lambda: failed_calls(service), before | {failure: before.get(failure, 0) + 1}, began)


@pytest.mark.parametrize(("port", "send", "status", "_"), CASES)
async def test_a_token_counts_before_the_body(service: Service, port: str, send: Send, status: int, _: str) -> None:
    """One that is unknown; what there is not, there is not for anybody."""
    before = await failed_calls(service)
    async with service.http(port, headers={"authorization": "hbapi:1:unknown:local"}) as http:
        answer = await send(http)
    if status in {404, 405}:
        assert_http_error(answer, status, "SYNTAX")
    else:
        assert_http_error(answer, 401, "NOAUTH", tokens.UNKNOWN)
    assert await failed_calls(service) == before


async def test_what_a_port_does_not_take_is_the_members_too(service: Service) -> None:
    """That of native workers takes no other method; on other hosts, the gateway has both ports."""
    before = await failed_calls(service)
    async with service.http("direct") as http:
        for headers in ({}, {"authorization": "hbapi:1:unknown:local"}, {"authorization": await service.token()}):
            answer = await http.put("/rt-segment", content="{}", headers=headers)
            assert answer.status_code in {404, 405}
    failure = {404: "not_found", 405: "method"}[answer.status_code]

    async def is_counted() -> None:  # the answer does not wait for that
        assert await failed_calls(service) == before | {failure: before.get(failure, 0) + 1}

    await eventually(is_counted)


async def test_a_token_in_the_query_counts_too(service: Service, http: httpx.AsyncClient) -> None:
    before, token = await failed_calls(service), await service.token()
    began = time.monotonic()
    answer = await http.post(f"/rt-segment?access_token={token}", content="{")
    assert_http_error(answer, 400, "SYNTAX", "The body is not JSON (byte 2).")
    await assert_counted(lambda: failed_calls(service), before | {"syntax": before.get("syntax", 0) + 1}, began)
    assert_http_error(await http.post("/rt-segment?access_token=x", content="{"), 401, "NOAUTH", tokens.UNKNOWN)


async def test_who_signs_in_is_nobody_yet(service: Service, demo: httpx.AsyncClient) -> None:
    before = await failed_calls(service)
    assert_http_error(await demo.post("/auth", content="{"), 400, "SYNTAX")
    assert await failed_calls(service) == before


async def test_a_wrong_password_is_the_members_that_has_the_name(service: Service, http: httpx.AsyncClient) -> None:
    before = await failed_calls(service)
    wrong = {"auth": {"username": "demo", "password": "wrong"}}
    assert_http_error(await http.post("/auth", json=wrong), 401, "NOAUTH", error_code="INVALID_LOGIN")

    async def is_counted() -> None:  # the answer does not wait for that
        assert await failed_calls(service) == before | {"noauth": before.get("noauth", 0) + 1}

    await eventually(is_counted)


@pytest.mark.parametrize("port", ["gateway", "direct"])
async def test_what_is_skipped_counts_by_its_warning(service: Service, port: str) -> None:
    def skipped(total: usage_pb2.UsageHour) -> dict[int, int]:
        return {each.code: each.parts for each in total.skipped_parts}

    earlier = await usage_of(service)
    before = skipped(earlier)
    users = [{"user_id": "x", "seg_block": [{"seg_id": 10001}]}, {"user_id": "5", "seg_block": [{"value": 1}, {}]}]
    async with service.http(port, headers={"authorization": await service.token()}) as http:
        answer = await http.post("/rt-segment", json={"rt_segment": users})
    assert answer.status_code == 200
    codes = {"INVALID_USER_ID": 1, "SEGMENT_REQUIRED": 2, "NO_VALID_SEGMENTS": 1}
    more = {audience_pb2.WarningCode.Value(f"WARNING_CODE_{name}"): count for name, count in codes.items()}
    later = await usage_of(service)
    assert later.calls == earlier.calls + 1
    after = skipped(later)
    assert after == before | {code: before.get(code, 0) + count for code, count in more.items()}


async def test_who_tells_of_refusals_directly_tells_of_their_own(service: Service) -> None:
    before = await failed_calls(service)
    metadata = (("authorization", await service.token()),)
    async with service.channel("direct") as channel:
        count = channel.unary_unary(COUNT_PATH)
        began = time.monotonic()
        await count(HttpResponse(status=404).SerializeToString(), metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await count(HttpResponse(status=200).SerializeToString(), metadata=metadata)
        assert_grpc_error(caught.value, grpc.StatusCode.INVALID_ARGUMENT, "SYNTAX")
    more = {name: before.get(name, 0) + 1 for name in ("not_found", "syntax")}
    await assert_counted(lambda: failed_calls(service), before | more, began)
