"""What members send is counted, each call once (contract, "GET /rt-segment-processed")."""

import asyncio
import contextlib
import random
import secrets
import weakref
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from instantaudience.v1 import audience_pb2
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.admission.quotas import Quotas
from instantaudience_server.applied import Applied, Totals
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.memberships.service import MembershipService
from instantaudience_server.process.clock import MS_PER_HOUR
from instantaudience_server.segment_sizes import SegmentSizes
from instantaudience_server.settings import Durability
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.catalog import Kind, Record
from instantaudience_server.store.interfaces.memberships import NEVER, Alike
from instantaudience_server.store.interfaces.usage import (
    MOST_LINE_BYTES,
    MOST_LINES,
    Addition,
    CallFailure,
    HourUsage,
    Lines,
    Reasons,
    Skip,
    Tally,
)
from instantaudience_server.store.membership_store import ClusterMembershipStore
from instantaudience_server.store.quota_store import ClusterQuotaStore
from instantaudience_server.store.usage_store import ClusterUsageStore
from instantaudience_server.usage import counting, samples
from instantaudience_server.usage.counting import Usage
from instantaudience_server.usage.lines import LONGEST_LINE
from prometheus_client import REGISTRY
from redis.asyncio import RedisCluster
from structlog.testing import capture_logs
from support.clocks import FakeClock
from support.cluster.nodes import on_all_nodes
from support.cluster.running import connected
from support.cluster.stored import SlowStore, put_external_ids
from support.contract import model, strategies
from support.parts.callers import caller
from support.parts.readings import CATALOG, encoded
from support.service.metrics import Scrape
from support.waiting import eventually, seconds_from_now

DEMO, EXTERNAL = 123, 958
FEW = {"rt_segment": [{"user_id": "5", "seg_block": [{"seg_id": 10001, "expiration": 60}]}]}


@pytest.fixture(autouse=True)
def _time_to_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take longer for the last additions than the end of a worker waits."""
    monkeypatch.setattr(counting, "CLOSE_SECONDS", 20.0)


@pytest.fixture
def usage_store(cluster: Cluster) -> ClusterUsageStore:
    return ClusterUsageStore(cluster, worker="reader")


async def hour_of(
    store: ClusterUsageStore, clock: FakeClock, member_id: int = DEMO, hours_ago: int = 0
) -> HourUsage | None:
    hour = clock.ms // MS_PER_HOUR - hours_ago
    (found,) = await store.read(member_id, [hour], seconds_from_now(), with_lines=True)
    return found


def tally_of(request: Any, username: str = "demo") -> Tally:
    """The model's, of one applied call."""
    counts = model.counted(request, model.UNLIMITED_DEMO, username, strategies.EXTERNAL_IDS)
    return Tally(calls=1, **counts)


SKIPS = {
    "Too many user_ids": Skip.TOO_MANY_USERS,
    "'user_id' is required": Skip.USER_ID_REQUIRED,
    "'seg_block' is required": Skip.SEG_BLOCK_REQUIRED,
    "Invalid domain": Skip.INVALID_DOMAIN,
    "Invalid user_id": Skip.INVALID_USER_ID,
    "No valid segments": Skip.NO_VALID_SEGMENTS,
    "'seg_id' or": Skip.SEGMENT_REQUIRED,
    "'seg_id' and": Skip.SEGMENT_AMBIGUOUS,
    "'expiration'": Skip.INVALID_EXPIRATION,
    "Too many segments": Skip.TOO_MANY_SEGMENTS,
}
"""What the contract's warnings begin with."""


def skips_of(request: Any, username: str) -> Reasons:
    """What the warnings of a request's answer say."""
    catalog = model.UNLIMITED_DEMO
    answer, _ = model.apply(request, {}, catalog, username, 0, strategies.EXTERNAL_IDS)
    messages = [warning["message"] for warning in answer["response"]["warnings"]]
    return Counter(skip for message in messages for start, skip in SKIPS.items() if message.startswith(start))


async def apply(service: MembershipService, request: Any, username: str = "demo", seconds: float = 20) -> None:
    await service.apply(encoded(request), caller(username, CATALOG), seconds_from_now(seconds))


