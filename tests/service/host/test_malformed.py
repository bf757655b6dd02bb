"""Requests that are no gRPC: each ends with a proper error, and its neighbours' calls are answered meanwhile."""

import asyncio
import base64
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st
from instantaudience_server.transport.framing import frame
from support.contract.answers import GRPC_CODES, assert_failure
from support.hosts.interop_app import LIMIT_BYTES
from support.hosts.running import Host, path, struct
from support.wire.peer import Answer, Headers, Peer, connected, grpc_headers, prefix

OK, SYNTAX, LIMIT, UNIMPLEMENTED = (0, ""), (3, "SYNTAX"), (8, "LIMIT"), (12, "SYNTAX")
GOOD = frame(struct(size=3, sizes=[3]).SerializeToString())
ZIPPED = gzip.compress(struct(size=3, sizes=[3]).SerializeToString())
UNARY, STREAM = path("Unary"), path("Output")
GZIP = (b"grpc-encoding", b"gzip")


BODIES: dict[str, tuple[Headers, list[bytes], tuple[int, str], tuple[int, str]]] = {
    # what: more headers, frames, the end of a unary call, the end of a stream
    "fine": ([], [GOOD], OK, OK),
    "byte by byte": ([], [bytes([byte]) for byte in GOOD], OK, OK),
    "empty frames between": ([], [b"", GOOD[:4], b"", GOOD[4:], b""], OK, OK),
    "no message, no frame": ([], [], SYNTAX, OK),
    "no message, an empty frame": ([], [b""], SYNTAX, OK),
    "two messages": ([], [GOOD + GOOD], SYNTAX, OK),
    "two messages in two frames": ([], [GOOD, GOOD], SYNTAX, OK),
    "many empty messages": ([], [bytes(5 * 10_000)], SYNTAX, OK),
    "a byte too many": ([], [GOOD + b"\0"], SYNTAX, SYNTAX),
    "garbage after the message": ([], [GOOD + b"\xff" * 9], LIMIT, LIMIT),
    "a byte too few": ([], [GOOD[:-1]], SYNTAX, SYNTAX),
    "a piece of a prefix": ([], [GOOD[:3]], SYNTAX, SYNTAX),
    "no prefix": ([], [GOOD[5:]], LIMIT, LIMIT),
    "a length beyond what follows": ([], [prefix(0, 1000) + b"x"], SYNTAX, SYNTAX),
    "a length over the limit": ([], [prefix(0, LIMIT_BYTES + 1)], LIMIT, LIMIT),
    "the longest length": ([], [prefix(0, 2**32 - 1) + bytes(100)], LIMIT, LIMIT),
    "no readable message": ([], [frame(b"\xff\xff")], SYNTAX, SYNTAX),
    "an unknown flag": ([], [prefix(7, len(GOOD) - 5) + GOOD[5:]], SYNTAX, SYNTAX),
    "compressed": ([GZIP], [prefix(1, len(ZIPPED)) + ZIPPED], OK, OK),
    "compressed, with no encoding": ([], [prefix(1, len(ZIPPED)) + ZIPPED], SYNTAX, SYNTAX),
    "compressed in an unknown way": ([(b"grpc-encoding", b"br")], [prefix(1, 3) + b"abc"], SYNTAX, SYNTAX),
    "garbage for gzip": ([GZIP], [prefix(1, 3) + b"abc"], SYNTAX, SYNTAX),
    "gzip of too much": ([GZIP], [frame(gzip.compress(bytes(LIMIT_BYTES + 1))).replace(b"\0", b"\1", 1)], LIMIT, LIMIT),
    "a timeout that is none": ([(b"grpc-timeout", b"1 second")], [GOOD], OK, OK),
    "headers that are no ASCII and no base64": ([(b"x-a-bin", b"!!!"), (b"x-b", b"\xff\xfe")], [GOOD], OK, OK),
}
HEADERS = {
    # what: the headers, how the call ends
    "no te": (grpc_headers(UNARY, without=[b"te"]), SYNTAX),
    "no such method": (grpc_headers("/interop.TestService/Nope"), UNIMPLEMENTED),
    "no such service": (grpc_headers("/nope"), UNIMPLEMENTED),
    "a query": (grpc_headers(f"{UNARY}?%ff"), OK),
    "a query, and no such method": (grpc_headers(f"{UNARY}x?%ff"), UNIMPLEMENTED),
}
PATHS = [b"/%ff", UNARY.encode() + b"%C3", UNARY.encode() + b"%00", b"/interop.TestService/Un%61ry"]
"""These never reach the service."""
NOT_HTTP2 = {
    "another te": grpc_headers(UNARY, (b"te", b"gzip")),
    "connection": grpc_headers(UNARY, (b"connection", b"close")),
    "a body of another length": grpc_headers(UNARY, (b"content-length", b"1")),
}
NO_HEADERS = {
    "a line break": grpc_headers(UNARY, (b"x-a", b"1\r\nx-b: 2")),
    "a name in capitals": grpc_headers(UNARY, (b"X-A", b"1")),
    "a path that is no text": grpc_headers(b"/\xff"),
}


