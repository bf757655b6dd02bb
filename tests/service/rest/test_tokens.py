"""Tokens over REST (source: contract, "Tokens")."""

import itertools
import re
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience.v1.catalog_pb2_grpc import CatalogServiceStub
from redis.asyncio import RedisCluster
from support.cluster.stored import put
from support.contract.answers import assert_http_error, body_of
from support.contract.messages import USER
from support.service.running import PASSWORDS, Service, credentials
from support.waiting import eventually

UNKNOWN = "hbapi:1001:0123456789abcdef0123456789abcdef:local"
NAMES = (f"rest-account-{number}" for number in itertools.count())
PASSWORD = "A-new-Passw0rd"


@pytest.fixture
async def admin(service: Service) -> AsyncIterator[Any]:
    """Calls CatalogService, with the token of the account `admin`."""
    metadata = (("authorization", await service.token("admin")),)
    async with service.channel("direct") as channel:
        stub = CatalogServiceStub(channel)

        async def call(method: str, request: Any) -> Any:
            return await getattr(stub, method)(request, metadata=metadata)

        yield call


@pytest.fixture
async def answer_of(http: httpx.AsyncClient, cluster: RedisCluster) -> Any:
    """Calls GET /rt-segment with a query and headers."""
    await put(cluster, {("", USER): {10001: (1, 0)}})

    async def call(query: str = "", headers: dict[str, str] | None = None) -> httpx.Response:
        return await http.get(f"/rt-segment?user_id={USER}{query}", headers=headers)

    return call


async def test_sign_in(service: Service, http: httpx.AsyncClient) -> None:
    answer = await http.post("/auth", json=credentials("private"))
    assert answer.status_code == 200
    token = body_of(answer)["response"].pop("token")
    assert body_of(answer) == {"response": {"status": "OK", "token": token, "dbg_info": {"output_term": "token"}}}
    assert re.fullmatch(r"hbapi:1003:[0-9a-f]{32}:local", token)
    assert token != await service.token("private")


REFUSED = {
    "wrong password": (credentials("demo", "Demo-Passw0rd"), "NOAUTH"),
    "another account's password": (credentials("demo", PASSWORDS["admin"]), "NOAUTH"),
    "unknown name": (credentials("nobody", "a-password"), "NOAUTH"),
    "name in another case": (credentials("Demo", PASSWORDS["demo"]), "NOAUTH"),
    "deactivated": (credentials("retired"), "NOAUTH_DISABLED"),
    "deactivated, wrong password": (credentials("retired", "a-password"), "NOAUTH"),
}


@pytest.mark.parametrize(("body", "error_id"), REFUSED.values(), ids=REFUSED)
async def test_refused_sign_in(http: httpx.AsyncClient, body: dict[str, Any], error_id: str) -> None:
    answer = await http.post("/auth", json=body)
    assert_http_error(answer, 401, error_id, error_code="INVALID_LOGIN" if error_id == "NOAUTH" else None)
    assert body["auth"]["password"] not in answer.text


async def test_the_answer_does_not_tell_whether_a_name_exists(http: httpx.AsyncClient) -> None:
    answers = [await http.post("/auth", json=credentials(name, "x")) for name in ("demo", "nobody")]
    assert answers[0].content == answers[1].content


ACCEPTED = {
    "bare": ("", {"authorization": "{token}"}),
    "Bearer": ("", {"authorization": "Bearer {token}"}),
    "bearer": ("", {"authorization": "bearer {token}"}),
    "parameter": ("&access_token={token}", {}),
    "parameter, percent-encoded": ("&access_token={encoded}", {}),
    "the header wins": (f"&access_token={UNKNOWN}", {"authorization": "{token}"}),
    "an empty header is none": ("&access_token={token}", {"authorization": ""}),
}


@pytest.mark.parametrize(("query", "headers"), ACCEPTED.values(), ids=ACCEPTED)
async def test_accepted_tokens(service: Service, answer_of: Any, query: str, headers: dict[str, str]) -> None:
    token = await service.token()
    forms = {"token": token, "encoded": quote(token, safe="")}
    assert "%3A" in forms["encoded"]
    headers = {name: value.format(**forms) for name, value in headers.items()}
    answer = await answer_of(query.format(**forms), headers)
    assert answer.status_code == 200, answer.text
    assert [block["seg_id"] for block in body_of(answer)["response"]["rt_segment"][0]["seg_block"]] == [10001]


