"""What becomes of calls when a Python client is closed."""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from instantaudience import (
    AsyncClient,
    Attempt,
    Client,
    Limits,
    Password,
    Retries,
    Token,
    UnavailableError,
    block,
    user,
)
from instantaudience.testing import FakeService
from instantaudience.v1.audience_pb2 import RtSegment

NOWHERE = "127.0.0.1:1"
TOKEN = Token("hbapi:1:0:0")
PATIENT = Retries(first_seconds=600.0, most_seconds=600.0, uniform=max)


async def test_calls_that_come_later_fail() -> None:
    client = AsyncClient(NOWHERE, TOKEN, plaintext=True, limits=Limits())
    await client.close()
    with pytest.raises(UnavailableError, match="the client is closed"):
        await client.apply([user(1, block(7))])
    with pytest.raises(UnavailableError, match="the client is closed"):
        await anext(client.stream([user(1, block(7))]))
    with pytest.raises(UnavailableError, match="the client is closed"):
        await client.memberships([])
    with pytest.raises(UnavailableError, match="the client is closed"):
        await client.limits()


def test_calls_of_the_blocking_client_that_come_later_fail() -> None:
    client = Client(NOWHERE, TOKEN, plaintext=True, limits=Limits())
    results = client.stream([user(1, block(7))])
    client.close()
    with pytest.raises(UnavailableError, match="the client is closed"):
        client.apply([user(1, block(7))])
    with pytest.raises(UnavailableError, match="the client is closed"):
        next(results)
    client.close()


@pytest.mark.parametrize("call", ["apply", "stream"])
def test_calls_of_the_blocking_client_that_pause_fail(call: str) -> None:
    has_failed = threading.Event()

    def tell(_: Attempt) -> None:
        has_failed.set()

    client = Client(NOWHERE, TOKEN, plaintext=True, limits=Limits(), retries=PATIENT, on_attempt=tell)
    users = [user(1, block(7))]

    def work() -> None:
        if call == "apply":
            client.apply(users, deadline_seconds=6000.0)
        else:
            _ = list(client.stream(users, patience_seconds=6000.0))

    with ThreadPoolExecutor() as threads:
        under_way = threads.submit(work)
        assert has_failed.wait(60.0)
        client.close()
        assert isinstance(under_way.exception(60.0), UnavailableError)


def test_what_the_blocking_client_calls_cannot_close_it() -> None:
    """Its thread would wait for itself."""

    def tell(_: Attempt) -> None:
        client.close()

    client = Client(NOWHERE, TOKEN, plaintext=True, limits=Limits(), on_attempt=tell)
    with ThreadPoolExecutor() as threads, client:
        under_way = threads.submit(client.memberships, ["1"])
        assert isinstance(under_way.exception(60.0), RuntimeError)


@pytest.mark.parametrize("call", ["apply", "stream"])
async def test_calls_that_pause_fail(call: str) -> None:
    has_failed = asyncio.Event()

    def tell(_: Attempt) -> None:
        has_failed.set()

    client = AsyncClient(NOWHERE, TOKEN, plaintext=True, limits=Limits(), retries=PATIENT, on_attempt=tell)
    users = [user(1, block(7))]

    async def work() -> None:
        if call == "apply":
            await client.apply(users, deadline_seconds=6000.0)
        else:
            _ = [result async for result in client.stream(users, patience_seconds=6000.0)]

    await _fails_when_closed(client, work(), has_failed)


@pytest.mark.parametrize("users_there", [1, 10**9])
async def test_of_streams_whose_results_nobody_takes_nothing_goes_on(service: FakeService, users_there: int) -> None:
    """Whether they wait for a user or for room; who asks for the next result learns why."""
    is_given_up = asyncio.Event()

    async def users() -> AsyncIterator[RtSegment]:
        for index in range(users_there):
            yield user(index, block(7))
        try:
            await asyncio.Future()
        finally:
            is_given_up.set()

    client = AsyncClient(service.endpoint, Password("demo", "demo"), plaintext=True, limits=Limits())
    results = client.stream(users())
    assert (await anext(results)).error is None
    sending = {task for task in asyncio.all_tasks() if "_send()" in repr(task)}
    assert len(sending) == 1
    await client.close()
    _, going_on = await asyncio.wait(sending, timeout=5.0)
    assert not going_on
    if users_there == 1:
        await asyncio.wait_for(is_given_up.wait(), timeout=5.0)
    with pytest.raises(UnavailableError, match="the client is closed"):
        _ = [result async for result in results]


async def test_calls_that_wait_for_their_members_limit_fail() -> None:
    has_failed = asyncio.Event()

    def tell(_: Attempt) -> None:
        has_failed.set()

    limits = Limits(posts_per_second=1)
    client = AsyncClient(NOWHERE, TOKEN, plaintext=True, limits=limits, retries=PATIENT, on_attempt=tell)

    async def work() -> None:
        """All but the first wait for their turn by the limit."""
        calls = [client.apply([user(1, block(7))], deadline_seconds=6000.0) for _ in range(600)]
        failures = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(failure, UnavailableError) for failure in failures)

    under_way = asyncio.create_task(work())
    async with asyncio.timeout(60):
        await has_failed.wait()
        await client.close()
        await under_way


@pytest.mark.parametrize("count", [0, 1])
async def test_a_stream_that_waits_for_users_fails(connections: asyncio.Queue[str], count: int) -> None:
    client = AsyncClient(await connections.get(), TOKEN, plaintext=True, limits=Limits(users_per_call=1))
    is_at_it = asyncio.Event()

    async def users() -> AsyncIterator[RtSegment]:
        for _ in range(count):
            yield user(1, block(7))
        is_at_it.set()
        await asyncio.Event().wait()

    async def work() -> None:
        _ = [result async for result in client.stream(users())]

    await _fails_when_closed(client, work(), is_at_it)


async def _fails_when_closed(client: AsyncClient, work: Coroutine[Any, Any, object], is_at_it: asyncio.Event) -> None:
    under_way = asyncio.create_task(work)
    async with asyncio.timeout(60):
        await is_at_it.wait()
        await client.close()
        with pytest.raises(UnavailableError, match="the client is closed"):
            await under_way


@pytest.fixture
async def connections() -> AsyncIterator[asyncio.Queue[str]]:
    """A service that says nothing: its endpoint, when somebody has come."""
    come: asyncio.Queue[str] = asyncio.Queue()
    begun: list[asyncio.StreamWriter] = []

    async def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun.append(writer)
        come.put_nowait("")

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    come.put_nowait(f"{host}:{port}")
    yield come
    for writer in begun:
        writer.close()
    server.close()


@pytest.mark.parametrize("call", ["apply", "stream"])
async def test_calls_under_way_fail_and_are_not_cancelled(connections: asyncio.Queue[str], call: str) -> None:
    """A task group takes no notice of a task that ends with CancelledError."""
    client = AsyncClient(await connections.get(), TOKEN, plaintext=True, limits=Limits())

    async def work() -> None:
        if call == "apply":
            await client.apply([user(1, block(7))])
        else:
            _ = [result async for result in client.stream([user(1, block(7))])]

    under_way = asyncio.create_task(work())
    async with asyncio.timeout(60):
        await connections.get()
        await client.close()
        with pytest.raises(UnavailableError, match="the client is closed"):
            await under_way


async def test_a_call_that_its_caller_cancels_is_cancelled(connections: asyncio.Queue[str]) -> None:
    async with AsyncClient(await connections.get(), TOKEN, plaintext=True, limits=Limits()) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.apply([user(1, block(7))])
