"""Reads and checks the TLS files that the settings name: server certificate, key, callers' CAs, revocation lists.

Also publishes when the service's client certificate for the cluster (`rediss://…?ssl_certfile=…`) ends, as a metric.
"""

import asyncio
import contextlib
import datetime
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtensionOID

from instantaudience_server.observation import metrics
from instantaudience_server.process.clock import written_time
from instantaudience_server.running.certificates.certificate_copies import Certificates
from instantaudience_server.settings import Settings

SMALLEST_RSA_BITS = 2048
NOTED_SECONDS = 60.0
"""How often to note when the cluster's client certificate ends."""
CURVES = ("secp256r1", "secp384r1", "secp521r1")
"""The curves that all hosts support."""
_CERTIFICATE = re.compile("-----BEGIN (X509 )?CERTIFICATE-----"), "certificate"
_KEY = re.compile("-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----"), "private key"
"""How what is in a file begins, and what it is called."""
_WHOLE = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----", re.DOTALL)
_CRL = re.compile(b"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)


class CertificateError(Exception):
    """A file cannot be used; the message names it and says why."""


def read_certificates(settings: Settings, now: float) -> Certificates:
    """Read and check the files. All are read before the first is checked, so that they belong together. Of several CAs
    of callers, those that have expired are left out, together with their revocation lists.

    Raises:
        CertificateError: a file is missing, is not PEM, does not match another, or has expired or not begun at `now`
            (Unix time): callers would not trust such a certificate, and such a list would keep all of them out.
    """
    assert settings.tls_cert is not None
    assert settings.tls_key is not None
    files = {
        "server": settings.tls_cert,
        "key": settings.tls_key,
        "client_ca": settings.client_ca,
        "client_crl": settings.client_crl,
    }
    texts = {what: _read(path) for what, path in files.items() if path is not None}
    ends: dict[str, float] = {}
    gone: set[x509.Name] = set()
    for what in texts:
        begin = 0.0
        try:
            _check_whole(texts[what])
            _check_contents(what, texts[what])
            if what == "server":
                _check_version(texts[what])
            elif what == "client_ca":
                texts[what], gone = _without_ended(texts[what], now)
            elif what == "client_crl":
                _check_lists(texts[what])
                if gone:
                    texts[what] = _without_lists_of(gone, texts[what])
            if what == "key":
                _check_pair(texts["server"], texts["key"])
            else:
                ends[what] = _end_of(what, texts[what]).timestamp()
                begin = _begin_of(what, texts[what])
        except (ValueError, UnsupportedAlgorithm) as error:
            raise CertificateError(f"{files[what]}: {_reason(error)}") from error
        if ends.get(what, now + 1) <= now:
            raise CertificateError(f"{files[what]}: it ended at {_moment(ends[what])}")
        if begin > now:
            raise CertificateError(f"{files[what]}: it begins at {_moment(begin)}")
    return Certificates(
        chain=texts["server"],
        key=texts["key"],
        client_ca=texts.get("client_ca"),
        client_crl=texts.get("client_crl"),
        clients_required=settings.client_certificates == "required",
        ends=ends,
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CertificateError(f"{path}: it is not PEM") from error


def _check_whole(text: str) -> None:
    """Check that no PEM block is cut off, which libraries ignore.

    Raises:
        ValueError: one is.
    """
    if re.search("^--", _WHOLE.sub("", text), re.MULTILINE):
        raise ValueError("it is cut off in the middle")


def _check_contents(what: str, text: str) -> None:
    """Check that there is anything in a file of what it is for. Of revocation lists, `_end_of` says it.

    Raises:
        ValueError: there is not.
    """
    if what == "client_crl":
        return
    begin, name = _KEY if what == "key" else _CERTIFICATE
    if not begin.search(text):
        raise ValueError(f"there is no {name} in it (PEM)")


def _check_pair(chain: str, key_text: str) -> None:
    """Check that the key is usable and is that of the chain's first certificate.

    Raises:
        ValueError: it is not.
    """
    try:
        key = load_pem_private_key(key_text.encode(), password=None)
    except TypeError as error:
        raise ValueError(
            "it has a passphrase, for which nobody can be asked: write it without one (openssl pkey)"
        ) from error
    if isinstance(key, rsa.RSAPrivateKey):
        usable = key.key_size >= SMALLEST_RSA_BITS
    else:
        usable = isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES
    if not usable:
        raise ValueError(f"it must be RSA of {SMALLEST_RSA_BITS} bits or more, or ECDSA on P-256, P-384 or P-521")
    if x509.load_pem_x509_certificates(chain.encode())[0].public_key() != key.public_key():
        raise ValueError("it does not belong to the certificate")


def _check_version(chain: str) -> None:
    """Check that the chain's first certificate is of version 3 (source: RFC 5280, 4.1.2.1). Hosts differ in whether
    they take another one, which `openssl x509 -req` makes where it is given no extensions.

    Raises:
        ValueError: it is not.
    """
    if x509.load_pem_x509_certificates(chain.encode())[0].version is not x509.Version.v3:
        raise ValueError(
            "it is of version 1: one of version 3 is needed, with the names that it is for (subjectAltName)"
        )


def _check_lists(text: str) -> None:
    """Check that each revocation list is of version 2 and whole (source: RFC 5280, 5.1.2.1 and 5.2.4). Hosts differ in
    whether they take others.

    Raises:
        ValueError: one is not.
    """
    for each in _lists_in(text):
        extensions = [extension.oid for extension in each.extensions]
        if not extensions:
            raise ValueError("a list in it has no extensions: one of version 2 is needed, with a number (crlNumber)")
        if ExtensionOID.DELTA_CRL_INDICATOR in extensions:
            raise ValueError("a list in it has only what is new since another one (a delta CRL): a whole one is needed")


def _without_ended(authorities: str, now: float) -> tuple[str, set[x509.Name]]:
    """The CAs that have not expired, and the names of those that have; all CAs and no names if all have expired."""
    found = x509.load_pem_x509_certificates(authorities.encode())
    left = [each for each in found if each.not_valid_after_utc.timestamp() > now]
    if len(left) in (0, len(found)):
        return authorities, set()
    gone = {each.subject for each in found} - {each.subject for each in left}
    return _joined(left), gone


def _without_lists_of(authorities: set[x509.Name], lists: str) -> str:
    """The revocation lists, without those issued by these CAs."""
    return _joined(each for each in _lists_in(lists) if each.issuer not in authorities)


def _lists_in(text: str) -> Iterator[x509.CertificateRevocationList]:
    return (x509.load_pem_x509_crl(each) for each in _CRL.findall(text.encode()))


def _joined(found: Iterable[x509.Certificate | x509.CertificateRevocationList]) -> str:
    return "".join(each.public_bytes(Encoding.PEM).decode() for each in found)


def _end_of(what: str, text: str) -> datetime.datetime:
    """When the first certificate or list in the text ends.

    Raises:
        ValueError: it cannot be read.
    """
    if what != "client_crl":
        return end_of_certificates(text.encode())
    return _first_end(_lists_in(text))


def _begin_of(what: str, text: str) -> float:
    """From when the server certificate, or all revocation lists, are valid (Unix time). 0 for CAs, of which some may
    begin later."""
    if what == "server":
        return x509.load_pem_x509_certificates(text.encode())[0].not_valid_before_utc.timestamp()
    lists = _lists_in(text) if what == "client_crl" else ()
    return max((each.last_update_utc.timestamp() for each in lists), default=0.0)


def end_of_certificates(pem: bytes) -> datetime.datetime:
    """When the first of some certificates ends.

    Raises:
        ValueError: there are none.
    """
    return min(each.not_valid_after_utc for each in x509.load_pem_x509_certificates(pem))


def authorities_in(text: str) -> list[tuple[bytes, int]]:
    """The certificates in a text, as DER, each with its end (Unix time)."""
    found = x509.load_pem_x509_certificates(text.encode())
    return [(each.public_bytes(Encoding.DER), int(each.not_valid_after_utc.timestamp())) for each in found]


def names_of(chain: str) -> list[str]:
    """The hosts that a certificate is for, DNS names before addresses, without wildcards."""
    certificate = x509.load_pem_x509_certificates(chain.encode())[0]
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return []  # the extension is missing or malformed
    hosts = [each for each in names.get_values_for_type(x509.DNSName) if "*" not in each]
    return hosts + [str(each) for each in names.get_values_for_type(x509.IPAddress)]


def _first_end(lists: Iterable[x509.CertificateRevocationList]) -> datetime.datetime:
    ends = [each.next_update_utc for each in lists]
    known = [end for end in ends if end is not None]
    if not ends or len(known) < len(ends):
        raise ValueError("there is no list in it that says when it ends")
    return min(known)


def _reason(error: Exception) -> str:
    """The first sentence of a library's error message."""
    return str(error).split(". ")[0].splitlines()[0] if str(error) else "it cannot be read"


def _moment(end: float) -> str:
    return f"{written_time(int(end))} UTC"


def file_in_url(redis: str, option: str = "ssl_certfile") -> Path | None:
    """The file that an option of a cluster's URL names; None where it names none."""
    try:
        named = parse_qs(urlsplit(redis).query).get(option, [])
    except ValueError:
        return None
    return Path(named[-1]) if named else None


def end_of_file(path: Path) -> float:
    """When the first certificate in a file ends (Unix time).

    Raises:
        CertificateError: the file cannot be read, or has no certificate.
    """
    try:
        return end_of_certificates(path.read_bytes()).timestamp()
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise CertificateError(f"{path}: it holds no certificate") from error


async def keep_noting(redis: str) -> None:
    """Set the metric every minute, as the certificate may be replaced; runs forever, unless the URL names none."""
    path = file_in_url(redis)
    while path is not None:
        with contextlib.suppress(CertificateError):  # the next connection fails for the same reason, and reports it
            end = await asyncio.to_thread(end_of_file, path)
            metrics.CERTIFICATE_END_TIMESTAMP.labels(metrics.WORKER, "cluster").set(end)
        await asyncio.sleep(NOTED_SECONDS)
