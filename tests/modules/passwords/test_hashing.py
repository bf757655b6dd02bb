import asyncio
import contextlib
import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher, Type, extract_parameters
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.passwords import hashing
from instantaudience_server.passwords.hasher import NICENESS, NOBODYS_HASH, PATIENCE_SECONDS, hash_password
from instantaudience_server.passwords.hashing import MOST_WAITING, MOST_WAITING_OF_ONE, Passwords, is_password_hash
from instantaudience_server.process.processes import StartError
from structlog.testing import capture_logs
from support.parts.callers import quick_hash
from support.service.processes import hashers, needs_proc, standing_still
from support.waiting import seconds_from_now, until

pytestmark = pytest.mark.process

ENDLESS_HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("secret").replace("t=1", "t=99999999")
"""A hash whose check takes minutes."""


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    passwords = Passwords()
    yield passwords
    passwords.close()


@pytest.mark.parametrize("password", ["secret", "", "ü日本😀", "a" * 1000])
async def test_a_password_matches_its_hash_and_no_other(passwords: Passwords, password: str) -> None:
    hashed = quick_hash(password)
    assert await passwords.matches(password, hashed, seconds_from_now())
    assert not await passwords.matches(password + "x", hashed, seconds_from_now())
    assert not await passwords.matches(password, quick_hash(password + "x"), seconds_from_now())


@pytest.mark.parametrize("password_hash", [None, "", "secret", "$argon2id$broken", "$argon2id$v=19$m=8,t=1,p=1$x$y"])
async def test_nothing_matches_what_is_no_hash(passwords: Passwords, password_hash: str | None) -> None:
    for password in ("secret", "nobody's", ""):
        assert not await passwords.matches(password, password_hash, seconds_from_now())


async def test_hashes_are_argon2id_with_a_salt(passwords: Passwords) -> None:
    first, second = hash_password("secret"), await passwords.hash("secret", seconds_from_now())
    assert extract_parameters(NOBODYS_HASH) == extract_parameters(first)
    assert first != second
    assert "secret" not in first
    for each in (first, second):
        assert await passwords.matches("secret", each, seconds_from_now())
        # OWASP's Password Storage Cheat Sheet, Argon2id.
        parameters = extract_parameters(each)
        assert (parameters.type, parameters.time_cost, parameters.memory_cost, parameters.parallelism) == (
            Type.ID,
            2,
            19 * 1024,
            1,
        )


async def test_the_event_loop_goes_on(passwords: Passwords) -> None:
    checking = asyncio.create_task(passwords.matches("secret", ENDLESS_HASH, seconds_from_now(60)))
    for _ in range(10):
        await asyncio.sleep(0.001)
    assert not checking.done()
    checking.cancel()


@needs_proc
async def test_what_hashes_gives_way(passwords: Passwords) -> None:
    """A thread for time that nobody else wants, and a patient one; in our session, whose processes they give way to."""
    (hasher,) = hashers()
    await passwords.hash("secret", seconds_from_now())
    threads = threads_of(hasher.pid)
    policies = sorted(os.sched_getscheduler(thread) for thread in threads)
    assert policies == [os.SCHED_OTHER, os.SCHED_IDLE]
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads} == {own + NICENESS}
    assert os.getsid(hasher.pid) == os.getsid(0)


