"""What the gateway takes of a call: path, method, token and parameters (source: contract, "Errors" and "Tokens")."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.rpc.http_pb2 import HttpResponse
from hypothesis import given
from hypothesis import strategies as st
from instantaudience.v1 import audience_pb2
from instantaudience_gateway.contract import descriptor
from instantaudience_server.sign_in import tokens
from support.contract.json_bodies import JSON_VALUES
from support.contract.messages import APPLY
from support.gateway.running import TOKEN, Gateway, Upstream, assert_error, running_gateway

pytestmark = pytest.mark.process

PATHS = {
    "/rt-segment": "GET, POST",
    "/auth": "DELETE, POST",
    "/healthz": "GET, HEAD",
    "/readyz": "GET, HEAD",
}


@pytest.mark.parametrize(("path", "allow"), PATHS.items())
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"])
async def test_other_methods(client: httpx.AsyncClient, upstream: Upstream, path: str, allow: str, method: str) -> None:
    answer = await client.request(method, path, content=b"{}" if method in {"POST", "PUT"} else None)
    if method in allow.split(", "):
        assert answer.status_code == 200
        return
    assert answer.status_code == 405
    assert answer.headers["allow"] == allow
    if method != "HEAD":
        assert_error(answer, 405, "SYNTAX")
    assert upstream.calls == []


async def of_both_methods(gateway: Gateway, path: str) -> list[bytes]:
    """All that comes for HEAD and then GET on one connection: what is before the answer to GET, and its body."""
    reader, writer = await asyncio.open_connection(gateway.settings.http_host, gateway.settings.http_port)
    for more in ("HEAD {} HTTP/1.1\r\nhost: a\r\n\r\n", "GET {} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"):
        writer.write(more.format(path).encode())
    async with asyncio.timeout(20):
        head_of_one, head_of_other, body = (await reader.read()).split(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert body
    length = b"\r\ncontent-length: %d\r\n" % len(body)
    assert length in head_of_one + b"\r\n"
    assert length in head_of_other + b"\r\n"
    return [head.splitlines()[0] for head in (head_of_one, head_of_other)]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json"])
async def test_head_is_get_without_its_body(gateway: Gateway, path: str) -> None:
    """RFC 9110, section 9.3.2. A body would be taken for the beginning of the connection's next answer."""
    assert await of_both_methods(gateway, path) == [b"HTTP/1.1 200 OK"] * 2


async def test_head_of_health_that_is_not_well(directory: Path) -> None:
    async with running_gateway(directory, "nobody.sock") as gateway:
        assert await of_both_methods(gateway, "/readyz") == [b"HTTP/1.1 503 Service Unavailable"] * 2


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/nope", "/rt-segment/", "//rt-segment", "/rt%2Dsegment", "/RT-SEGMENT", "/rt-segment;a"),
        APPLY,
        "/grpc.health.v1.Health/Check",
    ],
)
async def test_unknown_paths(client: httpx.AsyncClient, upstream: Upstream, path: str) -> None:
    assert_error(await client.get(path), 404, "SYNTAX", "There is no such path.")
    assert_error(await client.post(path, content="{}"), 404, "SYNTAX")
    assert upstream.calls == []


TOKENS = [
    ("?access_token=hbapi:1:ab:x", {}, "hbapi:1:ab:x"),
    ("?access_token=hbapi%3A1%3aab%3Ax&user_id=5", {}, "hbapi:1:ab:x"),
    ("?user_id=5&access_token=a", {}, "a"),
    ("?access_token=&access_token=a&access_token", {}, "a"),
    ("?access%5Ftoken=a", {}, "a"),
    ("?access_token=a", {"authorization": "b"}, "b"),
    ("?access_token=a", {"authorization": "Bearer b"}, "Bearer b"),
    ("?access_token=%ff", {"authorization": "b"}, "b"),
    ("?access_token=a", {"authorization": ""}, "a"),
]
NO_TOKENS = [
    ("", {}),
    ("?access_token=", {}),
    ("?access_token", {}),
    ("?access_token&access_token=", {}),
    ("?access_token=", {"authorization": ""}),
    ("?access_token=a%0d%0ax:%20y", {}),
    ("?access_token=a%00", {}),
    ("?access_token=%20", {}),
    ("?xaccess_token=a", {}),
]


