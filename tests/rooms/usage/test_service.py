"""Reports of what members sent (contract, "GET /rt-segment-processed"; usage.proto)."""

import asyncio
import gzip
import itertools
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import pytest
from google.api import httpbody_pb2
from instantaudience.v1 import catalog_pb2
from instantaudience.v1 import usage_pb2 as pb
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.catalog.editor import CatalogEditor
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.quotas import Quotas
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from instantaudience_server.store.cluster import Cluster
from instantaudience_server.store.keys import usage_key
from instantaudience_server.store.quota_store import ClusterQuotaStore
from instantaudience_server.store.usage_interface import Addition, Lines, Tally
from instantaudience_server.store.usage_store import ClusterUsageStore
from instantaudience_server.usage import hours as usage_hours
from instantaudience_server.usage import service as usage_service
from instantaudience_server.usage.hours import UsageHours
from instantaudience_server.usage.service import UsageService
from instantaudience_server.usage.spans import write_hour
from redis.asyncio import RedisCluster
from support.callers import caller
from support.clocks import FakeClock
from support.clusters import connected, eventually, on_all_nodes, seconds_from_now

OWN, OTHER, LIMITED, NEW = 1, 2, 3, 4
OBJECTS = (
    catalog_pb2.Member(id=OWN, name="Own"),
    catalog_pb2.Member(id=OTHER, name="Other"),
    catalog_pb2.Member(id=LIMITED, name="Limited", limits=catalog_pb2.Limits(gets_per_second=1)),
    catalog_pb2.User(id=1, username="own", member_id=OWN),
    catalog_pb2.User(id=2, username="other", member_id=OTHER),
    catalog_pb2.User(id=3, username="admin", member_id=OTHER, role=catalog_pb2.ROLE_ADMIN),
    catalog_pb2.User(id=4, username="limited", member_id=LIMITED),
)
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
TALLY = Tally(9, 1, 2, 3, 4, 5, 6, 7, 8)
LINES = Lines(["Inactive users: 5", "Inactive users: 6"], ["Valid users: 7"])


class Worker(NamedTuple):
    """A worker's part of the service, and another worker's way to count."""

    reports: UsageService
    hours: UsageHours
    editor: CatalogEditor
    catalog: Catalog
    quota_store: ClusterQuotaStore
    elsewhere: ClusterUsageStore
    clock: FakeClock

    @property
    def hour(self) -> int:
        """The hour under way."""
        return self.clock.ms // HOUR_MS

    async def count(self, hour: int, tally: Tally = TALLY, lines: Lines = LINES, member_id: int = OWN) -> None:
        """Count as another worker does."""
        await self.elsewhere.add(Addition(member_id, hour, next(numbers), tally, lines), seconds_from_now())

    async def processed(self, username: str = "own", **request: Any) -> Any:
        """The `report` of the contract's report."""
        message = pb.GetProcessedRequest(**request)
        answer = await self.reports.get_processed(message, caller(username, self.catalog), seconds_from_now())
        body = httpbody_pb2.HttpBody.FromString(answer.SerializeToString(deterministic=True))
        compressed = message.gzip and not message.agg
        assert body.content_type == ("application/gzip" if compressed else "application/json")
        response = json.loads(gzip.decompress(body.data) if compressed else body.data)["response"]
        assert (response.keys(), response["status"]) == ({"status", "report"}, "OK")
        return response["report"]

    async def usage(self, username: str = "own", **request: Any) -> pb.GetUsageResponse:
        """The typed report."""
        message = pb.GetUsageRequest(**request)
        answer = await self.reports.get_usage(message, caller(username, self.catalog), seconds_from_now())
        return pb.GetUsageResponse.FromString(answer.SerializeToString(deterministic=True))

    async def overview(self, username: str = "own", **request: Any) -> pb.GetOverviewResponse:
        message = pb.GetOverviewRequest(**request)
        return await self.reports.get_overview(message, caller(username, self.catalog), seconds_from_now())

    async def adds(self, username: str = "own", **request: Any) -> dict[str, int]:
        """The memberships added, by hour."""
        return {hour["processed_hour"]: hour["num_valid_adds"] for hour in await self.processed(username, **request)}


numbers = itertools.count(1)


@pytest.fixture
async def worker(cluster: Cluster) -> AsyncIterator[Worker]:
    """A worker whose clock stands ten minutes after the beginning of an hour; nobody has sent anything."""
    clock = FakeClock.real()
    clock.ms += 10 * MINUTE_MS - clock.ms % HOUR_MS
    store, catalog = ClusterCatalogStore(cluster), Catalog()
    feed = CatalogFeed(store, catalog)
    await feed.load()
    editor = CatalogEditor(store, feed, clock)
    for message in OBJECTS:
        await editor.create(message, seconds_from_now())
    quota_store = ClusterQuotaStore(cluster, secrets.token_hex())
    quotas, hours = Quotas(quota_store), UsageHours(ClusterUsageStore(cluster, "w1"), clock)
    reports = UsageService(catalog, feed, hours, quotas, quota_store, clock)
    yield Worker(reports, hours, editor, catalog, quota_store, ClusterUsageStore(cluster, "w2"), clock)
    await hours.close()
    await quotas.close()


