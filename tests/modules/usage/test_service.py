"""Reports of what members sent (contract, "GET /rt-segment-processed"; usage.proto)."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from instantaudience.v1 import catalog_pb2
from instantaudience.v1 import usage_pb2 as pb
from instantaudience_server.admission.quotas import Quotas
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.catalog.editor import CatalogEditor
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.usage import Tally
from instantaudience_server.usage import service as usage_service
from instantaudience_server.usage.spans import write_hour
from support.parts.catalogs import LIMITED, OTHER, OWN
from support.parts.reports import LINES, MINUTE_MS, TALLY, Worker, contract_hour
from support.waiting import eventually, seconds_from_now

NEW = 4


def doubled(tally: Tally) -> Tally:
    return Tally(*[2 * count for count in tally])


async def test_hours_with_traffic_oldest_first(worker: Worker) -> None:
    hours = [worker.hour - 335, worker.hour - 5, worker.hour]
    for hour in reversed(hours):
        await worker.count(hour)
    for outside in (worker.hour - 336, worker.hour + 1):
        await worker.count(outside)
    await worker.count(worker.hour, member_id=OTHER)
    expected = [contract_hour(hour) for hour in hours]
    assert await worker.processed() == expected
    assert await worker.processed() == expected, "what is kept is the same"
    typed = await worker.usage()
    assert [hour.hour.seconds // 3600 for hour in typed.hours] == hours
    assert [list(hour.error_lines) for hour in typed.hours] == [list(LINES.errors)] * 3
    assert (typed.total.calls, typed.total.hour.seconds // 3600) == (27, worker.hour)


async def test_compressed(worker: Worker) -> None:
    """The same, of hours that are read and of hours that are kept, joined and by themselves."""
    end = write_hour(worker.hour - 50)
    assert await worker.processed(gzip=True, start=write_hour(worker.hour - 60), end=end) == []
    for distance in range(20):
        await worker.count(worker.hour - distance, Tally(calls=1, valid_adds=distance), LINES)
    for _ in range(3):
        report = await worker.processed(gzip=True)
        assert report == await worker.processed()
        assert [hour["num_valid_adds"] for hour in report] == list(range(20))[::-1]
    assert await worker.processed(gzip=True, agg=True) == await worker.processed(agg=True)


async def test_nothing_was_sent(worker: Worker) -> None:
    assert await worker.processed() == []
    assert await worker.processed(agg=True) == contract_hour(worker.hour, Tally(), None)
    answer = await worker.usage()
    assert not answer.hours
    assert (answer.total.member_id, answer.total.match_rate) == (OWN, 100)


async def test_the_sum(worker: Worker) -> None:
    for hour in (worker.hour - 100, worker.hour - 1):
        await worker.count(hour)
    assert await worker.processed(agg=True) == contract_hour(worker.hour, doubled(TALLY), None)


SPANS: dict[str, tuple[str, str, list[int], int]] = {
    "an hour": ("{-3}:00:00", "{-2}:00:00", [-3], -3),
    "hours in part": ("{-3}:59:59", "{-1}:00:01", [-3, -2, -1], -1),
    "from an hour on": ("{-2}:00:00", "", [-2, -1, 0], 0),
    "up to an hour": ("", "{-2}:00:00", [-4, -3], -3),
    "into the future": ("{-1}:00:00", "{3}:00:00", [-1, 0], 2),
    "all in the future": ("{1}:00:00", "{3}:00:00", [], 2),
    "long ago": ("2014-05-22 00:00:00", "2014-05-23 00:00:00", [], -1_000_000),
}


@pytest.mark.parametrize("name", SPANS)
async def test_spans(worker: Worker, name: str) -> None:
    """`{-3}` stands for the hour three hours before the one under way."""
    start, end, expected, last = SPANS[name]
    for distance in range(-4, 1):
        await worker.count(worker.hour + distance)
    texts = {str(distance): write_hour(worker.hour + distance)[:13] for distance in range(-4, 4)}
    for distance, text in texts.items():
        start, end = start.replace(f"{{{distance}}}", text), end.replace(f"{{{distance}}}", text)
    asked = {"start": start.replace(" ", "+"), "end": end}
    hours = [worker.hour + distance for distance in expected]
    assert list(await worker.adds(**asked)) == [write_hour(hour) for hour in hours]
    total = await worker.processed(agg=True, **asked)
    assert total["num_valid_adds"] == 2 * len(hours)
    assert total["processed_hour"] == ("2014-05-22 23:00:00" if last < -1000 else write_hour(worker.hour + last))


async def test_so_many_hours(worker: Worker) -> None:
    for distance in range(-4, 1):
        await worker.count(worker.hour + distance)
    asked = await worker.usage(hours=2)
    assert [hour.hour.seconds // 3600 - worker.hour for hour in asked.hours] == [-1, 0]
    request: dict[str, Any] = {"hours": 2, "end": {"seconds": 3600 * (worker.hour - 2)}}
    answer = await worker.usage(**request, without_lines=True)
    assert [hour.hour.seconds // 3600 - worker.hour for hour in answer.hours] == [-4, -3]
    assert answer.total.hour.seconds // 3600 - worker.hour == -3
    assert (answer.total.valid_adds, list(answer.hours[0].segment_lines)) == (4, [])
    since = await worker.usage(start={"seconds": 3600 * (worker.hour - 1) + 1}, end={"seconds": 3600 * worker.hour})
    assert [hour.hour.seconds // 3600 - worker.hour for hour in since.hours] == [-1]


async def test_a_worker_whose_clock_is_ahead(worker: Worker) -> None:
    """Its calls may count for the next hour, and are in the report."""
    await worker.count(worker.hour + 1)
    worker.clock.ms += 49 * MINUTE_MS + 30_000
    assert list(await worker.adds()) == [write_hour(worker.hour + 1)]
    assert (await worker.processed(agg=True))["processed_hour"] == write_hour(worker.hour + 1)


MEMBERS: dict[str, tuple[str, int, Reason | None]] = {
    "one's own": ("own", OWN, None),
    "another": ("own", OTHER, Reason.UNAUTH),
    "none": ("own", 99, Reason.UNAUTH),
    "another, by an admin": ("admin", OWN, None),
    "none, by an admin": ("admin", 99, Reason.NOT_FOUND),
    "zero, by an admin": ("admin", 0, Reason.NOT_FOUND),
}


@pytest.mark.parametrize("method", ["processed", "usage", "overview"])
@pytest.mark.parametrize(("username", "member_id", "reason"), MEMBERS.values(), ids=MEMBERS)
async def test_whose_reports(worker: Worker, method: str, username: str, member_id: int, reason: Reason | None) -> None:
    if reason is None:
        await getattr(worker, method)(username, member_id=member_id)
        return
    with pytest.raises(AudienceError) as caught:
        await getattr(worker, method)(username, member_id=member_id)
    assert caught.value.reason is reason
    if reason is Reason.NOT_FOUND:
        assert caught.value.message == f"'member_id': there is no member {member_id}"


async def test_a_member_that_another_worker_has_just_made(worker: Worker, cluster: Cluster) -> None:
    feed = CatalogFeed(ClusterCatalogStore(cluster), Catalog())
    await feed.load()
    editor = CatalogEditor(ClusterCatalogStore(cluster), feed, worker.clock)
    await editor.create(catalog_pb2.Member(id=NEW, name="New"), seconds_from_now())
    await worker.count(worker.hour, member_id=NEW)
    assert len(await worker.processed("admin", member_id=NEW)) == 1


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "start": ("processed", {"start": "yesterday"}, "start"),
    "end": ("processed", {"end": "2014-05-22"}, "end"),
    "order": ("processed", {"start": "2014-05-22+00:00:00", "end": "2014-05-22+00:00:00"}, "start"),
    "from now on": ("processed", {"start": "2999-05-22+00:00:00"}, "start"),
    "no hours": ("usage", {"hours": 0}, "hours"),
    "too many hours": ("usage", {"hours": 721}, "hours"),
    "hours and a beginning": ("usage", {"hours": 1, "start": {"seconds": 1}}, "hours"),
    "no moment": ("usage", {"end": {"seconds": 2**60}}, "end"),
    "order, typed": ("usage", {"start": {"seconds": 5}, "end": {"seconds": 5}}, "start"),
}


@pytest.mark.parametrize(("method", "fields", "field"), WRONG.values(), ids=WRONG)
async def test_what_cannot_be_meant(worker: Worker, method: str, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(AudienceError) as caught:
        await getattr(worker, method)(**fields)
    assert (caught.value.reason, caught.value.metadata) == (Reason.SYNTAX, {"field": field})
    assert f"'{field}'" in caught.value.message


async def eventually_in_a_window(check: Callable[[], Awaitable[None]]) -> None:
    """Until the check passes; windows that are full, and such that end in between, are tried again."""

    async def attempt() -> None:
        try:
            await check()
        except AudienceError as error:
            raise AssertionError from error

    await eventually(attempt)


@pytest.mark.parametrize(
    ("method", "resource"),
    [("processed", "rt-segment-processed"), ("usage", "rt-segment-processed"), ("overview", "overview")],
)
async def test_they_count_as_reads(worker: Worker, method: str, resource: str) -> None:
    """Of the caller's member."""

    async def is_refused() -> None:
        await getattr(worker, method)("limited")
        with pytest.raises(AudienceError) as caught:
            await getattr(worker, method)("limited")
        assert caught.value.reason is Reason.RATE_LIMIT_EXCEEDED
        assert f"your request limit of 1 reads per 1 seconds to {resource}, wait" in caught.value.message

    await eventually_in_a_window(is_refused)
    await getattr(worker, method)("admin", member_id=LIMITED)


