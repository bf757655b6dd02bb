"""Tells sequences of users' keys made by the native extension from others (docs/adr/0044-requests-read-natively.md).
The former can pack commands and hash keys themselves."""

from typing import TypeGuard

try:
    from instantaudience_native import UserKeys

    _CLASSES: tuple[type, ...] = (UserKeys,)
except ImportError:
    _CLASSES = ()


def are_native(user_keys: object) -> "TypeGuard[UserKeys]":
    """Whether a sequence of users' keys was made by the native extension."""
    return isinstance(user_keys, _CLASSES)
