"""What `serve` cannot start with: one clear line, and nothing left behind."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509
from instantaudience_server.commands.root import main
from instantaudience_server.errors import KEY_OF_ANOTHER_TYPE
from instantaudience_server.process.processes import free_ports
from instantaudience_server.store.keys import CATALOG_MEMBERS
from instantaudience_server.transport.hosts.native import missing
from redis.asyncio import RedisCluster
from support.cluster.running import running_node
from support.credentials.authorities import Authority
from support.service.running import ON_ONE_HOST, Service

USAGE, FAILURE = 2, 1
ANY_WORKER = r"(batch )?worker \d"
"""Of those that load the same things: a start is over when the first of them has ended, whichever that is."""
KEPT = b"c:{catalog}:kept"
CATALOGS = {
    "bad.yaml": "members: [{id: 1, name: a}, {id: 1, name: b}]",
    "no.yaml": "members: [",
    "weak.yaml": "{members: [{id: 1, name: a}], users: [{id: 2, username: b, member_id: 1, password: s3cret}]}",
}
CONFIGS = {
    "no.toml": "workers =",
    "unknown.toml": "demo = true\ncolour = 'red'",
    "wrong.toml": "demo = true\nworkers = 'many'",
    "zero.toml": "demo = true\nworkers = 0",
    "nowhere.toml": "demo = true\ndata_dir = ''",
    "paths.toml": "demo = true\ndata_dir = ['a', 'b']",
    "half.toml": "demo = true\nworkers = 1.5",
    "yes.toml": "demo = true\nworkers = true",
    "neither.toml": "demo = 1.5",
    "nothing.toml": "demo = true\nredis = ''",
    "marked.toml": "\ufeffdemo = true\nworkers = 0",
    "deep.toml": f"workers = {'[' * 100_000}",
}


@pytest.fixture
def taken() -> Iterator[list[int]]:
    """Ports that another program has."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    yield [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the catalogs and the files with settings are."""
    for name, content in (CATALOGS | CONFIGS).items():
        (tmp_path / name).write_text(content)
    (tmp_path / "wide.toml").write_text("demo = true", encoding="utf-16")
    return tmp_path


@pytest.fixture
def refused(run: Any, directory: Path) -> Any:
    """Runs `serve` on free ports where it cannot start; returns what it says. It leaves no data behind."""

    async def run_serve(*words: str, line: str) -> None:
        ended = await run("serve", "--http-port", "0", "--grpc-port", "0", *words)
        assert_one_line(ended.status, ended.errors, FAILURE, line)
        assert ended.output == ""
        assert "s3cret" not in ended.errors
        assert not (directory / "data").exists()

    return run_serve


def assert_one_line(status: int, errors: str, expected: int, line: str) -> None:
    """The last line says what is wrong; before it there is no more than how to call the command, or an event."""
    assert status == expected, errors
    *before, last = errors.strip().splitlines()
    assert re.fullmatch(f"Error: {line}", last), errors
    assert all(re.match(r"Usage: |Try |$|\{", other) for other in before), before


