"""Where the gateway listens."""

from pathlib import Path

import httpx
import pytest
from support.gateway.running import running_gateway

pytestmark = pytest.mark.process


@pytest.mark.parametrize(("host", "called"), [("::", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]")])
async def test_all_that_an_address_means_is_served(tmp_path: Path, host: str, called: str) -> None:
    """`::` takes callers of IPv4, too, on the workers' own ports, and so it does here."""
    async with running_gateway(tmp_path, "a.sock", host=host) as gateway, httpx.AsyncClient() as http:
        answer = await http.get(f"http://{called}:{gateway.settings.http_port}/healthz")
        assert answer.status_code == 503
