"""The Go service in `bench/peer`: the same main job in another language, hand-tuned, with nothing beside it."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from bench.load import LoadError
from bench.service import Service, running

SOURCE = Path(__file__).with_name("peer")
BINARY = Path(__file__).parents[1] / "build" / "go-peer"
NOBODY = "none"
"""What it gets for a token: it asks nobody for one."""


def missing() -> str | None:
    """What keeps it from running here, or None."""
    return None if shutil.which("go") else "go is not on PATH: install Go to build the peer"


@asynccontextmanager
async def running_peer(node_ports: Sequence[int], directory: Path) -> AsyncIterator[Service]:
    """The peer on free ports, built anew where its source has changed; the cluster's nodes are in order of slots."""
    built = await asyncio.to_thread(subprocess.run, [SOURCE / "build", BINARY], check=False)
    if built.returncode:
        raise LoadError("the Go peer could not be built")
    nodes = [f"127.0.0.1:{port}" for port in node_ports]
    async with running([str(BINARY), *nodes], directory / "go.log") as (http, grpc, pid):
        yield Service(http, grpc, NOBODY, NOBODY, pid)
