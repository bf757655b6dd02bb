"""Accounts in a real cluster's catalog, and independent workers that read it."""

from collections.abc import Awaitable

import pytest
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.catalog.editor import CatalogEditor
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.passwords.guesses import Guesses
from instantaudience_server.passwords.hashing import Passwords
from instantaudience_server.sign_in.service import SignInService
from instantaudience_server.sign_in.tokens import TokenService
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.guess_store import ClusterGuessStore
from instantaudience_server.store.interfaces.catalog import Kind
from instantaudience_server.store.session_store import ClusterSessionStore

from support.clocks import FakeClock
from support.parts.callers import quick_hash
from support.waiting import seconds_from_now

MEMBERS = [pb.Member(id=123, name="Demo"), pb.Member(id=200, name="Private")]
USERS = [
    pb.User(id=1001, username="demo", member_id=123),
    pb.User(id=1002, username="admin", member_id=123, role=pb.ROLE_ADMIN),
    pb.User(id=1003, username="private", member_id=200),
    pb.User(id=1004, username="retired", member_id=123, deactivated=True),
]
ADDRESS = "203.0.113.7"
"""Address that sign-ins come from (RFC 5737)."""
REVOKED = 2**31
"""A `token_generation` larger than any that these tests start with."""
PASSWORDS = {user.username: f"{user.username.title()}-Passw0rd!" for user in USERS}
HASHES = {username: quick_hash(password) for username, password in PASSWORDS.items()}


async def refused(call: Awaitable[object], reason: Reason) -> AudienceError:
    """The error of a call, which must fail with this reason."""
    with pytest.raises(AudienceError) as error:
        await call
    assert error.value.reason is reason
    return error.value


class AccountWorker:
    """The part of a worker that handles accounts. It follows the catalog on request; its random numbers count up."""

    def __init__(self, cluster: Cluster, clock: FakeClock, passwords: Passwords, number: int = 0) -> None:
        self._randoms = 1000 * number
        self.catalog = Catalog()
        self.store = ClusterCatalogStore(cluster)
        self.feed = CatalogFeed(self.store, self.catalog)
        self.editor = CatalogEditor(self.store, self.feed, clock)
        sessions = ClusterSessionStore(cluster)
        self.tokens = TokenService(self.feed, sessions, clock, self._random_hex, "ams1")
        self.guesses = Guesses(ClusterGuessStore(cluster), self._random_hex)
        self.signing_in = SignInService(self.tokens, self.store, passwords, self.guesses, clock)

    def _random_hex(self, count: int) -> str:
        self._randoms += 1
        return f"{self._randoms:0{2 * count}x}"

    async def create_accounts(self) -> None:
        """Write `MEMBERS` and `USERS` to an empty catalog."""
        for member in MEMBERS:
            await self.editor.create(member, seconds_from_now())
        for user in USERS:
            await self.editor.create(user, seconds_from_now(), HASHES[user.username])

    async def catch_up(self) -> None:
        """Read the changes that other workers made."""
        await self.feed.catch_up(seconds_from_now())

    async def sign_in(self, username: str = "demo", password: str | None = None, address: str = ADDRESS) -> str:
        """Sign in, by default with the right password; returns the token."""
        right = password or PASSWORDS[username]
        return (await self.signing_in.by_password(username, right, address, seconds_from_now())).token

    async def close(self) -> None:
        """Wait for background tasks."""
        await self.tokens.close()
        await self.guesses.close()

    async def verify(self, token: str) -> Caller:
        """The owner of a token."""
        return await self.tokens.verify(token, seconds_from_now())

    async def change_user(self, user_id: int, password: str | None = None, **fields: object) -> None:
        """Change a user's fields, and its password."""

        def edit(user: pb.User) -> None:
            for name, value in fields.items():
                setattr(user, name, value)

        password_hash = None if password is None else quick_hash(password)
        await self.editor.update(Kind.USER, user_id, edit, "", seconds_from_now(), password_hash)
