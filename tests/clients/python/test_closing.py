"""What becomes of calls when a Python client is closed."""

import asyncio
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest
from instantaudience import AsyncClient, Attempt, Client, Limits, Retries, Token, UnavailableError, block, user

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
def test_calls_of_the_blocking_client_that_pause_are_cancelled(call: str) -> None:
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
        assert isinstance(under_way.exception(60.0), CancelledError | asyncio.CancelledError)
