"""POST, GET, PUT and DELETE /segment (source: contract, "/segment")."""

import functools
import json
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from redis.asyncio import RedisCluster
from support.contract.answers import assert_http_error, body_of
from support.contract.messages import LIMIT_BYTES, USER, one_user
from support.service.running import FORM, Service, running_service
from support.waiting import eventually

VISIBLE_SECONDS = 1.0
"""Within this time, every worker knows a change (contract, "/segment")."""


@dataclass
class Callers:
    """REST callers of the accounts; segments that they create are deleted at the end."""

    accounts: dict[str, httpx.AsyncClient]
    made: list[int] = field(default_factory=list)

    async def call(self, username: str, method: str, query: str = "", body: Any = None) -> httpx.Response:
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        answer = await self.accounts[username].request(method, f"/segment{query}", content=content)
        if method == "POST" and answer.status_code == 200:
            response = answer.json()["response"]
            self.made += response["ids"] if "ids" in response else [response["id"]]
        return answer

    async def response(self, username: str, method: str, query: str = "", body: Any = None) -> dict[str, Any]:
        """What is answered. Times are left out when they look like times, and so are sizes, where they belong."""
        answer = await self.call(username, method, query, body)
        assert answer.status_code == 200, answer.text
        document = body_of(answer)
        response: dict[str, Any] = document.pop("response")
        assert document == {}
        segments = response.get("segments", [response["segment"]] if "segment" in response else [])
        for segment in segments:
            assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d", segment.pop("last_modified"))
            assert ("estimated_users" in segment) == (method == "GET")
            assert type(segment.pop("estimated_users", 0)) is int
        return response

    async def add(self, username: str = "demo", query: str = "", **fields: Any) -> int:
        """Create a segment; its ID."""
        return int((await self.response(username, "POST", query, {"segment": fields}))["id"])


@pytest.fixture
async def callers(service: Service) -> AsyncIterator[Callers]:
    async with AsyncExitStack() as stack:
        accounts = {
            name: await stack.enter_async_context(service.http(headers={"authorization": await service.token(name)}))
            for name in ("demo", "private", "admin")
        }
        running = Callers(accounts)
        yield running
        for segment_id in running.made:
            await accounts["admin"].delete(f"/segment?id={segment_id}")


def entry(segment_id: int, member_id: int = 123, **fields: Any) -> dict[str, Any]:
    """A segment as answers have it, without its time."""
    rest = {"state": "active", "short_name": "", **dict.fromkeys(("code", "description", "expire_minutes"))}
    return {"id": segment_id, "member_id": member_id, **rest, **fields}


def term(name: str) -> dict[str, Any]:
    """Where the objects of an answer are."""
    return {"dbg_info": {"output_term": name}}


def about(segment: dict[str, Any]) -> dict[str, Any]:
    """The answer about one segment."""
    place = {"start_element": 0, "num_elements": 100}
    return {"status": "OK", "id": segment["id"], "count": 1, **place, "segment": segment, **term("segment")}


def page(*segments: dict[str, Any], count: int | None = None, start: int = 0, size: int = 100) -> dict[str, Any]:
    """The answer that lists segments."""
    place = {"start_element": start, "num_elements": size}
    total = len(segments) if count is None else count
    return {"status": "OK", "count": total, **place, "segments": list(segments), **term("segments")}


FANS = entry(10001, code="sports_fans", short_name="Sports fans")
CARS = entry(10002, code="car_shoppers", short_name="Car shoppers")
ADOPTERS = entry(12, short_name="Mobile early adopters")
OLD = entry(30001, code="old_campaign", short_name="Old campaign", state="inactive")
SECRET = entry(40001, 777, code="secret", short_name="Private segment")
ABCD = entry(20001, 1661, code="abcd", short_name="Advertiser segment")

