"""Users' keys that the native extension read out of requests (docs/adr/0044-requests-read-natively.md): they are bytes
like others, and can pack themselves."""

from typing import TypeGuard

try:
    from instantaudience_native import UserKeys

    _CLASSES: tuple[type, ...] = (UserKeys,)
except ImportError:
    _CLASSES = ()


def are_native(user_keys: object) -> "TypeGuard[UserKeys]":
    """Whether users' keys are the extension's."""
    return isinstance(user_keys, _CLASSES)
