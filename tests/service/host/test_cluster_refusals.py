"""What the cluster refuses to do: every caller is told that the call failed, and operators see it."""

import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import grpc
import pytest
from instantaudience.v1 import audience_pb2 as pb
from instantaudience.v1.audience_pb2_grpc import AudienceServiceStub
from instantaudience_server.sign_in.tokens import hash_token
from instantaudience_server.store.interfaces.quotas import Quota
from instantaudience_server.store.keys import membership_key, quota_key, session_key, usage_key
from redis.asyncio import RedisCluster
from support.contract.answers import assert_failure, assert_grpc_error, assert_http_error
from support.contract.messages import APPLY, STREAM, apply_request, one_user, stream_request
from support.service.metrics import scrape
from support.service.running import HOST_MODES, Service, running_service
from support.waiting import eventually

MEMBER = 123
"""The caller's."""
USER = "7"
BARE = "internal error"
INTERNAL, INVALID = grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT
PORTS = ("gateway", "direct")
CALL_SECONDS = 20

SPOIL = "redis.call('DEL', KEYS[1]); return redis.call('RPUSH', KEYS[1], 'spoilt')"
"""In one step: a worker may have something left to count."""


@pytest.fixture(scope="module", params=HOST_MODES)
async def spoilt(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    """A service whose cluster may be spoilt, and whose calls have time: none fails for want of it."""
    arguments = ("--metrics-port", "0", "--call-timeout-seconds", str(CALL_SECONDS))
    async with running_service(*arguments, host_mode=request.param) as running:
        yield running


@pytest.fixture
async def nodes(spoilt: Service) -> AsyncIterator[RedisCluster]:
    """The service's cluster."""
    async with spoilt.cluster() as plain:
        yield plain


@pytest.fixture
async def token(spoilt: Service) -> str:
    """One that no worker has seen yet."""
    spoilt.forget_tokens()
    return await spoilt.token()


def usage_keys() -> list[bytes]:
    """Of this hour, and of the one that may begin meanwhile."""
    return [usage_key(MEMBER, hour) for hour in {int((time.time() + ahead) // 3600) for ahead in (0, 60)}]


@asynccontextmanager
async def of_another_type(nodes: RedisCluster, keys: list[bytes]) -> AsyncIterator[None]:
    """The keys hold what nobody expects there (WRONGTYPE); afterwards they are as they were."""
    kept = {key: await nodes.dump(key) for key in keys}
    try:
        for key in keys:
            await nodes.eval(SPOIL, 1, key)  # type: ignore[misc, arg-type]
        yield
    finally:
        for key, value in kept.items():
            if value is None:
                await nodes.delete(key)
            else:
                await nodes.restore(key, 0, value, replace=True)


@asynccontextmanager
async def no_usage_allowed(service: Service) -> AsyncIterator[None]:
    """The service may not touch the keys that count usage (NOPERM)."""
    others = [f"~{letter}:*" for letter in "achmqtx"]
    for port in service.node_ports:
        await service.on_node(port, "ACL", "SETUSER", "default", "resetkeys", *others)
    try:
        yield
    finally:
        for port in service.node_ports:
            await service.on_node(port, "ACL", "SETUSER", "default", "allkeys")


async def ended(service: Service, code: grpc.StatusCode) -> list[float]:
    """How many calls ended like this, as the metrics say: unary ones and requests of streams."""
    counts = await scrape(service)
    return [counts.total("calls_total", method=path[1:], code=code.name) for path in (APPLY, STREAM)]


async def assert_all_fail(service: Service, token: str, *, stream_ends: bool = False) -> None:
    """Over REST, and in a unary call and a stream on both ports: every one is a defect, and looks like one."""
    before, known = await ended(service, INTERNAL), len(defects(service))
    async with service.http(headers={"authorization": token}) as http:
        assert_http_error(await http.post("/rt-segment", json=one_user(USER)), 500, "SYSTEM", BARE)
    for port in PORTS:
        async with service.channel(port) as channel:
            audience, metadata = AudienceServiceStub(channel), (("authorization", token),)
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await audience.ApplySegments(apply_request(one_user(USER)), metadata=metadata, timeout=CALL_SECONDS)
            assert_grpc_error(failed.value, INTERNAL, "SYSTEM")
            assert failed.value.details() == BARE
            stream = audience.StreamSegments(metadata=metadata, timeout=CALL_SECONDS)
            if stream_ends:
                with pytest.raises(grpc.aio.AioRpcError) as failed:
                    await stream.read()  # what is written meanwhile may come too late
                assert_grpc_error(failed.value, INTERNAL, "SYSTEM")
                continue
            answered = await answer_in(stream)
            assert_failure(answered.error, INTERNAL, "SYSTEM")
            assert answered.error.message == BARE
            await stream.done_writing()
            assert await stream.read() is grpc.aio.EOF

    async def are_told() -> None:
        assert await ended(service, INTERNAL) == [before[0] + 1 + len(PORTS), before[1] + len(PORTS)]
        logged = defects(service)[known:]
        assert len(logged) == 1 + 2 * len(PORTS)
        assert all(event["request_id"] for event in logged)

    await eventually(are_told)


async def answer_in(stream: Any) -> pb.StreamSegmentsResponse:
    """The answer to one request of a stream."""
    await stream.write(stream_request(one_user(USER)))
    answer: pb.StreamSegmentsResponse = await stream.read()
    return answer


def defects(service: Service) -> list[dict[str, object]]:
    return [event for event in service.events if event["event"] == "call_defect"]


@pytest.mark.parametrize("how", ["WRONGTYPE", "NOPERM"])
async def test_usage_that_cannot_be_counted(spoilt: Service, nodes: RedisCluster, token: str, how: str) -> None:
    """What is answered was counted; so what cannot be counted is not answered as if it were."""
    spoil: AbstractAsyncContextManager[None]
    spoil = of_another_type(nodes, usage_keys()) if how == "WRONGTYPE" else no_usage_allowed(spoilt)
    async with spoil:
        await assert_all_fail(spoilt, token)
        await assert_refused_as_before(spoilt, token)


async def assert_refused_as_before(service: Service, token: str) -> None:
    """What a caller did wrong does not become the server's fault because nobody can count it."""
    before = await ended(service, INVALID)
    for port in PORTS:
        async with service.channel(port) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await channel.unary_unary(APPLY)(b"\xff", metadata=(("authorization", token),), timeout=CALL_SECONDS)
            assert_grpc_error(failed.value, INVALID, "SYNTAX")

    async def are_counted() -> None:
        assert await ended(service, INVALID) == [before[0] + len(PORTS), before[1]]

    await eventually(are_counted)


@pytest.mark.parametrize("what", ["quota", "session", "memberships"])
async def test_what_a_call_cannot_do_without(spoilt: Service, nodes: RedisCluster, token: str, what: str) -> None:
    keys = {
        "quota": [quota_key(MEMBER, Quota.POSTS)],
        "session": [session_key(hash_token(token))],
        "memberships": [membership_key(b"p", USER.encode())],
    }
    async with of_another_type(nodes, keys[what]):
        await assert_all_fail(spoilt, token, stream_ends=what == "session")
    async with spoilt.http(headers={"authorization": token}) as http:
        assert (await http.post("/rt-segment", json=one_user(USER))).status_code == 200
