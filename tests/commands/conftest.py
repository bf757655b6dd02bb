"""Running the commands as a user does."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.service import COMMAND

SECONDS = 30


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    status: int
    output: str
    errors: str


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Runs `instant-audience` with these words in an empty directory, with no setting in the environment but `env`."""

    async def run_command(*words: str, env: dict[str, str] | None = None, stdin: str = "") -> Ended:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("INSTANT_AUDIENCE_")}
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=tmp_path,
            env=inherited | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "COLUMNS": "120"} | (env or {}),
        )
        try:
            async with asyncio.timeout(SECONDS):
                output, errors = await process.communicate(stdin.encode())
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
        assert process.returncode is not None
        return Ended(process.returncode, output.decode(), errors.decode())

    return run_command
