"""JSON bodies: their syntax, shapes and sizes (source: RFC 8259; contract, "POST /rt-segment")."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from instantaudience.v1 import audience_pb2
from support.gateways import Gateway, Upstream, assert_error
from support.messages import LIMIT_BYTES

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
