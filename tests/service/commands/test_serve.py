"""`serve` with a catalog and a cluster of one's own."""

import re
import shlex
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from instantaudience_server.embedded.cluster import EmbeddedCluster
from support.cluster.running import emptied, running_cluster
from support.cluster.stored import stored
from support.contract.answers import assert_http_error
from support.contract.messages import USER, one_user
from support.service.processes import descendants, needs_proc
from support.service.running import HOST_MODES, PASSWORDS, credentials, new_directory, running_service
from support.service.workers import WORKER_COMMAND

PASSWORD = "Seven-Passw0rd"
CATALOG = f"""
members: [{{id: 5, name: Five, default_expiration: 0}}]
users: [{{id: 7, username: seven, password: {PASSWORD}, member_id: 5, role: admin}}]
segments: [{{id: 10001, member_id: 5, code: fives, short_name: Fives}}]
"""


@pytest.fixture(scope="module")
async def embedded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedCluster]:
    """Someone's cluster."""
    async with running_cluster("valkey", tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


async def test_own_catalog_and_own_cluster(embedded: EmbeddedCluster, tmp_path: Path) -> None:
    """The cluster goes on."""
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    catalog = f"--catalog={tmp_path / 'catalog.yaml'}"
    async with emptied(embedded) as cluster, new_directory() as directory:
        arguments = ("--redis", embedded.url, "--location", "eu-1", "--workers", "1")
        async with running_service(*arguments, directory=directory, catalog=catalog) as own, own.http() as http:
            assert not any(password in own.output + own.log for password in (*PASSWORDS.values(), PASSWORD))
            assert f"curl {own.url}/healthz" in own.output
            assert f"-m instantaudience_server login --url {own.url}\n" in own.output
            assert "is empty" not in own.output
            refused = await http.post("/auth", json=credentials("demo"))
            assert_http_error(refused, 401, "NOAUTH", error_code="INVALID_LOGIN")
            token = await own.sign_in("seven", PASSWORD)
            assert token.startswith("hbapi:7:")
            assert token.endswith(":eu-1")
            answer = await http.post("/rt-segment", json=one_user(value=5), headers={"authorization": token})
            assert answer.status_code == 200
            ready = [event["event"] for event in own.events].count("worker_ready")
            assert ready == 2  # one that serves calls, one that applies files
        assert own.process.returncode == 0
        (files,) = (directory / "data").iterdir()  # no cluster
        assert files.name == "batch-files"
        for folder in (files, files.parent):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert await stored(cluster) == {("", USER): {10001: (5, 0)}}


async def test_the_file_is_only_the_catalogs_beginning(embedded: EmbeddedCluster, run: Any, tmp_path: Path) -> None:
    """From then on, what is there stays as it is; what is missing is added where that is wanted."""
    path = tmp_path / "catalog.yaml"
    path.write_text(CATALOG)
    other = CATALOG.replace("name: Five", "name: Another").replace(PASSWORD, "Other-Passw0rd")
    other = other.replace(
        "]\nsegments: [", ", {id: 8, username: eight, password: Eight-Passw0rd, member_id: 5}]\nsegments: ["
    )
    other = other.replace("code: fives", "code: sixes") + "\n"
    async with emptied(embedded):
        for content, words, added in ((CATALOG, (), 3), (other, (), 0), (other, ("--add-missing",), 1)):
            path.write_text(content)
            arguments = ("--redis", embedded.url, "--workers", "1", *words)
            async with running_service(*arguments, catalog=f"--catalog={path}") as service:
                assert [event["added"] for event in service.events if event["event"] == "catalog_seeded"] == [added]
                env = {
                    "INSTANT_AUDIENCE_URL": service.url,
                    "INSTANT_AUDIENCE_TOKEN": await service.sign_in("seven", PASSWORD),
                }
                exported = (await run("catalog", "export", env=env)).output
        assert names_in(exported) == ['"Five"', '"seven"', '"eight"', '"fives"']


def names_in(exported: str) -> list[str]:
    """The names in an exported catalog."""
    return re.findall(r" (?:name|username|code): (\S+?)[,}]", exported)


@pytest.mark.parametrize("host_mode", HOST_MODES[:1])
async def test_without_a_catalog_it_says_how_to_begin(run: Any, host_mode: str) -> None:
    async with running_service("--workers", "1", host_mode=host_mode, catalog="") as service:
        assert "The catalog is empty, so nobody can sign in" in service.output
        assert "--catalog FILE" in service.output
        assert f"{shlex.quote(sys.executable)} -m instantaudience_server catalog import FILE" in service.output
        assert f"Console:       {service.url}/console\n" in service.output
        nobody = await run("segment", "list", env={"INSTANT_AUDIENCE_URL": service.url})
    hint = (
        f"nothing says who calls, and {service.url} has not the demo catalog's user 'admin': `instant-audience login`"
    )
    assert (nobody.status, nobody.errors.startswith(f"Error: {hint}")) == (1, True), nobody.errors


async def test_a_new_user_needs_a_password(embedded: EmbeddedCluster, run: Any, tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(CATALOG.replace(f"password: {PASSWORD}, ", ""))
    async with emptied(embedded):
        ports = ("--http-port", "0", "--grpc-port", "0")
        ended = await run("serve", "--redis", embedded.url, "--catalog", str(path), *ports)
    assert ended.status == 1
    line = f"Error: {path}: user seven (id 7) is not in the cluster yet: it needs 'password' or 'password_hash'"
    assert ended.errors.splitlines()[-1] == line


@needs_proc
@pytest.mark.parametrize("host_mode", HOST_MODES)
async def test_nothing_that_it_starts_has_the_clusters_password_in_its_environment(
    embedded: EmbeddedCluster, monkeypatch: pytest.MonkeyPatch, host_mode: str
) -> None:
    monkeypatch.setenv("INSTANT_AUDIENCE_REDIS", embedded.url.replace("://", "://default:s3cret@"))
    async with emptied(embedded), running_service("--metrics-port", "0", host_mode=host_mode) as service:
        started = descendants(service.process.pid)
        assert len(started) > 3
        for each in started:
            assert b"s3cret" not in environment(each.pid), each.command


@needs_proc
@pytest.mark.parametrize("host_mode", HOST_MODES)
async def test_credentials_of_other_services_are_for_workers_alone(
    monkeypatch: pytest.MonkeyPatch, host_mode: str
) -> None:
    """They reach the store of files, and the collector of traces; nobody else does."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    arguments = ("--workers", "1", "--metrics-port", "0")
    async with running_service(*arguments, host_mode=host_mode) as service:
        started = [(each.command, b"s3cret" in environment(each.pid)) for each in descendants(service.process.pid)]
    workers = (WORKER_COMMAND, "instantaudience_server.running batch_worker")
    assert len(started) >= 3 + 2
    assert {command for command, has in started if has} == {
        command for command, _ in started if any(each in command for each in workers)
    }


def environment(pid: int) -> bytes:
    """What a process has been started with; nothing, where it has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""
