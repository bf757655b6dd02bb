"""The Go service in `bench/peer`: the same main job in another language, optimised by hand, with no other features."""

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
"""Stands for a token, which the peer does not check."""


def missing() -> str | None:
    """What is missing to run the peer here, or None."""
    return None if shutil.which("go") else "go is not on PATH: install Go to build the peer"


@asynccontextmanager
async def running_peer(node_ports: Sequence[int], directory: Path) -> AsyncIterator[Service]:
    """Run the peer on free ports; it is rebuilt if its source has changed. The cluster's nodes are in the order of
    their slots."""
    built = await asyncio.to_thread(subprocess.run, [SOURCE / "build", BINARY], check=False)
    if built.returncode:
        raise LoadError("the Go peer could not be built")
    nodes = [f"127.0.0.1:{port}" for port in node_ports]
    async with running([str(BINARY), *nodes], directory / "go.log") as (http, grpc, pid):
        yield Service(http, grpc, NOBODY, NOBODY, pid)
