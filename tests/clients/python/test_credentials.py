"""The token of a client is got once, and again before it ends."""

import asyncio
import math
import os
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from instantaudience import AsyncClient, Attempt, AudienceError, Password, Retries, audience, credentials, turns
from instantaudience.credentials import KeyPair, Session, Tls, issued
from instantaudience.errors import DeadlineExceededError, InternalError, RateLimitedError, UnavailableError
from instantaudience.testing import FakeService
from instantaudience.v1.authentication_pb2 import (
    AuthenticateResponse,
    AuthenticateResult,
    AuthenticateWithJwtRequest,
    AuthenticateWithJwtResponse,
)
from support.credentials.authorities import Authority

LIFETIME_SECONDS = 100.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the client takes the time from: `now`."""
    clock = SimpleNamespace(now=1000.0)
    for module in (credentials, turns):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


async def test_a_token_is_replaced_before_it_ends(clock: SimpleNamespace) -> None:
    tokens = iter("abc")

    async def sign_in(deadline: float) -> tuple[str, float]:
        return next(tokens), LIFETIME_SECONDS

    session = Session(sign_in, None)
    had = []
    for seconds in (0.0, 89.0, 91.0, 180.0, 182.0):
        clock.now = 1000.0 + seconds
        had.append(await session.token(clock.now + 1.0))
    assert had == ["a", "a", "b", "b", "c"]


def test_a_token_may_end_at_any_time(subtests: pytest.Subtests) -> None:
    """By a clock that is a day ahead, each token has ended when it comes: its life is counted instead."""
    for said, lifetime in [
        (None, math.inf),
        *((Duration(seconds=seconds, nanos=-1), max(0, seconds)) for seconds in (90, 0, 2**62, -(2**62))),
    ]:
        with subtests.test(said=said, lifetime=lifetime):
            answer = AuthenticateResult(token="a", expire_time=Timestamp(seconds=1), lifetime=said)
            assert issued(AuthenticateResponse(response=answer)) == ("a", lifetime)


@pytest.mark.parametrize("token", ["", "a\n", "é", "a\0", "x" * 4097])
async def test_a_sign_in_without_a_token_that_can_be_sent_is_a_defect(token: str) -> None:
    """The next call with such a token would be refused as without one, or fail in gRPC with no `AudienceError`."""
    attempts: list[Attempt] = []

    class Careless(FakeService):
        async def _authenticate(self, *_: object) -> AuthenticateResponse:
            return AuthenticateResponse(response=AuthenticateResult(token=token))

    async with (
        Careless() as service,
        AsyncClient(service.endpoint, Password("x", "y"), plaintext=True, on_attempt=attempts.append) as client,
    ):
        with pytest.raises(InternalError, match="does not say what was asked for") as raised:
            await client.limits()
    assert [(each.request_id, each.code.name) for each in attempts] == [(raised.value.request_id, "INTERNAL")]


def test_half_a_client_certificate_is_refused(subtests: pytest.Subtests) -> None:
    """gRPC would abort the process."""
    for half in [{"certificate_chain": b"-"}, {"private_key": b"-"}]:
        with subtests.test(half=half), pytest.raises(ValueError, match="needs both certificate_chain and private_key"):
            Tls(**half)


CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
KEY = CERTIFICATE.replace(b"CERTIFICATE", b"PRIVATE KEY")


def test_a_key_that_is_none_is_refused(subtests: pytest.Subtests) -> None:
    """For an empty one, gRPC would abort the process; others would be a failed connection at each call's deadline."""
    for none in [b"", b"x", CERTIFICATE, KEY.replace(b"PRIV", b"ENCRYPTED PRIV"), b"\xef\xbb\xbf" + KEY]:
        with subtests.test(none=none):
            with pytest.raises(ValueError, match="no private key in PEM form in private_key, or it is encrypted"):
                Tls(certificate_chain=CERTIFICATE, private_key=none)
            legacy = b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n"
            with pytest.raises(ValueError, match="encrypted"):
                Tls(certificate_chain=CERTIFICATE, private_key=legacy)


def test_certificates_that_are_none_are_refused(subtests: pytest.Subtests) -> None:
    """For empty roots, gRPC would take its own."""
    for none in [b"", b"x", KEY]:
        with subtests.test(none=none):
            with pytest.raises(ValueError, match="no certificate in PEM form in certificate_chain"):
                Tls(certificate_chain=none, private_key=KEY)
            with pytest.raises(ValueError, match="no certificate in PEM form in root_certificates"):
                Tls(none)


