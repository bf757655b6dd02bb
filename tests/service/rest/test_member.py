"""GET /member (source: contract's neighbours, "Conventions of all REST answers"), and parameters of every GET."""

import httpx
from support.answers import assert_http_error, body_of
from support.contract_model import UNLIMITED


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


async def test_it_takes_no_parameter(demo: httpx.AsyncClient) -> None:
    answer = await demo.get("/member?id=123")
    assert_http_error(answer, 400, "SYNTAX", "id: there is no such parameter.")


async def test_it_needs_a_token(http: httpx.AsyncClient) -> None:
    assert_http_error(await http.get("/member"), 401, "NOAUTH")


async def test_any_get_takes_its_parameters_from_a_body(demo: httpx.AsyncClient) -> None:
    """Unknown ones are ignored where they are in a query."""
    body = {"user_id": 7, "domain": None, "x": {"y": [1]}}
    answer = body_of(await demo.request("GET", "/rt-segment", json=body))
    assert answer == {"response": {"status": "OK", "rt_segment": [{"user_id": "7", "seg_block": []}]}}
    answer = body_of(await demo.request("GET", "/rt-segment?user_id=8", json=body))
    assert answer["response"]["rt_segment"][0]["user_id"] == "8"
    processed = await demo.request("GET", "/rt-segment-processed", json={"agg": True})
    assert processed.json()["response"]["report"]["error_log_lines"] is None
    assert_http_error(await demo.request("GET", "/rt-segment", json={"user_id": {}}), 400, "SYNTAX")
