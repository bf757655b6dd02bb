"""A start that fails leaves nobody behind; tests/service/commands has what is said of it."""

from pathlib import Path
from typing import Any

import pytest
from instantaudience_server.processes import Child
from instantaudience_server.running.supervisor import Service
from instantaudience_server.settings import Settings
from instantaudience_server.store.cluster.topology import StoreUnusableError


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
