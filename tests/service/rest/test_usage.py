"""GET /rt-segment-processed (source: contract), and the console's JSON of the same; rules: tests/modules/usage."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from redis.asyncio import RedisCluster
from support.cluster.usage_hours import delete_hours, put_hours
from support.contract.answers import assert_http_error
from support.contract.messages import USER
from support.service.running import Service

HOUR_SECONDS = 3600
MEMBER = 777
"""The member of the account `private`. No other suite reads its reports: workers keep hours that are over."""
LARGE_MEMBER = 1661
"""Whose reports one test alone reads."""
LINES = {"errors": 'Inactive users: "é"\nInactive users: \\', "segments": "Valid users: 5"}
COUNTERS = {
    "calls": 9,
    "valid_users": 2,
    "valid_adds": 3,
    "valid_removes": 4,
    "invalid_users": 1,
    "invalid_segments": 5,
    "unauth_segments": 6,
    "inactive_segments": 7,
    "other_errors": 8,
}
AGO = 200
"""Hours that lie so far back: what the tests send meanwhile is not in them."""


def hour_now() -> int:
    return int(time.time()) // HOUR_SECONDS


def written(hour: int) -> str:
    """An hour in the contract's form."""
    return datetime.fromtimestamp(hour * HOUR_SECONDS, UTC).strftime("%Y-%m-%d %H:%M:%S")


@pytest.fixture(scope="module", autouse=True)
async def first(nodes: RedisCluster) -> AsyncIterator[int]:
    """The first of three hours long ago in which something was sent; nothing was in the one after it."""
    hour = hour_now() - AGO
    sent = [hour + distance for distance in (0, 2, 3)]
    await put_hours(nodes, MEMBER, sent, COUNTERS, LINES)
    yield hour
    await delete_hours(nodes, MEMBER, sent)


@pytest.fixture
async def callers(service: Service) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    """REST callers, by account."""
    async with AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(service.http(headers={"authorization": await service.token(name)}))
            for name in ("private", "demo", "admin")
        }


def contract_hour(hour: int, times: int = 1, *, with_lines: bool = True) -> dict[str, Any]:
    """An hour as the contract has it; its counters so many times."""
    counters = {name: times * count for name, count in COUNTERS.items()}
    del counters["calls"]
    return {
        "processed_hour": written(hour),
        "member_id": MEMBER,
        **{f"num_{name}": count for name, count in counters.items()},
        "match_rate": 66.7 if times else 100.0,
        "error_log_lines": LINES["errors"] if with_lines else None,
        "segment_log_lines": LINES["segments"] if with_lines else None,
    }


async def test_the_report(callers: dict[str, httpx.AsyncClient], first: int) -> None:
    """To the letter: keys in the contract's order, the rate with one decimal."""
    asked = {"start": written(first), "end": written(first + 3)}
    answer = await callers["private"].get("/rt-segment-processed", params=asked)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    expected = {"response": {"status": "OK", "report": [contract_hour(first), contract_hour(first + 2)]}}
    assert answer.text == json.dumps(expected, ensure_ascii=False, separators=(",", ":"))
    assert list(contract_hour(first)) == [
        *("processed_hour", "member_id", "num_valid_users", "num_valid_adds", "num_valid_removes"),
        *("num_invalid_users", "num_invalid_segments", "num_unauth_segments", "num_inactive_segments"),
        *("num_other_errors", "match_rate", "error_log_lines", "segment_log_lines"),
    ]


async def test_the_sum(callers: dict[str, httpx.AsyncClient], first: int) -> None:
    asked = {"start": written(first), "end": written(first + 9), "agg": "true"}
    answer = await callers["private"].get("/rt-segment-processed", params=asked)
    expected = {"response": {"status": "OK", "report": contract_hour(first + 8, 3, with_lines=False)}}
    assert answer.text == json.dumps(expected, ensure_ascii=False, separators=(",", ":"))


async def test_nothing_was_sent(callers: dict[str, httpx.AsyncClient], first: int) -> None:
    asked = {"start": written(first - 20), "end": written(first - 10)}
    answer = await callers["private"].get("/rt-segment-processed", params=asked)
    assert answer.text == '{"response":{"status":"OK","report":[]}}'
    answer = await callers["private"].get("/rt-segment-processed", params={**asked, "agg": "true"})
    report = contract_hour(first - 11, 0, with_lines=False)
    assert answer.json() == {"response": {"status": "OK", "report": report}}


