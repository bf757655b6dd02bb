"""Who signs in, and the token that is shared by all calls of a client."""

import asyncio
import os
import re
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial

from instantaudience.errors import AudienceError, RateLimitedError, UnavailableError
from instantaudience.processes import Process
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


@dataclass(frozen=True)
class Password:
    """An account's name and password."""

    username: str
    password: str = field(repr=False)


def _can_be_sent(token: str) -> bool:
    """Whether a header holds it."""
    return len(token) <= TOKEN_CHARACTERS and token.isascii() and token.isprintable()


@dataclass(frozen=True)
class Token:
    """A token that somebody else has got; it is used as long as the service takes it.

    Raises:
        ValueError: it has characters that no token has, the end of a line for example, or more than 4096.
    """

    token: str = field(repr=False)

    def __post_init__(self) -> None:
        if not _can_be_sent(self.token):
            many = f"or more than {TOKEN_CHARACTERS}"
            raise ValueError(
                f"the token has characters that no token has, {many}; is it a line of a file, with its end?"
            )


@dataclass(frozen=True)
class KeyPair:
    """An account's private key in PEM form (RSA or P-256), and the name that its public key has with the service.

    Needs PyJWT with cryptography (`pip install instant-audience-client[keys]`).
    """

    username: str
    key_name: str
    private_key: str = field(repr=False)

    def assertion(self, now: float) -> str:
        """A JWT that proves that the caller has the key; `now` is a Unix time, in seconds.

        Raises:
            ValueError: the key cannot be read, or is neither RSA nor P-256.
            ImportError: PyJWT is missing.
        """
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
    """The account is that of the connection's client certificate: there is no token (see `Tls`)."""


Credentials = Password | Token | KeyPair | ClientCertificate


_CERTIFICATE = re.compile(rb"^-----BEGIN (?:[A-Z0-9]+ )?CERTIFICATE-----", re.MULTILINE)
_KEY = re.compile(rb"^-----BEGIN (?:RSA |EC )?PRIVATE KEY-----(?!\s*Proc-Type: 4,ENCRYPTED)", re.MULTILINE)


@dataclass(frozen=True)
class Tls:
    """How a connection is secured; PEM. A client certificate needs its key.

    Without `root_certificates`, those that come with gRPC, or those of the file that the environment variable
    GRPC_DEFAULT_SSL_ROOTS_FILE_PATH names.

    Raises:
        ValueError: there is one of the two alone, or one that is not in PEM, or the key is encrypted; on Linux, also
            where one cannot be read, or the key belongs to another certificate.
    """

    root_certificates: bytes | None = None
    certificate_chain: bytes | None = None
    private_key: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if (self.certificate_chain is None) != (self.private_key is None):
            raise ValueError("a client certificate needs both certificate_chain and private_key")
        # gRPC ends the process where one is empty, takes its own roots for empty ones, and tells of the rest too late.
        for name in ("root_certificates", "certificate_chain"):
            if (text := getattr(self, name)) is not None and not _CERTIFICATE.search(text):
                raise ValueError(f"there is no certificate in PEM form in {name}")
        if self.private_key is not None and not _KEY.search(self.private_key):
            raise ValueError("there is no private key in PEM form in private_key, or it is encrypted")
        if self.certificate_chain is not None and self.private_key is not None and hasattr(os, "memfd_create"):
            _check_pair(self.certificate_chain, self.private_key)


def _check_pair(chain: bytes, key: bytes) -> None:
    """Nothing, where a certificate and a key belong together. Python reads them from files alone: from some in memory.

    Raises:
        ValueError: they do not, or one of them cannot be read.
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
"""Gives a token until a deadline, and for how many seconds it lives at most."""


def issued(answer: AuthenticateResponse | AuthenticateWithJwtResponse) -> tuple[str, float] | None:
    """The token of an answer, and for how many seconds it lives at most; where nothing is said, nobody knows of an end.

    None where there is no token, or none that can be sent.
    """
    result = answer.response
    if not result.token or not _can_be_sent(result.token):
        return None
    return result.token, max(0, result.lifetime.seconds) if result.HasField("lifetime") else float("inf")


class Session:
    """The token of a client: got once for all calls, and again when it ends."""

    def __init__(self, sign_in: SignIn | None, token: str | None) -> None:
        self._sign_in = sign_in
        self._token = token
        self._ends = float("inf")
        """When another one is asked for."""
        self._dies = 0.0
        """When the one at hand ends."""
        self._process = Process()
        self.closed = asyncio.Event()
        """Whether its client is."""
        self._signing_in = Shared[str]()

    async def token(self, deadline: float) -> str | None:
        """The token to call with; None where none is needed. The deadline is a time of `time.monotonic`.

        Raises:
            AudienceError: signing in failed, or is not done in time; or the client is closed.
        """
        self.check_open()
        if self._sign_in is None:
            return self._token
        return await self._signing_in.value(self._standing, partial(self._renew, self._sign_in, deadline), deadline)

    def _standing(self) -> str | None:
        return self._token if time.monotonic() < self._ends else None

    def _living(self, now: float) -> str | None:
        """The token that there is, where it lives."""
        return self._token if now < self._dies else None

    async def _renew(self, sign_in: SignIn, deadline: float) -> str:
        began = time.monotonic()
        bound, at_hand = deadline, self._living(began)
        if at_hand is not None:
            # It is good as long as it lives: nobody else waits for another one, and this call does not for long.
            self._ends = min(self._dies, began + RENEWAL_PAUSE_SECONDS)
            bound = began + min(RENEWAL_SECONDS, (deadline - began) / 2)
        try:
            token, lifetime = await sign_in(bound)
        except AudienceError as error:
            if error.kind not in SENT_AGAIN or at_hand is None or self.closed.is_set():
                raise
            now = time.monotonic()
            if self._living(now) != at_hand:
                # It has ended meanwhile, or was refused: now there is none but another one.
                return await self._renew(sign_in, deadline)
            if isinstance(error, RateLimitedError):
                self._ends = min(self._dies, now + (error.retry_after_seconds or 0.0))
            return at_hand
        now = time.monotonic()
        # Before it ends, so that no call finds it ended; and before a tenth of it is left.
        self._token, self._ends, self._dies = token, now + RENEWAL_PERCENT / 100 * lifetime, now + lifetime
        return token

    def refused(self, token: str | None) -> bool:
        """The service did not take this token; whether another one can be had."""
        if self._sign_in is None:
            return False
        if self._token == token:
            self._token = None
        return True

    def check_open(self) -> None:
        """Nothing, while the client is open.

        Raises:
            UnavailableError: it is closed.
            RuntimeError: this process was forked from the client's.
        """
        self._process.check()
        if self.closed.is_set():
            raise UnavailableError("the client is closed")

    async def sleep(self, seconds: float) -> None:
        """Wait so long.

        Raises:
            UnavailableError: the client is closed; meanwhile, too.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.closed.wait()
        self.check_open()

    def close(self) -> None:
        """There is no token any more: nothing is sent, or sent again."""
        self.closed.set()