def contract_hour(hour: int, tally: Tally = TALLY, lines: Lines | None = LINES, member_id: int = OWN) -> dict[str, Any]:
    """An hour as the contract has it."""
    users = tally.valid_users + tally.invalid_users
    return {
        "processed_hour": write_hour(hour),
        "member_id": member_id,
        "num_valid_users": tally.valid_users,
        "num_valid_adds": tally.valid_adds,
        "num_valid_removes": tally.valid_removes,
        "num_invalid_users": tally.invalid_users,
        "num_invalid_segments": tally.invalid_segments,
        "num_unauth_segments": tally.unauth_segments,
        "num_inactive_segments": tally.inactive_segments,
        "num_other_errors": tally.other_errors,
        "match_rate": round(100 * tally.valid_users / users, 1) if users else 100.0,
        "error_log_lines": None if lines is None else "\n".join(lines.errors),
        "segment_log_lines": None if lines is None else "\n".join(lines.segments),
    }


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


async def test_every_report_has_what_was_counted_before(worker: Worker) -> None:
    """In an hour that may still grow: the one under way, and the one before for some minutes."""
    worker.clock.ms -= 6 * MINUTE_MS
    for round_number in range(1, 6):
        for hour in (worker.hour - 1, worker.hour):
            await worker.count(hour, Tally(valid_adds=1), Lines([f"line {round_number}"], []))
        reports = await asyncio.gather(*[worker.processed(hours_of) for hours_of in ("own",) * 20])
        for report in reports:
            assert [hour["num_valid_adds"] for hour in report] == [round_number, round_number]
            assert [hour["error_log_lines"].count("line") for hour in report] == [round_number, round_number]


async def test_reports_under_load_have_what_was_counted_before_each(worker: Worker) -> None:
    """Reports share readings, but none shares one that began before it was asked for."""
    counted = 0

    async def write() -> None:
        nonlocal counted
        for _ in range(100):
            await worker.count(worker.hour, Tally(valid_adds=1), Lines())
            counted += 1

    async def report() -> None:
        while counted < 100:
            before = counted
            (total,) = [hour["num_valid_adds"] for hour in await worker.processed()] or [0]
            assert total >= before

    await asyncio.gather(write(), *[report() for _ in range(10)])


async def commands_of(embedded: EmbeddedCluster, command: str) -> int:
    """How many of these the nodes have carried out."""
    infos = await on_all_nodes(embedded, "INFO", "commandstats")
    return sum(int(info.get(f"cmdstat_{command}", {"calls": 0})["calls"]) for info in infos)


async def test_many_reports_read_little(worker: Worker, embedded: EmbeddedCluster) -> None:
    """A hundred reports at once, each of two weeks: 336 hours once, and the open one a few times."""
    await worker.count(worker.hour)
    before = await commands_of(embedded, "hmget")
    await asyncio.gather(*[worker.processed() for _ in range(100)])
    assert 336 <= await commands_of(embedded, "hmget") - before < 336 + 40


