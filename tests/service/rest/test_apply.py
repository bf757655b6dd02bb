"""POST /rt-segment through the whole service: the contract's examples, and whatever else the schema admits."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import RedisCluster
from support.cluster.stored import (
    MINUTE_MS,
    assert_between,
    forget_users,
    key_of,
    now_ms,
    put_before,
    put_external_ids,
    state_at,
    stored,
)
from support.contract import model, strategies
from support.contract.answers import assert_http_error, body_of
from support.contract.messages import LIMIT_BYTES, USER
from support.contract.vectors import Vector, rt_segment_vectors
from support.service.running import FORM, Service


@pytest.mark.parametrize(("port", "http2"), [("gateway", False), ("gateway", True), ("direct", True)])
@pytest.mark.parametrize("vector", rt_segment_vectors(), ids=lambda vector: vector.name)
async def test_examples(service: Service, cluster: RedisCluster, vector: Vector, port: str, http2: bool) -> None:
    await put_before(cluster, vector)
    headers = FORM | {"authorization": await service.token(vector.user)}
    async with service.http(port, headers=headers, http1=not http2, http2=http2) as http:
        earliest = now_ms()
        answer = await http.post("/rt-segment", content=json.dumps(vector.request))
        latest = now_ms()
    assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
    assert answer.status_code == 200, answer.text
    assert body_of(answer) == vector.response
    assert_between(await stored(cluster), state_at(earliest, vector.memberships), state_at(latest, vector.memberships))


async def test_lifetime_as_the_cluster_counts_it(demo: httpx.AsyncClient, cluster: RedisCluster) -> None:
    blocks = [{"seg_id": 10001, "expiration": 2}, {"seg_id": 10002, "expiration": 0}]
    earliest = now_ms()
    answer = await demo.post("/rt-segment", json={"rt_segment": [{"user_id": USER, "seg_block": blocks}]})
    assert answer.status_code == 200
    key = key_of("", USER)
    passing, never = await cluster.hpttl(key, 10001, 10002)
    assert 2 * MINUTE_MS - (now_ms() - earliest) <= passing <= 2 * MINUTE_MS
    assert never == -1
    assert await cluster.hgetall(key) == {b"10001": b"0", b"10002": b"0"}
    assert await cluster.ttl(key) == -1


UNREAD_KEYS = [
    {"validate_only": True},
    {"validateOnly": True},
    {"rtsegment": []},
    {"member_id": 777, "domain": "idfa"},
]


@pytest.mark.parametrize("keys", UNREAD_KEYS, ids=str)
async def test_unknown_keys_are_ignored(demo: httpx.AsyncClient, cluster: RedisCluster, keys: dict[str, Any]) -> None:
    """`validate_only` is one of them: it is a parameter of the query."""
    block = {"seg_id": 10001, "segID": 10002, "expiration": 0, "note": {"seg_id": [1]}}
    user = {"user_id": USER, "userid": "1", "seg_block": [block], "seg-block": []}
    answer = await demo.post("/rt-segment", json={**keys, "rt_segment": [user]})
    assert body_of(answer)["response"]["message"] == {"users_in_request": 1, "segments_in_request": 1}
    assert await stored(cluster) == {("", USER): {10001: (0, 0)}}


async def test_keys_may_be_spelled_as_in_protobufs_json(demo: httpx.AsyncClient, cluster: RedisCluster) -> None:
    user = {"userId": USER, "segBlock": [{"segId": 10001, "expiration": 0}]}
    answer = await demo.post("/rt-segment", json={"rtSegment": [user]})
    assert body_of(answer)["response"]["message"] == {"users_in_request": 1, "segments_in_request": 1}
    assert await stored(cluster) == {("", USER): {10001: (0, 0)}}
    both = await demo.post("/rt-segment", json={"rtSegment": [user | {"user_id": USER}]})
    assert_http_error(both, 400, "SYNTAX", "rt_segment[0].user_id: must not stand twice.")
    assert (await demo.get(f"/rt-segment?userId={USER}")).json()["response"]["rt_segment"][0]["user_id"] == USER


async def test_a_request_may_be_checked_alone(demo: httpx.AsyncClient, cluster: RedisCluster) -> None:
    users = [{"user_id": USER, "seg_block": [{"seg_id": 10001}, {"seg_id": 99}]}]
    applied = {"users_in_request": 1, "segments_in_request": 2}
    answer = await demo.post("/rt-segment?validate_only=true", json={"rt_segment": users})
    assert body_of(answer)["response"]["message"] == applied
    assert body_of(answer)["response"]["warnings"] == [{"message": "Invalid segment: 99", "entity": {"seg_id": 99}}]
    assert await stored(cluster) == {}


async def test_warnings_in_detail(demo: httpx.AsyncClient, cluster: RedisCluster) -> None:
    users = [{"user_id": USER, "seg_block": [{"seg_id": 10001}, {"seg_id": 99}]}, {"user_id": ""}]
    answer = await demo.post("/rt-segment?detail=true", json={"rt_segment": users})
    assert [(each["code"], each["path"]) for each in answer.json()["response"]["warnings"]] == [
        ("WARNING_CODE_UNKNOWN_SEGMENT", "rt_segment[0].seg_block[1]"),
        ("WARNING_CODE_USER_ID_REQUIRED", "rt_segment[1]"),
    ]
    assert {*await stored(cluster)} == {("", USER)}
    answer = await demo.post("/rt-segment?detail=true&validate_only=true", json={"rt_segment": [{}]})
    assert [{*each} for each in answer.json()["response"]["warnings"]] == [
        {"message", "entity", "code", "path"},
        {"message", "entity", "code"},
    ]


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
async def test_content_type_does_not_matter(demo: httpx.AsyncClient, cluster: RedisCluster, content_type: str) -> None:
    content = json.dumps({"rt_segment": [{"user_id": USER, "seg_block": [{"seg_id": 10001, "expiration": 0}]}]})
    answer = await demo.post("/rt-segment", content=content, headers={"content-type": content_type})
    assert answer.status_code == 200, answer.text
    assert await stored(cluster) == {("", USER): {10001: (0, 0)}}


@given(
    requests=st.lists(strategies.requests, min_size=1, max_size=3),
    username=st.sampled_from(["demo", "external", "private"]),
)
async def test_any_request(
    service: Service, nodes: RedisCluster, requests: list[dict[str, Any]], username: str
) -> None:
    """It is answered as the model answers it, and what stands afterwards is what stands in the model."""
    earliest: model.State = {}
    latest: model.State = {}
    catalog, ids = model.DEMO, strategies.EXTERNAL_IDS
    headers = {"authorization": await service.token(username)}
    await forget_users(nodes)
    await put_external_ids(nodes, ids)
    async with service.http(headers=headers) as http:
        for request in requests:
            content = json.dumps(request)
            before_ms = now_ms()
            answer = await http.post("/rt-segment", content=content)
            if len(content) > LIMIT_BYTES:
                assert_http_error(answer, 413, "LIMIT")
                continue
            response, earliest = model.apply(request, earliest, catalog, username, before_ms, ids)
            _, latest = model.apply(request, latest, catalog, username, now_ms(), ids)
            assert answer.status_code == 200, answer.text
            assert body_of(answer) == response
    assert_between(await stored(nodes), earliest, latest)