NOT_ACCEPTED = {
    "none": ("", {}),
    "Bearer alone": ("", {"authorization": "Bearer"}),
    "unknown": ("", {"authorization": UNKNOWN}),
    "unknown, as a parameter": (f"&access_token={UNKNOWN}", {}),
    "no token at all": ("", {"authorization": "x" * 5000}),
    "another scheme": ("", {"authorization": "Basic {token}"}),
    "cut short": ("", {"authorization": "{shorter}"}),
    "the header wins": ("&access_token={token}", {"authorization": UNKNOWN}),
    "parameter in another case": ("&Access_Token={token}", {}),
}


@pytest.mark.parametrize(("query", "headers"), NOT_ACCEPTED.values(), ids=NOT_ACCEPTED)
async def test_refused_tokens(service: Service, answer_of: Any, query: str, headers: dict[str, str]) -> None:
    token = await service.token()
    forms = {"token": token, "shorter": token[:-1]}
    headers = {name: value.format(**forms) for name, value in headers.items()}
    answer = await answer_of(query.format(**forms), headers)
    assert_http_error(answer, 401, "NOAUTH")
    assert token not in answer.text
    assert UNKNOWN not in answer.text


async def test_a_browsers_session(http: httpx.AsyncClient, admin: Any) -> None:
    """The cookie jar does it all; the path that the service reads itself on some hosts included."""
    user, _ = await new_user(http, admin)
    http.cookies.clear()
    await sign_in(http, user.username)
    assert [cookie.name for cookie in http.cookies.jar] == ["instant_audience_token"]
    body = {"rt_segment": [{"user_id": USER, "seg_block": [{"seg_id": 10001}]}]}
    for headers in ({}, {"authorization": ""}):
        applied = await http.post("/rt-segment", json=body, headers=headers)
        assert body_of(applied)["response"]["message"] == {"users_in_request": 1, "segments_in_request": 1}
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
        assert_http_error(await http.post("/rt-segment", json=body, headers=headers), 401, "NOAUTH")
        assert_http_error(await http.delete("/auth", headers=headers), 401, "NOAUTH")
        elsewhere = await http.post("/auth", headers=headers, json=credentials(user.username, PASSWORD))
        assert (elsewhere.status_code, "set-cookie" in elsewhere.headers) == (200, False)
    token = http.cookies["instant_audience_token"]
    assert (await http.delete("/auth")).status_code == 200
    assert not http.cookies

    async def it_has_ended() -> None:  # a worker trusts what it knows for a second
        assert_http_error(await http.delete("/auth", headers={"authorization": token}), 401, "NOAUTH")

    await eventually(it_has_ended)


async def test_who_has_signed_out_is_refused_on_a_workers_port_too(
    service: Service, http: httpx.AsyncClient, admin: Any
) -> None:
    _, token = await new_user(http, admin)
    headers = {"authorization": token}

    async def it_has_ended() -> None:
        for _ in range(10):  # workers share the connections
            async with service.http("direct", headers=headers) as direct:
                assert_http_error(await direct.post("/rt-segment", json={}), 401, "NOAUTH")

    async def is_known() -> None:
        async with service.http("direct", headers=headers) as direct:
            assert (await direct.post("/rt-segment", json={})).status_code == 200

    await eventually(is_known)
    assert (await http.delete("/auth", headers=headers)).status_code == 200
    await eventually(it_has_ended)


async def test_the_eleventh_sign_in_of_five_minutes(http: httpx.AsyncClient, admin: Any) -> None:
    """Of an account of the test's own; failed attempts are not counted."""
    user, _ = await new_user(http, admin)
    wrong, right = credentials(user.username, "x"), credentials(user.username, PASSWORD)
    assert_http_error(await http.post("/auth", json=wrong), 401, "NOAUTH", error_code="INVALID_LOGIN")
    for _ in range(9):
        await eventually(lambda: sign_in(http, user.username))
    answer = await http.post("/auth", json=right)
    assert_http_error(answer, 429, "RATE_LIMIT_EXCEEDED")
    assert answer.headers["x-ratelimit-code"] == "429"
    assert answer.headers["x-ratelimit-count"] == "10"
    assert 240 < int(answer.headers["retry-after"]) <= 300
    assert "Rate limit exceeded" in body_of(answer)["response"]["error"]
    assert_http_error(await http.post("/auth", json=wrong), 401, "NOAUTH", error_code="INVALID_LOGIN")


