"""Sign-in: exchanges proof of identity for a token (source: contract, "Tokens")."""

import contextlib
from collections.abc import Iterator

from instantaudience.v1 import catalog_pb2 as pb

from instantaudience_server.catalog import records
from instantaudience_server.catalog.accounts.public_keys import active_key
from instantaudience_server.catalog.rules import LONGEST_USERNAME
from instantaudience_server.errors import STORE_FAILURES, AudienceError, Reason
from instantaudience_server.observation.metrics import SIGN_IN_RESULTS
from instantaudience_server.passwords.guesses import Guesses, network_of
from instantaudience_server.passwords.hashing import Passwords
from instantaudience_server.process.clock import Clock
from instantaudience_server.sign_in import assertions
from instantaudience_server.sign_in.tokens import Issued, TokenService, deactivated
from instantaudience_server.store.interfaces.catalog import CatalogStore


class SignInService:
    """Signs users in. Users are read from the cluster, so that changes have effect at once on every worker.

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
        """Exchange a user name and password for a token; `address` is the caller's IP address.

        Raises:
            AudienceError: INVALID_LOGIN for a wrong name or password, without saying which; NOAUTH_DISABLED for a
                deactivated account; RATE_LIMIT_EXCEEDED after 10 sign-ins of the account, or 10 failed ones for this
                name from this network, in 5 minutes; UNAVAILABLE.
        """
        with _counted():
            user = await self._guessed(username, password, address, deadline)
            if user.deactivated:
                raise deactivated(user.member_id)
            return await self._tokens.issue(user, deadline, limited=True)

    async def by_jwt(self, jwt: str, deadline: float) -> Issued:
        """Exchange a JWT for a token. Signatures cannot be guessed, so these sign-ins are neither counted nor limited.

        Raises:
            AudienceError: SYNTAX, it is not a JWT; NOAUTH, no active key of its user verifies it, or its times are
                wrong; NOAUTH_DISABLED for a deactivated account; UNAVAILABLE.
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
        """The user of that name, if the password is right.

        Raises:
            AudienceError: INVALID_LOGIN; others as `Guesses.is_right`.
        """
        user: pb.User | None = None

        async def look() -> bool:
            nonlocal user
            user, password_hash = await self._read_user(username, deadline)
            matches = await self._passwords.matches(password, password_hash, deadline, network_of(address))
            return user is not None and matches

        try:
            is_right = await self._guesses.is_right(username, address, deadline, look)
        except AudienceError as error:
            if error.reason is Reason.RATE_LIMIT_EXCEEDED:  # nobody has looked, but its member has to know
                with contextlib.suppress(*STORE_FAILURES):
                    user, _ = await self._read_user(username, deadline)
            if user is not None:
                error.of_member(user.member_id)
            raise
        if user is None or not is_right:
            wrong = AudienceError(Reason.INVALID_LOGIN, "Authentication failed: wrong user name or password")
            raise wrong if user is None else wrong.of_member(user.member_id)
        return user

    async def _read_user(self, username: str, deadline: float) -> tuple[pb.User | None, str | None]:
        """The user of that name and the hash of its password, from the cluster: this worker's catalog may lag behind.

        It takes the same work whether there is such a user or not. A name that is too long is truncated, but is still
        too long to be a user's.
        """
        name = records.unique_user_name(username[: LONGEST_USERNAME + 1])
        data, password_hash = await self._store.credentials_by_name(name, deadline)
        return (None if data is None else pb.User.FromString(data)), password_hash


@contextlib.contextmanager
def _counted() -> Iterator[None]:
    """Count the outcome of a sign-in in the metric."""
    try:
        yield
    except AudienceError as error:
        SIGN_IN_RESULTS.labels(error.reason.name).inc()
        raise
    SIGN_IN_RESULTS.labels("OK").inc()
