"""Lists of very many objects."""

import asyncio
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from instantaudience.v1 import catalog_pb2, catalog_pb2_grpc
from support.service.running import COMMAND, Service

SEGMENTS = 5000
A_REQUEST = 500
MOST_SECONDS = 0.5
"""Of a processor: a list of 20,000 takes less than 2 s."""
MEMBER, FIRST = 4242, 2_000_000


async def test_segments(changed: Service, admin: dict[str, str], tmp_path: Path) -> None:
    token = (("authorization", admin["INSTANT_AUDIENCE_TOKEN"]),)
    segments = [{"id": FIRST + each, "member_id": MEMBER, "code": f"c{each}"} for each in range(SEGMENTS)]
    requests = [catalog_pb2.ImportCatalogRequest(members=[{"id": MEMBER, "name": "Many"}])]
    requests += [
        catalog_pb2.ImportCatalogRequest(segments=segments[start : start + A_REQUEST])
        for start in range(0, SEGMENTS, A_REQUEST)
    ]
    async with changed.channel("gateway") as channel:
        call = catalog_pb2_grpc.CatalogServiceStub(channel).ImportCatalog(iter(requests), metadata=token)
        assert sum([answer.created async for answer in call]) == SEGMENTS + 1
    one, few_seconds = await asyncio.to_thread(listed, admin, "1", tmp_path)
    every, all_seconds = await asyncio.to_thread(listed, admin, str(SEGMENTS), tmp_path)
    assert one.startswith("segments: 1\n")
    assert every.startswith(f"segments: {SEGMENTS:,}\n")
    assert every.count("│ active ") == SEGMENTS
    assert all_seconds - few_seconds < MOST_SECONDS


def listed(env: Mapping[str, str], limit: str, directory: Path) -> tuple[str, float]:
    """What the command prints of so many segments, and what it has taken of a processor, in seconds."""
    words = [*COMMAND, "segment", "list", "--member-id", str(MEMBER), "--limit", limit]
    with (directory / "list").open("w+b") as output:
        process = subprocess.Popen(words, stdout=output, env=os.environ | {"COLUMNS": "80"} | env)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        assert process.returncode == 0
        return output.read().decode(), used.ru_utime + used.ru_stime
