"""Which files can be used for TLS, and what is said of those that cannot."""

import asyncio
import datetime
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from instantaudience_server.process.processes import StartError
from instantaudience_server.running.certificates import certificate_files
from instantaudience_server.running.certificates.certificate_copies import (
    LOOK_SECONDS,
    Certificates,
    ServerContext,
    follow,
)
from instantaudience_server.running.certificates.certificate_files import CertificateFiles
from instantaudience_server.running.certificates.certificates import CertificateError, names_of, read_certificates
from instantaudience_server.settings import Settings
from structlog.testing import capture_logs
from support.credentials.authorities import HOUR, Authority, Signed
from support.waiting import eventually

pytestmark = pytest.mark.process


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def settings(authority: Authority) -> Settings:
    """All files are there, and good."""
    server = authority.sign("server", dns=["localhost"])
    revocations = authority.directory / "revoked.crl"
    authority.revoke(revocations, authority.sign("revoked"))
    return Settings(
        tls_cert=server.cert, tls_key=server.key, client_ca=authority.file, client_crl=revocations, insecure=False
    )


def test_what_is_read(settings: Settings, authority: Authority) -> None:
    read = read_certificates(settings, time.time())
    assert read.chain == (authority.directory / "server.pem").read_text()
    assert read.client_ca == authority.file.read_text()
    assert read.clients_required
    hours = {what: round((end - time.time()) / 3600) for what, end in read.ends.items()}
    assert hours == {"server": 12, "client_ca": 24, "client_crl": 12}
    assert read.key not in repr(read)


@pytest.mark.parametrize(
    ("dns", "address", "names"),
    [
        ([], None, []),
        (["*.example.com", "audience.example.com"], "192.0.2.1", ["audience.example.com", "192.0.2.1"]),
    ],
)
def test_the_hosts_that_a_certificate_is_for(
    authority: Authority, dns: list[str], address: str | None, names: list[str]
) -> None:
    assert names_of(authority.sign("named", dns=dns, address=address).cert.read_text()) == names


def key_file(directory: Path, key: object, passphrase: bytes | None = None) -> None:
    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)  # type: ignore[attr-defined]
    (directory / "server.key").write_bytes(pem)


def put(file: str, content: bytes) -> Callable[[Authority], object]:
    return lambda authority: (authority.directory / file).write_bytes(content)


