"""Nodes and processes that are gone or stand still: what is out of reach gets 503, the rest goes on, and all comes back
by itself."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from instantaudience.v1.audience_pb2_grpc import AudienceServiceStub
from instantaudience_server.sign_in.tokens import hash_token
from instantaudience_server.store.interfaces.quotas import Quota
from instantaudience_server.store.keys import key_slot, quota_key, session_key, usage_key
from support.contract.answers import assert_grpc_error, assert_http_error, body_of
from support.contract.messages import apply_request, one_user
from support.service.processes import Process, all_end, descendants, needs_proc, standing_still
from support.service.running import Service, credentials, running_service
from support.service.workers import WORKER_COMMAND
from support.waiting import eventually

pytestmark = needs_proc

DEADLINE_SECONDS = 1.0
MARGIN_SECONDS = 4.0
"""Beyond the deadline, for a busy machine."""
BACK_SECONDS = 40.0
MEMBER = 123
"""The caller's."""
Node = tuple[int, int]
"""Port and process ID."""


@pytest.fixture(scope="module")
async def fragile(host_mode: str) -> AsyncIterator[Service]:
    """A service whose processes may be killed; its calls have a second."""
    arguments = ("--call-timeout-seconds", str(DEADLINE_SECONDS), "--drain-seconds", "2")
    async with running_service(*arguments, host_mode=host_mode) as running:
        while not await victims_of(running):
            running.forget_tokens()
        yield running
        assert "call_defect" not in running.log