async def test_what_was_just_sent(callers: dict[str, httpx.AsyncClient]) -> None:
    """The report covers the hour under way, and an acknowledged call is in it, whichever worker took it."""

    async def adds() -> int:
        answer = await callers["private"].get("/rt-segment-processed", params={"agg": "true"})
        return int(answer.json()["response"]["report"]["num_valid_adds"])

    before = await adds()
    body = {"rt_segment": [{"user_id": USER, "seg_block": [{"seg_id": 40001, "expiration": 0}]}]}
    for number in range(1, 21):
        assert (await callers["private"].post("/rt-segment", json=body)).json()["response"]["warnings"] == []
        assert await adds() == before + number
    report = (await callers["private"].get("/rt-segment-processed")).json()["response"]["report"]
    assert f"Valid users: {USER}" in report[-1]["segment_log_lines"].split("\n")


QUERIES = {
    "a plus is a space": "start={0}+{1}&end={2}+{3}",
    "a percent-encoded space": "start={0}%20{1}&end={2}%20{3}",
    "a percent-encoded plus": "start={0}%2B{1}&end={2}%2b{3}",
    "percent-encoded colons": "start={0}+00%3A00%3A00&end={2}+{3}",
    "every parameter": "member_id=777&start={0}+{1}&end={2}+{3}&agg=false",
    "empty and unknown ones": "member_id=&agg=&start={0}+{1}&end={2}+{3}&sort=up",
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
async def test_how_moments_may_be_written(callers: dict[str, httpx.AsyncClient], first: int, query: str) -> None:
    midnight = first - first % 24
    start, end = written(midnight).split(" "), written(midnight + 24).split(" ")
    answer = await callers["private"].get(f"/rt-segment-processed?{query.format(*start, *end)}")
    assert answer.status_code == 200, answer.text
    hours = [hour["processed_hour"] for hour in answer.json()["response"]["report"]]
    assert hours == [written(first + distance) for distance in (0, 2, 3) if first + distance < midnight + 24]


FORM = "must be a moment (UTC) in the form 2014-05-22+00:00:00"
NUMBER = "must be an integer of 32 bits."
REFUSED: dict[str, tuple[str, str, int, str, str | None]] = {
    "start": ("private", "start=yesterday", 400, "SYNTAX", f"'start' {FORM}"),
    "end": ("private", "end=2014-05-22T00:00:00", 400, "SYNTAX", f"'end' {FORM}"),
    "the order": (
        *("private", "start=2014-05-22+00:00:00&end=2014-05-21+00:00:00", 400, "SYNTAX"),
        "'start' must be before 'end'",
    ),
    "the same": ("private", "start=2014-05-22+00:00:00&end=2014-05-22+00:00:00", 400, "SYNTAX", None),
    "still to come": ("private", "start=2999-05-22+00:00:00", 400, "SYNTAX", None),
    "agg": ("private", "agg=sure", 400, "SYNTAX", "agg: must be true or false."),
    "twice": ("private", "agg=true&agg=true", 400, "SYNTAX", "agg: must not stand twice."),
    "no number": ("private", "member_id=own", 400, "SYNTAX", f"member_id: {NUMBER}"),
    "another member": ("private", "member_id=123", 403, "UNAUTH", None),
    "another member's sum": ("private", "member_id=123&agg=true", 403, "UNAUTH", None),
    "no such member": ("private", "member_id=5", 403, "UNAUTH", None),
    "no such member, an admin": ("admin", "member_id=5", 404, "SYNTAX", "'member_id': there is no member 5"),
}


@pytest.mark.parametrize(("username", "query", "status", "error_id", "text"), REFUSED.values(), ids=REFUSED)
async def test_refused(
    callers: dict[str, httpx.AsyncClient], username: str, query: str, status: int, error_id: str, text: str | None
) -> None:
    assert_http_error(await callers[username].get(f"/rt-segment-processed?{query}"), status, error_id, text)


async def test_an_admin_sees_every_member(callers: dict[str, httpx.AsyncClient], first: int) -> None:
    asked = {"member_id": MEMBER, "start": written(first), "end": written(first + 1)}
    answer = await callers["admin"].get("/rt-segment-processed", params=asked)
    assert answer.json()["response"]["report"] == [contract_hour(first)]


@pytest.mark.parametrize("path", ["/rt-segment-processed", "/console/usage", "/console/overview"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_other_methods(callers: dict[str, httpx.AsyncClient], path: str, method: str) -> None:
    answer = await callers["private"].request(method, path)
    assert_http_error(answer, 405, "SYNTAX")
    assert answer.headers["allow"] == "GET"


async def test_usage_for_the_console(callers: dict[str, httpx.AsyncClient], first: int) -> None:
    asked = {"hours": hour_now() - first + 2}  # as another hour may begin meanwhile
    answer = await callers["private"].get("/console/usage", params=asked)
    found = [hour for hour in answer.json()["hours"] if hour["hour"] < written(first + 9).replace(" ", "T")]
    assert [hour["hour"] for hour in found] == [
        written(first + distance).replace(" ", "T") + "Z" for distance in (0, 2, 3)
    ]
    assert {name: int(found[0][name]) for name in COUNTERS} == COUNTERS
    assert (found[0]["match_rate"], found[0]["error_lines"]) == (66.7, LINES["errors"].split("\n"))
    short = await callers["private"].get("/console/usage?hours=720&without_lines=true")
    assert all(not hour["error_lines"] and not hour["segment_lines"] for hour in short.json()["hours"])
    assert_http_error(await callers["private"].get("/console/usage?hours=721"), 400, "SYNTAX")


async def test_the_overview(callers: dict[str, httpx.AsyncClient]) -> None:
    answer = await callers["admin"].get(f"/console/overview?member_id={MEMBER}")
    overview = answer.json()
    assert (overview["username"], overview["is_admin"], overview["member_id"]) == ("admin", True, MEMBER)
    assert set(overview["posts"]) == {"used", "limit"}


CODINGS: dict[str, tuple[str | None, bool]] = {
    "none": (None, False),
    "empty": ("", False),
    "identity": ("identity", False),
    "gzip": ("gzip", True),
    "among others": ("deflate, gzip;q=0.8, br", True),
    "in capitals": ("GZIP", True),
    "refused": ("gzip;q=0, identity", False),
    "others": ("br, zstd", False),
}


@pytest.mark.parametrize(("accepted", "compressed"), CODINGS.values(), ids=CODINGS)
async def test_compressed(
    callers: dict[str, httpx.AsyncClient], first: int, accepted: str | None, compressed: bool
) -> None:
    """Where the caller takes gzip, and nowhere else; the text is the same."""
    caller = callers["private"]
    caller.headers.pop("accept-encoding")
    headers = {} if accepted is None else {"accept-encoding": accepted}
    asked = {"start": written(first), "end": written(first + 3)}
    plain = await caller.get("/rt-segment-processed", params=asked)
    answer = await caller.get("/rt-segment-processed", params=asked, headers=headers)
    assert (plain.status_code, answer.status_code, answer.text) == (200, 200, plain.text)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers.get("content-encoding") == ("gzip" if compressed else None)
    assert answer.headers.get("vary") == ("accept-encoding" if compressed else None)
    assert int(answer.headers["content-length"]) == answer.num_bytes_downloaded
    assert (answer.num_bytes_downloaded < plain.num_bytes_downloaded) == compressed
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize("query", ["agg=true", "start=yesterday", "member_id=5"])
async def test_sums_and_errors_come_as_they_are(callers: dict[str, httpx.AsyncClient], query: str) -> None:
    answer = await callers["private"].get(f"/rt-segment-processed?{query}", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in answer.headers
    assert answer.json()["response"]["status"] == ("OK" if query == "agg=true" else "ERROR")


@pytest.mark.parametrize(("value", "accepted"), [("true", "identity"), ("false", "gzip"), ("maybe", "identity")])
async def test_compression_is_no_parameter(
    callers: dict[str, httpx.AsyncClient], first: int, value: str, accepted: str
) -> None:
    asked = {"start": written(first), "end": written(first + 3), "gzip": value}
    answer = await callers["private"].get("/rt-segment-processed", params=asked, headers={"accept-encoding": accepted})
    assert answer.json()["response"]["report"] == [contract_hour(first), contract_hour(first + 2)]
    assert ("content-encoding" in answer.headers) == (accepted == "gzip")


@pytest.mark.parametrize(
    ("http2", "coding"), [(False, "identity"), (True, "identity"), (False, "gzip"), (True, "gzip")]
)
async def test_two_weeks_full_of_lines(service: Service, nodes: RedisCluster, http2: bool, coding: str) -> None:
    """Some 14 MB: it comes whole, and other calls go on meanwhile."""
    line = "Valid additions (user id, segment id, expiration): (12345678900987654321, 10001, 1440), number %04d"
    lines = "\n".join(line % number for number in range(200))
    newest = hour_now() - 300
    hours = range(newest - 335, newest + 1)
    await put_hours(nodes, LARGE_MEMBER, hours, COUNTERS, dict.fromkeys(LINES, lines))
    asked = {"member_id": LARGE_MEMBER, "start": written(newest - 335), "end": written(newest + 1)}
    headers = {"authorization": await service.token("admin"), "accept-encoding": coding}
    try:
        async with service.http(headers=headers, http1=not http2, http2=http2) as http:
            answer = await http.get("/rt-segment-processed", params=asked)
            assert answer.status_code == 200, answer.text
            report = answer.json()["response"]["report"]
            assert [hour["processed_hour"] for hour in report] == [written(hour) for hour in hours]
            assert all(hour["error_log_lines"] == hour["segment_log_lines"] == lines for hour in report)
            answers = await asyncio.gather(*[http.get("/rt-segment-processed", params=asked) for _ in range(3)])
            assert [each.content == answer.content for each in answers] == [True] * 3
    finally:
        await delete_hours(nodes, LARGE_MEMBER, hours)
