"""Changing passwords and revoking tokens (source: catalog.proto, ChangePassword and RevokeTokens)."""

import asyncio
import signal
from collections.abc import Awaitable

import pytest
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.catalog.accounts.accounts import AccountService
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.passwords.guesses import MOST_WRONG, WINDOW_MS
from instantaudience_server.passwords.hashing import Passwords
from instantaudience_server.store.interfaces.catalog import Kind
from redis.asyncio import RedisCluster
from support.cluster.stored import let_pass
from support.parts.accounts import PASSWORDS, REVOKED, AccountWorker
from support.parts.callers import caller
from support.waiting import eventually, seconds_from_now

DEMO, ADMIN, PRIVATE, NOBODY = 1001, 1002, 1003, 9999
NEW = "Another-Passw0rd!"


@pytest.fixture
def accounts(worker: AccountWorker, passwords: Passwords) -> AccountService:
    return AccountService(worker.editor, worker.store, passwords, worker.guesses)


class Calls:
    """Commands of an account."""

    def __init__(self, worker: AccountWorker, accounts: AccountService, username: str) -> None:
        self._accounts = accounts
        self._caller = caller(username, worker.catalog)

    async def change(self, new: str = NEW, *, user_id: int = 0, current: str = "") -> None:
        request = pb.ChangePasswordRequest(id=user_id, current_password=current, new_password=new)
        await self._accounts.change_password(request, self._caller, seconds_from_now())

    async def revoke(self, user_id: int = 0) -> None:
        await self._accounts.revoke_tokens(pb.RevokeTokensRequest(id=user_id), self._caller, seconds_from_now())


@pytest.fixture
def demo(worker: AccountWorker, accounts: AccountService) -> Calls:
    return Calls(worker, accounts, "demo")


@pytest.fixture
def admin(worker: AccountWorker, accounts: AccountService) -> Calls:
    return Calls(worker, accounts, "admin")


async def refused(call: Awaitable[object], reason: Reason, field: str | None = None) -> str:
    """The error's text."""
    with pytest.raises(AudienceError) as error:
        await call
    assert error.value.reason is reason
    if field is not None:
        assert error.value.metadata["field"] == field
        assert f"'{field}'" in error.value.message
    return error.value.message


