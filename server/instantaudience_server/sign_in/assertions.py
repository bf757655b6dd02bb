"""Reads and verifies the JWTs of sign-ins by key pair (source: contract-neighbours, section 1, "POST /v2/auth/jwt"; RFC
7519, RFC 7515).

The user and the key's name in a JWT serve only to find the key; nothing else is used before the signature is verified.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from instantaudience_server.catalog.accounts.public_keys import Key
from instantaudience_server.errors import NOT_EMPTY, AudienceError, Cause, Reason, invalid

LONGEST_JWT = 8192
"""The most characters of a JWT."""
OFF_MS = 5 * 60 * 1000
"""How far `iat` may be from now, in either direction."""
REFUSED = "Authentication failed: the JWT fits no active key of its user"
"""The same message whether the user, the key's name, the algorithm or the signature is wrong."""


@dataclass(frozen=True, slots=True)
class Assertion:
    """A JWT, and the user and key that it claims, which are not verified yet."""

    text: str
    username: str
    key_name: str

    def check(self, key: Key | None, now_ms: int) -> None:
        """Verify the signature with the user's key of that name (None: there is none), and then the times. `now_ms` is
        a Unix time in ms.

        Raises:
            AudienceError: NOAUTH.
        """
        if key is None:
            raise refused()
        algorithm = "RS256" if isinstance(key, RSAPublicKey) else "ES256"
        try:
            claims = jwt.decode(self.text, key, algorithms=[algorithm], options=_SIGNATURE_ALONE)
        except (jwt.PyJWTError, ValueError):
            raise refused() from None
        _check_times(claims, now_ms)


_SIGNATURE_ALONE: Any = {
    "verify_signature": True,
    # `_check_times` checks the times, by the service's clock; audience and issuer are not part of the contract.
    **dict.fromkeys(("verify_exp", "verify_nbf", "verify_iat", "verify_aud", "verify_iss"), False),
    **dict.fromkeys(("verify_sub", "verify_jti"), False),
}


def read(text: str) -> Assertion:
    """Read a JWT, without verifying it.

    Raises:
        AudienceError: SYNTAX, it is not a JWT; NOAUTH, it names no user or no key.
    """
    if not text:
        raise invalid("jwt", NOT_EMPTY)
    if len(text) > LONGEST_JWT:
        raise invalid("jwt", f"must have at most {LONGEST_JWT} characters")
    try:
        read = jwt.decode_complete(text, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise AudienceError(Reason.SYNTAX, "This is no JWT (RFC 7519, compact form)", field="jwt") from None
    header, claims = read["header"], read["payload"]
    username, key_name = claims.get("sub"), header.get("kid")
    if not (isinstance(username, str) and isinstance(key_name, str) and username and key_name) or "crit" in header:
        raise refused()
    if not username.isprintable():  # JSON may also hold a lone surrogate, which is not printable
        raise refused()
    return Assertion(text, username, key_name)


def _check_times(claims: Mapping[str, Any], now_ms: int) -> None:
    issued, ends, begins = (_milliseconds(claims, name) for name in ("iat", "exp", "nbf"))
    if issued is None or abs(now_ms - issued) > OFF_MS:
        raise refused("Authentication failed: 'iat' must be there, and at most 5 minutes off")
    if ends is not None and now_ms >= ends:
        raise refused("Authentication failed: the JWT has ended ('exp')")
    if begins is not None and now_ms < begins:
        raise refused("Authentication failed: the JWT has not begun ('nbf')")


def _milliseconds(claims: Mapping[str, Any], name: str) -> float | None:
    """A claim that is a time, as a Unix time in ms; None where it is absent.

    Raises:
        AudienceError: NOAUTH, it is not a finite number.
    """
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refused(f"Authentication failed: '{name}' must be a number")
    try:
        milliseconds = 1000.0 * value
    except OverflowError:
        milliseconds = math.inf
    if not math.isfinite(milliseconds):
        raise refused(f"Authentication failed: '{name}' must be a number that can be a time")
    return milliseconds


def refused(text: str = REFUSED) -> AudienceError:
    """The error for an assertion that is refused."""
    return AudienceError(Reason.NOAUTH, text, cause=Cause.WRONG_CREDENTIALS)
