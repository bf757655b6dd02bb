"""How streams of the Python client end, and begin again."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from instantaudience import (
    AsyncClient,
    Attempt,
    InternalError,
    Limits,
    Password,
    Retries,
    Token,
    UnavailableError,
    block,
    streaming,
    user,
)
from instantaudience.testing import FakeService, Fault
from instantaudience.v1.audience_pb2 import (
    ApplySegmentsResult,
    RequestCounts,
    RtSegment,
    StreamSegmentsRequest,
    StreamSegmentsResponse,
)
from instantaudience.watching import OnAttempt

Requests = AsyncIterator[StreamSegmentsRequest]
Responses = AsyncIterator[StreamSegmentsResponse]
Context = grpc.aio.ServicerContext[Any, Any]
DEMO = Password("demo", "demo")


@asynccontextmanager
async def client_of(
    stream: Callable[[Requests, Context], Responses], tell: OnAttempt, retries: Retries | None = None
) -> AsyncIterator[AsyncClient]:
    """A client of a service that does this with streams."""
    method = grpc.stream_stream_rpc_method_handler(
        stream, StreamSegmentsRequest.FromString, StreamSegmentsResponse.SerializeToString
    )
    service, name = streaming.PATH.removeprefix("/").split("/")
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: method}),))
    endpoint = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        async with AsyncClient(
            endpoint,
            Token("x"),
            plaintext=True,
            limits=Limits(users_per_call=1),
            retries=retries,
            on_attempt=tell,
        ) as client:
            yield client
    finally:
        await server.stop(None)


async def answers(requests: Requests) -> Responses:
    """What the service does."""
    async for request in requests:
        counts = RequestCounts(users_in_request=len(request.rt_segment))
        yield StreamSegmentsResponse(response=ApplySegmentsResult(status="OK", message=counts))


def of_streams(told: list[Attempt]) -> list[grpc.StatusCode]:
    return [each.code for each in told if each.method == streaming.PATH]


async def test_a_stream_that_does_not_go_on_is_told_as_what_is_raised(service: FakeService) -> None:
    told: list[Attempt] = []
    retries = Retries(first_seconds=0.01, attempt_seconds=0.1)
    service.faults.append(Fault(pause_seconds=60.0))
    async with AsyncClient(
        service.endpoint, DEMO, plaintext=True, limits=Limits(), retries=retries, on_attempt=told.append
    ) as client:
        with pytest.raises(UnavailableError, match="does not go on") as raised:
            _ = [each async for each in client.stream([user(1, block(7))], patience_seconds=0.1)]
    assert [raised.value.code] == of_streams(told) == [grpc.StatusCode.UNAVAILABLE]


async def test_what_is_told_of_a_streams_end_may_raise(service: FakeService) -> None:
    """Then nothing of the stream is left running."""

    def tell(attempt: Attempt) -> None:
        if attempt.method == streaming.PATH:
            raise ValueError("of the caller")

    users = (user(index, block(7)) for index in range(10**9))
    async with AsyncClient(service.endpoint, DEMO, plaintext=True, on_attempt=tell) as client:
        results = client.stream(users)
        await anext(results)
        with pytest.raises(ValueError, match="of the caller"):
            await results.aclose()
        assert "_send" not in repr(asyncio.all_tasks())


async def test_an_answer_to_nothing_is_a_defect_of_the_service() -> None:
    told: list[Attempt] = []

    async def stream(requests: Requests, _: Context) -> Responses:
        async for answer in answers(requests):
            yield answer
            yield answer

    async with client_of(stream, told.append) as client:
        with pytest.raises(InternalError, match="an answer to nothing") as raised:
            _ = [each async for each in client.stream([user(1, block(7)), user(2, block(7))])]
    assert [attempt.code for attempt in told] == [raised.value.code] == [grpc.StatusCode.INTERNAL]


async def test_a_stream_that_ends_while_users_are_to_come_begins_again_after_a_pause() -> None:
    told: list[Attempt] = []
    pauses: list[float] = []
    has_ended = asyncio.Event()

    async def stream(requests: Requests, _: Context) -> Responses:
        given = answers(requests)
        if not told:
            yield await anext(given)
            return
        async for answer in given:
            yield answer

    async def users() -> AsyncIterator[RtSegment]:
        yield user(1, block(7))
        yield user(2, block(7))
        await has_ended.wait()

    def tell(attempt: Attempt) -> None:
        told.append(attempt)
        has_ended.set()

    def uniform(_: float, most: float) -> float:
        pauses.append(most)
        return 0.01

    async with client_of(stream, tell, Retries(first_seconds=0.1, uniform=uniform)) as client:
        assert [each.error async for each in client.stream(users())] == [None, None]
    assert of_streams(told) == [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK]
    assert pauses == [0.1]


async def test_a_service_that_is_not_there_is_waited_for_as_long_as_the_patience_lasts() -> None:
    retries = Retries(first_seconds=0.01, most_seconds=0.01)
    async with AsyncClient("127.0.0.1:1", Token("x"), plaintext=True, limits=Limits(), retries=retries) as client:
        async with asyncio.timeout(30.0):
            with pytest.raises(UnavailableError):
                _ = [each async for each in client.stream([user(1, block(7))], patience_seconds=0.3)]


async def test_a_stream_whose_users_raise_has_not_failed() -> None:
    told: list[Attempt] = []
    answered = asyncio.Event()

    async def stream(requests: Requests, _: Context) -> Responses:
        async for answer in answers(requests):
            yield answer

    async def users() -> AsyncIterator[RtSegment]:
        yield user(1, block(7))
        yield user(2, block(7))
        await answered.wait()
        raise LookupError("no more of them")

    async def take(client: AsyncClient) -> None:
        async for _ in client.stream(users()):
            answered.set()

    async with client_of(stream, told.append) as client:
        with pytest.raises(LookupError):
            await take(client)
    assert of_streams(told) == [grpc.StatusCode.OK]


@pytest.mark.parametrize("is_idle", [True, False], ids=["while they are waited for", "with the next one"])
async def test_users_who_are_waited_for_use_up_no_patience(is_idle: bool, clock: SimpleNamespace) -> None:
    """Where the stream fails then, another one begins."""
    told: list[Attempt] = []
    is_late, answered, has_failed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stream(requests: Requests, context: Context) -> Responses:
        given = answers(requests)
        if not told:
            yield await anext(given)
            await (is_late.wait() if is_idle else anext(given))
            await context.abort(grpc.StatusCode.UNAVAILABLE, "")
        async for answer in given:
            yield answer

    async def users() -> AsyncIterator[RtSegment]:
        yield user(1, block(7))
        yield user(2, block(7))
        await answered.wait()
        clock.ahead += 1000.0
        is_late.set()
        if is_idle:
            await has_failed.wait()

    def tell(attempt: Attempt) -> None:
        told.append(attempt)
        has_failed.set()

    async with client_of(stream, tell, Retries(first_seconds=0.01)) as client:
        async for result in client.stream(users()):
            assert result.error is None
            answered.set()
    assert of_streams(told) == [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK]


async def test_time_in_which_the_process_was_stopped_makes_no_stream_stuck(clock: SimpleNamespace) -> None:
    told: list[Attempt] = []

    async def stream(requests: Requests, _: Context) -> Responses:
        async for answer in answers(requests):
            clock.ahead += 1000.0
            await asyncio.sleep(4 * streaming.LOOK_SECONDS)
            yield answer

    async with client_of(stream, told.append) as client:
        assert [each.error async for each in client.stream([user(1, block(7))])] == [None]
    assert of_streams(told) == [grpc.StatusCode.OK]


async def test_time_in_which_the_process_was_stopped_uses_up_no_patience(clock: SimpleNamespace) -> None:
    """Where the stream fails then, or the process is stopped before the next one, another one begins."""
    told: list[Attempt] = []

    def tell(attempt: Attempt) -> None:
        told.append(attempt)
        asyncio.get_running_loop().call_soon(stop)

    def stop() -> None:
        clock.ahead += 1000.0

    async def stream(requests: Requests, context: Context) -> Responses:
        async for answer in answers(requests):
            if len(told) < 2:
                stop()
                await context.abort(grpc.StatusCode.UNAVAILABLE, "")
            yield answer

    async with client_of(stream, tell, Retries(first_seconds=0.01)) as client:
        assert [each.error async for each in client.stream([user(1, block(7))])] == [None]
    assert of_streams(told) == [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK]


async def test_a_task_that_is_cancelled_while_a_failed_stream_ends_is_cancelled(service: FakeService) -> None:
    """Its sender, which waits for users, is ended at that moment; no other stream begins."""
    told: list[Attempt] = []
    service.faults.append(Fault(grpc.StatusCode.UNAVAILABLE, ends_stream=True))

    async def users() -> AsyncIterator[RtSegment]:
        yield user(1, block(7))
        await asyncio.Event().wait()

    async def take(client: AsyncClient) -> None:
        async for _ in client.stream(users()):
            pass

    def tell(attempt: Attempt) -> None:
        if attempt.method == streaming.PATH:
            told.append(attempt)
            taking.cancel()

    async with AsyncClient(
        service.endpoint, DEMO, plaintext=True, limits=Limits(users_per_call=1), on_attempt=tell
    ) as client:
        taking = asyncio.create_task(take(client))
        await asyncio.wait({taking}, timeout=30.0)
        assert taking.cancelled()
    assert len(told) == 1


@pytest.mark.parametrize("is_before", [True, False], ids=["before", "when they are told to end"])
async def test_a_task_that_is_cancelled_is_cancelled_though_its_users_fail(
    is_before: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The answers to the users before are still waited for then."""
    is_at_it = asyncio.Event()

    async def stream(requests: Requests, _: Context) -> Responses:
        async for _request in requests:
            pass
        is_at_it.set()
        await asyncio.Event().wait()
        yield StreamSegmentsResponse()

    async def users() -> AsyncIterator[RtSegment]:
        yield user(1, block(7))
        yield user(2, block(7))
        try:
            if not is_before:
                is_at_it.set()
                await asyncio.Event().wait()
        finally:
            raise LookupError("no more of them")

    async def take(client: AsyncClient) -> None:
        async for _ in client.stream(users()):
            pass

    async with client_of(stream, lambda _: None) as client, asyncio.timeout(30):
        taking = asyncio.create_task(take(client))
        await is_at_it.wait()
        taking.cancel()
        await asyncio.wait({taking})
        assert taking.cancelled()
    del taking
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_a_repeated_request_that_is_refused_again_goes_before_those_that_wait_for_the_quota(
    service: FakeService,
) -> None:
    """Else they could use up the patience of one that the service would take at once."""
    service.faults += [
        Fault(grpc.StatusCode.UNAVAILABLE, pause_seconds=2.5, ends_stream=True),
        Fault(grpc.StatusCode.UNAVAILABLE, "SYSTEM"),
    ]
    limits = Limits(users_per_call=1, posts_per_second=2)
    users = [user(index, block(7)) for index in range(6)]
    async with AsyncClient(
        service.endpoint, DEMO, plaintext=True, limits=limits, retries=Retries(first_seconds=0.01)
    ) as client:
        assert [each.error async for each in client.stream(users)] == [None] * 6
    order = [ids[0] for ids in service.requests]
    assert order.index("0") < order.index("5")