@pytest.mark.parametrize(("query", "headers", "token"), TOKENS)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_token(
    anyone: httpx.AsyncClient, upstream: Upstream, method: str, query: str, headers: dict[str, str], token: str
) -> None:
    content = "{}" if method == "POST" else None
    answer = await anyone.request(method, f"/rt-segment{query}", headers=headers, content=content)
    assert answer.status_code == 200
    metadata = upstream.calls[0].metadata
    assert metadata["authorization"] == token
    assert "access_token" not in str(metadata)
    assert "x-envoy-original-path" not in metadata


@pytest.mark.parametrize(("query", "headers"), NO_TOKENS)
async def test_no_token(anyone: httpx.AsyncClient, upstream: Upstream, query: str, headers: dict[str, str]) -> None:
    """The first thing that is wrong with a call, whatever else is, its body unread; HTTP/1.1's connection stays."""
    for endpoint in descriptor.endpoints():
        path = f"{endpoint.path}{query}"
        has_body = endpoint.body or endpoint.text
        content = "{" if has_body else None
        answer = await anyone.request(endpoint.http_method, path, headers=headers, content=content)
        if endpoint.public:
            assert answer.status_code == (400 if has_body else 200)
        else:
            assert_error(answer, 401, "NOAUTH", tokens.MISSING)
            assert "connection" not in answer.headers
    assert {call.method for call in upstream.calls} <= {"GetStatus", "GetReadiness", "SignOut"}


@pytest.mark.parametrize("query", ["access_token=a&access_token=b", "access_token=a&user_id=5&access%5Ftoken=a"])
@pytest.mark.parametrize("headers", [{}, {"authorization": "c"}], ids=["without a header", "with a header"])
async def test_two_tokens(anyone: httpx.AsyncClient, upstream: Upstream, query: str, headers: dict[str, str]) -> None:
    """As any other parameter that stands twice: nobody can say which of them was meant."""
    answer = await anyone.get(f"/rt-segment?{query}", headers=headers)
    assert_error(answer, 400, "SYNTAX", "access_token: must not stand twice.")
    assert upstream.calls == []


async def test_only_signing_in_and_health_need_no_token() -> None:
    assert {endpoint.path for endpoint in descriptor.endpoints() if endpoint.public} == {
        *("/auth", "/v2/auth/jwt", "/healthz", "/readyz")
    }


async def test_a_longer_token_than_any(anyone: httpx.AsyncClient, upstream: Upstream) -> None:
    for length, status in ((tokens.LONGEST_TOKEN, 200), (tokens.LONGEST_TOKEN + 1, 401)):
        headers = {"authorization": "Bearer " + "x" * length}
        answer = await anyone.post("/rt-segment", headers=headers, content="{}")
        assert answer.status_code == status
    assert_error(answer, 401, "NOAUTH", tokens.UNKNOWN)
    assert len(upstream.calls) == 1


REFUSED_UNREAD = {
    # what: headers, status. None of them ever gets its body.
    "no token, a large body": (["content-length: 1000000"], 401),
    "no token, a body of unknown length": (["transfer-encoding: chunked"], 401),
    "no token, too large a body": (["content-length: 1048577"], 401),
    "a token that cannot be one": (["authorization: " + "x" * 1000, "content-length: 1000000"], 401),
    "far too large a body": (["authorization: any", "content-length: 8388609"], 413),
}


@pytest.mark.parametrize(("headers", "status"), REFUSED_UNREAD.values(), ids=REFUSED_UNREAD)
async def test_refused_before_the_body_comes(gateway: Gateway, headers: list[str], status: int) -> None:
    reader, writer = await asyncio.open_connection(gateway.settings.http_host, gateway.settings.http_port)
    writer.write("\r\n".join(["POST /rt-segment HTTP/1.1", "host: a", *headers, "", ""]).encode())
    async with asyncio.timeout(20):
        line = await reader.readline()
    assert line.startswith(b"HTTP/1.1 %d " % status)
    writer.close()
    await writer.wait_closed()


