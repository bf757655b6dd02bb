"""An HTTP/2 client that sends anything, valid or not, and reports what it receives."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    Event,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from support.wire.http2 import GOAWAY, PREFIX_BYTES

Headers = list[tuple[bytes, bytes]]
ANSWER_SECONDS = 20.0
LARGEST_WINDOW = 2**31 - 1


def grpc_headers(path: str | bytes, *more: tuple[bytes, bytes], without: Sequence[bytes] = ()) -> Headers:
    """The headers of a gRPC client; `more` replaces or adds headers, `without` removes some."""
    headers = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": path if isinstance(path, bytes) else path.encode(),
        b":authority": b"localhost",
        b"te": b"trailers",
        b"content-type": b"application/grpc",
    }
    headers.update(more)
    return [(name, value) for name, value in headers.items() if name not in without]


def prefix(flag: int, length: int) -> bytes:
    """The prefix of a gRPC message: flag (1: compressed) and length."""
    return bytes([flag]) + length.to_bytes(4, "big")


@dataclass
class Answer:
    """The response to a request: headers, body and trailers, or `reset`, the error code of a reset stream. `interim`
    has the statuses (1xx) that came before."""

    interim: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    data: bytearray = field(default_factory=bytearray)
    trailers: dict[str, str] = field(default_factory=dict)
    reset: int | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def http_status(self) -> int | None:
        """The HTTP status; None if there were no headers."""
        return int(self.headers[":status"]) if self.headers else None

    @property
    def grpc_status(self) -> int | None:
        """The gRPC status, from headers or trailers."""
        value = (self.headers | self.trailers).get("grpc-status")
        return None if value is None else int(value)

    @property
    def message(self) -> bytes:
        """The only message of the response."""
        assert self.data[0] == 0
        assert int.from_bytes(self.data[1:5], "big") == len(self.data) - 5
        return bytes(self.data[5:])


class Peer:
    """A connection. Unless it `take`s received data, it grants no more than HTTP/2's initial windows."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, takes: bool = True) -> None:
        self._takes = takes
        self._reader = reader
        self._writer = writer
        self._http = H2Connection(
            H2Configuration(
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
            )
        )
        self._answers: dict[int, Answer] = {}
        self._came = asyncio.Event()
        self.lost = False
        self._unread = b""
        self.asked_to_end: int | None = None
        """The error code of the server's GOAWAY."""
        self._http.initiate_connection()
        if takes:
            self._http.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: LARGEST_WINDOW})
            self._http.increment_flow_control_window(LARGEST_WINDOW - 65_535)
        self._flush()
        self._reading = asyncio.create_task(self._read())

    @property
    def port(self) -> int:
        """The port of our end."""
        port: int = self._writer.get_extra_info("sockname")[1]
        return port

    @property
    def server_port(self) -> int:
        """The port of the server's end."""
        port: int = self._writer.get_extra_info("peername")[1]
        return port

    async def call(self, headers: Headers, *chunks: bytes, trailers: Headers | None = None) -> Answer:
        """Send a request with these pieces of a body (each in frames of its own); returns the complete response."""
        stream_id = self.begin(headers, end=not chunks and trailers is None)
        for number, chunk in enumerate(chunks, 1):
            await self.send(stream_id, chunk, end=number == len(chunks) and trailers is None)
        if trailers is not None:
            self._http.send_headers(stream_id, trailers, end_stream=True)
            self._flush()
        return await self.answer(stream_id)

    def begin(self, headers: Headers, *, end: bool = False) -> int:
        """Send a request's headers; returns the stream's ID."""
        stream_id = self._http.get_next_available_stream_id()
        self._answers[stream_id] = answer = Answer()
        if self.lost:
            answer.ended.set()
        self._http.send_headers(stream_id, headers, end_stream=end)
        self._flush()
        return stream_id

    async def send(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        """Send a piece of a request's body, as flow control permits; ignored if the stream has ended."""
        answer = self._answers[stream_id]
        with contextlib.suppress(ProtocolError):
            while (room := self._room_for(stream_id)) < len(data) and not answer.ended.is_set():
                if room:
                    self._http.send_data(stream_id, data[:room])
                    data = data[room:]
                    self._flush()
                else:
                    await self._news()
            self._http.send_data(stream_id, data, end_stream=end)
            self._flush()

    def window(self, stream_id: int) -> int:
        """How many bytes of a request's body the server accepts now."""
        return self._http.local_flow_control_window(stream_id)

    async def answer(self, stream_id: int, seconds: float = ANSWER_SECONDS) -> Answer:
        """The complete response to a request."""
        answer = self._answers[stream_id]
        async with asyncio.timeout(seconds):
            await answer.ended.wait()
        del self._answers[stream_id]
        return answer

    async def message(self, stream_id: int, length: int) -> bytes:
        """The first message of a stream's response, which has this length."""
        answer = self._answers[stream_id]
        async with asyncio.timeout(ANSWER_SECONDS):
            while len(answer.data) < 5 + length:
                assert not answer.ended.is_set()
                await self._news()
        return bytes(answer.data[5 : 5 + length])

    def take(self, stream_id: int, more_bytes: int) -> None:
        """Grant the server a larger window for a response, unless the stream has ended."""
        with contextlib.suppress(ProtocolError):
            self._http.increment_flow_control_window(more_bytes)
            self._http.increment_flow_control_window(more_bytes, stream_id)
        self._flush()

    def reset(self, stream_id: int) -> None:
        """Cancel a request."""
        self._answers.pop(stream_id, None)
        with contextlib.suppress(ProtocolError):
            self._http.reset_stream(stream_id, 8)
        self._flush()

    def write(self, data: bytes) -> None:
        """Send raw bytes, if the connection is still open."""
        if not self.lost and not self._writer.is_closing():
            self._writer.write(data)

    async def close(self) -> None:
        """Close the connection without notice."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._writer.transport.abort()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def _flush(self) -> None:
        self.write(self._http.data_to_send())

    def _room_for(self, stream_id: int) -> int:
        return min(self.window(stream_id), self._http.max_outbound_frame_size)

    async def _news(self) -> None:
        """Wait until something is received."""
        self._came.clear()
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._came.wait()

    async def _read(self) -> None:
        with contextlib.suppress(OSError, ProtocolError):
            while data := await self._reader.read(65_536):
                for event in self._http.receive_data(self._without_goaway(data)):
                    self._on_event(event)
                self._flush()
                self._came.set()
        self.lost = True
        for answer in self._answers.values():
            answer.ended.set()
        self._came.set()

    def _without_goaway(self, data: bytes) -> bytes:
        """The complete frames received, without GOAWAY, after which h2 would accept no others."""
        self._unread += data
        kept = b""
        while len(self._unread) >= PREFIX_BYTES:
            end = PREFIX_BYTES + int.from_bytes(self._unread[:3], "big")
            if len(self._unread) < end:
                break
            frame, self._unread = self._unread[:end], self._unread[end:]
            if frame[3] == GOAWAY:
                self.asked_to_end = int.from_bytes(frame[13:17], "big")
            else:
                kept += frame
        return kept

    def _on_event(self, event: Event) -> None:
        answer = self._answers.get(getattr(event, "stream_id", None) or 0)
        if answer is None:
            return
        if isinstance(event, InformationalResponseReceived):
            answer.interim.append(_decoded(event.headers)[":status"])
        elif isinstance(event, ResponseReceived):
            answer.headers = _decoded(event.headers)
        elif isinstance(event, DataReceived):
            answer.data += event.data
            if self._takes:
                self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id or 0)
        elif isinstance(event, TrailersReceived):
            answer.trailers = _decoded(event.headers)
        elif isinstance(event, StreamReset):
            answer.reset = int(event.error_code)
            answer.ended.set()
        elif isinstance(event, StreamEnded):
            answer.ended.set()


def _decoded(headers: Iterable[tuple[str | bytes, str | bytes]]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in headers}


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


@asynccontextmanager
async def connected(address: str, **options: Any) -> AsyncIterator[Peer]:
    """Connect to `host:port` or `unix:/path`; the options are those of `Peer`."""
    if address.startswith("unix:"):
        streams = await asyncio.open_unix_connection(address.removeprefix("unix:"))
    else:
        host, _, port = address.rpartition(":")
        streams = await asyncio.open_connection(host.strip("[]"), int(port))
    peer = Peer(*streams, **options)
    try:
        yield peer
    finally:
        await peer.close()
