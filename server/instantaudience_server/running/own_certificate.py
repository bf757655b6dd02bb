"""The certificate with which an Envoy around a worker comes to its own port where callers have to show one.

It vouches for itself, names nobody, and ends with the supervisor, whose directory has the only copy.
"""

import datetime
from typing import NamedTuple, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

_BEGIN, _END = (datetime.datetime(year, 1, 1, tzinfo=datetime.UTC) for year in (2000, 2100))
"""Whatever the clock says meanwhile."""
_USAGE = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
"""For signatures, of certificates and of lists too."""


class OwnCertificate(NamedTuple):
    """Texts in PEM. The list of what it has revoked, which is nothing, is for where others' lists are looked at."""

    certificate: str
    key: str
    revoked: str

    @classmethod
    def new(cls) -> Self:
        """With a key that nobody has had before."""
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
