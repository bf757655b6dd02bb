"""Commands, and a service that speaks TLS with a certificate of an unknown authority, and wants to see one."""

import asyncio
import json
import shlex
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from instantaudience_server.commands.welcome import host_of
from instantaudience_server.diagnosis.finding import Level
from instantaudience_server.diagnosis.service import ask
from support.contract.model import UNLIMITED_DEMO
from support.credentials.authorities import HOUR, Authority, Signed
from support.service.running import PASSWORDS, Service, new_directory, running_service
from support.waiting import eventually

HOST = "127.0.0.1"
URI = "spiffe://example.org/loader"
NAMED = UNLIMITED_DEMO | {
    "users": [
        user | ({"certificate_names": [URI]} if user["username"] == "demo" else {}) for user in UNLIMITED_DEMO["users"]
    ]
}
"""The demo's catalog; who shows this name is `demo`."""


@dataclass(frozen=True)
class Secured:
    """The service, and what callers need."""

    service: Service
    authority: Authority
    ours: Signed
    own: Signed
    """The service's certificate."""

    @property
    def env(self) -> dict[str, str]:
        """Where it is."""
        return {"INSTANT_AUDIENCE_URL": self.service.url}

    @property
    def trusting(self) -> list[str]:
        """Words that say whom to trust."""
        return ["--cacert", str(self.authority.file)]

    @property
    def showing(self) -> list[str]:
        """Words that say what to show."""
        return ["--cert", str(self.ours.cert), "--cert-key", str(self.ours.key)]


@pytest.fixture(scope="module")
async def secured() -> AsyncIterator[Secured]:
    async with new_directory() as directory:
        authority = Authority(directory)
        (directory / "named.yaml").write_text(json.dumps(NAMED))
        server, ours = authority.sign("server", address=HOST), authority.sign("ours")
        words = ("--tls-cert", server.cert, "--tls-key", server.key, "--client-ca", authority.file, "--workers", "1")
        async with running_service(
            *map(str, words), directory=directory, catalog=f"--catalog={directory / 'named.yaml'}"
        ) as service:
            yield Secured(service, authority, ours, server)


async def test_what_they_trust_and_show_is_told_once(run: Any, secured: Secured, tmp_path: Path) -> None:
    """The profile keeps where the files are, for REST, gRPC and streams, from wherever they are called."""
    words, password = ("login", "--as", "demo", "--password-stdin"), f"{PASSWORDS['demo']}\n"
    for without, mend in (([], "--cacert"), (secured.trusting, "--cert ")):
        ended = await run(*words, *without, env=secured.env, stdin=password)
        assert (ended.status, ended.output) == (1, "")
        assert ended.errors.startswith(f"Error: {secured.service.url} does not answer (")
        assert mend in ended.errors
    (tmp_path / "both.pem").write_bytes(secured.ours.pem + secured.ours.key.read_bytes())
    ended = await run(*words, *secured.trusting, "--cert", "both.pem", env=secured.env, stdin=password)
    assert ended.status == 0, ended.errors
    users = tmp_path / "users.csv"
    users.write_text("user_id,seg_id\n1,10001\n")
    for each in (("batch", "list"), ("segment", "list"), ("send", str(users)), ("get", "1"), ("logout",)):
        ended = await run(*each, under=("env", "-C", "/"))
        assert ended.status == 0, (each, ended.errors)


async def test_why_a_certificate_is_refused_is_told(run: Any, secured: Secured) -> None:
    """It was said to start the service, or to name another port. (Whether the alert is seen is chance.)"""
    ended = secured.authority.sign("ended", lifetime=-HOUR)
    showing = ("--cert", str(ended.cert), "--cert-key", str(ended.key))
    env = secured.env | {"INSTANT_AUDIENCE_TOKEN": "hbapi:1:a:b"}

    async def is_told() -> None:
        for shown, mend in (
            (showing, "the certificate of --cert has ended, or not begun yet: show another one"),
            ((), "the service wants to see a certificate: --cert FILE"),
        ):
            for words in (("segment", "list"), ("get", "1")):
                refused = await run(*words, *secured.trusting, *shown, env=env)
                assert (refused.status, refused.output) == (1, "")
                assert refused.errors.startswith(f"Error: {secured.service.url} does not answer (")
                assert refused.errors.endswith(f"): {mend}\n")

    await eventually(is_told)


async def test_serve_says_what_to_add_to_the_commands_that_it_prints(secured: Secured) -> None:
    told, commands = secured.service.output.split("Try it:")
    assert "add --cacert FILE" in told
    assert "Callers have to show a certificate: --cert FILE" in told
    shown = [*secured.trusting, "--cert", str(secured.ours.cert), "--key", str(secured.ours.key)]
    words = shlex.split(commands.strip().split("\n\n")[0])
    assert words == ["curl", f"{secured.service.url}/healthz"]
    curl = await asyncio.create_subprocess_exec(*words, *shown, "-sS", stdout=asyncio.subprocess.PIPE)
    assert (await curl.communicate())[0] == b'{"response":{"status":"OK"}}'


@pytest.mark.parametrize(
    ("listening", "names", "host"),
    [
        ("0.0.0.0", [], "127.0.0.1"),
        ("127.0.0.1", ["audience.example.com", "127.0.0.1"], "127.0.0.1"),
        ("::", ["audience.example.com", "localhost"], "localhost"),
        ("0.0.0.0", ["audience.example.com"], "audience.example.com"),
        ("192.0.2.1", ["localhost", "192.0.2.1"], "192.0.2.1"),
        ("192.0.2.1", ["audience.example.com"], "audience.example.com"),
    ],
)
def test_serve_names_a_host_that_the_certificate_has(listening: str, names: list[str], host: str) -> None:
    assert host_of(listening, names) == host


