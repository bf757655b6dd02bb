"""A hundred files at once: each is answered and applied as if it were the only one, and none is held in memory."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from support.contract.answers import assert_http_error
from support.contract.messages import one_user
from support.contract.model import UNLIMITED, UNLIMITED_DEMO
from support.service.processes import descendants, needs_proc
from support.service.running import HOST_MODES, Service, new_directory, running_service
from support.waiting import eventually

from bench import processes

SECONDS = 180.0
LIVELY_SECONDS = 5.0
"""An upload that says nothing for a minute is given up."""

pytestmark = [
    pytest.mark.wide,
    needs_proc,
    pytest.mark.timeout(2 * SECONDS),
    pytest.mark.skipif("native" not in HOST_MODES, reason="the native host is not built; others pass uploads on alike"),
]

MEMBERS, ROUNDS = range(3000, 3020), 5
"""Each has so many uploads under way, which begin one after the other: a new URL takes the place of an unused one."""
FIRST_USER, FIRST_SEGMENT = 6_000_000_000, 60_000
FILE_BYTES, PIECE_BYTES = 3 * 2**20, 2**18
MOST_GROWTH_BYTES = 240 * 2**20
"""Of what receives them: two parts of 1 MB each, and what they cost beside. All files are 300 MB."""


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A service with one process for files, and members with a segment each."""
    batch = {"uploads_at_once": ROUNDS}
    members = [
        {"id": each, "name": f"Member {each}", "limits": UNLIMITED, "batch": batch} for each in (*MEMBERS, MEMBERS.stop)
    ]
    segments = [{"id": FIRST_SEGMENT + each, "member_id": each} for each in MEMBERS]
    catalog = UNLIMITED_DEMO | {
        "members": UNLIMITED_DEMO["members"] + members,
        "segments": UNLIMITED_DEMO["segments"] + segments,
    }
    async with new_directory() as directory:
        file = directory / "members.yaml"
        file.write_text(json.dumps(catalog))
        words = ("--workers", "1", "--batch-workers", "1")
        async with running_service(
            *words, directory=directory, host_mode="native", catalog=f"--catalog={file}"
        ) as running:
            yield running
            assert "batch_job_defect" not in running.log


def receiver(service: Service) -> int:
    """The process for files."""
    (pid,) = (each.pid for each in descendants(service.process.pid) if "running batch_worker" in each.command)
    return pid


class Sending:
    """An upload that hardly goes on after its first line until all others have begun."""

    def __init__(self, job: dict[str, Any], number: int, go_on: asyncio.Event) -> None:
        self.job = job
        self.user = FIRST_USER + number
        self.segment = FIRST_SEGMENT + job["member_id"]
        self._go_on = go_on

    async def content(self) -> AsyncIterator[bytes]:
        """Two lines: a user in a segment, and one that is too long."""
        yield b"%d;%d:0\n" % (self.user, self.segment)
        while not self._go_on.is_set():
            yield b"x"
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LIVELY_SECONDS):
                    await self._go_on.wait()
        for _ in range(FILE_BYTES // PIECE_BYTES):
            yield b"x" * PIECE_BYTES


async def created(admin: httpx.AsyncClient, member_id: int) -> dict[str, Any]:
    answer = await admin.post("/batch-segment", params={"member_id": member_id})
    job: dict[str, Any] = answer.raise_for_status().json()["response"]["batch_segment_upload_job"]
    return job


async def in_phase(admin: httpx.AsyncClient, job: dict[str, Any], phase: str) -> dict[str, Any]:
    """The job, once it is in a phase."""

    async def look() -> dict[str, Any]:
        answer = await admin.get("/batch-segment", params={"job_id": job["job_id"]})
        found: dict[str, Any] = answer.raise_for_status().json()["response"]["batch_segment_upload_job"]
        assert found["phase"] == phase
        return found

    found: dict[str, Any] = await eventually(look, SECONDS)
    return found


async def test_a_hundred_uploads_at_once(service: Service) -> None:
    pid, go_on, limits = receiver(service), asyncio.Event(), httpx.Limits(max_connections=None)
    headers = {"authorization": await service.token("admin")}
    async with (
        service.http(headers=headers) as admin,
        httpx.AsyncClient(timeout=SECONDS, limits=limits, verify=False) as nobody,
        service.cluster() as nodes,
        asyncio.TaskGroup() as tasks,
    ):
        before = most = processes.resident_bytes([pid])
        sent: list[Sending] = []
        uploads: list[asyncio.Task[httpx.Response]] = []
        for _ in range(ROUNDS):
            jobs = [await created(admin, member_id) for member_id in MEMBERS]
            for job in jobs:
                sent.append(Sending(job, len(sent), go_on))
                uploads.append(tasks.create_task(nobody.put(job["upload_url"], content=sent[-1].content())))
            for job in jobs:
                await in_phase(admin, job, "uploading")
        one_more = await created(admin, MEMBERS.stop)
        assert_http_error(await nobody.put(one_more["upload_url"], content=b""), 503, "SYSTEM")
        assert (await admin.post("/rt-segment", json=one_user("1"))).status_code == 200
        go_on.set()
        while not all(upload.done() for upload in uploads):
            most = max(most, processes.resident_bytes([pid]))
            await asyncio.sleep(0.02)
        for each, upload in zip(sent, uploads, strict=True):
            assert upload.result().json() == {
                "response": {"status": "OK", "segment_upload": {"job_id": each.job["job_id"]}}
            }
        assert (await nobody.put(one_more["upload_url"], content=b"")).status_code == 200
        for each in sent:
            done = await in_phase(admin, each.job, "completed")
            counts = {name: count for name, count in done.items() if name.startswith("num_") and count}
            assert counts == {"num_valid": 1, "num_valid_user": 1, "num_invalid_format": 1}
            most = max(most, processes.resident_bytes([pid]))
            assert await nodes.hkeys(f"m:p:{each.user}") == [b"%d" % each.segment]
        assert most - before < MOST_GROWTH_BYTES
