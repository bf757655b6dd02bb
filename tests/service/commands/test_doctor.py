"""`doctor` on a service that runs, as an operator calls it."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from service.commands.conftest import LIKE_OTHERS
from support.cluster.nodes import on_node
from support.service.running import Service

DENIED = "give the user and the password that the cluster knows"


async def test_a_service_and_its_embedded_cluster(run: Any, changed: Service) -> None:
    env = {"INSTANT_AUDIENCE_URL": changed.url, "INSTANT_AUDIENCE_DATA_DIR": str(changed.directory / "data")}
    ended = await run("doctor", env=env | {"COLUMNS": "80"})
    assert ended.status == 1, ended.output
    assert "is ready" in ended.output
    assert "→ the embedded cluster has none: take backups, or give --redis" in " ".join(ended.output.split())
    assert all(len(line) <= 80 for line in ended.output.splitlines())
    assert (changed.directory / "data/password").read_text() not in ended.output
    told = json.loads((await run("doctor", "--json", env=env)).output)
    assert {each["level"] for each in told if each["topic"] == "service"} == {"ok"}
    assert [each["topic"] for each in told if each["level"] == "warning"] == ["replicas"]


async def test_a_service_is_where_its_settings_say(run: Any, changed: Service, tmp_path: Path) -> None:
    """It was looked for at port 8080, without TLS, whatever they said."""
    data, port = changed.directory / "data", urlsplit(changed.url).port
    (tmp_path / "settings.toml").write_text(f'data_dir = "{data}"\nhttp_port = {port}\nhost = "0.0.0.0"\n')
    ended = await run("doctor", "--json", "--config", "settings.toml")
    (told,) = [each["text"] for each in json.loads(ended.output) if each["topic"] == "service"]
    assert told == f"http://127.0.0.1:{port} is ready"
    env = {"INSTANT_AUDIENCE_HTTP_PORT": "1", "INSTANT_AUDIENCE_HOST": "::", "INSTANT_AUDIENCE_TLS_CERT": "cert.pem"}
    ended = await run("doctor", "--json", "--tls-key", "key.pem", "--redis", "redis://127.0.0.1:1", env=env)
    (told,) = [each["text"] for each in json.loads(ended.output) if each["topic"] == "service"]
    assert told.startswith("https://[::1]:1 does not answer")
    ended = await run("doctor", "--http-port", "0")
    assert (ended.status, ended.errors.splitlines()[-1].partition(":")[2]) == (
        2,
        " --http-port 0 is any free one: say where the service is, with --url, or --no-service",
    )


async def test_a_data_directory_that_cannot_be_read_is_told_where_it_is_needed(run: Any, tmp_path: Path) -> None:
    """Of an own cluster, nothing else is concerned: it was refused before anything was looked at."""
    (tmp_path / "data").mkdir(mode=0)
    ended = await run("doctor", "--no-service", "--redis", "redis://127.0.0.1:1", under=LIKE_OTHERS)
    assert (ended.status, ended.errors) == (2, "")
    assert "the cluster cannot be used" in ended.output or "cannot be asked" in ended.output
    assert f"this user may not write into {tmp_path / 'data'}" in " ".join(ended.output.split())
    ended = await run("doctor", "--no-service", under=LIKE_OTHERS)
    assert "data/ports.json cannot be read: Permission denied" in " ".join(ended.output.split())
    ended = await run("backup", "saved", under=LIKE_OTHERS)
    line = "Error: set INSTANT_AUDIENCE_REDIS, or --data-dir: data/ports.json cannot be read: Permission denied"
    assert (ended.status, ended.errors.splitlines()[-1]) == (2, line)


async def test_what_the_embedded_cluster_can_and_cannot_keep(run: Any, changed: Service, admin: dict[str, str]) -> None:
    """Disks are there, and replicas will never be."""
    env = {"INSTANT_AUDIENCE_URL": changed.url, "INSTANT_AUDIENCE_DATA_DIR": str(changed.directory / "data")}
    for durability, topics in (("disk", []), ("replica", ["members"])):
        assert (await run("member", "set", "1262", "--durability", durability, env=admin)).status == 0
        told = json.loads((await run("doctor", "--json", "--durability", "disk", env=env)).output)
        assert [each["topic"] for each in told if each["level"] == "problem"] == topics
        assert not any(each["mend"].startswith("CONFIG SET") for each in told)  # of nodes that forget it as they end
    (found,) = [each["text"] for each in told if each["topic"] == "members"]
    assert found.startswith("member 1262 with durability replica waits in vain")
    assert (await run("member", "set", "1262", "--unset", "durability", env=admin)).status == 0


async def test_who_is_not_let_in_is_told_to_give_another_user(run: Any, changed: Service) -> None:
    """Without a password, doctor said to start the cluster; to a user that may not ask for its nodes, too."""
    data = changed.directory / "data"
    ((port, _), *_) = json.loads((data / "ports.json").read_text())
    at = f"127.0.0.1:{port}"
    password = (data / "password").read_text()
    await on_node(port, "ACL", "SETUSER", "stranger", "on", ">stranger", "+ping", password=password)
    for user in ("", ":another@", "stranger:stranger@"):
        ended = await run("doctor", "--no-service", "--json", env={"INSTANT_AUDIENCE_REDIS": f"redis://{user}{at}"})
        (found,) = [each for each in json.loads(ended.output) if each["topic"] == "cluster"]
        assert (found["level"], found["mend"].partition(":")[0]) == ("problem", DENIED), found
    await on_node(port, "ACL", "DELUSER", "stranger", password=password)


async def test_nothing_is_there(run: Any) -> None:
    ended = await run("doctor", "--url", "http://127.0.0.1:1", "--redis", "redis://127.0.0.1:1")
    assert ended.status == 2
    assert "http://127.0.0.1:1 does not answer" in ended.output
    assert "cannot be asked" in ended.output
    assert "→ start it" in ended.output


async def test_on_a_narrow_terminal_flags_stay_whole(run: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    words = ("doctor", "--no-service", "--redis", "redis://127.0.0.1:1", "--data-dir", "file")
    for columns in ("27", "8"):
        ended = await run(*words, env={"COLUMNS": columns})
        assert (ended.status, ended.errors) == (2, "")
        assert columns == "8" or "--batch-store," in ended.output.split()


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://localhost:99999", "is no URL"),
        ("http://localhost:99999", "is no URL"),
        ("https://[::1", "is no URL"),
        ("localhost:8080", "it would be http://localhost:8080"),
    ],
)
async def test_what_is_no_url_is_told(run: Any, url: str, text: str) -> None:
    ended = await run("doctor", "--url", url)
    assert ended.status == 2
    assert text in ended.errors


async def test_a_certificate_that_cannot_be_read_is_no_warning(run: Any) -> None:
    ended = await run("doctor", "--redis", "redis://127.0.0.1:1", "--cert", "missing.pem")
    assert (ended.status, ended.output) == (2, "")
    assert re.fullmatch("Error: .*/missing.pem: No such file or directory\n", ended.errors)


async def test_passwords_are_not_for_the_command_line(run: Any) -> None:
    ended = await run("doctor", "--redis", "redis://user:secret@127.0.0.1:1")
    assert ended.status == 2
    assert "INSTANT_AUDIENCE_REDIS" in ended.errors