@asynccontextmanager
async def neighbours(*peers: Peer) -> AsyncIterator[None]:
    """Calls on these connections all the while; every one is answered."""
    stop = asyncio.Event()

    async def call_on(peer: Peer) -> int:
        count = 0
        while not stop.is_set() or not count:
            answer = await peer.call(grpc_headers(UNARY), GOOD)
            assert answer.grpc_status == 0, answer
            assert b"xxx" in answer.message
            count += 1
        return count

    calling = [asyncio.create_task(call_on(peer)) for peer in peers]
    try:
        yield
    finally:
        stop.set()
        counts = await asyncio.gather(*calling)
    assert all(counts)


@pytest.fixture
async def other(host: Host) -> AsyncIterator[Peer]:
    """Another caller, on a connection of its own."""
    async with connected(host.address) as opened:
        yield opened


def assert_ends(answer: Answer, expected: tuple[int, str]) -> None:
    """The status, and for a failure its details."""
    code, reason = expected
    assert answer.reset in {None, 0}  # NO_ERROR: an answer before the request's end
    assert (answer.http_status, answer.grpc_status) == (200, code), answer
    if code:
        ending = answer.headers | answer.trailers
        details = base64.b64decode(ending["grpc-status-details-bin"] + "==")
        assert_failure(status_pb2.Status.FromString(details), GRPC_CODES[code], reason)