async def test_no_token_and_no_password_in_the_log(service: Service, http: httpx.AsyncClient, answer_of: Any) -> None:
    token = await service.token()
    for query, headers in ((f"&access_token={token}", {}), ("", {"authorization": token})):
        assert (await answer_of(query, headers)).status_code == 200
        assert_http_error(await answer_of(f"{query}&domain=nope", headers), 400, "SYNTAX")
    unknown = credentials("nobody", "a-wrong-password")
    assert_http_error(await http.post("/auth", json=unknown), 401, "NOAUTH", error_code="INVALID_LOGIN")
    for secret in ("hbapi:", "a-wrong-password", *PASSWORDS.values()):
        assert secret not in service.log
    assert "hbapi:" not in service.output


class TestAccountsThatChange:
    """An administrator changes an account over gRPC; what REST callers see (../grpc/test_accounts.py has more)."""

    @pytest.mark.parametrize(
        ("change", "error_id", "sign_in_error_id"),
        [
            (lambda user: ("UpdateUser", deactivation(user)), "NOAUTH_DISABLED", "NOAUTH_DISABLED"),
            (lambda user: ("DeleteUser", pb.DeleteUserRequest(id=user.id)), "NOAUTH", "NOAUTH"),
            (lambda user: ("ChangePassword", change_of_password(user)), "NOAUTH", "NOAUTH"),
            (lambda user: ("RevokeTokens", pb.RevokeTokensRequest(id=user.id)), "NOAUTH", None),
        ],
        ids=["deactivated", "deleted", "password changed", "tokens revoked"],
    )
    async def test_the_token_is_refused(
        self,
        http: httpx.AsyncClient,
        admin: Any,
        answer_of: Any,
        change: Callable[[pb.User], tuple[str, Any]],
        error_id: str,
        sign_in_error_id: str | None,
    ) -> None:
        user, token = await new_user(http, admin)
        headers = {"authorization": token}

        async def is_taken() -> None:
            assert (await answer_of(headers=headers)).status_code == 200

        async def is_refused() -> None:
            # A worker that does not know the user yet says NOAUTH for a moment; so it does of a sign-in, below.
            assert_http_error(await answer_of(headers=headers), 401, error_id)

        async def may_sign_in_or_not() -> None:
            again = await http.post("/auth", json=credentials(user.username, PASSWORD))
            if sign_in_error_id is None:
                assert again.status_code == 200
            else:
                error_code = "INVALID_LOGIN" if sign_in_error_id == "NOAUTH" else None
                assert_http_error(again, 401, sign_in_error_id, error_code=error_code)

        await eventually(is_taken)
        await admin(*change(user))
        await eventually(is_refused)
        await eventually(may_sign_in_or_not)


async def new_user(http: httpx.AsyncClient, admin: Any) -> tuple[pb.User, str]:
    """A user that has signed in once, and the token; some worker may not know the user for a moment."""
    request = pb.CreateUserRequest(user={"username": next(NAMES), "member_id": 123}, password=PASSWORD)
    user = (await admin("CreateUser", request)).user
    signed_in = await eventually(lambda: sign_in(http, user.username))
    return user, body_of(signed_in)["response"]["token"]


async def sign_in(http: httpx.AsyncClient, username: str) -> httpx.Response:
    answer = await http.post("/auth", json=credentials(username, PASSWORD))
    assert answer.status_code == 200
    return answer


def deactivation(user: pb.User) -> pb.UpdateUserRequest:
    return pb.UpdateUserRequest(user={"id": user.id, "deactivated": True}, update_mask={"paths": ["deactivated"]})


def change_of_password(user: pb.User) -> pb.ChangePasswordRequest:
    return pb.ChangePasswordRequest(id=user.id, new_password=PASSWORD + "2")
