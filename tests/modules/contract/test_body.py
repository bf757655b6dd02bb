"""JSON bodies: their syntax, shapes and sizes (source: RFC 8259; contract, "POST /rt-segment")."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from instantaudience.v1 import audience_pb2
from support.contract.json_bodies import (
    GOOD_BODIES,
    JSON_VALUES,
    NOT_JSON,
    NOT_UTF8,
    SNIPPETS,
    UNREADABLE,
    WRONG_SHAPES,
    chunks,
)
from support.contract.messages import LIMIT_BYTES
from support.gateway.running import Gateway, Upstream, assert_error

pytestmark = pytest.mark.process


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


async def test_what_cannot_be_read_is_told_with_its_place(client: httpx.AsyncClient, upstream: Upstream) -> None:
    for body, text in UNREADABLE:
        answer = await client.post("/rt-segment", content=body.encode(errors="surrogateescape"))
        assert_error(answer, 400, "SYNTAX", text)
    assert upstream.calls == []


async def test_what_cannot_be_read_is_told_of_what_is_kept_as_it_comes(client: httpx.AsyncClient) -> None:
    for value, rule in (
        ("1e999", "have no number beyond a double (byte 21)"),
        ('"\\ud800"', "have no lone surrogate (byte 22)"),
        ('{"\\udc00":1}', "have no lone surrogate (byte 23)"),
        ('[{"a":1},"\udcff"]', "be UTF-8 (byte 31)"),
        ('1,"\udcff":1', None),
    ):
        body = f'{{"segment":{{"price":{value}}}}}'.encode(errors="surrogateescape")
        text = f"segment.price: must {rule}." if rule else "The body must be UTF-8 (byte 24)."
        assert_error(await client.post("/segment?member_id=1", content=body), 400, "SYNTAX", text)


@pytest.mark.parametrize(
    ("segment", "place"),
    [
        ('{"price":9007199254740993}', "segment.price"),
        ('{"price":-12345678901234567890,"code":"a"}', "segment.price"),
        ('{"category":[1,{"a":[[2],9007199254740993]}]}', "segment.category"),
        ('{"querystring_mapping":{"code":{"price":9007199254740993}}}', "segment.querystring_mapping"),
        ('{"category":{"a":1},"price":9007199254740993}', "segment.price"),
    ],
)
async def test_digits_that_would_be_lost_are_told(client: httpx.AsyncClient, segment: str, place: str) -> None:
    """Of what is kept as it comes."""
    answer = await client.post("/segment?member_id=1", content=f'{{"segment":{segment}}}')
    rule = "a double has fewer digits than this number: write it as a string."
    assert_error(answer, 400, "SYNTAX", f"{place}: {rule}")


async def test_digits_after_a_point_may_be_lost(client: httpx.AsyncClient) -> None:
    for number in ("0.12345678901234567", "12345678901234567e2"):
        answer = await client.post("/segment?member_id=1", content=f'{{"segment":{{"price":{number}}}}}')
        assert_error(answer, 404, "SYNTAX")  # of the upstream, which has no segments


async def test_what_follows_it_is_not_taken_for_it(client: httpx.AsyncClient) -> None:
    answer = await client.post("/segment?member_id=1", content='{"segments":[{"price":1},9007199254740993]}')
    assert_error(answer, 400, "SYNTAX", "segments[1]: must be an object.")


DEEPEST = "[" * 16 + "]" * 16
TWICE = "no key may stand twice in an object of it"


@pytest.mark.parametrize(
    ("segment", "text"),
    [
        (f'{{"price":[{DEEPEST}]}}', "segment.price: must have at most 16 levels of lists and objects."),
        (f'{{"price":{DEEPEST},"category":{{"a":{DEEPEST}}}}}', "segment.category: must have at most 16 levels of"),
        ('{"price":' + '{"a":' * 40 + "1" + "}" * 41, "segment.price: must have at most 16 levels of lists and"),
        ('{"price":{"a":1,"a":2}}', f"segment.price: {TWICE}."),
        ('{"category":[{"a":{}},{"b":{"c":1,"a":null,"c":null}}]}', f"segment.category: {TWICE}."),
    ],
)
async def test_what_cannot_be_kept_as_it_comes_is_told(client: httpx.AsyncClient, segment: str, text: str) -> None:
    """The transcoder tells nothing of keys that stand twice, and protobuf's parsers fail past a hundred levels."""
    answer = await client.post("/segment?member_id=1", content=f'{{"segment":{segment}}}')
    assert_error(answer, 400, "SYNTAX")
    assert answer.json()["response"]["error"].startswith(text)