def without_version(authority: Authority) -> object:
    """Write a certificate of version 1, as `openssl x509 -req` makes it: without extensions, and without the field that
    says which version it has, `[0] { INTEGER 2 }` of 5 bytes."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - HOUR).not_valid_after(now + HOUR)
    signed = builder.sign(key, hashes.SHA256())
    inner, whole = signed.tbs_certificate_bytes, signed.public_bytes(Encoding.DER)
    rest = whole[whole.index(inner) + len(inner) :]
    der = sequence(sequence(inner[inner.index(b"\xa0\x03\x02\x01\x02") + 5 :]) + rest)
    key_file(authority.directory, key)
    return (authority.directory / "server.pem").write_text(ssl.DER_cert_to_PEM_cert(der))


def sequence(content: bytes) -> bytes:
    """A SEQUENCE of DER, of 256 bytes or more or of fewer."""
    return (
        b"\x30\x82" + len(content).to_bytes(2) + content
        if len(content) > 255
        else b"\x30\x81%c" % len(content) + content
    )


def without_number(authority: Authority, *extensions: x509.ExtensionType) -> None:
    """Write a revocation list that has these extensions alone."""
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.certificate.subject)
    builder = builder.last_update(now - HOUR).next_update(now + HOUR)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    made = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    (authority.directory / "revoked.crl").write_bytes(made.public_bytes(Encoding.PEM))


BAD: dict[str, tuple[Callable[[Authority], object], str]] = {
    "a file that is not there": (lambda ca: (ca.directory / "server.key").unlink(), r"server\.key: No such file .*"),
    "no text": (put("server.key", b"\xff"), r"server\.key: it is not PEM"),
    "no certificate": (put("server.pem", b"nothing"), r"server\.pem: there is no certificate in it \(PEM\)"),
    "half a certificate": (put("server.pem", b"-----BEGIN CERTIFICATE-----\nMIIB"), r"server\.pem: .+"),
    "no key": (put("server.key", b""), r"server\.key: there is no private key in it \(PEM\)"),
    "the certificate in place of its key": (
        lambda ca: (ca.directory / "server.key").write_bytes((ca.directory / "server.pem").read_bytes()),
        r"server\.key: there is no private key in it \(PEM\)",
    ),
    "another certificate's key": (
        lambda ca: key_file(ca.directory, ec.generate_private_key(ec.SECP256R1())),
        r"server\.key: it does not belong to the certificate",
    ),
    "a key with a passphrase": (
        lambda ca: key_file(ca.directory, ec.generate_private_key(ec.SECP256R1()), b"s3cret"),
        r"server\.key: it has a passphrase, for which nobody can be asked: write it without one \(openssl pkey\)",
    ),
    "a key that not all hosts can use": (
        lambda ca: key_file(ca.directory, ed25519.Ed25519PrivateKey.generate()),
        r"server\.key: it must be RSA of 2048 bits or more, or ECDSA on .*",
    ),
    "a key on a curve that nobody knows": (
        lambda ca: subprocess.run(
            ["openssl", "ecparam", "-name", "secp160r1", "-genkey", "-noout", "-out", ca.directory / "server.key"],
            check=True,
        ),
        r"server\.key: .+",
    ),
    "a key that is too short": (
        lambda ca: key_file(ca.directory, rsa.generate_private_key(65537, 1024)),
        r"server\.key: it must be RSA of 2048 bits or more, or ECDSA on .*",
    ),
    "a certificate that has ended": (
        lambda ca: ca.sign("server", lifetime=-HOUR),
        r"server\.pem: it ended at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC",
    ),
    "a list that has ended": (
        lambda ca: ca.revoke(ca.directory / "revoked.crl", lifetime=-HOUR),
        r"revoked\.crl: it .*",
    ),
    "a certificate that has not begun": (
        lambda ca: ca.sign("server", begins_in=HOUR),
        r"server\.pem: it begins at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC",
    ),
    "a list that has not begun": (
        lambda ca: ca.revoke(ca.directory / "revoked.crl", begins_in=HOUR),
        r"revoked\.crl: it begins at .*",
    ),
    "a certificate of version 1": (
        without_version,
        r"server\.pem: it is of version 1: one of version 3 is needed, with the names .*",
    ),
    "a list of version 1": (
        without_number,
        r"revoked\.crl: a list in it has no extensions: one of version 2 is needed, with a number \(crlNumber\)",
    ),
    "a list of what is new": (
        lambda ca: without_number(ca, x509.DeltaCRLIndicator(1)),
        r"revoked\.crl: a list in it has only what is new since another one .*: a whole one is needed",
    ),
    "no list": (put("revoked.crl", b""), r"revoked\.crl: there is no list in it that says when it ends"),
    "no CA": (put("ca.pem", b""), r"ca\.pem: there is no certificate in it \(PEM\)"),
}


@pytest.mark.parametrize(("spoil", "text"), BAD.values(), ids=BAD)
def test_what_cannot_be_used_is_named(
    settings: Settings, authority: Authority, spoil: Callable[[Authority], object], text: str
) -> None:
    spoil(authority)
    with pytest.raises(CertificateError, match=f"^{authority.directory}/{text}$"):
        read_certificates(settings, time.time())


@pytest.fixture
def two_authorities(settings: Settings, authority: Authority) -> Settings:
    """Both have lists; one ends after an hour, and its list before."""
    old = Authority(authority.directory, "old", lifetime=HOUR)
    assert settings.client_ca is not None
    assert settings.client_crl is not None
    lists = authority.directory / "old.crl"
    old.revoke(lists, lifetime=HOUR / 2)
    settings.client_ca.write_bytes(old.file.read_bytes() + authority.file.read_bytes())
    settings.client_crl.write_bytes(lists.read_bytes() + settings.client_crl.read_bytes())
    return settings


@pytest.mark.parametrize("file", ["server.pem", "both.pem", "both.crl"])
def test_of_several_in_a_file_none_is_left_out_that_is_written_in_part(
    settings: Settings, authority: Authority, file: str
) -> None:
    """Libraries pass over it, and whom it stands for was turned away until the rest was there."""
    other = Authority(authority.directory, "other")
    lists = authority.directory / "other.crl"
    other.revoke(lists)
    assert settings.client_crl is not None
    parts = {
        "server.pem": (authority.sign("server").pem, authority.file.read_bytes()),
        "both.pem": (authority.file.read_bytes(), other.file.read_bytes()),
        "both.crl": (settings.client_crl.read_bytes(), lists.read_bytes()),
    }
    for name, both in parts.items():
        (authority.directory / name).write_bytes(b"".join(both))
    changed = {"client_ca": authority.directory / "both.pem", "client_crl": authority.directory / "both.crl"}
    settings = settings.model_copy(update=changed)
    read_certificates(settings, time.time())
    first, second = parts[file]
    for length in range(2, len(second) - 1, 5):
        (authority.directory / file).write_bytes(first + second[:length])
        with pytest.raises(CertificateError, match=rf"/{file}: it is cut off in the middle$"):
            read_certificates(settings, time.time())


def test_an_authority_that_has_ended_is_left_out(two_authorities: Settings, authority: Authority) -> None:
    """The others, and new lists of theirs, count on."""
    now = time.time()
    before, after = read_certificates(two_authorities, now), read_certificates(two_authorities, now + 2 * 3600)
    assert before.client_ca is not None
    assert before.client_crl is not None
    assert after.client_ca == authority.certificate.public_bytes(Encoding.PEM).decode()
    assert after.client_crl is not None
    assert (before.client_crl.count("BEGIN"), after.client_crl.count("BEGIN")) == (2, 1)
    assert before.client_crl.endswith(after.client_crl)
    with pytest.raises(CertificateError, match=r"revoked\.crl: it ended"):
        read_certificates(two_authorities, now + 3600 * 3 / 4)
    authority.file.write_bytes((authority.directory / "old.pem").read_bytes())
    with pytest.raises(CertificateError, match=r"ca\.pem: it ended"):
        read_certificates(two_authorities, now + 2 * 3600)


async def test_an_authority_that_ends_is_left_out_from_then_on(
    two_authorities: Settings, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though no file has changed: what makes handshakes natively does not look at an authority's end. Where the clock
    is set back, it has not ended."""
    assert two_authorities.client_ca is not None
    files = CertificateFiles(two_authorities, authority.directory / "copies")
    await files.open()
    now = time.time() + 2 * 3600
    monkeypatch.setattr(certificate_files, "time", SimpleNamespace(time=lambda: now))
    keeping = asyncio.create_task(files.keep())
    try:

        async def left_out() -> None:
            copied = Certificates.model_validate_json(files.for_workers.read_bytes())
            assert copied.client_ca == authority.certificate.public_bytes(Encoding.PEM).decode()

        async def counts_again() -> None:
            copied = Certificates.model_validate_json(files.for_workers.read_bytes())
            assert copied.client_ca == two_authorities.client_ca.read_text()

        await eventually(left_out)
        now -= 2 * 3600  # the clock had been wrong
        await eventually(counts_again)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def test_copies_are_the_owners_alone_and_change_with_the_files(settings: Settings, authority: Authority) -> None:
    files = CertificateFiles(settings, authority.directory / "copies")
    await files.open()
    taken: list[Certificates] = []
    tasks = [asyncio.create_task(files.keep()), asyncio.create_task(follow(files.for_workers, taken.append))]
    try:
        for path in (files.for_workers, files.for_gateway.server, files.for_gateway.clients):
            assert path is not None
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        renewed: Signed = authority.sign("server", dns=["localhost"])

        async def followed() -> None:
            assert [each.chain.encode() for each in taken][-1:] == [renewed.pem]

        await eventually(followed)
        assert len(taken) in (1, 2)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_could_not_be_copied_is_copied_later(settings: Settings, authority: Authority) -> None:
    """Although the files have not changed since: the disk was full, or an owner has let the service read them."""
    files = CertificateFiles(settings, authority.directory / "copies")
    await files.open()
    keeping = asyncio.create_task(files.keep())
    (authority.directory / "copies").rename(authority.directory / "elsewhere")
    try:
        with capture_logs() as logged:
            renewed = authority.sign("server", dns=["localhost"])  # no look comes between, as nothing waits

            async def told() -> None:
                assert [entry["event"] for entry in logged] == ["certificates_unusable"]
                assert "copies" in logged[0]["error"]

            await eventually(told)
            await asyncio.sleep(2 * LOOK_SECONDS)
            await told()
            (authority.directory / "elsewhere").rename(authority.directory / "copies")

            async def copied() -> None:
                assert Certificates.model_validate_json(files.for_workers.read_bytes()).chain == renewed.pem.decode()

            await eventually(copied)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_no_session_is_resumed_where_certificates_are_looked_at(
    settings: Settings, authority: Authority, version: ssl.TLSVersion
) -> None:
    files = CertificateFiles(settings, authority.directory / "copies")
    await files.open()
    contexts = ServerContext(files.for_workers)
    client = authority.sign("client")

    def serve() -> None:
        with listening.accept()[0] as plain, contexts.context().wrap_socket(plain, server_side=True) as connection:
            connection.sendall(connection.recv(1))
            connection.unwrap()

    def connect(session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool | None]:
        with (
            socket.create_connection(listening.getsockname()) as plain,
            caller.wrap_socket(plain, server_hostname="localhost", session=session) as connection,
        ):
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
            session, resumed = connection.session, connection.session_reused
            connection.unwrap()
            return session, resumed

    caller = ssl.create_default_context(cafile=authority.file)
    caller.load_cert_chain(client.cert, client.key)
    caller.maximum_version = version
    with socket.create_server(("127.0.0.1", 0)) as listening:
        session = None
        for _ in range(2):
            (session, resumed), _ = await asyncio.gather(asyncio.to_thread(connect, session), asyncio.to_thread(serve))
            assert not resumed


