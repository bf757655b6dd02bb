"""Whose certificates the native host lets in, as those end who vouch for them."""

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from instantaudience_server.process.processes import free_ports
from instantaudience_server.transport.hosts.native import NativeHost, missing
from support.credentials.authorities import Authority, Signed, replace
from support.hosts.interop_app import CALL_TIMEOUT_SECONDS, LIMIT_BYTES, interop_service
from support.parts.limits import CONNECTION_LIMITS
from support.service.processes import needs_proc
from support.waiting import eventually

from bench import processes

pytestmark = pytest.mark.process

if reason := missing():
    pytest.skip(f"the native host cannot run here: {reason}", allow_module_level=True)

HOST = "127.0.0.1"
HOUR_SECONDS = 3600
MANY = 50
LISTS = 10_000
MOST_BYTES = 64 * 2**20
"""What such lists take, once, with room to spare; for each authority they would take several times as much."""


@dataclass
class Place:
    """A host that asks for certificates, and three authorities with a caller of each."""

    host: NativeHost
    port: int
    server: Signed
    trusted: Path
    authorities: Sequence[Authority]
    callers: Sequence[Signed]
    client_crl: bytes

    def secure(self, ends: Sequence[float], client_crl: bytes | None = None) -> None:
        """The authorities end then; the last one is there more than once, if there are more ends."""
        certificates = [each.certificate.public_bytes(Encoding.DER) for each in self.authorities]
        certificates += certificates[-1:] * (len(ends) - len(certificates))
        client_ca = list(zip(certificates, map(int, ends), strict=True))
        chain, key = self.server.cert.read_bytes(), self.server.key.read_bytes()
        self.host.secure(chain, key, client_ca, client_crl or self.client_crl, required=True)

    async def let_in(self) -> list[bool]:
        """Which of the callers may speak."""
        return [await self._lets_in(caller) for caller in self.callers]

    async def _lets_in(self, caller: Signed) -> bool:
        context = ssl.create_default_context(cafile=str(self.trusted))
        context.load_cert_chain(caller.cert, caller.key)
        context.set_alpn_protocols(["h2"])
        try:
            reader, writer = await asyncio.open_connection(HOST, self.port, ssl=context)
        except (ssl.SSLError, ConnectionError):
            return False
        try:
            return bool(await asyncio.wait_for(reader.read(1), 10))
        except (ssl.SSLError, ConnectionError):
            return False
        finally:
            writer.close()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    standard, pipeline = await interop_service()
    limits = {"message_limit_bytes": LIMIT_BYTES, "call_timeout_seconds": CALL_TIMEOUT_SECONDS, **CONNECTION_LIMITS}
    (port,) = free_ports(HOST, 1)
    host = NativeHost(standard, pipeline, [f"{HOST}:{port}"], **limits)
    authorities = [Authority(tmp_path, name) for name in ("first", "second", "third")]
    lists = []
    for each in authorities:
        each.revoke(tmp_path / "revoked.crl")
        lists.append((tmp_path / "revoked.crl").read_bytes())
    callers = [each.sign(f"caller-{number}") for number, each in enumerate(authorities)]
    server = authorities[0].sign("server", address=HOST)
    await host.start()
    yield Place(host, port, server, authorities[0].file, authorities, callers, b"".join(lists))
    await host.drain(0)


async def test_who_has_ended_vouches_for_nobody(place: Place) -> None:
    now = time.time()
    later = now + HOUR_SECONDS
    place.secure([later, later, later + 1])
    assert await place.let_in() == [True, True, True]
    place.secure([later, now - 1, later + 1])
    assert await place.let_in() == [True, False, True]
    place.secure([now - 1, now - HOUR_SECONDS, now - 1])
    assert await place.let_in() == [False, False, False]


async def test_who_ends_vouches_for_nobody_from_then_on(place: Place) -> None:
    now = time.time()
    place.secure([now + HOUR_SECONDS, now + 2, now + 3])

    async def are_let_in(callers: list[bool]) -> None:
        assert await place.let_in() == callers

    assert (await place.let_in())[0]
    await eventually(lambda: are_let_in([True, False, False]))


async def test_a_list_by_who_signed_a_caller_is_enough(place: Place, tmp_path: Path) -> None:
    """There may be none by the authority that vouches for that one."""
    issuing = Authority(tmp_path, "issuing", issuer=place.authorities[0])
    place.callers = [issuing.sign("good"), issuing.sign("revoked")]
    for caller in place.callers:
        replace(caller.cert, caller.pem + issuing.file.read_bytes())
    issuing.revoke(tmp_path / "issuing.crl", place.callers[1])
    place.secure([time.time() + HOUR_SECONDS] * 3, (tmp_path / "issuing.crl").read_bytes())
    assert await place.let_in() == [True, False]


async def test_who_does_not_end_the_handshake_does_not_hold_a_drain(place: Place) -> None:
    place.secure([time.time() + HOUR_SECONDS] * 3)
    _, writer = await asyncio.open_connection(HOST, place.port)
    assert await place.let_in() == [True, True, True]
    await asyncio.wait_for(place.host.drain(60), 6)
    writer.close()
    place.host.drain = lambda _: asyncio.sleep(0)  # type: ignore[method-assign]


@needs_proc
async def test_a_list_is_in_memory_once_however_many_authorities_there_are(place: Place) -> None:
    later = time.time() + HOUR_SECONDS
    long_list = place.client_crl * LISTS
    before = processes.resident_bytes([os.getpid()])
    place.secure([later + number for number in range(MANY)], long_list)
    assert await place.let_in() == [True, True, True]
    assert processes.resident_bytes([os.getpid()]) - before < MOST_BYTES
