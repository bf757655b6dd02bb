"""What a running service's log says of calls: those that failed, those that were refused, and all."""

import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import pytest
from instantaudience.v1 import audience_pb2, audience_pb2_grpc
from instantaudience_server.store.keys import key_slot
from support.contract.messages import one_user
from support.service.processes import descendants, needs_proc, standing_still
from support.service.running import Service, running_service
from support.waiting import eventually

pytestmark = needs_proc

APPLY = "instantaudience.v1.AudienceService/ApplySegments"
USER = "12345678900987654321"


@pytest.fixture(scope="module")
async def logged() -> AsyncIterator[Service]:
    """A service with an access log; hosts have no part in what is logged."""
    words = ("--access-log", "--workers", "1", "--call-timeout-seconds", "1")
    async with running_service(*words) as running:
        yield running


async def lines_of(service: Service, request_id: str, *events: str) -> list[dict[str, Any]]:
    """The lines about a request, when these are there; in their order."""

    async def found() -> list[dict[str, Any]]:
        lines = [event for event in service.events if event.get("request_id") == request_id]
        assert {line["event"] for line in lines} >= set(events)
        return sorted(lines, key=lambda line: str(line["event"]))

    return await eventually(found)


async def apply(service: Service, request_id: str, body: Any, token: str | None = None) -> httpx.Response:
    headers = {"x-request-id": request_id, "authorization": token or await service.token()}
    async with service.http() as http:
        return await http.post("/rt-segment?access_token=not-to-be-logged", json=body, headers=headers)


async def test_the_access_log_has_calls_at_the_gateway_and_at_the_worker(logged: Service) -> None:
    assert (await apply(logged, "r-answered", one_user(USER))).status_code == 200
    call, request = await lines_of(logged, "r-answered", "call_answered", "gateway_call_answered")
    assert call.items() >= {"method": APPLY, "code": "OK", "member_id": 123, "level": "info"}.items()
    assert 0 < call["seconds"] < 10
    told = {"http_method": "POST", "path": "/rt-segment", "status": 200, "level": "info"}
    assert request.items() >= told.items()
    assert request["time"].endswith("Z")


@pytest.mark.parametrize(
    ("verb", "path", "status"),
    [
        ("GET", "/rt-segment?user_id=1", 200),
        ("GET", "/rt-segment?user_id=abc", 400),
        ("PUT", "/segment?id=99", 404),
        ("DELETE", "/segment?id=99", 404),
        ("PATCH", "/segment", 405),
    ],
)
async def test_the_gateways_lines_say_what_callers_have_sent_and_got(
    logged: Service, verb: str, path: str, status: int
) -> None:
    """Of REST calls, there is no gRPC status that they have got."""
    name = f"r-{verb}-{status}"
    headers = {"x-request-id": name, "authorization": await logged.token()}
    async with logged.http() as http:
        content = b'{"segment": {}}' if verb == "PUT" else b""
        assert (await http.request(verb, path, headers=headers, content=content)).status_code == status
    *_, line = await lines_of(logged, name, "gateway_call_answered")
    assert line.items() >= {"http_method": verb, "status": status}.items()
    assert line.get("path") == (None if status == 405 else path.partition("?")[0])
    assert line.get("grpc_status") is None


async def test_the_gateways_lines_have_the_status_of_grpc(logged: Service) -> None:
    metadata = [("authorization", await logged.token()), ("x-request-id", "r-grpc")]
    async with logged.channel("gateway") as channel:
        stub = audience_pb2_grpc.AudienceServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetMemberships(audience_pb2.GetMembershipsRequest(user_id="abc"), metadata=metadata)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    *_, line = await lines_of(logged, "r-grpc", "gateway_call_answered")
    assert line.items() >= {"http_method": "POST", "status": 200, "grpc_status": "InvalidArgument"}.items()
    assert line["path"] == "/instantaudience.v1.AudienceService/GetMemberships"


async def test_only_the_paths_of_methods_are_in_the_gateways_lines(logged: Service) -> None:
    """Others may hold anything."""
    paths = ("/rt-segment/not-to-be-logged", "/not-to-be-logged.v1.Service/Method", f"/{APPLY}/not-to-be-logged")
    async with logged.http() as http:
        for number, path in enumerate(paths):
            for name, headers in (
                (f"r-other-{number}", {}),
                (f"r-grpc-{number}", {"content-type": "application/grpc"}),
            ):
                await http.post(path, headers=headers | {"x-request-id": name})
                *_, line = await lines_of(logged, name, "gateway_call_answered")
                assert line.get("path") is None
    assert "not-to-be-logged" not in logged.log


async def test_a_request_that_no_worker_answers_has_a_line() -> None:
    async with running_service("--workers", "1", host_mode="grpcio") as service:
        headers = {"x-request-id": "r-away", "authorization": await service.token()}
        (worker,) = [each.pid for each in descendants(service.process.pid) if "running worker" in each.command]
        os.kill(worker, signal.SIGSTOP)  # the supervisor ends it
        async with service.http() as http:
            assert (await http.get("/rt-segment?user_id=1", headers=headers)).status_code == 503
        (line,) = await lines_of(service, "r-away", "gateway_call_failed")
        told = {"http_method": "GET", "path": "/rt-segment", "status": 503, "level": "warning"}
        assert line.items() >= told.items()


async def test_a_refused_call_has_lines_too(logged: Service) -> None:
    assert (await apply(logged, "r-refused", one_user(USER), "hbapi:1:unknown:local")).status_code == 401
    lines = await lines_of(logged, "r-refused", "call_answered", "call_refused", "gateway_call_answered")
    assert [line.get("reason") for line in lines] == ["NOAUTH", "NOAUTH", None]


async def test_a_call_that_failed_names_the_node(logged: Service) -> None:
    """The one that serves the user's slot: it stands still."""
    assert (await apply(logged, "r-before", one_user(USER))).status_code == 200
    node = await node_of(logged, f"m:p:{USER}".encode())
    process = (await logged.on_node(int(node.rpartition(":")[2]), "INFO", "server"))["process_id"]
    with standing_still(process):
        answer = await apply(logged, "r-failed", one_user(USER))
    assert answer.status_code == 503
    _, failed, _ = await lines_of(logged, "r-failed", "call_answered", "call_failed", "gateway_call_answered")
    assert failed.items() >= {"method": APPLY, "reason": "UNAVAILABLE", "member_id": 123, "level": "warning"}.items()
    assert any(node in each for each in failed["nodes"])


async def node_of(service: Service, key: bytes) -> str:
    async with service.cluster() as cluster:
        found = cluster.get_node_from_key(key.decode())
    assert found is not None
    assert cluster.keyslot(key) == key_slot(key)
    return str(found.name)


async def test_no_line_holds_a_user_or_a_token(logged: Service) -> None:
    token = await logged.token()
    for secret in (USER, token, token.split(":")[2], "not-to-be-logged"):
        assert secret not in logged.log
