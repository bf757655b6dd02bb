"""A proxy between a client and the service that causes faults, for the conformance tests of all clients.

It forwards gRPC calls unchanged, except for requests of `FAULTY` methods: each takes the next fault of the plan that
was posted to the control address (`clients/conformance/README.md` describes both). Clients connect to a plain TCP
listener, so that connections can be reset, and led to another server when the previous one sends GOAWAY.
"""

import asyncio
import json
import socket
import struct
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from instantaudience.v1 import audience_pb2

HOST = "127.0.0.1"
GOODBYE_SECONDS = 10.0
"""How long calls in flight may continue after a GOAWAY."""
FAULTY = ("ApplySegments", "StreamSegments", "BatchGetMemberships")
"""The methods whose requests (in streams: each message) take one fault each."""

OPTIONS = (("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),)
"""Clients may send pings as often as the service allows."""
MADE_UP = {"empty": b"", "unreadable": b"\xff"}
"""Responses of faults that do not reach the service."""

_Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True)
class Fault:
    """A fault of one request; see the README."""

    fault: Literal[
        "pass",
        "status",
        "reset",
        "silence",
        "goaway",
        "hang",
        "slow",
        "empty",
        "unreadable",
        "missing",
        "fewer",
        "more",
        "endless",
    ]
    code: str = "UNAVAILABLE"
    reason: str = ""
    retry_after_ms: int | None = None
    pause_ms: int = 0
    applies: bool = False
    ends_stream: bool = False

    @property
    def status(self) -> status_pb2.Status:
        """The status that the request is answered with."""
        number: int = grpc.StatusCode[self.code].value[0]
        status = status_pb2.Status(code=number, message="as the plan asks for")
        if self.reason:
            status.details.add().Pack(error_details_pb2.ErrorInfo(reason=self.reason, domain="instantaudience"))
        if self.retry_after_ms is not None:
            delay = Duration()
            delay.FromMilliseconds(self.retry_after_ms)
            status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        return status


class FaultProxy:
    """The proxy of a service's gRPC address."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.aio.insecure_channel(target)
        self._plan: deque[Fault] = deque()
        self._seen: Counter[str] = Counter()
        self._server: grpc.aio.Server | None = None
        self._inner_port = 0
        self._connections: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}
        """The clients' connections, with the tasks that forward their bytes."""
        self._ended = asyncio.Event()
        self._goodbyes: set[asyncio.Task[bool]] = set()
        self.address = ""
        """The address for clients."""
        self.control_url = ""
        """The URL for posting plans; GET returns what was received."""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["FaultProxy"]:
        """Run the proxy."""
        await self._replace_server()
        listener = await asyncio.start_server(self._carry, HOST, 0)
        control = await asyncio.start_server(self._control, HOST, 0)
        self.address = f"{HOST}:{listener.sockets[0].getsockname()[1]}"
        self.control_url = f"http://{HOST}:{control.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            listener.close()
            control.close()
            self._ended.set()
            self._reset_connections()
            assert self._server is not None
            await self._server.stop(None)
            for task in self._goodbyes:
                task.cancel()
            await asyncio.gather(*self._goodbyes, return_exceptions=True)
            await self._channel.close()

    def load(self, plan: list[dict[str, Any]]) -> None:
        """Load a plan, and forget the previous one and what was received."""
        self._plan = deque(Fault(**fault) for fault in plan)
        self._seen.clear()

    @property
    def seen(self) -> dict[str, Any]:
        """What was received since the plan was loaded: requests by method, and the number of remaining faults."""
        return {"seen": dict(self._seen), "left": len(self._plan)}

    async def _replace_server(self) -> None:
        """Direct new connections to a new server; the previous one sends GOAWAY."""
        before = self._server
        self._server = grpc.aio.server(options=OPTIONS)
        self._server.add_generic_rpc_handlers((_Handler(self._serve),))
        self._inner_port = self._server.add_insecure_port(f"{HOST}:0")
        await self._server.start()
        if before is not None:
            self._goodbyes.add(asyncio.ensure_future(before.stop(GOODBYE_SECONDS)))

    def _reset_connections(self) -> None:
        for writer in self._connections:
            connection = writer.get_extra_info("socket")
            if connection is not None:
                # Without lingering, closing sends a reset.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def _silence_connections(self) -> None:
        """Keep the connections open, but stop forwarding."""
        for carrying in self._connections.values():
            carrying.cancel()

    async def _serve(self, path: str, requests: AsyncIterator[bytes], context: _Context) -> AsyncIterator[bytes]:
        """Handle one call: forward each request, unless its fault prevents it, and return its answer, in order."""
        method = path.rpartition("/")[2]
        is_stream, is_endless = method == "StreamSegments", False
        sent = [(key, value) for key, value in context.invocation_metadata() or () if key != "user-agent"]
        call = self._channel.stream_stream(path)(metadata=sent, timeout=context.time_remaining())
        try:
            async for request in requests:
                self._seen[method] += 1
                fault = self._plan.popleft() if method in FAULTY and self._plan else Fault("pass")
                answer = await self._faulty(fault, request, call, is_stream)
                if fault.fault == "status" and is_stream and not fault.ends_stream:
                    yield audience_pb2.StreamSegmentsResponse(error=fault.status).SerializeToString()
                elif fault.fault == "status":
                    trailing = (("grpc-status-details-bin", fault.status.SerializeToString()),)
                    await context.abort(grpc.StatusCode[fault.code], fault.status.message, trailing)
                elif fault.fault == "missing":
                    return
                elif answer is grpc.aio.EOF:
                    break
                else:
                    yield answer
                if fault.fault in MADE_UP and not is_stream:
                    return
                is_endless |= fault.fault == "endless"
            if is_endless:
                await asyncio.Event().wait()
            if is_stream:
                await call.done_writing()
            while (answer := await call.read()) is not grpc.aio.EOF:
                yield answer
            code, details, trailing = await call.code(), await call.details(), await call.trailing_metadata()
            if code is not grpc.StatusCode.OK:
                await context.abort(code, details, tuple(trailing or ()))
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details() or "", tuple(error.trailing_metadata() or ()))
        finally:
            call.cancel()

    async def _faulty(self, fault: Fault, request: bytes, call: Any, is_stream: bool) -> Any:
        """The service's answer, or none if the fault keeps the request from it."""
        await asyncio.sleep(fault.pause_ms / 1000)
        if fault.fault == "hang":
            await asyncio.Event().wait()
        if fault.fault == "silence":
            self._silence_connections()
            await asyncio.Event().wait()
        if fault.fault == "goaway":
            await self._replace_server()
        if fault.fault == "reset" and not fault.applies:
            self._reset_connections()
            await asyncio.Event().wait()
        if fault.fault in ("status", "missing") and not fault.applies:
            return None
        if fault.fault in MADE_UP:
            return MADE_UP[fault.fault]
        await call.write(request)
        if not is_stream:
            await call.done_writing()
        answer = await call.read()
        if fault.fault == "reset":
            self._reset_connections()
        return _miscounted(answer, fault.fault) if fault.fault in ("fewer", "more") else answer

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward a client's connection to the server, byte by byte."""
        inner_reader, inner_writer = await asyncio.open_connection(HOST, self._inner_port)
        carrying = asyncio.create_task(_copy_both((reader, inner_writer), (inner_reader, writer)))
        self._connections[writer] = carrying
        try:
            try:
                await asyncio.wait([carrying])
            finally:
                del self._connections[writer]
            if carrying.cancelled():
                await self._ended.wait()
        finally:
            inner_writer.transport.abort()
            writer.transport.abort()

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one HTTP request: POST loads a plan; both POST and GET return what was received."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        fields = dict(line.partition(":")[::2] for line in head.split("\r\n")[1:] if line)
        if head.startswith("post"):
            self.load(json.loads(await reader.readexactly(int(fields["content-length"]))))
        body = json.dumps(self.seen).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n")
        writer.write(b"content-length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()


class _Handler(grpc.GenericRpcHandler):
    """Handles every method as a bidirectional stream of bytes, which fits unary methods, too."""

    def __init__(self, serve: Callable[[str, AsyncIterator[bytes], _Context], AsyncIterator[bytes]]) -> None:
        self._serve = serve

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """The handler of a call."""

        # grpc checks for an asynchronous generator function.
        async def serve(requests: AsyncIterator[bytes], context: _Context) -> AsyncIterator[bytes]:
            async for answer in self._serve(details.method, requests, context):
                yield answer

        return grpc.stream_stream_rpc_method_handler(serve)


def _miscounted(answer: bytes, fault: str) -> bytes:
    """The answer of BatchGetMemberships, without its last user, or with it twice."""
    answered = audience_pb2.BatchGetMembershipsResponse.FromString(answer)
    users = answered.response.rt_segment
    if fault == "fewer":
        users.pop()
    else:
        users.append(users[-1])
    return answered.SerializeToString()


async def _copy_both(*ways: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    await asyncio.gather(*[_copy(reader, writer) for reader, writer in ways])


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
