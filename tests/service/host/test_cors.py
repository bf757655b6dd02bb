"""Pages of other sites that call from browsers (source: https://fetch.spec.whatwg.org/#cors-protocol)."""

from collections.abc import AsyncIterator

import httpx
import pytest
from instantaudience_server.transport.framing import frame
from support.contract.messages import APPLY, GET_STATUS
from support.service.running import Service

APP, OTHER = "https://app.example.com", "https://other.example.com"
"""The fixture `open_service` allows the first."""
ORIGIN, CREDENTIALS = "access-control-allow-origin", "access-control-allow-credentials"


@pytest.fixture
async def browser(open_service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """Who calls from a page of `APP`."""
    async with open_service.http(headers={"origin": APP, "sec-fetch-site": "cross-site"}) as http:
        yield http


def question(method: str, headers: str = "authorization,content-type") -> dict[str, str]:
    return {"access-control-request-method": method, "access-control-request-headers": headers}


@pytest.mark.parametrize("path", ["/rt-segment", "/segment", "/auth", APPLY])
async def test_a_browser_asks_whether_it_may(browser: httpx.AsyncClient, path: str) -> None:
    answer = await browser.options(path, headers=question("POST", "authorization,x-grpc-web"))
    assert answer.status_code == 200
    assert answer.headers[ORIGIN] == APP
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert {"authorization", "x-grpc-web"} <= set(answer.headers["access-control-allow-headers"].split(", "))
    assert CREDENTIALS not in answer.headers


async def test_pages_of_others_may_not(browser: httpx.AsyncClient) -> None:
    asked = await browser.options("/rt-segment", headers=question("POST") | {"origin": OTHER})
    assert ORIGIN not in asked.headers
    called = await browser.get("/healthz", headers={"origin": OTHER})
    assert (called.status_code, ORIGIN in called.headers) == (200, False)


async def test_answers_may_be_read(browser: httpx.AsyncClient, open_service: Service) -> None:
    """Those of failures, too: a page could not tell its user else."""
    token = {"authorization": await open_service.token()}
    body = {"rt_segment": [{"user_id": "1", "seg_block": [{"seg_id": 10001}]}]}
    answers = [
        await browser.post("/rt-segment", json=body, headers=token),
        await browser.get("/segment", headers=token),
        await browser.post("/rt-segment", json=body),
        await browser.post("/rt-segment", content=b"{", headers=token),
        await browser.get("/nowhere", headers=token),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 401, 400, 404]
    for answer in answers:
        assert answer.headers[ORIGIN] == APP
        assert "x-request-id" in answer.headers["access-control-expose-headers"]


async def test_grpc_web(browser: httpx.AsyncClient) -> None:
    web = {"content-type": "application/grpc-web", "accept": "application/grpc-web"}
    answer = await browser.post(GET_STATUS, content=frame(b""), headers=web)
    assert (answer.status_code, answer.headers[ORIGIN]) == (200, APP)
    assert "grpc-status" in answer.headers["access-control-expose-headers"]


async def test_nobody_may_where_nobody_is_named(http: httpx.AsyncClient) -> None:
    assert ORIGIN not in (await http.get("/healthz", headers={"origin": APP})).headers
    assert (await http.options("/rt-segment", headers=question("POST") | {"origin": APP})).status_code == 405
