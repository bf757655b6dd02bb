"""Commands on a terminal, as people see them."""

import asyncio
import contextlib
import errno
import os
import pty
from collections.abc import AsyncIterator
from pathlib import Path

from support.service.processes import not_ignoring_ctrl_c
from support.service.running import COMMAND, environment

SECONDS = 60
"""What a command may take until it shows what is waited for, or ends."""


class Terminal:
    """A terminal, and the command that runs on it."""

    def __init__(self, ours: int, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._ours = ours
        self._shown = b""

    @property
    def shown(self) -> str:
        """What it has shown so far."""
        return self._shown.decode(errors="replace")

    async def until(self, text: str) -> None:
        """Wait until it has shown this."""
        async with asyncio.timeout(SECONDS):
            while text not in self.shown:
                assert await self._shows_more(), self.shown

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self._ours, f"{line}\n".encode())

    async def ended(self) -> int:
        """The command's exit status; then, all of it is shown."""
        async with asyncio.timeout(SECONDS):
            while await self._shows_more():
                pass
            return await self.process.wait()

    async def _shows_more(self) -> bool:
        """Wait until it shows something more; whether it does so before everything on it has ended."""
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._ours, readable.set)
        try:
            await readable.wait()
            part = os.read(self._ours, 65536)
        except OSError as error:
            if error.errno != errno.EIO:  # how Linux tells the end
                raise
            return False
        finally:
            loop.remove_reader(self._ours)
        self._shown += part
        return bool(part)


@contextlib.asynccontextmanager
async def on_a_terminal(*words: str, cwd: Path, env: dict[str, str]) -> AsyncIterator[Terminal]:
    """Run `instant-audience` with these words on a terminal of its own, with no settings but those in `env`."""
    ours, theirs = pty.openpty()

    def take_it() -> None:
        not_ignoring_ctrl_c()
        os.login_tty(theirs)

    process = await asyncio.create_subprocess_exec(
        *COMMAND, *words, cwd=cwd, env=environment() | {"TERM": "xterm", "COLUMNS": "200"} | env, preexec_fn=take_it
    )
    os.close(theirs)
    try:
        yield Terminal(ours, process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)
