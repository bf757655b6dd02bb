"""Who waits in a client waits no longer than its own time, and what it waits for goes on."""

import asyncio
import gc
import math
import time
from typing import Any

import grpc
import pytest
from instantaudience import (
    AsyncClient,
    Attempt,
    DeadlineExceededError,
    Limits,
    Password,
    Retries,
    Token,
    UnauthenticatedError,
    UnavailableError,
    block,
    user,
)
from instantaudience.credentials import Session
from instantaudience.pacing import Pacer
from instantaudience.testing import FakeService
from instantaudience.turns import Shared
from instantaudience.v1.authentication_pb2 import AuthenticateRequest, AuthenticateResponse
from instantaudience.v1.catalog_pb2 import GetUserRequest, GetUserResponse

SECONDS = 0.05
DEMO = Password("demo", "demo")
USERS = [user(1, block(7))]


class Slow(FakeService):
    """A service that keeps questions of one method waiting, until they may go on."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self._method = method
        self.asked = 0
        self.has_begun = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def _wait(self, method: str) -> None:
        if method == self._method:
            self.asked += 1
            self.has_begun.set()
            await self.goes_on.wait()

    async def _authenticate(
        self, request: AuthenticateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AuthenticateResponse:
        await self._wait("Authenticate")
        return await super()._authenticate(request, context)

    async def _get_user(self, request: GetUserRequest, context: grpc.aio.ServicerContext[Any, Any]) -> GetUserResponse:
        await self._wait("GetUser")
        return await super()._get_user(request, context)


async def test_calls_with_less_time_than_it_takes_get_through_in_the_end(subtests: pytest.Subtests) -> None:
    for method in ["Authenticate", "GetUser"]:
        with subtests.test(method=method):
            told: list[Attempt] = []
            async with (
                Slow(method) as service,
                AsyncClient(service.endpoint, DEMO, plaintext=True, on_attempt=told.append) as client,
            ):
                cancelled = asyncio.create_task(client.apply(USERS))
                await service.has_begun.wait()
                cancelled.cancel()
                for _ in range(3):
                    with pytest.raises(DeadlineExceededError):
                        await client.apply(USERS, deadline_seconds=SECONDS)
                service.goes_on.set()
                await client.apply(USERS)
            assert service.asked == 1
            assert [each.code.name for each in told] == ["OK"] * 4  # a sign-in, a user, a member, users


async def test_what_nobody_waits_for_any_more_ends_with_the_client(subtests: pytest.Subtests) -> None:
    for method in ["Authenticate", "GetUser"]:
        with subtests.test(method=method):
            async with Slow(method) as service:
                client = AsyncClient(service.endpoint, DEMO, plaintext=True)
                waiting = asyncio.create_task(client.apply(USERS))
                await service.has_begun.wait()
                await client.close()
                with pytest.raises(UnavailableError, match="the client is closed"):
                    await waiting


async def _never(deadline: float) -> tuple[str, float]:
    await asyncio.Event().wait()
    raise AssertionError


async def test_no_task_is_left_when_a_session_has_ended() -> None:
    before = asyncio.all_tasks()
    session = Session(_never, None)
    with pytest.raises(DeadlineExceededError):
        await session.token(time.monotonic() + SECONDS)
    assert len(asyncio.all_tasks() - before) == 1
    await session.close()
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("fails", [True, False])
def test_nothing_is_reported_of_what_nobody_waits_for(fails: bool, caplog: pytest.LogCaptureFixture) -> None:
    """The client is dropped: it is not closed."""

    async def sign_in(deadline: float) -> tuple[str, float]:
        return await _never(deadline) if not fails else await _refused()

    async def _refused() -> tuple[str, float]:
        await asyncio.sleep(2 * SECONDS)
        raise UnauthenticatedError("wrong")

    async def main() -> None:
        before = asyncio.all_tasks()
        with pytest.raises(DeadlineExceededError):
            await Session(sign_in, None).token(time.monotonic() + SECONDS)
        if fails:
            await asyncio.wait(asyncio.all_tasks() - before)

    asyncio.run(main())
    gc.collect()
    assert caplog.messages == []


async def test_a_refusal_is_told_to_all_who_wait() -> None:
    asked = 0

    async def refuse(deadline: float) -> str:
        nonlocal asked
        asked += 1
        raise UnauthenticatedError("wrong")

    shared = Shared(refuse, Retries(), asyncio.sleep)
    calls = [shared.value(lambda: None, math.inf) for _ in range(5)]
    told = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in told] == [UnauthenticatedError] * 5
    assert asked == 1
    with pytest.raises(UnauthenticatedError):
        await shared.value(lambda: None, math.inf)
    assert asked == 2


async def test_who_has_less_time_learns_why_the_last_attempt_failed(subtests: pytest.Subtests) -> None:
    for credentials in [DEMO, Token("hbapi:1:0:0")]:
        with subtests.test(credentials=credentials):
            async with AsyncClient("127.0.0.1:1", credentials, plaintext=True) as client:
                for _ in range(2):
                    with pytest.raises(UnavailableError, match="connect"):
                        await client.apply([user(1, block(7))], deadline_seconds=0.3)


async def test_only_who_has_more_time_than_what_failed_goes_on() -> None:
    """After the pause that is due."""
    asked, slept = 0, list[float]()

    async def get(deadline: float) -> str:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise UnavailableError("away", retry_after_seconds=40.0)
        return "a"

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    shared = Shared(get, Retries(first_seconds=1.0, uniform=max), sleep)
    deadlines = (time.monotonic() + seconds for seconds in (20.0, 40.0, 60.0))
    calls = [shared.value(lambda: None, deadline) for deadline in deadlines]
    first, second, third = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(first, UnavailableError)
    assert isinstance(second, UnavailableError)
    assert (third, asked, slept) == ("a", 2, [41.0])


async def test_behind_a_sign_in() -> None:
    session = Session(_never, None)
    first = asyncio.create_task(session.token(math.inf))
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        with pytest.raises(DeadlineExceededError):
            await session.token(time.monotonic() + SECONDS)
    first.cancel()
    await session.close()


async def test_behind_requests_that_wait_for_the_quota() -> None:
    """The clock stands: there is never room."""
    pacer, limits = Pacer(lambda: 0.0), Limits(posts_per_second=1)
    await pacer.wait(1, limits, SECONDS)
    first = asyncio.create_task(pacer.wait(1, limits, math.inf))
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        with pytest.raises(DeadlineExceededError):
            await pacer.wait(1, limits, SECONDS)
    first.cancel()
