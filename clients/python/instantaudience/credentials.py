"""Credentials, and the token that all calls of a client share."""

import asyncio
import base64
import os
import re
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from instantaudience.errors import AudienceError, RateLimitedError, UnavailableError
from instantaudience.extras import needed
from instantaudience.processes import Process
from instantaudience.retrying import Retries
from instantaudience.rules import (
    ASSERTION_SECONDS,
    RENEWAL_PAUSE_SECONDS,
    RENEWAL_PERCENT,
    RENEWAL_SECONDS,
    SENT_AGAIN,
    TOKEN_CHARACTERS,
)
from instantaudience.turns import Shared
from instantaudience.v1.authentication_pb2 import AuthenticateResponse, AuthenticateWithJwtResponse


def _can_be_sent(token: str) -> bool:
    """Whether the token can be sent in a header."""
    return len(token) <= TOKEN_CHARACTERS and token.isascii() and token.isprintable()


def _check_token(token: str) -> None:
    """Check that the token can be sent in a header.

    Raises:
        ValueError: it cannot, or is empty.
    """
    if not token:
        raise ValueError("the token is empty; is it of a variable that is not set?")
    if not _can_be_sent(token):
        many = f"or more than {TOKEN_CHARACTERS}"
        raise ValueError(f"the token has characters that no token has, {many}; is it a line of a file, with its end?")


@dataclass(frozen=True)
class Password:
    """An account's user name and password.

    A `token` that was obtained earlier for this account is used until the service rejects it.

    Raises:
        ValueError: as of `Token`.
    """

    username: str
    password: str = field(repr=False)
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.token is not None:
            _check_token(self.token)


@dataclass(frozen=True)
class Token:
    """A token that was obtained elsewhere; it is used until the service rejects it.

    Raises:
        ValueError: it is empty, contains characters that no token has, such as a line end, or more than 4096
            characters.
    """

    token: str = field(repr=False)

    def __post_init__(self) -> None:
        _check_token(self.token)


@dataclass(frozen=True)
class KeyPair:
    """An account's private key in PEM form (RSA or P-256), and the name of its public key at the service.

    Needs PyJWT with cryptography (`pip install 'instant-audience-client[keys]'`).
    """

    username: str
    key_name: str
    private_key: str = field(repr=False)

    def assertion(self, now: float) -> str:
        """A JWT that proves possession of the key; `now` is the Unix time in seconds.

        Raises:
            ValueError: the key cannot be read, or is neither RSA nor P-256.
            ModuleNotFoundError: PyJWT or cryptography is missing.
        """
        with needed("keys"):
            import jwt
            from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
            from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
            from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(self.private_key.encode(), password=None)
        except (TypeError, ValueError) as error:  # It is encrypted, or none.
            raise ValueError(f"the private key cannot be read: {error}") from None
        if isinstance(key, RSAPrivateKey):
            algorithm = "RS256"
        elif isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
            algorithm = "ES256"
        else:
            raise ValueError("the private key is neither RSA nor P-256")
        claims = {"sub": self.username, "iat": int(now), "exp": int(now) + ASSERTION_SECONDS}
        return jwt.encode(claims, key, algorithm, headers={"kid": self.key_name})


@dataclass(frozen=True)
class ClientCertificate:
    """The connection's client certificate identifies the account; there is no token (see `Tls`)."""


Credentials = Password | Token | KeyPair | ClientCertificate


_CERTIFICATE = re.compile(rb"^-----BEGIN (?:[A-Z0-9]+ )?CERTIFICATE-----", re.MULTILINE)
_FIRST = re.compile(_CERTIFICATE.pattern + rb"(.*?)^-----END", re.MULTILINE | re.DOTALL)
_PERIOD = re.compile(
    rb"\x30[\x1e\x20\x22](?:\x17\x0d[0-9]{12}Z|\x18\x0f[0-9]{14}Z)(?:\x17\x0d([0-9]{12})Z|\x18\x0f([0-9]{14})Z)"
)
"""A certificate's `Validity`, with its end of two or four digits of the year (source: RFC 5280, 4.1.2.5). Python's ssl
module tells it of certificates of CAs alone."""
_KEY = re.compile(rb"^-----BEGIN (?:RSA |EC )?PRIVATE KEY-----(?!\s*Proc-Type: 4,ENCRYPTED)", re.MULTILINE)


@dataclass(frozen=True)
class Tls:
    """TLS settings, in PEM form. A client certificate needs its key.

    Without `root_certificates`, gRPC's own are used, or those in the file named by the environment variable
    GRPC_DEFAULT_SSL_ROOTS_FILE_PATH.

    Raises:
        ValueError: certificate or key is missing, not in PEM form, or the key is encrypted; on Linux, also if one
            cannot be read, or the key belongs to another certificate.
    """

    root_certificates: bytes | None = None
    certificate_chain: bytes | None = None
    private_key: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if (self.certificate_chain is None) != (self.private_key is None):
            raise ValueError("a client certificate needs both certificate_chain and private_key")
        # gRPC aborts the process for an empty certificate, replaces empty roots by its own, and reports other errors
        # too late.
        for name in ("root_certificates", "certificate_chain"):
            if (text := getattr(self, name)) is not None and not _CERTIFICATE.search(text):
                raise ValueError(f"there is no certificate in PEM form in {name}")
        if self.private_key is not None and not _KEY.search(self.private_key):
            raise ValueError("there is no private key in PEM form in private_key, or it is encrypted")
        if self.certificate_chain is not None and self.private_key is not None and hasattr(os, "memfd_create"):
            _check_pair(self.certificate_chain, self.private_key)

    @property
    def certificate_end(self) -> datetime | None:
        """When the client certificate ends (UTC), the first one in its chain; None if there is none, or its end cannot
        be read."""
        first = _FIRST.search(self.certificate_chain or b"")
        try:
            period = None if first is None else _PERIOD.search(base64.b64decode(first[1]))
            if period is None:
                return None
            short, long = period.groups(b"")
            form = "%y%m%d%H%M%S" if short else "%Y%m%d%H%M%S"
            return datetime.strptime((short or long).decode(), form).replace(tzinfo=UTC)
        except ValueError:
            return None