async def test_finished_hours_come_from_memory_for_a_while(
    worker: Worker, plain: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in (worker.hour - 1, worker.hour):
        await worker.count(hour)
    assert len(await worker.processed()) == 2
    for hour in (worker.hour - 1, worker.hour):
        await plain.delete(usage_key(OWN, hour))
    assert list(await worker.adds()) == [write_hour(worker.hour - 1)]
    assert list(await worker.adds()) == [write_hour(worker.hour - 1)]
    monkeypatch.setattr(usage_hours, "KEPT_SECONDS", 0.0)
    elsewhere = await worker.usage()
    assert not elsewhere.hours, "what is typed is kept apart"
    await worker.count(worker.hour - 1)
    assert len((await worker.usage()).hours) == 1, "nothing is kept for long"


async def test_an_hour_is_finished_some_minutes_after_its_end(worker: Worker) -> None:
    """What is added late is seen up to then."""
    worker.clock.ms -= 6 * MINUTE_MS
    late = worker.hour - 1
    await worker.count(late)
    for count in (2, 4, 6):
        assert await worker.adds() == {write_hour(late): count}
        await worker.count(late)
    worker.clock.ms += 2 * MINUTE_MS
    assert await worker.adds() == {write_hour(late): 8}
    await worker.count(late)
    assert await worker.adds() == {write_hour(late): 8}


async def test_it_keeps_so_much_and_no_more(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is read again, and no report lacks anything."""
    monkeypatch.setattr(usage_hours, "MOST_BYTES", 50_000)
    lines = Lines(["x" * 100] * 20, [])
    members = {member_id: f"user {member_id}" for member_id in range(10, 20)}
    for member_id in members:
        await worker.editor.create(catalog_pb2.Member(id=member_id, name="x"), seconds_from_now())
        for distance in range(1, 11):
            await worker.count(worker.hour - distance, lines=lines, member_id=member_id)
    for _ in range(2):
        for member_id in members:
            hours = await worker.processed("admin", member_id=member_id)
            assert [hour["error_log_lines"].count("x") for hour in hours] == [2000] * 10
            assert worker.hours._size <= 50_000
            assert worker.hours._size == sum(shelf.size for shelf in worker.hours._shelves.values())
    assert await worker.adds("admin", member_id=10, start=write_hour(worker.hour - 3)) == {
        write_hour(worker.hour - distance): 2 for distance in (3, 2, 1)
    }


async def test_joined_hours_are_kept_for_some_beginnings(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as may be, and what is kept of the last ones does not keep the next from being joined."""
    hours = 30
    for distance in range(hours):
        await worker.count(worker.hour - distance, lines=Lines(["x" * 100] * 20, []))
    monkeypatch.setattr(usage_hours, "LARGEST_RUN_BYTES", 2500 * hours)
    for beginning in range(6):
        report = await worker.processed(start=write_hour(worker.hour - hours + 1 + beginning))
        assert len(report) == hours - beginning
    (shelf,) = worker.hours._shelves.values()
    assert len(shelf._runs) == usage_hours.MOST_RUNS
    assert shelf.size == worker.hours._size


async def test_hours_that_nobody_asks_for_are_forgotten(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_hours, "KEPT_SECONDS", 0.0)
    sizes = []
    for last in range(20):
        end = write_hour(worker.hour - 10 * last)
        for _ in range(2):
            await worker.processed(start=write_hour(worker.hour - 10 * last - 10), end=end)
        sizes.append(worker.hours._size)
    assert max(sizes) < 1.5 * min(sizes)
    assert worker.hours._size == sum(shelf.size for shelf in worker.hours._shelves.values())


async def test_spans_that_overlap_share_hours(worker: Worker, embedded: EmbeddedCluster) -> None:
    for distance in range(336):
        await worker.count(worker.hour - distance, Tally(valid_adds=distance + 1), Lines())
    before = await commands_of(embedded, "hmget")
    for hours in (336, 24, 100, 336, 24, 12, 50, 200, 24, 336, 720):
        answer = await worker.usage(hours=hours, without_lines=True)
        length = min(hours, 336)
        assert answer.total.valid_adds == length * (length + 1) // 2
        assert [hour.valid_adds for hour in answer.hours] == list(range(length, 0, -1))
    # The quota's script has one for each of the eleven reports, which read the open hour each, others once.
    assert await commands_of(embedded, "hmget") - before == 11 + 11 + 719


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
        await asyncio.gather(*[quotas.ask_posts(member, users, seconds_from_now()) for users in (3, 4)])
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


async def test_each_report_has_its_own_deadline(worker: Worker, embedded: EmbeddedCluster, cluster: Cluster) -> None:
    """Reports that share a reading wait for it as long as they may."""
    await worker.count(worker.hour)
    await worker.processed()
    await on_all_nodes(embedded, "CLIENT", "PAUSE", 600, "ALL")
    hours = [worker.hour]

    async def read(seconds: float) -> int:
        return len(await worker.hours.read(OWN, hours, usage_service.JSON, seconds_from_now(seconds)))

    short, long = await asyncio.gather(read(0.2), read(5), return_exceptions=True)
    assert isinstance(short, AudienceError)
    assert short.reason is Reason.UNAVAILABLE
    assert long == 1


async def test_a_cluster_that_is_away(worker: Worker, embedded: EmbeddedCluster) -> None:
    async with connected(embedded.url) as closing:
        hours = UsageHours(ClusterUsageStore(closing, "w3"), worker.clock)
        await closing.close()
        with pytest.raises(AudienceError) as caught:
            await hours.read(OWN, range(5), usage_service.COUNTS, seconds_from_now())
        await hours.close()
    assert caught.value.reason is Reason.UNAVAILABLE


async def test_closing_ends_what_waits(worker: Worker, embedded: EmbeddedCluster) -> None:
    async with connected(embedded.url) as cluster:
        hours = UsageHours(ClusterUsageStore(cluster, "w3"), worker.clock)
        await on_all_nodes(embedded, "CLIENT", "PAUSE", 300, "ALL")
        reading = asyncio.create_task(hours.read(OWN, range(5), usage_service.COUNTS, seconds_from_now()))
        await asyncio.sleep(0.02)
        later = asyncio.create_task(hours.read(OWN, range(5), usage_service.COUNTS, seconds_from_now()))
        await asyncio.sleep(0)
        await hours.close()
        ended = await asyncio.gather(reading, later, return_exceptions=True)
    assert [type(end) for end in ended] == [asyncio.CancelledError] * 2
