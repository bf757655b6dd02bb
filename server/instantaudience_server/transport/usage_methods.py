"""The methods of UsageService."""

from typing import Any

from instantaudience.v1 import usage_pb2 as pb

from instantaudience_server.access import Caller
from instantaudience_server.transport.pipeline import AnyMethod, Method
from instantaudience_server.usage_service import UsageService

SERVICE = pb.DESCRIPTOR.services_by_name["UsageService"].full_name


def usage_methods(usage: UsageService) -> list[AnyMethod]:
    """Each method, wired to the service."""

    # An `EncodedAnswer` is no message, but has all that the pipeline asks of one.
    async def get_processed(request: pb.GetProcessedRequest, caller: Caller, deadline: float) -> Any:
        return await usage.get_processed(request, caller, deadline)

    async def get_usage(request: pb.GetUsageRequest, caller: Caller, deadline: float) -> Any:
        return await usage.get_usage(request, caller, deadline)

    return [
        Method(f"/{SERVICE}/GetProcessed", pb.GetProcessedRequest, get_processed),
        Method(f"/{SERVICE}/GetUsage", pb.GetUsageRequest, get_usage),
        Method(f"/{SERVICE}/GetOverview", pb.GetOverviewRequest, usage.get_overview),
    ]
