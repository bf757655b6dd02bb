"""The metrics of a whole service: one address shows what all workers count and know."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.multiprocess import MultiProcessCollector
from support.contract.messages import one_user
from support.service.metrics import Scrape, scrape
from support.service.processes import Process, descendants, needs_proc, standing_still
from support.service.running import Service, credentials, running_service
from support.service.workers import WORKER_COMMAND
from support.waiting import eventually

pytestmark = needs_proc

WORKERS = 2
BACK_SECONDS = 40.0
APPLY = "instantaudience.v1.AudienceService/ApplySegments"
GET_STATUS = "instantaudience.v1.StatusService/GetStatus"


@pytest.fixture(scope="module")
async def measured(host_mode: str) -> AsyncIterator[Service]:
    """A service that serves its metrics; the contract's limits hold."""
    words = ("--workers", str(WORKERS), "--metrics-port", "0")
    async with running_service(*words, host_mode=host_mode, catalog="--demo") as running:
        await eventually(lambda: all_reachable(running), BACK_SECONDS)
        yield running
        assert "call_defect" not in running.log
        assert "metrics_not_served" not in running.log


async def all_reachable(service: Service) -> None:
    assert (await scrape(service)).by_worker("cluster_reachable") == dict.fromkeys(numbers(), 1.0)


def numbers() -> list[str]:
    """Of the workers, and of the process that applies files."""
    return [str(number) for number in range(WORKERS + 1)]


def files_of(service: Service) -> dict[str, Path]:
    """The files that workers write, by their names."""
    return {path.name: path for directory in service.temporary_files for path in directory.glob("metrics/*.db")}


def written_by(service: Service, number: str) -> Scrape:
    """What one worker has counted."""
    return Scrape.of(MultiProcessCollector.merge([str(files_of(service)[f"counter_{number}.db"])]))


async def on_a_new_connection(service: Service, method: str, path: str, **options: object) -> httpx.Response:
    """A call that any worker may get."""
    async with service.http() as http:
        return await http.request(method, path, **options)  # type: ignore[arg-type]


async def test_what_all_workers_have_counted_adds_up(measured: Service) -> None:
    token = {"authorization": await measured.token()}
    before = await scrape(measured)
    calls = 0

    async def both_have_counted() -> None:
        nonlocal calls
        for _ in range(10):
            assert (await on_a_new_connection(measured, "GET", "/healthz")).status_code == 200
            calls += 1
        assert all(
            written_by(measured, number).total("calls_total", method=GET_STATUS) for number in numbers()[:WORKERS]
        )

    await eventually(both_have_counted)
    for headers, body, status in (
        (token, one_user("1"), 200),
        (token, one_user("2"), 200),
        ({"authorization": "unknown"}, one_user("3"), 401),
        (token, {"rt_segment": 3}, 400),  # on other hosts than `native` the gateway answers: no worker reads it
    ):
        answer = await on_a_new_connection(measured, "POST", "/rt-segment", json=body, headers=headers)
        assert answer.status_code == status

    async def told() -> None:
        after = await scrape(measured)

        def grown(name: str, **labels: str) -> float:
            return after.total(name, **labels) - before.total(name, **labels)

        assert grown("calls_total", method=GET_STATUS, code="OK") == calls
        assert grown("calls_total", method=APPLY, code="OK") == 2
        assert grown("calls_total", method=APPLY, code="UNAUTHENTICATED") == 1
        assert grown("calls_total", method=APPLY, code="INVALID_ARGUMENT") == (measured.host_mode == "native")
        assert grown("calls_total", method=APPLY) == 3 + (measured.host_mode == "native")
        assert after.total("calls_total", method=GET_STATUS) == sum(
            written_by(measured, number).total("calls_total", method=GET_STATUS) for number in numbers()[:WORKERS]
        )

    await eventually(told)


