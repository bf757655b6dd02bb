"""Who signs in, and the token that is shared by all calls of a client."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Password:
    """An account's name and password."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Token:
    """A token that somebody else has got; it is used as long as the service takes it."""

    token: str = field(repr=False)


@dataclass(frozen=True)
class ClientCertificate:
    """The account is that of the connection's client certificate: there is no token (see `Tls`)."""


Credentials = Password | Token | ClientCertificate


@dataclass(frozen=True)
class Tls:
    """How a connection is secured; PEM. Without `root_certificates`, the system's; a client certificate needs both."""

    root_certificates: bytes | None = None
    certificate_chain: bytes | None = None
    private_key: bytes | None = field(default=None, repr=False)


class Session:
    """The token of a client: got once for all calls, and again when it ends.

    `sign_in(deadline)` gives a token, and for how many seconds it lives at most.
    """

    def __init__(self, sign_in: Callable[[float], Awaitable[tuple[str, float]]] | None, token: str | None) -> None:
        self._sign_in = sign_in
        self._token = token
        self._ends = float("inf")
        self._lock = asyncio.Lock()

    async def token(self, deadline: float) -> str | None:
        """The token to call with; None where none is needed. The deadline is a time of `time.monotonic`.

        Raises:
            AudienceError: signing in failed.
        """
        if self._sign_in is None or (self._token is not None and time.monotonic() < self._ends):
            return self._token
        async with self._lock:
            if self._token is None or time.monotonic() >= self._ends:
                token, lifetime = await self._sign_in(deadline)
                # Before it ends, so that no call finds it ended; and before a tenth of it is left.
                self._token, self._ends = token, time.monotonic() + 0.9 * lifetime
            return self._token

    def refused(self, token: str | None) -> bool:
        """The service did not take this token; whether another one can be had."""
        if self._sign_in is None:
            return False
        if self._token == token:
            self._token = None
        return True
