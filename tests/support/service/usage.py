"""The usage that a running service has counted for the demo account's member."""

import time
from collections.abc import Awaitable, Callable

from instantaudience.v1 import usage_pb2
from instantaudience.v1.usage_pb2_grpc import UsageServiceStub
from instantaudience_server.usage.counting import FAILURE_SECONDS

from support.service.running import Service
from support.waiting import eventually


async def usage_of(service: Service) -> usage_pb2.UsageHour:
    """The usage of two days, since tests may run into another hour."""
    async with service.channel("direct") as channel:
        metadata = (("authorization", await service.token()),)
        request = usage_pb2.GetUsageRequest(hours=48)
        return (await UsageServiceStub(channel).GetUsage(request, metadata=metadata)).total


async def failed_calls(service: Service) -> dict[str, int]:
    """Failed calls, by reason."""
    total = await usage_of(service)
    names = {each.number: each.name for each in usage_pb2.CallFailure.DESCRIPTOR.values}
    counts = {names[each.failure].removeprefix("CALL_FAILURE_").lower(): each.calls for each in total.failed_calls}
    assert sum(counts.values()) == total.other_errors
    return counts


async def assert_counted(read: Callable[[], Awaitable[object]], expected: object, began: float) -> None:
    """Check the counts of failed calls after their answers, which wait for these (source: ADR 14): at once, but where
    they have waited as long as they do at most, `began` being the time of the monotonic clock before the calls."""

    async def is_counted() -> None:
        assert await read() == expected

    has_waited = time.monotonic() - began >= FAILURE_SECONDS
    await (eventually(is_counted) if has_waited else is_counted())