async def test_every_layer_tells_how_long_it_takes(measured: Service) -> None:
    token = {"authorization": await measured.token()}
    before = await scrape(measured)
    for number in range(3):
        answer = await on_a_new_connection(
            measured, "POST", "/rt-segment", json=one_user(str(number + 1)), headers=token
        )
        assert answer.status_code == 200

    async def told() -> Scrape:
        after = await scrape(measured)
        apply = {"method": APPLY, "outcome": "ok"}
        for name, labels in (
            ("call_seconds_count", apply),
            ("call_seconds_bucket", apply | {"le": "+Inf"}),
            ("waiting_seconds_count", {}),
            ("acknowledgement_seconds_count", {}),
            ("gathered_calls_sum", {}),
            ("applied_users_total", {}),
            ("applied_blocks_total", {"change": "add"}),
        ):
            # What was observed just before may have been written down since.
            assert after.total(name, **labels) - before.total(name, **labels) >= 3, name
        return after

    after = await eventually(told)
    assert after.total("call_seconds_sum", method=APPLY) >= after.total("acknowledgement_seconds_sum") > 0
    for name in ("store_reply_seconds_count", "store_connections_total"):
        nodes = {sample.labels["node"] for sample in after.samples if sample.name == f"instant_audience_{name}"}
        assert nodes == {f"127.0.0.1:{port}" for port in measured.node_ports}
    for name in ("waiting_calls", "running_calls"):
        assert after.by_worker(name).keys() == set(numbers())
    hosts = [sample.labels["host"] for sample in after.samples if sample.name == "instant_audience_build_info"]
    assert sorted(hosts) == sorted([measured.host_mode] * WORKERS + ["batch"])


async def test_the_gateway_tells_what_it_answers_itself(measured: Service) -> None:
    before = await scrape(measured)
    assert (await on_a_new_connection(measured, "GET", "/nowhere")).status_code == 404

    async def told() -> None:
        after = await scrape(measured)
        gateways = {sample.labels["gateway"] for sample in after.samples if "gateway" in sample.labels}
        assert gateways == set(numbers()[:1])
        name = "gateway_answers_total"
        assert after.total(name, status="4xx") - before.total(name, status="4xx") == 1

    await eventually(told)


async def test_sign_ins_are_counted_by_their_result(measured: Service) -> None:
    before = await scrape(measured)
    for body, status in (
        (credentials("demo"), 200),
        (credentials("demo", "Wr0ng-passw0rd!"), 401),
        ({"auth": {"username": "nobody", "password": "Wr0ng-passw0rd!"}}, 401),
    ):
        assert (await on_a_new_connection(measured, "POST", "/auth", json=body)).status_code == status
    after = await scrape(measured)
    for result, count in (("OK", 1), ("INVALID_LOGIN", 2)):
        assert after.total("sign_ins_total", result=result) - before.total("sign_ins_total", result=result) == count


async def test_refusals_are_counted_by_their_quota(measured: Service) -> None:
    """A thousand users a second: of three calls with 600, at least one meets a second that is half full."""
    token = {"authorization": await measured.token()}
    users = {"rt_segment": [user for number in range(1, 601) for user in one_user(str(number))["rt_segment"]]}
    before = await scrape(measured)
    statuses: list[int] = []

    async def some_are_refused() -> None:
        calls = [on_a_new_connection(measured, "POST", "/rt-segment", json=users, headers=token) for _ in range(3)]
        statuses.extend(answer.status_code for answer in await asyncio.gather(*calls))
        assert 429 in statuses

    await eventually(some_are_refused)
    assert set(statuses) <= {200, 429}
    after = await scrape(measured)
    refused = {
        quota: after.total("quota_refusals_total", quota=quota) - before.total("quota_refusals_total", quota=quota)
        for quota in ("posts", "users", "gets")
    }
    assert refused == {"posts": 0, "users": statuses.count(429), "gets": 0}


async def test_each_worker_tells_what_its_catalog_holds(measured: Service) -> None:
    now = await scrape(measured)
    assert now.by_worker("catalog_stale") == dict.fromkeys(numbers(), 0.0)
    assert now.by_worker("store_pending_bytes").keys() == set(numbers())
    for kind in ("member", "user", "segment"):
        objects = now.by_worker("catalog_objects", kind=kind)
        assert objects.keys() == set(numbers())
        assert len(set(objects.values())) == 1
        assert min(objects.values()) > 0


async def post(measured: Service, user_id: str) -> str:
    """Sign in, and put a user into a segment; the token."""
    token = await measured.token()
    answer = await on_a_new_connection(
        measured, "POST", "/rt-segment", json=one_user(user_id), headers={"authorization": token}
    )
    assert answer.status_code == 200
    return token


