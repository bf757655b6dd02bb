"""Sets and changes users' passwords, and revokes their tokens (source: catalog.proto, ChangePassword, RevokeTokens)."""

from functools import partial
from typing import Any

from instantaudience.v1 import catalog_pb2 as pb

from instantaudience_server.catalog import rules
from instantaudience_server.catalog.access import Caller, require_admin
from instantaudience_server.catalog.editor import CatalogEditor, not_found
from instantaudience_server.catalog.records import generation_of
from instantaudience_server.errors import NOT_EMPTY, AudienceError, Reason, invalid
from instantaudience_server.passwords.guesses import Guesses
from instantaudience_server.passwords.hashing import Passwords
from instantaudience_server.store.interfaces.catalog import CatalogStore, Kind


class AccountService:
    """Carries out commands on accounts. Deadlines are times of the event loop's clock, in seconds."""

    def __init__(self, editor: CatalogEditor, store: CatalogStore, passwords: Passwords, guesses: Guesses) -> None:
        self._editor = editor
        self._store = store
        self._passwords = passwords
        self._guesses = guesses

    async def hash_new_password(self, password: str, deadline: float) -> str:
        """The hash of a new user's password.

        Raises:
            AudienceError: SYNTAX, the password breaks the rule for passwords; UNAVAILABLE.
        """
        rules.check_password(password)
        return await self._passwords.hash(password, deadline)

    async def change_password(
        self, request: pb.ChangePasswordRequest, caller: Caller, deadline: float
    ) -> pb.ChangePasswordResponse:
        """Change a user's password, and revoke all of the user's tokens, the caller's own included.

        Callers need their current password to change their own; the role `admin` changes another user's without it.

        Raises:
            AudienceError: UNAUTH, for another user without the role, or if the current password is wrong; SYNTAX, if
                the new one breaks the rule or is the current one; NOT_FOUND; CHANGED_MEANWHILE, if password or tokens
                changed since the current password was checked; RATE_LIMIT_EXCEEDED after 10 wrong current passwords
                of an account in 5 minutes; UNAVAILABLE.
        """
        user_id = subject_of(request.id, caller)
        own = user_id == caller.account.id
        if own and not request.current_password:
            raise invalid("current_password", NOT_EMPTY)
        rules.check_password(request.new_password, "new_password")
        generation, current_hash = await self._read(user_id, deadline)
        if own:
            await self._check_current(request.current_password, current_hash, caller, deadline)
        if await self._is_current(request, own, current_hash, deadline):
            raise invalid("new_password", "must differ from the current password")
        new_hash = await self._passwords.hash(request.new_password, deadline)

        def revoke(user: Any) -> None:
            if user.token_generation != generation:
                text = "The user's password or tokens were changed meanwhile; try again"
                raise AudienceError(Reason.CHANGED_MEANWHILE, text)
            _revoke(user)

        await self._editor.update(Kind.USER, user_id, revoke, "", deadline, new_hash, hash_before=current_hash)
        return pb.ChangePasswordResponse()

    async def revoke_tokens(
        self, request: pb.RevokeTokensRequest, caller: Caller, deadline: float
    ) -> pb.RevokeTokensResponse:
        """Revoke all tokens of a user: the caller or, for the role `admin`, any user.

        Raises:
            AudienceError: UNAUTH; NOT_FOUND; UNAVAILABLE.
        """
        await self._editor.update(Kind.USER, subject_of(request.id, caller), _revoke, "", deadline)
        return pb.RevokeTokensResponse()

    async def _check_current(self, password: str, current_hash: str | None, caller: Caller, deadline: float) -> None:
        look = partial(self._passwords.matches, password, current_hash, deadline)
        if not await self._guesses.is_right(caller.account.username, "", deadline, look):
            raise AudienceError(Reason.UNAUTH, "'current_password' is wrong", field="current_password")

    async def _is_current(
        self, request: pb.ChangePasswordRequest, own: bool, current_hash: str | None, deadline: float
    ) -> bool:
        """Whether the new password is the current one; for callers' own, that is in the request and was checked."""
        if own:
            return request.new_password == request.current_password
        return await self._passwords.matches(request.new_password, current_hash, deadline)

    async def _read(self, user_id: int, deadline: float) -> tuple[int, str | None]:
        """A user's token generation, and the hash of its password, which is not older than that."""
        data, password_hash = await self._store.credentials(user_id, deadline)
        if data is None:
            raise not_found(Kind.USER, user_id)
        return generation_of(data), password_hash


def subject_of(user_id: int, caller: Caller) -> int:
    """The ID of the user that a command is about; 0 means the caller.

    Raises:
        AudienceError: UNAUTH, for another user without the role `admin`.
    """
    if user_id in (0, caller.account.id):
        return caller.account.id
    require_admin(caller)
    return user_id


def _revoke(user: Any) -> None:
    user.token_generation += 1