READ: dict[str, tuple[str, str, dict[str, Any]]] = {
    "nothing asked": ("private", "", page(SECRET)),
    "an ID": ("demo", "?id=10001", about(FANS)),
    "an ID of an inactive segment": ("demo", "?id=30001", about(OLD)),
    "an ID, by an admin": ("admin", "?id=40001", about(SECRET)),
    "IDs": ("demo", "?id=10002,12,10001", page(ADOPTERS, FANS, CARS)),
    "IDs, percent-encoded": ("demo", "?id=10002%2C12", page(ADOPTERS, CARS)),
    "IDs, some of nothing": ("demo", "?id=12,2147483647", page(ADOPTERS)),
    "IDs of nothing": ("demo", "?id=2147483646,2147483647", page()),
    "IDs of several members, by an admin": ("admin", "?id=12,40001,20001", page(ADOPTERS, ABCD, SECRET)),
    "a code": ("demo", "?code=sports_fans", about(FANS)),
    "a code, by an admin": ("admin", "?code=sports_fans", about(FANS)),
    "another member's code, by an admin": ("admin", "?code=secret&member_id=777", about(SECRET)),
    "an ID to search for": ("demo", "?search=10002", page(CARS)),
    "a part of an ID to search for": ("demo", "?search=0002&id=12,10001,10002", page(CARS)),
    "a state": ("demo", "?state=inactive", page(OLD)),
    "a state, as a client says it": ("demo", "?active=false", page(OLD)),
    "a state, as a client says it in a path's query": ("private", "/777?active=true&num_elements=100", page(SECRET)),
    "a state in both words": ("demo", "?active=true&state=inactive", page(OLD)),
    "an ID and its state": ("demo", "?id=30001&state=inactive&search=old", about(OLD)),
    "a state and more": ("demo", "?state=active&search=s&id=12,10001,30001", page(ADOPTERS, FANS)),
    "changed since": ("private", "?min_last_modified=2020-01-01+00:00:00", page(SECRET)),
    "changed later": ("private", "?min_last_modified=2100-01-01%2000:00:00", page()),
    "in another order": ("demo", "?id=12,10001,10002&sort=short_name.desc", page(FANS, ADOPTERS, CARS)),
    "a page of an order": (
        *("demo", "?id=12,10001,10002&sort=last_modified.asc&start_element=1&num_elements=1"),
        page(FANS, count=3, start=1, size=1),
    ),
    "too large a page": ("private", "?num_elements=101", page(SECRET)),
    "a page beyond int32": ("private", "?num_elements=2147483648", page(SECRET)),
    "a page beyond any integer": ("private", f"?num%5Felements=0{'9' * 30}", page(SECRET)),
    "a page with many zeros": ("demo", "?id=12,10001&num_elements=00000000001", page(ADOPTERS, count=2, size=1)),
    "a member in the path": ("private", "/777", page(SECRET)),
    "a member in the path, and more": ("admin", "/123?search=adopters", page(ADOPTERS)),
    "a member and an ID in the path": ("admin", "/777/40001", about(SECRET)),
    "a token beside": ("private", "?access_token=x", page(SECRET)),
    "a part of a name": ("demo", "?search=early+ADOPT", page(ADOPTERS)),
    "a part of a code": ("demo", "?search=R_SHOP", page(CARS)),
    "own member": ("private", "?member_id=777", page(SECRET)),
    "a member, by an admin": ("admin", "?member_id=777", page(SECRET)),
    "a page": ("demo", "?id=12,10001,10002&start_element=1&num_elements=1", page(FANS, count=3, start=1, size=1)),
    "past the last page": ("private", "?start_element=2147483647", page(count=1, start=2147483647)),
    "empty parameters": ("private", "?id=&code=&search=&member_id=&start_element=&num_elements=", page(SECRET)),
}


@pytest.mark.parametrize(("username", "query", "expected"), READ.values(), ids=READ)
async def test_read(callers: Callers, username: str, query: str, expected: dict[str, Any]) -> None:
    assert await callers.response(username, "GET", query) == expected


async def test_an_admin_sees_all_members(callers: Callers) -> None:
    response = await callers.response("admin", "GET")
    assert {segment["member_id"] for segment in response["segments"]} >= {123, 1661, 1262, 777, 958}
    assert response["count"] >= 10
    assert [segment["id"] for segment in response["segments"]] == sorted(
        segment["id"] for segment in response["segments"]
    )


IN_A_BODY: dict[str, tuple[str, dict[str, Any] | None, dict[str, Any]]] = {
    "a number": ("", {"id": 10001}, about(FANS)),
    "a text": ("", {"id": "10001"}, about(FANS)),
    "a list": ("", {"id": [12, "10002"], "sort": "id.desc"}, page(CARS, ADOPTERS)),
    "beside a query": ("?search=OLD", {"state": "inactive", "num_elements": 7}, page(OLD, size=7)),
    "a page beyond int32": ("?search=OLD", {"state": "inactive", "numElements": 10**12}, page(OLD)),
    "the query wins": ("?id=10001", {"id": 12}, about(FANS)),
    "null and nothing": ("?id=12", {"state": None, "code": "", "search": []}, about(ADOPTERS)),
    "null alone": ("?id=12", None, about(ADOPTERS)),
    "a library's batch size": ("", {"id": 12, "start_element": 0, "batch_size": 100}, about(ADOPTERS)),
    "a library's options": ("?id=12", {"StartElement": 0, "NumElements": 0, "Active": False}, about(ADOPTERS)),
    "odd characters": ("", {"search": '\u00e9 &=%"\\\U0001f600'}, page()),
}


@pytest.mark.parametrize(("query", "body", "expected"), IN_A_BODY.values(), ids=IN_A_BODY)
@pytest.mark.parametrize("is_ascii", [True, False])
async def test_parameters_in_the_body_of_a_get(
    callers: Callers, query: str, body: dict[str, Any] | None, expected: dict[str, Any], is_ascii: bool
) -> None:
    content = json.dumps(body, ensure_ascii=is_ascii).encode()
    assert await callers.response("demo", "GET", query, content) == expected


async def test_fields(callers: Callers) -> None:
    answer = body_of(await callers.call("demo", "GET", "?fields=id,last_modified,code&id=12,10001"))
    segments = answer["response"]["segments"]
    assert [set(each) for each in segments] == [{"id", "last_modified", "code"}] * 2
    assert [each["code"] for each in segments] == [None, "sports_fans"]
    answer = body_of(await callers.call("demo", "GET", "?fields=state&id=30001"))
    assert answer["response"]["segment"] == {"state": "inactive"}


async def test_what_a_segment_is_made_of(callers: Callers) -> None:
    answer = body_of(await callers.call("demo", "GET", "/meta"))["response"]
    assert (answer["status"], answer["dbg_info"]) == ("OK", {"output_term": "fields"})
    fields = {each.pop("name"): each for each in answer["fields"]}
    assert fields["short_name"] == {"type": "string", "sort_by": True, "filter_by": False, "read_only": False}
    assert {name for name, each in fields.items() if each["filter_by"]} == {
        *("id", "code", "state", "member_id", "last_modified")
    }
    segment = body_of(await callers.call("demo", "GET", "?id=10001"))["response"]["segment"]
    assert fields.keys() >= segment.keys()
    for name in (each for each, said in fields.items() if said["sort_by"]):
        await callers.response("demo", "GET", f"?sort={name}.desc")


