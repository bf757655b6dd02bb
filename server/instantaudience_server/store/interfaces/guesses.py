"""Guesses of passwords."""

from typing import Protocol


class GuessStore(Protocol):
    """Guesses of passwords, by whom and of whom: `subject`."""

    async def begin_guess(self, subject: str, name: str, window_ms: int, limit: int, deadline: float) -> int | None:
        """Count the guess of that name, unless `limit` of them lie in the window that ends now.

        The name begins with how long in ms it is under way; from then on it counts as wrong. Returns 0
        when it was counted; None when some are under way, which may make room; otherwise how long to wait in ms.
        """

    async def end_guess(self, subject: str, name: str, deadline: float, *, wrong: bool) -> None:
        """Say what a guess was; one that was right is forgotten."""
