"""Whom a request means: domains of user IDs, and external IDs (source: contract, "Domains").

Case does not matter in an identifier; it is stored in lower case.
"""

import re
from dataclasses import dataclass
from re import Pattern

from instantaudience_server.store import keys

PLATFORM = "p"
"""The domain letter of the platform's own user IDs."""

_LARGEST_PLATFORM_ID = str(2**64 - 1)
_PLATFORM_ID = re.compile(r"[1-9][0-9]{0,19}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_HEX_40 = re.compile(r"[0-9a-f]{40}")
_HEX_32 = re.compile(r"[0-9a-f]{32}")
LONGEST_EXTERNAL_ID = 256
"""Characters of an external ID, at most."""


@dataclass(frozen=True, slots=True)
class Domain:
    """A kind of device ID: its letter in keys, and the form of its identifiers in lower case."""

    letter: str
    form: Pattern[str]


DOMAINS = {
    "idfa": Domain("i", _UUID),
    "aaid": Domain("a", _UUID),
    "sha1udid": Domain("s", _HEX_40),
    "openudid": Domain("o", _HEX_40),
    "md5udid": Domain("m", _HEX_32),
}
"""The device domains by name. `sha1mac` was withdrawn in 2019 and is unknown."""


def platform_key(user_id: str) -> bytes | None:
    """The key of a platform user; None when the ID is not a decimal of 1 to 2^64-1 without leading zeros."""
    if _PLATFORM_ID.fullmatch(user_id) is None or (len(user_id) == 20 and user_id > _LARGEST_PLATFORM_ID):
        return None
    return keys.membership_key(PLATFORM, user_id)


def device_key(domain: Domain, user_id: str) -> bytes | None:
    """The key of a device; None when the ID does not have its domain's form."""
    lower = user_id.lower()
    return keys.membership_key(domain.letter, lower) if domain.form.fullmatch(lower) else None


def external_key(member_id: int, external_id: str) -> bytes | None:
    """The key that leads from an external ID to a platform user; None unless it is 1 to 256 printable characters."""
    if not 0 < len(external_id) <= LONGEST_EXTERNAL_ID or not external_id.isprintable():
        return None
    return keys.external_id_key(member_id, external_id.lower())
