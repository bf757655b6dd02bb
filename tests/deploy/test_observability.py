"""The alerts and the dashboard fit the service: by name, by the runbook, and on a real Prometheus."""

import asyncio
import contextlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from instantaudience_server.observation import metrics
from instantaudience_server.process.processes import free_ports
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase
from support.contract.messages import one_user
from support.credentials.authorities import Authority
from support.service.metrics import scrape
from support.service.processes import needs_proc
from support.service.running import Service, credentials, running_service
from support.waiting import eventually

ROOT = Path(__file__).parents[2]
ALERTS_FILE = ROOT / "deploy/observability/alerts.yaml"
ALERTS: list[dict[str, Any]] = yaml.safe_load(ALERTS_FILE.read_text())["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/observability/dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = {
    f"{panel['title']}, {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]
}
RUNBOOK = (ROOT / "docs/runbook.md").read_text()
NAME = re.compile(r"instant_audience_\w+")
COUNTED = re.compile(r'(instant_audience_\w+_total)\{(\w+)=~?"([\w|]+)"\}')
"""A counter in an alert, the label that it looks at, and its values."""
NOT_SHOWN = {"instant_audience_catalog_current_timestamp_seconds"}
"""What the age of the catalog is calculated from."""
DATA_SECONDS = 60.0
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


def named() -> set[str]:
    """The series that alerts and panels name."""
    return {name for text in (*EXPRESSIONS.values(), *(rule["expr"] for rule in ALERTS)) for name in NAME.findall(text)}


def counted() -> set[tuple[str, str, str]]:
    """The counters that alerts look at, with label and value."""
    found = [match for rule in ALERTS for match in COUNTED.findall(rule["expr"])]
    return {(name, label, value) for name, label, values in found for value in values.split("|")}


def told_of(rule: dict[str, Any]) -> str:
    """What an alert compares: it has data while all is well."""
    if "absent(" in rule["expr"]:
        return str(NAME.findall(rule["expr"])[0])
    compared, _ = re.split(r"\s(?:[<>]|unless)\s", rule["expr"])
    return compared


def test_the_runbook_has_an_entry_for_each_alert_and_no_other() -> None:
    assert re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE) == [rule["alert"] for rule in ALERTS]
    for rule in ALERTS:
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_each_alert_is_tried() -> None:
    tried = Path(__file__).with_name("alerts_test.yaml").read_text()
    assert {*re.findall(r'alertname="(\w+)"', tried)} == {rule["alert"] for rule in ALERTS}


def test_every_metric_has_a_panel() -> None:
    declared = {metric._name for metric in REGISTRY._collector_to_names if isinstance(metric, MetricWrapperBase)}
    shown = {
        re.sub(r"_(total|bucket|sum|count)$", "", name) for text in EXPRESSIONS.values() for name in NAME.findall(text)
    }
    when_asked = {name.removesuffix("_total") for name, _ in metrics.WHEN_ASKED}
    assert declared | when_asked == shown | NOT_SHOWN


def test_panels_do_not_cover_each_other() -> None:
    fields = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(fields) == len(set(fields))
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_panels_show_what_falls_below_nothing() -> None:
    """As the time that is left of a certificate does, once it has ended."""
    below = [panel for panel in PANELS if any("- time()" in target["expr"] for target in panel["targets"])]
    assert below
    assert not [panel["title"] for panel in below if "min" in panel["fieldConfig"]["defaults"]]


@needs_prometheus
@pytest.mark.parametrize(
    "words",
    [("check", "rules", str(ALERTS_FILE)), ("test", "rules", str(Path(__file__).with_name("alerts_test.yaml")))],
)
def test_promtool_finds_nothing_wrong(words: tuple[str, ...]) -> None:
    ended = subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.fixture(scope="module")
async def watched(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Service, Prometheus]]:
    """A service with TLS and some traffic, and a Prometheus that scrapes it."""
    directory = tmp_path_factory.mktemp("observability")
    authority = Authority(directory)
    server, revoked = authority.sign("server", address="127.0.0.1"), directory / "revoked.crl"
    authority.revoke(revoked)
    words = ["--metrics-port", "0", "--workers", "1", "--tls-cert", server.cert, "--tls-key", server.key]
    words += ["--client-ca", authority.file, "--client-crl", revoked, "--client-certificates", "optional"]
    async with running_service(*map(str, words), host_mode="auto") as service:
        traffic = asyncio.create_task(_send(service))
        try:
            async with running_prometheus(directory, service.metrics_url, ALERTS_FILE) as prometheus:
                yield service, prometheus
        finally:
            traffic.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await traffic


async def _send(service: Service) -> None:
    """A few calls of each kind, again and again."""
    headers = {"authorization": await service.token()}
    async with service.http() as http:
        answer = await http.post("/auth", json=credentials("demo", "Wr0ng-passw0rd!"))
        assert answer.status_code == 401
        while True:
            for body in (one_user("1"), {"rt_segment": []}):
                assert (await http.post("/rt-segment", json=body, headers=headers)).status_code in (200, 400)
            await asyncio.sleep(0.2)


pytestmark = needs_proc


@needs_prometheus
async def test_every_panel_and_alert_has_data(watched: tuple[Service, Prometheus]) -> None:
    service, prometheus = watched
    expressions = {
        **{title: expression.replace("$__rate_interval", "30s") for title, expression in EXPRESSIONS.items()},
        **{rule["alert"]: told_of(rule) for rule in ALERTS},
    }

    async def all_have_data() -> None:
        without = [title for title, each in expressions.items() if not await prometheus.query(each)]
        await asyncio.sleep(0.5 if without else 0)
        assert without == []

    await eventually(all_have_data, DATA_SECONDS)
    samples = (await scrape(service)).samples
    assert named() <= {sample.name for sample in samples}
    # What begins with its first count has not grown in the eyes of an alert.
    assert counted() <= {(sample.name, *label) for sample in samples for label in sample.labels.items()}


@needs_prometheus
async def test_the_alerts_are_evaluated_and_tell_the_truth(watched: tuple[Service, Prometheus]) -> None:
    """The certificates of the tests end tomorrow."""
    _, prometheus = watched

    async def evaluated() -> None:
        (group,) = (await prometheus.get("rules"))["groups"]
        assert {rule["name"]: rule["health"] for rule in group["rules"]} == {rule["alert"]: "ok" for rule in ALERTS}
        firing = {
            alert["labels"]["alertname"]
            for alert in (await prometheus.get("alerts"))["alerts"]
            if alert["state"] == "firing"
        }
        assert firing == {"CertificateEnds"}

    await eventually(evaluated, DATA_SECONDS)
