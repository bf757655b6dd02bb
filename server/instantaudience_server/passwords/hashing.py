"""Hashes passwords in a separate process of low priority, never on the event loop.

A thread would not do: it needs Python's global lock for a moment before and after each hash, and if a thread of low
priority holds the lock but gets no processor, the event loop waits for it.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import structlog
from argon2 import Type, extract_parameters
from argon2.exceptions import InvalidHashError

from instantaudience_server.errors import overloaded, unavailable
from instantaudience_server.observation.telemetry import Event
from instantaudience_server.process.processes import StartError, bare, too_many

log = structlog.get_logger()

MOST_WAITING = 100
"""The most passwords that wait to be hashed or are being hashed; beyond it, calls fail at once."""
MOST_WAITING_OF_ONE = 20
"""How many of these may be from one network, so that it cannot keep others from signing in."""
DEAREST_HASH = (10, 262_144, 16)
"""The most passes, KiB and lanes of an imported hash: while one is checked, no other is."""
HASH_RULE = "must be an argon2id hash in argon2's own format, of at most t={},m={},p={}".format(*DEAREST_HASH)
"""The rule of `is_password_hash`."""
TOO_MANY = "Too many sign-ins under way"
NOT_CHECKED = "The password could not be checked"
NAME = "hasher"
"""The process's name in the log."""
AGAIN_SECONDS = 1.0
"""The pause before a process that could not be started is tried again."""


class Passwords:
    """Hashes and checks passwords one at a time, also among all processes with the same `lock` (a file), unless that
    makes one wait for long.

    Deadlines are times of the event loop's clock, in seconds. A method with one raises AudienceError UNAVAILABLE when
    there is no result by then, when too many passwords wait, or while the process cannot be started. What has not begun
    by the deadline is dropped.

    Raises:
        StartError: the process cannot be started.
    """

    def __init__(self, lock: Path | None = None) -> None:
        arguments = [] if lock is None else [str(lock)]
        self._command = [sys.executable, "-m", "instantaudience_server.passwords.hasher", *arguments]
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="passwords")
        try:
            self._thread.submit(int)  # starts the thread; later on, there may be no more
        except RuntimeError as error:
            raise too_many(NAME) from error
        self._process = self._start()
        self._not_before = 0.0
        self._closed = False
        self._waiting = 0
        self._waiting_of: Counter[str] = Counter()

    @property
    def pid(self) -> int:
        """The process ID of the current hasher."""
        return self._process.pid

    def kill(self) -> None:
        """Kill the hasher; the request under way fails, and the next one starts another."""
        self._process.kill()

    async def matches(
        self, password: str, password_hash: str | None, deadline: float, network: str | None = None
    ) -> bool:
        """Whether the password belongs to the hash. Without a hash, it takes as long, and is False. `network` is that
        of a caller who is not signed in (`guesses.network_of`), whose waiting passwords are limited."""
        with self._bounded(network):
            return bool(await self._ask(deadline, "verify", password, password_hash or None))

    async def hash(self, password: str, deadline: float) -> str:
        """The argon2id hash of a password, as an encoded string (`$argon2id$…`)."""
        return str(await self._ask(deadline, "hash", password))

    def close(self) -> None:
        """End the process; the request under way fails."""
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._process.kill()
        self._thread.shutdown()
        _end(self._process)

    @contextlib.contextmanager
    def _bounded(self, network: str | None) -> Iterator[None]:
        if network is None:
            yield
            return
        if self._waiting_of[network] >= MOST_WAITING_OF_ONE:
            raise overloaded(TOO_MANY)
        self._waiting_of[network] += 1
        try:
            yield
        finally:
            self._waiting_of[network] -= 1
            if not self._waiting_of[network]:
                del self._waiting_of[network]

    async def _ask(self, deadline: float, *request: str | None) -> Any:
        if self._waiting >= MOST_WAITING:
            raise overloaded(TOO_MANY)
        self._waiting += 1
        try:
            async with asyncio.timeout_at(deadline):
                # Cancelling the future removes a request that has not begun from the executor's queue.
                return await asyncio.wrap_future(self._thread.submit(self._exchange, request))
        except TimeoutError:
            raise overloaded(TOO_MANY) from None
        finally:
            self._waiting -= 1

    def _exchange(self, request: tuple[str | None, ...]) -> Any:
        """Send a request to the process and read the answer, in the executor's thread. A process that has died is
        replaced first."""
        if self._process.poll() is not None:
            self._replace()
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        answer = b""
        with contextlib.suppress(BrokenPipeError):
            stdin.write(f"{json.dumps(request)}\n".encode())
            stdin.flush()
            answer = stdout.readline()
        if not answer:
            # The process closes its pipes shortly before `poll` reports its end: the next request must not use it.
            _end(self._process)
            raise unavailable(NOT_CHECKED)
        return json.loads(answer)

    def _replace(self) -> None:
        if self._closed or time.monotonic() < self._not_before:
            raise unavailable(NOT_CHECKED)
        _end(self._process)
        try:
            self._process = self._start()
        except StartError as error:
            self._not_before = time.monotonic() + AGAIN_SECONDS
            log.error(Event.PROCESS_START_FAILED, process=NAME, error=str(error))
            raise unavailable(NOT_CHECKED) from error
        if self._closed:  # since it was asked above: `close` may have killed the former one
            self._process.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(  # noqa: S603 - an interpreter and a module of ours
                self._command,
                env=bare(os.environ) | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        except BlockingIOError as error:  # fork(2), EAGAIN
            raise too_many(NAME) from error
        except OSError as error:
            raise StartError(f"{NAME} cannot be started: {error.strerror}") from error


def is_password_hash(text: str) -> bool:
    """Whether it is an encoded argon2id hash (`$argon2id$…`) whose parameters are within `DEAREST_HASH`."""
    try:
        parameters = extract_parameters(text)
    except InvalidHashError:
        return False
    costs = (parameters.time_cost, parameters.memory_cost, parameters.parallelism)
    return parameters.type is Type.ID and all(cost <= most for cost, most in zip(costs, DEAREST_HASH, strict=True))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process, wait for its end, and close its pipes."""
    process.kill()
    with contextlib.suppress(BrokenPipeError), process:
        pass
