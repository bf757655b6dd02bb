"""What the native extension does for requests to apply memberships, where it is there
(docs/adr/0044-requests-read-natively.md). Without it, Python does the same."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from instantaudience_native import EncodedUsers, UsersTogether

encoded_users: "Callable[[bytes], tuple[EncodedUsers, bytes] | None]"
different_users: "Callable[[Sequence[bytes], int], list[bytes] | None]"
users_together: "Callable[[list[Sequence[bytes]]], UsersTogether | None]"
try:
    from instantaudience_native import different_users, encoded_users, users_together
except ImportError:

    def encoded_users(_message: bytes, /) -> None:
        """Nothing is read natively."""

    def different_users(_users: Sequence[bytes], _start: int, /) -> None:
        """Nothing is read natively."""

    def users_together(_requests: list[Sequence[bytes]], /) -> None:
        """Nothing is read natively."""
