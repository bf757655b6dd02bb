"""GET /member (source: contract's neighbours, "Conventions of all REST answers"), and parameters of every GET."""

import httpx
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience.v1.catalog_pb2_grpc import CatalogServiceStub
from redis.asyncio import RedisCluster
from support.contract.answers import assert_http_error, body_of
from support.contract.messages import USER, one_user
from support.contract.model import UNLIMITED
from support.service.running import Service
from support.waiting import eventually


async def test_the_caller_s_member(demo: httpx.AsyncClient) -> None:
    assert body_of(await demo.get("/member")) == {
        "response": {
            "status": "OK",
            "member": {
                "id": 123,
                "name": "Demo Data Provider",
                "state": "active",
                "default_expiration_minutes": 43200,
                "longest_expiration_minutes": 0,
                "limits": {"users_per_call": 1000, "segments_per_user": 100, "body_bytes": 1048576, **UNLIMITED},
            },
            "dbg_info": {"output_term": "member"},
        }
    }


async def test_no_membership_outlasts_the_longest(service: Service, cluster: RedisCluster) -> None:
    admin = (("authorization", await service.token("admin")),)

    async def set_longest(minutes: int) -> None:
        member = pb.Member(id=777, longest_expiration_minutes=minutes)
        request = pb.UpdateMemberRequest(member=member, update_mask={"paths": ["longest_expiration_minutes"]})
        async with service.channel("direct") as channel:
            await CatalogServiceStub(channel).UpdateMember(request, metadata=admin)

    async with service.http(headers={"authorization": await service.token("private")}) as private:

        async def is_shown(minutes: int) -> None:
            shown = body_of(await private.get("/member"))["response"]["member"]
            assert (shown["id"], shown["longest_expiration_minutes"]) == (777, minutes)

        async def lasts(sent: int | None, minutes: int) -> None:
            answer = await private.post("/rt-segment", json=one_user(seg_id=40001, expiration=sent))
            assert body_of(answer)["response"]["warnings"] == []
            answer = await private.get("/rt-segment", params={"user_id": USER})
            blocks = body_of(answer)["response"]["rt_segment"][0]["seg_block"]
            assert len(blocks) == 1
            assert blocks[0]["expiration"] in range(max(0, minutes - 5), minutes + 1)

        await set_longest(30)
        try:
            await eventually(lambda: is_shown(30))
            for sent, minutes in ((0, 30), (None, 30), (500, 30), (20, 20)):
                await eventually(lambda sent=sent, minutes=minutes: lasts(sent, minutes))
        finally:
            await set_longest(0)
        await eventually(lambda: is_shown(0))
        await eventually(lambda: lasts(0, 0))


async def test_it_takes_no_parameter(demo: httpx.AsyncClient) -> None:
    answer = await demo.get("/member?id=123")
    assert_http_error(answer, 400, "SYNTAX", "id: there is no such parameter.")


async def test_pages_mean_nothing_where_there_are_none(demo: httpx.AsyncClient) -> None:
    """Clients of the original platform ask for them with every GET."""
    expected = body_of(await demo.get("/member"))
    assert body_of(await demo.get("/member?start_element=0&num_elements=100")) == expected
    body = {"start_element": 0, "batch_size": 100}
    assert body_of(await demo.request("GET", "/member", json=body)) == expected
    assert body_of(await demo.request("GET", "/segment/meta", json=body))["response"]["status"] == "OK"


async def test_any_get_takes_its_parameters_from_a_body(demo: httpx.AsyncClient) -> None:
    """Unknown ones are ignored where they are in a query."""
    body = {"user_id": 7, "domain": None, "x": {"y": [1]}}
    answer = body_of(await demo.request("GET", "/rt-segment", json=body))
    assert answer == {"response": {"status": "OK", "rt_segment": [{"user_id": "7", "seg_block": []}]}}
    answer = body_of(await demo.request("GET", "/rt-segment?user_id=8", json=body))
    assert answer["response"]["rt_segment"][0]["user_id"] == "8"
    processed = await demo.request("GET", "/rt-segment-processed", json={"agg": True, "member_id": 123.0})
    assert processed.json()["response"]["report"]["error_log_lines"] is None
    assert_http_error(await demo.request("GET", "/rt-segment", json={"user_id": {}}), 400, "SYNTAX")
