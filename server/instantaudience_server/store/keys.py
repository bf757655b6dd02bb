"""Every key in the cluster, and the slot it lives in (source: design, "Storage").

A user's key holds all of its memberships, so that every change and every read of a user is one command on one node.
"""

from binascii import crc_hqx

SLOTS = 16384
"""Hash slots of a cluster (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/)."""


PLATFORM_PREFIX = b"m:p:"
"""`membership_key`s of the platform's own user IDs begin with this."""


def membership_key(domain_letter: bytes, user_id: bytes) -> bytes:
    """The hash of a user: field = segment ID, value = the membership's value, each field with its own expiry."""
    return b"m:%b:%b" % (domain_letter, user_id)


def session_key(token_hash: str) -> bytes:
    """The string of a session; `token_hash` is the hexadecimal SHA-256 of its token."""
    return f"t:{token_hash}".encode()


def sign_ins_key(user_id: int) -> bytes:
    """The sorted set of an account's recent sign-ins; members are unique, scores are Unix times in ms."""
    return f"a:{user_id}".encode()


def external_id_key(member_id: int, external_id: str) -> bytes:
    """The string that holds the platform user ID that a member's external ID maps to."""
    return f"x:{member_id}:{external_id}".encode()


def key_slot(key: bytes) -> int:
    """The slot of a key: CRC16 of the key or, where it has one, of its hash tag `{…}`.

    External IDs may contain braces, so the tag rule matters.
    """
    start = key.find(b"{")
    if start != -1:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOTS
