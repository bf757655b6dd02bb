"""HTTP/1.1 at wire level: requests that no client would send, piece by piece."""

import asyncio
import contextlib
from types import TracebackType

import httpx

ANSWER_SECONDS = 60.0


class Connection:
    """A connection. Responses must have a `content-length`."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def __aenter__(self) -> "Connection":
        host, _, port = self._address.rpartition(":")
        self._reader, self._writer = await asyncio.open_connection(host, int(port))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def answer_to(self, *pieces: bytes, every_seconds: float = 0.0) -> httpx.Response:
        """Send these pieces, and return the response."""
        sending = asyncio.create_task(_send(self._writer, pieces, every_seconds))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while (head := (await self._reader.readuntil(b"\r\n\r\n")).decode()).startswith("HTTP/1.1 100 "):
                    pass
                status_line, *lines = head.strip().split("\r\n")
                headers = httpx.Headers([tuple(line.split(": ", 1)) for line in lines])
                body = await self._reader.readexactly(int(headers["content-length"]))
            return httpx.Response(int(status_line.split()[1]), headers=headers, content=body)
        finally:
            sending.cancel()

    async def ends(self) -> bool:
        """Whether the peer closes the connection without sending anything more."""
        async with asyncio.timeout(ANSWER_SECONDS):
            try:
                return await self._reader.read() == b""
            except ConnectionError:
                return True


async def answer_to(address: str, *pieces: bytes, every_seconds: float = 0.0) -> httpx.Response:
    """Send these pieces on a new connection, and return the response."""
    async with Connection(address) as connection:
        return await connection.answer_to(*pieces, every_seconds=every_seconds)


async def _send(writer: asyncio.StreamWriter, pieces: tuple[bytes, ...], every_seconds: float) -> None:
    with contextlib.suppress(OSError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(every_seconds)
