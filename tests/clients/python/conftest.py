"""What the tests of the Python client share."""

import time
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from instantaudience import streaming, window
from instantaudience.testing import FakeService


@pytest.fixture
async def service() -> AsyncIterator[FakeService]:
    async with FakeService() as service:
        yield service


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The clock of streams, which is `ahead` by so many seconds."""
    clock = SimpleNamespace(ahead=0.0)
    for module in (streaming, window):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + clock.ahead))
    return clock