class TestChangePassword:
    @pytest.mark.parametrize("user_id", [0, DEMO])
    async def test_ones_own_by_the_current_one(self, worker: AccountWorker, demo: Calls, user_id: int) -> None:
        token = await worker.sign_in()
        await demo.change(user_id=user_id, current=PASSWORDS["demo"])
        await refused(worker.verify(token), Reason.NOAUTH)
        await refused(worker.sign_in(), Reason.INVALID_LOGIN)
        assert (await worker.verify(await worker.sign_in("demo", NEW))).account.id == DEMO

    async def test_the_current_one_is_not_guessed(
        self, worker: AccountWorker, demo: Calls, admin: Calls, plain: RedisCluster
    ) -> None:
        """Whoever has a token might try passwords; ten wrong ones, and the right one is refused like them."""
        changes = [demo.change(current=f"wrong {number}") for number in range(MOST_WRONG + 2)]
        outcomes = await asyncio.gather(*changes, return_exceptions=True)
        reasons = [outcome.reason for outcome in outcomes if isinstance(outcome, AudienceError)]
        assert reasons.count(Reason.UNAUTH) == MOST_WRONG
        assert reasons.count(Reason.RATE_LIMIT_EXCEEDED) == 2
        await refused(demo.change(current=PASSWORDS["demo"]), Reason.RATE_LIMIT_EXCEEDED)
        await worker.sign_in()  # who signs in elsewhere is not concerned
        await admin.change(current=PASSWORDS["admin"])
        await let_pass(plain, WINDOW_MS)
        await demo.change(current=PASSWORDS["demo"])
        await worker.sign_in("demo", NEW)

    async def test_right_ones_count_for_nothing(self, worker: AccountWorker, demo: Calls) -> None:
        for _ in range(MOST_WRONG):
            await refused(demo.change("too-simple", current=PASSWORDS["demo"]), Reason.SYNTAX)
            await refused(demo.change(PASSWORDS["demo"], current=PASSWORDS["demo"]), Reason.SYNTAX)
        await demo.change(current=PASSWORDS["demo"])

    async def test_others_are_left_alone(self, worker: AccountWorker, demo: Calls) -> None:
        token = await worker.sign_in("private")
        await demo.change(current=PASSWORDS["demo"])
        await worker.verify(token)
        await worker.sign_in("private")

    async def test_anothers_by_an_admin(self, worker: AccountWorker, admin: Calls) -> None:
        token = await worker.sign_in("private")
        await admin.change(user_id=PRIVATE)
        await refused(worker.verify(token), Reason.NOAUTH)
        await worker.sign_in("private", NEW)

    async def test_an_account_without_a_password_gets_its_first(self, worker: AccountWorker, admin: Calls) -> None:
        created = await worker.editor.create(pb.User(username="new", member_id=200), seconds_from_now())
        await admin.change(user_id=created.id)
        await worker.sign_in("new", NEW)

    @pytest.mark.parametrize(
        ("who", "user_id", "current", "new", "reason", "field"),
        [
            ("demo", 0, "", NEW, Reason.SYNTAX, "current_password"),
            ("demo", 0, "wrong", NEW, Reason.UNAUTH, "current_password"),
            ("demo", 0, PASSWORDS["admin"], NEW, Reason.UNAUTH, "current_password"),
            ("demo", 0, PASSWORDS["demo"], "", Reason.SYNTAX, "new_password"),
            ("demo", 0, PASSWORDS["demo"], "too-simple", Reason.SYNTAX, "new_password"),
            ("demo", 0, PASSWORDS["demo"], PASSWORDS["demo"], Reason.SYNTAX, "new_password"),
            ("demo", 0, "wrong", "wrong", Reason.SYNTAX, "new_password"),
            ("demo", PRIVATE, PASSWORDS["private"], NEW, Reason.UNAUTH, None),
            ("demo", ADMIN, "", NEW, Reason.UNAUTH, None),
            ("demo", NOBODY, "", NEW, Reason.UNAUTH, None),
            ("admin", 0, "", NEW, Reason.SYNTAX, "current_password"),
            ("admin", ADMIN, "", NEW, Reason.SYNTAX, "current_password"),
            ("admin", ADMIN, "wrong", NEW, Reason.UNAUTH, "current_password"),
            ("admin", PRIVATE, "", "too-simple", Reason.SYNTAX, "new_password"),
            ("admin", PRIVATE, "", PASSWORDS["private"], Reason.SYNTAX, "new_password"),
            ("admin", NOBODY, "", NEW, Reason.NOT_FOUND, "id"),
        ],
    )
    async def test_refused(
        self,
        worker: AccountWorker,
        accounts: AccountService,
        who: str,
        user_id: int,
        current: str,
        new: str,
        reason: Reason,
        field: str | None,
    ) -> None:
        """It changes nothing, and no password is in the error."""
        generations = {account.id: account.token_generation for account in worker.catalog.accounts.values()}
        message = await refused(
            Calls(worker, accounts, who).change(new, user_id=user_id, current=current), reason, field
        )
        assert not any(password in message for password in (current, new) if len(password) > len("wrong"))
        for username in ("demo", "admin", "private"):
            await worker.verify(await worker.sign_in(username))
        assert generations == {account.id: account.token_generation for account in worker.catalog.accounts.values()}

    async def test_of_two_changes_at_once_one_is_made(self, worker: AccountWorker, demo: Calls) -> None:
        """A change by the current password is none once that has been changed."""
        generation = worker.catalog.accounts[DEMO].token_generation
        changes = [demo.change(f"{NEW}{number}", current=PASSWORDS["demo"]) for number in range(2)]
        first, second = await asyncio.gather(*changes, return_exceptions=True)
        assert first is None
        assert isinstance(second, AudienceError)
        assert second.reason is Reason.CHANGED_MEANWHILE
        await worker.sign_in("demo", f"{NEW}0")
        assert worker.catalog.accounts[DEMO].token_generation == generation + 1

    @pytest.mark.parametrize("imported", [True, False], ids=["password", "tokens"])
    async def test_what_was_changed_since_the_password_was_checked_stays(
        self, worker: AccountWorker, demo: Calls, passwords: Passwords, imported: bool
    ) -> None:
        """A password that an import sets leaves the tokens alone; but the current one is another one then. Whoever
        changes it may be whom tokens were revoked for."""
        passwords._process.send_signal(signal.SIGSTOP)
        try:
            changing = asyncio.create_task(demo.change(current=PASSWORDS["demo"]))

            async def is_checked() -> None:
                assert passwords._waiting

            await eventually(is_checked)
            if imported:
                await worker.change_user(DEMO, f"{NEW}2")
            else:
                await worker.change_user(DEMO, token_generation=REVOKED)
        finally:
            passwords._process.send_signal(signal.SIGCONT)
        await refused(changing, Reason.CHANGED_MEANWHILE)
        await worker.sign_in("demo", f"{NEW}2" if imported else PASSWORDS["demo"])

    async def test_other_changes_meanwhile_do_not_matter(self, worker: AccountWorker, demo: Calls) -> None:
        change = asyncio.create_task(demo.change(current=PASSWORDS["demo"]))
        while not change.done():
            await worker.change_user(DEMO, role=pb.ROLE_ADMIN)
            await worker.change_user(DEMO, role=pb.ROLE_MEMBER)
        await change
        await worker.sign_in("demo", NEW)

    async def test_a_sign_in_with_the_password_until_now_meanwhile(
        self, worker: AccountWorker, passwords: Passwords
    ) -> None:
        """The token is issued after the change, and is worth nothing."""
        passwords._process.send_signal(signal.SIGSTOP)
        try:
            signing_in = asyncio.create_task(worker.sign_in())

            async def is_checked() -> None:
                assert passwords._waiting

            await eventually(is_checked)
            await worker.change_user(DEMO, NEW, token_generation=REVOKED)
        finally:
            passwords._process.send_signal(signal.SIGCONT)
        await refused(worker.verify(await signing_in), Reason.NOAUTH)