FIELDS = {
    "code": "é" * 50,
    "short_name": "日" * 255,
    "description": "😀" * 500,
    "state": "inactive",
    "expire_minutes": 2147483647,
    "advertiser_id": 7,
    "price": 125,
    "piggyback_pixels": [{"url": "https://example.org/", "secure": None}],
    "querystring_mapping": {"param": "é", "values": [1, True]},
    "object_type": "audience",
}
NULLABLE = ("code", "description", "expire_minutes")


async def test_add(callers: Callers) -> None:
    response = await callers.response("demo", "POST", "", {"segment": FIELDS})
    assert response == about(entry(response["id"], **FIELDS))
    assert await callers.response("demo", "GET", f"?id={response['id']}") == response


async def test_numbers_are_kept_with_all_their_digits(callers: Callers) -> None:
    """As far as doubles go; others are refused, and nothing is said of what means nothing."""
    fields = {
        "price": 9007199254740992,
        "category": [9007199254740994, -9007199254740992],
        "object_type": "9007199254740993",
    }
    unknown = {"x": 9007199254740993, "y": {"category": [9007199254740993]}}
    response = await callers.response("demo", "POST", "", {"segment": fields | unknown, "z": [9007199254740993]})
    assert {name: response["segment"][name] for name in fields} == fields


ADDED: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "nothing said": ("demo", "", {"segment": {}}, {}),
    "an empty code is none": ("demo", "", {"segment": {"code": ""}}, {}),
    "null is absent": ("demo", "", {"segment": dict.fromkeys(FIELDS)}, {}),
    "a number as a string": ("demo", "", {"segment": {"expire_minutes": "5"}}, {"expire_minutes": 5}),
    "unknown keys": ("demo", "", {"segment": {"id": 5, "x": [1], "estimated_users": 5}, "y": {}}, {}),
    "own member in the body": ("demo", "", {"segment": {}, "member_id": 123}, {}),
    "own member in the segment": ("demo", "", {"segment": {"member_id": 123}}, {}),
    "the query's member": ("demo", "?member_id=123", {"segment": {"member_id": 777}, "member_id": "x"}, {}),
    "another member in the body, by an admin": ("admin", "", {"segment": {}, "member_id": 777}, {"member_id": 777}),
    "another member in the segment, by an admin": ("admin", "", {"segment": {"member_id": 777}}, {"member_id": 777}),
    "another member in the path, by an admin": ("admin", "/777", {"segment": {}}, {"member_id": 777}),
    "own member": ("demo", "?member_id=123", {"segment": {}}, {}),
    "an empty parameter": ("demo", "?member_id=", {"segment": {}}, {}),
    "another member, by an admin": ("admin", "?member_id=777", {"segment": {}}, {"member_id": 777}),
    "both, by an admin": ("admin", "?member_id=777", {"segment": {}, "member_id": 1661}, {"member_id": 777}),
}


@pytest.mark.parametrize(("username", "query", "body", "expected"), ADDED.values(), ids=ADDED)
async def test_what_is_added(
    callers: Callers, username: str, query: str, body: dict[str, Any], expected: dict[str, Any]
) -> None:
    response = await callers.response(username, "POST", query, body)
    assert response == about(entry(response["id"], **expected))


async def test_a_form_s_label_does_not_matter(callers: Callers) -> None:
    """`curl -d` labels JSON so."""
    body = json.dumps({"segment": {"code": "labelled"}})
    answer = await callers.accounts["demo"].post("/segment", content=body, headers=FORM)
    callers.made.append(body_of(answer)["response"]["id"])
    assert body_of(answer)["response"]["segment"]["code"] == "labelled"


CHANGED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "null clears": (dict.fromkeys(FIELDS), dict.fromkeys(NULLABLE)),
    **{name: ({name: value}, {name: value}) for name, value in FIELDS.items()},
    "the code's case": ({"code": "CODE"}, {"code": "CODE"}),
    "an empty name": ({"short_name": ""}, {"short_name": ""}),
    "no minutes": ({"expire_minutes": 0}, {"expire_minutes": 0}),
    "everything": (FIELDS, FIELDS),
}
BEFORE = {"code": "Code", "short_name": "Name", "description": "Text", "state": "active", "expire_minutes": 7}


@pytest.mark.parametrize(("fields", "difference"), CHANGED.values(), ids=CHANGED)
async def test_change(callers: Callers, fields: dict[str, Any], difference: dict[str, Any]) -> None:
    """Only what was sent; the parameter says which segment, whatever the body says."""
    segment_id = await callers.add(**BEFORE)
    body = {"id": 10001, "segment": {"id": 10001, **fields, "member_id": 777}, "member_id": 123}
    expected = about(entry(segment_id, **{**BEFORE, **difference}))
    assert await callers.response("demo", "PUT", f"?id={segment_id}", body) == expected

    async def is_seen() -> None:
        assert await callers.response("demo", "GET", f"?id={segment_id}") == expected

    await eventually(is_seen, VISIBLE_SECONDS)
    assert await callers.response("demo", "GET", "?id=10001") == about(FANS)


