"""Requests at HTTP's edges: their callers' fault is a 4xx, every answer has a name, and connections stay where they can
(source: contract-neighbours, "bad transfer coding")."""

import json
import uuid
from dataclasses import dataclass

import grpc
import httpx
import pytest
from instantaudience_server.transport.framing import frame
from support.contract.answers import assert_http_error
from support.contract.messages import GET_STATUS, STREAM, apply_request, one_user
from support.service.running import Service
from support.wire.http1 import Connection
from support.wire.peer import connected, grpc_headers

POST = "POST /rt-segment HTTP/1.1\r\nhost: a\r\nauthorization: {token}\r\n"
NO_NAME = "GET /rt-segment?user_id=1 HTTP/1.1\r\nauthorization: {token}\r\nhost:"
GET = "GET /rt-segment?user_id=1 HTTP/1.{minor}\r\nauthorization: {token}\r\n"
CHUNKED = "transfer-encoding: chunked\r\n"
LONG = "a" * 70_000


@dataclass(frozen=True)
class Edge:
    """A request, and its answer's status; whether the connection can be kept."""

    request: str
    status: int
    keeps: bool


EDGES = {
    "an unknown transfer coding": Edge(POST + "transfer-encoding: gzip\r\n\r\n{{}}", 400, False),
    "one before chunked": Edge(POST + "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, False),
    "chunked twice": Edge(POST + CHUNKED + CHUNKED + "\r\n0\r\n\r\n", 400, False),
    "identity": Edge(POST + "transfer-encoding: identity\r\n\r\n", 400, False),
    "a length and chunks": Edge(POST + "content-length: 5\r\n" + CHUNKED + "\r\n0\r\n\r\n", 400, False),
    "two lengths": Edge(POST + "content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}x", 400, False),
    "a length that is none": Edge(POST + "content-length: 2x\r\n\r\n{{}}", 400, False),
    "a chunk without a size": Edge(POST + CHUNKED + "\r\nzz\r\n", 400, False),
    "a header too long": Edge(POST + f"x: {LONG}\r\n\r\n", 400, False),
    "a path too long": Edge(f"GET /{LONG} HTTP/1.1\r\nhost: a\r\n\r\n", 400, False),
    "too many headers": Edge(POST + "".join(f"x{number}: a\r\n" for number in range(101)) + "\r\n", 400, False),
    "a header's name with a space": Edge(POST + "x y: 1\r\n\r\n", 400, False),
    "an unknown method": Edge("BREW /healthz HTTP/1.1\r\nhost: a\r\n\r\n", 400, False),
    "no HTTP": Edge("nonsense\r\n\r\n", 400, False),
    "TLS": Edge("\x16\x03\x01\x00\xa5\x01\x00", 400, False),
    "no host": Edge("GET /healthz HTTP/1.1\r\n\r\n", 400, True),
    "two hosts": Edge(POST + "content-length: 2\r\nhost: b\r\n\r\n{{}}", 400, False),
    "a host twice, of a page": Edge("GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", 400, True),
    "an empty host": Edge(POST.replace("host: a", "host:") + "content-length: 2\r\n\r\n{{}}", 200, True),
    "an empty host, to the transcoder": Edge(f"{NO_NAME}\r\n\r\n", 200, True),
    "a host that is no authority": Edge(f"{NO_NAME} ::1\r\n\r\n", 200, True),
    **{
        f"an offer to change to {protocol}": Edge(
            POST + f"content-length: 2\r\nupgrade: {protocol}\r\nconnection: upgrade\r\n\r\n{{{{}}}}", 200, True
        )
        for protocol in ("TLS/1.2", "h2c", "websocket, foo/2")
    },
    "a fragment": Edge("GET /healthz#a HTTP/1.1\r\nhost: a\r\n\r\n", 400, True),
    "all of the server": Edge("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", 404, True),
    "no such path": Edge("POST /nope HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{{}}", 404, True),
    "no such method": Edge("PUT /rt-segment HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{{}}", 405, True),
    "no token": Edge("POST /rt-segment HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{{}}", 401, True),
    "no JSON": Edge(POST + "content-length: 1\r\n\r\n{{", 400, True),
    "no JSON in chunks": Edge(POST + CHUNKED + "\r\n1\r\n{{\r\n0\r\n\r\n", 400, True),
    "no body": Edge(POST + "\r\n", 400, True),
    "no sign-in": Edge("POST /auth HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n{{", 400, True),
    "a bad parameter": Edge(
        "GET /rt-segment?user_id=%ff HTTP/1.1\r\nhost: a\r\nauthorization: {token}\r\n\r\n", 400, True
    ),
    "fine": Edge(POST + "content-length: 2\r\n\r\n{{}}", 200, True),
    "a caller who waits": Edge(POST + "expect: 100-continue\r\ncontent-length: 2\r\n\r\n{{}}", 200, True),
    "HTTP/1.0": Edge(GET.format(minor=0, token="{token}") + "\r\n", 200, False),
    "HTTP/1.0 that stays": Edge(GET.format(minor=0, token="{token}") + "connection: keep-alive\r\n\r\n", 200, True),
    "HTTP/1.0, no JSON": Edge(
        "POST /rt-segment HTTP/1.0\r\nauthorization: {token}\r\ncontent-length: 1\r\n\r\n{{", 400, False
    ),
}


@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES)
async def test_edges(service: Service, edge: Edge) -> None:
    async with Connection(service.http_address) as connection:
        token = await service.token()
        answer = await connection.answer_to(edge.request.format(token=token).encode())
        if edge.status == 200:
            assert answer.status_code == 200, answer.text
        else:
            error_id = "NOAUTH" if edge.status == 401 else "SYNTAX"
            assert_http_error(answer, edge.status, error_id)
        assert uuid.UUID(answer.headers["x-request-id"])
        if edge.keeps:
            again = await connection.answer_to(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
            assert again.status_code == 200
            assert again.headers["x-request-id"] != answer.headers["x-request-id"]
        else:
            assert answer.headers["connection"] == "close"
            assert await connection.ends()


REQUEST_IDS = {
    "a word": ("mine", True),
    "the longest": ("~!" * 64, True),
    "too long": ("x" * 129, False),
    "a space": ("two words", False),
    "empty": ("", False),
    "no ASCII": ("\xe9", False),
}


@pytest.mark.parametrize(("own", "is_kept"), REQUEST_IDS.values(), ids=REQUEST_IDS)
async def test_a_caller_may_name_its_requests(
    service: Service, demo: httpx.AsyncClient, own: str, is_kept: bool
) -> None:
    headers = {"x-request-id": own.encode("latin-1")}
    async with service.http("direct", headers={"authorization": await service.token()}) as direct:
        for send in (
            demo.post("/rt-segment", json=one_user(), headers=headers),
            demo.get("/rt-segment?user_id=1", headers=headers),
            demo.post("/rt-segment", content="{", headers=headers),
            demo.get("/nope", headers=headers),
            direct.post("/rt-segment", json=one_user(), headers=headers),
            direct.post("/rt-segment", content="{", headers=headers),
        ):
            answer = await send
            if is_kept:
                assert answer.headers["x-request-id"] == own
            else:
                assert uuid.UUID(answer.headers["x-request-id"])


async def test_a_grpc_caller_may_name_its_calls(service: Service) -> None:
    headers = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", GET_STATUS.encode()),
        (b":authority", b"a"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    ]
    async with connected(service.http_address) as peer:
        answer = await peer.call([*headers, (b"x-request-id", b"mine")], bytes(5))
        assert (answer.grpc_status, answer.headers["x-request-id"]) == (0, "mine")
        answer = await peer.call([*headers, (b"x-request-id", b"x" * 129)], bytes(5))
        assert answer.grpc_status == 0
        assert uuid.UUID(answer.headers["x-request-id"])
        unknown = [(name, b"/no/such" if name == b":path" else value) for name, value in headers]
        answer = await peer.call([*unknown, (b"x-request-id", b"mine")], bytes(5))
        assert (answer.grpc_status, answer.headers["x-request-id"]) == (grpc.StatusCode.UNIMPLEMENTED.value[0], "mine")


@pytest.mark.parametrize("character", [b'"', b"<", b">", b"`", "\xe9".encode(), b"\xff"])
async def test_what_is_odd_in_a_path_is_its_callers_affair(service: Service, character: bytes) -> None:
    """The gateway has calls of all callers on one connection to a worker, where it may be more than odd."""
    token = (await service.token()).encode()
    own = (b"authorization", token)
    path = b"/rt-segment?a=" + character
    rest = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", path), own]
    async with connected(service.http_address) as other, connected(service.http_address) as peer:
        stream = other.begin(grpc_headers(STREAM, own))
        posted = await peer.call(rest, json.dumps(one_user()).encode())
        assert (posted.http_status, json.loads(posted.data)["response"]["status"]) == (200, "OK")
        for beginning in (f"{GET_STATUS}?a=", "/no/such?a=", "/no/such"):
            called = await peer.call(grpc_headers(beginning.encode() + character), bytes(5))
            assert called.grpc_status in {0, grpc.StatusCode.UNIMPLEMENTED.value[0]}
        await other.send(stream, frame(apply_request(one_user()).SerializeToString()), end=True)
        assert (await other.answer(stream)).grpc_status == 0
    async with connected(service.http_address) as peer:
        assert (await peer.call(grpc_headers(GET_STATUS), bytes(5))).grpc_status == 0


@pytest.mark.parametrize("character", [b"<", b"\xff"])
async def test_what_is_odd_in_a_path_ends_nobody_else_on_grpcs_port(service: Service, character: bytes) -> None:
    token = (await service.token()).encode()
    async with connected(service.grpc_address) as other:
        stream = other.begin(grpc_headers(STREAM, (b"authorization", token)))
        for _ in range(10):  # to each of the workers, which share the connections
            async with connected(service.grpc_address) as peer:
                assert (await peer.call(grpc_headers(b"/no/such?a=" + character), bytes(5))).grpc_status != 0
        await other.send(stream, frame(apply_request(one_user()).SerializeToString()), end=True)
        assert (await other.answer(stream)).grpc_status == 0
    async with connected(service.grpc_address) as peer:
        assert (await peer.call(grpc_headers(GET_STATUS), bytes(5))).grpc_status == 0


async def test_answers_of_rest_have_no_trailers_of_grpc(service: Service) -> None:
    own = (b"authorization", (await service.token()).encode())
    beginning = [(b":scheme", b"http"), (b":authority", b"a")]
    async with connected(service.http_address) as peer:
        for method, path, body, status in (
            (b"POST", b"/rt-segment", json.dumps(one_user()).encode(), 200),
            (b"POST", b"/rt-segment?validate_only=true", json.dumps(one_user()).encode(), 200),
            (b"GET", b"/rt-segment?user_id=1", b"", 200),
            (b"GET", b"/healthz", b"", 200),
            (b"GET", b"/rt-segment?user_id=x", b"", 400),
        ):
            answer = await peer.call([(b":method", method), *beginning, (b":path", path), own], body)
            assert answer.http_status == status
            assert answer.trailers in ({}, {"x-request-id": answer.headers["x-request-id"]})


async def test_many_requests_on_one_connection_of_http_1_0(service: Service) -> None:
    token = await service.token()
    request = (GET.format(minor=0, token=token) + "connection: keep-alive\r\n\r\n").encode()
    async with Connection(service.http_address) as connection:
        names = [(await connection.answer_to(request)).headers["x-request-id"] for _ in range(5)]
    assert len(set(names)) == 5
