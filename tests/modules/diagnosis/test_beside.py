"""The store of files and the collector of traces, as doctor sees them."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from instantaudience_server.diagnosis.beside import collector, store_of_files
from instantaudience_server.diagnosis.finding import Level
from instantaudience_server.running.traces import ENDPOINT_VARIABLES
from instantaudience_server.settings import Settings
from support.outside.collectors import running_collector
from support.outside.s3 import BUCKET, running_s3


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENDPOINT_VARIABLES:
        monkeypatch.delenv(name, raising=False)


async def test_a_folder_is_not_made(tmp_path: Path) -> None:
    finding = await store_of_files(Settings(data_dir=tmp_path / "not" / "there"))
    assert finding.level is Level.OK
    assert not (tmp_path / "not").exists()


async def test_a_folder_beside_a_cluster_of_ones_own_may_be_one_of_several(tmp_path: Path) -> None:
    """Each machine took files that no other one could apply, and the doctor found that well."""
    own = Settings(data_dir=tmp_path, redis="redis://127.0.0.1:1")  # type: ignore[arg-type]
    finding = await store_of_files(own)
    assert (finding.level, "--batch-store" in finding.text) == (Level.OK, True)
    assert "--batch-store" not in (await store_of_files(Settings(data_dir=tmp_path))).text


async def test_a_folder_that_is_none_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    finding = await store_of_files(Settings(batch_store=(tmp_path / "a file" / "below").as_uri()))
    assert (finding.level, finding.text) == (Level.PROBLEM, f"{tmp_path / 'a file'} is no folder")


@pytest.mark.parametrize(
    ("free_bytes", "level"), [(2**30, Level.OK), (2**29 - 1, Level.WARNING), (2**20, Level.PROBLEM), (0, Level.PROBLEM)]
)
async def test_a_disk_without_room(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free_bytes: int, level: Level
) -> None:
    looked: list[Path] = []

    def disk_usage(path: Path) -> Any:
        looked.append(path)
        return SimpleNamespace(free=free_bytes)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    finding = await store_of_files(Settings(data_dir=tmp_path / "not there"))
    assert (finding.level, looked) == (level, [tmp_path])
    if level is not Level.OK:
        assert finding.text.startswith(f"{tmp_path} has room for {free_bytes >> 20} MB, less than a file may have (")


async def test_a_store_elsewhere_is_listed() -> None:
    with running_s3() as url:
        assert (await store_of_files(Settings(batch_store=url))).level is Level.OK
        finding = await store_of_files(Settings(batch_store=url.replace(BUCKET, "another")))
    assert finding.level is Level.PROBLEM
    assert "\n" not in finding.text
    assert "another" in finding.text


async def test_a_store_that_is_away_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "s3cret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    finding = await store_of_files(Settings(batch_store="s3://files/of/ours"))
    assert finding.level is Level.PROBLEM
    assert "s3cret" not in finding.text


async def test_the_collector_takes_what_holds_no_traces() -> None:
    with running_collector() as running:
        (finding,) = [each async for each in collector(Settings(traces_endpoint=running.url))]
        assert finding.level is Level.OK
        assert [list(request.resource_spans) for request in running.requests] == [[]]
    (finding,) = [each async for each in collector(Settings(traces_endpoint=running.url))]
    assert finding.level is Level.PROBLEM
    assert "Connection refused" in finding.text


async def test_without_a_collector_nothing_is_said() -> None:
    assert [each async for each in collector(Settings())] == []
