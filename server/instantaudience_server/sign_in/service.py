"""Sign-in: who proves to be a user gets a token (source: contract, "Tokens")."""

import contextlib
from collections.abc import Iterator

from instantaudience.v1 import catalog_pb2 as pb

from instantaudience_server.catalog import records
from instantaudience_server.catalog.public_keys import active_key
from instantaudience_server.catalog.rules import LONGEST_USERNAME
from instantaudience_server.clock import Clock
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.metrics import SIGN_IN_RESULTS
from instantaudience_server.passwords.guesses import Guesses, network_of
from instantaudience_server.passwords.hashing import Passwords
from instantaudience_server.sign_in import assertions
from instantaudience_server.store.interfaces.catalog import CatalogStore
from instantaudience_server.tokens import Issued, TokenService, deactivated


class SignInService:
    """Signs users in. Users are read from the cluster: a change of one counts at once, on every worker.

    Deadlines are times of the event loop's clock, in seconds.
    """

    def __init__(
        self, tokens: TokenService, store: CatalogStore, passwords: Passwords, guesses: Guesses, clock: Clock
    ) -> None:
        self._tokens = tokens
        self._store = store
        self._passwords = passwords
        self._guesses = guesses
        self._clock = clock

    async def by_password(self, username: str, password: str, address: str, deadline: float) -> Issued:
        """Exchange a user name and password for a token; `address` is the caller's.

        Raises:
            AudienceError: INVALID_LOGIN for a wrong name or password, without saying which; NOAUTH_DISABLED for a
                deactivated account; RATE_LIMIT_EXCEEDED past 10 sign-ins, or 10 failed ones of this name from this
                network, in 5 minutes; UNAVAILABLE.
        """
        with _counted():
            user = await self._guessed(username, password, address, deadline)
            if user.deactivated:
                raise deactivated(user.member_id)
            return await self._tokens.issue(user, deadline, limited=True)

    async def by_jwt(self, jwt: str, deadline: float) -> Issued:
        """Exchange a JWT for a token. Nobody guesses a signature, so none of these count, and none are limited.

        Raises:
            AudienceError: SYNTAX, for what is no JWT; NOAUTH, for one that fits no active key of its user, or
                not the time; NOAUTH_DISABLED for a deactivated account; UNAVAILABLE.
        """
        with _counted():
            assertion = assertions.read(jwt)
            user, _ = await self._read_user(assertion.username, deadline)
            if user is None:
                raise assertions.refused()
            try:
                assertion.check(active_key(user, assertion.key_name), self._clock.now_ms())
            except AudienceError as error:
                raise error.of_member(user.member_id) from None
            if user.deactivated:
                raise deactivated(user.member_id)
            return await self._tokens.issue(user, deadline, limited=False)

    async def _guessed(self, username: str, password: str, address: str, deadline: float) -> pb.User:
        """The user of that name, if the password is right; raises INVALID_LOGIN otherwise."""
        user: pb.User | None = None

        async def look() -> bool:
            nonlocal user
            user, password_hash = await self._read_user(username, deadline)
            matches = await self._passwords.matches(password, password_hash, deadline, network_of(address))
            return user is not None and matches

        is_right = await self._guesses.is_right(username, address, deadline, look)
        if user is None or not is_right:
            error = AudienceError(Reason.INVALID_LOGIN, "Authentication failed: wrong user name or password")
            raise error if user is None else error.of_member(user.member_id)
        return user

    async def _read_user(self, username: str, deadline: float) -> tuple[pb.User | None, str | None]:
        """The user of that name and its password's hash as they are now; this worker may not know the user yet.

        Whether there is one makes no difference to the work. Of a name that is too long for one, no more is sent than
        makes it too long.
        """
        name = records.unique_user_name(username[: LONGEST_USERNAME + 1])
        data, password_hash = await self._store.credentials_by_name(name, deadline)
        return (None if data is None else pb.User.FromString(data)), password_hash


@contextlib.contextmanager
def _counted() -> Iterator[None]:
    """Count in the metric what came of a sign-in."""
    try:
        yield
    except AudienceError as error:
        SIGN_IN_RESULTS.labels(error.reason.name).inc()
        raise
    SIGN_IN_RESULTS.labels("OK").inc()
