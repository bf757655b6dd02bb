"""Issues, verifies and revokes tokens (source: contract, "Tokens").

A token is known to its holder only: the cluster stores its SHA-256, and no log, error or metric contains it.
"""

import asyncio
import contextlib
import hashlib
import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, NamedTuple

from instantaudience.v1 import catalog_pb2 as pb

from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.errors import AudienceError, Cause, Reason, overloaded
from instantaudience_server.process.clock import Clock
from instantaudience_server.store.interfaces.sessions import Session, SessionStore

IDLE_MS = 2 * 3600 * 1000
"""A token ends this long after its last use."""
LIFETIME_MS = 24 * 3600 * 1000
"""A token ends this long after it was issued, however it is used."""
SIGN_INS = 10
"""The most successful sign-ins of an account within `SIGN_IN_WINDOW_MS`."""
SIGN_IN_WINDOW_MS = 5 * 60 * 1000
WITHDRAW_SECONDS = 1.0
"""How long the cluster has to take back the count of a sign-in that has failed."""
TRUST_MS = 1000
"""How long a worker trusts a session that it has read. This limits how late it notices that a session has ended, and
how much earlier than `IDLE_MS` after its last use a token may end. Changes of the session's account in the catalog take
effect as soon as the worker knows them."""
AHEAD_MS = 300
"""How long before that time is over a session is read again in advance, so that calls need not wait for it."""
OUTAGE_SECONDS = 0.25
"""How long a call waits for a session that its worker has read before. If the node that holds the session does not
answer, the worker goes on trusting what it read, up to the session's end as of then, so that callers with data on other
nodes are served."""
MOST_LOOKUPS = 500
"""The most unknown tokens that a worker looks up at once. Anyone can invent tokens."""
MOST_TRUSTED = 10_000
"""The most sessions that a worker remembers."""
RANDOM_BYTES = 16
LONGEST_TOKEN = 256
"""The most characters of a token; a longer one is unknown without a lookup."""
LONGEST_AUTHORIZATION = len("Bearer ") + LONGEST_TOKEN
"""The most characters of an `authorization` header with a token."""
MISSING = "No token: sign in with POST /auth and send the token with every call"
CERTIFICATE = "\0"
"""Marks a credential that is not a token but the name in a client certificate. No header can contain this character."""
UNKNOWN_CERTIFICATE = "No token, and no user has the name in the client certificate"
UNKNOWN = "Unknown or expired token: sign in again with POST /auth"


class Issued(NamedTuple):
    """A new token, and when it ends at the latest (Unix time in ms)."""

    token: str
    end_ms: int


@dataclass(slots=True)
class _Trusted:
    """A session that was read, and its caller according to a version of the catalog.

    It is trusted until `until_ms`, and the session ends at `end_ms` (Unix times in ms).
    """

    session: Session
    caller: Caller
    catalog_version: int
    until_ms: int
    end_ms: int
    asked_ahead: bool = False

    def counts(self, now_ms: int) -> bool:
        """Whether it is trusted now. Also not before the time it was read, in case the clock was set back."""
        return self.until_ms - TRUST_MS <= now_ms < self.until_ms


