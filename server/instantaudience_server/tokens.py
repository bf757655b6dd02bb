"""Issue, verify, end and expire tokens (source: contract, "Tokens").

A token is a secret that only its holder has: the cluster keeps its SHA-256, and no log, error or metric names it.
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
from instantaudience_server.clock import Clock
from instantaudience_server.errors import AudienceError, Cause, Reason, overloaded
from instantaudience_server.store.interfaces.sessions import Session, SessionStore

IDLE_MS = 2 * 3600 * 1000
"""A token ends this long after its last use."""
LIFETIME_MS = 24 * 3600 * 1000
"""A token ends this long after it was issued, however it is used."""
SIGN_INS = 10
"""Successful sign-ins of an account within `SIGN_IN_WINDOW_MS`."""
SIGN_IN_WINDOW_MS = 5 * 60 * 1000
WITHDRAW_SECONDS = 1.0
"""How long the cluster has to forget a sign-in that has failed."""
TRUST_MS = 1000
"""How long a worker trusts what it read of a session. It bounds how late an ended session is noticed, and how much
earlier than `IDLE_MS` after its last use a token may end. What the catalog says of the session's account counts as soon
as the worker knows it."""
AHEAD_MS = 300
"""How long before that the cluster is asked again, where calls are served that need not wait for it."""
OUTAGE_SECONDS = 0.25
"""How long a call waits for a session that its worker has read before. If the part of the cluster that holds it does
not answer, what was read is trusted again, up to the end that the session had then: users on other parts are served."""
MOST_LOOKUPS = 500
"""Tokens that a worker asks the cluster for at once, of those that it does not know. Anyone can make up tokens."""
MOST_TRUSTED = 10_000
"""Sessions that a worker remembers."""
RANDOM_BYTES = 16
LONGEST_TOKEN = 256
"""Characters of a token that are looked at; a longer one is unknown."""
LONGEST_AUTHORIZATION = len("Bearer ") + LONGEST_TOKEN
"""Characters of a header that can hold a token."""
MISSING = "No token: sign in with POST /auth and send the token with every call"
CERTIFICATE = "\0"
"""Begins, in the place of a token, the name in a caller's certificate: no header can."""
UNKNOWN_CERTIFICATE = "No token, and no user has the name in the client certificate"
UNKNOWN = "Unknown or expired token: sign in again with POST /auth"


class Issued(NamedTuple):
    """A token, and when it ends at the latest (Unix time in ms)."""

    token: str
    end_ms: int


@dataclass(slots=True)
class _Trusted:
    """A session that was read, and its caller as of a version of the catalog."""

    session: Session
    caller: Caller
    catalog_version: int
    until_ms: int
    end_ms: int
    asked_ahead: bool = False

    def counts(self, now_ms: int) -> bool:
        """Whether it is trusted: no longer than ever where the clock was set back."""
        return self.until_ms - TRUST_MS <= now_ms < self.until_ms


class TokenService:
    """Sessions, and the check of every call that needs one. Deadlines are times of the event loop's clock, in seconds.

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
        """Calls that wait for what the cluster says of a token, by its hash."""

    async def issue(self, user: pb.User, deadline: float, *, limited: bool) -> Issued:
        """Begin a session of a user. `limited`: at most `SIGN_INS` such within `SIGN_IN_WINDOW_MS`, of those that a
        caller was told of: an outage keeps nobody out who signs in again.

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
        """End a token: no worker takes it any more when `TRUST_MS` have passed, and this one does not from now on.

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
        """Who holds this token; counts as a use of it.

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
        """The caller that `verify` would find without asking the cluster; None where it may have to, or would fail.

        Just before it would have to, the cluster is asked while calls go on.
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
        """`_read` a session that this worker does not know; raises UNAVAILABLE past so many."""
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
            # The account may be new, and have signed in at a worker that knows it already.
            await self._feed.catch_up(deadline)
        caller = self._resolve(session)
        until_ms = min(now_ms + TRUST_MS, end_ms)
        self._trust(token_hash, _Trusted(session, caller, self._catalog.version, until_ms, end_ms))
        self._extend(token_hash, end_ms, deadline)
        return caller

    async def close(self) -> None:
        """Wait for what runs aside: the uses of tokens that are being written down."""
        await asyncio.gather(*self._aside, return_exceptions=True)

    def _caller_of(self, trusted: _Trusted) -> Caller:
        """The caller as the catalog has it now; raises as `_resolve`."""
        if trusted.catalog_version != self._catalog.version:
            trusted.caller = self._resolve(trusted.session)
            trusted.catalog_version = self._catalog.version
        return trusted.caller

    def _by_certificate(self, name: str) -> Caller:
        """Whose certificate it is; raises NOAUTH and NOAUTH_DISABLED."""
        account = self._catalog.account_by_certificate(name)
        member = self._catalog.members.get(account.member_id) if account else None
        if account is None or member is None:
            raise AudienceError(Reason.NOAUTH, UNKNOWN_CERTIFICATE, cause=Cause.WRONG_CREDENTIALS)
        if not account.active:
            raise deactivated(member.id)
        return Caller(account, member)

    def _resolve(self, session: Session) -> Caller:
        """Whose session it is; raises NOAUTH when it was revoked or its account is gone, and NOAUTH_DISABLED.

        A session of a later generation than this worker knows was issued after a change that it does not know yet.
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
        """Move the session's end without keeping the call: it rides along with the call's own writes."""
        # A use that could not be written down only lets the token end earlier, as if that use had not been.
        self._run_aside(self._store.extend(token_hash, end_ms, deadline))

    def _run_aside(self, work: Coroutine[Any, Any, object]) -> None:
        """Run what no call waits for; it may fail."""
        task = asyncio.create_task(work)
        self._aside.add(task)
        task.add_done_callback(self._ran_aside)

    def _ran_aside(self, task: "asyncio.Task[object]") -> None:
        self._aside.discard(task)
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
    return AudienceError(Reason.NOAUTH, UNKNOWN)


def deactivated(member_id: int) -> AudienceError:
    """The account, which is this member's, may not sign in, and its tokens count for nothing."""
    return AudienceError(Reason.NOAUTH_DISABLED, "This user is deactivated").of_member(member_id)