def gets_in(server: ssl.SSLContext, caller: ssl.SSLContext) -> bool:
    """Whether a caller and a server come to terms, without a network between them."""
    here, there = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        caller.wrap_bio(here, there, server_hostname="localhost"),
        server.wrap_bio(there, here, server_side=True),
    )
    done = []
    for end in ends * 2:
        try:
            done.append(end.do_handshake())
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            return False
    return len(done) >= 2


@pytest.mark.parametrize("client_certificates", ["required", "optional"])
async def test_whoever_shows_no_good_certificate_gets_at_no_metrics(
    settings: Settings, authority: Authority, client_certificates: str
) -> None:
    """Where it need not be shown, one that is has to be good all the same."""
    revoked = authority.sign("late")
    authority.revoke(authority.directory / "revoked.crl", revoked)
    settings = settings.model_copy(update={"client_certificates": client_certificates})
    files = CertificateFiles(settings, authority.directory / "copies")
    await files.open()
    contexts = ServerContext(files.for_workers)

    def enters(client: Signed | None) -> bool:
        caller = ssl.create_default_context(cafile=authority.file)
        if client is not None:
            caller.load_cert_chain(client.cert, client.key)
        return gets_in(contexts.context(), caller)

    assert enters(authority.sign("client"))
    assert enters(None) == (client_certificates == "optional")
    assert not enters(Authority(authority.directory, "stranger").sign("wrong"))
    assert not enters(authority.sign("expired", lifetime=-HOUR))
    assert not enters(revoked)


async def test_files_that_cannot_be_used_stop_the_start(settings: Settings, authority: Authority) -> None:
    (authority.directory / "server.key").unlink()
    with pytest.raises(StartError, match=r"server\.key: No such file"):
        await CertificateFiles(settings, authority.directory / "copies").open()