class TokenService:
    """Issues, verifies and revokes tokens. Deadlines are times of the event loop's clock, in seconds.

    `random_hex(n)` returns n random bytes in hexadecimal; `location` is the last part of the tokens issued here.
    """

    def __init__(
        self,
        feed: CatalogFeed,
        store: SessionStore,
        clock: Clock,
        random_hex: Callable[[int], str],
        location: str,
    ) -> None:
        self._feed = feed
        self._catalog = feed.catalog
        self._store = store
        self._clock = clock
        self._random_hex = random_hex
        self._location = location
        self._trusted: OrderedDict[str, _Trusted] = OrderedDict()
        self._loop = asyncio.get_running_loop()
        self._aside: set[asyncio.Task[object]] = set()
        self._lookups: Counter[str] = Counter()
        """The number of calls that wait for the lookup of an unknown token, by the token's hash."""

    async def issue(self, user: pb.User, deadline: float, *, limited: bool) -> Issued:
        """Begin a session of a user.

        `limited`: there may be at most `SIGN_INS` of these within `SIGN_IN_WINDOW_MS`. Sign-ins that fail in the end do
        not count, so that retries during an outage do not lock a user out.

        Raises:
            AudienceError: RATE_LIMIT_EXCEEDED; UNAVAILABLE.
        """
        token = f"hbapi:{user.id}:{self._random_hex(RANDOM_BYTES)}:{self._location}"
        token_hash, now_ms = hash_token(token), self._clock.now_ms()
        with contextlib.ExitStack() as withdrawal:
            if limited:
                withdrawal.callback(self._withdraw_sign_in, user, token_hash)
                await self._count_sign_in(user, token_hash, deadline)
            session = Session(user.id, now_ms, user.token_generation)
            await self._store.create(token_hash, session, now_ms + IDLE_MS, deadline)
            withdrawal.pop_all()
        return Issued(token, now_ms + LIFETIME_MS)

    def _withdraw_sign_in(self, user: pb.User, token_hash: str) -> None:
        self._run_aside(self._store.withdraw_sign_in(user.id, token_hash, self._loop.time() + WITHDRAW_SECONDS))

    async def _count_sign_in(self, user: pb.User, token_hash: str, deadline: float) -> None:
        wait_ms = await self._store.count_sign_in(user.id, token_hash, SIGN_IN_WINDOW_MS, SIGN_INS, deadline)
        if wait_ms:
            raise AudienceError(
                Reason.RATE_LIMIT_EXCEEDED,
                f"Rate limit exceeded. You have authenticated {SIGN_INS} times in 5 minutes, wait and try again",
                retry_after_seconds=math.ceil(wait_ms / 1000),
                count=str(SIGN_INS),
            ).of_member(user.member_id)

    async def revoke(self, token: str, deadline: float) -> None:
        """Revoke a token: this worker refuses it from now on, all others within `TRUST_MS`.

        Raises:
            AudienceError: as `verify`.
        """
        if token.startswith(CERTIFICATE):
            raise AudienceError(Reason.NOAUTH, MISSING, cause=Cause.TOKEN_MISSING)
        await self.verify(token, deadline)
        token_hash = hash_token(token)
        await self._store.remove(token_hash, deadline)
        self._trusted.pop(token_hash, None)

    async def verify(self, token: str, deadline: float) -> Caller:
        """The caller that this token, or the name of this certificate, belongs to. Counts as a use of the token.

        Raises:
            AudienceError: NOAUTH for a missing, unknown or expired token; NOAUTH_DISABLED for a deactivated account;
                UNAVAILABLE.
        """
        if not token:
            raise AudienceError(Reason.NOAUTH, MISSING, cause=Cause.TOKEN_MISSING)
        if token.startswith(CERTIFICATE):
            return self._by_certificate(token.removeprefix(CERTIFICATE))
        if len(token) > LONGEST_TOKEN:
            raise _unknown_token()
        token_hash = hash_token(token)
        now_ms = self._clock.now_ms()
        trusted = self._trusted.get(token_hash)
        if trusted is None or now_ms >= trusted.end_ms:
            return await self._look_up(token_hash, now_ms, deadline)
        if trusted.counts(now_ms):
            return self._caller_of(trusted)
        try:
            return await self._read(token_hash, now_ms, min(deadline, self._loop.time() + OUTAGE_SECONDS))
        except AudienceError as error:
            if error.reason is not Reason.UNAVAILABLE:
                raise
        trusted.until_ms = min(now_ms + TRUST_MS, trusted.end_ms)
        return self._caller_of(trusted)

    def known(self, token: str) -> Caller | None:
        """The caller that `verify` would return without asking the cluster; None if it might ask, or would fail.

        Shortly before the session is no longer trusted, it is read again in the background.
        """
        if token.startswith(CERTIFICATE):
            with contextlib.suppress(AudienceError):
                return self._by_certificate(token.removeprefix(CERTIFICATE))
            return None
        token_hash = hash_token(token)
        now_ms = self._clock.now_ms()
        trusted = self._trusted.get(token_hash)
        if trusted is None or not trusted.counts(now_ms):
            return None
        if now_ms >= trusted.until_ms - AHEAD_MS and not trusted.asked_ahead:
            trusted.asked_ahead = True
            self._run_aside(self._read(token_hash, now_ms, self._loop.time() + OUTAGE_SECONDS))
        try:
            return self._caller_of(trusted)
        except AudienceError:
            return None

    async def _look_up(self, token_hash: str, now_ms: int, deadline: float) -> Caller:
        """As `_read`, for a session that this worker does not know; raises UNAVAILABLE past `MOST_LOOKUPS`."""
        if len(self._lookups) >= MOST_LOOKUPS and token_hash not in self._lookups:
            raise overloaded("Too many unknown tokens under way")
        self._lookups[token_hash] += 1
        try:
            return await self._read(token_hash, now_ms, deadline)
        finally:
            self._lookups[token_hash] -= 1
            if not self._lookups[token_hash]:
                del self._lookups[token_hash]

    async def _read(self, token_hash: str, now_ms: int, deadline: float) -> Caller:
        """Read the session behind a token, as a use of it; raises as `verify`."""
        session = await self._store.find(token_hash, deadline)
        self._trusted.pop(token_hash, None)
        end_ms = 0 if session is None else min(now_ms + IDLE_MS, session.issued_ms + LIFETIME_MS)
        if session is None or end_ms <= now_ms:
            raise _unknown_token()
        if session.user_id not in self._catalog.accounts:
            # The account may be new, and have signed in at a worker that already knows it.
            await self._feed.catch_up(deadline)
        caller = self._resolve(session)
        until_ms = min(now_ms + TRUST_MS, end_ms)
        self._trust(token_hash, _Trusted(session, caller, self._catalog.version, until_ms, end_ms))
        self._extend(token_hash, end_ms, deadline)
        return caller

    async def close(self) -> None:
        """Wait for the background tasks, which store the uses of tokens."""
        await asyncio.gather(*self._aside, return_exceptions=True)

    def _caller_of(self, trusted: _Trusted) -> Caller:
        """The caller according to the present catalog; raises as `_resolve`."""
        if trusted.catalog_version != self._catalog.version:
            trusted.caller = self._resolve(trusted.session)
            trusted.catalog_version = self._catalog.version
        return trusted.caller

    def _by_certificate(self, name: str) -> Caller:
        """The caller with this name in its certificate; raises NOAUTH and NOAUTH_DISABLED."""
        account = self._catalog.account_by_certificate(name)
        member = self._catalog.members.get(account.member_id) if account else None
        if account is None or member is None:
            raise AudienceError(Reason.NOAUTH, UNKNOWN_CERTIFICATE, cause=Cause.WRONG_CREDENTIALS)
        if not account.active:
            raise deactivated(member.id)
        return Caller(account, member)

    def _resolve(self, session: Session) -> Caller:
        """The caller of a session; raises NOAUTH if it was revoked or its account is gone, and NOAUTH_DISABLED.

        A session with a later generation than the account's is valid: this worker does not know that change yet.
        """
        account = self._catalog.accounts.get(session.user_id)
        member = self._catalog.members.get(account.member_id) if account else None
        if account is None or member is None:
            raise _unknown_token()
        if session.generation < account.token_generation:
            raise _unknown_token().of_member(member.id)
        if not account.active:
            raise deactivated(member.id)
        return Caller(account, member)

    def _trust(self, token_hash: str, trusted: _Trusted) -> None:
        self._trusted[token_hash] = trusted
        if len(self._trusted) > MOST_TRUSTED:
            self._trusted.popitem(last=False)

    def _extend(self, token_hash: str, end_ms: int, deadline: float) -> None:
        """Store the session's new end in the background, so that the call need not wait for it."""
        # If this fails, the token only ends as if it had not been used this time.
        self._run_aside(self._store.extend(token_hash, end_ms, deadline))

    def _run_aside(self, work: Coroutine[Any, Any, object]) -> None:
        """Run a task in the background; failures are ignored."""
        task = asyncio.create_task(work)
        self._aside.add(task)
        task.add_done_callback(self._ran_aside)

    def _ran_aside(self, task: "asyncio.Task[object]") -> None:
        self._aside.discard(task)
        if not task.cancelled():
            task.exception()


def hash_token(token: str) -> str:
    """The hexadecimal SHA-256 of a token, which is stored in its place."""
    return hashlib.sha256(token.encode()).hexdigest()


def bare_token(authorization: str) -> str:
    """The token in an `authorization` header or metadata value: the whole value, or what follows `Bearer`."""
    scheme, _, rest = authorization.strip().partition(" ")
    return rest.strip() if scheme.lower() == "bearer" and rest else authorization.strip()


def _unknown_token() -> AudienceError:
    return AudienceError(Reason.NOAUTH, UNKNOWN)


def deactivated(member_id: int) -> AudienceError:
    """NOAUTH_DISABLED: an account of this member is deactivated, so it cannot sign in and its tokens are refused."""
    return AudienceError(Reason.NOAUTH_DISABLED, "This user is deactivated").of_member(member_id)
