"""How streams of the Python client end, and begin again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
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

Requests = AsyncIterator[StreamSegmentsRequest]
Responses = AsyncIterator[StreamSegmentsResponse]
Context = grpc.aio.ServicerContext[Any, Any]
DEMO = Password("demo", "demo")


@pytest.fixture
async def service() -> AsyncIterator[FakeService]:
    async with FakeService() as service:
        yield service


@asynccontextmanager
async def client_of(
    stream: Callable[[Requests, Context], Responses], told: list[Attempt], retries: Retries | None = None
) -> AsyncIterator[AsyncClient]:
    """A client of a service that does this with streams; it tells its attempts."""
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
            endpoint, Token("x"), plaintext=True, limits=Limits(), retries=retries, on_attempt=told.append
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


async def test_an_answer_to_nothing_is_a_defect_of_the_service() -> None:
    async def stream(requests: Requests, _: Context) -> Responses:
        yield StreamSegmentsResponse()
        async for answer in answers(requests):
            yield answer

    async def nobody() -> AsyncIterator[RtSegment]:
        await asyncio.Event().wait()
        yield user(1, block(7))

    async with client_of(stream, []) as client:
        with pytest.raises(InternalError, match="an answer to nothing") as raised:
            _ = [each async for each in client.stream(nobody())]
    assert raised.value.code is grpc.StatusCode.INTERNAL


async def test_a_stream_that_ends_while_users_are_to_come_begins_again_after_a_pause() -> None:
    told: list[Attempt] = []
    pauses: list[float] = []
    stands = asyncio.Event()

    async def stream(requests: Requests, _: Context) -> Responses:
        if len(told) < 3:
            return
        stands.set()
        async for answer in answers(requests):
            yield answer

    async def users() -> AsyncIterator[RtSegment]:
        await stands.wait()
        yield user(1, block(7))

    def uniform(_: float, most: float) -> float:
        pauses.append(most)
        return 0.01

    async with client_of(stream, told, Retries(uniform=uniform)) as client:
        assert [each.error async for each in client.stream(users())] == [None]
    assert of_streams(told) == [*[grpc.StatusCode.UNAVAILABLE] * 3, grpc.StatusCode.OK]
    assert len(pauses) == 3


async def test_a_stream_whose_users_raise_has_not_failed(service: FakeService) -> None:
    told: list[Attempt] = []

    async def users() -> AsyncIterator[RtSegment]:
        raise LookupError("no more of them")
        yield user(1, block(7))

    async with AsyncClient(service.endpoint, DEMO, plaintext=True, limits=Limits(), on_attempt=told.append) as client:
        with pytest.raises(LookupError):
            _ = [each async for each in client.stream(users())]
    assert of_streams(told) == [grpc.StatusCode.OK]
