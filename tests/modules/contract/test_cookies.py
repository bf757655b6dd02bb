"""The session cookie (contract's neighbours, section 1; RFC 6265)."""

from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from support.gateway.running import TOKEN, Gateway, Upstream, assert_error, running_gateway
from support.wire.http1 import answer_to

pytestmark = pytest.mark.process

NAME = "instant_audience_token"
SIGN_IN = {"auth": {"username": "u", "password": "p"}}
SET = f"{NAME}={TOKEN}; Max-Age=86400; Path=/; HttpOnly; SameSite=Strict"
HOST = "audience.example.com"


async def test_signing_in_sets_it(anyone: httpx.AsyncClient) -> None:
    answer = await anyone.post("/auth", json=SIGN_IN)
    assert answer.headers.get_list("set-cookie") == [SET]
    assert answer.json()["response"]["token"] == TOKEN
    anyone.cookies.clear()


async def test_signing_out_takes_it_away(anyone: httpx.AsyncClient, upstream: Upstream) -> None:
    answer = await anyone.delete("/auth", headers={"cookie": f"{NAME}={TOKEN}"})
    assert answer.headers.get_list("set-cookie") == [f"{NAME}=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict"]
    assert upstream.calls[0].metadata["authorization"] == TOKEN


async def test_nothing_else_sets_it(anyone: httpx.AsyncClient) -> None:
    for answer in (
        await anyone.post("/auth", content="{"),
        await anyone.get("/auth"),
        await anyone.get("/rt-segment", headers={"authorization": "any"}),
        await anyone.get("/healthz"),
    ):
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(("hops", "scheme", "secure"), [(0, "https", False), (1, "https", True), (1, "http", False)])
async def test_who_comes_by_tls_gets_it_for_tls_alone(
    directory: Path, shared_upstream: Upstream, hops: int, scheme: str, secure: bool
) -> None:
    """What a header says of that counts where there are proxies in front alone."""
    async with running_gateway(directory, "worker.sock", trusted_hops=hops) as gateway, gateway.client() as http:
        answer = await http.post("/auth", json=SIGN_IN, headers={"x-forwarded-proto": scheme})
    assert answer.headers["set-cookie"] == SET + ("; Secure" if secure else "")


USED: dict[str, Mapping[str, str]] = {
    "alone": {"cookie": f"{NAME}={TOKEN}"},
    "among others": {"cookie": f"a=b; {NAME}={TOKEN}; x{NAME}=other"},
    "a blank header": {"cookie": f"{NAME}={TOKEN}", "authorization": ""},
    "of this site": {"cookie": f"{NAME}={TOKEN}", "origin": f"https://{HOST}", "sec-fetch-site": "same-origin"},
    "of this site, in capitals": {"cookie": f"{NAME}={TOKEN}", "origin": f"HTTPS://{HOST.upper()}"},
    "of this site, with its port": {
        "cookie": f"{NAME}={TOKEN}",
        "host": f"{HOST}:8080",
        "origin": f"http://{HOST}:8080",
    },
    "of this site, with the usual port": {
        "cookie": f"{NAME}={TOKEN}",
        "host": f"{HOST}:443",
        "origin": f"https://{HOST}",
    },
    "typed in": {"cookie": f"{NAME}={TOKEN}", "sec-fetch-site": "none"},
}
NOT_USED: dict[str, Mapping[str, str]] = {
    "another site": {"cookie": f"{NAME}={TOKEN}", "sec-fetch-site": "cross-site"},
    "another origin": {"cookie": f"{NAME}={TOKEN}", "origin": "https://evil.example"},
    "a name that ends like ours": {"cookie": f"{NAME}={TOKEN}", "origin": f"https://evil-{HOST}"},
    "a name that begins like ours": {"cookie": f"{NAME}={TOKEN}", "origin": f"https://{HOST}.evil.example"},
    "another port": {"cookie": f"{NAME}={TOKEN}", "origin": f"https://{HOST}:8443"},
    "no origin to be told": {"cookie": f"{NAME}={TOKEN}", "origin": "null"},
    "another origin that says it is ours": {
        "cookie": f"{NAME}={TOKEN}",
        "origin": "https://evil.example",
        "sec-fetch-site": "same-origin",
    },
    "another cookie": {"cookie": f"x{NAME}={TOKEN}"},
    "an empty one": {"cookie": f"{NAME}="},
}


@pytest.mark.parametrize("headers", USED.values(), ids=USED)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_it_is_used(anyone: httpx.AsyncClient, upstream: Upstream, method: str, headers: dict[str, str]) -> None:
    answer = await send(anyone, method, "/rt-segment", headers)
    assert answer.status_code == 200
    (call,) = upstream.calls
    assert call.metadata["authorization"] == TOKEN


@pytest.mark.parametrize("headers", NOT_USED.values(), ids=NOT_USED)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_it_is_not_used(
    anyone: httpx.AsyncClient, upstream: Upstream, method: str, headers: dict[str, str]
) -> None:
    assert_error(await send(anyone, method, "/rt-segment", headers), 401, "NOAUTH")
    assert upstream.calls == []


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/rt-segment", {"authorization": "said"}),
        ("/rt-segment?access_token=said", {}),
        ("/rt-segment?access_token=", {"authorization": "said"}),
    ],
)
async def test_a_token_that_is_said_counts_first(
    anyone: httpx.AsyncClient, upstream: Upstream, path: str, headers: dict[str, str]
) -> None:
    await send(anyone, "GET", path, headers | {"cookie": f"{NAME}={TOKEN}"})
    assert upstream.calls[0].metadata["authorization"] == "said"


@pytest.mark.parametrize("line", ["cookie: a=b\r\n{}\r\n", "{}\r\ncookie: a=b\r\n"], ids=["second", "first"])
async def test_it_may_stand_in_a_line_of_its_own(gateway: Gateway, upstream: Upstream, line: str) -> None:
    cookies = line.format(f"cookie: {NAME}={TOKEN}")
    answer = await answer_to(gateway.address, f"GET /rt-segment HTTP/1.1\r\nhost: a\r\n{cookies}\r\n".encode())
    assert answer.status_code == 200
    assert upstream.calls[0].metadata["authorization"] == TOKEN


async def test_a_token_that_can_be_none_is_not_made_good_by_it(anyone: httpx.AsyncClient) -> None:
    answer = await send(anyone, "GET", "/rt-segment?access_token=%20", {"cookie": f"{NAME}={TOKEN}"})
    assert_error(answer, 401, "NOAUTH")


async def send(http: httpx.AsyncClient, method: str, path: str, headers: Mapping[str, str]) -> httpx.Response:
    content = "{}" if method == "POST" else None
    return await http.request(method, path, content=content, headers={"host": HOST, **headers})
