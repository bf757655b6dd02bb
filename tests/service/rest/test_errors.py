"""What is no request: the contract's errors, and nothing applied."""

import json

import httpx
import pytest
from support.contract.answers import assert_http_error, body_of
from support.contract.messages import LIMIT_BYTES, USER

pytestmark = pytest.mark.usefixtures("unchanged")


def body(block: str = '{"seg_id":10001}', user_id: str = f'"{USER}"') -> bytes:
    """A request whose first user is fine, so that it would show if a part of the request were applied."""
    fine = f'{{"user_id":"{USER}","seg_block":[{{"seg_id":10001}}]}}'
    return f'{{"rt_segment":[{fine},{{"user_id":{user_id},"seg_block":[{block}]}}]}}'.encode()


UNREADABLE = {
    "empty": b"",
    "blank": b" \n",
    "no JSON": b"user_id=1&seg_id=10001",
    "JSON with more behind it": body() + b"x",
    "cut short": body()[:-1],
    "a form": b"rt_segment=" + body(),
    "single quotes": body().replace(b'"', b"'"),
    "NaN": body('{"seg_id":NaN}'),
    "a leading zero": body('{"seg_id":010001}'),
    "a list": b"[" + body() + b"]",
    "null": b"null",
    "a string": b'"rt_segment"',
    "rt_segment is an object": b'{"rt_segment":{}}',
    "a user is null": b'{"rt_segment":[null]}',
    "a block is a number": body("10001"),
    "seg_block is a string": b'{"rt_segment":[{"user_id":"1","seg_block":"10001"}]}',
    "user_id is a number": body(user_id="1"),
    "user_id is a list": body(user_id='["1"]'),
    "seg_id is a word": body('{"seg_id":"sports_fans"}'),
    "seg_id is true": body('{"seg_id":true}'),
    "seg_id is a list": body('{"seg_id":[10001]}'),
    "seg_id beyond int32": body('{"seg_id":2147483648}'),
    "value beyond int32": body('{"seg_id":10001,"value":-2147483649}'),
    "value beyond int32, as a string": body('{"seg_id":10001,"value":"2147483648"}'),
    "expiration beyond int64": body('{"seg_id":10001,"expiration":9223372036854775808}'),
    "a fraction": body('{"seg_id":10001,"expiration":1.5}'),
    "seg_code is a number": body('{"seg_code":1,"member_id":123}'),
    "a byte that is not UTF-8": body(user_id='"\0"').replace(b"\0", b"\xff"),
    "an overlong character": body(user_id='"\0"').replace(b"\0", b"\xc0\x80"),
    "a lone surrogate": body(user_id='"\\ud800"'),
    "nested too deeply": b'{"x":' + b"[" * 200 + b"]" * 200 + b"}",
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
async def test_unreadable_bodies(demo: httpx.AsyncClient, content: bytes) -> None:
    answer = await demo.post("/rt-segment", content=content)
    assert_http_error(answer, 400, "SYNTAX")


UNREADABLE_SIGN_INS = {
    "empty": b"",
    "no JSON": b"nope",
    "no auth": b"{}",
    "auth is null": b'{"auth":null}',
    "auth is a string": b'{"auth":"demo"}',
    "no username": b'{"auth":{"password":"Demo-Passw0rd!"}}',
    "no password": b'{"auth":{"username":"demo"}}',
    "an empty username": b'{"auth":{"username":"","password":"Demo-Passw0rd!"}}',
    "an empty password": b'{"auth":{"username":"demo","password":""}}',
    "a null password": b'{"auth":{"username":"demo","password":null}}',
    "password is a number": b'{"auth":{"username":"demo","password":48151623}}',
    "not UTF-8": b'{"auth":{"username":"demo","password":"\xff"}}',
}


@pytest.mark.parametrize("content", UNREADABLE_SIGN_INS.values(), ids=UNREADABLE_SIGN_INS)
async def test_unreadable_sign_ins(http: httpx.AsyncClient, content: bytes) -> None:
    answer = await http.post("/auth", content=content)
    assert_http_error(answer, 400, "SYNTAX")
    assert "Demo-Passw0rd!" not in answer.text
    assert "48151623" not in answer.text


@pytest.mark.parametrize("path", ["/rt-segment", "/auth"])
async def test_a_body_of_a_byte_too_many(demo: httpx.AsyncClient, path: str) -> None:
    padding = LIMIT_BYTES + 1 - len(body()) - len(',"x":""')
    content = body()[:-1] + b',"x":"' + b"x" * padding + b'"}'
    assert len(content) == LIMIT_BYTES + 1
    assert json.loads(content)
    assert_http_error(await demo.post(path, content=content), 413, "LIMIT")


async def test_a_body_of_the_longest_size(demo: httpx.AsyncClient) -> None:
    content = b'{"rt_segment":[],"x":"' + b"x" * (LIMIT_BYTES - 24) + b'"}'
    assert len(content) == LIMIT_BYTES
    answer = await demo.post("/rt-segment", content=content)
    assert answer.status_code == 200, answer.text
    assert body_of(answer)["response"]["message"] == {"users_in_request": 0, "segments_in_request": 0}


@pytest.mark.parametrize("path", ["/", "/rt-segments", "/rt-segment/", "/rt-segment/1", "/RT-SEGMENT", "/metrics"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_unknown_paths(demo: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await demo.request(method, path, content=body() if method == "POST" else None)
    assert_http_error(answer, 404, "SYNTAX")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/rt-segment", "GET, POST"),
        ("DELETE", "/rt-segment", "GET, POST"),
        ("PATCH", "/rt-segment", "GET, POST"),
        ("GET", "/auth", "DELETE, POST"),
        ("PUT", "/auth", "DELETE, POST"),
        ("POST", "/healthz", "GET, HEAD"),
    ],
)
async def test_wrong_methods(demo: httpx.AsyncClient, method: str, path: str, allow: str) -> None:
    answer = await demo.request(method, path, content=body() if method != "GET" else None)
    assert_http_error(answer, 405, "SYNTAX")
    assert answer.headers["allow"] == allow


async def test_a_password_does_not_belong_in_a_url(http: httpx.AsyncClient) -> None:
    answer = await http.get("/auth", params={"username": "demo", "password": "wrong"})
    assert_http_error(answer, 405, "SYNTAX")
    assert "POST /auth" in body_of(answer)["response"]["error"]


async def test_health_needs_no_token(http: httpx.AsyncClient) -> None:
    answer = await http.get("/healthz")
    assert answer.status_code == 200
    assert body_of(answer) == {"response": {"status": "OK"}}