USAGE_ERRORS = {
    "two catalogs": ("--demo --catalog bad.yaml", [], {}, "--catalog and --demo cannot be used together"),
    "a file that is not there to be added": ("", ["--add-missing"], {}, "--add-missing needs --catalog, .*"),
    "no worker": ("--demo", ["--workers", "0"], {}, "--workers: .*greater than or equal to 1"),
    "no number": ("--demo", ["--workers", "many"], {}, r".*'--workers'.*'many' is not a valid integer\."),
    "a port too high": ("--demo", ["--http-port", "65536"], {}, "--http-port: .*65535"),
    "a port below 0": ("--demo", ["--grpc-port", "-1"], {}, "--grpc-port: .*0"),
    "no time for a call": ("--demo", ["--call-timeout-seconds", "0"], {}, "--call-timeout-seconds: .*greater than 0"),
    "a time that is none": ("--demo", ["--drain-seconds", "nan"], {}, "--drain-seconds: .*600"),
    "too little memory": ("--demo", ["--max-pending-bytes", "1"], {}, "--max-pending-bytes: .*1048576"),
    "a location with a colon": ("--demo", ["--location", "a:b"], {}, "--location: must be 1 to 32 of the .*"),
    "an unknown level": ("--demo", ["--log-level", "loud"], {}, "--log-level: .*'debug', 'info', 'warning' or 'error'"),
    "an unknown host": ("--demo", ["--host-mode", "apache"], {}, "--host-mode: .*'native' or 'grpcio'"),
    "a name to listen on": ("--demo", ["--host", "localhost"], {}, "--host: must be an address, .* and not a name"),
    "plaintext for others": (
        "--demo",
        ["--host", "0.0.0.0"],
        {},
        "--host 0.0.0.0 is beyond this machine: .* --insecure .*",
    ),
    "a certificate alone": ("--demo", ["--tls-cert", "a.pem"], {}, "--tls-cert and --tls-key are needed together"),
    "a CA without a certificate": ("--demo", ["--client-ca", "a.pem"], {}, "--client-ca needs --tls-cert and .*"),
    "a CRL without a CA": ("--demo", ["--client-crl", "a.pem"], {}, "--client-crl needs --client-ca"),
    "a password for all to see": ("", ["--redis", "redis://u:s3cret@[", "--demo"], {}, "--redis: .* belongs into .*"),
    "a password in a query": ("", ["--redis", "redis://a?password=s3cret"], {}, "--redis: .* belongs into .*"),
    "a password for a collector": (
        "--demo",
        ["--traces-endpoint", "https://u:s3cret@collector:4318"],
        {},
        "--traces-endpoint: .* belongs into .*",
    ),
    "no URL of a cluster": (
        "--demo",
        ["--redis", "s3cret"],
        {},
        "--redis: must be the URL of a node, or of several: .*",
    ),
    "a URL without a node": ("--demo", ["--redis", "redis://"], {}, "--redis: must be the URL of a node, .*"),
    "a cluster that is set to nothing": (
        "",
        ["--config", "nothing.toml"],
        {},
        "--redis: must be the URL of a node, .*",
    ),
    "a cluster in a variable that is empty": (
        "--demo",
        [],
        {"INSTANT_AUDIENCE_REDIS": ""},
        "INSTANT_AUDIENCE_REDIS is set to nothing: .*",
    ),
    "no revoked certificates in a variable": (
        "--demo",
        [],
        {"INSTANT_AUDIENCE_CLIENT_CRL": ""},
        "INSTANT_AUDIENCE_CLIENT_CRL is set to nothing: unset it for callers whose certificates nobody has revoked",
    ),
    "a lesser durability in a variable": (
        "--demo",
        [],
        {"INSTANT_AUDIENCE_DURABILITY": ""},
        "INSTANT_AUDIENCE_DURABILITY is set to nothing: .*",
    ),
    "a password in what is no URL": (
        "--demo",
        [],
        {"INSTANT_AUDIENCE_REDIS": "redis://u:s3cret@[a]b"},
        "--redis: must be the URL of a node, or of several: redis://HOST:6379,OTHER:6379, or rediss://",
    ),
    "an unknown store": ("--demo", ["--batch-store", "ftp://a"], {}, "--batch-store: must be .* s3://BUCKET, .*"),
    "a store without a bucket": ("--demo", ["--batch-store", "s3:a"], {}, "--batch-store: must be .* s3://BUCKET, .*"),
    "a folder from somewhere on": ("--demo", ["--batch-store", "file:files"], {}, "--batch-store: .* whole path: .*"),
    "a folder of a host": ("--demo", ["--batch-store", "file://var/files"], {}, "--batch-store: .* whole path: .*"),
    "more memory than machines have": ("--demo", ["--max-gateway-bytes", "9" * 20], {}, "--max-gateway-bytes: .*"),
    "an unknown flag": ("--demo", ["--colour", "red"], {}, ".*--colour.*"),
    "a bad variable": ("--demo", [], {"INSTANT_AUDIENCE_WORKERS": "0"}, "--workers: .*greater than or equal to 1"),
    "a variable that is no number": ("--demo", [], {"INSTANT_AUDIENCE_WORKERS": "x"}, ".*--workers.*'x' is not.*"),
    "no file with settings": (
        "--demo",
        ["--config", "missing.toml"],
        {},
        ".*: missing.toml: No such file or directory",
    ),
    "settings in UTF-16": ("--demo", ["--config", "wide.toml"], {}, ".*: wide.toml: it is no text in UTF-8"),
    "settings behind a byte order mark": (
        "",
        ["--config", "marked.toml"],
        {},
        "--workers: .*greater than or equal to 1",
    ),
    "settings that are no TOML": ("--demo", ["--config", "no.toml"], {}, ".*no.toml: Invalid value .*"),
    "settings that are far too deep": ("--demo", ["--config", "deep.toml"], {}, ".*deep.toml: maximum recursion.*"),
    "an empty path": ("--demo", ["--data-dir", ""], {}, ".*--data-dir.*'' is no path"),
    "an empty path in a file": ("", ["--config", "nowhere.toml"], {}, ".*--data-dir.*'' is no path"),
    "a path that is a list": ("", ["--config", "paths.toml"], {}, ".*paths.toml: data_dir must be a text, a .*"),
    "half a worker": ("", ["--config", "half.toml"], {}, ".*--workers.*'1.5' is not a valid integer.*"),
    "yes for a number": ("", ["--config", "yes.toml"], {}, ".*--workers.*'True' is not a valid integer.*"),
    "neither yes nor no": ("", ["--config", "neither.toml"], {}, ".*--demo.*'1.5' is not a valid boolean.*"),
    "unknown settings": ("--demo", ["--config", "unknown.toml"], {}, ".*unknown.toml: unknown settings: colour"),
    "a setting of another type": ("", ["--config", "wrong.toml"], {}, ".*--workers.*'many' is not.*"),
    "a bad setting": ("", ["--config", "zero.toml"], {}, "--workers: .*greater than or equal to 1"),
    "a variable that names bad settings": ("", [], {"INSTANT_AUDIENCE_CONFIG": "zero.toml"}, "--workers: .*"),
}