@given(request=strategies.requests)
@pytest.mark.parametrize(("username", "member_id"), [("demo", DEMO), ("external", EXTERNAL)])
async def test_a_call_counts_what_the_contract_says(
    service: MembershipService,
    plain: RedisCluster,
    usage_store: ClusterUsageStore,
    clock: FakeClock,
    username: str,
    member_id: int,
    request: Any,
) -> None:
    clock.ms += MS_PER_HOUR  # an hour of its own
    await put_external_ids(plain, strategies.EXTERNAL_IDS)
    await apply(service, request, username)
    found = await hour_of(usage_store, clock, member_id)
    assert found is not None
    assert found.tally == tally_of(request, username)
    assert found.reasons == skips_of(request, username)
    for lines in found.lines:
        assert len(lines) <= MOST_LINES
        assert all(line and "\n" not in line for line in lines)


class Day:
    """Four workers, and their clock."""

    def __init__(self, services: list[MembershipService], usages: list[Usage], clock: FakeClock) -> None:
        self.services = services
        self.usages = usages
        self.clock = clock


@pytest.fixture
async def day(
    embedded: EmbeddedCluster, plain: RedisCluster, sizes: SegmentSizes, clock: FakeClock
) -> AsyncIterator[Day]:
    """Each worker has connections of its own, as if it were another process."""
    async with contextlib.AsyncExitStack() as stack:
        clock.ms -= clock.ms % MS_PER_HOUR
        services, usages = [], []
        for _ in range(4):
            cluster = await stack.enter_async_context(connected(embedded.url))
            usage = Usage(ClusterUsageStore(cluster, secrets.token_hex()), CATALOG, clock)
            stack.push_async_callback(usage.close)
            quotas = Quotas(ClusterQuotaStore(cluster, secrets.token_hex()))
            stack.push_async_callback(quotas.close)
            services.append(MembershipService(CATALOG, ClusterMembershipStore(cluster), quotas, usage, sizes, clock))
            usages.append(usage)
        yield Day(services, usages, clock)


def some_request(choose: random.Random) -> dict[str, Any]:
    """Users and segments stand in it twice, and some of it is refused."""
    segments = (10001, 10002, 12, 20001, 30001, 40001, 99)

    def block() -> dict[str, Any]:
        return {"seg_id": choose.choice(segments), "expiration": choose.choice((-1, 0, 4320)), "value": 1}

    def user() -> dict[str, Any]:
        user_id = choose.choice(("crm-0001", "CRM-0001", "nobody", str(choose.randrange(1, 6)), "0"))
        return {"user_id": user_id, "seg_block": [block() for _ in range(choose.randrange(4))]}

    return {"rt_segment": [user() for _ in range(choose.randrange(1, 8))]}


@pytest.mark.parametrize("dropping", [False, True], ids=["", "connections dropped"])
async def test_a_day_of_four_workers(
    day: Day, embedded: EmbeddedCluster, plain: RedisCluster, usage_store: ClusterUsageStore, dropping: bool
) -> None:
    choose = random.Random(20261124)
    await put_external_ids(plain, strategies.EXTERNAL_IDS)
    expected: dict[tuple[int, int], Counter[str]] = {}
    for hour in range(24):
        calls = []
        for username, member_id in (("demo", DEMO), ("external", EXTERNAL)) if hour % 7 else (("demo", DEMO),):
            counts = expected[member_id, hour] = Counter()
            for number in range(24):
                request = some_request(choose)
                counts.update(tally_of(request, username)._asdict())
                calls.append(apply(day.services[number % 4], request, username))
            for usage in day.usages[: hour % 4]:
                counts["other_errors"] += 1
                usage.count_failure(member_id, CallFailure.UNAVAILABLE)
        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(call)
            if dropping:
                await asyncio.sleep(0)
                await on_all_nodes(embedded, "CLIENT", "KILL", "TYPE", "normal")
        day.clock.ms += MS_PER_HOUR
    for usage in day.usages:
        await usage.close()
    now = day.clock.ms // MS_PER_HOUR
    for member_id in (DEMO, EXTERNAL):
        hours = await usage_store.read(member_id, range(now - 24, now), seconds_from_now(), with_lines=False)
        found = {(member_id, number): hour.tally for number, hour in enumerate(hours) if hour}
        assert found == {key: Tally(**counts) for key, counts in expected.items() if key[0] == member_id}


