"""The usage that a running service has counted for the demo account's member."""

from instantaudience.v1 import usage_pb2
from instantaudience.v1.usage_pb2_grpc import UsageServiceStub

from support.service.running import Service


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
