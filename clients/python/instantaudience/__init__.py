"""The client of the Instant Audience service, which puts users into audience segments and takes them out.

Start with `AsyncClient` or `Client`; the generated messages are in `instantaudience.v1`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from instantaudience.audience import AsyncClient
    from instantaudience.blocking import Client
    from instantaudience.credentials import ClientCertificate, KeyPair, Password, Tls, Token
    from instantaudience.errors import (
        AudienceError,
        ConflictError,
        DeadlineExceededError,
        InternalError,
        InvalidRequestError,
        NotFoundError,
        PermissionDeniedError,
        RateLimitedError,
        TooLargeError,
        UnauthenticatedError,
        UnavailableError,
    )
    from instantaudience.retrying import Retries
    from instantaudience.splitting import Limits
    from instantaudience.telemetry import OpenTelemetry as OpenTelemetry
    from instantaudience.users import NEVER, REMOVE, block, from_table, user
    from instantaudience.watching import Attempt, Telemetry
    from instantaudience.window import StreamResult

_MODULES = {
    "audience": ("AsyncClient",),
    "blocking": ("Client",),
    "credentials": ("ClientCertificate", "KeyPair", "Password", "Tls", "Token"),
    "errors": (
        "AudienceError",
        "ConflictError",
        "DeadlineExceededError",
        "InternalError",
        "InvalidRequestError",
        "NotFoundError",
        "PermissionDeniedError",
        "RateLimitedError",
        "TooLargeError",
        "UnauthenticatedError",
        "UnavailableError",
    ),
    "retrying": ("Retries",),
    "splitting": ("Limits",),
    "telemetry": ("OpenTelemetry",),
    "users": ("NEVER", "REMOVE", "block", "from_table", "user"),
    "watching": ("Attempt", "Telemetry"),
    "window": ("StreamResult",),
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names}

# Without OpenTelemetry, which needs a package that not all have: `import *` imports all of these.
__all__ = [
    "NEVER",
    "REMOVE",
    "AsyncClient",
    "Attempt",
    "AudienceError",
    "Client",
    "ClientCertificate",
    "ConflictError",
    "DeadlineExceededError",
    "InternalError",
    "InvalidRequestError",
    "KeyPair",
    "Limits",
    "NotFoundError",
    "Password",
    "PermissionDeniedError",
    "RateLimitedError",
    "Retries",
    "StreamResult",
    "Telemetry",
    "Tls",
    "Token",
    "TooLargeError",
    "UnauthenticatedError",
    "UnavailableError",
    "block",
    "from_table",
    "user",
]


def __getattr__(name: str) -> Any:
    """Import names lazily, so that programs which only use the messages need not load gRPC's client."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