@pytest.mark.parametrize(
    "segment",
    [
        f'{{"price":{DEEPEST},"category":{DEEPEST}}}',
        '{"price":[{"a":1},{"a":1,"A":{"a":1}}],"category":{"a":{"a":1},"b":{"a":1}}}',
        '{"a":{"b":1,"b":2},"price":{"b":1},"a":[9007199254740993,{"b":1,"b":2}]}',
    ],
)
async def test_what_can_be_kept_comes_through(client: httpx.AsyncClient, segment: str) -> None:
    """To a service that has no segments."""
    answer = await client.post("/segment?member_id=1", content=f'{{"segment":{segment}}}')
    assert_error(answer, 404, "SYNTAX", "There is no such path.")


@pytest.mark.parametrize(
    "fields",
    [
        '"code":"a","code":null',
        '"code":null,"code":"a"',
        '"expire_minutes":7,"expireMinutes":null',
        '"price":{"a":1},"price":null',
        '"description":null,"x":1,"description":null',
    ],
)
async def test_a_null_that_clears_a_field_is_a_value_of_it(client: httpx.AsyncClient, fields: str) -> None:
    """Source: contract-neighbours, "Conventions", absent fields. Beside a value, nobody can say which was meant."""
    name = next(iter(json.loads(f"{{{fields}}}")))
    for body, place in (('{"segment":{%s}}', "segment"), ('{"segments":[{},{%s}]}', "segments[1]")):
        answer = await client.post("/segment?member_id=1", content=body % fields)
        assert_error(answer, 400, "SYNTAX", f"{place}.{name}: must not stand twice.")


async def test_a_place_in_a_body_is_named_as_its_caller_knows_it(client: httpx.AsyncClient) -> None:
    """Where the request holds the body in a field."""
    for path in ("/privacy/consumer-request", "/privacy/consumer-request?member_id=1"):
        answer = await client.post(path, content='{"suppress_minutes":1.5}')
        assert_error(answer, 422, "SYNTAX", "suppress_minutes: must be an integer of 32 bits.")
    answer = await client.post("/privacy/consumer-request?member_id=x", content="{}")
    assert_error(answer, 422, "SYNTAX", "member_id: must be an integer of 32 bits.")


async def test_a_key_that_a_proto_file_cannot_spell_is_named_as_it_is_documented(client: httpx.AsyncClient) -> None:
    """However it was spelled, and whoever looked at it."""
    for body, text in (
        ('{"public-key":{"active":"x"}}', "public-key.active: must be true or false."),
        ('{"public_key":{"active":"x"}}', "public-key.active: must be true or false."),
        ('{"public_key":[]}', "public-key: must be an object."),
        ('{"public_key":{},"public-key":{}}', "public-key: must not stand twice."),
    ):
        assert_error(await client.put("/public-key?key_id=1", content=body), 400, "SYNTAX", text)


async def test_error_does_not_repeat_a_password(client: httpx.AsyncClient) -> None:
    answer = await client.post("/auth", content='{"auth":{"username":"a","password":48151623}}')
    assert_error(answer, 400, "SYNTAX", "auth.password: must be a string.")


async def test_absent_body_is_refused(client: httpx.AsyncClient) -> None:
    assert_error(await client.post("/rt-segment"), 400, "SYNTAX", "The body is empty.")


async def test_fields_arrive(client: httpx.AsyncClient, upstream: Upstream) -> None:
    body = (
        '{"rt_segment":[{"user_\\u0069d":"é\\ud83d\\ude00","seg_block":[{"seg_id":"7","value":-1,"seg_code":null}]}]}'
    )
    await client.post("/rt-segment", content=body, headers={"content-type": "application/x-www-form-urlencoded"})
    expected = audience_pb2.ApplySegmentsRequest(detail=False)
    expected.rt_segment.add(user_id="é😀").seg_block.add(seg_id=7, value=-1)
    assert upstream.calls[0].request == expected


async def test_warnings_have_on_demand_what_the_service_sends(client: httpx.AsyncClient, upstream: Upstream) -> None:
    detailed = audience_pb2.ApplyWarning(message="m", code=audience_pb2.WARNING_CODE_LEFT_OUT, path="rt_segment[0]")
    for warning, expected in (
        (audience_pb2.ApplyWarning(message="m"), {"message": "m"}),
        (detailed, {"message": "m", "code": "WARNING_CODE_LEFT_OUT", "path": "rt_segment[0]"}),
    ):
        result = audience_pb2.ApplySegmentsResult(status="OK", warnings=[warning])
        upstream.answer = audience_pb2.ApplySegmentsResponse(response=result)
        answer = await client.post("/rt-segment", content="{}")
        assert answer.json()["response"]["warnings"] == [expected]


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
