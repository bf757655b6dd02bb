"""Stands between a client and the service, and does wrong what it is told to: for the clients of every language.

gRPC goes through it as it came, but for requests of `FAULTY`: each takes the next fault of the plan that was posted to
the control address (`clients/conformance/README.md` describes both). A connection ends at a TCP listener of its own, so
that it can be reset, and led to another server when the one before says goodbye.
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
"""How long calls that are under way may go on after a GOAWAY."""
FAULTY = ("ApplySegments", "StreamSegments", "BatchGetMemberships")
"""The methods whose requests (in a stream: each message) take a fault each."""

OPTIONS = (("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),)
"""Clients may ask as often whether anyone is there as the service lets them."""
MADE_UP = {"empty": b"", "unreadable": b"\xff"}
"""Answers of faults that do not reach the service."""

_Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True)
class Fault:
    """What happens to one request; see the README."""

    fault: Literal[
        "pass", "status", "reset", "silence", "goaway", "hang", "slow", "empty", "unreadable", "missing", "endless"
    ]
    code: str = "UNAVAILABLE"
    reason: str = ""
    retry_after_ms: int | None = None
    pause_ms: int = 0
    applies: bool = False
    ends_stream: bool = False

    @property
    def status(self) -> status_pb2.Status:
        """What the request is answered with."""
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
        """Each with what carries its bytes."""
        self._ended = asyncio.Event()
        self._goodbyes: set[asyncio.Task[bool]] = set()
        self.address = ""
        """Where clients go."""
        self.control_url = ""
        """Where plans are posted, and where GET says what came."""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["FaultProxy"]:
        """Serve until the end."""
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
        """Forget what was planned and seen, and do this from now on."""
        self._plan = deque(Fault(**fault) for fault in plan)
        self._seen.clear()

    @property
    def seen(self) -> dict[str, Any]:
        """What came since the plan was loaded: requests by method, and how many faults are left."""
        return {"seen": dict(self._seen), "left": len(self._plan)}

    async def _replace_server(self) -> None:
        """New connections go to a new server; the one before says goodbye."""
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
                # Without lingering, closing resets.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def _silence_connections(self) -> None:
        """They stay open, and nothing comes through them any more."""
        for carrying in self._connections.values():
            carrying.cancel()

    async def _serve(self, path: str, requests: AsyncIterator[bytes], context: _Context) -> AsyncIterator[bytes]:
        """One call: each request goes on, or not, and its answer comes back, one after the other."""
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
        """What the service answers; nothing where the request does not go on."""
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
        return answer

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A client's connection, as it is, to the server."""
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
        """One HTTP request: POST loads the plan that it has, and both POST and GET are answered with what was seen."""
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
    """Takes every method as a stream of bytes each way, which unary ones are, too."""

    def __init__(self, serve: Callable[[str, AsyncIterator[bytes], _Context], AsyncIterator[bytes]]) -> None:
        self._serve = serve

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """The handler of a call."""

        # grpc looks whether it is an asynchronous generator function itself.
        async def serve(requests: AsyncIterator[bytes], context: _Context) -> AsyncIterator[bytes]:
            async for answer in self._serve(details.method, requests, context):
                yield answer

        return grpc.stream_stream_rpc_method_handler(serve)


async def _copy_both(*ways: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    await asyncio.gather(*[_copy(reader, writer) for reader, writer in ways])


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