async def test_those_with_one_lock_take_turns_but_not_for_long(tmp_path: Path) -> None:
    """While another one hashes, a password waits, until it has waited long enough."""
    passwords = Passwords(lock=tmp_path / "hashing.lock")
    try:
        hashed = quick_hash("secret")  # not by this process, whose thread on a busy machine might not be done with it
        with (tmp_path / "hashing.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            started = time.perf_counter()
            assert await passwords.matches("secret", hashed, seconds_from_now())
            assert time.perf_counter() - started >= PATIENCE_SECONDS
        assert await passwords.matches("secret", hashed, seconds_from_now())
    finally:
        passwords.close()


@needs_proc
async def test_a_password_is_checked_on_a_busy_machine(passwords: Passwords) -> None:
    """No processor has time that nobody wants."""
    hashed = await passwords.hash("secret", seconds_from_now())
    spin = (sys.executable, "-c", "while True: pass")
    busy = [await asyncio.create_subprocess_exec(*spin) for _ in os.sched_getaffinity(0)]
    try:
        await asyncio.sleep(0.2)
        assert await passwords.matches("secret", hashed, seconds_from_now(60))
    finally:
        for process in busy:
            process.kill()
            await process.wait()


@needs_proc
async def test_a_process_that_was_killed_is_replaced(passwords: Passwords) -> None:
    (hasher,) = hashers()
    hashing = asyncio.create_task(passwords.matches("secret", ENDLESS_HASH, seconds_from_now()))
    await until(lambda: is_at_work(hasher.pid))
    os.kill(hasher.pid, signal.SIGKILL)
    with pytest.raises(AudienceError) as error:
        await hashing
    assert error.value.reason is Reason.UNAVAILABLE
    assert await passwords.matches("secret", quick_hash("secret"), seconds_from_now())


@needs_proc
async def test_what_there_is_no_memory_for_is_no_wrong_password(passwords: Passwords) -> None:
    """It was one: whoever had the right one was told so, and was locked out after ten."""
    seconds = 60  # a process starts anew meanwhile, and fills 256 MiB
    dear = PasswordHasher(time_cost=1, memory_cost=262_144, parallelism=1).hash("secret")
    assert await passwords.matches("secret", quick_hash("secret"), seconds_from_now())
    resource.prlimit(passwords.pid, resource.RLIMIT_AS, (2**28, 2**28))
    with pytest.raises(AudienceError) as failure:
        await passwords.matches("secret", dear, seconds_from_now(seconds))
    assert failure.value.reason is Reason.UNAVAILABLE
    assert await passwords.matches("secret", dear, seconds_from_now(seconds))


@needs_proc
async def test_a_process_that_cannot_be_started_is_tried_again(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sign-ins met a defect (500), each of them."""
    monkeypatch.setattr(hashing, "AGAIN_SECONDS", 600.0)
    hashed = quick_hash("secret")
    (hasher,) = hashers()
    os.kill(hasher.pid, signal.SIGKILL)
    await until(lambda: not hasher.alive)
    with capture_logs() as logs:
        with no_more_files():
            for _ in range(3):
                with pytest.raises(AudienceError) as error:
                    await passwords.matches("secret", hashed, seconds_from_now())
                assert (error.value.reason, error.value.retry_after_seconds) == (Reason.UNAVAILABLE, 1)
        with pytest.raises(AudienceError):  # not yet
            await passwords.matches("secret", hashed, seconds_from_now())
        passwords._not_before = 0.0
        assert await passwords.matches("secret", hashed, seconds_from_now())
    assert [(each["event"], each["process"], each["error"]) for each in logs] == [
        ("process_start_failed", "hasher", "hasher cannot be started: Too many open files")
    ]


@contextlib.contextmanager
def no_more_files() -> Iterator[None]:
    """This process may open none."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("lacking", ["processes", "threads"])
async def test_where_there_may_be_no_more_processes_or_threads(monkeypatch: pytest.MonkeyPatch, lacking: str) -> None:
    """Of a worker that starts, this is the last word; it was a traceback."""

    def refused(*_: Any, **__: Any) -> None:
        raise BlockingIOError(errno.EAGAIN, "not now") if lacking == "processes" else RuntimeError("no new thread")

    if lacking == "processes":
        monkeypatch.setattr(subprocess, "Popen", refused)
    else:
        monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(
        StartError, match=r"^hasher cannot be started, as .* processes or threads \(`ulimit -u`, TasksMax"
    ):
        Passwords()


@needs_proc
async def test_the_process_ends_with_its_worker() -> None:
    passwords = Passwords()
    (hasher,) = hashers()
    hashing = asyncio.create_task(passwords.matches("secret", ENDLESS_HASH, seconds_from_now()))
    await until(lambda: is_at_work(hasher.pid))
    passwords.close()
    assert not hasher.alive
    with pytest.raises(AudienceError):
        await hashing


@needs_proc
async def test_a_password_that_comes_to_its_turn_at_the_end_starts_no_other_process(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end waited for what that one hashed."""
    (hasher,) = hashers()
    begun, may_go_on, exchange = threading.Event(), threading.Event(), passwords._exchange

    def exchange_late(request: tuple[str | None, ...]) -> Any:
        begun.set()
        may_go_on.wait()
        return exchange(request)

    monkeypatch.setattr(passwords, "_exchange", exchange_late)
    hashing = asyncio.create_task(passwords.matches("secret", ENDLESS_HASH, seconds_from_now(60)))
    await until(begun.is_set)
    closing = asyncio.create_task(asyncio.to_thread(passwords.close))
    try:
        await until(lambda: not hasher.alive)
        may_go_on.set()
        await asyncio.wait_for(asyncio.shield(closing), 20)
        assert hashers() == []
        with pytest.raises(AudienceError):
            await hashing
    finally:
        passwords.kill()
        await closing


def is_at_work(pid: int) -> bool:
    """Whether a hasher has read its first request, for which it starts its other thread."""
    return len(threads_of(pid)) == 2


def threads_of(pid: int) -> list[int]:
    """Their IDs."""
    return [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()]


async def test_so_many_may_wait_and_no_more(passwords: Passwords) -> None:
    hashed = quick_hash("secret")
    checks = [passwords.matches("secret", hashed, seconds_from_now(60)) for _ in range(MOST_WAITING + 3)]
    results = await asyncio.gather(*checks, return_exceptions=True)
    assert results[:MOST_WAITING] == [True] * MOST_WAITING
    for error in results[MOST_WAITING:]:
        assert isinstance(error, AudienceError)
        assert error.reason is Reason.UNAVAILABLE
        assert error.retry_after_seconds == 1
    assert await passwords.matches("secret", hashed, seconds_from_now())


@needs_proc
async def test_of_one_network_fewer_may_wait_and_others_get_in(passwords: Passwords) -> None:
    """What has ended makes room, however it has."""
    (hasher,) = hashers()
    hashed = quick_hash("secret")
    with standing_still(hasher.pid):
        checks = [
            asyncio.create_task(passwords.matches("secret", hashed, seconds_from_now(60), "203.0.113.7"))
            for _ in range(MOST_WAITING_OF_ONE + 3)
        ]
        others = [
            asyncio.create_task(passwords.matches("secret", hashed, seconds_from_now(60), network))
            for network in ("203.0.113.8", None)
        ]
        refused, _ = await asyncio.wait(checks, return_when=asyncio.FIRST_EXCEPTION)
        assert refused == set(checks[MOST_WAITING_OF_ONE:])
        for check in refused:
            error = check.exception()
            assert isinstance(error, AudienceError)
            assert (error.reason, error.retry_after_seconds) == (Reason.UNAVAILABLE, 1)
        checks[-4].cancel()
        await asyncio.wait([checks[-4]])
        checks[-4] = asyncio.create_task(passwords.matches("secret", hashed, seconds_from_now(60), "203.0.113.7"))
        await asyncio.sleep(0)
        assert not checks[-4].done()
    assert await asyncio.gather(*checks[:MOST_WAITING_OF_ONE], *others) == [True] * (MOST_WAITING_OF_ONE + 2)


@needs_proc
async def test_what_has_not_begun_by_its_deadline_is_not_done(passwords: Passwords) -> None:
    (hasher,) = hashers()
    with standing_still(hasher.pid):
        hashing = asyncio.create_task(passwords.hash("secret", seconds_from_now(20)))
        await asyncio.sleep(0)
        with pytest.raises(AudienceError) as late:
            await passwords.matches("secret", ENDLESS_HASH, seconds_from_now(0.01))
        assert late.value.reason is Reason.UNAVAILABLE
        assert not hashing.done()
    assert await passwords.matches("secret", await hashing, seconds_from_now())


@needs_proc
async def test_nor_is_what_nobody_waits_for_any_more(passwords: Passwords) -> None:
    (hasher,) = hashers()
    with standing_still(hasher.pid):
        hashing = asyncio.create_task(passwords.hash("secret", seconds_from_now(20)))
        left = asyncio.create_task(passwords.matches("secret", ENDLESS_HASH, seconds_from_now()))
        await asyncio.sleep(0.01)
        left.cancel()
        await asyncio.wait([left])
    assert await passwords.matches("secret", await hashing, seconds_from_now())


def test_what_is_a_hash(subtests: pytest.Subtests) -> None:
    for text, expected in [
        (hash_password("secret"), True),
        (quick_hash("secret"), True),
        (ENDLESS_HASH, False),
        (hash_password("secret").replace("m=19456", "m=262145"), False),
        ("", False),
        ("secret", False),
        ("$argon2i$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo", False),
        ("$2b$12$abcdefghijklmnopqrstuv", False),
    ]:
        with subtests.test(text=text, expected=expected):
            assert is_password_hash(text) == expected
