"""Tokens' sessions, and recent sign-ins."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Session:
    """A token's session: its user, and when the token was issued (Unix time in ms).

    `generation` is how often the user's tokens had been revoked by then; a token of an earlier generation is invalid.
    """

    user_id: int
    issued_ms: int
    generation: int


class SessionStore(Protocol):
    """Sessions by the hash of their token, and recent sign-ins."""

    async def create(self, token_hash: str, session: Session, end_ms: int, deadline: float) -> None:
        """Keep a session until `end_ms` (Unix time in ms)."""

    async def find(self, token_hash: str, deadline: float) -> Session | None:
        """The session; None when it does not exist or has ended."""

    async def extend(self, token_hash: str, end_ms: int, deadline: float) -> None:
        """Let a session end at `end_ms` (Unix time in ms), unless it ends later; does nothing when it is gone."""

    async def remove(self, token_hash: str, deadline: float) -> None:
        """End a session; one that is gone is no error."""

    async def count_sign_in(self, user_id: int, token_hash: str, window_ms: int, limit: int, deadline: float) -> int:
        """Count the user's sign-in for a token, unless there are `limit` already in the window that ends now.

        Returns 0 when it was counted, otherwise how long to wait in ms.
        """

    async def withdraw_sign_in(self, user_id: int, token_hash: str, deadline: float) -> None:
        """No longer count the sign-in for a token; one that is not counted is no error."""
