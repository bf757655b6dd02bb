"""Errors of the server, of grpc and of the gateway, in the contract's form (source: contract, "Errors")."""

import httpx
import pytest
from google.rpc import code_pb2
from instantaudience_server.errors import Reason
from instantaudience_server.transport.status import ROWS
from support.contract.answers import GRPC_CODES
from support.gateway.running import ODD_TEXT, Gateway, assert_error, body_for
from support.wire.http1 import answer_to

pytestmark = pytest.mark.process


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("how", ["row", "row-late", "row-details"])
async def test_error_rows(client: httpx.AsyncClient, how: str, reason: Reason) -> None:
    row = ROWS[reason]
    answer = await client.post("/rt-segment", content=body_for(f"{how}:{reason.name}"))
    if row.http_status == 429 and how != "row":
        assert answer.status_code == 429
        response = answer.json()["response"]
        assert (response["error"], response["error_code"]) == (ODD_TEXT, row.error_code)
        return
    error_code = row.error_code if how == "row" else None
    assert_error(answer, row.http_status, row.error_id, ODD_TEXT, error_code=error_code)
    if how == "row":
        assert answer.headers["x-ratelimit-count"] == "3"
        assert answer.headers.get("retry-after") == ("7" if row.http_status in {429, 503} else None)


BARE_CODES = {
    code_pb2.INVALID_ARGUMENT: (400, "SYNTAX"),
    code_pb2.UNIMPLEMENTED: (404, "SYNTAX"),
    code_pb2.UNAVAILABLE: (503, "SYSTEM"),
    code_pb2.RESOURCE_EXHAUSTED: (503, "SYSTEM"),
    code_pb2.DEADLINE_EXCEEDED: (503, "SYSTEM"),
    code_pb2.CANCELLED: (503, "SYSTEM"),
}


@pytest.mark.parametrize("code", [code for code in GRPC_CODES if code])
async def test_errors_of_grpc_itself(client: httpx.AsyncClient, code: int) -> None:
    answer = await client.post("/rt-segment", content=body_for(f"bare:{code}"))
    assert_error(answer, *BARE_CODES.get(code, (500, "SYSTEM")))


@pytest.mark.parametrize("what", ["raise", "foreign-details"])
async def test_defects_say_nothing(client: httpx.AsyncClient, what: str) -> None:
    assert_error(await client.post("/rt-segment", content=body_for(what)), 500, "SYSTEM", "Internal error.")


UNREADABLE_REQUESTS = [
    b"nonsense\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 70_000 + b"\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nhost: a\r\n" + b"".join(b"x%d: a\r\n" % n for n in range(101)) + b"\r\n",
    b"POST /auth HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /auth HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
]


@pytest.mark.parametrize("request_bytes", UNREADABLE_REQUESTS)
async def test_unreadable_requests(gateway: Gateway, request_bytes: bytes) -> None:
    answer = await answer_to(gateway.address, request_bytes)
    assert answer.headers["x-request-id"]
    assert_error(answer, 400, "SYNTAX", "The request cannot be read.")