@pytest.fixture
async def demo(fragile: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A REST caller; the service is whole when it starts, and when it has ended."""
    async with fragile.http(headers={"authorization": await fragile.token()}) as client:
        await eventually(lambda: whole(client), BACK_SECONDS)
        yield client
        await eventually(lambda: whole(client), BACK_SECONDS)


async def whole(client: httpx.AsyncClient) -> None:
    try:
        answers = [await client.get("/readyz"), *[await post(client, user_id) for user_id in ("1", "2", "3", "4")]]
    except httpx.TransportError as error:
        raise AssertionError(error) from error
    assert [answer.status_code for answer in answers] == [200] * 5


async def post(client: httpx.AsyncClient, user_id: str) -> httpx.Response:
    return await client.post("/rt-segment", json=one_user(user_id))


async def nodes_of(service: Service) -> dict[range, Node]:
    """The nodes by their slots."""
    (port, *_) = service.node_ports
    slots = await service.on_node(port, "CLUSTER", "SLOTS")
    return {
        range(first, last + 1): (node[1], (await service.on_node(node[1], "INFO", "server"))["process_id"])
        for first, last, node, *_ in slots
    }


async def victims_of(service: Service) -> list[tuple[range, Node]]:
    """The nodes that neither hold the caller's session nor count its member's calls, now and in a minute."""
    keys = [session_key(hash_token(await service.token())), *(quota_key(MEMBER, quota) for quota in Quota)]
    keys += [usage_key(MEMBER, hour) for hour in {int(time.time() // 3600), int((time.time() + 60) // 3600)}]
    held = [key_slot(key) for key in keys]
    victims = [
        (slots, node) for slots, node in (await nodes_of(service)).items() if not any(slot in slots for slot in held)
    ]
    if not victims:
        pytest.skip("in this hour, every node holds something that the member's calls need")
    return victims


async def victim_of(service: Service) -> tuple[Node, str, str]:
    """One of those nodes, a user on it, and a user elsewhere."""
    (slots, node), *_ = await victims_of(service)
    users = {key_slot(f"m:p:{user_id}".encode()) in slots: str(user_id) for user_id in range(1, 50)}
    return node, users[True], users[False]


async def assert_unavailable(call: Any) -> None:
    """503 with Retry-After, within the deadline."""
    started = time.monotonic()
    answer = await call
    assert time.monotonic() - started < DEADLINE_SECONDS + MARGIN_SECONDS
    assert_http_error(answer, 503, "SYSTEM")


async def assert_not_ready(client: httpx.AsyncClient) -> None:
    """503 within the deadline; for a moment, what was seen before is told."""
    await eventually(lambda: assert_unavailable(client.get("/readyz")), DEADLINE_SECONDS + MARGIN_SECONDS)


async def test_a_node_that_stands_still(fragile: Service, demo: httpx.AsyncClient) -> None:
    (_, pid), lost, kept = await victim_of(fragile)
    both = {"rt_segment": one_user(lost)["rt_segment"] + one_user(kept)["rt_segment"]}
    with standing_still(pid):
        async with asyncio.TaskGroup() as calls:
            calls.create_task(assert_unavailable(post(demo, lost)))
            calls.create_task(assert_unavailable(demo.get("/rt-segment", params={"user_id": lost})))
            calls.create_task(assert_not_ready(demo))
            calls.create_task(assert_unavailable(demo.post("/rt-segment", json=both)))
        assert (await post(demo, kept)).status_code == 200
        assert (await demo.get("/rt-segment", params={"user_id": kept})).status_code == 200


async def test_grpc_callers_and_a_node_that_stands_still(fragile: Service, demo: httpx.AsyncClient) -> None:
    (_, pid), lost, kept = await victim_of(fragile)
    metadata = (("authorization", await fragile.token()),)

    async def call(port: str) -> None:
        async with fragile.channel(port) as channel:
            apply = AudienceServiceStub(channel).ApplySegments
            for timeout in (None, 0.5):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await apply(apply_request(one_user(lost)), metadata=metadata, timeout=timeout)
                assert_grpc_error(caught.value, grpc.StatusCode.UNAVAILABLE, "SYSTEM")
            await apply(apply_request(one_user(kept)), metadata=metadata)

    async def watch(port: str) -> None:
        async with fragile.channel(port) as channel:
            statuses = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            while (await statuses.read()).status != health_pb2.HealthCheckResponse.NOT_SERVING:
                pass
            statuses.cancel()

    with standing_still(pid):
        async with asyncio.TaskGroup() as tasks:
            for port in ("gateway", "direct"):
                tasks.create_task(call(port))
                tasks.create_task(watch(port))


async def test_a_node_that_is_killed(fragile: Service, demo: httpx.AsyncClient) -> None:
    """It is started again, with the memberships that it had taken."""
    (port, pid), lost, kept = await victim_of(fragile)
    answer = await demo.post("/rt-segment", json=one_user(lost, value=77))
    assert answer.status_code == 200
    os.kill(pid, signal.SIGKILL)
    assert (await post(demo, kept)).status_code == 200
    await assert_unavailable(post(demo, lost))

    async def back() -> None:
        read = await demo.get("/rt-segment", params={"user_id": lost})
        assert read.status_code == 200
        assert [block["value"] for block in body_of(read)["response"]["rt_segment"][0]["seg_block"]] == [77]

    await eventually(back, BACK_SECONDS)
    assert (await fragile.on_node(port, "INFO", "server"))["process_id"] != pid


async def test_all_nodes_stand_still(fragile: Service, demo: httpx.AsyncClient) -> None:
    pids = [pid for _, pid in (await nodes_of(fragile)).values()]
    with standing_still(*pids):
        async with asyncio.TaskGroup() as calls:
            calls.create_task(assert_not_ready(demo))
            calls.create_task(assert_unavailable(demo.post("/auth", json=credentials("private"))))
            for number in range(50):
                calls.create_task(assert_unavailable(post(demo, str(number + 1))))


def processes_of(service: Service, word: str) -> list[Process]:
    """The service's processes with this word in their command line."""
    return [process for process in descendants(service.process.pid) if word in process.command]


def kill_all(processes: list[Process]) -> None:
    for process in processes:
        if process.alive:
            os.kill(process.pid, signal.SIGKILL)


async def assert_replaced(service: Service, word: str, killed: list[Process]) -> None:
    """There are as many such processes again, none of them killed."""
    count = len(processes_of(service, word))
    assert count >= len(killed) > 0
    kill_all(killed)
    assert await all_end(killed, 10)

    async def check() -> None:
        assert len(processes_of(service, word)) == count

    await eventually(check, BACK_SECONDS)


async def test_a_worker_that_is_killed(fragile: Service, demo: httpx.AsyncClient) -> None:
    """The calls that it had may fail; later ones go to the others."""
    word = WORKER_COMMAND
    killed = processes_of(fragile, word)[:1]
    replaced = asyncio.create_task(assert_replaced(fragile, word, killed))
    answers = []
    while not replaced.done():
        # A connection of its own, as the one of a worker that is gone is gone too.
        async with fragile.http(headers=demo.headers) as http:
            try:
                answers.append((await post(http, "1")).status_code)
            except httpx.TransportError:
                answers.append(0)
    await replaced
    assert answers.count(200) > len(answers) / 2
    assert set(answers) <= {200, 503, 0}
    await eventually(lambda: whole(demo), BACK_SECONDS)


async def test_all_workers_are_killed(fragile: Service, demo: httpx.AsyncClient) -> None:
    word = WORKER_COMMAND
    await assert_replaced(fragile, word, processes_of(fragile, word))


async def test_the_gateway_is_killed(fragile: Service, demo: httpx.AsyncClient) -> None:
    """New connections wait or fail for a moment; callers that come straight to the workers notice nothing."""
    replaced = asyncio.create_task(assert_replaced(fragile, "envoy", processes_of(fragile, "envoy")))
    metadata = (("authorization", await fragile.token()),)
    async with fragile.channel("direct") as channel:
        while fragile.host_mode == "native" and not replaced.done():
            await AudienceServiceStub(channel).ApplySegments(apply_request(one_user()), metadata=metadata)
    await replaced
    await eventually(lambda: whole(demo), BACK_SECONDS)


@pytest.mark.wide
async def test_the_supervisor_is_killed(host_mode: str) -> None:
    """No child outlives it; so this service is the test's own."""
    async with running_service(host_mode=host_mode) as doomed:
        children = descendants(doomed.process.pid)
        assert len(children) >= 3 + 2
        doomed.process.kill()
        await doomed.process.wait()
        try:
            assert await all_end(children, 10), children
        finally:
            kill_all(children)