@pytest.mark.parametrize(("more", "frames", "unary_end", "stream_end"), BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("method", [UNARY, STREAM])
async def test_bodies(
    peer: Peer,
    other: Peer,
    method: str,
    more: Headers,
    frames: list[bytes],
    unary_end: tuple[int, str],
    stream_end: tuple[int, str],
) -> None:
    async with neighbours(peer, other):
        answer = await peer.call(grpc_headers(method, *more), *frames)
    assert_ends(answer, unary_end if method == UNARY else stream_end)


@pytest.mark.parametrize(("headers", "end"), HEADERS.values(), ids=HEADERS)
async def test_headers(peer: Peer, other: Peer, headers: Headers, end: tuple[int, str]) -> None:
    async with neighbours(peer, other):
        answer = await peer.call(headers, GOOD)
    assert_ends(answer, end)


@pytest.mark.parametrize("name", PATHS)
async def test_paths_of_no_method(peer: Peer, other: Peer, name: bytes) -> None:
    async with neighbours(peer, other):
        answer = await peer.call(grpc_headers(name), GOOD)
    assert_ends(answer, UNIMPLEMENTED)


@pytest.mark.parametrize("headers", NOT_HTTP2.values(), ids=NOT_HTTP2)
async def test_requests_that_http2_does_not_allow(peer: Peer, other: Peer, headers: Headers) -> None:
    """They end, and leave the connection to the others."""
    async with neighbours(peer, other):
        answer = await peer.call(headers, GOOD)
    assert answer.reset or answer.http_status == 400
    assert b"xxx" not in answer.data
    assert not peer.lost


@pytest.mark.parametrize("headers", NO_HEADERS.values(), ids=NO_HEADERS)
async def test_headers_that_are_none(peer: Peer, other: Peer, headers: Headers) -> None:
    """They end as well, and the connection with them, which is one caller's."""
    async with neighbours(other):
        answer = await peer.call(headers, GOOD)
    assert answer.reset or answer.http_status == 400 or answer.grpc_status == 12 or peer.lost
    assert b"xxx" not in answer.data
    assert peer.lost


@pytest.mark.parametrize("trailers", [[(b"x-trailer", b"1")], [(b"grpc-status", b"13")]], ids=["one", "a status"])
@pytest.mark.parametrize("frames", [[], [GOOD], [GOOD, b""]], ids=len)
async def test_trailers_of_a_request_count_for_nothing(peer: Peer, trailers: Headers, frames: list[bytes]) -> None:
    answer = await peer.call(grpc_headers(UNARY), *frames, trailers=trailers)
    assert_ends(answer, OK if frames else SYNTAX)


OTHER_REQUESTS = {
    "GET": grpc_headers(UNARY, (b":method", b"GET")),
    "PUT": grpc_headers(UNARY, (b":method", b"PUT")),
    "an unknown method": grpc_headers(UNARY, (b":method", b"NOPE")),
    "gRPC of JSON": grpc_headers(UNARY, (b"content-type", b"application/grpc+json")),
    "an unknown gRPC": grpc_headers(UNARY, (b"content-type", b"application/grpcx")),
    "in capitals": grpc_headers(UNARY, (b"content-type", b"APPLICATION/GRPC")),
    "plain text": grpc_headers(UNARY, (b"content-type", b"text/plain")),
    "protobuf": grpc_headers(UNARY, (b"content-type", b"application/x-protobuf")),
    "no content type": grpc_headers(UNARY, without=[b"content-type"]),
}


@pytest.mark.parametrize("headers", OTHER_REQUESTS.values(), ids=OTHER_REQUESTS)
async def test_requests_that_are_no_calls(peer: Peer, other: Peer, headers: Headers) -> None:
    async with neighbours(peer, other):
        answer = await peer.call(headers, GOOD)
    assert answer.http_status in {400, 404, 405, 415}
    assert answer.grpc_status in {None, 3, 12, 13}
    assert b"xxx" not in answer.data


async def test_resets_at_any_point(peer: Peer, other: Peer, channel: grpc.aio.Channel) -> None:
    """The fixture `channel` looks that nothing is left of them."""
    async with neighbours(peer, other):
        for method in (UNARY, STREAM, path("Collect"), path("Stream")):
            for end in range(0, len(GOOD) + 1, 4):
                stream_id = peer.begin(grpc_headers(method, (b"authorization", b"good")))
                await peer.send(stream_id, GOOD[:end], end=end == len(GOOD))
                if end % 8:
                    await asyncio.sleep(0.002)
                peer.reset(stream_id)


@pytest.mark.parametrize("garbage", [b"\0", b"\0" * 9, b"\xff" * 100, b"GET / HTTP/1.1\r\n\r\n"], ids=len)
async def test_a_connection_that_breaks(host: Host, other: Peer, channel: grpc.aio.Channel, garbage: bytes) -> None:
    async with neighbours(other), connected(host.address) as broken:
        hanging = broken.begin(grpc_headers(STREAM))
        await broken.send(hanging, frame(struct(hang=True).SerializeToString()))
        assert (await broken.call(grpc_headers(UNARY), GOOD)).grpc_status == 0
        broken.write(garbage)


async def test_a_unary_request_of_messages_without_end(peer: Peer, other: Peer) -> None:
    """It is refused at the second message: what follows is kept by nobody."""
    async with neighbours(peer, other):
        stream_id = peer.begin(grpc_headers(UNARY))
        for _ in range(20):
            await peer.send(stream_id, frame(bytes(LIMIT_BYTES - 5)))
        assert_ends(await peer.answer(stream_id), SYNTAX)


chunks = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=30),  # Envoy ends a connection that sends empty frames in a row
        st.just(GOOD),
        st.builds(lambda flag, body: prefix(flag, len(body)) + body, st.integers(0, 2), st.binary(max_size=20)),
        st.builds(lambda body: prefix(1, len(body)) + body, st.binary(max_size=20).map(gzip.compress)),
        st.builds(prefix, st.integers(0, 2), st.integers(0, 2**32 - 1)),
        st.builds(lambda cut: GOOD[:cut], st.integers(1, len(GOOD))),
    ),
    max_size=6,
)


@given(
    method=st.sampled_from([UNARY, STREAM, path("Collect"), path("Stream"), path("Empty")]),
    more=st.sampled_from([[], [GZIP], [(b"grpc-encoding", b"deflate")], [(b"authorization", b"good")]]),
    frames=chunks,
    joined=st.booleans(),
)
async def test_any_bytes_end_in_a_status(
    peer: Peer, other: Peer, method: str, more: Headers, frames: list[bytes], joined: bool
) -> None:
    async with neighbours(peer, other):
        answer = await peer.call(grpc_headers(method, *more), *([b"".join(frames)] if joined else frames))
    assert_ends(answer, next(end for end in (OK, SYNTAX, LIMIT, (16, "NOAUTH")) if end[0] == answer.grpc_status))