async def test_a_change_that_names_its_segment_among_the_fields(callers: Callers) -> None:
    """Where the query does not, as when several are changed."""
    segment_id = await callers.add(**BEFORE)
    changed = await callers.response("demo", "PUT", "", {"segment": {"id": segment_id, "description": "Other"}})
    assert changed == about(entry(segment_id, **{**BEFORE, "description": "Other"}))


async def test_several_at_once(callers: Callers) -> None:
    """Each is done or not, and failures say which were not."""
    sent: list[dict[str, Any]] = [{"code": "several"}, {"code": "SEVERAL"}, {"member_id": 777}, {"short_name": "b"}]
    added = await callers.response("demo", "POST", "", {"segments": sent})
    first, last = added["ids"]
    assert added == {**page(entry(first, code="several"), entry(last, short_name="b")), "ids": [first, last]} | {
        "failures": [
            {
                "index": 1,
                "error_id": "INTEGRITY",
                "error": "'code' is taken in member 123, whatever its case",
            },
            {
                "index": 2,
                "error_id": "UNAUTH",
                "error": "This belongs to another member and needs the role 'admin'",
            },
        ]
    }
    changes = [{"id": last, "code": "other"}, {"id": 40001}, {"code": "x"}, {"id": first, "code": None, "price": 2}]
    changed = await callers.response("demo", "PUT", "", {"segments": changes})
    assert changed["segments"] == [entry(last, code="other", short_name="b"), entry(first, price=2)]
    assert (changed["ids"], changed["count"]) == ([last, first], 2)
    assert [(each["index"], each["error_id"]) for each in changed["failures"]] == [(1, "UNAUTH"), (2, "SYNTAX")]
    hundred = await callers.response(
        "admin", "POST", "/777", {"segments": [{"short_name": str(n)} for n in range(100)]}
    )
    assert ([each["member_id"] for each in hundred["segments"]], hundred["failures"]) == ([777] * 100, [])


async def test_several_while_the_cluster_begins_to_refuse_commands() -> None:
    """What was done before is told, and nothing of what the cluster says."""
    async with running_service("--workers", "1") as service:
        async with service.http(headers={"authorization": await service.token()}) as http:
            made = await http.post("/segment", json={"segments": [{"short_name": "a"}, {"short_name": "b"}]})
            first, second = made.json()["response"]["ids"]
            changes = [{"id": first, "short_name": "a"}, {"id": second, "short_name": "c"}]
            await on_nodes(service, "-EVAL")  # which only what changes something needs
            changed = await http.put("/segment", json={"segments": changes})
            none_done = await http.put("/segment", json={"segments": changes[::-1]})
            await on_nodes(service, "+EVAL")
        assert changed.status_code == 200, changed.text
        response = changed.json()["response"]
        assert response["ids"] == [first]
        assert response["failures"] == [{"index": 1, "error_id": "SYSTEM", "error": "internal error"}]
        assert_http_error(none_done, 500, "SYSTEM")
        assert any(event["event"] == "store_command_refused" for event in service.events)


async def on_nodes(service: Service, right: str) -> None:
    """Give the service a right on each node, or take it away."""
    for port in service.node_ports:
        await service.on_node(port, "ACL", "SETUSER", "default", right)


async def test_one_by_its_code_or_its_path(callers: Callers) -> None:
    segment_id = await callers.add(code="named")
    changed = await callers.response("demo", "PUT", "?code=named", {"segment": {"code": "renamed"}})
    assert changed == about(entry(segment_id, code="renamed"))
    changed = await callers.response("demo", "PUT", f"/123/{segment_id}", {"segment": {"state": "inactive"}})
    assert changed["segment"]["state"] == "inactive"
    assert (await callers.response("demo", "DELETE", "?code=renamed"))["id"] == segment_id
    other = await callers.add(code="renamed")
    assert (await callers.response("demo", "DELETE", f"/123/{other}"))["id"] == other


async def test_an_empty_code_takes_the_code_away(callers: Callers) -> None:
    segment_id = await callers.add(code="to_go")
    changed = await callers.response("demo", "PUT", f"?id={segment_id}", {"segment": {"code": ""}})
    assert changed == about(entry(segment_id))
    other = await callers.add(code="TO_GO")
    assert other != segment_id


@pytest.mark.parametrize("http2", [False, True])
async def test_remove(service: Service, callers: Callers, http2: bool) -> None:
    segment_id = await callers.add(code="gone")
    headers = {"authorization": await service.token()}
    async with service.http(headers=headers, http1=not http2, http2=http2) as http:
        answer = await http.delete(f"/segment?id={segment_id}")
    place = {"start_element": 0, "num_elements": 100}
    assert body_of(answer) == {"response": {"status": "OK", "id": segment_id, "count": 1, **place, **term("segment")}}

    async def is_gone() -> None:
        assert_http_error(await callers.call("demo", "GET", f"?id={segment_id}"), 404, "SYNTAX")

    await eventually(is_gone, VISIBLE_SECONDS)
    assert_http_error(await callers.call("demo", "DELETE", f"?id={segment_id}"), 404, "SYNTAX")
    assert_http_error(await callers.call("demo", "PUT", f"?id={segment_id}", {"segment": {}}), 404, "SYNTAX")
    assert await callers.add(code="gone") != segment_id


async def test_an_admin_changes_and_removes_what_others_own(callers: Callers) -> None:
    segment_id = await callers.add("private")
    changed = await callers.response("admin", "PUT", f"?id={segment_id}", {"segment": {"code": "new"}})
    assert changed == about(entry(segment_id, 777, code="new"))
    for body in ({"member_id": 777, "segment": {"price": 1}}, {"segment": {"member_id": 777, "price": 2}}):
        changed = await callers.response("admin", "PUT", "?code=new", body)
        assert changed["id"] == segment_id
    assert (await callers.response("admin", "DELETE", f"?id={segment_id}"))["id"] == segment_id


