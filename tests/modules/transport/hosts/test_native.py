"""The native host's bounds: what callers can make it hold, and how calls and connections end."""

import asyncio
import gzip
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import hpack
import pytest
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from instantaudience_server.process.processes import free_ports
from instantaudience_server.transport.calls.call import Call
from instantaudience_server.transport.calls.kinds import AnyMethod, PublicMethod, PublicStreamMethod
from instantaudience_server.transport.framing import frame
from instantaudience_server.transport.hosts.native import NativeHost, missing
from support.hosts.interop_app import CALL_TIMEOUT_SECONDS, GOOD_TOKEN, LIMIT_BYTES, interop_service
from support.hosts.running import path, struct
from support.parts.limits import CONNECTION_LIMITS
from support.service.processes import needs_proc
from support.waiting import eventually, until
from support.wire.floods import message_of
from support.wire.http2 import CONTINUATION, DATA, HEADERS, PREFACE, RST_STREAM, SETTINGS, http2_frame
from support.wire.peer import Answer, Peer, connected, grpc_headers

pytestmark = pytest.mark.process

if reason := missing():
    pytest.skip(f"the native host cannot run here: {reason}", allow_module_level=True)

HOST = "127.0.0.1"
EMPTY = frame(b"")
UNAVAILABLE = 14
NO_ERROR, ENHANCE_YOUR_CALM = 0, 11
WINDOW_BYTES = 65_535
LONG_BYTES = 100_000
SHORT_BYTES = 10_000
MOST_HELD_BYTES = 2_000_000
"""Of one stream: both ends' windows, the sockets' buffers, and what waits in between."""


class Methods:
    """Methods that do not what callers hope for, and how far they are."""

    def __init__(self) -> None:
        self.running = self.answered = self.read = 0
        self.may_end = asyncio.Event()

    async def deaf(self, requests: AsyncIterator[Struct]) -> AsyncIterator[Message]:
        """Reads nothing."""
        self.running += 1
        try:
            await asyncio.Event().wait()
            yield Struct()
        finally:
            self.running -= 1

    async def flood(self, requests: AsyncIterator[Struct]) -> AsyncIterator[Message]:
        """Answers without end."""
        while True:
            self.answered += 1
            yield struct(payload="x" * LONG_BYTES)

    async def slow(self, requests: AsyncIterator[Struct]) -> AsyncIterator[Message]:
        """Reads a thousand messages a second, at most."""
        async for _ in requests:
            self.read += 1
            if self.read % 10 == 0:
                await asyncio.sleep(0.01)
        yield Struct()

    async def leave(self, requests: AsyncIterator[Struct]) -> AsyncIterator[Message]:
        """Answers the first request, and ends while more come."""
        async for _ in requests:
            yield struct(payload="x" * SHORT_BYTES)
            self.answered += 1
            await self.may_end.wait()
            return

    async def hang(self, request: Struct, _: Call, deadline: float) -> Message:
        self.running += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.running -= 1
        return Struct()

    async def wait(self, request: Struct, _: Call, deadline: float) -> Message:
        self.running += 1
        await self.may_end.wait()
        self.running -= 1
        return struct(payload="in the end")

    def all(self) -> list[AnyMethod]:
        return [
            PublicStreamMethod("/test/Deaf", Struct, self.deaf),
            PublicStreamMethod("/test/Flood", Struct, self.flood),
            PublicStreamMethod("/test/Slow", Struct, self.slow),
            PublicStreamMethod("/test/Leave", Struct, self.leave),
            PublicMethod("/test/Hang", Struct, self.hang),
            PublicMethod("/test/Wait", Struct, self.wait),
        ]


@pytest.fixture
async def methods() -> Methods:
    return Methods()


@asynccontextmanager
async def serving(
    methods: Methods, address: str | None = None, **options: Any
) -> AsyncIterator[tuple[NativeHost, str]]:
    """The host and its address; at the end it is drained, unless that was done."""
    address = address or f"{HOST}:{free_ports(HOST, 1)[0]}"
    standard, pipeline = await interop_service()
    limits = {"message_limit_bytes": LIMIT_BYTES, "call_timeout_seconds": CALL_TIMEOUT_SECONDS, **CONNECTION_LIMITS}
    host = NativeHost([*standard, *methods.all()], pipeline, [address], **limits | options)
    await host.start()
    yield host, address
    await host.drain(0)


