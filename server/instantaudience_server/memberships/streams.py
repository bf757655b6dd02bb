"""Apply a stream of requests (source: audience.proto, StreamSegments)."""

import asyncio
from collections.abc import Awaitable
from itertools import chain

from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server.catalog.access import Caller
from instantaudience_server.memberships.service import MembershipService, Prepared
from instantaudience_server.memberships.wire import ApplyRequest


class Stream:
    """One stream: keeps changes to one user in the order sent, while requests on other users overlap."""

    def __init__(self, memberships: MembershipService) -> None:
        self._memberships = memberships
        self._writing: dict[asyncio.Task[None], frozenset[bytes]] = {}

    async def start(self, request: ApplyRequest, caller: Caller, deadline: float) -> Awaitable[pb.ApplySegmentsResult]:
        """Read a request and start its writes, after earlier writes to the same users; await the result for its answer.

        Raises:
            AudienceError: UNAVAILABLE, here or from the result.
        """
        prepared = await self._memberships.prepare(request, caller, deadline)
        keys = frozenset(chain.from_iterable(alike.keys for alike in prepared.changes))
        earlier = [task for task, busy in self._writing.items() if not keys.isdisjoint(busy)]
        if earlier:
            # A write that is sent again after a redirection or a lost connection may be overtaken by a later one.
            await asyncio.wait(earlier)
        writing = asyncio.create_task(self._memberships.write(prepared, deadline))
        self._writing[writing] = keys
        writing.add_done_callback(self._written)
        return self._finish(writing, prepared)

    async def _finish(self, writing: "asyncio.Task[None]", prepared: Prepared) -> pb.ApplySegmentsResult:
        await writing
        return prepared.result

    def _written(self, task: "asyncio.Task[None]") -> None:
        del self._writing[task]
        if not task.cancelled():
            task.exception()