async def test_nobody_is_named(measured: Service) -> None:
    """Neither a label nor a text repeats a caller's token, name or user."""
    user_id = "12345678900987654321"
    token = await post(measured, user_id)
    text = str((await scrape(measured)).samples)
    for secret in (token, token.split(":")[2], user_id, "demo"):
        assert secret not in text


async def test_a_killed_worker_takes_its_gauges_with_it_and_leaves_its_counts(measured: Service) -> None:
    await post(measured, "1")
    before = await scrape(measured)
    files = files_of(measured).keys()
    seen = [before]

    async def gauges_of(processes: int) -> None:
        now = await scrape(measured)
        counted = ((key, value) for key, value in seen[-1].counters.items() if "_gateway_" not in key[0])
        assert all(now.counters.get(key, 0) >= value for key, value in counted), "went backwards"
        seen.append(now)
        for name in ("catalog_age_seconds", "catalog_stale", "store_pending_bytes", "cluster_reachable"):
            assert len(now.by_worker(name)) == processes

    os.kill(workers_of(measured)[0].pid, signal.SIGKILL)
    await eventually(lambda: gauges_of(len(numbers()) - 1), BACK_SECONDS)
    await eventually(lambda: gauges_of(len(numbers())), BACK_SECONDS)
    await eventually(lambda: all_reachable(measured), BACK_SECONDS)
    after = await scrape(measured)
    assert sorted(after.by_worker("worker_starts_total").values()) == [1, 1, 2]
    # One that starts does not say that the cluster is away: it has not looked yet.
    assert all(set(each.by_worker("cluster_reachable").values()) == {1.0} for each in seen)
    for name in ("calls_total", "sign_ins_total"):
        assert after.total(name) >= before.total(name) > 0
    assert files_of(measured).keys() == files


def workers_of(service: Service) -> list[Process]:
    found = [process for process in descendants(service.process.pid) if WORKER_COMMAND in process.command]
    assert len(found) == WORKERS
    return found


async def test_a_worker_that_has_lost_the_cluster_says_so(measured: Service) -> None:
    nodes = [(await measured.on_node(port, "INFO", "server"))["process_id"] for port in measured.node_ports]
    with standing_still(*nodes):

        async def stale() -> Scrape:
            now = await scrape(measured)
            assert now.by_worker("catalog_stale") == dict.fromkeys(numbers(), 1.0)
            assert now.by_worker("cluster_reachable") == dict.fromkeys(numbers(), 0.0)
            return now

        first = await eventually(stale, BACK_SECONDS)
        await asyncio.sleep(1)  # what is measured is that it grows with time
        later = await stale()
        for number in numbers():
            age, grown = (reading.by_worker("catalog_age_seconds")[number] for reading in (first, later))
            assert age >= 1
            assert age + 0.9 < grown < age + 10
        assert later.total("catalog_objects", kind="segment") == first.total("catalog_objects", kind="segment") > 0

    async def current() -> None:
        now = await scrape(measured)
        assert now.by_worker("catalog_stale") == dict.fromkeys(numbers(), 0.0)
        assert max(now.by_worker("catalog_age_seconds").values()) < 1

    await eventually(current, BACK_SECONDS)
    await eventually(lambda: all_reachable(measured), BACK_SECONDS)

    async def logged() -> None:
        events = [event["event"] for event in measured.events]
        assert events.count("catalog_stale") == events.count("catalog_current") >= WORKERS

    await eventually(logged)


async def test_nothing_else_is_served_there(measured: Service) -> None:
    async with httpx.AsyncClient(verify=False, trust_env=False) as client:
        for method, path, status in (
            ("GET", "/metrics?name[]=instant_audience_calls_total", 200),
            ("GET", "/", 404),
            ("GET", "/metrics/other", 404),
            ("POST", "/metrics", 501),
        ):
            url = httpx.URL(measured.metrics_url).join(path)
            assert (await client.request(method, url)).status_code == status, path


async def test_the_server_of_the_metrics_is_started_again(measured: Service) -> None:
    (server,) = [found for found in descendants(measured.process.pid) if "metrics_server" in found.command]
    os.kill(server.pid, signal.SIGKILL)
    assert (await scrape(measured)).total("worker_starts_total") >= WORKERS
