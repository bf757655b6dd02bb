"""The method by which the gateway reports the calls that it refuses itself (unknown path, unreadable body, …).

The gateway calls it for each refused call, with that call's token. So the token is checked, and the failure is counted
for its member before the caller is answered. The method is in no proto file. A caller that uses it directly only counts
failures of its own member.
"""

from google.protobuf.empty_pb2 import Empty
from google.rpc import http_pb2

from instantaudience_server.catalog.access import Caller
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.transport.calls.kinds import AnyMethod, Method
from instantaudience_server.usage.counting import Usage
from instantaudience_server.usage.failures import REFUSALS

COUNT_PATH = "/instantaudience.gateway.Refusals/Count"
"""The method's path. A request is a google.rpc.HttpResponse, of which only `status` is used."""


def gateway_refusal_methods(usage: Usage) -> list[AnyMethod]:
    """The method, wired to the usage report."""

    async def count(request: http_pb2.HttpResponse, caller: Caller, _: float) -> Empty:
        failure = REFUSALS.get(request.status)
        if failure is None:
            raise AudienceError(Reason.SYNTAX, "The gateway refuses no call with this status", field="status")
        await usage.count_failure(caller.member.id, failure)
        return Empty()

    return [Method(COUNT_PATH, http_pb2.HttpResponse, count)]