async def test_what_is_said_of_a_segment_beside_its_id_must_be_true(callers: Callers) -> None:
    """Its member and its code: what does not fit is changed and removed as little as it is read."""
    segment_id = await callers.add(code="meant")
    wrong = (f"/777/{segment_id}", f"?member_id=777&id={segment_id}", f"?id={segment_id}&code=other")
    for query in wrong:
        for method, body in (("GET", None), ("PUT", {"segment": {"short_name": "Other"}}), ("DELETE", None)):
            answer = await callers.call("admin", method, query, body)
            text = f"'id': there is no segment {segment_id} that fits the other parameters"
            assert_http_error(answer, 404, "SYNTAX", text)
    for body in ({"member_id": 777, "segment": {}}, {"segment": {"member_id": 777}}):
        assert_http_error(await callers.call("admin", "PUT", f"?id={segment_id}", body), 404, "SYNTAX")
    one: dict[str, Any] = {"id": segment_id, "short_name": "Other"}
    for query, body in (("?member_id=777", {"segments": [one]}), ("", {"segments": [one | {"member_id": 777}]})):
        changed = await callers.response("admin", "PUT", query, body)
        assert (changed["ids"], [each["error_id"] for each in changed["failures"]]) == ([], ["SYNTAX"])
    right = f"/123/{segment_id}?code=meant"
    assert await callers.response("admin", "GET", right) == about(entry(segment_id, code="meant"))
    renamed = await callers.response("admin", "PUT", right, {"segment": {"code": "renamed"}})
    assert renamed == about(entry(segment_id, code="renamed"))
    assert (await callers.response("admin", "DELETE", f"/123/{segment_id}?code=renamed"))["id"] == segment_id


async def test_what_segments_take(callers: Callers, cluster: RedisCluster) -> None:
    """A new one takes users; an inactive or a removed one does not; a new code is looked up with its case."""
    segment_id = await callers.add(code="Taking")

    async def apply(warning: str | None, **block: Any) -> None:
        answer = await callers.accounts["demo"].post("/rt-segment", json=one_user(USER, **block))
        messages = [each["message"] for each in body_of(answer)["response"]["warnings"]]
        assert messages == ([] if warning is None else [warning])

    async def applies(warning: str | None, **block: Any) -> None:
        await eventually(lambda: apply(warning, **block), VISIBLE_SECONDS)

    coded: dict[str, Any] = {"seg_id": None, "member_id": 123}
    await applies(None, seg_id=segment_id)
    await applies(None, **coded, seg_code="Taking")
    await apply("Invalid segment: taking of member 123", **coded, seg_code="taking")
    answer = await callers.accounts["demo"].get("/rt-segment", params={"user_id": USER})
    blocks = body_of(answer)["response"]["rt_segment"][0]["seg_block"]
    assert [(block["seg_id"], block["seg_code"]) for block in blocks] == [(segment_id, "Taking")]
    await callers.response("demo", "PUT", f"?id={segment_id}", {"segment": {"code": "Other"}})
    await applies("Invalid segment: Taking of member 123", **coded, seg_code="Taking")
    await applies(None, **coded, seg_code="Other")
    await callers.response("demo", "PUT", f"?id={segment_id}", {"segment": {"state": "inactive"}})
    await applies(f"Inactive segment: {segment_id}", seg_id=segment_id)
    await callers.response("demo", "PUT", f"?id={segment_id}", {"segment": {"state": "active"}})
    await applies(None, seg_id=segment_id)
    await callers.response("demo", "DELETE", f"?id={segment_id}")
    await applies(f"Invalid segment: {segment_id}", seg_id=segment_id)


async def test_how_long_memberships_last_whose_block_does_not_say(callers: Callers, cluster: RedisCluster) -> None:
    segment_id = await callers.add(expire_minutes=60)

    async def lasts(minutes: int) -> None:
        users = {"rt_segment": [{"user_id": USER, "seg_block": [{"seg_id": segment_id}]}]}
        answer = await callers.accounts["demo"].post("/rt-segment", json=users)
        assert body_of(answer)["response"]["warnings"] == []
        answer = await callers.accounts["demo"].get("/rt-segment", params={"user_id": USER})
        blocks = body_of(answer)["response"]["rt_segment"][0]["seg_block"]
        assert len(blocks) == 1
        assert blocks[0]["expiration"] in range(max(0, minutes - 5), minutes + 1)

    await eventually(lambda: lasts(60), 5)
    for said, minutes in ((0, 0), (None, 43200)):
        await callers.response("demo", "PUT", f"?id={segment_id}", {"segment": {"expire_minutes": said}})
        await eventually(lambda minutes=minutes: lasts(minutes), 5)


