"""Validates user IDs and turns them into keys: platform IDs, device IDs and external IDs (source: contract, "Domains").

Identifiers are case-insensitive and stored in lower case.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from re import Pattern

from instantaudience_server.store import keys

_LARGEST_PLATFORM_ID = b"%d" % (2**64 - 1)
PLATFORM_ID = "[1-9][0-9]{0,19}"
"""The form of platform IDs, as a regular expression that does not check the upper bound, 2^64-1."""
_is_decimal = re.compile(PLATFORM_ID.encode()).fullmatch
_are_short_decimals = re.compile(rb"(?:[1-9][0-9]{0,18},)+").fullmatch
_SHORT_DIGITS = 19
_BEFORE_NEXT_KEY = b"," + keys.PLATFORM_PREFIX
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_HEX_40 = re.compile(r"[0-9a-f]{40}")
_HEX_32 = re.compile(r"[0-9a-f]{32}")
LONGEST_EXTERNAL_ID = 256
"""Characters of an external ID, at most."""


@dataclass(frozen=True, slots=True)
class Domain:
    """A kind of device ID: its letter in keys, and the form of its identifiers in lower case."""

    letter: bytes
    form: Pattern[str]


DOMAINS = {
    "idfa": Domain(b"i", _UUID),
    "aaid": Domain(b"a", _UUID),
    "sha1udid": Domain(b"s", _HEX_40),
    "openudid": Domain(b"o", _HEX_40),
    "md5udid": Domain(b"m", _HEX_32),
}
"""The device domains by name. `sha1mac` was withdrawn in 2019 and is unknown."""


def platform_key(user_id: str) -> bytes | None:
    """The key of a platform user; None when the ID is not a decimal of 1 to 2^64-1 without leading zeros."""
    return encoded_platform_key(user_id.encode())


def encoded_platform_key(user_id: bytes) -> bytes | None:
    """As `platform_key`, of an ID in UTF-8."""
    if not _is_decimal(user_id) or (len(user_id) == len(_LARGEST_PLATFORM_ID) and user_id > _LARGEST_PLATFORM_ID):
        return None
    return keys.PLATFORM_PREFIX + user_id


def encoded_platform_keys(user_ids: Sequence[bytes]) -> list[bytes] | None:
    """As `encoded_platform_key`, for many IDs at once; None if one of them is not valid or has 20 digits."""
    if _are_alike_and_short(user_ids):
        return (keys.PLATFORM_PREFIX + _BEFORE_NEXT_KEY.join(user_ids)).split(b",")
    joined = b",".join(user_ids) + b","
    if joined.count(b",") != len(user_ids) or not _are_short_decimals(joined):
        return None
    return [keys.PLATFORM_PREFIX + user_id for user_id in user_ids]


def _are_alike_and_short(user_ids: Sequence[bytes]) -> bool:
    """Whether IDs are all valid, of the same length, and shorter than 20 digits. This is the usual case, and needs only
    a few operations on the joined IDs."""
    sizes = set(map(len, user_ids))
    if len(sizes) != 1:
        return False
    (size,), joined = sizes, b"".join(user_ids)
    return size <= _SHORT_DIGITS and joined.isdigit() and b"0" not in joined[::size]


def device_key(domain: Domain, user_id: str) -> bytes | None:
    """The key of a device; None when the ID does not have its domain's form."""
    lower = user_id.lower()
    return keys.membership_key(domain.letter, lower.encode()) if domain.form.fullmatch(lower) else None


def external_key(member_id: int, external_id: str) -> bytes | None:
    """The key under which an external ID is mapped to a platform user; None unless the ID has 1 to 256 printable
    characters."""
    if not 0 < len(external_id) <= LONGEST_EXTERNAL_ID or not external_id.isprintable():
        return None
    return keys.external_id_key(member_id, external_id.lower())
