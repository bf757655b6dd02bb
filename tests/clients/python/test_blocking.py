"""The blocking client's threads: whoever blocks keeps nobody else waiting, and nothing waits for ever."""

import asyncio
import gc
import queue
import subprocess
import sys
import threading
from asyncio.base_events import BaseEventLoop
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
from instantaudience import Attempt, Client, Limits, Password, block, user
from instantaudience.testing import FakeService
from instantaudience.v1.audience_pb2 import RtSegment
from support.waiting import until

Result = TypeVar("Result")
DEMO = Password("demo", "demo")
SECONDS = 30.0
FORKED = """
import os
from instantaudience import Client, Limits, Token, block, user

def outcome(call):
    try:
        call()
    except RuntimeError as error:
        return str(error)

token = Token("hbapi:1:0:0")
client = Client("127.0.0.1:1", token, plaintext=True, limits=Limits())
child = os.fork()
if child == 0:
    told = [outcome(lambda: client.apply([user(1, block(7))])), outcome(lambda: Client("127.0.0.1:1", token))]
    client.close()
    os._exit(0 if all(text and "forked" in text for text in told) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
client.close()
"""
FORKED_WITH_LOOP = """
import asyncio, os, signal
from instantaudience import AsyncClient, Limits, Token, block, user

loop = asyncio.new_event_loop()

async def made():
    return AsyncClient("127.0.0.1:1", Token("hbapi:1:0:0"), plaintext=True, limits=Limits())

client = loop.run_until_complete(made())
child = os.fork()
if child == 0:
    signal.alarm(20)  # One that waits for ever leaves nothing behind.
    try:
        loop.run_until_complete(client.apply([user(1, block(7))], deadline_seconds=0.1))
    except RuntimeError as error:
        os._exit(0 if "forked" in str(error) else 1)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
loop.run_until_complete(client.close())
"""
BLOCKED = """
import queue, threading
from instantaudience import Client, Limits, Token

client = Client("127.0.0.1:1", Token("hbapi:1:0:0"), plaintext=True, limits=Limits())
users = queue.Queue()
asked = threading.Event()

def given():
    asked.set()
    yield users.get()

threading.Thread(target=lambda: list(client.stream(given())), daemon=True).start()
assert asked.wait(30)
"""


async def in_time(work: Callable[[], Result]) -> Result:
    async with asyncio.timeout(SECONDS):
        return await asyncio.to_thread(work)


def client_of(service: FakeService, **more: Callable[[Attempt], None]) -> Client:
    return Client(service.endpoint, DEMO, plaintext=True, **more)


async def test_the_iterator_of_users_may_call_the_client(service: FakeService) -> None:
    def work() -> int:
        with client_of(service) as client:

            def users() -> Iterator[RtSegment]:
                for user_id in ("1", "2"):
                    yield user(user_id, block(7 + len(client.memberships([user_id])[0].seg_block)))

            return client.apply(users()).message.users_in_request

    assert await in_time(work) == 2


async def test_what_is_told_of_attempts_cannot_call_the_client(service: FakeService) -> None:
    clients: list[Client] = []

    def tell(attempt: Attempt) -> None:
        clients[0].memberships(["1"])

    def work() -> None:
        clients.append(client_of(service, on_attempt=tell))
        with clients[0] as client, pytest.raises(RuntimeError, match="cannot wait"):
            client.memberships(["1"])

    await in_time(work)


@pytest.mark.parametrize("given", [SystemExit(3), KeyboardInterrupt(), ValueError("of the caller")])
async def test_what_on_attempt_raises_reaches_the_caller(service: FakeService, given: BaseException) -> None:
    """Also an exception that would end the thread of the event loop."""
    raised = [given]

    def tell(attempt: Attempt) -> None:
        if raised:
            raise raised.pop()

    def work() -> tuple[int, BaseException | None]:
        with client_of(service, on_attempt=tell) as client:
            try:
                client.apply([user(1, block(7))])
            except BaseException as error:
                return client.apply([user(1, block(7))]).message.users_in_request, error
            return 0, None

    assert await in_time(work) == (1, given)


async def test_streams_whose_users_are_waited_for_keep_no_other_waiting(service: FakeService) -> None:
    users: queue.SimpleQueue[RtSegment | None] = queue.SimpleQueue()
    others = 50  # more than a pool of threads has

    def work() -> int:
        with client_of(service) as client:
            waiting = [
                threading.Thread(target=lambda: list(client.stream(iter(users.get, None)))) for _ in range(others)
            ]
            for thread in waiting:
                thread.start()
            answered = sum(result.users for result in client.stream(user(index, block(7)) for index in range(10)))
            for _ in waiting:
                users.put(None)
            for thread in waiting:
                thread.join()
            return answered

    assert await in_time(work) == 10