async def test_a_call_is_answered_when_it_is_counted(
    service: MembershipService, usage_store: ClusterUsageStore, clock: FakeClock
) -> None:
    """Also when many come at once, and share an addition."""
    for calls in (1, 2, 50):
        before = await hour_of(usage_store, clock)
        await asyncio.gather(*[apply(service, FEW) for _ in range(calls)])
        after = await hour_of(usage_store, clock)
        assert after is not None
        assert after.tally.calls - (before.tally.calls if before else 0) == calls
        assert after.tally.valid_adds == after.tally.valid_users == after.tally.calls


async def test_an_hour_is_that_in_which_the_call_was_read(
    usage_store: ClusterUsageStore,
    cluster: Cluster,
    quotas: Quotas,
    usage: Usage,
    sizes: SegmentSizes,
    clock: FakeClock,
) -> None:
    service = MembershipService(CATALOG, SlowStore(cluster, clock, MS_PER_HOUR), quotas, usage, sizes, clock)
    await apply(service, FEW)
    assert await hour_of(usage_store, clock) is None
    found = await hour_of(usage_store, clock, hours_ago=1)
    assert found is not None
    assert found.tally == Tally(calls=1, valid_users=1, valid_adds=1)


async def test_hours_that_are_over_are_forgotten_once_they_are_counted(
    service: MembershipService, usage: Usage, clock: FakeClock
) -> None:
    for hours_on in (0, 1, 24, -24, 1, 1):  # the clock was a day ahead for a while
        clock.ms += hours_on * MS_PER_HOUR
        await apply(service, FEW)
        assert list(usage._hours) == [(DEMO, clock.ms // MS_PER_HOUR)]


async def test_the_hour_before_is_counted_beside_the_newest(
    service: MembershipService, usage: Usage, clock: FakeClock
) -> None:
    """Calls that were read at its end come late: they do not have hours forgotten again and again."""
    for hours_on in (0, 1, -1, 1):
        clock.ms += hours_on * MS_PER_HOUR
        await apply(service, FEW)
    assert list(usage._hours) == [(DEMO, clock.ms // MS_PER_HOUR - ago) for ago in (0, 1)]


async def test_so_many_hours_are_kept_and_those_that_are_not_counted_yet(
    cluster: Cluster, usage_store: ClusterUsageStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "MOST_HOURS", 3)
    monkeypatch.setattr(counting, "FAILURE_SECONDS", 20.0)
    fragile = Fragile(ClusterUsageStore(cluster, secrets.token_hex()))
    usage = Usage(fragile, CATALOG, clock)  # type: ignore[arg-type]
    fragile.fail = "before"
    waiting = usage.count_failure(DEMO, CallFailure.LIMIT)
    await asyncio.sleep(0)  # its addition goes out, and fails
    fragile.fail = ""
    for member_id in range(1, 8):
        await usage.count_failure(member_id, CallFailure.LIMIT)
        assert len(usage._hours) <= 3
    waiting_too = usage.count_failure(DEMO, CallFailure.LIMIT)
    await asyncio.gather(waiting, waiting_too)
    await usage.close()
    found = await hour_of(usage_store, clock)
    assert found is not None
    assert found.tally == Tally(other_errors=2)


async def test_what_is_only_validated_is_not_counted(
    service: MembershipService, usage_store: ClusterUsageStore, clock: FakeClock
) -> None:
    message = encoded(FEW)
    message.validate_only = True
    await service.apply(message, caller("demo", CATALOG), seconds_from_now())
    assert await hour_of(usage_store, clock) is None


class Fragile:
    """The way to the cluster; additions fail `before` they arrive or after, while that is set."""

    def __init__(self, store: ClusterUsageStore) -> None:
        self._store = store
        self.fail: str = ""
        self.attempts = 0

    def add(self, addition: Any, deadline: float) -> "asyncio.Future[None]":
        return asyncio.ensure_future(self._add(addition, deadline))

    async def _add(self, addition: Any, deadline: float) -> None:
        self.attempts += 1
        if self.fail != "before":
            await self._store.add(addition, deadline)
        if self.fail:
            raise AudienceError(Reason.UNAVAILABLE, "lost")


@pytest.mark.parametrize("fail", ["before", "after"])
async def test_an_addition_is_made_once_however_often_it_is_sent(
    cluster: Cluster, sizes: SegmentSizes, usage_store: ClusterUsageStore, clock: FakeClock, fail: str
) -> None:
    """A call whose deadline passes meanwhile fails; what it did is counted all the same, and that it failed as well."""
    fragile = Fragile(ClusterUsageStore(cluster, secrets.token_hex()))
    usage = Usage(fragile, CATALOG, clock)  # type: ignore[arg-type]
    quotas = Quotas(ClusterQuotaStore(cluster, secrets.token_hex()))
    service = MembershipService(CATALOG, ClusterMembershipStore(cluster), quotas, usage, sizes, clock)
    fragile.fail = fail
    with pytest.raises(AudienceError) as failed:
        await apply(service, FEW, seconds=1.0)
    assert failed.value.reason is Reason.UNAVAILABLE
    usage.count_failure(DEMO, CallFailure.UNAVAILABLE)

    async def was_sent_again() -> None:
        assert fragile.attempts > 1

    await eventually(was_sent_again)
    fragile.fail = ""
    await usage.close()
    await quotas.close()
    found = await hour_of(usage_store, clock)
    assert found is not None
    assert found.tally == Tally(calls=1, valid_users=1, valid_adds=1, other_errors=1)
    assert found.reasons == {CallFailure.UNAVAILABLE: 1}


class Unsteady:
    """The way to the cluster: some additions fail before they arrive, some after, and all take some turns."""

    def __init__(self, store: ClusterUsageStore, choose: random.Random) -> None:
        self._store = store
        self._choose = choose
        self._under_way: set[tuple[int, int]] = set()
        self._made: set[int] = set()
        self.calls: Counter[tuple[int, int]] = Counter()
        """Those that were counted, failed ones too, by member and hour."""

    def add(self, addition: Addition, deadline: float) -> "asyncio.Future[None]":
        return asyncio.ensure_future(self._add(addition, deadline))

    async def _add(self, addition: Addition, deadline: float) -> None:
        hour = addition.member_id, addition.hour
        assert hour not in self._under_way
        self._under_way.add(hour)
        try:
            await self._pass("before")
            await self._store.add(addition, deadline)
            if addition.number not in self._made:
                self._made.add(addition.number)
                self.calls[hour] += addition.tally.calls + addition.tally.other_errors
            await self._pass("after")
        finally:
            self._under_way.remove(hour)

    async def _pass(self, way: str) -> None:
        for _ in range(self._choose.randrange(4)):
            await asyncio.sleep(0)
        if self._choose.random() < 0.15:
            raise AudienceError(Reason.UNAVAILABLE, f"lost {way} it was made")


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_fails_and_whoever_leaves_each_call_counts_once(
    cluster: Cluster,
    usage_store: ClusterUsageStore,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    """Two workers, which forget hours as soon as they can, hold lines back, and are closed while they send."""
    monkeypatch.setattr(counting, "RETRY_SECONDS", 0.003)
    monkeypatch.setattr(counting, "CLOSE_SECONDS", 30.0)
    monkeypatch.setattr(counting, "MOST_HOURS", 3)
    monkeypatch.setattr(samples, "CHARACTERS_AT_ONCE", 1)
    choose, time = random.Random(seed), asyncio.get_running_loop().time
    stores = [Unsteady(ClusterUsageStore(cluster, secrets.token_hex()), choose) for _ in range(2)]
    workers = [Usage(store, CATALOG, clock) for store in stores]  # type: ignore[arg-type]
    expected: dict[tuple[int, int], Counter[str]] = {}
    sent: Counter[tuple[int, int, int]] = Counter()
    answers = []
    early: list[bool] = []
    """Of each call that was answered: whether it was not counted yet."""

    def check(answer: "asyncio.Future[None]", of: Unsteady, hour: tuple[int, int], calls: int) -> None:
        if not answer.cancelled() and answer.exception() is None:
            early.append(of.calls[hour] < calls)

    for _ in range(300):
        clock.ms += MS_PER_HOUR * (choose.random() < 0.02)
        read_ms = clock.ms - MS_PER_HOUR * choose.choice((0, 0, 0, 1))
        number, member_id, calls = choose.randrange(2), choose.choice((DEMO, EXTERNAL, 1661)), choose.randint(1, 4)
        worker = workers[number]
        if choose.random() < 0.7:
            totals = Totals(*(choose.randrange(5) for _ in Totals._fields))
            skipped = {audience_pb2.WARNING_CODE_INVALID_USER_ID: choose.randint(1, 3)}
            changes = [Alike([b"m:p:1"], {NEVER: {10001: 0}})]
            applied = Applied(read_ms, changes, (), (), totals, calls=calls, skipped=skipped)
            answers.append(worker.count(member_id, applied, time() + choose.choice((-1, 0.001, 0.05, 5))))
            users, adds, removes = totals
            counts = {"calls": calls, "valid_users": users, "valid_adds": adds, "valid_removes": removes}
        else:
            read_ms = clock.ms
            skipped, counts = {}, {"other_errors": calls}
            answers.append(worker.count_failure(member_id, CallFailure.LIMIT, calls))
        hour = member_id, read_ms // MS_PER_HOUR
        sent[number, *hour] += calls
        answers[-1].add_done_callback(partial(check, of=stores[number], hour=hour, calls=sent[number, *hour]))
        of_hour = expected.setdefault(hour, Counter())
        of_hour.update(counts | {"skipped": sum(skipped.values())})
        if choose.random() < 0.1:
            answers[-1].cancel()
        for _ in range(choose.choice((0, 0, 1, 3))):
            await asyncio.sleep(0)
    await asyncio.gather(*[worker.close() for worker in workers])
    assert all(answer.done() for answer in answers)
    assert not any(early)
    for (member_id, number), counts in expected.items():
        (found,) = await usage_store.read(member_id, [number], seconds_from_now(), with_lines=False)
        assert found is not None
        reasons = Counter({"skipped": found.reasons.get(Skip.INVALID_USER_ID, 0)})
        assert reasons + Counter(found.tally._asdict()) == +counts
        assert found.reasons.get(CallFailure.LIMIT, 0) == counts["other_errors"]


async def test_what_failed_and_what_was_skipped_is_measured_too(usage: Usage, clock: FakeClock) -> None:
    def measured() -> tuple[float, float]:
        scrape = Scrape.of(REGISTRY.collect())
        return (
            scrape.total("member_call_failures_total", reason="limit"),
            scrape.total("skipped_parts_total", code="invalid_user_id"),
        )

    failures, parts = measured()
    skipped = {audience_pb2.WARNING_CODE_INVALID_USER_ID: 2}
    await asyncio.gather(
        usage.count_failure(DEMO, CallFailure.LIMIT, 3),
        usage.count(DEMO, Applied(clock.ms, [], (), (), Totals(0, 0, 0), skipped=skipped), seconds_from_now()),
    )
    assert measured() == (failures + 3, parts + 2)


async def test_an_addition_is_as_durable_as_the_members_calls(
    embedded: EmbeddedCluster, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a replica has to confirm and there is none, nothing counts but of a member that does without: from when it
    says so, what was sent before included. The answer to a call that has failed does not wait for it."""
    monkeypatch.setattr(counting, "ATTEMPT_SECONDS", 0.2)
    catalog = Catalog()
    members = [pb.Member(id=1, name="Own", durability=pb.DURABILITY_PRIMARY), pb.Member(id=2, name="As the service's")]
    catalog.put(Record(Kind.MEMBER, member.SerializeToString()) for member in members)
    async with connected(embedded.url, durability=Durability.REPLICA) as cluster:
        usage = Usage(ClusterUsageStore(cluster, secrets.token_hex()), catalog, clock)
        with monkeypatch.context() as patient:
            patient.setattr(counting, "FAILURE_SECONDS", 20.0)
            await usage.count_failure(1, CallFailure.INTERNAL)
        async with asyncio.timeout(10):
            with pytest.raises(AudienceError, match=counting.NOT_COUNTED):
                await usage.count_failure(2, CallFailure.INTERNAL)
        without = pb.Member(id=2, name="Without", durability=pb.DURABILITY_PRIMARY)
        catalog.put([Record(Kind.MEMBER, without.SerializeToString())])
        monkeypatch.setattr(counting, "FAILURE_SECONDS", 20.0)
        await usage.count_failure(2, CallFailure.INTERNAL)
        await usage.close()


async def test_failed_calls_are_let_go_before_they_are_counted(
    cluster: Cluster, usage_store: ClusterUsageStore, clock: FakeClock
) -> None:
    """While the cluster is away, ever more of them come; to look at all of them again and again would take all time."""
    fragile = Fragile(ClusterUsageStore(cluster, secrets.token_hex()))
    fragile.fail = "before"
    usage = Usage(fragile, CATALOG, clock)  # type: ignore[arg-type]
    answers = [usage.count_failure(DEMO, CallFailure.UNAVAILABLE)]
    await asyncio.sleep(0)  # the first addition goes out
    answers += [usage.count_failure(DEMO, CallFailure.UNAVAILABLE) for _ in range(2)]
    kept = [weakref.ref(answer) for answer in answers]
    await asyncio.wait(answers)
    answers.clear()

    async def are_gone() -> None:
        assert [answer() for answer in kept] == [None] * 3

    await eventually(are_gone)
    fragile.fail = ""
    await usage.close()
    found = await hour_of(usage_store, clock)
    assert found is not None
    assert found.tally == Tally(other_errors=3)


async def test_what_cannot_be_counted_at_the_end_is_said(
    cluster: Cluster, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "CLOSE_SECONDS", 0.3)
    fragile = Fragile(ClusterUsageStore(cluster, secrets.token_hex()))
    fragile.fail = "before"
    usage = Usage(fragile, CATALOG, clock)  # type: ignore[arg-type]
    counted = usage.count_failure(DEMO, CallFailure.UNAVAILABLE)
    with capture_logs() as logged:
        await usage.close()
    assert [entry["event"] for entry in logged] == ["usage_lost"]
    with pytest.raises(AudienceError):
        await counted


EXPECTED_LINES = Lines(
    errors=[
        "Unauthorized segments (id, code, segment owner member id): (40001, '', 0), (0, 'secret', 777)",
        "Inactive segments (id, code, segment owner member id): (30001, 'old_campaign', 123)",
        r"Invalid segments (id, code, segment owner member id): (99, '', 0), (0, 'no\nsuch', 123)",
    ],
    segments=[
        "Valid users: 5, 6",
        "Valid segments (id, code, segment owner member id): "
        "(10001, 'sports_fans', 123), (20001, 'abcd', 1661), (12, '', 123)",
        "Valid additions (user id, segment id, expiration): (5, 10001, 1440), (5, 20001, 0)",
        "Valid removals (user id, segment id, expiration): (5, 12, -1)",
    ],
)


class TestLines:
    """The sampled lines."""

    async def test_they_say_what_was_applied_and_what_was_not(
        self, service: MembershipService, usage_store: ClusterUsageStore, plain: RedisCluster, clock: FakeClock
    ) -> None:
        await put_external_ids(plain, strategies.EXTERNAL_IDS)
        blocks = [
            {"seg_id": 10001, "expiration": 1440},
            {"seg_code": "abcd", "member_id": 1661, "expiration": 0},
            {"seg_id": 12, "expiration": -1},
            {"seg_id": 40001},
            {"seg_id": 30001},
            {"seg_id": 99},
            {"seg_code": "no\nsuch", "member_id": 123},
            {"seg_code": "secret", "member_id": 777},
        ]
        users = [{"user_id": "5", "seg_block": blocks}, {"user_id": "6", "seg_block": blocks[3:4]}]
        await apply(service, {"rt_segment": users})
        found = await hour_of(usage_store, clock)
        assert found is not None
        assert found.lines == EXPECTED_LINES

    async def test_an_external_id_of_nobody(
        self, service: MembershipService, usage_store: ClusterUsageStore, plain: RedisCluster, clock: FakeClock
    ) -> None:
        await put_external_ids(plain, strategies.EXTERNAL_IDS)
        users = [{"user_id": user_id, "seg_block": [{"seg_id": 99}]} for user_id in ("No-Body", "x" * 256)]
        await apply(service, {"rt_segment": users}, "external")
        found = await hour_of(usage_store, clock, EXTERNAL)
        assert found is not None
        assert found.lines == Lines([f"Inactive users: No-Body, {'x' * 256}"], [])

    async def test_the_newest_are_kept(
        self, service: MembershipService, usage_store: ClusterUsageStore, clock: FakeClock
    ) -> None:
        """Calls of one user have three lines: so many fit, whether they come one by one or in crowds."""
        for first, count in ((1, 1), (2, 30), (32, 300), (332, 1), (333, 70)):
            await asyncio.gather(*[apply(service, joining(user)) for user in range(first, first + count)])
            found = await hour_of(usage_store, clock)
            assert found is not None
            last = first + count - 1
            users = [line.rpartition(" ")[2] for line in found.lines.segments if line.startswith("Valid users")]
            assert users == [str(user) for user in range(max(1, last - 65), last + 1)]
            assert len(found.lines.segments) == min(MOST_LINES, 3 * last)

    async def test_a_large_call_has_no_more(
        self, service: MembershipService, usage_store: ClusterUsageStore, clock: FakeClock
    ) -> None:
        blocks = [{"seg_id": segment_id} for segment_id in (10001, 10002, 12, 99)]
        users = [{"user_id": str(user), "seg_block": blocks} for user in range(1, 1001)]
        await apply(service, {"rt_segment": users})
        found = await hour_of(usage_store, clock)
        assert found is not None
        assert found.lines.errors == ["Invalid segments (id, code, segment owner member id): (99, '', 0)"]
        assert len(found.lines.segments) == 3
        for line in (found.lines.segments[0], found.lines.segments[2]):
            assert LONGEST_LINE - 40 < len(line) <= LONGEST_LINE
        assert found.lines.segments[2].endswith(")")
        assert found.tally == Tally(1, 1000, 3000, 0, 0, 1000)

    async def test_those_of_a_flood_follow(
        self, service: MembershipService, usage_store: ClusterUsageStore, clock: FakeClock
    ) -> None:
        """The counters are there at once; not all lines are written down, but the last ones are."""
        users = [{"user_id": str(user), "seg_block": [{"seg_id": 12}]} for user in range(1, 501)]
        for _ in range(30):
            await apply(service, {"rt_segment": users})
        await apply(service, joining(4711))

        async def has_come() -> None:
            found = await hour_of(usage_store, clock)
            assert found is not None
            assert found.tally.calls == 31
            assert found.lines.segments[-3] == "Valid users: 4711"
            assert sum(map(len, found.lines.segments)) <= MOST_LINE_BYTES

        await eventually(has_come)

    async def test_those_that_are_held_back_are_written_at_the_end(
        self,
        service: MembershipService,
        usage: Usage,
        usage_store: ClusterUsageStore,
        clock: FakeClock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(samples, "CHARACTERS_PER_SECOND", 1)
        users = [{"user_id": str(user), "seg_block": [{"seg_id": 12}]} for user in range(1, 501)]
        for _ in range(40):
            await apply(service, {"rt_segment": users})
        await apply(service, joining(4711))
        found = await hour_of(usage_store, clock)
        assert found is not None
        assert "Valid users: 4711" not in found.lines.segments
        await usage.close()
        found = await hour_of(usage_store, clock)
        assert found is not None
        assert (found.tally.calls, found.lines.segments[-3]) == (41, "Valid users: 4711")

    async def test_those_that_come_during_the_end_are_not_held_back(
        self, usage: Usage, usage_store: ClusterUsageStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The end would wait for them without letting anything else run."""
        monkeypatch.setattr(samples, "CHARACTERS_AT_ONCE", 1000)
        monkeypatch.setattr(samples, "CHARACTERS_PER_SECOND", 100)
        keys = [b"m:p:%d" % user_id for user_id in range(10**15, 10**15 + 100)]
        call = Applied(clock.ms, [Alike(keys, {NEVER: (10001,)})], (), (), Totals(100, 100, 0))
        counted = usage.count(DEMO, call, seconds_from_now())
        loop = asyncio.get_running_loop()
        began, ending = loop.time(), asyncio.create_task(usage.close())
        for _ in range(3):  # each time, the addition of the one before is under way
            await asyncio.sleep(0)
            before, counted = counted, usage.count(DEMO, call, seconds_from_now())
            await before
        await ending
        assert loop.time() < began + 10
        found = await hour_of(usage_store, clock)
        assert found is not None
        assert (found.tally.calls, len(found.lines.segments)) == (4, 12)


def joining(user_id: int) -> dict[str, Any]:
    return {"rt_segment": [{"user_id": str(user_id), "seg_block": [{"seg_id": 10001, "expiration": 60}]}]}
