"""Child processes that never outlive us, and the ports they listen on.

The supervisor starts every server (cluster nodes, workers, gateway) as a `Child` and keeps it running with
`Supervised`. Start children from the main thread only, in a process whose other threads do nothing but wait: Linux
ties the death signal to the *thread* that forked (prctl(2), PR_SET_PDEATHSIG), and code of ours runs between fork and
exec.
"""

import asyncio
import contextlib
import ctypes
import errno
import os
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Self

import structlog

from instantaudience_server.telemetry import Event

FIRST_RESTART_SECONDS = 0.2
SLOWEST_RESTART_SECONDS = 5.0
STEADY_AFTER_SECONDS = 30.0
"""A child that lived this long has recovered: its next restart is quick again."""

_PORTS = range(10_000, 32_768)
"""Below the ephemeral ports of Linux and macOS: no outgoing connection takes one while its owner restarts."""

_BARE = ("HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER")
_BARE_BEGINNINGS = ("GLIBC_", "LC_", "LD_", "MALLOC_", "PYTHON")

_random = secrets.SystemRandom()
_log = structlog.get_logger()

if sys.platform == "linux":
    _PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
    _prctl = ctypes.CDLL(None, use_errno=True).prctl  # bound here, as loading a library after the fork may deadlock
    _prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]


class StartError(Exception):
    """A part of the service did not start; the message says which, and where to look."""


class PortInUseError(OSError):
    """Another program has the port."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(errno.EADDRINUSE, f"port {port} on {host} is in use by another program")
        self.port = port

    def __str__(self) -> str:
        """Without the number that OSError puts first."""
        return str(self.strerror)


@dataclass(frozen=True)
class Program:
    """What to run.

    `name` is for logs. `env` replaces the whole environment, None inherits ours. `stdin` is all that the child can
    read, None an empty input. `output` is a file that its stdout and stderr are appended to, None shares ours.
    `pass_fds` stay open in the child under the same numbers. `cwd` is its working directory, None our own.
    """

    name: str
    argv: Sequence[str | Path]
    env: Mapping[str, str] | None = None
    stdin: bytes | None = None
    output: Path | None = None
    pass_fds: Sequence[int] = ()
    cwd: Path | None = None


class Child:
    """A running program, apart from the terminal: a Ctrl-C in the terminal reaches the supervisor alone, which then
    stops its children in order.

    On Linux the kernel kills it as soon as we are gone, whatever ended us, SIGKILL included. SIGKILL is right for all
    our children: what they keep is in append-only files, written before a reply is sent. Elsewhere a child outlives a
    supervisor that was killed with SIGKILL.
    """

    def __init__(self, program: Program, process: asyncio.subprocess.Process) -> None:
        self.program = program
        self._process = process

    @classmethod
    async def start(cls, program: Program, *, waits: bool = False) -> Self:
        """Run the program. `waits`: what it can read is not known yet; `tell` gives it.

        Raises OSError when it cannot be executed or its output file not be opened.
        """
        with contextlib.ExitStack() as files:
            stdin: BinaryIO | int
            if waits:
                stdin = asyncio.subprocess.PIPE
            else:
                stdin = files.enter_context(_readable(program.stdin)) if program.stdin else asyncio.subprocess.DEVNULL
            output = files.enter_context(program.output.open("ab")) if program.output else None
            process = await asyncio.create_subprocess_exec(
                *program.argv,
                env=program.env,
                cwd=program.cwd,
                stdin=stdin,
                stdout=output,
                stderr=output,
                pass_fds=program.pass_fds,
                preexec_fn=_before_exec(),
            )
        return cls(program, process)

    @property
    def pid(self) -> int:
        """The process ID; that of its process group too."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status; minus the signal that ended it; None while it runs."""
        return self._process.returncode

    async def tell(self, stdin: bytes) -> None:
        """Give a child that waits all that it can read; who is started in its place has it from the beginning. It is no
        error that the child has ended."""
        self.program = replace(self.program, stdin=stdin)
        pipe = self._process.stdin
        if pipe is None:
            raise ValueError(f"{self.program.name} does not wait")
        with contextlib.suppress(ConnectionError):
            pipe.write(stdin)
            await pipe.drain()
        pipe.close()

    async def wait(self) -> int:
        """Wait for its end and return the exit status, or minus the signal that ended it."""
        return await self._process.wait()

    async def stop(self, grace_seconds: float) -> int:
        """SIGTERM, then after `grace_seconds` SIGKILL to it and what it started; return as `wait` does.

        Stopping a child that has ended is no error.
        """
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                async with asyncio.timeout(grace_seconds):
                    return await self.wait()
            except TimeoutError:
                _log.warning(Event.PROCESS_KILLED, process=self.program.name, pid=self.pid, grace_seconds=grace_seconds)
                self.kill()
        return await self.wait()

    def go_on(self) -> None:
        """SIGCONT: let it go on where somebody has stopped it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL to it and what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


class Supervised:
    """Keeps a child running, from construction (in a running event loop) until `stop`.

    A child that ends is started again after a delay: `FIRST_RESTART_SECONDS`, doubled each time up to
    `SLOWEST_RESTART_SECONDS`, the first again once it lived for `STEADY_AFTER_SECONDS`. It takes over a child that
    runs already, so that whoever starts one can tell a failed first start from a crash. `on_exit` is called each time
    that a child has ended by itself, before the next one starts.
    """

    def __init__(
        self,
        child: Child,
        *,
        on_exit: Callable[[], None] | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.child = child
        """The child of now; after an unexpected end the last one, until the next has started."""
        self._on_exit = on_exit
        self._sleep = sleep
        self._clock = clock
        self._task = asyncio.create_task(self._keep_running(), name=f"supervise {child.program.name}")

    async def stop(self, grace_seconds: float) -> int:
        """Restart no more and stop the child; as `Child.stop`."""
        self._task.cancel()
        await asyncio.wait([self._task])
        return await self.child.stop(grace_seconds)

    async def _keep_running(self) -> None:
        program = self.child.program
        delay = FIRST_RESTART_SECONDS
        while True:
            started = self._clock()
            returncode = await self.child.wait()
            if self._on_exit is not None:
                self._on_exit()
            if self._clock() - started >= STEADY_AFTER_SECONDS:
                delay = FIRST_RESTART_SECONDS
            _log.warning(
                Event.PROCESS_EXITED,
                process=program.name,
                pid=self.child.pid,
                returncode=returncode,
                restart_in_seconds=delay,
            )
            await self._sleep(delay)
            delay = min(2 * delay, SLOWEST_RESTART_SECONDS)
            try:
                self.child = await Child.start(program)
            except OSError as error:
                _log.error(Event.PROCESS_START_FAILED, process=program.name, error=str(error))
            else:
                _log.info(Event.PROCESS_RESTARTED, process=program.name, pid=self.child.pid)


def bare(environment: Mapping[str, str]) -> dict[str, str]:
    """Of an environment, what programs need to run at all: for those that are told everything else. Credentials of
    others' services (`AWS_…`, `OTEL_EXPORTER_OTLP_HEADERS`) are not among it."""
    return {name: value for name, value in environment.items() if name in _BARE or name.startswith(_BARE_BEGINNINGS)}


