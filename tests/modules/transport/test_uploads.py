"""How a process that receives files ends: what uploads are is tested with the whole service."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from instantaudience_server.batch.uploads.files import FileStore
from instantaudience_server.batch.uploads.uploading import SECRET_BYTES, Uploads
from instantaudience_server.observation.telemetry import Event
from instantaudience_server.process.clock import SystemClock
from instantaudience_server.store.interfaces.jobs import MARK_BYTES, Job, Phase
from instantaudience_server.transport.calls.call_log import CallLog
from instantaudience_server.transport.uploads import UploadServer
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from support.waiting import until

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
URL_END = "0" * 2 * (MARK_BYTES + SECRET_BYTES)


class Jobs:
    """A job whose member was deleted."""

    async def find_by_url(self, url_hash: bytes, deadline: float) -> Job:
        return Job("1", 1, 1, Phase.STARTING, 0, 0, 0)


class Usage:
    """Counts nothing, for a defect."""

    def count_failure(self, *_: Any) -> asyncio.Future[None]:
        counted = asyncio.get_running_loop().create_future()
        counted.set_exception(KeyError("a defect"))
        return counted


async def no_member(member_id: int, deadline: float) -> None:
    return None


@pytest.fixture
async def server(tmp_path: Path) -> UploadServer:
    uploads = Uploads(
        cast(Any, Jobs()),
        FileStore(tmp_path.as_uri()),
        no_member,
        SystemClock(),
        lambda: "word",
        secrets.SystemRandom().randint,
        60,
    )
    server = UploadServer(uploads, cast(Any, Usage()), CallLog(lambda: {}))
    await server.start(str(tmp_path / "socket"))
    return server


@pytest.fixture
async def gateway(server: UploadServer, tmp_path: Path) -> AsyncIterator[Streams]:
    """A connection to it."""
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "socket"))
    yield reader, writer
    writer.close()


async def begin(writer: asyncio.StreamWriter) -> None:
    """Send a request of which the rest is waited for, although it is refused already."""
    before = refusals()
    writer.write(b"PUT /batch-segment-upload/x HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n")
    await until(lambda: refusals() > before)


def refusals() -> float:
    return REGISTRY.get_sample_value("instant_audience_batch_uploads_total", {"result": "unknown"}) or 0.0


async def test_a_connection_that_is_not_used_keeps_nobody(server: UploadServer, gateway: Streams) -> None:
    """The gateway leaves connections open for the next upload: the process waited for them until it was killed."""
    reader, writer = gateway
    writer.write(b"GET /batch-segment-upload/x HTTP/1.1\r\nhost: a\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 405 ")
    async with asyncio.timeout(30):
        await server.drain(3600)
        assert (await reader.read()).endswith(b"}")


async def test_an_upload_under_way_ends_with_its_answer(server: UploadServer, gateway: Streams) -> None:
    reader, writer = gateway
    await begin(writer)
    draining = asyncio.create_task(server.drain(3600))
    await asyncio.sleep(0)
    writer.write(b"a")
    async with asyncio.timeout(30):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 404 ")
        assert b"connection: close\r\n" in head.lower()
        await draining


async def test_an_upload_that_does_not_end_in_time_is_no_error_of_ours(server: UploadServer, gateway: Streams) -> None:
    """A traceback stood in the log."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    reader, writer = gateway
    await begin(writer)
    await server.drain(0)
    assert await reader.read() == b""
    assert told == []


async def test_a_defect_of_the_count_takes_nobody_the_answer(server: UploadServer, gateway: Streams) -> None:
    reader, writer = gateway
    with capture_logs() as events:
        writer.write(f"PUT /batch-segment-upload/{URL_END} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n".encode())
        async with asyncio.timeout(30):
            assert (await reader.readline()).startswith(b"HTTP/1.1 404 ")
            await server.drain(3600)
    assert [each["event"] for each in events if each["log_level"] == "error"] == [Event.OUTCOME_NOT_NOTED]
