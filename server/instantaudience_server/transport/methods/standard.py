"""gRPC's standard services: grpc.health.v1, and reflection. They need no token.

Source: doc/health-checking.md in grpc/grpc.
"""

import asyncio
from collections.abc import AsyncIterator

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.transport.calls.call import Call
from instantaudience_server.transport.calls.kinds import AnyMethod, PublicMethod, PublicStreamMethod
from instantaudience_server.transport.framing import Flaw, flawed
from instantaudience_server.transport.methods.reflection import reflection_methods

HEALTH: str = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

_Status = health_pb2.HealthCheckResponse


class ServingStatus:
    """The serving status that grpc.health.v1 reports: the same for the whole server ("") and for each service."""

    def __init__(self, services: tuple[str, ...]) -> None:
        self._services = frozenset(("", *services))
        self._serving = False
        self._draining = False
        self._changed = asyncio.Event()

    def set_serving(self, serving: bool) -> None:
        """Change the status and tell all watchers; without effect once the server drains."""
        self._serving = serving and not self._draining
        self._changed.set()
        self._changed = asyncio.Event()

    def drain(self) -> None:
        """Change the status to NOT_SERVING for good."""
        self._draining = True
        self.set_serving(False)

    def _status(self, service: str) -> _Status.ServingStatus:
        if service not in self._services:
            return _Status.SERVICE_UNKNOWN
        return _Status.SERVING if self._serving else _Status.NOT_SERVING

    async def check(self, request: health_pb2.HealthCheckRequest, _call: Call, _deadline: float) -> Message:
        """Health.Check: the status of a service.

        Raises:
            AudienceError: NOT_FOUND for an unknown service.
        """
        status = self._status(request.service)
        if status == _Status.SERVICE_UNKNOWN:
            raise AudienceError(Reason.NOT_FOUND, "There is no such service", service=request.service)
        return _Status(status=status)

    async def watch(self, requests: AsyncIterator[health_pb2.HealthCheckRequest]) -> AsyncIterator[Message]:
        """Health.Watch: the status of a service now, and whenever it changes.

        Raises:
            AudienceError: SYNTAX for several requests.
        """
        asked = told = None
        async for request in requests:
            if asked is not None:
                raise flawed(Flaw.SEVERAL)
            asked = request
        while asked is not None:
            changed, status = self._changed, self._status(asked.service)
            if status != told:
                told = status
                yield _Status(status=status)
            await changed.wait()


def standard_methods(status: ServingStatus, services: tuple[str, ...]) -> list[AnyMethod]:
    """The methods of the standard services; reflection lists `services` and the standard ones."""
    return [
        PublicMethod(f"/{HEALTH}/Check", health_pb2.HealthCheckRequest, status.check),
        PublicStreamMethod(f"/{HEALTH}/Watch", health_pb2.HealthCheckRequest, status.watch),
        *reflection_methods((*services, HEALTH)),
    ]
