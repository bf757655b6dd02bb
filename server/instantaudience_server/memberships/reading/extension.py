"""The native extension's functions for requests to apply memberships (docs/adr/0044-requests-read-natively.md).

Where the extension is not installed, each returns None, and the caller does the same in Python.
"""

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
