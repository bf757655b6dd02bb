"""Drives the service with calls encoded beforehand, and times each."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass

from instantaudience.v1 import audience_pb2 as pb
from instantaudience_server.transport.framing import PREFIX_BYTES

from bench.http2 import Http2Connection, LoadError, encode_headers
from bench.workload import Shape, json_bodies, request_bodies

UNARY = "/instantaudience.v1.AudienceService/ApplySegments"
STREAM = "/instantaudience.v1.AudienceService/StreamSegments"
REST = "/rt-segment"
GRPC, JSON = "application/grpc", "application/json"


@dataclass(frozen=True, slots=True)
class Result:
    """What a run showed: calls a second, and the calls' latencies in ms."""

    calls_per_second: float
    p50_ms: float
    p99_ms: float


class _Run:
    """Counts calls between a warm-up and the end. Each answer must say that the whole call was valid."""

    def __init__(self, shape: Shape, seconds: float, warmup_seconds: float) -> None:
        self.shape = shape
        self.starts = time.perf_counter() + warmup_seconds
        self.ends = self.starts + seconds
        self.latencies: list[float] = []
        self._checked: set[bytes] = set()

    def counted(self, sent: float) -> bool:
        """Count a call that was sent then and is answered now; False when the run is over."""
        now = time.perf_counter()
        if self.starts <= now < self.ends:
            self.latencies.append(now - sent)
        return now < self.ends

    def check_message(self, message: bytes, kind: type[pb.ApplySegmentsResponse | pb.StreamSegmentsResponse]) -> None:
        if message in self._checked:
            return
        counts = kind.FromString(message).response.message
        if (counts.users_in_request, counts.segments_in_request) != (self.shape.users, self.shape.memberships):
            raise LoadError(f"an answer does not fit its call: {message!r}")
        self._checked.add(message)

    def result(self) -> Result:
        ordered = sorted(self.latencies)
        if not ordered:
            raise LoadError("no call was answered")
        return Result(
            len(ordered) / (self.ends - self.starts),
            1000 * ordered[len(ordered) // 2],
            1000 * ordered[len(ordered) * 99 // 100],
        )


def call_headers(token: str, content_type: str) -> dict[str, str]:
    """A call's headers."""
    return {"content-type": content_type, "te": "trailers", "authorization": token}


def encoded_headers(path: str, token: str, content_type: str, more: dict[str, str] | None = None) -> bytes:
    """A call's headers as `Http2Connection.open` takes them."""
    pseudo = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "bench"}
    return encode_headers(pseudo | call_headers(token, content_type) | (more or {}))


async def unary(
    address: tuple[str, int], token: str, shape: Shape, *, connections: int, in_flight: int, seconds: float
) -> Result:
    """ApplySegments over gRPC: so many connections with so many calls in flight each."""
    block = encoded_headers(UNARY, token, GRPC)

    def check(run: _Run, body: bytes, trailers: dict[str, str]) -> None:
        if trailers.get("grpc-status") != "0":
            raise LoadError(f"a call failed: {trailers}")
        run.check_message(body[PREFIX_BYTES:], pb.ApplySegmentsResponse)

    return await _calls(address, block, request_bodies(shape), shape, check, connections, in_flight, seconds)


async def rest(
    address: tuple[str, int], token: str, shape: Shape, *, connections: int, in_flight: int, seconds: float
) -> Result:
    """POST /rt-segment over HTTP/2."""
    expected = b'{"users_in_request":%d,"segments_in_request":%d},"warnings":[]' % (shape.users, shape.memberships)

    def check(_: _Run, body: bytes, __: dict[str, str]) -> None:
        if expected not in body:
            raise LoadError(f"an answer does not fit its call: {body!r}")

    block = encoded_headers(REST, token, JSON)
    return await _calls(address, block, json_bodies(shape), shape, check, connections, in_flight, seconds)


async def _calls(address, block, bodies, shape, check, connections, in_flight, seconds) -> Result:  # type: ignore[no-untyped-def]
    run = _Run(shape, seconds, warmup_seconds=min(1.0, seconds / 4))
    source = itertools.cycle(bodies)
    drivers = [_UnaryDriver(await _connect(address), run, block, source, check) for _ in range(connections)]
    for driver in drivers:
        for _ in range(in_flight):
            driver.call()
    await _finish(run, [driver.connection for driver in drivers])
    return run.result()


class _UnaryDriver:
    def __init__(self, connection: Http2Connection, run: _Run, block: bytes, source: Iterator[bytes], check) -> None:  # type: ignore[no-untyped-def]
        self.connection = connection
        self._run = run
        self._block = block
        self._source = source
        self._check = check

    def call(self) -> None:
        sent = time.perf_counter()
        received: list[bytes] = []

        def on_end(trailers: dict[str, str]) -> None:
            try:
                self._check(self._run, b"".join(received), trailers)
            except LoadError as error:
                self.connection.fail(error)
                return
            if self._run.counted(sent):
                self.call()

        stream_id = self.connection.open(self._block, received.append, on_end)
        self.connection.send(stream_id, next(self._source), end=True)


async def streams(
    address: tuple[str, int], token: str, shape: Shape, *, connections: int, in_flight: int, seconds: float
) -> Result:
    """StreamSegments: one stream a connection, with so many requests unanswered each."""
    run = _Run(shape, seconds, warmup_seconds=min(1.0, seconds / 4))
    block = encoded_headers(STREAM, token, GRPC)
    source = itertools.cycle(request_bodies(shape))
    drivers = [_StreamDriver(await _connect(address), run, block, source) for _ in range(connections)]
    for driver in drivers:
        for _ in range(in_flight):
            driver.send()
    await _finish(run, [driver.connection for driver in drivers])
    return run.result()


class _StreamDriver:
    def __init__(self, connection: Http2Connection, run: _Run, block: bytes, source: Iterator[bytes]) -> None:
        self.connection = connection
        self._run = run
        self._source = source
        self._sent: list[float] = []
        self._buffer = b""
        self._stream_id = connection.open(block, self._on_data, self._on_end)

    def send(self) -> None:
        self._sent.append(time.perf_counter())
        self.connection.send(self._stream_id, next(self._source), end=False)

    def _on_data(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= PREFIX_BYTES:
            end = PREFIX_BYTES + int.from_bytes(self._buffer[1:PREFIX_BYTES], "big")
            if len(self._buffer) < end:
                return
            message, self._buffer = self._buffer[PREFIX_BYTES:end], self._buffer[end:]
            try:
                self._run.check_message(message, pb.StreamSegmentsResponse)
            except LoadError as error:
                self.connection.fail(error)
                return
            if self._run.counted(self._sent.pop(0)):
                self.send()

    def _on_end(self, trailers: dict[str, str]) -> None:
        self.connection.fail(LoadError(f"the stream ended: {trailers}"))


async def _connect(address: tuple[str, int]) -> Http2Connection:
    _, connection = await asyncio.get_running_loop().create_connection(Http2Connection, *address)
    return connection


async def _finish(run: _Run, connections: list[Http2Connection]) -> None:
    """Wait for the end of a run, or for the first failure."""
    over = asyncio.create_task(asyncio.sleep(run.ends - time.perf_counter() + 0.2))
    try:
        waits = [over, *(connection.failure for connection in connections)]
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for finished in done:
            await finished
    finally:
        over.cancel()
        for connection in connections:
            connection.close()
