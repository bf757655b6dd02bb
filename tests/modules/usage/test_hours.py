"""What a worker keeps of the hours that it reads for reports, and that no report lacks what was counted before."""

import asyncio

import pytest
from instantaudience.v1 import catalog_pb2
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.store.interfaces.usage import Lines, Tally
from instantaudience_server.store.keys import usage_key
from instantaudience_server.store.usage_store import ClusterUsageStore
from instantaudience_server.usage import kept_hours
from instantaudience_server.usage import service as usage_service
from instantaudience_server.usage.hours import UsageHours
from instantaudience_server.usage.spans import write_hour
from redis.asyncio import RedisCluster
from support.cluster.nodes import carried_out, pids_of
from support.cluster.running import connected
from support.parts.catalogs import OWN
from support.parts.reports import MINUTE_MS, Worker
from support.service.processes import needs_proc, standing_still
from support.waiting import seconds_from_now


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


async def test_many_reports_read_little(worker: Worker, plain: RedisCluster) -> None:
    """A hundred reports at once, each of two weeks: 336 hours once, and the open one a few times."""
    await worker.count(worker.hour)
    before = await carried_out(plain, "hmget")
    await asyncio.gather(*[worker.processed() for _ in range(100)])
    assert 336 <= await carried_out(plain, "hmget") - before < 336 + 40


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
    monkeypatch.setattr(kept_hours, "KEPT_SECONDS", 0.0)
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


async def test_an_hour_is_open_again_when_the_clock_is_set_back(worker: Worker) -> None:
    """Alone, and joined with those before."""
    now = worker.hour
    await worker.count(now)
    worker.clock.ms += 120 * MINUTE_MS
    for _ in range(2):
        assert await worker.adds() == {write_hour(now): 2}
    worker.clock.ms -= 120 * MINUTE_MS
    for count in (4, 6):
        await worker.count(now)
        assert await worker.adds() == {write_hour(now): count}
    worker.clock.ms += 120 * MINUTE_MS
    assert await worker.adds() == {write_hour(now): count}


async def test_it_keeps_so_much_and_no_more(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is read again, and no report lacks anything."""
    monkeypatch.setattr(kept_hours, "MOST_BYTES", 50_000)
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
            assert worker.hours._size == sum(reader.shelf.size for reader in worker.hours._readers.values())
    assert await worker.adds("admin", member_id=10, start=write_hour(worker.hour - 3)) == {
        write_hour(worker.hour - distance): 2 for distance in (3, 2, 1)
    }


async def test_what_is_forgotten_while_others_read_it_does_not_count(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first reader to go on makes room."""
    monkeypatch.setattr(kept_hours, "MOST_BYTES", 20_000)
    beginnings = [write_hour(worker.hour - distance) for distance in (25, 24, 23, 22)]
    await asyncio.gather(*[worker.processed(start=beginning) for beginning in beginnings])
    assert worker.hours._size == sum(reader.shelf.size for reader in worker.hours._readers.values())


async def test_joined_hours_are_kept_for_some_beginnings(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as may be, and what is kept of the last ones does not keep the next from being joined."""
    hours = 30
    for distance in range(hours):
        await worker.count(worker.hour - distance, lines=Lines(["x" * 100] * 20, []))
    monkeypatch.setattr(kept_hours, "LARGEST_RUN_BYTES", 2500 * hours)
    for beginning in range(6):
        report = await worker.processed(start=write_hour(worker.hour - hours + 1 + beginning))
        assert len(report) == hours - beginning
    (reader,) = worker.hours._readers.values()
    shelf = reader.shelf
    assert len(shelf._runs) == kept_hours.MOST_RUNS
    assert shelf.size == worker.hours._size


async def test_joined_hours_are_told_as_far_as_they_are_asked_for_and_finished(worker: Worker) -> None:
    """Their beginning stays: fewer of them are asked for then, or the clock is set back."""
    now = worker.hour
    start, end = write_hour(now - 20), write_hour(now + 1)
    for distance in range(21):
        await worker.count(now - distance)
    worker.clock.ms += 120 * MINUTE_MS
    for _ in range(2):
        assert len(await worker.processed(start=start, end=end)) == 21
    worker.clock.ms -= 120 * MINUTE_MS
    await worker.count(now)
    assert (await worker.adds(start=start, end=end))[write_hour(now)] == 4
    assert len(await worker.processed(start=start, end=write_hour(now - 5))) == 15
    (reader,) = worker.hours._readers.values()
    shelf = reader.shelf
    kept = [*[piece for _, piece in shelf._finished.values()], *[run.piece for run in shelf._runs.values()]]
    assert shelf.size == kept_hours.SHELF_BYTES + sum(map(kept_hours._size, kept))


async def test_hours_that_nobody_asks_for_are_forgotten(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_hours, "KEPT_SECONDS", 0.0)
    sizes = []
    for last in range(20):
        end = write_hour(worker.hour - 10 * last)
        for _ in range(2):
            await worker.processed(start=write_hour(worker.hour - 10 * last - 10), end=end)
        sizes.append(worker.hours._size)
    assert max(sizes) < 1.5 * min(sizes)
    assert worker.hours._size == sum(reader.shelf.size for reader in worker.hours._readers.values())


async def test_spans_that_overlap_share_hours(worker: Worker, plain: RedisCluster) -> None:
    for distance in range(336):
        await worker.count(worker.hour - distance, Tally(valid_adds=distance + 1), Lines())
    before = await carried_out(plain, "hmget")
    for hours in (336, 24, 100, 336, 24, 12, 50, 200, 24, 336, 720):
        answer = await worker.usage(hours=hours, without_lines=True)
        length = min(hours, 336)
        assert answer.total.valid_adds == length * (length + 1) // 2
        assert [hour.valid_adds for hour in answer.hours] == list(range(length, 0, -1))
    # The quota's script has one for each of the eleven reports, which read the open hour each, others once.
    assert await carried_out(plain, "hmget") - before == 11 + 11 + 719


@needs_proc
async def test_each_report_has_its_own_deadline(worker: Worker, embedded: EmbeddedCluster) -> None:
    """Reports that share a reading wait for it as long as they may, and so do those that wait for the next one."""
    await worker.count(worker.hour)
    await worker.processed()
    hours = [worker.hour]

    async def read(seconds: float) -> int:
        return len(await worker.hours.read(OWN, hours, usage_service.JSON, seconds_from_now(seconds)))

    with standing_still(*pids_of(embedded)):
        long = asyncio.create_task(read(20))
        for _ in ("with it", "behind it"):
            with pytest.raises(AudienceError) as short:
                await read(0.2)
            assert short.value.reason is Reason.UNAVAILABLE
        assert not long.done()
    assert await long == 1


async def test_a_cluster_that_is_away(worker: Worker, embedded: EmbeddedCluster) -> None:
    async with connected(embedded.url) as closing:
        hours = UsageHours(ClusterUsageStore(closing, "w3"), worker.clock)
        await closing.close()
        with pytest.raises(AudienceError) as caught:
            await hours.read(OWN, range(5), usage_service.COUNTS, seconds_from_now())
        await hours.close()
    assert caught.value.reason is Reason.UNAVAILABLE


@needs_proc
async def test_closing_ends_what_waits(worker: Worker, embedded: EmbeddedCluster) -> None:
    async with connected(embedded.url) as cluster:
        hours = UsageHours(ClusterUsageStore(cluster, "w3"), worker.clock)
        with standing_still(*pids_of(embedded)):
            reading = asyncio.create_task(hours.read(OWN, range(5), usage_service.COUNTS, seconds_from_now()))
            await asyncio.sleep(0.02)
            later = asyncio.create_task(hours.read(OWN, range(5), usage_service.COUNTS, seconds_from_now()))
            await asyncio.sleep(0)
            await hours.close()
            ended = await asyncio.gather(reading, later, return_exceptions=True)
    assert [type(end) for end in ended] == [asyncio.CancelledError] * 2
