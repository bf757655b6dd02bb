"""Running the commands as a user does."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.service.running import COMMAND, Service, environment, running_service

NOBODY = "18000000000000000001"
"""A user of whom no test says anything."""
SECONDS = 90
"""What a command may take, also on a busy machine."""
LIKE_OTHERS = () if os.geteuid() else ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
"""What has root respect the permissions of files, too."""


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    status: int
    output: str
    errors: str


@pytest.fixture(scope="package")
async def changed() -> AsyncIterator[Service]:
    """A service of this directory's own, whose catalog tests may change: the demo's at first."""
    async with running_service("--workers", "2") as running:
        yield running
        assert "call_defect" not in running.log


@pytest.fixture
async def demo(service: Service) -> dict[str, str]:
    """A member's environment."""
    return await environment_of(service, "demo")


@pytest.fixture
async def admin(changed: Service) -> dict[str, str]:
    """An admin's environment."""
    return await environment_of(changed, "admin")


async def environment_of(service: Service, username: str) -> dict[str, str]:
    """Where a service is, and a token for it."""
    return {"INSTANT_AUDIENCE_URL": service.url, "INSTANT_AUDIENCE_TOKEN": await service.token(username)}


def rows(output: str) -> list[list[str]]:
    """The cells of a table, without its heading."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if line.startswith("│")]


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Runs `instant-audience` with these words in an empty directory, with no setting in the environment but `env`;
    `under` are the words of what starts it."""

    async def run_command(
        *words: str, env: dict[str, str] | None = None, stdin: str = "", under: Sequence[str] = ()
    ) -> Ended:
        settings = {f"XDG_{kind.upper()}_HOME": str(tmp_path / kind) for kind in ("cache", "config")}
        process = await asyncio.create_subprocess_exec(
            *under,
            *COMMAND,
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=tmp_path,
            env=environment() | settings | {"COLUMNS": "120"} | (env or {}),
        )
        try:
            async with asyncio.timeout(SECONDS):
                output, errors = await process.communicate(stdin.encode(errors="surrogateescape"))
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
        assert process.returncode is not None
        return Ended(process.returncode, output.decode(), errors.decode())

    return run_command
