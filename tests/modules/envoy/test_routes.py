"""How long calls may take, and their headers."""

import asyncio
import json
from pathlib import Path

import pytest
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded, StreamReset
from support.gateway.running import Gateway, Upstream, assert_error, body_for, running_gateway, serving
from support.wire.http1 import answer_to
from support.wire.peer import connected

pytestmark = pytest.mark.process

HEADERS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "a"),
    (":path", "/rt-segment"),
    ("authorization", "any"),
]
FIRST_WINDOW = 65_535
"""What of an answer is sent before its reader asks for more (RFC 9113, section 6.9.2)."""


async def read_slowly(gateway: Gateway, body: bytes, pause_seconds: float) -> int:
    """Post the body; returns the size of the answer, of which the reader takes the most after a pause."""
    reader, writer = await asyncio.open_connection(gateway.settings.http_host, gateway.settings.http_port)
    http, size, ended = H2Connection(), 0, False
    http.initiate_connection()
    http.send_headers(1, HEADERS)
    for start in range(0, len(body), http.max_outbound_frame_size):
        http.send_data(1, body[start : start + http.max_outbound_frame_size])
    http.end_stream(1)
    while not ended:
        writer.write(http.data_to_send())
        for event in http.receive_data(await reader.read(65_536)):
            assert not isinstance(event, StreamReset)
            ended = ended or isinstance(event, StreamEnded)
            size += len(event.data) if isinstance(event, DataReceived) else 0
        if size == FIRST_WINDOW:
            await asyncio.sleep(pause_seconds)
            http.increment_flow_control_window(2**30)
            http.increment_flow_control_window(2**30, 1)
    writer.close()
    await writer.wait_closed()
    return size


async def test_a_large_answer_may_be_read_slowly(directory: Path) -> None:
    """Sending may take no longer than a call; reading may."""
    users = [{"user_id": "warnings:8000", "domain": "x" * 40_000}]
    body = json.dumps({"rt_segment": users}).encode()
    options = {"call_timeout_seconds": 1.0, "grace_seconds": 0.5}
    async with (
        serving(Upstream(), directory / "read.sock"),
        running_gateway(directory, "read.sock", **options) as gateway,
    ):
        assert await read_slowly(gateway, body, pause_seconds=2) > 7_000_000


async def test_an_answer_that_nobody_reads_ends(directory: Path) -> None:
    headers = [(name.encode(), value.encode()) for name, value in HEADERS]
    async with (
        serving(Upstream(), directory / "unread.sock"),
        running_gateway(directory, "unread.sock", idle_seconds=2.0) as gateway,
        connected(gateway.address, takes=False) as peer,
    ):
        answer = await peer.call(headers, body_for("warnings:200").encode())
    assert (answer.http_status, len(answer.data)) == (200, FIRST_WINDOW)
    assert answer.reset is not None


async def test_headers_that_do_not_end_are_answered_with_408(directory: Path) -> None:
    head, lines = b"POST /rt-segment HTTP/1.1\r\nhost: a\r\n", [b"x-a: b\r\n"] * 1000
    async with running_gateway(directory, "nobody.sock", headers_seconds=0.5) as gateway:
        answer = await answer_to(gateway.address, head, *lines, every_seconds=0.1)
    assert_error(answer, 408, "SYNTAX", "The request did not arrive in time.")