def _check_pair(chain: bytes, key: bytes) -> None:
    """Check that a certificate and a key belong together. Python's ssl module reads them from files only, so they are
    put into files in memory.

    Raises:
        ValueError: they do not belong together, or one of them cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # How good they have to be is for others to say.
    with ExitStack() as files:
        in_memory = [files.enter_context(os.fdopen(os.memfd_create("pem"), "wb")) for _ in range(2)]
        for file, text in zip(in_memory, (chain, key), strict=True):
            file.write(text)
            file.flush()
        certfile, keyfile = (f"/proc/self/fd/{file.fileno()}" for file in in_memory)
        try:
            context.load_cert_chain(certfile, keyfile, password="")
        except ssl.SSLError as error:
            raise ValueError(
                f"certificate_chain and private_key do not belong together, or one of them cannot be read: {error}"
            ) from None


SignIn = Callable[[float], Awaitable[tuple[str, float]]]
"""Obtains a token before a deadline (a time of `time.monotonic`); returns it with its lifetime in seconds."""


def issued(answer: AuthenticateResponse | AuthenticateWithJwtResponse) -> tuple[str, float] | None:
    """The token in an answer, and its maximum lifetime in seconds, infinite if not given.

    None if there is no token, or one that cannot be sent in a header.
    """
    result = answer.response
    if not result.token or not _can_be_sent(result.token):
        return None
    return result.token, max(0, result.lifetime.seconds) if result.HasField("lifetime") else float("inf")


class Session:
    """The token of a client: obtained once for all calls, and renewed before it ends. `certificate_end` is when the
    connection's client certificate ends (UTC), if that is known. `why` is the error of the last attempt to sign in
    after which another one was to come."""

    def __init__(
        self,
        sign_in: SignIn | None,
        token: str | None,
        certificate_end: datetime | None = None,
        retries: Retries | None = None,
        why: Callable[[], AudienceError | None] = lambda: None,
    ) -> None:
        self.certificate_end = certificate_end
        self._token = token
        self._ends = float("inf")
        """When it is to be renewed; a token that was obtained elsewhere, when it is rejected."""
        self._dies = 0.0
        """When it ends."""
        self._process = Process()
        self.closed = asyncio.Event()
        """Set once the client is closed."""
        self._signing_in: Shared[str] | None = None
        if sign_in is not None:
            self._signing_in = Shared(partial(self._obtain, sign_in), retries or Retries(), self.sleep, why)

    async def token(self, deadline: float) -> str | None:
        """The token for a call; None if none is needed. `deadline` is a time of `time.monotonic`.

        Raises:
            AudienceError: signing in failed, or took too long, or the client is closed.
        """
        self.check_open()
        if self._signing_in is None:
            return self._token
        if (token := self._standing()) is not None:
            return token
        if (at_hand := self._living(time.monotonic())) is not None:
            return await self._renewed(self._signing_in, at_hand, deadline)
        return await self._signing_in.value(self._standing, deadline)

    def _standing(self) -> str | None:
        return self._token if time.monotonic() < self._ends else None

    def _living(self, now: float) -> str | None:
        """The current token, if it has not ended."""
        return self._token if now < self._dies else None

    async def _renewed(self, signing_in: Shared[str], at_hand: str, deadline: float) -> str:
        """A new token, or the old one, which is still valid: no other call waits for the new one, and this one waits
        only briefly."""
        began = time.monotonic()
        self._ends = min(self._dies, began + RENEWAL_PAUSE_SECONDS)
        brief = began + min(RENEWAL_SECONDS, (deadline - began) / 2)
        try:
            return await signing_in.task(brief).result(brief)
        except AudienceError as error:
            if error.kind not in SENT_AGAIN or self.closed.is_set():
                raise
            now = time.monotonic()
            if self._living(now) != at_hand:
                # The old token has ended meanwhile, or was rejected: a new one is needed.
                return await signing_in.value(self._standing, deadline)
            if isinstance(error, RateLimitedError):
                self._ends = min(self._dies, now + (error.retry_after_seconds or 0.0))
            return at_hand

    async def _obtain(self, sign_in: SignIn, deadline: float) -> str:
        token, lifetime = await sign_in(deadline)
        now = time.monotonic()
        # Renewed before a tenth of its lifetime is left, so that no call uses one that has ended.
        self._token, self._ends, self._dies = token, now + RENEWAL_PERCENT / 100 * lifetime, now + lifetime
        return token

    def refused(self, token: str | None) -> bool:
        """Note that the service rejected this token; returns whether a new one can be obtained."""
        if self._signing_in is None:
            return False
        if self._token == token:
            self._token = None
        return True

    def check_open(self) -> None:
        """Check that the client is open.

        Raises:
            UnavailableError: it is closed.
            RuntimeError: this process was forked from the client's.
        """
        self._process.check()
        if self.closed.is_set():
            raise UnavailableError("the client is closed")

    async def sleep(self, seconds: float) -> None:
        """Sleep for this many seconds.

        Raises:
            UnavailableError: the client is closed, or is closed meanwhile.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.closed.wait()
        self.check_open()

    async def close(self) -> None:
        """End the session, with a sign-in that is under way: nothing is sent any more."""
        self.closed.set()
        if self._signing_in is not None:
            await self._signing_in.close()
