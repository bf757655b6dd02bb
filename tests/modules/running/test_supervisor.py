"""A start that fails leaves nobody behind (tests/service/commands has what is said of it), and defects of what the
supervisor does itself are counted."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from instantaudience_server.process.processes import Child
from instantaudience_server.running.machine import standstill
from instantaudience_server.running.supervisor import Service
from instantaudience_server.settings import Settings
from instantaudience_server.store.cluster.topology import StoreUnusableError
from prometheus_client.parser import text_string_to_metric_families
from support.service.metrics import Scrape
from support.waiting import eventually

pytestmark = pytest.mark.process


async def test_all_that_was_started_has_ended_when_a_start_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the loop ends before them, and their last words are a traceback behind the line that says what is wrong."""
    started: list[Child] = []
    start = Child.start.__func__  # type: ignore[attr-defined]

    async def noted(cls: Any, *arguments: Any, **options: Any) -> Child:
        child: Child = await start(cls, *arguments, **options)
        started.append(child)
        return child

    monkeypatch.setattr(Child, "start", classmethod(noted))
    settings = {
        "redis": "redis://127.0.0.1/1",
        "demo": True,
        "workers": 4,
        "batch_workers": 2,
        "http_port": 0,
        "grpc_port": 0,
    }
    service = Service(Settings.model_validate(settings | {"data_dir": tmp_path}), progress=lambda _: None)
    with pytest.raises(StoreUnusableError):
        await service.start()
    assert started
    assert [child.returncode for child in started if child.returncode is None] == []


async def test_defects_of_its_own_work_are_counted_among_those_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alert has nothing else to go by: where its work ends again and again, nobody may look at the log."""

    async def watch(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(watch, "__module__", standstill.__name__)
    monkeypatch.setattr(watch, "__qualname__", "watch")
    monkeypatch.setattr(standstill, "watch", watch)
    settings = {"demo": True, "workers": 1, "http_port": 0, "grpc_port": 0, "metrics_port": 0, "data_dir": tmp_path}
    service = Service(Settings.model_validate(settings), progress=lambda _: None)
    url = f"http://127.0.0.1:{(await service.start()).metrics_port}/metrics"
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=20) as http:

            async def counted() -> dict[str, float]:
                samples = Scrape.of(text_string_to_metric_families((await http.get(url)).text)).samples
                name = "instant_audience_background_defects_total"
                return {each.labels["work"]: each.value for each in samples if each.name == name}

            async def again() -> None:
                assert (await counted())["standstill.watch"] >= 4  # of two that watch, each once more

            await eventually(again)
            others = await counted()
            assert others.pop("standstill.watch") >= 4
            assert others.keys() >= {"envoys.Envoys.watch", "health.HealthService.watch"}
            assert set(others.values()) == {0}
    finally:
        await service.stop()