class TestRevokeTokens:
    @pytest.mark.parametrize("user_id", [0, DEMO])
    async def test_ones_own(self, worker: AccountWorker, demo: Calls, user_id: int) -> None:
        tokens = [await worker.sign_in() for _ in range(3)]
        other = await worker.sign_in("private")
        await demo.revoke(user_id)
        for token in tokens:
            await refused(worker.verify(token), Reason.NOAUTH)
        await worker.verify(other)
        await worker.verify(await worker.sign_in())

    async def test_again_and_again(self, worker: AccountWorker, demo: Calls) -> None:
        for _ in range(3):
            token = await worker.sign_in()
            await worker.verify(token)
            await demo.revoke()
            await refused(worker.verify(token), Reason.NOAUTH)

    async def test_anothers_by_an_admin(self, worker: AccountWorker, admin: Calls) -> None:
        token = await worker.sign_in("private")
        await admin.revoke(PRIVATE)
        await refused(worker.verify(token), Reason.NOAUTH)
        await worker.sign_in("private")

    async def test_anothers_needs_the_role(self, worker: AccountWorker, demo: Calls, admin: Calls) -> None:
        token = await worker.sign_in("admin")
        for user_id in (ADMIN, PRIVATE, NOBODY):
            await refused(demo.revoke(user_id), Reason.UNAUTH)
        await worker.verify(token)
        await refused(admin.revoke(NOBODY), Reason.NOT_FOUND, "id")


class TestHashNewPassword:
    async def test_the_hash_lets_its_password_in(self, worker: AccountWorker, accounts: AccountService) -> None:
        hashed = await accounts.hash_new_password(NEW, seconds_from_now())
        await worker.editor.create(pb.User(username="new", member_id=200), seconds_from_now(), hashed)
        await worker.sign_in("new", NEW)

    @pytest.mark.parametrize("password", ["", "Sh0rt-one", "no-upper-1", "NO-LOWER-1", "No-Digit--", "NoOther123"])
    async def test_weak_passwords_are_refused(self, accounts: AccountService, password: str) -> None:
        await refused(accounts.hash_new_password(password, seconds_from_now()), Reason.SYNTAX, "password")


async def test_when_the_cluster_is_away_nothing_is_said_of_the_password(
    accounts: AccountService, worker: AccountWorker
) -> None:
    request = pb.ChangePasswordRequest(current_password="wrong", new_password=NEW)
    calling = caller("demo", worker.catalog)
    await refused(accounts.change_password(request, calling, seconds_from_now(-1)), Reason.UNAVAILABLE)


async def test_a_deleted_account_has_no_password_any_more(worker: AccountWorker, demo: Calls) -> None:
    """Its session may still be trusted for a moment."""
    await worker.editor.delete(Kind.USER, DEMO, "", seconds_from_now())
    await refused(demo.change(current=PASSWORDS["demo"]), Reason.NOT_FOUND, "id")