async def test_query_sets_no_field_of_a_body(client: httpx.AsyncClient, upstream: Upstream) -> None:
    query = "rt_segment.user_id=7&rt_segment=8&user_id=9&rt%5Fsegment.domain=x"
    assert (await client.post(f"/rt-segment?{query}", content='{"detail":true}')).status_code == 200
    assert upstream.calls[0].request == audience_pb2.ApplySegmentsRequest(detail=False)


async def test_parameters_of_post(client: httpx.AsyncClient, upstream: Upstream) -> None:
    for query, fields in {
        "validate_only=true": {"validate_only": True, "detail": False},
        "detail=true": {"detail": True},
        "v%61lidateOnly=true&detail=false": {"validate_only": True, "detail": False},
        "validate_only=&detail=": {"detail": False},
    }.items():
        assert (await client.post(f"/rt-segment?{query}", content="{}")).status_code == 200
        assert upstream.calls.pop().request == audience_pb2.ApplySegmentsRequest(**fields)
    for query, text in {
        "detail=1x": "detail: must be true or false.",
        "detail=true&detail=true": "detail: must not stand twice.",
        "validate_only=true&validateOnly=true": "validate_only: must not stand twice.",
    }.items():
        assert_error(await client.post(f"/rt-segment?{query}", content="{}"), 400, "SYNTAX", text)


async def test_parameters_of_get(client: httpx.AsyncClient, upstream: Upstream) -> None:
    query = "user_id=a%26b+c&domain=idfa&domain=&UserId=9&x=1&y.z=2&=&&user%5Fid.x=1&access_token=t"
    answer = await client.request("GET", f"/rt-segment?{query}", content='{"user_id":"6","domain":"z"}')
    assert answer.status_code == 200
    assert upstream.calls[0].request == audience_pb2.GetMembershipsRequest(user_id="a&b c", domain="idfa")


async def test_integers_of_get_in_a_body(client: httpx.AsyncClient, upstream: Upstream) -> None:
    """They may be written as in other bodies; those beyond 2^53 stay as they are, since they would become others."""
    for written, text in {
        "12": "12",
        "12.0": "12",
        "-1.2e+1": "-12",
        "[12.0,1E1]": "12,10",
        "12.5": "12.5",
        "9007199254740993.0": "9007199254740993.0",
        "9007199254740991.0": "9007199254740991",
        "-9007199254740991.0": "-9007199254740991",
        "-9007199254740993.0": "-9007199254740993.0",
    }.items():
        answer = await client.request("GET", "/rt-segment", content=f'{{"user_id":{written}}}')
        assert answer.status_code == 200
        assert upstream.calls.pop().request == audience_pb2.GetMembershipsRequest(user_id=text)


@given(
    user_id=st.text(),
    others=st.dictionaries(st.text(), JSON_VALUES, max_size=3),
    is_ascii=st.booleans(),
    indent=st.sampled_from([None, 1]),
)
async def test_parameters_of_get_in_a_body(
    client: httpx.AsyncClient,
    upstream: Upstream,
    user_id: str,
    others: dict[str, Any],
    is_ascii: bool,
    indent: int | None,
) -> None:
    """What Python wrote there arrives."""
    upstream.calls.clear()
    parameters = others | {"user_id": user_id, "domain": ["a", 1.5, None, True]}
    body = json.dumps(parameters, ensure_ascii=is_ascii, indent=indent)
    answer = await client.request("GET", "/rt-segment?user_id=", content=body.encode())
    assert answer.status_code == 200, answer.text
    expected = audience_pb2.GetMembershipsRequest(user_id=user_id, domain="a,1.5,true")
    assert upstream.calls[0].request == expected


async def test_an_unknown_parameter_counts_wherever_it_stands(client: httpx.AsyncClient, upstream: Upstream) -> None:
    for query in ("x=1", "x=1&access_token=a", "access_token=a&x=1", "x=1&num_elements=2&y=3"):
        answer = await client.get(f"/member?{query}")
        assert_error(answer, 400, "SYNTAX", "x: there is no such parameter.")
    assert upstream.calls == []


