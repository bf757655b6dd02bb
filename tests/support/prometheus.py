"""A real Prometheus, where one is installed, that scrapes a service."""

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from instantaudience_server.processes import free_ports
from support.clusters import eventually

SCRAPE = "1s"

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="prometheus and promtool are not installed (Debian's package `prometheus` brings both)",
)


@dataclass(frozen=True)
class Prometheus:
    """Where it answers, and its client."""

    http: httpx.AsyncClient

    async def get(self, path: str, **parameters: str) -> Any:
        """What its API says."""
        answer = await self.http.get(f"/api/v1/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    async def query(self, expression: str) -> list[Any]:
        """What an expression is now: a sample for each of its series."""
        data = await self.get("query", query=expression, time=str(time.time()))
        result: list[Any] = data["result"]
        return result


@asynccontextmanager
async def running_prometheus(directory: Path, metrics_url: str, rules: Path) -> AsyncIterator[Prometheus]:
    """One that scrapes this URL, and evaluates the rules."""
    url = urlsplit(metrics_url)
    config = {
        "global": {"scrape_interval": SCRAPE, "evaluation_interval": SCRAPE},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {
                "job_name": "instant-audience",
                "scheme": url.scheme,
                "tls_config": {"insecure_skip_verify": True},
                "static_configs": [{"targets": [url.netloc]}],
            }
        ],
    }
    (directory / "prometheus.json").write_text(json.dumps(config))  # JSON is YAML
    (port,) = free_ports("127.0.0.1", 1)
    words = [
        f"--config.file={directory / 'prometheus.json'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (directory / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec("prometheus", *words, stdout=log, stderr=log)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as http:

            async def ready() -> None:
                assert process.returncode is None, (directory / "prometheus.log").read_text()
                try:
                    assert (await http.get("/-/ready")).status_code == 200
                except httpx.TransportError as error:
                    raise AssertionError from error

            await eventually(ready, 60)
            yield Prometheus(http)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
