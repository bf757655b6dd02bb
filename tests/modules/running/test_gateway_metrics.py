"""What a real Envoy says of itself in the metrics."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from instantaudience_server.running.gateway_metrics import GatewayMetrics
from support.gateway.running import Gateway, Upstream, body_for, running_gateway, serving
from support.waiting import eventually
from support.wire.http1 import Connection

pytestmark = pytest.mark.process

PREFIX = "instant_audience_gateway_"


async def readings(gateway: Gateway) -> dict[str, float]:
    """By the metric's name and, where it has one, its label beside the Envoy's."""
    reading = GatewayMetrics({"0": gateway.settings.admin_socket})
    return {
        " ".join([sample.name.removeprefix(PREFIX), *list(sample.labels.values())[1:]]): sample.value
        for metric in await asyncio.to_thread(reading.collect)
        for sample in metric.samples
    }


async def assert_read(gateway: Gateway, **expected: float) -> None:
    """Envoy's threads write down what they have counted from time to time."""

    async def check() -> None:
        found = await readings(gateway)
        assert {name: found[name.replace("__", " ")] for name in expected} == expected

    await eventually(check)


async def test_answers_connections_and_memory(directory: Path) -> None:
    async with (
        serving(Upstream(), directory / "counted.sock"),
        running_gateway(directory, "counted.sock") as gateway,
        gateway.client() as http,
    ):
        for path, status in (("/healthz", 200), ("/healthz", 200), ("/nowhere", 404)):
            assert (await http.get(path)).status_code == status
        await assert_read(gateway, answers_total__2xx=2, answers_total__4xx=1, answers_total__5xx=0, connections=1)
        await assert_read(gateway, unanswered_calls_total=0)
        assert (await readings(gateway))["memory_bytes"] > 2**20


async def test_a_worker_that_is_away(directory: Path) -> None:
    async with running_gateway(directory, "nobody.sock") as gateway, gateway.client() as http:
        assert (await http.get("/healthz")).status_code == 503
        await assert_read(gateway, answers_total__5xx=1, unanswered_calls_total=1)
        assert (await readings(gateway))["connection_failures_total"] > 0


async def test_connections_of_too_many(directory: Path) -> None:
    async with running_gateway(directory, "nobody.sock", max_connections=3) as gateway, AsyncExitStack() as stack:
        for _ in range(8):
            await stack.enter_async_context(Connection(gateway.address))
        await assert_read(gateway, refusals_total__connections=5, connections=3)


async def test_calls_of_too_many(directory: Path) -> None:
    """They get 503 at once; those under way go on."""
    upstream = Upstream()
    async with (
        serving(upstream, directory / "busy.sock"),
        running_gateway(directory, "busy.sock", max_active_calls=2) as gateway,
        gateway.client() as http,
    ):
        waiting = [asyncio.create_task(http.post("/rt-segment", content=body_for("wait:"))) for _ in range(2)]
        await upstream.has_calls(2)
        assert [(await http.get("/healthz")).status_code for _ in range(3)] == [503] * 3
        await assert_read(gateway, refusals_total__calls=3)
        upstream.release.set()
        assert [(await each).status_code for each in waiting] == [200, 200]


async def test_too_much_memory(directory: Path) -> None:
    async with running_gateway(directory, "nobody.sock", heap_bytes=2**20) as gateway, gateway.client() as http:

        async def is_refused() -> None:
            await http.get("/healthz")
            assert (await readings(gateway))["refusals_total memory"] > 0

        await eventually(is_refused)


async def test_each_envoy_that_answers_has_its_label(directory: Path) -> None:
    """Whatever else lies beside its socket."""
    (directory / "envoy-7.sock").touch()
    async with running_gateway(directory, "nobody.sock") as gateway:
        reading = GatewayMetrics({"away": directory / "away.sock", "2": gateway.settings.admin_socket})
        found = await asyncio.to_thread(reading.collect)
    assert {sample.labels["gateway"] for metric in found for sample in metric.samples} == {"2"}


def test_no_envoy_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "envoy.sock").touch()
    assert [
        sample for metric in GatewayMetrics({"0": tmp_path / "envoy.sock"}).collect() for sample in metric.samples
    ] == []
