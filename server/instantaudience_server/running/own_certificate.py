"""The client certificate with which an Envoy around a worker connects to its own port, where callers need one.

It is self-signed, stands for no account, and lasts as long as the supervisor, whose directory has the only copy.
"""

import datetime
from typing import NamedTuple, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

_BEGIN, _END = (datetime.datetime(year, 1, 1, tzinfo=datetime.UTC) for year in (2000, 2100))
"""The validity, wide enough for any setting of the clock."""
_USAGE = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
"""Digital signatures, and signing certificates and revocation lists."""


class OwnCertificate(NamedTuple):
    """The certificate, its key and its (empty) revocation list, as PEM. The list is needed where callers' certificates
    are checked against lists."""

    certificate: str
    key: str
    revoked: str

    @classmethod
    def new(cls) -> Self:
        """A certificate with a new key."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), _BEGIN, _END)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_USAGE, critical=True)
            .sign(key, hashes.SHA256())
        )
        revoked = x509.CertificateRevocationListBuilder(name, _BEGIN, _END).sign(key, hashes.SHA256())
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        texts = certificate.public_bytes(Encoding.PEM), secret, revoked.public_bytes(Encoding.PEM)
        return cls(*(text.decode() for text in texts))
