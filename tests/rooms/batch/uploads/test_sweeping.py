"""Files that no job needs go; all others stay (docs/adr/0027-batch-service.md)."""

import asyncio

import pytest
from instantaudience_server.batch.uploads import sweeping
from instantaudience_server.batch.uploads.files import FileStore
from instantaudience_server.batch.uploads.sweeping import sweep
from instantaudience_server.clock import SystemClock
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.job_store import ClusterJobStore
from support.parts.jobs import OTHER, RefusedJobStore, uploading, waiting
from support.waiting import eventually

NOBODYS = f"{'nobodys':0<30}1764300000"
"""What a job could be called."""


async def test_files_go_when_the_cluster_no_longer_refuses_to_say_who_needs_them(
    files: FileStore, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "SWEEP_SECONDS", 0.02)
    await files.write(NOBODYS, 0, b"x")
    task = asyncio.create_task(sweep(RefusedJobStore(cluster), files, SystemClock()))

    async def it_is_gone() -> None:
        assert await files.job_ids() == []

    try:
        await eventually(it_is_gone)
    finally:
        task.cancel()


async def test_what_is_no_file_of_a_job_stays(jobs: ClusterJobStore, files: FileStore) -> None:
    """The place may be somebody's bucket, with much else in it."""
    others = ["logs", "2026-11-28", NOBODYS[:-1], f"{NOBODYS}.old"]
    for each in (NOBODYS, *others):
        await files.write(each, 0, b"x")
    task = asyncio.create_task(sweep(jobs, files, SystemClock()))

    async def only_others() -> None:
        assert set(await files.job_ids()) == set(others)

    try:
        await eventually(only_others)
    finally:
        task.cancel()


async def test_files_that_no_job_needs_go(jobs: ClusterJobStore, files: FileStore) -> None:
    needed = await waiting(jobs, files, b".")
    await files.write(NOBODYS, 0, b"x")
    abandoned = await uploading(jobs, files, b"x", silent_ms=sweeping.ABANDONED_MS + 1000)
    slow = await uploading(jobs, files, b"x", OTHER, silent_ms=sweeping.ABANDONED_MS - 60_000)
    task = asyncio.create_task(sweep(jobs, files, SystemClock()))

    async def only_needed() -> None:
        assert set(await files.job_ids()) == {needed.job_id, slow.job_id}

    assert abandoned.job_id in await files.job_ids()
    try:
        await eventually(only_needed)
    finally:
        task.cancel()
    assert [piece async for piece in files.file(needed.job_id, 1).read(0)] == [b"."]
