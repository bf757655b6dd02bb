"""Calls that the gateway refuses by itself (no such path, a body that cannot be read, …), as the service hears of them.

The gateway calls a method of its own for each, with the token that came with the refused call: so the token is checked,
and the call counts as a failed one of its member before its caller has the answer. The method is in no proto file.
Whoever calls it directly counts failures of their own member.
"""

from google.protobuf.empty_pb2 import Empty
from google.rpc import http_pb2

from instantaudience_server.catalog.access import Caller
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.transport.calls.kinds import AnyMethod, Method
from instantaudience_server.usage.counting import Usage
from instantaudience_server.usage.failures import REFUSALS

COUNT_PATH = "/instantaudience.gateway.Refusals/Count"
"""The method. A request is a google.rpc.HttpResponse, of which `status` counts."""


def gateway_refusal_methods(usage: Usage) -> list[AnyMethod]:
    """The method on what the gateway refuses."""

    async def count(request: http_pb2.HttpResponse, caller: Caller, _: float) -> Empty:
        failure = REFUSALS.get(request.status)
        if failure is None:
            raise AudienceError(Reason.SYNTAX, "The gateway refuses no call with this status", field="status")
        await usage.count_failure(caller.member.id, failure)
        return Empty()

    return [Method(COUNT_PATH, http_pb2.HttpResponse, count)]
