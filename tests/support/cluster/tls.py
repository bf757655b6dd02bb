"""A TLS proxy in front of a node whose server was built without TLS."""

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from instantaudience_server.embedded.node import HOST


def certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate for the loopback address, and its key."""
    cert, key = directory / "cert.pem", directory / "key.pem"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", f"subjectAltName=IP:{HOST}", "-days", "2"]
    subprocess.run(
        ["openssl", "req", "-x509", *curve, *names, "-keyout", key, "-out", cert], check=True, capture_output=True
    )
    return cert, key


@asynccontextmanager
async def tls_terminated(
    port: int, target: int, cert: Path, key: Path, *, client_ca: Path | None = None
) -> AsyncIterator[None]:
    """Accept TLS connections on a port, and forward their content to another port.

    With `client_ca`, clients need a certificate of that CA.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.set_alpn_protocols(["h2"])  # gRPC's clients insist on it
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        node_reader, node_writer = await asyncio.open_connection(HOST, target)
        both = asyncio.gather(_copy(reader, node_writer), _copy(node_reader, writer))
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await both
        both.cancel()
        for end in (writer, node_writer):
            end.transport.abort()
        serving.discard(task)

    server = await asyncio.start_server(serve, HOST, port, ssl=context)
    try:
        yield
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()
