"""The alerts and the dashboard fit the service: by name, by the runbook, and on a real Prometheus."""

import asyncio
import contextlib
import json
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from instantaudience_server import metrics
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase
from support.authorities import Authority
from support.clusters import eventually
from support.messages import one_user
from support.metrics import scrape
from support.processes import needs_proc
from support.prometheus import Prometheus, needs_prometheus, running_prometheus
from support.service import Service, credentials, running_service

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
NOT_SHOWN = {"instant_audience_catalog_current_timestamp_seconds"}
"""What the age of the catalog is calculated from."""
DATA_SECONDS = 60.0


def named() -> set[str]:
    """The series that alerts and panels name."""
    return {name for text in (*EXPRESSIONS.values(), *(rule["expr"] for rule in ALERTS)) for name in NAME.findall(text)}


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
    there = {sample.name for sample in (await scrape(service)).samples}
    assert named() <= there


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