async def test_sizes_follow_additions_and_not_departures(callers: Callers, cluster: RedisCluster) -> None:
    """Read one by one and from lists. A worker tells what it knows for some seconds, so none is asked before."""
    segment_id, empty = await callers.add(), await callers.add()

    async def apply(user_ids: Iterable[int], **block: Any) -> None:
        users = [one_user(str(user_id), seg_id=segment_id, **block)["rt_segment"][0] for user_id in user_ids]
        answer = await callers.accounts["demo"].post("/rt-segment", json={"rt_segment": users})
        assert body_of(answer)["response"]["warnings"] == []

    async def sizes(query: str) -> dict[int, int]:
        response = body_of(await callers.call("demo", "GET", query))["response"]
        return {each["id"]: each["estimated_users"] for each in response.get("segments", [response.get("segment")])}

    await eventually(lambda: apply([1, 2, 3]), VISIBLE_SECONDS)
    await apply([3, 4, 4], expiration=0)
    await apply([1, 2, 3], expiration=-1)
    await apply([5], expiration=-1)

    async def are_known() -> None:
        assert await sizes(f"?id={segment_id},{empty}") == {segment_id: 4, empty: 0}
        assert await sizes(f"?id={segment_id}") == {segment_id: 4}

    await eventually(are_known)


def long(name: str, length: int) -> dict[str, Any]:
    """A body with a text that has so many characters."""
    return {"segment": {name: "x" * length}}


NONE, ONE = "?id=2147483647", "?id=10001"
NUMBER = "must be an integer of 32 bits."
STATE = "'state' must be 'active' or 'inactive'"
IDS = "'id' must be 1 to 100 segment IDs, separated by commas"
SIZE = "'num_elements' must be 1 or more"
SORT = (
    "'sort' must be <field>.asc or <field>.desc, with a field of id, code, state, short_name, member_id, "
    "expire_minutes, last_modified"
)
NO_SUCH = "'id': there is no segment 2147483647"
LARGE = b'{"segment":{},"x":"' + b"x" * LIMIT_BYTES + b'"}'