async def test_parameter_that_is_not_utf8(client: httpx.AsyncClient, upstream: Upstream) -> None:
    for value in ("%ff", "a%c3", "%c0%80", "%ed%a0%80", "%f4%90%80%80", "%c3%c3%a9%a9"):
        answer = await client.get(f"/rt-segment?user_id={value}")
        assert_error(answer, 400, "SYNTAX", "user_id: must be UTF-8.")
    for value in ("\\ud800", "\\udc00\\udc00", "A\\udc00", "\\u0041\\udc00", "\\ud7ff\\udc00"):
        answer = await client.request("GET", "/rt-segment", content=f'{{"user_id":"{value}"}}')
        assert_error(answer, 400, "SYNTAX", "user_id: must be UTF-8.")
    for value in (
        "é",
        "€",
        "😀",
        "\0\x7f",
        "\x80\u07ff",
        "\u0800\ud7ff",
        "\ue000\uffff",
        "\U00010000\U0003ffff\U0010ffff",
    ):
        for sent in ({"params": {"user_id": value}}, {"content": json.dumps({"user_id": value})}):
            assert (await client.request("GET", "/rt-segment", **sent)).status_code == 200
            assert upstream.calls.pop().request == audience_pb2.GetMembershipsRequest(user_id=value)


async def test_what_the_server_is_told(client: httpx.AsyncClient, upstream: Upstream) -> None:
    steering = {
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-retry-on": "5xx",
        "grpc-timeout": "1n",
        "grpc-encoding": "gzip",
        "grpc-accept-encoding": "gzip",
        "x-request-id": "mine",
        "x-trace-bin": "!!!",
        "x-plain": "yes",
    }
    answer = await client.get("/healthz", headers=steering)
    assert answer.status_code == 200
    (call,) = upstream.calls
    assert call.seconds_left is not None
    assert 8 < call.seconds_left <= 10
    assert call.metadata["x-plain"] == "yes"
    assert not [
        name for name in call.metadata if name.startswith(("grpc-", "x-envoy-original")) or name.endswith("-bin")
    ]
    assert answer.headers["x-request-id"] == call.metadata["x-request-id"] == "mine"
    assert {"content-type", "content-length", "date", "x-request-id"} == set(answer.headers)


async def test_what_the_server_is_told_of_a_refusal(client: httpx.AsyncClient, upstream: Upstream) -> None:
    """Under the name that the call has in logs; its caller waits for that, so not for long."""
    assert (await client.post("/mapuid", content="{", headers={"x-request-id": "mine"})).status_code == 400
    (told,) = upstream.refusals
    assert told.request == HttpResponse(status=400)
    assert (told.metadata["authorization"], told.metadata["x-request-id"]) == ("any", "mine")
    assert told.seconds_left is not None
    assert 0 < told.seconds_left <= 5


async def test_connect_is_no_way_through(gateway: Gateway) -> None:
    reader, writer = await asyncio.open_connection(gateway.settings.http_host, gateway.settings.http_port)
    writer.write(b"CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 404 ")
    writer.close()
    await writer.wait_closed()


JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1In0.c2ln_-A"


@pytest.mark.parametrize("body", [JWT, f"{JWT}\n", f" \r\n{JWT} "])
@pytest.mark.parametrize("content_type", ["text/plain", "application/jwt", "application/x-www-form-urlencoded"])
async def test_a_text_is_taken_as_it_is(
    anyone: httpx.AsyncClient, upstream: Upstream, body: str, content_type: str
) -> None:
    answer = await anyone.post("/v2/auth/jwt?jwt=no", content=body, headers={"content-type": content_type})
    assert answer.json() == {"response": {"status": "OK", "token": TOKEN}}
    (call,) = upstream.calls
    assert call.request.jwt == JWT


@pytest.mark.parametrize("body", ["", "{}", f'{{"jwt":"{JWT}"}}', f'"{JWT}"', "a b", 'a"b', "a\\b", "ü"])
async def test_what_is_no_such_text(anyone: httpx.AsyncClient, upstream: Upstream, body: str) -> None:
    assert_error(await anyone.post("/v2/auth/jwt", content=body.encode()), 400, "SYNTAX")
    assert upstream.calls == []