@pytest.mark.parametrize(("catalog", "words", "env", "line"), USAGE_ERRORS.values(), ids=USAGE_ERRORS)
def test_usage(
    directory: Path, monkeypatch: pytest.MonkeyPatch, catalog: str, words: list[str], env: dict[str, str], line: str
) -> None:
    """In this process, as nothing is started."""
    monkeypatch.chdir(directory)
    ended = CliRunner().invoke(main, ["serve", *catalog.split(), *words], env=env)
    assert_one_line(ended.exit_code, ended.stderr, USAGE, line)
    assert ended.stdout == ""
    assert isinstance(ended.exception, SystemExit)


FAILURES = {
    "no such catalog": ("--catalog|missing.yaml", r"missing\.yaml: No such file or directory"),
    "the catalog is no YAML": ("--catalog|no.yaml", r"no\.yaml: not YAML: .*line 2.*"),
    "the catalog breaks a rule": ("--catalog|bad.yaml", r"bad\.yaml: members\[1\] \(id 1\): 'id' stands .*"),
    "a password that is too weak": ("--catalog|weak.yaml", r"weak\.yaml: users\[0\] \(id 2\): 'password' must have .*"),
    "a host of others": (
        "--demo|--insecure|--host|192.0.2.1",
        r"cannot listen on 192\.0\.2\.1: .*; choose another .* --host",
    ),
    "no certificate": ("--demo|--tls-cert|a.pem|--tls-key|a.pem", r"a\.pem: No such file or directory"),
    "no cluster there": ("--demo|--redis|redis://u@127.0.0.1:{free}", "the cluster cannot be used: .*"),
    "the data directory is a file": ("--demo|--data-dir|bad.yaml", r".* in bad\.yaml: File exists; .* --data-dir"),
}
"""Words, and what the error says."""


@pytest.mark.parametrize(("words", "line"), FAILURES.values(), ids=FAILURES)
async def test_failures(refused: Any, words: str, line: str) -> None:
    (free,) = free_ports("127.0.0.1", 1)
    await refused(*words.format(free=free).split("|"), line=line)


async def test_settings_come_from_flags_then_environment_then_file(run: Any, tmp_path: Path, taken: list[int]) -> None:
    """Each names a port that is in use, so that the error tells which one counted."""
    in_flag, in_environment, in_file = taken
    (tmp_path / "settings.toml").write_text(f"demo = true\nhttp_port = 0\ngrpc_port = {in_file}\n")
    flag = ["--grpc-port", str(in_flag)]
    file = ["--config", "settings.toml"]
    env = {"INSTANT_AUDIENCE_GRPC_PORT": str(in_environment)}
    for words, environment, counts in ((flag, env, in_flag), ([], env, in_environment), ([], {}, in_file)):
        ended = await run("serve", *file, *words, env=environment)
        line = f"port {counts} on 127.0.0.1 is in use by another program; .*--grpc-port.*"
        assert_one_line(ended.status, ended.errors, FAILURE, line)


@pytest.mark.parametrize("flag", ["--http-port", "--grpc-port", "--metrics-port"])
async def test_a_port_in_use(refused: Any, taken: list[int], flag: str) -> None:
    problem = f"port {taken[0]} on 127.0.0.1 is in use by another program"
    await refused("--demo", flag, str(taken[0]), line=f"{problem}; choose another with {flag}, or 0 for any free one")


