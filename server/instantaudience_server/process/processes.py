"""Child processes that never outlive their parent, and the ports they listen on.

The supervisor starts every server (cluster nodes, workers, gateway) as a `Child` and keeps it running with
`Supervised`. Start children from the main thread only, and while all other threads are idle: Linux ties the death
signal to the *thread* that forked (prctl(2), PR_SET_PDEATHSIG), and Python code runs between fork and exec.
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

from instantaudience_server.observation.telemetry import Event

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
    """A part of the service did not start; the message says which one, and where to look."""


def too_many(name: str) -> StartError:
    """The program of this name cannot be started, as there may be no more processes or threads."""
    return StartError(f"{name} cannot be started, as there may be no more processes or threads (`ulimit -u`, TasksMax)")


class PortInUseError(OSError):
    """Another program has the port."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(errno.EADDRINUSE, f"port {port} on {host} is in use by another program")
        self.port = port

    def __str__(self) -> str:
        """The message without the errno that OSError puts in front."""
        return str(self.strerror)


@dataclass(frozen=True)
class Program:
    """A program to run, and how.

    `name` is for logs. `env` replaces the whole environment; None: the child inherits this process's. `stdin` is the
    whole input of the child; None: it is empty. `output` is a file that stdout and stderr are appended to; None: the
    child shares this process's. `pass_fds` stay open in the child under the same numbers.
    """

    name: str
    argv: Sequence[str | Path]
    env: Mapping[str, str] | None = None
    stdin: bytes | None = None
    output: Path | None = None
    pass_fds: Sequence[int] = ()


class Child:
    """A running program in a process group of its own: Ctrl-C in the terminal reaches the supervisor alone, which then
    stops its children in order.

    On Linux the kernel kills the child with SIGKILL as soon as its parent is gone, even by SIGKILL. No child loses data
    by that: what they keep is in append-only files, written before a reply is sent. On other systems, a child outlives
    a parent that was killed with SIGKILL.
    """

    def __init__(self, program: Program, process: asyncio.subprocess.Process) -> None:
        self.program = program
        self._process = process

    @classmethod
    async def start(cls, program: Program, *, waits: bool = False) -> Self:
        """Run the program. With `waits`, its standard input is not known yet: `tell` provides it later.

        Raises:
            StartError: there may be no more processes or threads.
            OSError: the program cannot be executed, or its output file cannot be opened.
        """
        with contextlib.ExitStack() as files:
            stdin: BinaryIO | int
            if waits:
                stdin = asyncio.subprocess.PIPE
            else:
                stdin = files.enter_context(_readable(program.stdin)) if program.stdin else asyncio.subprocess.DEVNULL
            output = files.enter_context(program.output.open("ab")) if program.output else None
            try:
                process = await asyncio.create_subprocess_exec(
                    *program.argv,
                    env=program.env,
                    stdin=stdin,
                    stdout=output,
                    stderr=output,
                    pass_fds=program.pass_fds,
                    preexec_fn=_before_exec(),
                )
            except (BlockingIOError, RuntimeError) as error:  # fork(2), EAGAIN; asyncio may need a thread, too
                raise too_many(program.name) from error
        return cls(program, process)

    @property
    def pid(self) -> int:
        """The process ID, which is also the ID of the process group."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, or the negated number of the signal that ended the child; None while it runs."""
        return self._process.returncode

    async def tell(self, stdin: bytes) -> None:
        """Give a child that was started with `waits` its whole input; a child that replaces it gets the same input from
        the start. Does nothing more when the child has ended.

        Raises:
            ValueError: the child was not started with `waits`.
        """
        self.program = replace(self.program, stdin=stdin)
        pipe = self._process.stdin
        if pipe is None:
            raise ValueError(f"{self.program.name} does not wait")
        with contextlib.suppress(ConnectionError):
            pipe.write(stdin)
            await pipe.drain()
        pipe.close()

    async def wait(self) -> int:
        """Wait until the child has ended; returns its `returncode`."""
        return await self._process.wait()

    async def stop(self, grace_seconds: float) -> int:
        """Send SIGTERM and, if the child still runs after `grace_seconds`, SIGKILL to its process group. Returns the
        child's `returncode`; a child that has ended already is no error."""
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
        """Send SIGCONT, which resumes a stopped child."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Send SIGKILL to the child's process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


class Supervised:
    """Keeps a child running, from construction (in a running event loop) until `stop`.

    A child that ends is started again after a delay: `FIRST_RESTART_SECONDS`, doubled each time up to
    `SLOWEST_RESTART_SECONDS`, and back to the first once a child has lived for `STEADY_AFTER_SECONDS`. The first child
    is passed in running, so that its caller can tell a failed first start from a crash. `on_exit` is called each time
    a child has ended by itself, before the next one starts.
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
        """The current child; after an unexpected end, the one that ended, until the next has started."""
        self._on_exit = on_exit
        self._sleep = sleep
        self._clock = clock
        self._task = asyncio.create_task(self._keep_running(), name=f"supervise {child.program.name}")

    async def stop(self, grace_seconds: float) -> int:
        """Stop the child as `Child.stop` does, and do not restart it."""
        self._task.cancel()
        await asyncio.wait([self._task])
        return await self.child.stop(grace_seconds)

    async def _keep_running(self) -> None:
        program = self.child.program
        delay = FIRST_RESTART_SECONDS
        while True:
            started = self._clock()
            returncode = await self.child.wait()
            if self._clock() - started >= STEADY_AFTER_SECONDS:
                delay = FIRST_RESTART_SECONDS
            _log.warning(
                Event.PROCESS_EXITED,
                process=program.name,
                pid=self.child.pid,
                returncode=returncode,
                restart_in_seconds=delay,
            )
            if self._on_exit is not None:
                try:
                    self._on_exit()
                except Exception as error:  # whatever it is: nobody else would start the program again
                    _log.error(Event.BACKGROUND_DEFECT, work="processes.Supervised", times=1, exc_info=error)
            ended = self.child
            while self.child is ended:
                await self._sleep(delay)
                delay = min(2 * delay, SLOWEST_RESTART_SECONDS)
                try:
                    self.child = await Child.start(program)
                except Exception as error:  # whatever it is: nobody else would start the program again
                    _log.error(Event.PROCESS_START_FAILED, process=program.name, error=str(error))
            _log.info(Event.PROCESS_RESTARTED, process=program.name, pid=self.child.pid)


