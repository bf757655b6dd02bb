"""Issue, verify and expire tokens (source: contract, "Tokens").

A token is a secret that only its holder has: the cluster keeps its SHA-256, and no log, error or metric names it.
"""

import asyncio
import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from instantaudience_server.access import Caller
from instantaudience_server.catalog import Account, Catalog
from instantaudience_server.clock import Clock
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.passwords import Passwords
from instantaudience_server.store.interface import Session, SessionStore

IDLE_MS = 2 * 3600 * 1000
"""A token ends this long after its last use."""
LIFETIME_MS = 24 * 3600 * 1000
"""A token ends this long after it was issued, however it is used."""
SIGN_INS = 10
"""Successful sign-ins of an account within `SIGN_IN_WINDOW_MS`."""
SIGN_IN_WINDOW_MS = 5 * 60 * 1000
TRUST_MS = 1000
"""How long a worker trusts what it read of a session. It bounds how late an ended session is noticed, and how much
earlier than `IDLE_MS` after its last use a token may end."""
OUTAGE_SECONDS = 0.25
"""How long a call waits for a session that its worker has read before. If the part of the cluster that holds it does
not answer, what was read is trusted again, up to the end that the session had then: users on other parts are served."""
MOST_TRUSTED = 10_000
"""Sessions that a worker remembers."""
RANDOM_BYTES = 16
LONGEST_TOKEN = 256
"""Characters of a token that are looked at; a longer one is unknown."""


@dataclass(slots=True)
class _Trusted:
    caller: Caller
    until_ms: int
    end_ms: int


class TokenService:
    """Sign-in and the check of every other call. Deadlines are times of the event loop's clock, in seconds.

    `random_hex(n)` returns n random bytes in hexadecimal; `location` is the last part of the tokens issued here.
    """

    def __init__(
        self,
        catalog: Catalog,
        store: SessionStore,
        passwords: Passwords,
        clock: Clock,
        random_hex: Callable[[int], str],
        location: str,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._passwords = passwords
        self._clock = clock
        self._random_hex = random_hex
        self._location = location
        self._trusted: OrderedDict[str, _Trusted] = OrderedDict()
        self._loop = asyncio.get_running_loop()
        self._extending: set[asyncio.Task[None]] = set()

    async def authenticate(self, username: str, password: str, deadline: float) -> str:
        """Exchange a user name and password for a token.

        Raises:
            AudienceError: NOAUTH for a wrong name or password, without saying which; NOAUTH_DISABLED for a deactivated
                account; RATE_LIMIT_EXCEEDED past 10 sign-ins in 5 minutes; UNAVAILABLE.
        """
        account = self._catalog.accounts_by_name.get(username)
        matches = await self._passwords.matches(password, account.password_hash if account else None)
        if account is None or not matches:
            raise AudienceError(Reason.NOAUTH, "Authentication failed: wrong user name or password")
        self._check_active(account)
        token = f"hbapi:{account.id}:{self._random_hex(RANDOM_BYTES)}:{self._location}"
        now_ms = self._clock.now_ms()
        wait_ms = await self._store.count_sign_in(
            account.id, hash_token(token), now_ms, SIGN_IN_WINDOW_MS, SIGN_INS, deadline
        )
        if wait_ms:
            raise AudienceError(
                Reason.RATE_LIMIT_EXCEEDED,
                f"Rate limit exceeded. You have authenticated {SIGN_INS} times in 5 minutes, wait and try again",
                retry_after_seconds=math.ceil(wait_ms / 1000),
                count=str(SIGN_INS),
            )
        await self._store.create(hash_token(token), Session(account.id, now_ms), now_ms + IDLE_MS, deadline)
        return token

    async def verify(self, token: str, deadline: float) -> Caller:
        """Who holds this token; counts as a use of it.

        Raises:
            AudienceError: NOAUTH for a missing, unknown or expired token; NOAUTH_DISABLED for a deactivated account;
                UNAVAILABLE.
        """
        if not token:
            raise AudienceError(Reason.NOAUTH, "No token: sign in with POST /auth and send the token with every call")
        if len(token) > LONGEST_TOKEN:
            raise _unknown_token()
        token_hash = hash_token(token)
        now_ms = self._clock.now_ms()
        trusted = self._trusted.get(token_hash)
        if trusted is None or now_ms >= trusted.end_ms:
            return await self._read(token_hash, now_ms, deadline)
        if now_ms < trusted.until_ms:
            return trusted.caller
        try:
            return await self._read(token_hash, now_ms, min(deadline, self._loop.time() + OUTAGE_SECONDS))
        except AudienceError as error:
            if error.reason is not Reason.UNAVAILABLE:
                raise
        trusted.until_ms = min(now_ms + TRUST_MS, trusted.end_ms)
        return trusted.caller

    async def _read(self, token_hash: str, now_ms: int, deadline: float) -> Caller:
        """Read the session behind a token, as a use of it; raises as `verify`."""
        session = await self._store.find(token_hash, deadline)
        self._trusted.pop(token_hash, None)
        end_ms = 0 if session is None else min(now_ms + IDLE_MS, session.issued_ms + LIFETIME_MS)
        if session is None or end_ms <= now_ms:
            raise _unknown_token()
        caller = self._caller(session)
        self._trust(token_hash, _Trusted(caller, min(now_ms + TRUST_MS, end_ms), end_ms))
        self._extend(token_hash, end_ms, deadline)
        return caller

    async def close(self) -> None:
        """Wait for the uses of tokens that are being written down."""
        await asyncio.gather(*self._extending, return_exceptions=True)

    def _caller(self, session: Session) -> Caller:
        account = self._catalog.accounts.get(session.user_id)
        if account is None:
            raise _unknown_token()
        self._check_active(account)
        return Caller(account, self._catalog.members[account.member_id])

    def _check_active(self, account: Account) -> None:
        if not account.active:
            raise AudienceError(Reason.NOAUTH_DISABLED, "This user is deactivated")

    def _trust(self, token_hash: str, trusted: _Trusted) -> None:
        self._trusted[token_hash] = trusted
        if len(self._trusted) > MOST_TRUSTED:
            self._trusted.popitem(last=False)

    def _extend(self, token_hash: str, end_ms: int, deadline: float) -> None:
        """Move the session's end without keeping the call: it rides along with the call's own writes."""
        task = asyncio.create_task(self._store.extend(token_hash, end_ms, deadline))
        self._extending.add(task)
        task.add_done_callback(self._extended)

    def _extended(self, task: "asyncio.Task[None]") -> None:
        # A use that could not be written down only lets the token end earlier, as if that use had not been.
        self._extending.discard(task)
        if not task.cancelled():
            task.exception()


def hash_token(token: str) -> str:
    """The hexadecimal SHA-256 of a token: all that is stored of it."""
    return hashlib.sha256(token.encode()).hexdigest()


def bare_token(authorization: str) -> str:
    """The token in an `authorization` header or metadata value: bare, or after `Bearer`."""
    scheme, _, rest = authorization.strip().partition(" ")
    return rest.strip() if scheme.lower() == "bearer" and rest else authorization.strip()


def _unknown_token() -> AudienceError:
    return AudienceError(Reason.NOAUTH, "Unknown or expired token: sign in again with POST /auth")