async def test_a_temporary_directory_with_a_long_path(run: Any, tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    ended = await run("serve", "--demo", "--http-port", "0", "--grpc-port", "0", env={"TMPDIR": str(deep)})
    line = f"the temporary directory {deep} has too long a path for sockets; set TMPDIR to one of at most 64 bytes"
    assert_one_line(ended.status, ended.errors, FAILURE, line)


async def test_a_temporary_directory_that_is_not_there(run: Any, tmp_path: Path) -> None:
    """Copies of the certificates' keys were in another one, on a disk perhaps, and nothing said so."""
    missing = tmp_path / "missing"
    ended = await run("serve", "--demo", "--http-port", "0", "--grpc-port", "0", env={"TMPDIR": str(missing)})
    line = f"no file can be made in {missing}, which TMPDIR names: make that directory, or name another"
    assert_one_line(ended.status, ended.errors, FAILURE, line)


async def test_a_server_that_is_no_cluster(refused: Any, tmp_path: Path) -> None:
    async with running_node("redis", tmp_path) as port:
        await refused("--demo", "--redis", f"redis://127.0.0.1:{port}", line="the cluster cannot be used: .*luster.*")


@pytest.mark.wide
@ON_ONE_HOST
@pytest.mark.parametrize(("command", "whose"), [("eval", "Error"), ("hscan", ANY_WORKER)], ids=["eval", "hscan"])
async def test_a_cluster_that_does_not_allow_what_a_start_needs(
    run: Any, service: Service, command: str, whose: str
) -> None:
    """Whoever needs it first says so in a line: the command, or a worker; it was a traceback."""
    for port in service.node_ports:
        await service.on_node(port, *f"ACL SETUSER short on nopass ~* &* +@all -{command}".split())
    url = f"redis://short@127.0.0.1:{service.node_ports[0]}"
    ended = await run("serve", "--demo", "--redis", url, "--workers", "1", "--http-port", "0", "--grpc-port", "0")
    assert ended.status == FAILURE
    line = rf"127.0.0.1:\d+ refused a command: NOPERM {command}; docs/cluster.md has the rights that it takes"
    assert re.search(f"^{whose}: {line}$", ended.errors, re.MULTILINE)
    assert "Traceback" not in ended.errors


@ON_ONE_HOST
async def test_certificates_that_only_the_host_knows_that_it_cannot_use(
    run: Any, service: Service, tmp_path: Path
) -> None:
    """A worker says what is the matter; the start waited for it without end."""
    if reason := missing():
        pytest.skip(f"the native host cannot run here: {reason}")
    authority, revoked = Authority(tmp_path), tmp_path / "revoked.crl"
    authority.revoke(revoked, extension=x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"))
    server = authority.sign("server", dns=["localhost"])
    tls = f"--tls-cert {server.cert} --tls-key {server.key} --client-ca {authority.file} --client-crl {revoked}"
    for port in service.node_ports:
        await service.on_node(port, "ACL", "SETUSER", "open", "on", "nopass", "~*", "&*", "+@all")
    url = f"redis://open@127.0.0.1:{service.node_ports[0]}"
    words = ["--host-mode", "native", "--workers", "1", "--http-port", "0", "--grpc-port", "0", "--redis", url]
    ended = await run("serve", "--demo", *tls.split(), *words)
    assert ended.status == FAILURE
    assert re.search("^worker 0: the certificates cannot be used: .*CRL.*", ended.errors, re.MULTILINE), ended.errors


@ON_ONE_HOST
async def test_a_key_of_another_type_is_no_lack_of_rights(run: Any, service: Service, nodes: RedisCluster) -> None:
    """Whoever meets one says where it is told how to find it: a start, and `doctor`."""
    for port in service.node_ports:
        await service.on_node(port, "ACL", "SETUSER", "open", "on", "nopass", "~*", "&*", "+@all")
    url = f"redis://open@127.0.0.1:{service.node_ports[0]}"
    await nodes.rename(CATALOG_MEMBERS, KEPT)
    try:
        await nodes.set(CATALOG_MEMBERS, "x")
        ended = await run("serve", "--demo", "--redis", url, "--workers", "1", "--http-port", "0", "--grpc-port", "0")
        told = json.loads((await run("doctor", "--no-service", "--json", "--redis", url)).output)
    finally:
        await nodes.rename(KEPT, CATALOG_MEMBERS)
    assert ended.status == FAILURE
    line = rf"{ANY_WORKER}: 127.0.0.1:\d+ refused a command: WRONGTYPE; {re.escape(KEY_OF_ANOTHER_TYPE)}"
    assert re.search(f"^{line}$", ended.errors, re.MULTILINE)
    assert KEY_OF_ANOTHER_TYPE in json.dumps(told, ensure_ascii=False).replace('\\"', '"')


@ON_ONE_HOST
async def test_the_data_directory_of_a_running_service(refused: Any, service: Service) -> None:
    data_dir = service.directory / "data"
    line = f"{data_dir} is in use by another process: stop it, or use another data directory"
    await refused("--demo", "--data-dir", str(data_dir), line=line)
