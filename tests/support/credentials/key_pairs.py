"""Key pairs of users, and JWTs signed with them."""

from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


@cache
def key_pair(kind: str) -> Any:
    """The private key of a kind, always the same: `RS256`, `ES256`, `RSA 1024`, `P-384`, `Ed25519`; a number at the end
    selects another key of the kind."""
    kind = kind.partition("#")[0]
    if kind.startswith("RSA "):
        return rsa.generate_private_key(65537, int(kind.removeprefix("RSA ")))
    made = {
        "RS256": lambda: rsa.generate_private_key(65537, 2048),
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "Ed25519": ed25519.Ed25519PrivateKey.generate,
    }
    return made[kind]()


def public_pem(kind: str) -> str:
    """The public key, in PEM."""
    encoded = key_pair(kind).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return str(encoded.decode())


def slow_pem() -> str:
    """An RSA public key whose exponent is about as long as its modulus; its private key is unknown."""
    modulus = key_pair("RS256").public_key().public_numbers().n
    return _public_pem_of(modulus // 2 | 1, modulus)


def long_pem() -> str:
    """An RSA public key that takes long to validate; its private key is unknown."""
    return _public_pem_of(65537, 2**8192 + 1)


def _public_pem_of(exponent: int, modulus: int) -> str:
    key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def private_pem(kind: str) -> str:
    """The private key, in PEM."""
    return str(key_pair(kind).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def signed(kind: str, now: float, username: str = "demo", key_name: str = "pods", **claims: Any) -> str:
    """A user's JWT, issued at `now` (Unix time in seconds). `claims` are added or, if None, omitted."""
    all_claims = {"sub": username, "iat": int(now)} | claims
    kept = {name: value for name, value in all_claims.items() if value is not None}
    algorithm = kind.partition("#")[0]
    return jwt.encode(kept, key_pair(kind), algorithm=algorithm, headers={"kid": key_name})