@pytest.mark.parametrize("is_apart", [False, True])
async def test_they_come_from_the_environment_too(run: Any, secured: Secured, tmp_path: Path, is_apart: bool) -> None:
    """A key may stand in its certificate's file."""
    (tmp_path / "both.pem").write_bytes(secured.ours.pem + secured.ours.key.read_bytes())
    apart = {"INSTANT_AUDIENCE_CERT": str(secured.ours.cert), "INSTANT_AUDIENCE_CERT_KEY": str(secured.ours.key)}
    env = secured.env | {
        "INSTANT_AUDIENCE_CACERT": str(secured.authority.file),
        **(apart if is_apart else {"INSTANT_AUDIENCE_CERT": "both.pem"}),
        "INSTANT_AUDIENCE_USERNAME": "admin",
        "INSTANT_AUDIENCE_PASSWORD": PASSWORDS["admin"],
    }
    ended = await run("member", "list", env=env)
    assert ended.status == 0, ended.errors


async def test_who_has_a_users_name_in_its_certificate_need_not_sign_in(
    run: Any, secured: Secured, tmp_path: Path
) -> None:
    named = secured.authority.sign("named", uris=[URI])
    (tmp_path / "users.csv").write_text("user_id,seg_id\n2,10001\n")
    words = [*secured.trusting, "--cert", str(named.cert), "--cert-key", str(named.key)]
    for each in (("send", "users.csv"), ("get", "2"), ("segment", "list", "--json"), ("batch", "list")):
        ended = await run(*each, *words, env=secured.env)
        assert ended.status == 0, (each, ended.errors)
    ended = await run("send", "users.csv", *words, "--url", "https://a b")
    assert (ended.status, ended.output) == (2, ""), ended.errors
    assert ended.errors.startswith("Error: endpoint is 'a b:443': "), ended.errors
    for each in (("get", "2"), ("segment", "list")):
        ended = await run(*each, *secured.trusting, *secured.showing, env=secured.env)
        assert (ended.status, ended.output) == (1, "")
        assert "NOAUTH" in ended.errors, ended.errors


async def test_files_that_cannot_be_used_are_named(run: Any, secured: Secured, tmp_path: Path) -> None:
    other = secured.authority.sign("other")
    locked = load_pem_private_key(secured.ours.key.read_bytes(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")
    )
    (tmp_path / "locked.key").write_bytes(locked)
    for words, status, text in (
        (["--cacert", "missing.pem"], 1, "missing.pem: No such file or directory"),
        (["--cacert", str(secured.ours.key)], 1, f"{secured.ours.key}: this is no PEM, "),
        (["--cert", str(secured.ours.cert), "--cert-key", str(other.key)], 1, "of another certificate: ["),
        (["--cert", str(secured.ours.cert), "--cert-key", "locked.key"], 1, "a key with a passphrase"),
        (["--cert-key", str(other.key)], 2, "--cert-key is the key of --cert"),
    ):
        ended = await run("segment", "list", *words, env=secured.env | {"INSTANT_AUDIENCE_TOKEN": "hbapi:1:a:b"})
        assert ended.status == status, ended.errors
        assert text in ended.errors


async def test_doctor_shows_a_certificate_where_one_is_wanted(run: Any, secured: Secured) -> None:
    words = ("doctor", "--data-dir", str(secured.service.directory / "data"))
    without = await run(*words, env=secured.env)
    assert without.status == 2
    assert "does not answer" in without.output
    assert "--cert" in without.output
    ended = await run(*words, *secured.showing, env=secured.env)
    assert "is ready" in ended.output, ended.output
    assert "does not answer" not in ended.output


async def test_doctor_knows_from_the_settings_of_serve_where_it_is(run: Any, secured: Secured, tmp_path: Path) -> None:
    """It asked http://127.0.0.1:8080 whatever port and TLS they said."""
    port = int(secured.service.url.rpartition(":")[2])
    files = f'tls_cert = "{secured.own.cert}"\ntls_key = "{secured.own.key}"\n'
    (tmp_path / "settings.toml").write_text(f"http_port = {port}\n{files}")
    words = ("doctor", "--data-dir", str(secured.service.directory / "data"), "--config", "settings.toml")
    ended = await run(*words, *secured.showing)
    assert f"service: https://127.0.0.1:{port} is ready" in ended.output, ended.output


async def test_doctor_asks_whether_it_has_tls(run: Any, secured: Secured) -> None:
    words = ("doctor", "--data-dir", str(secured.service.directory / "data"))
    ended = await run(*words, "--url", secured.service.url.replace("https:", "http:"))
    assert "→ start it, or name it with --url, and https:// where it has TLS" in ended.output


async def test_doctor_tells_why_it_is_refused_however_it_notices(secured: Secured) -> None:
    """It is refused after it has asked: by chance, it is told why, or finds the connection gone."""
    for _ in range(20):
        (finding,) = [each async for each in ask(secured.service.url, None, time.time())]
        assert finding.level is Level.PROBLEM
        assert "does not answer" in finding.text
        assert "--cert" in finding.mend
