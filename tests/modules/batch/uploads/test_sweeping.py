"""Files that no job needs go; all others stay (docs/adr/0027-batch-service.md)."""

import asyncio
from pathlib import Path

import pytest
from instantaudience_server.batch.uploads import sweeping
from instantaudience_server.batch.uploads.files import FileStore
from instantaudience_server.batch.uploads.sweeping import look, sweep
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.jobs import Uploaded
from instantaudience_server.store.jobs.job_store import ClusterJobStore
from support.parts.jobs import LIMITS, OTHER, RefusedJobStore, uploading, waiting
from support.waiting import eventually, seconds_from_now

NOBODYS = f"{'nobodys':0<30}1764300000"
"""What a job could be called."""
DAY_MS = 86_400_000


async def test_files_go_when_the_cluster_no_longer_refuses_to_say_who_needs_them(
    jobs: ClusterJobStore, files: FileStore, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "SWEEP_SECONDS", 0.02)
    await files.write(NOBODYS, 0, b"x")
    await uploading(jobs, files, b"x")  # and its process dies
    task = asyncio.create_task(sweep(RefusedJobStore(cluster), files))

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
    task = asyncio.create_task(sweep(jobs, files))

    async def only_others() -> None:
        assert set(await files.job_ids()) == set(others)

    try:
        await eventually(only_others)
    finally:
        task.cancel()


async def test_files_that_no_job_needs_go(jobs: ClusterJobStore, files: FileStore) -> None:
    """Those of which more comes stay, though it comes from a machine whose clock is a day behind."""
    needed = await waiting(jobs, files, b".")
    await files.write(NOBODYS, 0, b"x")
    silent = await uploading(jobs, files, b"x", silent_ms=DAY_MS)
    slow = await uploading(jobs, files, b"x", OTHER, silent_ms=DAY_MS)
    coming = await look(jobs, files, {})
    assert set(await files.job_ids()) == {needed.job_id, silent.job_id, slow.job_id}
    now_ms = slow.created_ms - DAY_MS - 1
    await jobs.keep_uploading(slow, "up", Uploaded(2, 0, -1), LIMITS, now_ms, now_ms + 9, seconds_from_now())
    await look(jobs, files, coming)
    assert set(await files.job_ids()) == {needed.job_id, slow.job_id}
    assert [piece async for piece in files.file(needed.job_id, 1).read(0)] == [b"."]


async def test_a_file_that_cannot_be_deleted_keeps_no_other_one(
    jobs: ClusterJobStore, files: FileStore, tmp_path: Path
) -> None:
    """Those behind it stayed for ever."""
    stuck = [f"{each * 30}1764300000" for each in "az"]
    for job_id in (stuck[0], NOBODYS, stuck[1]):
        await files.write(job_id, 0, b"x")
    for job_id in stuck:
        (tmp_path / "files" / job_id / "not ours").mkdir()
    coming = await uploading(jobs, files, b"x")
    assert await look(jobs, files, {}) == {coming.job_id: coming.open_until_ms}
    assert set(await files.job_ids()) == {*stuck, coming.job_id}
