"""POST /mapuid, and what POST /rt-segment makes of external IDs (source: contract, "Domains"; identity.proto)."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from redis.asyncio import RedisCluster
from support.cluster.stored import now_ms, stored
from support.contract.answers import assert_http_error, body_of
from support.contract.messages import one_user
from support.service.running import Service, running_service

LIFETIME_MS = 18 * 24 * 3_600_000
OWN = 50001
"""A segment of the member 958, which is set up for external IDs."""


@pytest.fixture
async def external(service: Service, cluster: RedisCluster) -> AsyncIterator[httpx.AsyncClient]:
    """A REST caller with the token of the account `external`, of the member 958; nobody is mapped."""
    async with service.http(headers={"authorization": await service.token("external")}) as client:
        yield client


def mapping(*external_ids: Any, user_id: Any = "7", **fields: Any) -> dict[str, Any]:
    """A body of POST /mapuid."""
    return {"mapuid": {"user_id": user_id, "external_ids": external_ids, **fields}}


async def map_user(http: httpx.AsyncClient, body: dict[str, Any], count: int = 1) -> None:
    """It succeeds."""
    answer = await http.post("/mapuid", json=body)
    assert answer.status_code == 200, answer.text
    assert body_of(answer) == {"response": {"status": "OK", "count": count}}


async def warnings_of(http: httpx.AsyncClient, user_id: str, segment_id: int = OWN) -> list[str]:
    """Put a user into a segment."""
    answer = await http.post("/rt-segment", json=one_user(user_id, seg_id=segment_id))
    return [warning["message"] for warning in body_of(answer)["response"]["warnings"]]


async def test_a_mapping_lasts_18_days(external: httpx.AsyncClient, cluster: RedisCluster) -> None:
    before = now_ms()
    await map_user(external, mapping("CRM-1", "crm-2", "Crm-1"), count=2)
    after = now_ms()
    for key in ("x:958:crm-1", "x:958:crm-2"):
        assert await cluster.get(key) == b"7"
        assert before + LIFETIME_MS <= await cluster.pexpiretime(key) <= after + LIFETIME_MS


async def test_mapping_again_renews(external: httpx.AsyncClient, cluster: RedisCluster) -> None:
    await cluster.set("x:958:crm-1", "8", px=1000)
    await map_user(external, mapping("Crm-1", user_id="18446744073709551615"))
    assert await cluster.get("x:958:crm-1") == b"18446744073709551615"
    assert await cluster.pttl("x:958:crm-1") > LIFETIME_MS - 60_000


ODD_IDS = [
    "a",
    "A b",
    "{}",
    "{tag}",
    "}{",
    "x:1:y",
    "Ünï",
    "日本",
    "😀",
    "%00",
    "'\"\\",
    "\u00df",
    "a" * 256,
    "é" * 256,
]


async def test_mapped_users_are_platform_users(external: httpx.AsyncClient, cluster: RedisCluster) -> None:
    """Whatever the case of their external IDs, and wherever their braces lead."""
    for number, external_id in enumerate(ODD_IDS, 1):
        assert await warnings_of(external, external_id) == [f"Unknown user_id: {external_id}"]
        await map_user(external, mapping(external_id, user_id=str(number)))
        assert await warnings_of(external, external_id.swapcase() if external_id != "ß" else "ß") == []
        assert await stored(cluster) == {("", str(each)): {OWN: (0, 0)} for each in range(1, number + 1)}


async def test_a_call_resolves_all_its_users(external: httpx.AsyncClient, cluster: RedisCluster) -> None:
    names = [f"crm-{number}" for number in range(1000)]
    for start in range(0, 500, 100):
        await map_user(external, mapping(*names[start : start + 100], user_id=str(start + 1)), count=100)
    users = [{"user_id": name.upper(), "seg_block": [{"seg_id": OWN, "expiration": 0}]} for name in names]
    response = body_of(await external.post("/rt-segment", json={"rt_segment": users}))["response"]
    assert response["message"] == {"users_in_request": 1000, "segments_in_request": 1000}
    expected = [f"Unknown user_id: {name.upper()}" for name in names[500:]]
    assert [warning["message"] for warning in response["warnings"]] == expected
    assert await stored(cluster) == {("", str(start + 1)): {OWN: (0, 0)} for start in range(0, 500, 100)}


async def test_a_members_ids_are_its_own(
    demo: httpx.AsyncClient, external: httpx.AsyncClient, admin: httpx.AsyncClient, cluster: RedisCluster
) -> None:
    await map_user(demo, mapping("a", user_id="1"))
    await map_user(external, mapping("a", user_id="2", member_id=958))
    await map_user(admin, mapping("b", user_id="3", member_id="958"))
    keys = {key async for key in cluster.scan_iter(match="x:*")}
    assert keys == {b"x:123:a", b"x:958:a", b"x:958:b"}


PATH = "mapuid.external_ids"
PRINTABLE = "must have 1 to 256 printable characters"
PLATFORM = "'mapuid.user_id' must be a decimal without leading zeros, 1 to 18446744073709551615"
REFUSED: dict[str, tuple[Any, int, str, str | None]] = {
    "no body": (None, 400, "SYNTAX", "The body is empty."),
    "no JSON": (b"mapuid", 400, "SYNTAX", None),
    "no mapuid": ({}, 400, "SYNTAX", "'mapuid' is required"),
    "null": ({"mapuid": None}, 400, "SYNTAX", "'mapuid' is required"),
    "a list": ({"mapuid": []}, 400, "SYNTAX", "mapuid: must be an object."),
    "no user_id": (mapping("a", user_id=None), 400, "SYNTAX", PLATFORM),
    "an empty user_id": (mapping("a", user_id=""), 400, "SYNTAX", PLATFORM),
    "no decimal": (mapping("a", user_id="a"), 400, "SYNTAX", PLATFORM),
    "a leading zero": (mapping("a", user_id="07"), 400, "SYNTAX", PLATFORM),
    "0": (mapping("a", user_id="0"), 400, "SYNTAX", PLATFORM),
    "beyond 64 bits": (mapping("a", user_id="18446744073709551616"), 400, "SYNTAX", PLATFORM),
    "user_id is a number": (mapping("a", user_id=7), 400, "SYNTAX", "mapuid.user_id: must be a string."),
    "no IDs": (mapping(), 400, "SYNTAX", f"'{PATH}' must hold 1 to 100 external IDs"),
    "101 IDs": (mapping(*map(str, range(101))), 400, "SYNTAX", f"'{PATH}' must hold 1 to 100 external IDs"),
    "IDs are a string": ({"mapuid": {"user_id": "1", "external_ids": "a"}}, 400, "SYNTAX", f"{PATH}: must be a list."),
    "an ID is a number": (mapping("a", "b", 3), 400, "SYNTAX", f"{PATH}[2]: must be a string."),
    "an ID is null": (mapping("a", None), 400, "SYNTAX", f"{PATH}[1]: must be a string."),
    "an ID is a list": (mapping("a", []), 400, "SYNTAX", f"{PATH}[1]: must be a string."),
    "an empty ID": (mapping("a", ""), 400, "SYNTAX", f"'{PATH}[1]' {PRINTABLE}"),
    "an ID that is too long": (mapping("a", "b", "c", "d" * 257), 400, "SYNTAX", f"'{PATH}[3]' {PRINTABLE}"),
    "an ID with a line's end": (mapping("a\n"), 400, "SYNTAX", f"'{PATH}[0]' {PRINTABLE}"),
    "an ID with NUL": (mapping("\0"), 400, "SYNTAX", f"'{PATH}[0]' {PRINTABLE}"),
    "member_id is a word": (
        mapping("a", member_id="x"),
        400,
        "SYNTAX",
        "mapuid.member_id: must be an integer of 32 bits.",
    ),
    "another member": (mapping("a", member_id=123), 403, "UNAUTH", None),
    "no such member": (mapping("a", member_id=5), 403, "UNAUTH", None),
}


@pytest.mark.parametrize(("body", "status", "error_id", "text"), REFUSED.values(), ids=REFUSED)
async def test_refused(
    external: httpx.AsyncClient, cluster: RedisCluster, body: Any, status: int, error_id: str, text: str | None
) -> None:
    content = body if body is None or isinstance(body, bytes) else json.dumps(body)
    assert_http_error(await external.post("/mapuid", content=content), status, error_id, text)
    assert [key async for key in cluster.scan_iter(match="x:*")] == []


async def test_no_such_member_for_an_admin(admin: httpx.AsyncClient) -> None:
    answer = await admin.post("/mapuid", json=mapping("a", member_id=5))
    assert_http_error(answer, 404, "SYNTAX", "'mapuid.member_id': there is no member 5")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_other_methods(external: httpx.AsyncClient, method: str) -> None:
    answer = await external.request(method, "/mapuid", content=b"{}" if method == "PUT" else None)
    assert_http_error(answer, 405, "SYNTAX")
    assert answer.headers["allow"] == "POST"


PASSWORD = "A-Passw0rd!"
SHARING = {
    "members": [
        {"id": 1, "name": "Owner", "use_external_uids": True},
        {"id": 2, "name": "Borrower", "use_external_uids": True, "external_member_uid": 1},
    ],
    "users": [
        {"id": 1, "username": "owner", "password": PASSWORD, "member_id": 1},
        {"id": 2, "username": "borrower", "password": PASSWORD, "member_id": 2},
        {"id": 3, "username": "root", "password": PASSWORD, "member_id": 2, "role": "admin"},
    ],
    "segments": [{"id": 20, "member_id": 2, "code": "borrowed"}],
}


async def test_a_member_may_use_the_ids_of_another(host_mode: str, tmp_path: Path) -> None:
    """`external_member_uid`: the owner or an admin maps, the borrower's calls resolve."""
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(yaml.safe_dump(SHARING))
    async with running_service("--workers", "1", host_mode=host_mode, catalog=f"--catalog={catalog}") as service:

        async def caller(username: str) -> httpx.AsyncClient:
            return service.http(headers={"authorization": await service.sign_in(username, PASSWORD)})

        async with await caller("owner") as owner, await caller("borrower") as borrower, await caller("root") as root:
            assert await warnings_of(borrower, "shared", 20) == ["Unknown user_id: shared"]
            await map_user(owner, mapping("{Shared}", user_id="5"))
            await map_user(root, mapping("more", user_id="6", member_id=1))
            await map_user(borrower, mapping("own", user_id="7"))
            assert_http_error(await borrower.post("/mapuid", json=mapping("x", member_id=1)), 403, "UNAUTH")
            assert await warnings_of(borrower, "{SHARED}", 20) == []
            assert await warnings_of(borrower, "MORE", 20) == []
            assert await warnings_of(borrower, "own", 20) == ["Unknown user_id: own"]
            answer = await borrower.get("/rt-segment", params={"user_id": "{shared}"})
            assert [block["seg_id"] for block in body_of(answer)["response"]["rt_segment"][0]["seg_block"]] == [20]
        async with service.cluster() as nodes:
            assert await stored(nodes) == {("", "5"): {20: (0, 0)}, ("", "6"): {20: (0, 0)}}