def test_keys_and_certificates_are_taken_as_others_write_them(tmp_path: Path) -> None:
    mine = Authority(tmp_path).sign("mine")
    key = load_pem_private_key(mine.key.read_bytes(), None)
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        text = key.private_bytes(Encoding.PEM, form, NoEncryption())
        Tls(KEY + CERTIFICATE, b"Bag Attributes\n" + mine.pem, CERTIFICATE + text.replace(b"\n", b"\r\n"))


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="it is told with each call")
def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    """It would be a failed connection at each call's deadline."""
    authority = Authority(tmp_path)
    mine, other = authority.sign("mine"), authority.sign("other")
    rsa = generate_rsa_key(public_exponent=65537, key_size=2048)
    for key in (
        other.key.read_bytes(),
        rsa.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        KEY,
    ):
        with pytest.raises(ValueError, match="do not belong together"):
            Tls(certificate_chain=mine.pem, private_key=key)


@pytest.mark.parametrize("years", [0, 30], ids=["two digits", "four digits"])  # from 2050 on (RFC 5280, 4.1.2.5)
def test_the_end_of_a_certificate_is_known(tmp_path: Path, years: int) -> None:
    authority = Authority(tmp_path, lifetime=timedelta(days=1))
    mine = authority.sign("mine", lifetime=timedelta(days=1 + 365 * years))
    chain = b"Bag Attributes\n" + mine.pem + authority.file.read_bytes()
    tls = Tls(certificate_chain=chain, private_key=mine.key.read_bytes())
    assert tls.certificate_end == mine.certificate.not_valid_after_utc
    assert Tls(authority.file.read_bytes()).certificate_end is None


async def test_a_token_is_used_as_long_as_it_lives_where_too_many_have_signed_in(clock: SimpleNamespace) -> None:
    signed_in: list[float] = []

    async def sign_in(deadline: float) -> tuple[str, float]:
        signed_in.append(clock.now - 1000.0)
        if len(signed_in) > 1:
            raise RateLimitedError("too many", retry_after_seconds=6.0)
        return "a", LIFETIME_SECONDS

    session = Session(sign_in, None)
    for seconds in (0.0, 91.0, 92.0, 98.0):
        clock.now = 1000.0 + seconds
        assert await session.token(clock.now + 1.0) == "a"
    assert signed_in == [0.0, 91.0, 98.0]
    clock.now = 1000.0 + LIFETIME_SECONDS
    with pytest.raises(RateLimitedError):
        await session.token(clock.now + 1.0)


async def test_a_token_is_used_as_long_as_it_lives_while_the_service_is_away(clock: SimpleNamespace) -> None:
    """One call in a while waits for another one: no others wait for it."""
    asked: list[tuple[float, float]] = []
    meanwhile: list[str | None] = []

    async def sign_in(deadline: float) -> tuple[str, float]:
        asked.append((clock.now - 1000.0, deadline - clock.now))
        if len(asked) > 1:
            if clock.now < 1000.0 + 10 * LIFETIME_SECONDS:
                meanwhile.append(await session.token(clock.now + 9.0))
            raise UnavailableError("away")
        return "a", 10 * LIFETIME_SECONDS

    session = Session(sign_in, None)
    for seconds, left in ((0.0, 9.0), (901.0, 9.0), (960.0, 9.0), (961.0, 0.5)):
        clock.now = 1000.0 + seconds
        assert await session.token(clock.now + left) == "a"
    assert asked == [(0.0, 30.0), (901.0, 30.0), (961.0, 30.0)]
    assert meanwhile == ["a", "a"]
    clock.now = 1000.0 + 10 * LIFETIME_SECONDS
    with pytest.raises(UnavailableError):
        await session.token(clock.now + 9.0)
    assert asked[-1] == (1000.0, 30.0)


async def test_a_call_waits_only_briefly_for_another_token_while_its_own_lives(clock: SimpleNamespace) -> None:
    tokens = iter("ab")
    goes_on = asyncio.Event()

    async def sign_in(deadline: float) -> tuple[str, float]:
        if clock.now > 1000.0:
            await goes_on.wait()
        return next(tokens), LIFETIME_SECONDS

    session = Session(sign_in, None)
    assert await session.token(clock.now + 1.0) == "a"
    clock.now += 91.0
    assert await session.token(clock.now + 0.1) == "a"
    assert await session.token(clock.now + 600.0) == "a"  # Others do not wait at all.
    clock.now = 1000.0 + LIFETIME_SECONDS
    goes_on.set()
    assert await session.token(clock.now + 1.0) == "b"


