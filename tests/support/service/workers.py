"""Calls to a chosen worker of a service: the kernel distributes connections, and knows to which worker each went."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message
from instantaudience_server.transport.framing import frame
from instantaudience_server.transport.status import ADDRESS_KEY

from support.contract.messages import GET_STATUS, PACKAGE
from support.service.processes import descendants
from support.service.running import Service
from support.service.sockets import owner
from support.wire.peer import Peer, connected, grpc_headers

WORKER_COMMAND = "instantaudience_server.running worker"
"""A substring of the workers' command lines."""

Answer = TypeVar("Answer", bound=Message)


class RefusedError(Exception):
    """A call failed; `args` are the gRPC status and the contract's `error_id`."""


@dataclass(frozen=True)
class WorkerPeer:
    """A connection to one worker; `headers` has what callers do not set themselves."""

    peer: Peer
    headers: tuple[tuple[bytes, bytes], ...] = ()

    async def call(self, method: str, request: Message, answer: type[Answer], token: str = "") -> Answer:
        """Call a method, given as `Service/Method`.

        Raises:
            RefusedError: the answer is an error.
        """
        headers = grpc_headers(f"/{PACKAGE}.{method}", (b"authorization", token.encode()), *self.headers)
        answered = await self.peer.call(headers, frame(request.SerializeToString()))
        if answered.grpc_status != 0:
            raise RefusedError(answered.grpc_status, (answered.headers | answered.trailers).get("error-id"))
        return answer.FromString(answered.message)


@asynccontextmanager
async def connected_to_each(service: Service) -> AsyncIterator[list[WorkerPeer]]:
    """Open a connection to each worker; if only the gateway can connect to them, in its place."""
    if service.host_mode == "grpcio":
        async with AsyncExitStack() as stack:
            sockets = (service.directory / "tmp").glob("*/worker-*.sock")
            peers = [await stack.enter_async_context(connected(f"unix:{socket}")) for socket in sockets]
            yield [WorkerPeer(peer, ((ADDRESS_KEY.encode(), b"127.0.0.1"),)) for peer in peers]
        return
    command = WORKER_COMMAND
    pids = [process.pid for process in descendants(service.process.pid) if command in process.command]
    port = int(service.grpc_address.rpartition(":")[2])
    async with AsyncExitStack() as stack:
        found: dict[int, WorkerPeer] = {}
        while len(found) < len(pids):
            peer = await stack.enter_async_context(connected(service.grpc_address))
            answer = await peer.call(grpc_headers(GET_STATUS), frame(b""))
            assert answer.grpc_status == 0
            pid = owner(port, peer.port, pids)
            assert pid is not None
            found[pid] = WorkerPeer(peer)
        yield list(found.values())