@pytest.mark.parametrize("method", ["processed", "usage", "overview"])
async def test_of_reports_that_come_at_once_those_past_the_limit_are_refused(worker: Worker, method: str) -> None:
    """The cluster says so; they are read meanwhile."""
    asked = [getattr(worker, method)("limited") for _ in range(4)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    reasons = [answer.reason for answer in answers if isinstance(answer, AudienceError)]
    assert reasons == [Reason.RATE_LIMIT_EXCEEDED] * 3


async def test_a_report_that_is_too_large(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_service, "MOST_BYTES", 1000)
    for distance in range(4):
        await worker.count(worker.hour - distance)
    with pytest.raises(AudienceError) as caught:
        await worker.processed()
    assert caught.value.reason is Reason.LIMIT
    assert caught.value.message.endswith(": ask for fewer hours, or accept gzip")
    assert len(await worker.processed(gzip=True)) == 4
    monkeypatch.setattr(usage_service, "MOST_BYTES", 500)
    with pytest.raises(AudienceError) as caught:
        await worker.processed(gzip=True)
    assert caught.value.message.endswith(": ask for fewer hours")
    assert len(await worker.processed(start=write_hour(worker.hour))) == 1
    assert (await worker.processed(agg=True))["num_valid_adds"] == 8


async def test_typed_lines_are_bounded(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """What gRPC clients would not take is refused; the contract's report is not bounded so."""
    monkeypatch.setattr(usage_service, "MOST_TYPED_BYTES", 300)
    for distance in range(4):
        await worker.count(worker.hour - distance)
    with pytest.raises(AudienceError) as caught:
        await worker.usage()
    assert caught.value.reason is Reason.LIMIT
    assert "ask for fewer hours, or without lines" in caught.value.message
    assert len((await worker.usage(hours=2)).hours) == 2
    assert len((await worker.usage(without_lines=True)).hours) == len(await worker.processed()) == 4


async def test_large_reports_of_a_member_are_paced(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of others are not, nor are small ones."""
    monkeypatch.setattr(usage_service, "SMALL_BYTES", 1000)
    worker.reports._pace = usage_service.Pace(bytes_per_second=1, burst_bytes=1)
    for member_id in (OWN, OTHER):
        for distance in range(4):
            await worker.count(worker.hour - distance, member_id=member_id)
    await worker.processed()
    with pytest.raises(AudienceError) as caught:
        await worker.processed()
    assert caught.value.reason is Reason.UNAVAILABLE
    await worker.processed("other")
    await worker.processed(start=write_hour(worker.hour))


async def test_a_large_report_that_cannot_go_is_refused_before_it_is_read(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its size is known. The limit of reads comes first."""
    monkeypatch.setattr(usage_service, "SMALL_BYTES", 1000)
    worker.reports._pace = usage_service.Pace(bytes_per_second=1, burst_bytes=1)
    for distance in range(20):
        await worker.count(worker.hour - distance, member_id=LIMITED)
    await worker.processed("limited")
    read, spans = worker.hours.read, list[Any]()

    async def read_noted(*arguments: Any) -> Any:
        spans.append(arguments)
        return await read(*arguments)

    monkeypatch.setattr(worker.hours, "read", read_noted)

    async def refusal() -> Reason:
        with pytest.raises(AudienceError) as caught:
            await worker.processed("limited")
        return caught.value.reason

    async def one_is_within_the_limit() -> None:
        reasons = await asyncio.gather(*[refusal() for _ in range(5)])
        assert Counter(reasons) == {Reason.UNAVAILABLE: 1, Reason.RATE_LIMIT_EXCEEDED: 4}

    await eventually(one_is_within_the_limit)
    assert spans == []


async def test_the_overview(worker: Worker) -> None:
    """Used is what the second under way has admitted."""
    member = worker.catalog.members[OWN]

    async def is_told() -> None:
        quotas = Quotas(worker.quota_store)
        await quotas.ask_posts(member, [3, 4], seconds_from_now())
        await quotas.ask_gets(member, "segment", 5, seconds_from_now())
        overview = await worker.overview("admin", member_id=OWN)
        await quotas.close()
        assert overview == pb.GetOverviewResponse(
            username="admin",
            is_admin=True,
            member_id=OWN,
            member_name="Own",
            posts=pb.QuotaUse(used=2, limit=100),
            users=pb.QuotaUse(used=7, limit=1000),
            gets=pb.QuotaUse(used=5, limit=1000),
        )

    await eventually(is_told)
    own = await worker.overview()
    assert (own.username, own.is_admin, own.member_id) == ("own", False, OWN)
    limited = await worker.overview("admin", member_id=LIMITED)
    assert (limited.gets, limited.posts) == (pb.QuotaUse(limit=1), pb.QuotaUse(limit=100))