REFUSED: dict[str, tuple[str, str, Any, int, str, str | None]] = {
    "POST: no body": ("POST", "", None, 400, "SYNTAX", "The body is empty."),
    "POST: no JSON": ("POST", "", b"segment=1", 400, "SYNTAX", None),
    "POST: no segment": ("POST", "", {}, 400, "SYNTAX", "'segment' is required"),
    "POST: null": ("POST", "", {"segment": None}, 400, "SYNTAX", "'segment' is required"),
    "POST: a list": ("POST", "", {"segment": [{}]}, 400, "SYNTAX", "segment: must be an object."),
    "POST: a number": ("POST", "", {"segment": {"code": 5}}, 400, "SYNTAX", "segment.code: must be a string."),
    "POST: a number's text": ("POST", "", {"segment": {"description": 5}}, 400, "SYNTAX", None),
    "POST: a field twice": (
        *("POST", "", b'{"segment":{"code":"a","code":"b"}}', 400, "SYNTAX"),
        "segment.code: must not stand twice.",
    ),
    "POST: too much beside": (
        *("POST", "", {"segment": {"price": 1, "category": "c" * 4096}}, 400, "SYNTAX"),
        "'category, price' must be JSON of at most 4096 bytes together",
    ),
    "POST: too many digits beside": (
        *("POST", "", {"segment": {"category": {"a": [9007199254740993]}}}, 400, "SYNTAX"),
        "segment.category: a double has fewer digits than this number: write it as a string.",
    ),
    "POST: too deep beside": (
        *("POST", "", {"segment": {"price": functools.reduce(lambda inner, _: [inner], range(17), 1)}}, 400, "SYNTAX"),
        "segment.price: must have at most 16 levels of lists and objects.",
    ),
    "POST: another member in the body": ("POST", "", {"segment": {}, "member_id": 777}, 403, "UNAUTH", None),
    "POST: another member in the segment": ("POST", "", {"segment": {"member_id": 777}}, 403, "UNAUTH", None),
    "POST: another member in the path": ("POST", "/777", {"segment": {}}, 403, "UNAUTH", None),
    "POST: a member that is no number": (
        *("POST", "", {"member_id": "x", "segment": {}}, 400, "SYNTAX"),
        f"member_id: {NUMBER}",
    ),
    "POST: one and several": ("POST", "", {"segment": {}, "segments": [{}]}, 400, "SYNTAX", None),
    "PUT: one in the query and several": (
        *("PUT", ONE, {"segments": [{"id": 12}]}, 400, "SYNTAX"),
        "'id' and 'segments' cannot be used together",
    ),
    "PUT: one in the path and several": (
        *("PUT", "/123/10001", {"segments": [{"id": 10001}]}, 400, "SYNTAX"),
        "'id' and 'segments' cannot be used together",
    ),
    "PUT: a code in the query and several": (
        *("PUT", "?code=sports_fans", {"segments": [{"id": 10001}]}, 400, "SYNTAX"),
        "'code' and 'segments' cannot be used together",
    ),
    "POST: 101": ("POST", "", {"segments": [{}] * 101}, 400, "SYNTAX", "'segments' must hold at most 100"),
    "POST: no number": (
        *("POST", "", {"segment": {"expire_minutes": "x"}}, 400, "SYNTAX"),
        f"segment.expire_minutes: {NUMBER}",
    ),
    "POST: twice": ("POST", "", b'{"segment":{},"segment":{}}', 400, "SYNTAX", "segment: must not stand twice."),
    "POST: state": ("POST", "", {"segment": {"state": "paused"}}, 400, "SYNTAX", STATE),
    "POST: empty state": ("POST", "", {"segment": {"state": ""}}, 400, "SYNTAX", STATE),
    "POST: code": ("POST", "", long("code", 51), 400, "SYNTAX", "'code' must have 1 to 50 characters"),
    "POST: name": ("POST", "", long("short_name", 256), 400, "SYNTAX", "'short_name' must have at most 255 characters"),
    "POST: text": (
        *("POST", "", long("description", 501), 400, "SYNTAX"),
        "'description' must have at most 500 characters",
    ),
    "POST: minutes": (
        *("POST", "", {"segment": {"expire_minutes": -1}}, 400, "SYNTAX"),
        "'expire_minutes' must be 0 to 2147483647",
    ),
    "POST: code taken": ("POST", "", {"segment": {"code": "sports_fans"}}, 409, "INTEGRITY", None),
    "POST: code taken in another case": ("POST", "", {"segment": {"code": "Sports_FANS"}}, 409, "INTEGRITY", None),
    "POST: another member": ("POST", "?member_id=777", {"segment": {}}, 403, "UNAUTH", None),
    "POST: several of another member": ("POST", "?member_id=777", {"segments": [{}]}, 403, "UNAUTH", None),
    "PUT: several of another member": ("PUT", "", {"segments": [{"id": 12}], "member_id": 777}, 403, "UNAUTH", None),
    "PUT: another member in the segment": ("PUT", "?id=12", {"segment": {"member_id": 777}}, 403, "UNAUTH", None),
    "PUT: another member, in the path": ("PUT", "/777/12", {"segment": {}}, 403, "UNAUTH", None),
    "DELETE: another member": ("DELETE", "?id=12&member_id=777", None, 403, "UNAUTH", None),
    "POST: no such member": ("POST", "?member_id=5", {"segment": {}}, 403, "UNAUTH", None),
    "POST: a word": ("POST", "?member_id=own", {"segment": {}}, 400, "SYNTAX", f"member_id: {NUMBER}"),
    "POST: too large": ("POST", "", LARGE, 413, "LIMIT", "The body has more than 1048576 bytes."),
    "GET: no such segment": ("GET", NONE, None, 404, "SYNTAX", NO_SUCH),
    "GET: no such segment, whatever its state": ("GET", f"{NONE}&state=active", None, 404, "SYNTAX", NO_SUCH),
    "GET: not in this state": (
        *("GET", "?id=10001&state=inactive", None, 404, "SYNTAX"),
        "'id': there is no segment 10001 that fits the other parameters",
    ),
    "GET: not in the state that a client says": (
        *("GET", "?id=30001", {"active": True}, 404, "SYNTAX"),
        "'id': there is no segment 30001 that fits the other parameters",
    ),
    "GET: not changed since": (
        *("GET", "?code=sports_fans&min_last_modified=2100-01-01+00:00:00", None, 404, "SYNTAX"),
        "'code': member 123 has no segment with this code that fits the other parameters",
    ),
    "GET: not with this text": (
        *("GET", "/123/12?search=fans", None, 404, "SYNTAX"),
        "'id': there is no segment 12 that fits the other parameters",
    ),
    "GET: another member's segment": ("GET", "?id=40001", None, 403, "UNAUTH", None),
    "GET: another member's among others": ("GET", "?id=10001,40001", None, 403, "UNAUTH", None),
    "GET: another member": ("GET", "?member_id=777", None, 403, "UNAUTH", None),
    **{
        f"GET: id={text}": ("GET", f"?id={text}", None, 400, "SYNTAX", IDS)
        for text in ("x", "0", "-1", "1.5", "1,", "1,,2", "1,+2", "2147483648", "1;2")
    },
    "GET: 101 IDs": ("GET", "?id=" + ",".join(map(str, range(1, 102))), None, 400, "SYNTAX", IDS),
    "GET: id twice": ("GET", "?id=1&id=2", None, 400, "SYNTAX", "id: must not stand twice."),
    "GET: an empty page": ("GET", "?num_elements=0", None, 400, "SYNTAX", SIZE),
    "GET: no such code": (
        *("GET", "?code=Sports_Fans", None, 404, "SYNTAX"),
        "'code': member 123 has no segment with this code",
    ),
    "GET: an unknown filter": ("GET", "?name=x", None, 400, "SYNTAX", "name: there is no such parameter."),
    "GET: an unknown filter in a body": (
        "GET",
        "",
        {"a b": 1},
        400,
        "SYNTAX",
        "A parameter: there is no such parameter.",
    ),
    "GET: a filter of objects": ("GET", "", {"id": {"in": [1]}}, 400, "SYNTAX", None),
    "GET: a filter of lists": (
        "GET",
        "",
        {"id": [[1]]},
        400,
        "SYNTAX",
        "id: must be a text, a number, or a list of them.",
    ),
    "GET: a filter twice": ("GET", "", b'{"id":1,"id":2}', 400, "SYNTAX", "id: must not stand twice."),
    "GET: no JSON": ("GET", "", b"id=10001", 400, "SYNTAX", "The body is not JSON (byte 1)."),
    "GET: a lone surrogate": ("GET", "", b'{"search":"\\ud800"}', 400, "SYNTAX", "search: must be UTF-8."),
    "GET: an order of nothing": ("GET", "?sort=id", None, 400, "SYNTAX", SORT),
    "GET: a state": ("GET", "?state=paused", None, 400, "SYNTAX", STATE),
    "GET: no time": ("GET", "?min_last_modified=new", None, 400, "SYNTAX", None),
    "GET: no field": ("GET", "?fields=id,etag", None, 400, "SYNTAX", None),
    "GET: a path of a word": ("GET", "/demo", None, 404, "SYNTAX", None),
    "GET: a path of three": ("GET", "/123/12/12", None, 404, "SYNTAX", None),
    "GET: another member in the path": ("GET", "/777", None, 403, "UNAUTH", None),
    "GET: a member in path and query": ("GET", "/123?member_id=123", None, 400, "SYNTAX", None),
    "POST: a path with an ID": ("POST", "/123/12?id=12", {"segment": {"code": "sports_fans"}}, 409, "INTEGRITY", None),
    "GET: a page of words": ("GET", "?num_elements=all", None, 400, "SYNTAX", f"num_elements: {NUMBER}"),
    "GET: before the first": ("GET", "?start_element=-1", None, 400, "SYNTAX", "'start_element' must be 0 or more"),
    "GET: from a word": ("GET", "?start_element=a", None, 400, "SYNTAX", f"start_element: {NUMBER}"),
    "GET: a member's name": ("GET", "?member_id=demo", None, 400, "SYNTAX", f"member_id: {NUMBER}"),
    "GET: from beyond int32": ("GET", "?start_element=2147483648", None, 400, "SYNTAX", f"start_element: {NUMBER}"),
    "GET: a page beyond int32, below zero": ("GET", "?num_elements=-2147483649", None, 400, "SYNTAX", None),
    "GET: beyond int32": ("GET", "?member_id=2147483648", None, 400, "SYNTAX", f"member_id: {NUMBER}"),
    "GET: no UTF-8": ("GET", "?search=%ff", None, 400, "SYNTAX", "search: must be UTF-8."),
    "PUT: no id": ("PUT", "", {"segment": {}, "id": 10001}, 400, "SYNTAX", "'id' is required"),
    "PUT: no such code": ("PUT", "?code=other", {"segment": {}}, 404, "SYNTAX", None),
    "PUT: another member's code": ("PUT", "?code=secret&member_id=777", {"segment": {}}, 403, "UNAUTH", None),
    "PUT: an empty id": ("PUT", "?id=", {"segment": {}}, 400, "SYNTAX", "'id' is required"),
    "PUT: a word": ("PUT", "?id=x", {"segment": {}}, 400, "SYNTAX", f"id: {NUMBER}"),
    "PUT: several": ("PUT", "?id=10001,12", {"segment": {}}, 400, "SYNTAX", f"id: {NUMBER}"),
    "PUT: 0": ("PUT", "?id=0", {"segment": {}}, 400, "SYNTAX", "'id' must be 1 to 2147483647"),
    "PUT: no body": ("PUT", ONE, None, 400, "SYNTAX", "The body is empty."),
    "PUT: no segment": ("PUT", ONE, {}, 400, "SYNTAX", "'segment' is required"),
    "PUT: state": ("PUT", ONE, {"segment": {"state": "x"}}, 400, "SYNTAX", STATE),
    "PUT: code": ("PUT", ONE, long("code", 51), 400, "SYNTAX", "'code' must have 1 to 50 characters"),
    "PUT: code taken": ("PUT", ONE, {"segment": {"code": "CAR_shoppers"}}, 409, "INTEGRITY", None),
    "PUT: no such segment": ("PUT", NONE, {"segment": {}}, 404, "SYNTAX", NO_SUCH),
    "PUT: another member's segment": ("PUT", "?id=40001", {"segment": {"code": "x"}}, 403, "UNAUTH", None),
    "PUT: too large": ("PUT", ONE, LARGE, 413, "LIMIT", "The body has more than 1048576 bytes."),
    "DELETE: no id": ("DELETE", "", None, 400, "SYNTAX", "'id' is required"),
    "DELETE: id in the body": ("DELETE", "", {"id": 10001}, 400, "SYNTAX", "'id' is required"),
    "DELETE: a word": ("DELETE", "?id=all", None, 400, "SYNTAX", f"id: {NUMBER}"),
    "DELETE: several": ("DELETE", "?id=10001,12", None, 400, "SYNTAX", f"id: {NUMBER}"),
    "DELETE: no such segment": ("DELETE", NONE, None, 404, "SYNTAX", NO_SUCH),
    "DELETE: another member's segment": ("DELETE", "?id=40001", None, 403, "UNAUTH", None),
}


