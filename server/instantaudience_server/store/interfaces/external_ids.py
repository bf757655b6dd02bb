"""Whom external IDs mean."""

from collections.abc import Sequence
from typing import Protocol


class ExternalIdStore(Protocol):
    """What external IDs mean; `memberships/reading/identity.py` makes the keys."""

    async def map(self, keys: Sequence[bytes], user_id: str, end_ms: int, deadline: float) -> None:
        """Let external IDs mean a platform user until `end_ms` (Unix time in ms)."""

    async def resolve(self, keys: Sequence[bytes], deadline: float) -> list[tuple[str, int] | None]:
        """Users and ends (Unix time in ms, NEVER), in the order of the keys; None where there is none."""

    async def forget(self, keys: Sequence[bytes], deadline: float) -> int:
        """Forget external IDs; returns how many were known. (A repetition after a lost answer may count fewer.)"""
