"""HTTP/1.1 as it stands on the wire: requests that no client would send, piece by piece."""

import asyncio
import contextlib

import httpx

ANSWER_SECONDS = 60.0


async def answer_to(address: str, *pieces: bytes, every_seconds: float = 0.0) -> httpx.Response:
    """What comes back on a connection of its own that gets these pieces, and then none; the answer has a length."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    sending = asyncio.create_task(_send(writer, pieces, every_seconds))
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            status_line, *lines = head.strip().split("\r\n")
            headers = httpx.Headers([tuple(line.split(": ", 1)) for line in lines])
            body = await reader.readexactly(int(headers["content-length"]))
        return httpx.Response(int(status_line.split()[1]), headers=headers, content=body)
    finally:
        sending.cancel()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _send(writer: asyncio.StreamWriter, pieces: tuple[bytes, ...], every_seconds: float) -> None:
    with contextlib.suppress(OSError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(every_seconds)
