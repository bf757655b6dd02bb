"""GET /rt-segment (source: contract, "GET /rt-segment")."""

from typing import Any

import httpx
import pytest
from redis.asyncio import RedisCluster
from support.cluster.stored import MINUTE_MS, now_ms, put
from support.contract.answers import assert_http_error, body_of
from support.contract.messages import USER
from support.contract.model import State
from support.contract.strategies import UUID
from support.service.running import Service

SPORTS_FANS = {"seg_id": 10001, "seg_code": "sports_fans", "member_id": 123}
EARLY_ADOPTERS = {"seg_id": 12, "member_id": 123}
SECRET = {"seg_id": 40001, "seg_code": "secret", "member_id": 777}


async def memberships_of(http: httpx.AsyncClient, **parameters: str) -> dict[str, Any]:
    """The only entry of the answer."""
    answer = await http.get("/rt-segment", params=parameters)
    assert answer.status_code == 200, answer.text
    body = body_of(answer)
    assert body == {"response": {"status": "OK", "rt_segment": [body["response"]["rt_segment"][0]]}}
    entry: dict[str, Any] = body["response"]["rt_segment"][0]
    return entry


async def test_memberships_that_were_posted(demo: httpx.AsyncClient, cluster: RedisCluster) -> None:
    blocks = [
        {"seg_id": 10001, "value": -7, "expiration": 1440},
        {"seg_id": 12, "value": 2147483647, "expiration": 0},
        {"seg_code": "abcd", "member_id": 1661, "expiration": 1},
        {"seg_id": 10003, "expiration": 60},
        {"seg_id": 10003, "expiration": -1},
    ]
    await demo.post("/rt-segment", json={"rt_segment": [{"user_id": USER, "seg_block": blocks}]})
    assert await memberships_of(demo, user_id=USER) == {
        "user_id": USER,
        "seg_block": [
            {**EARLY_ADOPTERS, "value": 2147483647, "expiration": 0},
            {**SPORTS_FANS, "value": -7, "expiration": 1440},
            {"seg_id": 20001, "seg_code": "abcd", "member_id": 1661, "value": 0, "expiration": 1},
        ],
    }


@pytest.mark.parametrize(("left_ms", "minutes"), [(59_000, 1), (90_000, 2), (0, 0)])
async def test_minutes_are_rounded_up(
    demo: httpx.AsyncClient, cluster: RedisCluster, left_ms: int, minutes: int
) -> None:
    end_ms = now_ms() + left_ms if left_ms else 0
    await put(cluster, {("", USER): {10001: (1, end_ms)}})
    entry = await memberships_of(demo, user_id=USER)
    assert entry["seg_block"] == [{**SPORTS_FANS, "value": 1, "expiration": minutes}]


async def test_what_has_ended_is_gone(demo: httpx.AsyncClient, cluster: RedisCluster) -> None:
    await put(cluster, {("", USER): {12: (1, 0), 10001: (1, now_ms() - MINUTE_MS)}})
    entry = await memberships_of(demo, user_id=USER)
    assert entry["seg_block"] == [{**EARLY_ADOPTERS, "value": 1, "expiration": 0}]


async def test_a_user_in_no_segment(demo: httpx.AsyncClient, cluster: RedisCluster) -> None:
    assert await memberships_of(demo, user_id=USER) == {"user_id": USER, "seg_block": []}
    assert await memberships_of(demo, user_id=USER, domain="") == {"user_id": USER, "seg_block": []}


DEVICES = [
    ("idfa", UUID),
    ("aaid", UUID),
    ("sha1udid", "0123456789abcdef" * 2 + "01234567"),
    ("openudid", "0123456789abcdef" * 2 + "01234567"),
    ("md5udid", "0123456789abcdef" * 2),
]


@pytest.mark.parametrize(("domain", "user_id"), DEVICES)
async def test_domains(demo: httpx.AsyncClient, cluster: RedisCluster, domain: str, user_id: str) -> None:
    """Each has users of its own, whatever the case of their IDs."""
    everyone: State = {device: {12: (number, 0)} for number, device in enumerate(DEVICES)}
    await put(cluster, everyone)
    value = DEVICES.index((domain, user_id))
    assert await memberships_of(demo, user_id=user_id.upper(), domain=domain) == {
        "user_id": user_id,
        "domain": domain,
        "seg_block": [{**EARLY_ADOPTERS, "value": value, "expiration": 0}],
    }


async def test_segments_of_other_members_are_not_shown(service: Service, cluster: RedisCluster) -> None:
    everything = (12, 10001, 20001, 20002, 30001, 40001, 50001, 99)
    await put(cluster, {("", "1"): dict.fromkeys(everything, (1, 0))})
    await cluster.set("x:958:crm-0001", "1")
    seen = {
        "demo": ("1", [12, 10001, 20001, 20002, 30001]),
        "private": ("1", [40001]),
        "external": ("CRM-0001", [50001]),
    }
    for username, (user_id, segment_ids) in seen.items():
        async with service.http(headers={"authorization": await service.token(username)}) as http:
            entry = await memberships_of(http, user_id=user_id)
            assert entry["user_id"] == user_id
            assert [block["seg_id"] for block in entry["seg_block"]] == segment_ids


async def test_an_external_id_that_maps_to_nobody(service: Service, cluster: RedisCluster) -> None:
    await put(cluster, {("", "1"): {50001: (1, 0)}})
    async with service.http(headers={"authorization": await service.token("external")}) as http:
        assert await memberships_of(http, user_id="1") == {"user_id": "1", "seg_block": []}


INVALID = {
    "no user_id": ({}, "'user_id' is required and cannot be empty"),
    "an empty user_id": ({"user_id": ""}, "'user_id' is required and cannot be empty"),
    "no platform user": ({"user_id": "abc"}, "Invalid user_id: abc"),
    "beyond 64 bits": ({"user_id": "18446744073709551616"}, "Invalid user_id: 18446744073709551616"),
    "longer than headers are": ({"user_id": "9" * 30_000}, f"Invalid user_id: {'9' * 983}…"),
    "a domain that long": ({"user_id": "1", "domain": "é" * 9_000}, f"Invalid domain: {'é' * 492}…"),
    "not of the domain's form": ({"user_id": "1", "domain": "idfa"}, "Invalid user_id: 1"),
    "an unknown domain": ({"user_id": "1", "domain": "email"}, "Invalid domain: email"),
    "a withdrawn domain": ({"user_id": "a" * 40, "domain": "sha1mac"}, "Invalid domain: sha1mac"),
}


@pytest.mark.parametrize(("parameters", "text"), INVALID.values(), ids=INVALID)
async def test_invalid_parameters(demo: httpx.AsyncClient, parameters: dict[str, str], text: str) -> None:
    assert_http_error(await demo.get("/rt-segment", params=parameters), 400, "SYNTAX", text)
