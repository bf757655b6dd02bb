"""The public keys with which users sign in (source: catalog.proto, PublicKey; contract-neighbours, section 1)."""

from collections.abc import Callable
from typing import TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from instantaudience.v1 import catalog_pb2 as pb

from instantaudience_server.admission.quotas import Quotas
from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.accounts.accounts import subject_of
from instantaudience_server.catalog.editor import CatalogEditor, not_found
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.process.clock import Clock
from instantaudience_server.store.interfaces.catalog import CatalogStore, Kind

RESOURCE = "public-key"
"""The name of these calls in errors of members' quotas."""
MOST_KEYS = 20
"""The most keys of a user."""
LONGEST_NAME = 100
"""The most characters of a key's name."""
LONGEST_PEM = 4096
"""The most characters of a key."""
RSA_BITS = (2048, 8192)
"""The least and the largest size of RSA keys, in bits."""
MOST_EXPONENT_BITS = 64
"""The largest public exponent of RSA keys, in bits (65537 is usual). Anyone can have the service verify a signature;
with this limit, that takes less than a millisecond even for the longest key. OpenSSL enforces it only for keys of more
than 3072 bits."""

Key: TypeAlias = RSAPublicKey | EllipticCurvePublicKey


class PublicKeyService:
    """Carries out commands on the caller's own keys or, for the role `admin`, on those of any user.

    A user ID of 0 means the caller. Deadlines are times of the event loop's clock, in seconds. Every method raises
    AudienceError UNAUTH, NOT_FOUND (there is no such user) or UNAVAILABLE, as it applies.
    """

    def __init__(self, editor: CatalogEditor, store: CatalogStore, quotas: Quotas, clock: Clock) -> None:
        self._editor = editor
        self._store = store
        self._quotas = quotas
        self._clock = clock

    async def add(self, user_id: int, name: str, pem: str, caller: Caller, deadline: float) -> pb.PublicKey:
        """Add a key. If there are `MOST_KEYS` already, it replaces the oldest one that is not active.

        Raises:
            AudienceError: SYNTAX, the name or the key breaks the rules; INTEGRITY, an active key has the name; IN_USE,
                there are `MOST_KEYS` active ones; others as in the class.
        """
        user_id = subject_of(user_id, caller)
        if not (1 <= len(name) <= LONGEST_NAME and name.isprintable()):
            text = f"'name' must have 1 to {LONGEST_NAME} printable characters"
            raise AudienceError(Reason.SYNTAX, text, field="name")
        _check(pem)
        added = pb.PublicKey(name=name, pem=pem, active=True)
        added.create_time.FromSeconds(self._clock.now_ms() // 1000)

        def add(user: pb.User) -> pb.PublicKey:
            _check_free(user, name)
            added.id = 1 + max((key.id for key in user.public_keys), default=0)
            if len(user.public_keys) >= MOST_KEYS:
                unused = next((place for place, key in enumerate(user.public_keys) if not key.active), None)
                if unused is None:
                    text = f"There are {MOST_KEYS} active keys: deactivate one first"
                    raise AudienceError(Reason.IN_USE, text, field="user_id")
                del user.public_keys[unused]
            user.public_keys.append(added)
            return added

        return await self._change(user_id, add, deadline)

    async def list(self, user_id: int, caller: Caller, deadline: float) -> list[pb.PublicKey]:
        """All keys, oldest first, read from the cluster; counts as a `GET` (contract, "Limits").

        Raises:
            AudienceError: RATE_LIMIT_EXCEEDED; others as in the class.
        """
        await self._quotas.ask_gets(caller.member, RESOURCE, 1, deadline)
        user_id = subject_of(user_id, caller)
        (data,) = await self._store.find(Kind.USER, [user_id], deadline)
        if data is None:
            raise not_found(Kind.USER, user_id, "user_id")
        return list(pb.User.FromString(data).public_keys)

    async def set_active(
        self, user_id: int, key_id: int, active: bool, caller: Caller, deadline: float
    ) -> pb.PublicKey:
        """Activate or deactivate a key.

        Raises:
            AudienceError: NOT_FOUND; INTEGRITY, another active key has its name; others as in the class.
        """
        user_id = subject_of(user_id, caller)

        def change(user: pb.User) -> pb.PublicKey:
            key = next((key for key in user.public_keys if key.id == key_id), None)
            if key is None:
                text = f"'key_id': user {user_id} has no key {key_id}"
                raise AudienceError(Reason.NOT_FOUND, text, field="key_id")
            if active and not key.active:
                _check_free(user, key.name)
            key.active = active
            return key

        return await self._change(user_id, change, deadline)

    async def _change(self, user_id: int, change: Callable[[pb.User], pb.PublicKey], deadline: float) -> pb.PublicKey:
        """Change a user's keys by `change`, which returns the key that it changed; returns a copy of that key."""
        changed = pb.PublicKey()

        def edit(user: pb.User) -> None:
            changed.CopyFrom(change(user))

        await self._editor.update(Kind.USER, user_id, edit, "", deadline, named="user_id")
        return changed


def active_key(user: pb.User, name: str) -> Key | None:
    """The active key of that name; None where there is none, or verifying with it is slow (older versions accepted such
    keys)."""
    pem = next((key.pem for key in user.public_keys if key.active and key.name == name), None)
    key = None if pem is None else _loaded(pem)
    return None if key is None or _is_slow(key) else key


def _loaded(pem: str) -> Key | None:
    """The key in a PEM text, if it is of a kind that may be used; None for another kind.

    Raises:
        ValueError, UnsupportedAlgorithm: it is not a public key.
    """
    key = load_pem_public_key(pem.encode())
    if isinstance(key, RSAPublicKey) or (isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)):
        return key
    return None


def _is_slow(key: Key) -> bool:
    return isinstance(key, RSAPublicKey) and key.public_numbers().e.bit_length() > MOST_EXPONENT_BITS


def _check(pem: str) -> None:
    """Check that a PEM text is a key that may be used. The error does not quote it.

    Raises:
        AudienceError: SYNTAX.
    """
    if len(pem) > LONGEST_PEM:
        raise _refusal(f"has more than {LONGEST_PEM} characters")
    if "PRIVATE KEY" in pem:
        raise _refusal("is a private key: keep that to yourself, make a new pair, and send the public key")
    if pem.count("-----BEGIN ") > 1:
        raise _refusal("does not stand alone: send each by itself, under a name of its own")
    try:
        key = _loaded(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise _refusal("is no public key in PEM (-----BEGIN PUBLIC KEY-----)") from None
    least, most = RSA_BITS
    if key is None:
        raise _refusal("is neither RSA nor of the curve P-256")
    if isinstance(key, RSAPublicKey) and not least <= key.key_size <= most:
        raise _refusal(f"has {key.key_size} bits: RSA keys must have {least} to {most}")
    if _is_slow(key):
        raise _refusal(f"has an exponent of more than {MOST_EXPONENT_BITS} bits: 65537 is the usual one")


def _check_free(user: pb.User, name: str) -> None:
    if any(key.active and key.name == name for key in user.public_keys):
        raise AudienceError(Reason.INTEGRITY, "'name' is taken by an active key of this user", field="name")


def _refusal(text: str) -> AudienceError:
    return AudienceError(Reason.SYNTAX, f"The key {text}", field="pem")
