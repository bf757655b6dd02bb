"""The batch service's jobs in the cluster: their queues, turns and leases (docs/adr/0027-batch-service.md)."""

import itertools
import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.jobs import (
    KEPT_MS,
    MARK_MS,
    Job,
    Order,
    Phase,
    Refusal,
    Room,
    Uploaded,
    UploadLimits,
)
from instantaudience_server.store.jobs import job_scripts, job_store
from instantaudience_server.store.jobs.job_store import ClusterJobStore
from instantaudience_server.store.keys import (
    changed_jobs_key,
    job_key,
    job_url_key,
    jobs_key,
    taken_key,
    unused_jobs_key,
    upload_mark_key,
    uploads_key,
)
from redis.asyncio import RedisCluster
from support.cluster.nodes import on_all_nodes
from support.cluster.running import connected
from support.waiting import seconds_from_now

HOUR_MS = 3_600_000
NOW = (int(time.time()) // 86_400 + 1) * 24 * HOUR_MS + 5 * HOUR_MS
"""Five o'clock, tomorrow: what ends is to be there still."""
MINUTE = 60_000
LIMITS = UploadLimits(waiting_jobs=2, uploads_at_once=1, hour_bytes=100, day_bytes=150, hour_lines=None, day_lines=20)
OVER = -1
"""How long a lease is that has ended."""
ALL_LEASES = -HOUR_MS
"""How long leases would be so that all there are would end too late to be any."""
members = itertools.count(1)
numbers = itertools.count(10_000)
"""Of jobs, in the order of their names too, whichever tests come before."""


@pytest.fixture
def jobs(cluster: Cluster) -> ClusterJobStore:
    return ClusterJobStore(cluster)


@pytest.fixture
def member() -> int:
    return next(members)


async def create_one_more(jobs: ClusterJobStore, member: int, now: int) -> Job | None:
    number = next(numbers)
    job = Job(f"job{number}", 0, member, Phase.STARTING, now, now, now + 5 * MINUTE)
    return await jobs.create(job, f"url{number}", seconds_from_now())


async def create_without_url(jobs: ClusterJobStore, member: int) -> Job:
    job = Job(f"job{next(numbers)}", 0, member, Phase.STARTING, NOW, NOW, NOW + 5 * MINUTE)
    made = await jobs.create(job, None, seconds_from_now())
    assert made is not None
    return made


async def create(jobs: ClusterJobStore, member: int, now: int = NOW) -> Job:
    made = await create_one_more(jobs, member, now)
    assert made is not None
    return made


async def begin(
    jobs: ClusterJobStore, job: Job, now: int = NOW, limits: UploadLimits = LIMITS, announced: int = 0
) -> Room | Refusal:
    return await jobs.begin_upload(job, f"up {job.job_id}", announced, limits, now, now + MINUTE, seconds_from_now())


async def keep(
    jobs: ClusterJobStore, job: Job, size: int, lines: int = 0, until: int = NOW + 2 * MINUTE
) -> Room | None:
    file = Uploaded(size, lines, -1)
    return await jobs.keep_uploading(job, f"up {job.job_id}", file, LIMITS, NOW, until, seconds_from_now())


async def end(jobs: ClusterJobStore, job: Job, size: int = 10, lines: int = 0, now: int = NOW) -> bool | Room:
    return await jobs.end_upload(job, f"up {job.job_id}", Uploaded(size, lines, -1), LIMITS, now, seconds_from_now())


async def waiting(jobs: ClusterJobStore, member: int) -> Job:
    """A job whose file is there."""
    job = await create(jobs, member)
    assert isinstance(await begin(jobs, job), Room)
    assert await end(jobs, job)
    return job


async def take(jobs: ClusterJobStore, lease: str, lease_ms: int = MINUTE) -> str | None:
    taken = await jobs.take(lease, lease_ms, NOW, seconds_from_now())
    assert taken is None or taken.lease == lease
    return None if taken is None else taken.job_id


async def finish(jobs: ClusterJobStore, job: Job, lease: str, error_code: str = "") -> str | None:
    return await jobs.finish(replace(job, lease=lease), "{}", error_code, 0, NOW + 9, seconds_from_now())


async def found(jobs: ClusterJobStore, job: Job) -> Job:
    kept = await jobs.find(job.job_id, seconds_from_now())
    assert kept is not None
    return kept


async def empty(jobs: ClusterJobStore) -> None:
    """Take what other tests have left."""
    for number in itertools.count():
        lease = f"empty {next(numbers)} {number}"
        taken = await jobs.take(lease, ALL_LEASES, NOW, seconds_from_now())
        if taken is None:
            return
        await finish(jobs, taken, lease)


async def test_a_job_from_its_beginning_to_its_end(jobs: ClusterJobStore, member: int) -> None:
    await empty(jobs)
    job = await create(jobs, member)
    assert await jobs.create(replace(job, number=0), "url", seconds_from_now()) == job  # sent again
    assert await found(jobs, job) == job
    assert await jobs.find_by_url(f"url{job.job_id[3:]}", seconds_from_now()) == job
    assert await jobs.find_by_url("another", seconds_from_now()) is None
    for _ in range(2):
        assert await begin(jobs, job, NOW + 1) == Room(100, 150, None, 20)
    assert await begin(jobs, replace(job), NOW + 1) == Room(100, 150, None, 20)
    uploading = replace(
        job, phase=Phase.UPLOADING, started_ms=NOW + 1, modified_ms=NOW + 1, open_until_ms=NOW + 1 + MINUTE
    )
    assert await found(jobs, job) == uploading
    assert await keep(jobs, job, 30) == Room(100, 150, None, 20)
    file = Uploaded(30, 0, -1)
    assert (
        await jobs.keep_uploading(job, "another", file, LIMITS, NOW + 1, NOW + 9 * MINUTE, seconds_from_now()) is None
    )
    for _ in range(2):
        assert await end(jobs, job, 30, 7, NOW + 2)
    assert await jobs.room(member, LIMITS, NOW + 2, seconds_from_now()) == Room(70, 120, None, 13)
    assert not await jobs.end_upload(job, "another", Uploaded(9, 9, -1), LIMITS, NOW, seconds_from_now())
    for _ in range(2):
        assert await take(jobs, "a") == job.job_id
    assert await jobs.note(replace(job, lease="a"), "so far", "shown", 20, MINUTE, NOW + 4, seconds_from_now())
    processing = replace(
        uploading,
        phase=Phase.PROCESSING,
        uploaded_ms=NOW + 2,
        validated_ms=NOW + 4,
        modified_ms=NOW + 4,
        open_until_ms=NOW + 2 * MINUTE,
        size_bytes=30,
        position_bytes=20,
        checkpoint="so far",
        progress="shown",
        lease="a",
    )
    assert await found(jobs, job) == processing
    for _ in range(2):
        assert await finish(jobs, job, "a") == ""
    done = {"phase": Phase.COMPLETED, "completed_ms": NOW + 9, "modified_ms": NOW + 9, "position_bytes": 30}
    assert await found(jobs, job) == replace(processing, **done, checkpoint="", progress="", report="{}")
    assert await take(jobs, "b") is None


async def test_jobs_without_a_url_take_no_ones_place(jobs: ClusterJobStore, member: int, plain: RedisCluster) -> None:
    """Of several uploads over gRPC that began at once, all but the last were refused, and so was who had a URL."""
    limits = LIMITS._replace(waiting_jobs=9, uploads_at_once=9)
    without = [await create_without_url(jobs, member) for _ in range(2)]
    for _ in range(2):
        assert await begin(jobs, without[0], limits=limits) == Room(100, 150, None, 20)
    assert await plain.pexpiretime(uploads_key(member)) == NOW + KEPT_MS
    of_url = await create(jobs, member)
    for job in (without[1], of_url):
        assert await begin(jobs, job, limits=limits) == Room(100, 150, None, 20)


async def test_members_take_turns_and_have_one_job_under_way(jobs: ClusterJobStore) -> None:
    await empty(jobs)
    first, second, third = (next(members) for _ in range(3))
    of_first = [await waiting(jobs, first) for _ in range(2)]
    of_second = await waiting(jobs, second)
    assert [await take(jobs, lease) for lease in ("a1", "a2", "a3")] == [of_first[0].job_id, of_second.job_id, None]
    of_third = await waiting(jobs, third)
    assert await finish(jobs, of_first[0], "a1") == ""
    assert await take(jobs, "a3") == of_third.job_id
    assert await take(jobs, "a4") == of_first[1].job_id
    assert await finish(jobs, of_third, "a3") == ""
    assert await finish(jobs, of_second, "a2", "BROKEN") == "BROKEN"
    broken = await found(jobs, of_second)
    assert (broken.error_code, broken.position_bytes, broken.validated_ms) == ("BROKEN", 0, NOW + 9)
    assert await finish(jobs, of_first[1], "a4") == ""
    assert await take(jobs, "a5") is None


async def test_another_goes_on_where_a_lease_has_ended(jobs: ClusterJobStore, member: int) -> None:
    await empty(jobs)
    job = await waiting(jobs, member)
    assert await take(jobs, "b1") == job.job_id
    assert await jobs.note(replace(job, lease="b1"), "half", "", 5, MINUTE, NOW, seconds_from_now())
    assert await take(jobs, "b2") is None
    assert await jobs.keep(replace(job, lease="b1"), OVER, seconds_from_now())
    assert await take(jobs, "b2") == job.job_id
    assert (await found(jobs, job)).checkpoint == "half"
    assert not await jobs.note(replace(job, lease="b1"), "more", "", 9, MINUTE, NOW, seconds_from_now())
    assert not await jobs.keep(replace(job, lease="b1"), 9 * MINUTE, seconds_from_now())
    assert await finish(jobs, job, "b1") is None
    assert await jobs.keep(replace(job, lease="b2"), 2 * MINUTE, seconds_from_now())
    assert await take(jobs, "b3") is None
    await jobs.give_back(replace(job, lease="b2"), seconds_from_now())
    assert await take(jobs, "b4") == job.job_id
    assert await finish(jobs, job, "b4") == ""


async def test_who_took_a_job_has_its_own_lease_though_another_one_took_it_meanwhile(
    jobs: ClusterJobStore, member: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await empty(jobs)
    job = await waiting(jobs, member)
    find = jobs.find

    async def find_late(job_id: str, deadline: float) -> Job | None:
        monkeypatch.undo()
        assert await take(jobs, "e2") == job.job_id
        return await find(job_id, deadline)

    monkeypatch.setattr(jobs, "find", find_late)
    slow = await jobs.take("e1", OVER, NOW, seconds_from_now())
    assert slow is not None
    assert not await jobs.keep(slow, 2 * MINUTE, seconds_from_now())
    assert await finish(jobs, job, "e2") == ""


async def test_who_gives_a_job_back_does_not_end_the_lease_of_who_is_taking_it(
    jobs: ClusterJobStore, member: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes between the two scripts of `take`, when its own lease has ended."""
    await empty(jobs)
    job = await waiting(jobs, member)
    assert await take(jobs, "i1", OVER) == job.job_id
    run = jobs._run

    async def run_late(script: str, *rest: Any) -> Any:
        if script == job_scripts.CLAIM:
            monkeypatch.undo()
            await jobs.give_back(replace(job, lease="i1"), seconds_from_now())
        return await run(script, *rest)

    monkeypatch.setattr(jobs, "_run", run_late)
    assert await take(jobs, "i2") == job.job_id
    assert await take(jobs, "i3") is None
    assert (await found(jobs, job)).tries == 1  # who gave it back lives
    await jobs.give_back(replace(job, lease="i2"), seconds_from_now())
    assert await take(jobs, "i4") == job.job_id
    assert await finish(jobs, job, "i4") == ""


async def test_a_clock_that_is_set_back_prolongs_no_lease(jobs: ClusterJobStore, member: int) -> None:
    await empty(jobs)
    job = await waiting(jobs, member)
    assert await take(jobs, "s1", 3 * MINUTE // 2) == job.job_id
    assert await take(jobs, "s2") is None  # nodes' clocks may be so far apart
    assert await jobs.keep(replace(job, lease="s1"), HOUR_MS, seconds_from_now())
    assert await take(jobs, "s3") == job.job_id
    assert await take(jobs, "s4") is None
    assert isinstance(await begin(jobs, await create(jobs, member)), Room)
    another = await create(jobs, member)
    assert await begin(jobs, another, NOW - MINUTE) is Refusal.BUSY
    assert isinstance(await begin(jobs, another, NOW - HOUR_MS), Room)
    assert await finish(jobs, job, "s3") == ""


async def test_tries_are_counted_since_a_job_has_come_further(jobs: ClusterJobStore, member: int) -> None:
    await empty(jobs)
    job = await waiting(jobs, member)

    async def tries(lease: str) -> int:
        assert await take(jobs, lease, OVER) == job.job_id
        assert await take(jobs, lease, OVER) == job.job_id  # sent again, after a lost answer
        return (await found(jobs, job)).tries

    assert [await tries(f"t{number}") for number in range(3)] == [1, 2, 3]
    for _ in range(2):
        await jobs.give_back(replace(job, lease="t2"), seconds_from_now())
    assert (await found(jobs, job)).tries == 2
    assert await tries("t3") == 3
    assert await jobs.note(replace(job, lease="t3"), "half", "", 5, 3 * MINUTE, NOW, seconds_from_now())
    assert (await found(jobs, job)).tries == 0
    await jobs.give_back(replace(job, lease="t3"), seconds_from_now())
    assert await tries("t4") == 1
    assert await finish(jobs, job, "t4") == ""


async def test_one_that_is_over_does_not_give_its_members_next_one_back(jobs: ClusterJobStore, member: int) -> None:
    await empty(jobs)
    job, next_one = await waiting(jobs, member), await waiting(jobs, member)
    assert await take(jobs, "g1") == job.job_id
    assert await finish(jobs, job, "g1") == ""
    assert await take(jobs, "g2") == next_one.job_id
    await jobs.give_back(replace(job, lease="g1"), seconds_from_now())
    assert await finish(jobs, job, "g1") == ""  # sent again, after a lost answer
    assert await take(jobs, "g3") is None
    assert await finish(jobs, next_one, "g2") == ""


async def test_uploads_that_may_not_begin(jobs: ClusterJobStore, member: int, plain: RedisCluster) -> None:
    await empty(jobs)
    replaced = await create(jobs, member)
    job = await create(jobs, member)
    assert await begin(jobs, replaced) is Refusal.CLOSED
    assert await jobs.cancel(replaced, "CANCELLED", NOW, seconds_from_now())
    assert await begin(jobs, job, NOW + 5 * MINUTE) is Refusal.CLOSED
    assert isinstance(await begin(jobs, job), Room)
    assert await jobs.begin_upload(job, "again", 0, LIMITS, NOW, NOW + 1, seconds_from_now()) is Refusal.CLOSED
    other = await create(jobs, member)
    assert await begin(jobs, other) is Refusal.BUSY
    assert await keep(jobs, job, 9) is not None
    assert await begin(jobs, other, NOW + MINUTE) is Refusal.BUSY
    assert isinstance(await begin(jobs, other, NOW + 2 * MINUTE), Room)  # nothing more came of the first one
    under_way = {f"{each}:{other.job_id}".encode() for each in "us"}
    assert set(await plain.hkeys(uploads_key(member))) == under_way  # type: ignore[misc]
    third = await create(jobs, member, NOW + 2 * MINUTE)
    assert await begin(jobs, third, NOW + 2 * MINUTE + 1) is Refusal.BUSY
    two = LIMITS._replace(uploads_at_once=2)
    assert isinstance(await begin(jobs, third, NOW + 2 * MINUTE + 1, two), Room)
    assert await jobs.cancel(third, "CANCELLED", NOW, seconds_from_now())
    assert await end(jobs, job)
    assert await end(jobs, other)
    assert await begin(jobs, await create(jobs, member)) is Refusal.FULL


async def test_what_a_member_uploaded_by_hour_and_day(jobs: ClusterJobStore, member: int) -> None:
    await empty(jobs)
    limits = LIMITS._replace(waiting_jobs=99)
    job = await create(jobs, member)
    await begin(jobs, job, limits=limits)
    await end(jobs, job, 60, 3)
    assert await take(jobs, f"m {job.job_id}") == job.job_id
    assert await finish(jobs, job, f"m {job.job_id}") == ""
    rooms = []
    for hours in (0, 1, 24):
        now = NOW + hours * HOUR_MS
        job = await create(jobs, member, now)
        rooms.append(await begin(jobs, job, now, limits))
        assert await jobs.fail_upload(job, f"up {job.job_id}", "TOO_SLOW", now, seconds_from_now())
    job = await create(jobs, member, now)
    await begin(jobs, job, now, limits)
    assert await jobs.end_upload(job, f"up {job.job_id}", Uploaded(9, 0, 15), limits, now, seconds_from_now())
    assert (await found(jobs, job)).most_lines == 15
    assert await take(jobs, f"l {job.job_id}") is not None
    for _ in range(2):
        assert await jobs.finish(replace(job, lease=f"l {job.job_id}"), "{}", "", 12, now, seconds_from_now()) == ""
    job = await create(jobs, member, now)
    assert await begin(jobs, job, now, limits) == Room(91, 141, None, 8)
    assert await jobs.fail_upload(job, f"up {job.job_id}", "TOO_SLOW", now, seconds_from_now())
    assert rooms == [Room(40, 90, None, 17), Room(100, 90, None, 17), Room(100, 150, None, 20)]
    failed = await found(jobs, job)
    assert (failed.phase, failed.error_code, failed.completed_ms) == (Phase.ERROR, "TOO_SLOW", NOW + 24 * HOUR_MS)
    await empty(jobs)


@pytest.mark.parametrize("off_days", [1, 40])
async def test_a_clock_that_was_ahead_takes_nothing_from_a_day_and_adds_nothing_to_it(
    jobs: ClusterJobStore, member: int, plain: RedisCluster, off_days: int
) -> None:
    assert await end(jobs, await used(jobs, member), 60, 3) is True
    then = NOW + off_days * 24 * HOUR_MS
    assert await end(jobs, await used(jobs, member, then), 70, 5, now=then) is True
    assert await jobs.room(member, LIMITS, then, seconds_from_now()) == Room(30, 80, None, 15)
    assert await jobs.room(member, LIMITS, NOW, seconds_from_now()) == Room(40, 90, None, 17)
    kept = await plain.hkeys(uploads_key(member))  # type: ignore[misc]
    assert any(int(field[1:]) * HOUR_MS > then - HOUR_MS for field in kept) == (off_days == 1)
    await empty(jobs)


async def test_what_was_sent_before_midnight_is_there_for_a_clock_that_is_behind(
    jobs: ClusterJobStore, member: int
) -> None:
    today = NOW - 24 * HOUR_MS  # by the nodes' clocks, too
    yesterday = today - 24 * HOUR_MS
    assert await end(jobs, await used(jobs, member, yesterday), 60, 3, now=yesterday) is True
    assert await jobs.room(member, LIMITS, today, seconds_from_now()) == Room(100, 150, None, 20)
    assert await jobs.room(member, LIMITS, yesterday, seconds_from_now()) == Room(40, 90, None, 17)
    await empty(jobs)


async def test_what_is_over_by_all_clocks_counts_no_longer(
    jobs: ClusterJobStore, member: int, plain: RedisCluster
) -> None:
    past = int(time.time()) // 3600 - 49
    await plain.hset(uploads_key(member), mapping={f"b{past}": 60, f"j{past}": 1})  # type: ignore[misc]
    assert await jobs.room(member, LIMITS, NOW, seconds_from_now()) == Room(100, 150, None, 20)
    assert not await plain.exists(uploads_key(member))


MANY = LIMITS._replace(uploads_at_once=9, waiting_jobs=9)


async def test_uploads_that_are_under_way_leave_less_to_others(jobs: ClusterJobStore, member: int) -> None:
    """What they have announced, or what has come of them, for as long as they go on."""
    one = await create(jobs, member)
    assert await begin(jobs, one, limits=MANY) == Room(100, 150, None, 20)
    assert await keep(jobs, one, 60, 5) == Room(100, 150, None, 20)
    two = await create(jobs, member)
    assert await begin(jobs, two, limits=MANY, announced=41) == Room(40, 90, None, 15)  # which is too much
    assert await keep(jobs, one, 100, 5) == Room(100, 150, None, 20)
    assert await keep(jobs, two, 1) == Room(0, 50, None, 15)
    assert await keep(jobs, one, 60, 5) == Room(100, 150, None, 20)
    assert await keep(jobs, two, 30) == Room(40, 90, None, 15)
    three = await create(jobs, member)
    assert await begin(jobs, three, limits=MANY, announced=10) == Room(10, 60, None, 15)
    assert await jobs.room(member, LIMITS, NOW, seconds_from_now()) == Room(0, 50, None, 15)
    assert await end(jobs, two, 31) == Room(30, 80, None, 15)
    assert (await found(jobs, two)).phase is Phase.UPLOADING
    for _ in range(2):
        assert await end(jobs, two, 30, 15) is True
    assert await end(jobs, one, 60, 6) == Room(60, 110, None, 5)
    assert await jobs.fail_upload(one, f"up {one.job_id}", "TOO_MUCH", NOW, seconds_from_now())
    assert await keep(jobs, three, 70, 5) == Room(70, 120, None, 5)
    four = await create(jobs, member)
    assert await begin(jobs, four, limits=MANY) == Room(0, 50, None, 0)
    assert await end(jobs, four, 0) == Room(0, 50, None, 0)  # who knows how many lines it has?
    later = NOW + 2 * MINUTE
    five = await create(jobs, member, later)
    assert await begin(jobs, five, later, MANY) == Room(70, 120, None, 5)  # nothing more came of the others
    await empty(jobs)


async def test_as_many_may_come_as_may_wait(jobs: ClusterJobStore, member: int) -> None:
    limits = LIMITS._replace(uploads_at_once=9, waiting_jobs=2)
    one = await create(jobs, member)
    assert isinstance(await begin(jobs, one, limits=limits), Room)
    two = await create(jobs, member)
    assert isinstance(await begin(jobs, two, limits=limits), Room)
    three = await create(jobs, member)
    assert await begin(jobs, three, limits=limits) is Refusal.FULL
    assert await end(jobs, one)
    assert await begin(jobs, three, limits=limits) is Refusal.FULL
    assert await jobs.fail_upload(two, f"up {two.job_id}", "TOO_SLOW", NOW, seconds_from_now())
    assert isinstance(await begin(jobs, three, limits=limits), Room)
    await empty(jobs)


@pytest.mark.parametrize("state", ["starting", "uploading", "waiting", "under way"])
async def test_a_job_is_cancelled(jobs: ClusterJobStore, member: int, state: str) -> None:
    await empty(jobs)
    job = await create(jobs, member)
    if state != "starting":
        await begin(jobs, job)
    if state in ("waiting", "under way"):
        await end(jobs, job)
    if state == "under way":
        assert await take(jobs, f"c {job.job_id}") == job.job_id
    for now in (NOW, NOW + 1):
        assert await jobs.cancel(job, "CANCELLED", now, seconds_from_now())
    cancelled = await found(jobs, job)
    assert (cancelled.error_code, cancelled.completed_ms) == ("CANCELLED", NOW)
    next_one = await create(jobs, member)
    assert await begin(jobs, job) is Refusal.CLOSED
    if state == "uploading":  # until its sender is told, there would be two
        assert await begin(jobs, next_one) is Refusal.BUSY
        assert await keep(jobs, job, 9) is None
        assert not await end(jobs, job)
        assert await jobs.fail_upload(job, f"up {job.job_id}", "INCOMPLETE", NOW, seconds_from_now())
        assert (await found(jobs, job)).error_code == "CANCELLED"
    assert isinstance(await begin(jobs, next_one), Room)
    assert await end(jobs, next_one)
    if state == "under way":
        assert await take(jobs, "d") is None
        assert not await jobs.keep(replace(job, lease=f"c {job.job_id}"), MINUTE, seconds_from_now())
        for _ in range(2):
            assert await finish(jobs, job, f"c {job.job_id}") == "CANCELLED"
        assert (await found(jobs, job)).report == "{}"  # what had been applied of it
    assert await take(jobs, f"e {job.job_id}") == next_one.job_id
    assert await finish(jobs, next_one, f"e {job.job_id}") == ""
    assert await take(jobs, f"g {job.job_id}") is None
    assert not await jobs.cancel(next_one, "CANCELLED", NOW, seconds_from_now())
    assert (await found(jobs, job)).phase is Phase.ERROR


@pytest.mark.parametrize("by", ["its process", "a caller"])
async def test_an_upload_ends_as_it_did_if_that_is_sent_again(jobs: ClusterJobStore, member: int, by: str) -> None:
    """Also where its job has failed meanwhile: the file was taken, and who sent it is told so."""
    await empty(jobs)
    job = await waiting(jobs, member)
    if by == "a caller":
        assert await jobs.cancel(job, "CANCELLED", NOW, seconds_from_now())
    else:
        assert await take(jobs, f"t {job.job_id}") == job.job_id
        assert await finish(jobs, job, f"t {job.job_id}", "CORRUPT_FILE") == "CORRUPT_FILE"
    failed = await found(jobs, job)
    assert await end(jobs, job) is True
    assert await jobs.fail_upload(job, f"up {job.job_id}", "INCOMPLETE", NOW, seconds_from_now()) is False
    assert await found(jobs, job) == failed
    assert await jobs.room(member, LIMITS, NOW, seconds_from_now()) == Room(90, 140, None, 20)


async def test_one_that_was_cancelled_while_nobody_had_it_makes_room(jobs: ClusterJobStore, member: int) -> None:
    await empty(jobs)
    job, next_one = await waiting(jobs, member), await waiting(jobs, member)
    assert await take(jobs, "f1", OVER) == job.job_id
    assert await jobs.note(replace(job, lease="f1"), "long", "shown", 5, OVER, NOW, seconds_from_now())
    assert await jobs.cancel(job, "CANCELLED", NOW, seconds_from_now())
    assert await take(jobs, "f2") is None
    cancelled = await found(jobs, job)
    assert (cancelled.checkpoint, cancelled.progress) == ("", "shown")  # nobody goes on with it
    assert await take(jobs, "f3") == next_one.job_id
    assert await finish(jobs, next_one, "f3") == ""


async def test_one_that_is_gone_makes_room(jobs: ClusterJobStore, member: int, plain: RedisCluster) -> None:
    await empty(jobs)
    gone, taken, next_one = await waiting(jobs, member), await waiting(jobs, member), await create(jobs, member)
    await plain.delete(job_key(gone.job_id))
    assert await take(jobs, "h1") is None
    assert await take(jobs, "h2") == taken.job_id
    await plain.delete(job_key(taken.job_id))
    assert await finish(jobs, taken, "h2") is None
    assert isinstance(await begin(jobs, next_one), Room)
    assert await end(jobs, next_one)
    assert await take(jobs, "h3") == next_one.job_id
    assert await finish(jobs, next_one, "h3") == ""


async def test_one_that_is_gone_is_not_cancelled(jobs: ClusterJobStore, member: int, plain: RedisCluster) -> None:
    gone = Job("gone", 0, member, Phase.STARTING, NOW, NOW, NOW)
    assert not await jobs.cancel(gone, "CANCELLED", NOW, seconds_from_now())
    assert not await plain.exists(job_key("gone"))


async def test_marks_of_urls_are_the_same_for_all_who_ask(jobs: ClusterJobStore, plain: RedisCluster) -> None:
    first = await jobs.marks(NOW, seconds_from_now())
    assert all(re.fullmatch("[0-9a-f]{16}", each) for each in first)
    assert len(set(first)) == 3
    assert await jobs.marks(NOW + MARK_MS - 1 - NOW % MARK_MS, seconds_from_now()) == first
    assert (await jobs.marks(NOW + MARK_MS, seconds_from_now()))[:2] == first[1:]
    span = NOW // MARK_MS
    assert await plain.pexpiretime(upload_mark_key(span)) == (span + 3) * MARK_MS


async def test_all_that_is_kept_of_a_job_ends_by_itself(
    jobs: ClusterJobStore, member: int, plain: RedisCluster
) -> None:
    await empty(jobs)
    await create(jobs, member)  # its upload never begins
    job = await waiting(jobs, member)
    assert await take(jobs, "ends") == job.job_id
    ends = {
        job_key(job.job_id): NOW + KEPT_MS,
        jobs_key(member): NOW + KEPT_MS,
        unused_jobs_key(member): NOW + KEPT_MS,
        uploads_key(member): NOW + KEPT_MS,
        changed_jobs_key(member): NOW + 2 * KEPT_MS,
        job_url_key(f"url{job.job_id[3:]}"): NOW + 5 * MINUTE,
    }
    assert {key: await plain.pexpiretime(key) for key in ends} == ends
    assert 0 < await plain.pttl(taken_key("ends")) <= MINUTE
    assert await jobs.finish(replace(job, lease="ends"), "", "", 12, NOW, seconds_from_now()) == ""
    assert await plain.pexpiretime(uploads_key(member)) == NOW + KEPT_MS
    late = await waiting(jobs, member)
    assert await take(jobs, "late") == late.job_id
    await plain.delete(uploads_key(member))  # as where all days are over
    assert await jobs.finish(replace(late, lease="late"), "", "", 1, NOW + 24 * HOUR_MS, seconds_from_now()) == ""
    assert 86_400 < await plain.ttl(uploads_key(member)) <= 2 * 86_400


async def test_an_overload_stops_no_job(jobs: ClusterJobStore, embedded: EmbeddedCluster, member: int) -> None:
    await empty(jobs)
    async with connected(embedded.url, max_pending_bytes=1) as busy:
        job = await waiting(ClusterJobStore(busy), member)
        assert await take(jobs, "busy") == job.job_id
        assert await ClusterJobStore(busy).keep(replace(job, lease="busy"), NOW + MINUTE, seconds_from_now())
        assert await finish(ClusterJobStore(busy), job, "busy") == ""


async def used(jobs: ClusterJobStore, member: int, now: int = NOW) -> Job:
    """A job whose file comes."""
    job = await create(jobs, member, now)
    assert isinstance(await begin(jobs, job, now, LIMITS._replace(uploads_at_once=99, waiting_jobs=99)), Room)
    return job


async def ids_of(found: AsyncGenerator[Job, None]) -> list[str]:
    return [job.job_id async for job in found]


async def test_lists(jobs: ClusterJobStore, member: int) -> None:
    old = await used(jobs, member, NOW - 1)
    kept = [await used(jobs, member, NOW + each) for each in range(3)]
    await jobs.cancel(kept[0], "CANCELLED", NOW + 5, seconds_from_now())

    async def ids(order: Order, start: int = 0, size: int = 9, now: int = NOW) -> list[str]:
        page = await jobs.page(member, order, start, size, now, seconds_from_now())
        assert page.total == 4 if now == NOW else 3
        return await ids_of(page.jobs)

    everything = [old, *kept]
    assert await ids(Order()) == [job.job_id for job in reversed(everything)]
    assert await ids(Order(newest_first=False), 1, 2) == [job.job_id for job in kept[:2]]
    assert (await ids(Order(by_change=True)))[:2] == [kept[0].job_id, kept[2].job_id]
    assert await ids(Order(by_change=True, newest_first=False), 0, 1) == [old.job_id]
    assert await ids(Order(), now=NOW + KEPT_MS) == [job.job_id for job in reversed(kept)]
    assert await ids_of((await jobs.page(next(members), Order(), 0, 9, NOW, seconds_from_now())).jobs) == []


async def test_a_list_goes_on_where_a_page_ended_whatever_is_made_between(jobs: ClusterJobStore, member: int) -> None:
    made = [await used(jobs, member, NOW + each) for each in (0, 1, 1, 1, 2)]
    newest = [job.job_id for job in reversed(made)]
    first = await jobs.older(member, 0, 2, NOW, seconds_from_now())
    await used(jobs, member, NOW + 3)
    second = await jobs.older(member, first.before, 2, NOW, seconds_from_now())
    third = await jobs.older(member, second.before, 2, NOW, seconds_from_now())
    assert [await ids_of(page.jobs) for page in (first, second, third)] == [
        newest[:2],
        newest[2:4],
        newest[4:],
    ]
    assert (first.total, second.total, third.before) == (5, 6, 0)


async def test_what_changes_while_it_is_looked_for_is_found_once(
    jobs: ClusterJobStore, member: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_store, "JOBS_AT_ONCE", 2)
    old, *made = [await used(jobs, member, NOW + each) for each in (-1, *([0] * 5), 1, 2, 3, 4)]
    assert await ids_of(jobs.changed(member, NOW, NOW, seconds_from_now())) == [job.job_id for job in made]
    found_ids = []
    async with aclosing(jobs.changed(member, NOW, NOW, seconds_from_now())) as changed:
        async for job in changed:
            found_ids.append(job.job_id)
            if len(found_ids) == 3:
                for each in (made[0], made[6], made[8]):
                    await jobs.cancel(each, "CANCELLED", NOW + 9, seconds_from_now())
    assert sorted(found_ids) == sorted(job.job_id for job in made)
    assert old.job_id not in found_ids


async def test_of_jobs_that_were_never_used_the_newest_are_kept(
    jobs: ClusterJobStore, member: int, plain: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_store, "MOST_UNUSED", 3)
    one = await used(jobs, member)
    unused = [await create(jobs, member, NOW + each) for each in range(5)]
    await jobs.cancel(unused[3], "CANCELLED", NOW + 9, seconds_from_now())

    async def listed(now: int) -> list[str]:
        page = await jobs.page(member, Order(newest_first=False), 0, 9, now, seconds_from_now())
        found = await ids_of(page.jobs)
        assert page.total == len(found)
        assert await ids_of((await jobs.older(member, 0, 9, now, seconds_from_now())).jobs) == found[::-1]
        return found

    assert await listed(NOW) == [job.job_id for job in (one, *unused[2:])]
    assert await jobs.find(unused[1].job_id, seconds_from_now()) is None
    assert await begin(jobs, unused[1]) is Refusal.CLOSED
    assert await plain.zcard(unused_jobs_key(member)) == 3
    kept = [await plain.pexpiretime(job_key(job.job_id)) for job in (one, unused[4])]
    assert kept == [NOW + KEPT_MS, NOW + 4 + KEPT_MS]


async def test_a_job_is_made_though_those_that_are_kept_no_longer_may_not_be_deleted(
    jobs: ClusterJobStore, member: int, embedded: EmbeddedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They end by themselves; whoever made it was told of a failure."""
    monkeypatch.setattr(job_store, "MOST_UNUSED", 1)
    await create(jobs, member)
    await on_all_nodes(embedded, "ACL", "SETUSER", "default", "-DEL")
    try:
        job = await create(jobs, member)
    finally:
        await on_all_nodes(embedded, "ACL", "SETUSER", "default", "+DEL")
    assert await found(jobs, job) == job


async def test_of_jobs_whose_file_did_not_come_the_newest_are_kept(
    jobs: ClusterJobStore, member: int, plain: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_store, "MOST_UNUSED", 3)
    late, *others = [await used(jobs, member, NOW + each) for each in range(6)]
    failed, cancelled, silent, *under_way = others
    assert await jobs.fail_upload(failed, f"up {failed.job_id}", "TOO_SLOW", NOW + 10, seconds_from_now())
    assert await jobs.cancel(cancelled, "CANCELLED", NOW + 10, seconds_from_now())
    assert await jobs.fail_upload(cancelled, f"up {cancelled.job_id}", "CANCELLED", NOW + 11, seconds_from_now())
    for each in under_way:
        assert await keep(jobs, each, 1, until=NOW + 3 * MINUTE) is not None
    then = NOW + 2 * MINUTE
    last = await used(jobs, member, then)  # from then on, those are over of which nothing more came

    async def listed() -> set[str]:
        return set(await ids_of((await jobs.page(member, Order(), 0, 99, then, seconds_from_now())).jobs))

    gone = {failed.job_id, cancelled.job_id, silent.job_id}
    assert await listed() > gone  # until the next one is made
    assert await end(jobs, late, now=NOW + 1) is True  # by a clock that is behind, it is not over
    for each in range(3):
        await create(jobs, member, then + each)
    kept = await listed()
    assert len(kept) == 7
    assert {late.job_id, last.job_id, *(each.job_id for each in under_way)} < kept
    assert kept.isdisjoint(gone)
    assert [await jobs.find(each, seconds_from_now()) for each in gone] == [None] * 3
    assert await plain.pexpiretime(unused_jobs_key(member)) == then + 2 + KEPT_MS
    await empty(jobs)


async def test_a_day_has_so_many_files(jobs: ClusterJobStore, member: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_store, "MOST_IN_A_DAY", 2)
    for hours in (0, 24):
        now = NOW + hours * HOUR_MS
        failed = await used(jobs, member, now)
        assert await jobs.fail_upload(failed, f"up {failed.job_id}", "TOO_SLOW", now, seconds_from_now())
        for _ in range(2):
            await create(jobs, member, now)
            assert await end(jobs, await used(jobs, member, now), 1, now=now) is True
        assert await create_one_more(jobs, member, now) is None
        assert await create_one_more(jobs, member, now + 18 * HOUR_MS) is None
    await empty(jobs)


async def test_a_version_that_knows_no_sizes(jobs: ClusterJobStore, member: int, plain: RedisCluster) -> None:
    """It says of them until when more must have come, and nothing else; and reads no more than that."""
    await plain.hset(uploads_key(member), "u:old", str(NOW + MINUTE))  # type: ignore[misc]
    job = await create(jobs, member)
    assert await begin(jobs, job) is Refusal.BUSY
    limits = LIMITS._replace(uploads_at_once=2)
    assert await begin(jobs, job, limits=limits, announced=30) == Room(100, 150, None, 20)
    assert await jobs.room(member, limits, NOW, seconds_from_now()) == Room(70, 120, None, 20)
    assert await plain.hget(uploads_key(member), f"u:{job.job_id}") == str(NOW + MINUTE).encode()  # type: ignore[misc]
    await plain.hdel(uploads_key(member), f"u:{job.job_id}")  # type: ignore[misc]  # as it does with what is over
    assert await jobs.room(member, limits, NOW, seconds_from_now()) == Room(100, 150, None, 20)
    assert await plain.hkeys(uploads_key(member)) == [b"u:old"]  # type: ignore[misc]
