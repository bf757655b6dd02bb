"""A worker's services, as they are wired together."""

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.process.garbage import spare_all
from instantaudience_server.running.composition import open_worker
from instantaudience_server.running.ground import WorkerConfig
from instantaudience_server.settings import Settings

BOUNDS = {"max_running_calls": 7, "max_waiting_calls": 13, "call_timeout_seconds": 4.5, "stream_window": 3}


@pytest.fixture(autouse=True)
def _usual_garbage_collector() -> Iterator[None]:
    """A worker has its process collect rarely."""
    usual = gc.get_threshold()
    yield
    gc.set_threshold(*usual)
    gc.unfreeze()
    spare_all()


@pytest.mark.usefixtures("plain")
async def test_what_is_set_for_calls_reaches_them(embedded: EmbeddedCluster, tmp_path: Path) -> None:
    """A bound that does not is none."""
    settings = Settings.model_validate(BOUNDS | {"data_dir": tmp_path})
    config = WorkerConfig(number=0, settings=settings, redis=embedded.url, host="native")
    async with open_worker(config) as worker:
        admission, now = worker.pipeline.admission, asyncio.get_running_loop().time()
        assert (admission.most_running, admission.most_waiting) == (7, 13)
        assert worker.pipeline._streams._window == 3
        assert worker.pipeline._entrance.deadline(None, 0.0) - now == pytest.approx(4.5, abs=0.2)
