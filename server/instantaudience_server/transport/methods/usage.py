"""The methods of UsageService."""

from instantaudience.v1 import usage_pb2 as pb

from instantaudience_server.transport.calls.kinds import AnyMethod, Method
from instantaudience_server.usage.service import UsageService

SERVICE = pb.DESCRIPTOR.services_by_name["UsageService"].full_name


def usage_methods(usage: UsageService) -> list[AnyMethod]:
    """Each method, wired to the service."""
    return [
        Method(f"/{SERVICE}/GetProcessed", pb.GetProcessedRequest, usage.get_processed),
        Method(f"/{SERVICE}/GetUsage", pb.GetUsageRequest, usage.get_usage),
        Method(f"/{SERVICE}/GetOverview", pb.GetOverviewRequest, usage.get_overview),
    ]
