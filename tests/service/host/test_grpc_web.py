"""gRPC-Web through the gateway (source: doc/PROTOCOL-WEB.md in grpc/grpc), bytes made by hand."""

import base64

import httpx
import pytest
from instantaudience.v1 import authentication_pb2, status_pb2
from instantaudience_server.transport.framing import frame
from support.contract.messages import AUTHENTICATE, GET_STATUS
from support.service.running import credentials

TRAILERS = 0x80
BINARY, TEXT = "application/grpc-web", "application/grpc-web-text"


async def call(http: httpx.AsyncClient, path: str, message: bytes, content_type: str) -> tuple[list[bytes], str]:
    """The messages of the answer, and its `grpc-status`."""
    is_text = "text" in content_type
    body = base64.b64encode(frame(message)) if is_text else frame(message)
    answer = await http.post(path, content=body, headers={"content-type": content_type, "accept": content_type})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(TEXT if is_text else BINARY)
    rest = decode_pieces(answer.content) if is_text else answer.content
    messages, status = [], answer.headers.get("grpc-status", "")
    while rest:
        flag, length = rest[0], int.from_bytes(rest[1:5], "big")
        content, rest = rest[5 : 5 + length], rest[5 + length :]
        assert len(content) == length
        if flag == TRAILERS:
            assert rest == b""
            trailers = dict(line.split(":", 1) for line in content.decode().strip().split("\r\n"))
            status = trailers["grpc-status"].strip()
        else:
            assert flag == 0
            messages.append(content)
    return messages, status


def decode_pieces(text: bytes) -> bytes:
    """Base64 with padding between its pieces, too."""
    return b"".join(base64.b64decode(text[place : place + 4]) for place in range(0, len(text), 4))


@pytest.mark.parametrize("content_type", [BINARY, f"{BINARY}+proto", TEXT, f"{TEXT}+proto"])
async def test_a_unary_call(http: httpx.AsyncClient, content_type: str) -> None:
    (message,), status = await call(http, GET_STATUS, b"", content_type)
    assert status_pb2.GetStatusResponse.FromString(message).response.status == "OK"
    assert status == "0"


@pytest.mark.parametrize("content_type", [BINARY, TEXT])
async def test_a_call_that_fails(http: httpx.AsyncClient, content_type: str) -> None:
    request = authentication_pb2.AuthenticateRequest(**credentials("demo", "wrong"))
    messages, status = await call(http, AUTHENTICATE, request.SerializeToString(), content_type)
    assert (messages, status) == ([], "16")


async def test_a_method_that_is_not_there(http: httpx.AsyncClient) -> None:
    assert await call(http, "/nope", b"", BINARY) == ([], "12")


async def test_a_path_of_no_method(http: httpx.AsyncClient) -> None:
    answer = await http.post("/%ff", content=frame(b""), headers={"content-type": BINARY})
    assert (answer.status_code, answer.headers["grpc-status"], answer.content) == (404, "12", b"")
