"""A cluster that answers, and takes no writes: reads go on, callers are told the truth, and so are operators."""

import asyncio
from typing import Any

import pytest
from google.rpc import code_pb2
from instantaudience_server.store.interfaces.health import Problem
from redis.asyncio import Redis
from support.cluster.replicated import ReplicatedCluster
from support.contract.messages import one_user
from support.service.metrics import scrape
from support.service.processes import needs_proc
from support.service.running import Service
from support.service.traffic import REMOVE, Traffic
from support.waiting import eventually

pytestmark = [pytest.mark.wide, pytest.mark.alone, needs_proc, pytest.mark.timeout(120)]

PASSWORD = "of-the-tests"


async def readiness(service: Service) -> tuple[int, str]:
    """The status and the text of `/readyz`."""
    async with service.http() as http:
        answer = await http.get("/readyz")
    return answer.status_code, answer.text


async def assert_ready(service: Service) -> None:
    async def check() -> None:
        assert (await readiness(service))[0] == 200

    await eventually(check, 30)


async def assert_told(service: Service, problem: Problem) -> None:
    """Readiness, log and metric name the problem; being alive is another matter."""

    async def check() -> None:
        status, text = await readiness(service)
        assert status == 503
        assert f"({problem})" in text
        logged = [event["problem"] for event in service.events if event["event"] == "node_takes_no_writes"]
        assert problem in logged
        assert (await scrape(service)).total("cluster_nodes", problem=problem) > 0

    await eventually(check, 20)
    async with service.http() as http:
        assert (await http.get("/healthz")).status_code == 200


async def on_primaries(replicated: ReplicatedCluster, *words: Any) -> None:
    for node in replicated.nodes:
        if await node.role() == "master":
            await node.ask(*words)


async def test_full_memory_stops_additions_alone(service: Service, replicated: ReplicatedCluster) -> None:
    """Calls that put users into segments wait for room, whichever way they came; those that take users out make some.
    Reads, and reports, do not notice."""
    await assert_ready(service)
    traffic = Traffic([service], replicated.url, await service.token(), deadline_seconds=25)
    async with traffic.running():
        await on_primaries(replicated, "CONFIG", "SET", "maxmemory", "1")
        try:
            await assert_told(service, Problem.OOM)
            read, inside = traffic.reads, set(traffic.ledger.inside)

            async def reads_go_on() -> None:
                assert traffic.reads > read + 10

            await eventually(reads_go_on)
            async with service.http(headers={"authorization": traffic.token}) as http:
                answer = await http.post("/rt-segment", json=one_user("1", expiration=REMOVE))
                assert answer.status_code == 200, answer.text
            traffic.ledger.attempted += 1
            traffic.ledger.acknowledged += 1
            assert traffic.ledger.inside <= inside
        finally:
            await on_primaries(replicated, "CONFIG", "SET", "maxmemory", "0")
    assert traffic.failed == []
    await traffic.assert_nothing_is_lost()
    await assert_ready(service)


async def test_a_forbidden_command_is_a_defect_and_loses_nothing(
    service: Service, replicated: ReplicatedCluster
) -> None:
    await assert_ready(service)
    traffic = Traffic([service], replicated.url, await service.token())
    async with traffic.running():
        for node in replicated.nodes:
            await node.ask("ACL", "SETUSER", "default", "-hsetex")
        await asyncio.sleep(1)
        for node in replicated.nodes:
            await node.ask("ACL", "SETUSER", "default", "+hsetex")
    assert traffic.failed
    # Reads need windows of quotas, which are written with the same command.
    assert set(traffic.failed) <= {
        "RestRead: FailedError(500)",
        "RestReport: FailedError(500)",
        "RestApply: FailedError(500)",
        "GrpcApply: INTERNAL",
        f"StreamApply: FailedError({code_pb2.INTERNAL})",
    }
    assert any(event["event"] == "store_command_refused" for event in service.events)
    assert (await scrape(service)).total("store_refusals_total") > 0
    await traffic.assert_nothing_is_lost()


async def test_a_changed_password_is_told(service: Service, replicated: ReplicatedCluster) -> None:
    """Until it is put back."""
    await assert_ready(service)
    node = replicated.nodes[0] if await replicated.nodes[0].role() == "master" else replicated.nodes[3]
    async with Redis(host="127.0.0.1", port=node.port) as admin:
        await admin.execute_command("ACL", "SETUSER", "default", "resetpass", f">{PASSWORD}")
        try:
            await admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await assert_told(service, Problem.NO_ACCESS)
        finally:
            await admin.execute_command("ACL", "SETUSER", "default", "nopass")
    await assert_ready(service)
