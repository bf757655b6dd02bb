"""Guesses of passwords."""

from typing import Protocol


class GuessStore(Protocol):
    """Guesses of passwords, counted by `subject`: a hash of the account's name and of the network that guesses."""

    async def begin_guess(self, subject: str, name: str, window_ms: int, limit: int, deadline: float) -> int | None:
        """Count a guess, unless there are `limit` already in the window that ends now.

        `name` is how many ms the guess may be under way, a space, and a random word; a guess that does not end in that
        time counts as wrong. Returns 0 when the guess was counted; None when some of the others are still under way and
        may turn out right, which makes room; otherwise how long to wait in ms.
        """

    async def end_guess(self, subject: str, name: str, deadline: float, *, wrong: bool) -> None:
        """End a guess. A right one is no longer counted."""
