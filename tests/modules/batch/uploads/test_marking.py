"""The file that the gateway has of marks; what becomes of it there: tests/service/host/test_batch.py."""

import asyncio
from pathlib import Path

import pytest
from instantaudience_server.batch.uploads import marking
from instantaudience_server.batch.uploads.marking import keep_marks
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.jobs import MARK_MS
from instantaudience_server.store.jobs.job_store import ClusterJobStore
from instantaudience_server.store.keys import upload_mark_key
from redis.asyncio import RedisCluster
from structlog.testing import capture_logs
from support.clocks import FakeClock
from support.waiting import eventually, seconds_from_now


async def test_the_file_has_the_marks_of_the_time(
    cluster: Cluster, plain: RedisCluster, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also once it is another time, and when the cluster has lost what it held."""
    monkeypatch.setattr(marking, "LOOK_SECONDS", 0.01)
    jobs, file = ClusterJobStore(cluster), tmp_path / "marks"

    async def written() -> list[str]:
        assert file.exists()
        marks = await jobs.marks(clock.now_ms(), seconds_from_now())
        assert file.read_text().splitlines() == [*marks]
        return [*marks]

    keeping = asyncio.create_task(keep_marks(jobs, clock, file))
    first = await eventually(written)
    clock.ms += MARK_MS
    second = await eventually(written)
    assert second[:2] == first[1:]
    for span in range(clock.ms // MARK_MS - 1, clock.ms // MARK_MS + 2):
        await plain.delete(upload_mark_key(span))
    assert not {*await eventually(written)} & {*second}
    keeping.cancel()


async def test_a_node_that_refuses_is_asked_again(
    cluster: Cluster, plain: RedisCluster, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where it is away: it is no defect of what asks, and was told as one each second."""
    monkeypatch.setattr(marking, "LOOK_SECONDS", 0.01)
    jobs, file = ClusterJobStore(cluster), tmp_path / "marks"
    key = upload_mark_key(clock.now_ms() // MARK_MS)

    async def refused() -> None:
        assert logs

    async def written() -> None:
        assert file.exists()

    await plain.hset(key, "of", "another type")
    with capture_logs() as logs:
        keeping = asyncio.create_task(keep_marks(jobs, clock, file))
        await eventually(refused)
    await plain.delete(key)
    await eventually(written)
    keeping.cancel()