def free_ports(host: str, count: int) -> list[int]:
    """`count` distinct TCP ports of `host` that nobody has now; nothing keeps others from taking them.

    Raises OSError when there are not that many.
    """
    found: list[int] = []
    for port in _random.sample(_PORTS, len(_PORTS)):
        if len(found) == count:
            return found
        if port_is_free(host, port):
            found.append(port)
    raise OSError(errno.EADDRINUSE, f"{host} has fewer than {count} free ports")


def port_is_free(host: str, port: int) -> bool:
    """Whether a program that starts now could listen on the TCP port.

    Raises OSError when the host is not ours to listen on, or the port is not open to this user.
    """
    try:
        _bound(host, port, socket.SO_REUSEADDR).close()
    except PortInUseError:
        return False
    return True


def reserve_port(host: str, port: int) -> socket.socket:
    """Take a TCP port for children that bind it with SO_REUSEPORT: they share it, and no one else gets it.

    Port 0 picks a free one. The socket does not listen, so it takes no connection from the children; close it when
    they are gone. Raises PortInUseError, and OSError as `port_is_free` does.
    """
    # With SO_REUSEPORT alone we would share the port of a server that sets it too (one of this user's, socket(7)).
    if port and not port_is_free(host, port):
        raise PortInUseError(host, port)
    # Not SO_REUSEADDR: Linux would let any other program that sets it bind the port too, as long as nobody listens.
    return _bound(host, port, socket.SO_REUSEPORT)


def _bound(host: str, port: int, option: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    taken = socket.socket(family, kind, protocol)
    try:
        taken.setsockopt(socket.SOL_SOCKET, option, 1)
        taken.bind(address)
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(host, port) from None
        raise
    return taken


def _readable(content: bytes) -> BinaryIO:
    """A file without a name, as a pipe takes no more than 64 KiB before its reader comes; in memory where it can be."""
    file: BinaryIO
    if sys.platform == "linux":
        file = os.fdopen(os.memfd_create("stdin"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(content)
    file.seek(0)
    return file


def _before_exec() -> Callable[[], None]:
    """What a child runs between fork and exec.

    It gets a process group of its own, so that Ctrl-C reaches the supervisor alone, and may write to the terminal all
    the same. It stays in our session: Linux weighs sessions against each other before it looks at the policies of their
    processes (sched(7), "The autogroup feature"), and the hashers' (`passwords/hasher.py`) is to count among all of
    ours.
    """
    parent = os.getpid()

    def before_exec() -> None:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        if sys.platform == "linux":
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:  # it died before the line above: the signal will not come
                os._exit(1)

    return before_exec
