"""Public keys and signing in by them, over REST and gRPC (contract's neighbours, section 1)."""

import time
from typing import Any

import grpc
import httpx
import pytest
from instantaudience.v1 import authentication_pb2 as auth_pb
from instantaudience.v1.authentication_pb2_grpc import AuthenticationServiceStub
from support.contract.answers import assert_grpc_error, assert_http_error, body_of
from support.credentials.key_pairs import private_pem, public_pem, signed
from support.service.running import Service
from support.waiting import eventually

USER_ID = 1003
USERNAME = "private"
MANY = 15
"""More sign-ins than anybody has by a password."""


@pytest.fixture
async def own(service: Service) -> Any:
    """A REST caller with the token of the account whose keys these are."""
    async with service.http(headers={"authorization": await service.token(USERNAME)}) as client:
        yield client


def jwt_of(kind: str, key_name: str) -> str:
    return signed(kind, time.time(), USERNAME, key_name)


async def sign_in(http: httpx.AsyncClient, jwt: str) -> httpx.Response:
    return await http.post("/v2/auth/jwt", content=jwt, headers={"content-type": "text/plain"})


async def test_a_keys_life(
    own: httpx.AsyncClient, admin: httpx.AsyncClient, http: httpx.AsyncClient, channel: grpc.aio.Channel, request: Any
) -> None:
    """Added by its owner, used everywhere at once and any number of times, deactivated by an admin."""
    name, pem = f"pods {request.node.name}", public_pem("RS256")
    answer = await own.post("/public-key", json={"public-key": {"name": name, "encoded_value": pem}})
    assert answer.status_code == 200, answer.text
    added = body_of(answer)["response"]
    entry = added["public-key"]
    assert added == {"status": "OK", "id": entry["id"], "public-key": entry}
    assert entry | {"created_on": ""} == {
        **{"id": added["id"], "user_id": USER_ID, "name": name},
        **{"encoded_value": pem, "active": True, "created_on": ""},
    }
    for _ in range(MANY):
        signed_in = await sign_in(http, jwt_of("RS256", name))
        assert signed_in.status_code == 200, signed_in.text
    response = body_of(signed_in)["response"]
    assert response == {"status": "OK", "token": response["token"], "dbg_info": {"output_term": "token"}}
    request = auth_pb.AuthenticateWithJwtRequest(jwt=jwt_of("RS256", name))
    result = (await AuthenticationServiceStub(channel).AuthenticateWithJwt(request)).response
    assert 86_000 < result.expire_time.ToSeconds() - time.time() < 86_500
    assert result.lifetime.ToSeconds() == 86_400
    for token in (response["token"], result.token):
        read = await http.get("/public-key", headers={"authorization": token})
        assert entry in body_of(read)["response"]["public-keys"]
        assert body_of(read)["response"]["count"] == len(body_of(read)["response"]["public-keys"])
    change = {"public-key": {"active": False}}
    changed = await admin.put(f"/public-key?key_id={entry['id']}&user_id={USER_ID}", json=change)
    assert body_of(changed)["response"]["public-key"] == entry | {"active": False}
    assert_http_error(await sign_in(http, jwt_of("RS256", name)), 401, "NOAUTH")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await AuthenticationServiceStub(channel).AuthenticateWithJwt(request)
    assert_grpc_error(refused.value, grpc.StatusCode.UNAUTHENTICATED, "NOAUTH")
    assert (await http.get("/public-key", headers={"authorization": response["token"]})).status_code == 200


REFUSED = {
    "short RSA": ({"name": "n", "encoded_value": public_pem("RSA 1024")}, "The key has 1024 bits"),
    "a private key": ({"name": "n", "encoded_value": private_pem("ES256")}, "is a private key"),
    "no key": ({"name": "n"}, "no public key in PEM"),
    "no name": ({"encoded_value": public_pem("ES256")}, "'name'"),
}


@pytest.mark.parametrize(("key", "text"), REFUSED.values(), ids=REFUSED)
async def test_refused_keys(own: httpx.AsyncClient, key: dict[str, str], text: str) -> None:
    answer = await own.post("/public-key", json={"public-key": key})
    assert_http_error(answer, 400, "SYNTAX")
    assert text in body_of(answer)["response"]["error"]


async def test_requests_that_lack_something(own: httpx.AsyncClient) -> None:
    for method, path, body in (
        ("POST", "/public-key", {}),
        ("POST", "/public-key", {"public-key": None}),
        ("PUT", "/public-key?key_id=1", {"public-key": {}}),
    ):
        assert_http_error(await own.request(method, path, json=body), 400, "SYNTAX")
    for query in ("", "?key_id=", "?key_id=0", "?key_id=-1"):
        answer = await own.put(f"/public-key{query}", json={"public-key": {"active": False}})
        assert_http_error(answer, 400, "SYNTAX")
        assert body_of(answer)["response"]["error"] == "'key_id' is required, and must be 1 to 2147483647"
    assert_http_error(await own.put("/public-key?key_id=999", json={"public-key": {"active": False}}), 404, "SYNTAX")


async def asked_for_keys_of(user_id: int, client: httpx.AsyncClient) -> list[httpx.Response]:
    """Whatever is asked for: one more, all, or that one changes."""
    body = {"public-key": {"name": "theirs", "encoded_value": public_pem("ES256")}}
    return [
        await client.post(f"/public-key?user_id={user_id}", json=body),
        await client.get(f"/public-key?user_id={user_id}"),
        await client.put(f"/public-key?key_id=1&user_id={user_id}", json={"public-key": {"active": False}}),
    ]


async def test_another_users_keys_need_the_role(own: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    for answer in await asked_for_keys_of(1001, own):
        assert_http_error(answer, 403, "UNAUTH")
    assert (await admin.get("/public-key?user_id=1001")).status_code == 200


async def test_keys_of_nobody(admin: httpx.AsyncClient) -> None:
    """The error names the parameter that is wrong."""
    for answer in await asked_for_keys_of(999, admin):
        assert_http_error(answer, 404, "SYNTAX")
        assert body_of(answer)["response"]["error"] == "'user_id': there is no user 999"


async def test_neither_jwts_nor_keys_nor_tokens_are_in_the_log(
    service: Service, own: httpx.AsyncClient, http: httpx.AsyncClient
) -> None:
    name = "logged?"
    key = {"public-key": {"name": name, "encoded_value": public_pem("ES256")}}
    key_id = body_of(await own.post("/public-key", json=key))["response"]["id"]
    good, bad = jwt_of("ES256", name), jwt_of("ES256#another", name)

    async def signed_in() -> None:
        assert (await sign_in(http, good)).status_code == 200

    await eventually(signed_in)
    assert_http_error(await sign_in(http, bad), 401, "NOAUTH")
    assert_http_error(await sign_in(http, "no.jwt"), 400, "SYNTAX")
    await own.put(f"/public-key?key_id={key_id}", json={"public-key": {"active": False}})
    for secret in (good, bad, good.rpartition(".")[2], public_pem("ES256").split("\n")[1], "hbapi:"):
        assert secret not in service.log
        assert secret not in service.output
