"""An HTTP/2 client for load: requests are encoded once, answers are only looked at as far as counting needs.

A client that builds and reads every header costs as much as the service, and two cores have to do for both. RFC 9113
(frames, flow control) and RFC 7541 (HPACK). The server is told to keep no header table, so that equal header blocks
mean the same and each is decoded once.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
HEADER_TABLE_SIZE, ENABLE_PUSH, INITIAL_WINDOW_SIZE = 1, 2, 4
STATUS_200 = 0x88
"""How a header block begins that begins with `:status: 200`."""
DEFAULT_WINDOW = 65_535
LARGEST_WINDOW = 2**31 - 1
LARGEST_FRAME = 16_384


_FRAME_HEADER = struct.Struct(">HBBBI")
"""Length (24 bits, as 16 and 8), type, flags, stream."""


class LoadError(Exception):
    """The service did not answer as it should; nothing measured counts."""


def encode_headers(headers: dict[str, str]) -> bytes:
    """A header block that leaves no trace in the peer's table, so that it can be sent any number of times."""
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    return bytes(encoder.encode([hpack.NeverIndexedHeaderTuple(key, value) for key, value in headers.items()]))


@dataclass(slots=True)
class Stream:
    """One request: what is left to send, and who wants to know of its answer."""

    on_data: Callable[[bytes], None]
    on_end: Callable[[dict[str, str]], None]
    window: int
    unsent: deque[tuple[memoryview, bool]] = field(default_factory=deque)


class Http2Connection(asyncio.Protocol):
    """One connection. `open` starts a request, `send` adds to its body; callbacks tell of data and of the end."""

    def __init__(self) -> None:
        self._streams: dict[int, Stream] = {}
        self._next_id = 1
        self._window = DEFAULT_WINDOW
        self._stream_window = DEFAULT_WINDOW
        self._buffer = b""
        self._unwritten: list[bytes] = []
        self._known_blocks: dict[bytes, dict[str, str]] = {}
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Fails when the connection does."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        settings = struct.pack(">HIHIHI", HEADER_TABLE_SIZE, 0, ENABLE_PUSH, 0, INITIAL_WINDOW_SIZE, LARGEST_WINDOW)
        grow = struct.pack(">I", LARGEST_WINDOW - DEFAULT_WINDOW)
        self._transport.write(PREFACE + _frame(SETTINGS, 0, 0, settings) + _frame(WINDOW_UPDATE, 0, 0, grow))

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail(LoadError("the connection was closed"))

    def close(self) -> None:
        """Close the connection."""
        self.failure.cancel()
        self._transport.close()

    def open(self, block: bytes, on_data: Callable[[bytes], None], on_end: Callable[[dict[str, str]], None]) -> int:
        """Send a request's headers; returns the stream's ID."""
        stream_id = self._next_id
        self._next_id += 2
        self._streams[stream_id] = Stream(on_data, on_end, self._stream_window)
        self._write(_frame(HEADERS, END_HEADERS, stream_id, block))
        return stream_id

    def send(self, stream_id: int, body: bytes, *, end: bool) -> None:
        """Send a part of a request's body, as flow control lets it."""
        stream = self._streams[stream_id]
        size = len(body)
        if not stream.unsent and size <= min(self._window, stream.window, LARGEST_FRAME):
            self._window -= size
            stream.window -= size
            self._write(_frame(DATA, END_STREAM if end else 0, stream_id, body))
            return
        stream.unsent.append((memoryview(body), end))
        self._flush(stream_id, stream)

    def _flush(self, stream_id: int, stream: Stream) -> None:
        while stream.unsent:
            body, end = stream.unsent[0]
            size = min(len(body), self._window, stream.window, LARGEST_FRAME)
            if size <= 0 and len(body):
                break
            last = size == len(body)
            self._write(_frame(DATA, END_STREAM if last and end else 0, stream_id, bytes(body[:size])))
            self._window -= size
            stream.window -= size
            if last:
                stream.unsent.popleft()
            else:
                stream.unsent[0] = (body[size:], end)

    def _write(self, data: bytes) -> None:
        """Write at the end of this turn of the event loop, together with what else comes in it."""
        if not self._unwritten:
            asyncio.get_running_loop().call_soon(self._write_out)
        self._unwritten.append(data)

    def _write_out(self) -> None:
        self._transport.write(b"".join(self._unwritten))
        self._unwritten.clear()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        position, size = 0, len(buffer)
        while size - position >= 9:
            length = int.from_bytes(buffer[position : position + 3], "big")
            if size - position < 9 + length:
                break
            kind, flags = buffer[position + 3], buffer[position + 4]
            stream_id = int.from_bytes(buffer[position + 5 : position + 9], "big")
            self._on_frame(kind, flags, stream_id, buffer[position + 9 : position + 9 + length])
            position += 9 + length
        self._buffer = buffer[position:]

    def _on_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == DATA:
            self._streams[stream_id].on_data(payload)
            if flags & END_STREAM:
                self._streams.pop(stream_id).on_end({})
        elif kind == HEADERS:
            if flags & END_STREAM:
                self._streams.pop(stream_id).on_end(self._decode(payload))
            elif payload[0] != STATUS_200 and (status := self._decode(payload)[":status"]) != "200":
                self.fail(LoadError(f"HTTP status {status}"))
        elif kind == WINDOW_UPDATE:
            self._on_window(stream_id, int.from_bytes(payload, "big"))
        elif kind == SETTINGS and not flags & ACK:
            self._on_settings(payload)
        elif kind == PING and not flags & ACK:
            self._transport.write(_frame(PING, ACK, 0, payload))
        elif kind in (RST_STREAM, GOAWAY, CONTINUATION):
            self.fail(LoadError(f"frame of type {kind}: {payload!r}"))

    def _on_window(self, stream_id: int, increment: int) -> None:
        if stream_id:
            stream = self._streams.get(stream_id)
            if stream is not None:
                stream.window += increment
                self._flush(stream_id, stream)
            return
        self._window += increment
        for waiting_id, stream in list(self._streams.items()):
            if stream.unsent:
                self._flush(waiting_id, stream)

    def _on_settings(self, payload: bytes) -> None:
        for key, value in struct.iter_unpack(">HI", payload):
            if key == INITIAL_WINDOW_SIZE:
                for stream in self._streams.values():
                    stream.window += value - self._stream_window
                self._stream_window = value
        self._transport.write(_frame(SETTINGS, ACK, 0, b""))

    def _decode(self, block: bytes) -> dict[str, str]:
        headers = self._known_blocks.get(block)
        if headers is None:
            headers = self._known_blocks[block] = dict(hpack.Decoder().decode(block))
            if len(self._known_blocks) > 1000:
                self._known_blocks.clear()
        return headers

    def fail(self, problem: Exception) -> None:
        """Report what went wrong."""
        if not self.failure.done():
            self.failure.set_exception(problem)


def _frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    size = len(payload)
    return _FRAME_HEADER.pack(size >> 8, size & 0xFF, kind, flags, stream_id) + payload
