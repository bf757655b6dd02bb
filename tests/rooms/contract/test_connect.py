"""Calls of the Connect protocol (source: https://connectrpc.com/docs/protocol), and what they fail with."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf import json_format
from google.rpc import code_pb2, error_details_pb2
from instantaudience.v1 import audience_pb2
from instantaudience_gateway.contract.connect import HTTP_STATUSES, code_name, connect_error
from instantaudience_server.errors import Reason
from instantaudience_server.transport.framing import frame
from instantaudience_server.transport.status import ROWS, Failure
from support.contract.answers import GRPC_CODES
from support.contract.messages import APPLY, STREAM
from support.gateway.running import ODD_TEXT, Upstream, body_for, odd_status, running_gateway, serving

HEADERS = {"content-type": "application/json", "connect-protocol-version": "1"}


@pytest.fixture(scope="module")
async def connected(directory: Path) -> AsyncIterator[tuple[Upstream, httpx.AsyncClient]]:
    """A worker, and the way to it."""
    upstream = Upstream()
    async with (
        serving(upstream, directory / "connect.sock"),
        running_gateway(directory, "connect.sock", connect=True) as gateway,
        gateway.client(headers=HEADERS) as http,
    ):
        yield upstream, http


@pytest.mark.parametrize("reason", list(Reason))
async def test_errors_of_the_service(connected: tuple[Upstream, httpx.AsyncClient], reason: Reason) -> None:
    """As Lua writes them, and as the gateway's own are written."""
    row, status = ROWS[reason], odd_status(reason)
    error = await failure(connected[1], f"row:{reason.name}", row.grpc_code)
    assert error == json.loads(connect_error(Failure(row.grpc_code, ODD_TEXT, status, ())))
    info = next(each["value"] for each in error["details"] if each["type"] == "google.rpc.ErrorInfo")
    assert error_details_pb2.ErrorInfo.FromString(decoded(info)).reason == row.error_id


@pytest.mark.parametrize("declared", [None, "1", "99999999"])
async def test_a_body_is_measured_as_it_was_sent(
    connected: tuple[Upstream, httpx.AsyncClient], declared: str | None
) -> None:
    """For the member's limit, whatever its caller says of that."""
    upstream, http = connected
    body = body_for("1").ljust(300).encode()
    headers = {} if declared is None else {"x-request-body-bytes": declared}
    assert (await http.post(APPLY, content=body, headers=headers)).status_code == 200
    assert upstream.calls[-1].metadata["x-request-body-bytes"] == "300"


TYPES = ["google.rpc.RetryInfo", "google.rpc.ErrorInfo"]
"""The types of the details of the upstream's failures."""
TEXT_IN_HEADERS = ODD_TEXT.replace("\n", "%0A")
"""What Envoy's own filter makes of the text: headers hold no control characters."""


@pytest.mark.parametrize("reason", [Reason.UNAVAILABLE, Reason.UNAUTH])
async def test_errors_of_calls_in_protobuf(connected: tuple[Upstream, httpx.AsyncClient], reason: Reason) -> None:
    """Envoy's own filter writes them: clients did not find the details, as it named their types as gRPC does."""
    headers = {"content-type": "application/proto"}
    request = json_format.Parse(body_for(f"row:{reason.name}"), audience_pb2.ApplySegmentsRequest())
    error = (await connected[1].post(APPLY, content=request.SerializeToString(), headers=headers)).json()
    assert (error["code"], error["message"]) == (code_name(ROWS[reason].grpc_code), TEXT_IN_HEADERS)
    status = odd_status(reason)
    assert [(each["type"], decoded(each["value"])) for each in error["details"]] == [
        (name, each.value) for name, each in zip(TYPES, status.details, strict=True)
    ]