async def test_a_client_that_is_closed_while_it_signs_in_uses_no_token(clock: SimpleNamespace) -> None:
    has_begun = asyncio.Event()

    async def sign_in(deadline: float) -> tuple[str, float]:
        if clock.now > 1000.0:
            has_begun.set()
            await asyncio.Event().wait()
        return "a", LIFETIME_SECONDS

    session = Session(sign_in, None)
    assert await session.token(clock.now + 1.0) == "a"
    clock.now += 91.0
    waiting = asyncio.create_task(session.token(clock.now + 600.0))
    await has_begun.wait()
    await session.close()
    with pytest.raises(UnavailableError, match="the client is closed"):
        await waiting


@pytest.mark.parametrize("is_refused", [True, False])
async def test_a_call_goes_on_that_waits_for_another_token_while_its_own_ends(
    is_refused: bool, clock: SimpleNamespace
) -> None:
    left: list[float] = []

    async def sign_in(deadline: float) -> tuple[str, float]:
        left.append(deadline - clock.now)
        if len(left) == 2:
            if is_refused:
                session.refused("t1")
            else:
                clock.now = 1000.0 + LIFETIME_SECONDS
            raise DeadlineExceededError("over")
        return f"t{len(left)}", LIFETIME_SECONDS

    session = Session(sign_in, None)
    await session.token(clock.now + 9.0)
    clock.now = 1000.0 + LIFETIME_SECONDS - 0.5
    assert await session.token(clock.now + 9.0) == "t3"
    assert left == [30.0, 30.0, 30.0]


def test_a_key_that_cannot_sign_is_a_value_error(subtests: pytest.Subtests) -> None:
    """PyJWT and cryptography raise errors of their own for some, and none for others, which the service refuses."""
    for kind in ["P-384", "Ed25519", "encrypted"]:
        with subtests.test(kind=kind):
            key = Ed25519PrivateKey.generate() if kind == "Ed25519" else generate_private_key(SECP384R1())
            protection = BestAvailableEncryption(b"secret") if kind == "encrypted" else NoEncryption()
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection).decode()
            with pytest.raises(ValueError, match="cannot be read" if kind == "encrypted" else "neither RSA nor P-256"):
                KeyPair("demo", "pods", pem).assertion(0.0)


def test_what_is_no_key_is_told_as_the_key(subtests: pytest.Subtests) -> None:
    for content in ["", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]:
        with subtests.test(content=content), pytest.raises(ValueError, match="the private key cannot be read: "):
            KeyPair("demo", "pods", content).assertion(0.0)


async def test_each_attempt_of_a_sign_in_has_an_assertion_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service takes none that is older than five minutes, and a call may take longer."""
    clock = SimpleNamespace(now=1_700_000_000.0)
    monkeypatch.setattr(audience, "time", SimpleNamespace(monotonic=time.monotonic, time=lambda: clock.now))
    issued_at: list[float] = []

    class Away(FakeService):
        def _handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
            sign_in = grpc.unary_unary_rpc_method_handler(
                self._by_key, AuthenticateWithJwtRequest.FromString, AuthenticateWithJwtResponse.SerializeToString
            )
            service = "instantaudience.v1.AuthenticationService"
            return (grpc.method_handlers_generic_handler(service, {"AuthenticateWithJwt": sign_in}),)

        async def _by_key(
            self, request: AuthenticateWithJwtRequest, context: grpc.aio.ServicerContext[Any, Any]
        ) -> AuthenticateWithJwtResponse:
            issued_at.append(jwt.decode(request.jwt, options={"verify_signature": False})["iat"])
            if len(issued_at) < 3:
                clock.now += 301.0
                await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
            return AuthenticateWithJwtResponse(response=AuthenticateResult(token="hbapi:1:0:0"))

    key = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    async with (
        Away() as service,
        AsyncClient(
            service.endpoint,
            KeyPair("demo", "pods", key),
            plaintext=True,
            retries=Retries(first_seconds=0.0, most_seconds=0.0),
        ) as client,
    ):
        with pytest.raises(AudienceError) as raised:
            await client.limits()
    assert raised.value.code is grpc.StatusCode.UNIMPLEMENTED  # It has signed in; there are no users.
    assert issued_at == [1_700_000_000, 1_700_000_301, 1_700_000_602]


def test_a_key_is_found_whatever_stands_around_it() -> None:
    key = generate_private_key(SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    for text in (
        f"Bag Attributes\n{pem}",
        f"\ufeff{pem}",
        certificate + pem,
        pem + certificate,
        pem.replace("\n", "\r\n"),
    ):
        assert KeyPair("demo", "pods", text).assertion(0.0).startswith("ey")
