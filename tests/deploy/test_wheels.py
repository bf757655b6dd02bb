"""The wheels are all that it takes: pip installs them elsewhere, and the service runs on a cluster of one's own."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.cluster.running import running_cluster
from support.service.running import HOST_MODES, Service, running_service

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.wide, pytest.mark.timeout(400)]
"""Fifty packages are installed."""


def run(*words: Any, **environment: str) -> str:
    """Run a program; what it printed."""
    made = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | environment)
    assert made.returncode == 0, made.stderr
    return made.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the programs of an environment in which nothing but the wheels and their needs is."""
    directory = tmp_path_factory.mktemp("wheels")
    wheels, programs = directory / "dist", directory / "environment/bin"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    run(ROOT / "tools/build-wheels", wheels, "--no-build-isolation", PATH=path)
    run(sys.executable, "-m", "venv", programs.parent)
    pip = [programs / "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    run(*pip, "--no-deps", "--require-hashes", "--requirement", ROOT / "deploy/requirements.lock")
    # Not without their needs, here: pip finds that all are there.
    run(*pip, "--no-index", "--find-links", wheels, *wheels.glob("*.whl"))
    return programs


@pytest.fixture(scope="module")
async def service(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """The service of the wheels, on a cluster that it has not started."""
    command = [str(installed / "instant-audience")]
    async with (
        running_cluster("valkey", tmp_path_factory.mktemp("own")) as cluster,
        running_service("--redis", cluster.url, "--workers", "1", command=command) as running,
    ):
        yield running


def test_the_service_comes_from_the_wheels(installed: Path) -> None:
    imported = (
        "import instantaudience.v1, instantaudience_gateway, instantaudience_server as server; print(server.__file__)"
    )
    assert Path(run(installed / "python", "-P", "-c", imported)).is_relative_to(installed.parent)


async def test_it_serves_on_the_same_host_as_from_here(service: Service) -> None:
    (chosen,) = (event for event in service.events if event["event"] == "host_chosen")
    assert chosen["host"] == HOST_MODES[0]
    body = {"rt_segment": [{"user_id": "7", "seg_block": [{"seg_id": 10001, "value": 1, "expiration": 60}]}]}
    async with service.http(headers={"authorization": await service.token()}) as http:
        applied = await http.post("/rt-segment", json=body)
        assert applied.json()["response"]["status"] == "OK", applied.text
        read = await http.get("/rt-segment", params={"user_id": "7"})
        assert "10001" in read.text
        for page in ("/console", "/docs", "/openapi.json"):
            assert (await http.get(page)).is_success, page


async def test_the_images_health_check_finds_it(service: Service, tmp_path: Path) -> None:
    port = service.http_address.rpartition(":")[2]
    file = tmp_path / "settings.toml"
    file.write_text(f"http_port = {port}\n")
    unset = {"INSTANT_AUDIENCE_HOST": "", "INSTANT_AUDIENCE_HTTP_PORT": "", "INSTANT_AUDIENCE_TLS_CERT": ""}
    by_port = {"INSTANT_AUDIENCE_HTTP_PORT": port}
    for told in (
        by_port,
        {"INSTANT_AUDIENCE_CONFIG": str(file)},
        by_port | {"INSTANT_AUDIENCE_HOST": "0.0.0.0"},
        by_port | {"INSTANT_AUDIENCE_HOST": "::"},
    ):
        run(sys.executable, ROOT / "deploy/healthcheck.py", **unset | told)
    for elsewhere in ({"INSTANT_AUDIENCE_HTTP_PORT": "1"}, by_port | {"INSTANT_AUDIENCE_HOST": "127.0.0.2"}):
        with pytest.raises(AssertionError, match="no answer"):
            run(sys.executable, ROOT / "deploy/healthcheck.py", **unset | elsewhere)