@pytest.fixture
async def address(methods: Methods) -> AsyncIterator[str]:
    async with serving(methods) as (_, address):
        yield address


@pytest.fixture
async def peer(address: str) -> AsyncIterator[Peer]:
    async with connected(address) as opened:
        yield opened


async def assert_served(address: str) -> None:
    async with connected(address) as neighbour:
        assert (await neighbour.call(grpc_headers(path("Empty")), EMPTY)).grpc_status == 0


# What is held.


@asynccontextmanager
async def filling(peer: Peer, stream_id: int, data: bytes) -> AsyncIterator[Callable[[], int]]:
    """Sends it again and again, as the stream takes it; tells how many bytes have been sent."""
    sent = 0

    async def fill() -> None:
        nonlocal sent
        while True:
            await peer.send(stream_id, data)
            sent += len(data)

    task = asyncio.create_task(fill())
    try:
        yield lambda: sent
    finally:
        task.cancel()


@pytest.mark.parametrize("size", [0, 10, 1000, LIMIT_BYTES - 100])
async def test_a_stream_that_is_not_read_holds_its_sender(address: str, peer: Peer, size: int) -> None:
    stream_id = peer.begin(grpc_headers("/test/Deaf"))
    async with filling(peer, stream_id, frame(bytes(size)) * (1 + 10_000 // (size + 5))) as sent:
        before = -1
        while sent() > before:
            before = sent()
            assert before <= MOST_HELD_BYTES
            await asyncio.sleep(0.5)
    assert (await peer.call(grpc_headers(path("Empty")), EMPTY)).grpc_status == 0


@pytest.mark.parametrize(("piece", "status"), [(frame(bytes(47)), 0), (b"\0", None)], ids=["messages", "bytes"])
async def test_all_streams_may_be_full_of_short_messages_in_frames_of_their_own(
    peer: Peer, piece: bytes, status: int | None
) -> None:
    """Many clients send each message in a frame of its own. Shorter frames, which take much more memory than what is in
    them, end the connection."""
    for _ in range(99):
        stream_id = peer.begin(grpc_headers("/test/Deaf"))
        peer.write(http2_frame(DATA, 0, stream_id, piece) * (WINDOW_BYTES // len(piece)))
    assert (await peer.call(grpc_headers(path("Empty")), EMPTY)).grpc_status == status
    assert peer.lost == (status is None)


async def test_a_stream_that_is_read_slowly_holds_what_is_read_soon(address: str, peer: Peer, methods: Methods) -> None:
    """Else small messages waited for seconds in what is a good window for large ones."""
    message = frame(struct(payload="x" * 30).SerializeToString())
    async with filling(peer, peer.begin(grpc_headers("/test/Slow")), message * 10) as sent:
        await until(lambda: sent() >= WINDOW_BYTES)
        await until(lambda: sent() - methods.read * len(message) <= WINDOW_BYTES // 3)


async def test_a_far_callers_stream_stays_open(peer: Peer) -> None:
    """Each time that it hears of us, it sends all that it may: less than is read until then, however little that is."""
    message = frame(struct(payload="x" * 1000).SerializeToString())
    stream_id = peer.begin(grpc_headers("/test/Slow"))
    windows = []
    for _ in range(8):
        await peer.send(stream_id, message * (peer.window(stream_id) // len(message)))
        await asyncio.sleep(0.6)
        windows.append(peer.window(stream_id))
    # h2 withholds an update that is small against what is open; the next one has it.
    assert max(windows[-2:]) >= WINDOW_BYTES - len(message)
    assert min(windows[-2:]) >= WINDOW_BYTES * 2 // 3


async def test_a_caller_that_does_not_read_holds_its_stream(address: str, methods: Methods) -> None:
    async with connected(address, takes=False) as slow:
        stream_id = slow.begin(grpc_headers("/test/Flood"))
        await until(lambda: methods.answered > 0)
        await asyncio.sleep(0.5)
        assert methods.answered * LONG_BYTES <= MOST_HELD_BYTES
        slow.reset(stream_id)
    await assert_served(address)


@pytest.mark.parametrize("method", [path("Unary"), "/test/Deaf"])
async def test_messages_that_do_not_end_hold_their_senders(address: str, peer: Peer, method: str) -> None:
    """Together, those of a connection have room for 32 MB; others are served, and so is the connection afterwards."""
    streams = [peer.begin(grpc_headers(method)) for _ in range(99)]
    part, sent = frame(bytes(LIMIT_BYTES))[:-1], 0

    async def fill(stream_id: int) -> None:
        nonlocal sent
        for place in range(0, len(part), 16_384):
            await peer.send(stream_id, part[place : place + 16_384])
            sent += 16_384

    filling = [asyncio.create_task(fill(stream_id)) for stream_id in streams]
    await until(lambda: sent > 32_000_000)
    await asyncio.sleep(1)
    assert sent < 32 * 2**20 + 99 * 2**18 + MOST_HELD_BYTES
    await assert_served(address)
    assert (await peer.call(grpc_headers(path("Empty")), EMPTY)).grpc_status == 0
    for task in filling:
        task.cancel()
    for stream_id in streams:
        peer.reset(stream_id)
    whole = frame(struct(payload="x" * 500_000, size=1).SerializeToString())
    pieces = [whole[place : place + 16_384] for place in range(0, len(whole), 16_384)]
    assert (await peer.call(grpc_headers(path("Unary")), *pieces)).grpc_status == 0


@pytest.mark.parametrize("what", ["a message under way", "a message that nobody has read"])
async def test_a_stream_that_has_ended_holds_no_room(address: str, methods: Methods, what: str) -> None:
    """Though its caller has not taken its answer: one that is longer takes all that the caller would take."""
    whole = frame(struct(payload="x" * (LIMIT_BYTES - 100), size=1).SerializeToString())
    bomb = message_of(gzip.compress(bytes(LIMIT_BYTES)), is_compressed=True)
    more = whole[:-1] if what == "a message under way" else bomb
    async with connected(address, takes=False) as peer:
        longer = peer.begin(grpc_headers(path("Unary")))
        await peer.send(longer, frame(struct(size=LIMIT_BYTES).SerializeToString()), end=True)
        streams = [peer.begin(grpc_headers("/test/Leave", (b"grpc-encoding", b"gzip"))) for _ in range(50)]
        filling = [asyncio.create_task(peer.send(each, EMPTY + more)) for each in streams]
        await until(lambda: methods.answered == len(streams))
        await asyncio.sleep(1)
        methods.may_end.set()
        for task in filling:
            task.cancel()
        beyond, again = (peer.begin(grpc_headers(path("Unary"))) for _ in range(2))
        await peer.send(beyond, whole[:-1])
        await peer.send(again, whole, end=True)
        with pytest.raises(TimeoutError):  # it is served, and not refused: that would need no room at its caller's
            await peer.answer(again, 0.2)


async def test_long_answers_that_nobody_takes_have_so_much_room(address: str) -> None:
    """Those of an address have 256 MB; calls that would need more end. Others are served when it is free again."""
    request = frame(struct(size=LIMIT_BYTES).SerializeToString())
    async with AsyncExitStack() as stack:
        resets: list[asyncio.Task[Answer]] = []
        for _ in range(3):
            slow = await stack.enter_async_context(connected(address, takes=False))
            for _ in range(99):
                stream_id = slow.begin(grpc_headers(path("Unary")))
                await slow.send(stream_id, request, end=True)
                resets.append(asyncio.create_task(slow.answer(stream_id)))
        await until(lambda: sum(each.done() for each in resets) >= len(resets) - 256)
        await assert_served(address)
        ended = [each.result().reset for each in resets if each.done()]
        assert ended == [ENHANCE_YOUR_CALM] * (len(resets) - 256)
        for each in resets:
            each.cancel()
    async with connected(address) as peer:
        assert (await peer.call(grpc_headers(path("Unary")), request)).grpc_status == 0


@pytest.mark.parametrize("method", [path("Unary"), path("Output")])
async def test_answers_that_nobody_takes_have_room_on_many_streams(address: str, method: str) -> None:
    """Together, those of an address have it that are not long, too; others end. They wait as long as they like."""
    request = frame(struct(size=LONG_BYTES, sizes=[LONG_BYTES]).SerializeToString())
    fitting = 256 * 2**20 // LONG_BYTES
    async with AsyncExitStack() as stack:
        resets: list[asyncio.Task[Answer]] = []
        while len(resets) < fitting * 1.1:
            slow = await stack.enter_async_context(connected(address, takes=False))
            for _ in range(99):
                stream_id = slow.begin(grpc_headers(method))
                await slow.send(stream_id, request, end=True)
                resets.append(asyncio.create_task(slow.answer(stream_id, 100)))
        most_ended = len(resets) - fitting

        async def enough_have_ended() -> None:
            assert sum(each.done() for each in resets) >= most_ended * 0.8

        await eventually(enough_have_ended, 60)
        await assert_served(address)
        ended = [each.result().reset for each in resets if each.done()]
        assert ended == [ENHANCE_YOUR_CALM] * len(ended)
        assert len(ended) <= most_ended
        for each in resets:
            each.cancel()
    async with connected(address) as peer:
        assert (await peer.call(grpc_headers(path("Unary")), request)).grpc_status == 0


@pytest.mark.parametrize("method", [path("Unary"), path("Output")])
async def test_a_long_answer_that_is_not_taken_ends(methods: Methods, method: str) -> None:
    """Short ones wait."""
    async with (
        serving(methods, connection_seconds=0.5) as (_, address),
        connected(address, takes=False) as slow,
    ):
        calls = [slow.begin(grpc_headers(method)) for _ in range(2)]
        for stream_id, size in zip(calls, (LIMIT_BYTES, SHORT_BYTES), strict=True):
            await slow.send(stream_id, frame(struct(size=size, sizes=[size]).SerializeToString()), end=True)
        assert (await slow.answer(calls[0])).reset == ENHANCE_YOUR_CALM
        with pytest.raises(TimeoutError):
            await slow.answer(calls[1], 1.0)


async def test_an_answer_that_is_not_taken_ends_a_stream_from_the_gateway(methods: Methods, tmp_path: Path) -> None:
    """However short: its caller's room in the gateway's memory is full."""
    async with (
        serving(methods, f"unix:{tmp_path}/host.sock", connection_seconds=0.5) as (_, address),
        connected(address, takes=False) as gateway,
    ):
        stream_id = gateway.begin(grpc_headers("/test/Flood"))
        assert (await gateway.answer(stream_id)).reset == ENHANCE_YOUR_CALM


async def test_a_long_answer_that_is_taken_slowly_does_not_end(methods: Methods) -> None:
    """Something of it is taken in time, again and again."""
    async with (
        serving(methods, connection_seconds=0.5) as (_, address),
        connected(address, takes=False) as slow,
    ):
        call = slow.begin(grpc_headers(path("Unary")))
        await slow.send(call, frame(struct(size=LIMIT_BYTES).SerializeToString()), end=True)
        for _ in range(6):
            await asyncio.sleep(0.2)
            slow.take(call, LIMIT_BYTES // 6)
        answer = await slow.answer(call)
    assert (answer.reset, answer.grpc_status) == (None, 0)


async def test_large_requests_hold_room_until_they_are_answered(methods: Methods, peer: Peer) -> None:
    """32 MB of a connection, and one request beyond that."""
    whole = frame(struct(payload="x" * (LIMIT_BYTES - 100)).SerializeToString())
    streams = [peer.begin(grpc_headers("/test/Wait")) for _ in range(40)]
    sending = [asyncio.create_task(peer.send(each, whole, end=True)) for each in streams]
    await until(lambda: methods.running >= 32)
    await asyncio.sleep(0.5)
    assert methods.running == 33
    methods.may_end.set()
    assert {(await peer.answer(each)).grpc_status for each in streams} == {0}
    await asyncio.gather(*sending)


async def test_more_large_requests_at_once_than_there_is_room_for_are_all_served(address: str, peer: Peer) -> None:
    """Their pieces come by turns: none is kept by parts of others that wait as well."""
    whole = frame(struct(payload="x" * (LIMIT_BYTES - 100), size=1).SerializeToString())
    streams = [peer.begin(grpc_headers(path("Unary"))) for _ in range(99)]

    async def fill(stream_id: int) -> None:
        for place in range(0, len(whole), 16_384):
            await peer.send(stream_id, whole[place : place + 16_384], end=place + 16_384 >= len(whole))

    await asyncio.gather(*map(fill, streams))
    assert {(await peer.answer(stream_id)).grpc_status for stream_id in streams} == {0}


async def test_messages_that_become_long_have_room_before_they_do(address: str, peer: Peer) -> None:
    """Those of streams until they are read: of a connection, they have no more than 32 MB together."""
    whole = frame(struct(payload="x" * 20_000, size=1).SerializeToString())
    bomb = message_of(gzip.compress(bytes(LIMIT_BYTES)), is_compressed=True)
    streams = [peer.begin(grpc_headers("/test/Deaf", (b"grpc-encoding", b"gzip"))) for _ in range(98)]
    for stream_id in streams:
        await peer.send(stream_id, bomb)
    await assert_served(address)
    held = 0

    async def call_until_held() -> None:
        nonlocal held
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            held = peer.begin(grpc_headers(path("Unary")))
            await peer.send(held, whole[:10_000])
            await peer.send(held, whole[10_000:], end=True)
            assert (await peer.answer(held, 0.5)).grpc_status == 0

    with pytest.raises(TimeoutError):
        await call_until_held()
    for stream_id in streams:
        peer.reset(stream_id)
    assert (await peer.answer(held)).grpc_status == 0


@needs_proc
@pytest.mark.parametrize("method", [path("Unary"), "/test/Deaf"])
@pytest.mark.parametrize("size", [LIMIT_BYTES, 2 * LIMIT_BYTES], ids=["the longest", "too long"])
async def test_what_strangers_have_decompressed_takes_little_of_the_hosts_thread(
    address: str, methods: Methods, method: str, size: int
) -> None:
    """16 MB at once, and 50 MB a second, which is some hundredths of it; others need not wait for that, nor those who
    are known for their own."""
    bomb = message_of(gzip.compress(bytes(size)), is_compressed=True)
    packed = message_of(gzip.compress(b""), is_compressed=True)
    compressed, token = (b"grpc-encoding", b"gzip"), (b"authorization", GOOD_TOKEN.encode())
    async with AsyncExitStack() as stack:
        *peers, known = [await stack.enter_async_context(connected(address)) for _ in range(11)]
        call_of_known = grpc_headers(path("UnaryOfCaller"), compressed, token)
        stream_of_known = known.begin(grpc_headers("/test/Slow", compressed))

        async def served() -> None:
            read = methods.read
            await known.send(stream_of_known, packed)
            await until(lambda: methods.read > read)
            assert (await known.call(call_of_known, packed)).grpc_status == 0

        await served()
        calls: list[asyncio.Task[Answer]] = []
        before, began = host_thread_seconds(), time.monotonic()
        for peer in peers:
            for _ in range(90):
                stream = peer.begin(grpc_headers(method, compressed))
                await peer.send(stream, bomb, end=True)
                calls.append(asyncio.create_task(peer.answer(stream)))
        await assert_served(address)
        await asyncio.sleep(0.5)
        assert sum(call.done() for call in calls) < 20 + 50 * (time.monotonic() - began)
        assert host_thread_seconds() - before < 0.12 + 0.1 * (time.monotonic() - began)
        async with asyncio.timeout(5):
            for _ in range(3):
                await served()
        for call in calls:
            call.cancel()


def host_thread_seconds() -> float:
    """What the host's thread has used of a processor."""
    threads = [
        thread for thread in Path("/proc/self/task").iterdir() if (thread / "comm").read_text() == "native-host\n"
    ]
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


async def test_a_long_message_of_a_stream_has_to_be_whole_in_time(methods: Methods) -> None:
    """Where nobody reads what came before it, that is not its sender's fault. Each has a time of its own."""
    long, shorter = (frame(struct(payload="x" * size).SerializeToString()) for size in (300_000, LONG_BYTES))
    async with serving(methods, call_timeout_seconds=0.5) as (_, address), connected(address) as peer:
        slow, waiting = peer.begin(grpc_headers(path("Output"))), peer.begin(grpc_headers("/test/Deaf"))
        quick = peer.begin(grpc_headers(path("Collect")))
        await peer.send(quick, shorter)
        await peer.send(slow, long[:200_000])
        async with filling(peer, waiting, long):
            answer = await peer.answer(slow)
            assert answer.grpc_status == UNAVAILABLE
            assert "did not arrive in time" in (answer.headers | answer.trailers)["grpc-message"]
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.7):
                    await peer.answer(waiting)
        await peer.send(quick, shorter, end=True)
        assert (await peer.answer(quick)).grpc_status == 0


async def test_messages_hold_no_more_room_than_they_are_long(address: str, peer: Peer, methods: Methods) -> None:
    """However long they might have become when they were decompressed."""
    packed, compressed = message_of(gzip.compress(bytes(8_000)), is_compressed=True), (b"grpc-encoding", b"gzip")
    for _ in range(4):
        await peer.send(peer.begin(grpc_headers("/test/Deaf", compressed)), packed * 20)
    empty = message_of(gzip.compress(b""), is_compressed=True)
    for _ in range(60):
        await peer.send(peer.begin(grpc_headers("/test/Wait", compressed)), empty, end=True)
    await until(lambda: methods.running == 64)
    whole = frame(struct(payload="x" * 500_000, size=1).SerializeToString())
    answer = await peer.call(grpc_headers(path("Unary")), whole[:10_000], whole[10_000:])
    assert answer.grpc_status == 0


# Floods.


async def flood(address: str, first: bytes, more: bytes) -> bytes:
    """Send `first`, then `more` again and again, until the connection is gone; what has come back."""
    reader, writer = await asyncio.open_connection(*address.split(":"))
    writer.write(PREFACE + http2_frame(SETTINGS, 0, 0, b"") + first)
    received = asyncio.create_task(reader.read())
    try:
        async with asyncio.timeout(10):
            while not received.done():
                writer.write(more)
                await writer.drain()
                await asyncio.sleep(0)
            return await received
    except ConnectionError:
        return b""
    finally:
        received.cancel()
        writer.transport.abort()


async def test_a_flood_of_resets_ends_the_connection(address: str, methods: Methods) -> None:
    block = hpack.Encoder().encode(grpc_headers("/test/Hang"), huffman=False)
    resets = b"".join(
        http2_frame(HEADERS, 5, stream_id, block) + http2_frame(RST_STREAM, 0, stream_id, b"\0\0\0\x08")
        for stream_id in range(1, 4001, 2)
    )
    answer = await flood(address, resets, b"")
    assert ENHANCE_YOUR_CALM.to_bytes(4, "big") in answer
    await until(lambda: methods.running == 0)
    await assert_served(address)


@pytest.mark.parametrize("method", ["/test/Hang", "/test/Deaf"])
async def test_calls_that_are_given_up_one_after_the_other_end_the_connection(
    address: str, peer: Peer, method: str
) -> None:
    """Each of them was looked at before."""
    batches = 0
    while not peer.lost and batches < 50:
        streams = [peer.begin(grpc_headers(method)) for _ in range(99)]
        answer = await peer.call(grpc_headers(path("Empty")), EMPTY)
        assert peer.lost or answer.grpc_status == 0
        for stream_id in streams:
            peer.reset(stream_id)
        batches += 1
    assert 2 < batches < 50
    await assert_served(address)


async def test_calls_that_are_given_up_do_not_end_the_gateways_connection(methods: Methods, tmp_path: Path) -> None:
    """It has those of all callers."""
    async with serving(methods, f"unix:{tmp_path}/host.sock") as (_, address), connected(address) as gateway:
        assert (await gateway.call(grpc_headers(path("Empty")), EMPTY)).grpc_status == 0
        streams = [gateway.begin(grpc_headers("/test/Deaf")) for _ in range(300)]
        await until(lambda: methods.running == len(streams))
        for stream_id in streams:
            gateway.reset(stream_id)
        await until(lambda: methods.running == 0)
        for _ in range(2):
            assert (await gateway.call(grpc_headers(path("Empty")), EMPTY)).grpc_status == 0


async def test_headers_without_end_end_the_connection(address: str) -> None:
    """Before what is too long has come."""
    part = http2_frame(CONTINUATION, 0, 1, hpack.Encoder().encode([(b"x-a", b"a" * 16_000)], huffman=False))
    await flood(address, http2_frame(HEADERS, 0, 1, b"\x82") + part + part + part[:9], b"")
    await assert_served(address)


@pytest.mark.parametrize(("count", "status"), [(1, 200), (2, 431), (10, None)])
async def test_headers_over_the_limit(address: str, peer: Peer, count: int, status: int | None) -> None:
    """Of a call, 16 KB; of one that is far above it, the connection ends."""
    long = [(b"x-%d" % number, b"x" * 10_000) for number in range(count)]
    answer = await peer.call(grpc_headers(path("Empty"), *long), EMPTY)
    assert answer.http_status == status
    assert peer.lost == (status is None)
    if not peer.lost:
        assert (await peer.call(grpc_headers(path("Empty")), EMPTY)).grpc_status == 0


@pytest.mark.parametrize("most", [100, 3])
async def test_only_so_many_streams_at_once(methods: Methods, most: int) -> None:
    async with serving(methods, max_streams=most) as (_, address), connected(address) as peer:
        await peer.call(grpc_headers(path("Empty")), EMPTY)
        streams = [peer.begin(grpc_headers("/test/Hang"), end=False) for _ in range(most)]
        with pytest.raises(Exception, match="outbound streams"):
            peer.begin(grpc_headers("/test/Hang"))
        for stream_id in streams:
            peer.reset(stream_id)


async def test_headers_may_have_less(methods: Methods) -> None:
    async with serving(methods, max_header_bytes=8192) as (_, address), connected(address) as peer:
        for size, status in ((7_000, 200), (8_000, 431)):
            answer = await peer.call(grpc_headers(path("Empty"), (b"x-long", b"x" * size)), EMPTY)
            assert answer.http_status == status


# The end of calls and connections.


@pytest.mark.parametrize("leave", ["reset", "close"])
async def test_a_caller_that_leaves(address: str, methods: Methods, leave: str) -> None:
    async with connected(address) as leaving:
        unary, stream = leaving.begin(grpc_headers("/test/Hang")), leaving.begin(grpc_headers("/test/Deaf"))
        await leaving.send(unary, EMPTY, end=True)
        await until(lambda: methods.running == 2)
        if leave == "reset":
            leaving.reset(unary)
            leaving.reset(stream)
            await until(lambda: methods.running == 0)
    await until(lambda: methods.running == 0)


async def test_a_caller_that_has_left_before_it_is_seen(address: str, methods: Methods, peer: Peer) -> None:
    for _ in range(50):
        stream_id = peer.begin(grpc_headers("/test/Hang"))
        await peer.send(stream_id, EMPTY, end=True)
        peer.reset(stream_id)
    assert (await peer.call(grpc_headers(path("Empty")), EMPTY)).grpc_status == 0
    await until(lambda: methods.running == 0)


async def test_a_drain_lets_calls_finish(methods: Methods) -> None:
    async with serving(methods) as (host, address), connected(address) as peer:
        waiting = asyncio.create_task(peer.call(grpc_headers("/test/Wait"), EMPTY))
        await until(lambda: methods.running == 1)
        draining = asyncio.create_task(host.drain(60))
        await until(lambda: peer.asked_to_end == NO_ERROR)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address.split(":"))
        methods.may_end.set()
        answer = await waiting
        assert (answer.grpc_status, Struct.FromString(answer.message)["payload"]) == (0, "in the end")
        await asyncio.wait_for(draining, 5)
        await until(lambda: peer.lost)
        host.drain = lambda _: asyncio.sleep(0)  # type: ignore[method-assign]


async def test_a_drain_ends_with_its_grace(methods: Methods) -> None:
    async with serving(methods) as (host, address), connected(address) as peer:
        stream_id = peer.begin(grpc_headers("/test/Hang"))
        await peer.send(stream_id, EMPTY, end=True)
        await until(lambda: methods.running == 1)
        await asyncio.wait_for(host.drain(0.2), 5)
        assert methods.running == 0
        answer = await peer.answer(stream_id)
        assert (answer.grpc_status, peer.lost) == (None, True)
        host.drain = lambda _: asyncio.sleep(0)  # type: ignore[method-assign]


SILENT = {
    "nothing": b"",
    "half a preface": PREFACE[:10],
    "no answer to a ping": PREFACE + http2_frame(SETTINGS, 0, 0, b""),
}
"""What callers say of whom nothing more is heard."""


@pytest.mark.parametrize("said", SILENT.values(), ids=SILENT)
async def test_who_is_silent_and_has_no_call_does_not_hold_a_drain(methods: Methods, said: bytes) -> None:
    async with serving(methods) as (host, address), silent(address, said):
        await asyncio.wait_for(host.drain(60), 6)
        host.drain = lambda _: asyncio.sleep(0)  # type: ignore[method-assign]


async def test_who_is_silent_and_has_a_call_is_answered_in_a_drain(methods: Methods) -> None:
    headers = hpack.Encoder().encode(grpc_headers("/test/Wait"))
    call = http2_frame(HEADERS, 4, 1, headers) + http2_frame(DATA, 1, 1, EMPTY)
    async with serving(methods) as (host, address), silent(address, SILENT["no answer to a ping"] + call) as reader:
        await until(lambda: methods.running == 1)
        draining = asyncio.create_task(host.drain(60))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(draining), 2.5)
        methods.may_end.set()
        await asyncio.wait_for(draining, 10)
        assert b"in the end" in await reader.read()
        host.drain = lambda _: asyncio.sleep(0)  # type: ignore[method-assign]


@asynccontextmanager
async def silent(address: str, said: bytes) -> AsyncIterator[asyncio.StreamReader]:
    """Who says this, and then nothing more; what comes to it. It has been let in."""
    reader, writer = await asyncio.open_connection(*address.split(":"))
    writer.write(said)
    await assert_served(address)
    try:
        yield reader
    finally:
        writer.transport.abort()


async def test_one_address_does_not_shut_others_out(methods: Methods) -> None:
    (port,) = free_ports(HOST, 1)
    async with serving(methods, f"{HOST}:{port}", max_connections=5, max_connections_of_address=3):
        loop = asyncio.get_running_loop()

        async def is_open(of: str) -> bool:
            """Whether a connection of this address is kept, which then stays open."""
            caller = socket.socket()
            caller.setblocking(False)
            caller.bind((of, 0))
            await loop.sock_connect(caller, (HOST, port))
            callers.append(caller)
            return bool(await asyncio.wait_for(loop.sock_recv(caller, 1), 5))  # the server's SETTINGS, or its end

        callers: list[socket.socket] = []
        flood = [await is_open("127.0.0.2") for _ in range(5)]
        assert flood == [True] * 3 + [False] * 2
        assert [await is_open("127.0.0.3") for _ in range(3)] == [True, True, False]  # five in all
        for caller in callers:
            caller.close()
        await eventually(lambda: assert_served(f"{HOST}:{port}"))


async def test_an_old_connection_is_asked_to_end(methods: Methods) -> None:
    """Its streams go on; another one is taken."""
    async with serving(methods, connection_seconds=0.2) as (_, address), connected(address) as peer:
        stream_id = peer.begin(grpc_headers(path("Output")))
        await until(lambda: peer.asked_to_end == NO_ERROR)
        await asyncio.sleep(0.3)
        request = frame(struct(sizes=[5]).SerializeToString())
        await peer.send(stream_id, request, end=True)
        answer = await peer.answer(stream_id)
        assert answer.grpc_status == 0
        await until(lambda: peer.lost)
        await assert_served(address)


async def test_the_gateways_connection_does_not_grow_old(methods: Methods, tmp_path: Path) -> None:
    async with (
        serving(methods, f"unix:{tmp_path}/host.sock", connection_seconds=0.2) as (_, address),
        connected(address) as gateway,
    ):
        await asyncio.sleep(0.5)
        assert (await gateway.call(grpc_headers(path("Empty")), EMPTY)).grpc_status == 0
        assert gateway.asked_to_end is None


# Addresses.


@pytest.mark.parametrize("kind", ["unix", "IPv6", "a name"])
async def test_addresses(methods: Methods, tmp_path: Path, kind: str) -> None:
    port = free_ports(HOST, 1)[0]
    address = {"unix": f"unix:{tmp_path}/host.sock", "IPv6": f"[::1]:{port}", "a name": f"localhost:{port}"}[kind]
    for _ in range(2):  # the second time, a socket lies there
        async with serving(methods, address):
            await assert_served(address)


async def test_a_port_is_shared(methods: Methods) -> None:
    async with serving(methods) as (_, address), serving(methods, address):
        await assert_served(address)


@pytest.mark.parametrize(
    "address", ["", "nowhere", "127.0.0.1:x", "127.0.0.1:99999", "unix:/no/such/directory", "unix:"]
)
async def test_addresses_that_cannot_be_had(methods: Methods, address: str) -> None:
    with pytest.raises(OSError, match=r"\w"):
        async with serving(methods, address or ":"):
            pass


async def test_a_port_that_another_program_has(methods: Methods) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            async with serving(methods, f"{HOST}:{taken.getsockname()[1]}"):
                pass


async def test_grpc_clients_get_answers_larger_than_any_window(address: str) -> None:
    options = [("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        call = channel.unary_unary(path("Unary"), Struct.SerializeToString, Struct.FromString)
        sizes = [1, 20_000_000, 3]
        answers = await asyncio.gather(*(call(struct(size=size)) for size in sizes))
    assert [len(answer["payload"]) for answer in answers] == sizes