def bare(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of an environment that any program needs to run, for programs that get everything else in another
    way. Credentials for other services (`AWS_…`, `OTEL_EXPORTER_OTLP_HEADERS`) are left out."""
    return {name: value for name, value in environment.items() if name in _BARE or name.startswith(_BARE_BEGINNINGS)}


def free_ports(host: str, count: int) -> list[int]:
    """`count` distinct TCP ports of `host` that are free now; they are not reserved.

    Raises:
        OSError: there are not that many.
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

    Raises:
        OSError: the host is no address of this machine, or this user may not listen on the port.
    """
    try:
        _bound(host, port, socket.SO_REUSEADDR).close()
    except PortInUseError:
        return False
    return True


def reserve_port(host: str, port: int) -> socket.socket:
    """Reserve a TCP port for children that bind it with SO_REUSEPORT: they share it, and no other program gets it.

    Port 0 picks a free one. The returned socket does not listen, so it takes no connection from the children; close it
    when they are gone.

    Raises:
        PortInUseError: another program has the port.
        OSError: as `port_is_free`.
    """
    # SO_REUSEPORT alone would succeed on the port of another server of this user that sets it too (socket(7)).
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
    """An anonymous file with this content, in memory on Linux. A pipe would hold no more than 64 KiB before it is
    read."""
    file: BinaryIO
    if sys.platform == "linux":
        file = os.fdopen(os.memfd_create("stdin"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(content)
    file.seek(0)
    return file


def _before_exec() -> Callable[[], None]:
    """The function that a child runs between fork and exec.

    It gives the child a process group of its own, so that Ctrl-C reaches the supervisor alone, and ignores SIGTTOU, so
    that the child may still write to the terminal. The child stays in the parent's session: Linux divides processor
    time between sessions before it looks at the scheduling policies of their processes (sched(7), "The autogroup
    feature"), and the policy of the hashers (`passwords/hasher.py`) has to apply among all processes of the service.
    """
    parent = os.getpid()

    def before_exec() -> None:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        if sys.platform == "linux":
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:  # the parent died before prctl: the signal will not come
                os._exit(1)

    return before_exec