async def test_a_stream_in_protobuf_that_fails_after_an_answer(connected: tuple[Upstream, httpx.AsyncClient]) -> None:
    headers = {"content-type": "application/connect+proto"}
    messages = [json_format.Parse(body_for(each), audience_pb2.StreamSegmentsRequest()) for each in ("1", "row:LIMIT")]
    requests = b"".join(frame(message.SerializeToString()) for message in messages)
    answer = await connected[1].post(STREAM, content=requests, headers=headers)
    first = frame(audience_pb2.StreamSegmentsResponse(response={"status": "1"}).SerializeToString())
    assert answer.content.startswith(first)
    end = answer.content.removeprefix(first)
    error = json.loads(end[5:])["error"]
    assert (end[0], error["code"], error["message"]) == (2, code_name(ROWS[Reason.LIMIT].grpc_code), TEXT_IN_HEADERS)
    assert [each["type"] for each in error["details"]] == TYPES


async def test_a_stream_that_fails_after_an_answer(connected: tuple[Upstream, httpx.AsyncClient]) -> None:
    """A long one. Envoy's own filter writes its end."""
    long = "1" * 70_000
    requests = b"".join(frame(body_for(user_id).encode()) for user_id in (long, "row:UNAVAILABLE"))
    headers = {"content-type": "application/connect+json"}
    answer = await connected[1].post(STREAM, content=requests, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/connect+json")
    first = frame(b'{"response":{"status":"%b"}}' % long.encode())
    assert answer.content.startswith(first)
    end = answer.content.removeprefix(first)
    error = json.loads(end[5:])["error"]
    assert (end[0], error["code"], error["message"]) == (2, "unavailable", TEXT_IN_HEADERS)
    assert [each["type"] for each in error["details"]] == TYPES


@pytest.mark.parametrize(
    "messages",
    [
        [b'{"rtSegment":[{"userId":"', b'1"}]}'],
        [body_for("1").encode() + b"," + body_for("2").encode()],
    ],
    ids=["an object in two", "two objects"],
)
async def test_a_message_of_a_stream_is_one_object(
    connected: tuple[Upstream, httpx.AsyncClient], messages: list[bytes]
) -> None:
    """What one leaves open, the transcoder would hold without a bound."""
    headers = {"content-type": "application/connect+json"}
    answer = await connected[1].post(STREAM, content=b"".join(map(frame, messages)), headers=headers)
    assert answer.content[0] == 2
    assert json.loads(answer.content[5:])["error"]["code"] == "invalid_argument"


@pytest.mark.parametrize("code", [code for code in GRPC_CODES if code])
async def test_errors_of_grpc_itself(connected: tuple[Upstream, httpx.AsyncClient], code: int) -> None:
    assert "details" not in await failure(connected[1], f"bare:{code}", code)


async def test_who_fails_without_a_word(connected: tuple[Upstream, httpx.AsyncClient]) -> None:
    await failure(connected[1], "raise", code_pb2.UNKNOWN)


@pytest.mark.parametrize(
    ("timeout_ms", "least", "most"),
    [("3000", 0, 3), ("", 3, 10), ("123456789", 3, 10), ("3 s", 3, 10)],
    ids=["given", "none", "more digits than gRPC takes", "no number"],
)
async def test_the_time_left_reaches_the_service(
    connected: tuple[Upstream, httpx.AsyncClient], timeout_ms: str, least: float, most: float
) -> None:
    upstream, http = connected
    headers = {"connect-timeout-ms": timeout_ms, "grpc-timeout": "1H"} if timeout_ms else {}
    answer = await http.post(APPLY, content=body_for("1"), headers=headers)
    assert answer.json()["response"]["message"] == {"usersInRequest": 1}
    assert least < (upstream.calls[-1].seconds_left or 0) <= most


async def failure(http: httpx.AsyncClient, user_id: str, code: int) -> dict[str, Any]:
    """What the call for such a user fails with."""
    answer = await http.post(APPLY, content=body_for(user_id))
    assert (answer.status_code, answer.headers["content-type"]) == (HTTP_STATUSES[code], "application/json")
    assert not [name for name in answer.headers if name.startswith("grpc-status")]
    error: dict[str, Any] = answer.json()
    assert error["code"] == code_name(code)
    return error


def decoded(value: str) -> bytes:
    """Connect's base64, which has no padding."""
    return base64.b64decode(value + "=" * (-len(value) % 4))
