"""A certificate authority for tests."""

import datetime
import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

HOUR = datetime.timedelta(hours=1)


@dataclass(frozen=True)
class Signed:
    """A certificate and its key, in files."""

    certificate: x509.Certificate
    cert: Path
    key: Path

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)


class Authority:
    """A CA that signs and revokes certificates. All of its files are in its directory, in PEM. It may be an
    intermediate CA."""

    def __init__(
        self,
        directory: Path,
        name: str = "ca",
        lifetime: datetime.timedelta = 24 * HOUR,
        issuer: "Authority | None" = None,
    ) -> None:
        self.directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        signer = issuer or self
        builder = _builder(self._name, signer._name, self._key, lifetime)
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
        )
        self.certificate = builder.add_extension(usage, critical=True).sign(signer._key, hashes.SHA256())
        self.file = directory / f"{name}.pem"
        self.file.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def sign(
        self,
        file: str,
        *,
        uris: Iterable[str] = (),
        dns: Iterable[str] = (),
        address: str | None = None,
        lifetime: datetime.timedelta = 12 * HOUR,
        begins_in: datetime.timedelta = -HOUR,
    ) -> Signed:
        """Issue a certificate with these names; with a negative lifetime, it has already expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.DNSName(name) for name in dns]
        if address is not None:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        builder = _builder(_name(file), self._name, key, lifetime, begins_in)
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(signer, critical=False)  # Python 3.13 wants it
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        signed = Signed(certificate, self.directory / f"{file}.pem", self.directory / f"{file}.key")
        replace(signed.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        replace(signed.cert, signed.pem)
        return signed

    def revoke(
        self,
        file: Path,
        *revoked: Signed,
        lifetime: datetime.timedelta = 12 * HOUR,
        begins_in: datetime.timedelta = -HOUR,
        extension: x509.ExtensionType | None = None,
    ) -> None:
        """Write a certificate revocation list; `extension` is critical."""
        now = datetime.datetime.now(datetime.UTC)
        ends = now + lifetime
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name)
        builder = builder.last_update(min(now, ends) + begins_in).next_update(ends)
        builder = builder.add_extension(x509.CRLNumber(1), critical=False)
        if extension is not None:
            builder = builder.add_extension(extension, critical=True)
        for each in revoked:
            serial = each.certificate.serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - HOUR).build()
            builder = builder.add_revoked_certificate(entry)
        replace(file, builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))


def replace(file: Path, content: bytes) -> None:
    """Replace a file atomically."""
    draft = file.with_suffix(".draft")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as made:
        made.write(content)
    draft.replace(file)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    lifetime: datetime.timedelta,
    begins_in: datetime.timedelta = -HOUR,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    ends = now + lifetime
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(min(now, ends) + begins_in).not_valid_after(ends)