@pytest.mark.parametrize(
    ("method", "query", "body", "status", "error_id", "text"), REFUSED.values(), ids=[name[:60] for name in REFUSED]
)
async def test_refused(
    callers: Callers, method: str, query: str, body: Any, status: int, error_id: str, text: str | None
) -> None:
    assert_http_error(await callers.call("demo", method, query, body), status, error_id, text)


async def test_what_was_refused_changed_nothing(callers: Callers) -> None:
    assert await callers.response("demo", "GET", "?id=10001") == about(FANS)
    assert await callers.response("private", "GET") == page(SECRET)


async def test_no_such_member_for_an_admin(callers: Callers) -> None:
    answer = await callers.call("admin", "POST", "?member_id=5", {"segment": {}})
    assert_http_error(answer, 404, "SYNTAX", "'member_id': there is no member 5")


@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "DELETE"])
@pytest.mark.parametrize("content", [b'{"segment":{"code":"x"}}', b"no JSON", None])
async def test_it_needs_a_token(http: httpx.AsyncClient, method: str, content: bytes | None) -> None:
    """Before anything else."""
    for path in ("/segment?id=10001", "/segment/123?name=x"):
        assert_http_error(await http.request(method, path, content=content), 401, "NOAUTH")


@pytest.mark.parametrize("method", ["PATCH", "OPTIONS"])
async def test_other_methods(callers: Callers, method: str) -> None:
    answer = await callers.call("demo", method, "?id=10001")
    assert_http_error(answer, 405, "SYNTAX")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "POST", "PUT", "DELETE"}
