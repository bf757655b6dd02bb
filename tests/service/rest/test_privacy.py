"""POST /privacy/consumer-request (source: contract-neighbours, "Privacy"); tests/modules has the rules."""

from typing import Any

import httpx
import pytest
from redis.asyncio import RedisCluster
from support.contract.answers import assert_http_error
from support.waiting import eventually

PATH = "/privacy/consumer-request"
USER = "7738918429796999062"
ACCESS = {"identifier": USER, "identifier_type": "uuid2", "request_type": "access"}
DELETE = {**ACCESS, "request_type": "delete"}
LIFT = {**ACCESS, "request_type": "lift"}
OWN, FOREIGN = 10001, 40001
JOINING = {"rt_segment": [{"user_id": USER, "seg_block": [{"seg_id": OWN, "value": 1, "expiration": 0}]}]}
SUPPRESSED = {"message": f"Suppressed user_id: {USER}", "entity": JOINING["rt_segment"][0]}


async def answer_of(caller: httpx.AsyncClient, body: Any, **params: Any) -> Any:
    answer = await caller.post(PATH, json=body, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def answered(*segments: tuple[int, str]) -> Any:
    return {"response": {"status": "OK", "segments": [{"id": id_, "name": name} for id_, name in segments]}}


def lifting(*, lifted: bool) -> Any:
    return {"response": {"status": "OK", "segments": [], "lifted": lifted, "still_suppressed": False}}


async def test_the_way_of_a_user(cluster: RedisCluster, demo: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    await cluster.hset(f"m:p:{USER}", mapping={str(OWN): 1, str(FOREIGN): 1})
    own, all_ = answered((OWN, "Sports fans")), await answer_of(admin, ACCESS)
    assert [each["id"] for each in all_["response"]["segments"]] == [OWN, FOREIGN]
    for body, params in ((ACCESS, {"member_id": 123}), ({**ACCESS, "member_id": 123}, {})):
        assert await answer_of(admin, body, **params) == await answer_of(demo, ACCESS) == own
    assert await answer_of(demo, DELETE) == own
    assert await answer_of(demo, ACCESS) == answered()
    assert (await demo.post("/rt-segment", json=JOINING)).json()["response"]["warnings"] == []

    assert await answer_of(demo, {**DELETE, "suppress_minutes": 0}) == own

    async def is_refused() -> None:
        answer = (await demo.post("/rt-segment", json=JOINING)).json()["response"]
        assert answer == {
            "status": "OK",
            "message": {"users_in_request": 1, "segments_in_request": 1},
            "warnings": [SUPPRESSED],
        }

    await eventually(is_refused)

    async def is_out() -> None:
        assert await cluster.hkeys(f"m:p:{USER}") == [str(FOREIGN).encode()]

    await eventually(is_out)
    assert await answer_of(demo, LIFT) == lifting(lifted=True)
    assert await answer_of(demo, LIFT) == lifting(lifted=False)

    async def is_taken() -> None:
        assert (await demo.post("/rt-segment", json=JOINING)).json()["response"]["warnings"] == []

    await eventually(is_taken)
    assert await answer_of(demo, ACCESS) == own


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"identifier":5}',
        '{"identifier":"5","identifier_type":"uuid2","request_type":"access","suppress_minutes":"x"}',
        "{}",
        '{"identifier":"x","identifier_type":"uuid2","request_type":"access"}',
        '{"identifier":"5","identifier_type":"uid","request_type":"access"}',
        '{"identifier":"5","identifier_type":"uuid2","request_type":"forget"}',
        '{"identifier":"5","identifier_type":"uuid2","request_type":"delete","suppress_minutes":-1}',
    ],
)
async def test_bad_input_has_a_status_of_its_own(demo: httpx.AsyncClient, content: str) -> None:
    assert_http_error(await demo.post(PATH, content=content), 422, "SYNTAX")


async def test_other_errors_are_the_usual_ones(http: httpx.AsyncClient, demo: httpx.AsyncClient) -> None:
    assert_http_error(await http.post(PATH, json=ACCESS), 401, "NOAUTH")
    assert_http_error(await demo.get(PATH), 405, "SYNTAX")
    assert_http_error(await demo.post(PATH, json=ACCESS, params={"member_id": 777}), 403, "UNAUTH")
    assert_http_error(await demo.post(PATH, json=ACCESS, params={"member_id": "x"}), 422, "SYNTAX")
    assert_http_error(await demo.post("/rt-segment", content="{"), 400, "SYNTAX")
