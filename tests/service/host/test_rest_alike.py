"""What REST callers get is the same on all hosts and ports, to the byte: whether Envoy makes it or the host does."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from typing import Any

import httpx
import pytest
from support.contract.json_bodies import BODIES, chunks, mutants
from support.contract.messages import APPLY, LIMIT_BYTES
from support.contract.model import UNLIMITED, UNLIMITED_DEMO
from support.service.running import HOST_MODES, Service, new_directory, running_service
from support.waiting import eventually

pytestmark = pytest.mark.wide

SMALL = {"id": 300, "name": "small", "limits": UNLIMITED | {"users_per_call": 2, "body_bytes": 300}}
FULL = {"id": 301, "name": "full", "limits": UNLIMITED | {"users_per_second": 1}}
PASSWORD = "Alike-Passw0rd!"
CATALOG = UNLIMITED_DEMO | {
    "members": [*UNLIMITED_DEMO["members"], SMALL, FULL],
    "users": [
        *UNLIMITED_DEMO["users"],
        *({"id": m["id"], "username": m["name"], "password": PASSWORD, "member_id": m["id"]} for m in (SMALL, FULL)),
    ],
}
OF_ONE_ANSWER = {"date", "x-request-id", "connection"}
"""Headers that tell of one answer alone: how much of a body had come, too."""

CALL_SECONDS = 15
"""So much time that no call fails for want of it."""
PORTS = ("gateway", "direct")
"""Calls with parameters, and other methods and paths, are for the gateway."""

YOUNG_SECONDS = 20.0
"""How old connections may be here. Those of a minute are asked to end, and the gateway then ends them: a call that is
just sent would be lost."""

Send = Callable[[httpx.AsyncClient, dict[str, str]], Awaitable[httpx.Response]]


class Hosts:
    """A service on each host, in the order of `HOST_MODES`, with the same catalog; its tokens, and callers of each
    port."""

    def __init__(self, services: Sequence[Service], tokens: Sequence[dict[str, str]]) -> None:
        self._services = services
        self._tokens = tokens
        self._callers: dict[str, list[httpx.AsyncClient]] = {}
        self._since = float("-inf")

    async def close(self) -> None:
        for caller in itertools.chain(*self._callers.values()):
            await caller.aclose()

    async def assert_alike(self, send: Send, ports: Sequence[str] = PORTS) -> httpx.Response:
        """Sends the same to all."""
        if time.monotonic() - self._since > YOUNG_SECONDS:
            await self.close()
            self._callers = {port: [service.http(port) for service in self._services] for port in PORTS}
            self._since = time.monotonic()
        pairs = [pair for port in ports for pair in zip(self._callers[port], self._tokens, strict=True)]
        answers = await asyncio.gather(*(_answer(send, caller, tokens) for caller, tokens in pairs))
        for one, other in pairwise(answers):
            assert (one.status_code, one.content) == (other.status_code, other.content)
            assert _headers(one) == _headers(other)
        return answers[0]


async def _answer(send: Send, caller: httpx.AsyncClient, tokens: dict[str, str]) -> httpx.Response:
    """Sends again what a busy machine had no time for, as callers do."""

    async def had_time() -> httpx.Response:
        answer = await send(caller, tokens)
        assert answer.status_code != 503, answer.text
        return answer

    answer: httpx.Response = await eventually(had_time)
    return answer


def _headers(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in OF_ONE_ANSWER}


@asynccontextmanager
async def alike(host_mode: str) -> AsyncIterator[tuple[Service, dict[str, str]]]:
    """The service on a host, and its tokens."""
    async with new_directory() as directory:
        (directory / "alike.yaml").write_text(json.dumps(CATALOG))
        options: dict[str, Any] = {"host_mode": host_mode, "catalog": f"--catalog={directory / 'alike.yaml'}"}
        arguments = ("--call-timeout-seconds", str(CALL_SECONDS))
        async with running_service(*arguments, directory=directory, **options) as service:
            passwords = {"demo": None, "external": None, "small": PASSWORD, "full": PASSWORD}
            yield service, {name: await service.sign_in(name, password) for name, password in passwords.items()}


@pytest.fixture(scope="module")
async def hosts() -> AsyncIterator[Hosts]:
    async with AsyncExitStack() as stack:
        async with asyncio.TaskGroup() as tasks:
            starting = [tasks.create_task(stack.enter_async_context(alike(host_mode))) for host_mode in HOST_MODES]
        hosts = Hosts(*zip(*(task.result() for task in starting), strict=True))
        stack.push_async_callback(hosts.close)
        yield hosts


def post(content: bytes, username: str = "demo", **options: str) -> Send:
    """Posts memberships."""

    async def send(http: httpx.AsyncClient, tokens: dict[str, str]) -> httpx.Response:
        headers = {"authorization": tokens[username]} | options
        return await http.post("/rt-segment", content=content, headers=headers)

    return send


def chunked(content: bytes) -> Send:
    """As `post`, without saying how long the body is."""

    async def send(http: httpx.AsyncClient, tokens: dict[str, str]) -> httpx.Response:
        return await http.post("/rt-segment", content=chunks(content), headers={"authorization": tokens["demo"]})

    return send


@pytest.mark.parametrize("username", ["demo", "external"])
async def test_bodies(hosts: Hosts, username: str) -> None:
    statuses = {(await hosts.assert_alike(post(body, username))).status_code for body in BODIES}
    assert statuses == {200, 400}


@pytest.mark.parametrize("seed", range(20, 23))
async def test_mutants(hosts: Hosts, seed: int) -> None:
    for body in mutants(seed, 150):
        await hosts.assert_alike(post(body))


async def test_warnings(hosts: Hosts) -> None:
    blocks = [
        {"seg_id": 7},
        {"seg_id": 10001, "expiration": -2},
        {"seg_code": '<\u2028"\\\t\U000e0001é>', "member_id": -1},
    ]
    users = [{"user_id": f"{character}1", "seg_block": blocks} for character in '\0\x1f"<>\\\x7f\x9f\xad\u0600é😀']
    users += [{"user_id": "5", "domain": '<"\u200b>', "seg_block": [{"seg_id": 10001}] * 101}, {}, {"seg_block": []}]
    for content in (json.dumps({"rt_segment": users}), json.dumps({"rt_segment": users}, ensure_ascii=False)):
        answer = await hosts.assert_alike(post(content.encode()))
        assert len(answer.json()["response"]["warnings"]) > len(users)


async def test_many_warnings(hosts: Hosts) -> None:
    users = [{"user_id": str(number), "seg_block": [{"seg_id": -n} for n in range(1, 21)]} for number in range(1, 900)]
    answer = await hosts.assert_alike(post(json.dumps({"rt_segment": users}).encode()))
    assert len(answer.json()["response"]["warnings"]) > 5000


GOOD = b'{"rt_segment":[{"user_id":"5","seg_block":[{"seg_id":10001}]}]}'
BAD = b'{"rt_segment":1}'


@pytest.mark.parametrize(
    ("authorization", "query", "status"),
    [
        ("", "", 401),
        ("nobody", "", 401),
        ("Bearer nobody", "", 401),
        ("Bearer " + "n" * 256, "", 401),
        ("Bearer " + "n" * 257, "", 401),
        ("nobody", "?access_token=TOKEN", 401),
        ("", "?access_token=TOKEN", 200),
        ("", "?access_token=nobody", 401),
        ("TOKEN", "?access_token=%ff&validate_only=true&x=%ff", 200),
        ("Bearer TOKEN", "?rt_segment=1", 200),
    ],
)
async def test_tokens(hosts: Hosts, authorization: str, query: str, status: int) -> None:
    """The token counts before the body."""
    bad = 401 if status == 401 else 400
    for content, expected in ((GOOD, status), (BAD, bad), (b"", bad)):

        async def send(http: httpx.AsyncClient, tokens: dict[str, str], content: bytes = content) -> httpx.Response:
            token = tokens["demo"]
            headers = {"authorization": authorization.replace("TOKEN", token)}
            return await http.post(f"/rt-segment{query.replace('TOKEN', token)}", content=content, headers=headers)

        ports = ["gateway"] if query else PORTS
        assert (await hosts.assert_alike(send, ports)).status_code == expected


@pytest.mark.parametrize(
    ("values", "status"), [(["TOKEN", "nobody"], 401), (["TOKEN", "TOKEN"], 401), (["", "TOKEN"], 200), (["", ""], 401)]
)
async def test_several_tokens(hosts: Hosts, values: list[str], status: int) -> None:
    """Whoever checks one of them on the way must not have checked another than counts here."""

    async def send(http: httpx.AsyncClient, tokens: dict[str, str]) -> httpx.Response:
        headers = [("authorization", value.replace("TOKEN", tokens["demo"])) for value in values]
        return await http.post("/rt-segment", content=GOOD, headers=headers)

    assert (await hosts.assert_alike(send)).status_code == status


@pytest.mark.parametrize(("own", "kept"), [(["one", "other"], "one,other"), (["", "other"], "other")])
async def test_several_request_ids(hosts: Hosts, own: list[str], kept: str) -> None:
    async def send(http: httpx.AsyncClient, tokens: dict[str, str]) -> httpx.Response:
        headers = [("authorization", tokens["demo"]), *(("x-request-id", value) for value in own)]
        answer = await http.post("/rt-segment", content=GOOD, headers=headers)
        assert answer.headers["x-request-id"] == kept
        return answer

    await hosts.assert_alike(send)


@pytest.mark.parametrize("name", ["validate_only", "validateOnly", "validate%5Fonly", "%76alidateOnly"])
async def test_parameters(hosts: Hosts, name: str) -> None:
    """However their names are written: a call that is to be checked alone must not be applied."""
    for value, status in (("true", 200), ("1x", 400)):

        async def send(
            http: httpx.AsyncClient, tokens: dict[str, str], query: str = f"{name}={value}"
        ) -> httpx.Response:
            return await http.post(f"/rt-segment?{query}", content=GOOD, headers={"authorization": tokens["demo"]})

        assert (await hosts.assert_alike(send, ["gateway"])).status_code == status


async def test_limits(hosts: Hosts) -> None:
    fitting = b'{"x":"' + b"x" * (LIMIT_BYTES - 8) + b'"}'
    user = {"user_id": "5", "seg_block": [{"seg_id": 10001}]}
    for send, status in [
        (post(fitting), 200),
        (post(fitting + b" "), 413),
        (post(b""), 400),
        (chunked(b""), 400),
        (chunked(BAD), 400),
        (chunked(fitting), 200),
        (chunked(fitting + b" "), 413),
        (post(b"{" * LIMIT_BYTES), 400),
        (post(GOOD + b" " * 300, "small"), 413),
        (post(json.dumps({"rt_segment": [user] * 3}).encode(), "small"), 200),
        (post(json.dumps({"rt_segment": [user] * 3}).encode(), "full"), 429),
    ]:
        assert (await hosts.assert_alike(send)).status_code == status


async def test_headers_of_callers(hosts: Hosts) -> None:
    steering = {
        "x-request-start": "0",
        "x-request-body-bytes": "99999999",
        "grpc-timeout": "1n",
        "grpc-encoding": "gzip",
        "x-trace-bin": "!!!",
        "x-envoy-original-path": "/nope",
        "accept-encoding": "gzip",
        "te": "trailers",
    }
    for content_type in ("application/json", "application/x-passed-on+json", "text/plain; charset=latin-1", ""):
        answer = await hosts.assert_alike(post(GOOD, **steering, **{"content-type": content_type}))
        assert answer.status_code == 200
        assert set(answer.headers) == {"content-type", "content-length", "date", "x-request-id"}


async def test_other_methods_and_paths(hosts: Hosts) -> None:
    for method in ("GET", "PUT", "DELETE", "HEAD", "OPTIONS"):
        for path in ("/rt-segment", "/rt-segment/", APPLY):

            async def send(
                http: httpx.AsyncClient, tokens: dict[str, str], method: str = method, path: str = path
            ) -> httpx.Response:
                return await http.request(method, path, content=GOOD, headers={"authorization": tokens["demo"]})

            await hosts.assert_alike(send, ["gateway"])
