"""The mapping from external IDs to the platform's users."""

from collections.abc import Sequence
from typing import Protocol


class ExternalIdStore(Protocol):
    """The mapping from external IDs, given by their keys (`keys.external_id_key`), to the platform's user IDs."""

    async def map(self, keys: Sequence[bytes], user_id: str, end_ms: int, deadline: float) -> None:
        """Map external IDs to a platform user ID until `end_ms` (Unix time in ms)."""

    async def resolve(self, keys: Sequence[bytes], deadline: float) -> list[tuple[str, int] | None]:
        """User IDs and the ends of their mappings (Unix time in ms, or `NEVER`), in the order of the keys; None where
        there is none."""

    async def forget(self, keys: Sequence[bytes], deadline: float) -> int:
        """Remove mappings; returns how many existed."""