async def test_users_that_come_slowly_do_not_wait_for_those_after_them(service: FakeService) -> None:
    def work() -> list[int]:
        results: list[int] = []
        came: queue.SimpleQueue[None] = queue.SimpleQueue()

        def users() -> Iterator[RtSegment]:
            yield user(1, block(7))
            yield user(2, block(7))
            came.get()
            yield user(3, block(7))

        with client_of(service) as client:
            for result in client.stream(users()):
                results.append(result.users)
                came.put(None)
        return results

    assert await in_time(work) == [2, 1]


async def test_a_stream_that_is_left_leaves_no_thread(service: FakeService) -> None:
    def work() -> None:
        with client_of(service) as client:
            for _ in client.stream(user(index, block(7)) for index in range(10**9)):
                break
            while "instantaudience-users" in {thread.name for thread in threading.enumerate()}:
                pass

    await in_time(work)


@pytest.mark.parametrize("told", [True, False], ids=["knows whom it tells", "alone"])
async def test_a_client_that_is_dropped_leaves_no_thread(service: FakeService, told: bool) -> None:
    """A client has a thread and three open files."""

    class Owner:
        def __init__(self) -> None:
            self.client = client_of(service, **{"on_attempt": self.tell} if told else {})
            self.attempts = 0

        def tell(self, attempt: Attempt) -> None:
            self.attempts += 1

    def work() -> None:
        for _ in range(3):
            Owner().client.apply([user(1, block(7))])

    def is_over() -> bool:
        gc.collect()
        return "instantaudience" not in {thread.name for thread in threading.enumerate()}

    await in_time(work)
    await until(is_over)


async def test_results_that_nobody_has_may_be_found_by_the_clients_own_thread(service: FakeService) -> None:
    garbage: list[object] = []

    def tell(attempt: Attempt) -> None:
        garbage.clear()
        gc.collect()

    def work() -> int:
        with client_of(service, on_attempt=tell) as client:
            results = client.stream(user(index, block(7)) for index in range(10**9))
            next(results)
            circle: list[object] = [results]
            circle.append(circle)
            garbage.append(circle)
            del results, circle
            return len(client.memberships(["1"]))

    assert await in_time(work) == 1


@pytest.mark.parametrize("given", [SystemExit(3), KeyboardInterrupt(), ValueError("of the users")])
async def test_what_the_users_raise_comes_after_what_was_full_before(
    service: FakeService, given: BaseException
) -> None:
    """Also an exception that would end the thread of the event loop."""

    def users() -> Iterator[RtSegment]:
        yield from (user(index, block(7)) for index in range(15))
        raise given

    def work() -> tuple[int, BaseException | None]:
        with Client(service.endpoint, DEMO, plaintext=True, limits=Limits(users_per_call=10)) as client:
            answered = 0
            try:
                for result in client.stream(users()):
                    answered += result.users
            except BaseException as error:
                return answered, error
            return answered, None

    answered, raised = await in_time(work)
    assert raised is given
    assert answered == 10


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_interrupt_while_work_is_handed_over_leaves_nothing_running(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, moment: str
) -> None:
    """Ctrl-C may come before the thread that waits knows whether the client's thread has begun."""
    handed_over = BaseEventLoop.call_soon_threadsafe
    interrupts: list[threading.Thread] = []
    asked = threading.Event()
    left = threading.Event()

    def interrupted(loop: BaseEventLoop, *given: Any, **more: Any) -> asyncio.Handle:
        is_due = threading.current_thread() in interrupts
        if is_due:
            interrupts.clear()
        if not is_due or moment == "after":
            handle = handed_over(loop, *given, **more)
            if not is_due:
                return handle
            assert asked.wait(SECONDS)
        raise KeyboardInterrupt

    def users() -> Iterator[RtSegment]:
        asked.set()
        left.wait(SECONDS)
        yield user(1, block(7))

    def work() -> int:
        with client_of(service) as client:
            results = client.stream(users())
            interrupts.append(threading.current_thread())
            with pytest.raises(KeyboardInterrupt):
                next(results)
            left.set()
            return client.apply([user(1, block(7))]).message.users_in_request

    monkeypatch.setattr(BaseEventLoop, "call_soon_threadsafe", interrupted)
    assert await in_time(work) == 1
    assert caplog.messages == []


def test_processes_end(subtests: pytest.Subtests) -> None:
    """Also one that was forked, where the client raises RuntimeError, and one whose iterator of users blocks."""
    for program in [FORKED, FORKED_WITH_LOOP, BLOCKED]:
        with subtests.test(program=program):
            subprocess.run([sys.executable, "-c", program], check=True, timeout=SECONDS)
