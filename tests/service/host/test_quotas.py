"""The limits of members (contract, "Limits"), over four workers, on every way in."""

import asyncio
import contextlib
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2, status_pb2
from instantaudience.v1 import audience_pb2 as pb
from instantaudience.v1 import usage_pb2
from instantaudience.v1.usage_pb2_grpc import UsageServiceStub
from instantaudience_server.health import SHARED_SECONDS
from instantaudience_server.store.interfaces.quotas import Quota
from instantaudience_server.store.keys import key_slot, quota_key
from instantaudience_server.transport.framing import frame
from redis.asyncio import RedisCluster
from support.cluster.stored import forget_users
from support.contract.answers import assert_http_error, body_of
from support.contract.messages import STREAM
from support.service.processes import needs_proc
from support.service.quota_floods import PATHS, SEGMENT, Flood, flood
from support.service.running import Service, new_directory, running_service
from support.waiting import eventually
from support.wire.peer import connected, grpc_headers

pytestmark = pytest.mark.alone

HUGE = 2**31 - 1
FREE = {"posts_per_second": HUGE, "gets_per_second": HUGE, "users_per_second": HUGE}
LIMITS: dict[str, dict[str, int]] = {
    "posts": {},
    "users": FREE | {"users_per_second": 1000},
    "gets": {"gets_per_second": 100},
    "neighbour": {},
    "one-post": {"posts_per_second": 1},
    "one-get": {"gets_per_second": 1},
    "three-users": {"users_per_second": 3},
    "small": FREE | {"users_per_call": 2, "segments_per_user": 1, "body_bytes": 300},
    "stopped": FREE,
}
"""Members, by the names of their users."""
MEMBERS = {name: number for number, name in enumerate(LIMITS, 201)}
PASSWORD = "Quota-Passw0rd!"
CATALOG = {
    "members": [
        {"id": number, "name": name, "segment_access": [201], "limits": LIMITS[name]}
        for name, number in MEMBERS.items()
    ],
    "users": [
        *(
            {"id": number, "username": name, "password": PASSWORD, "member_id": number}
            for name, number in MEMBERS.items()
        ),
        {"id": 299, "username": "admin", "password": PASSWORD, "member_id": MEMBERS["neighbour"], "role": "admin"},
    ],
    "segments": [{"id": SEGMENT, "member_id": 201}, {"id": SEGMENT + 1, "member_id": 201}],
}
SECONDS, CONNECTIONS = 3.2, 16
FLOODS_AT_MOST = 8


@pytest.fixture(scope="module")
async def limited(host_mode: str) -> AsyncIterator[Service]:
    """Four workers."""
    async with new_directory() as directory:
        (directory / "limits.yaml").write_text(json.dumps(CATALOG))
        options: dict[str, Any] = {"host_mode": host_mode, "catalog": f"--catalog={directory / 'limits.yaml'}"}
        arguments = ("--workers", "4", "--call-timeout-seconds", "4")
        async with running_service(*arguments, directory=directory, **options) as running:
            yield running
            assert "call_defect" not in running.log


@pytest.fixture(scope="module")
async def tokens(limited: Service) -> dict[str, str]:
    return {name: await limited.sign_in(name, PASSWORD) for name in (*MEMBERS, "admin")}


@pytest.fixture
async def nodes(limited: Service) -> AsyncIterator[RedisCluster]:
    async with limited.cluster() as opened:
        yield opened


def users(*user_ids: int) -> dict[str, Any]:
    """A request that puts users into the segment."""
    return {"rt_segment": [{"user_id": str(user_id), "seg_block": [{"seg_id": SEGMENT}]} for user_id in user_ids]}


FLOODS = {
    "posts": (Quota.POSTS, 1, 100),
    "users": (Quota.POSTS, 10, 1000),
    "gets": (Quota.GETS, 1, 100),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_gets_its_limit_in_every_second_and_its_neighbour_everything(
    limited: Service, tokens: dict[str, str], nodes: RedisCluster, name: str
) -> None:
    """300 calls a second, where 100 are allowed (or 1,000 users, 10 in each call)."""
    quota, users_each, limit = FLOODS[name]
    flooding = Flood(MEMBERS[name], tokens[name], quota, 300, users_each)
    beside = Flood(MEMBERS["neighbour"], tokens["neighbour"], quota, 50, 1)
    for _ in range(FLOODS_AT_MOST):  # until the machine has had the time for one
        await forget_users(nodes)
        result, neighbour = await flood(
            limited.grpc_address, [flooding, beside], nodes, connections=CONNECTIONS, seconds=SECONDS
        )
        assert result.workers >= 3, "the connections went to few of the workers"
        assert len(result.full_windows) >= 2
        # The cluster's own count of each window, and the answers by themselves: when each was sent and answered.
        assert max((units for _, units in result.windows.values()), default=0) <= limit
        assert result.fits(limit)
        assert (neighbour.refused, neighbour.admitted) == (0, len(neighbour.answers))
        if result.is_fast(limit) and not neighbour.failed:
            break
    else:
        pytest.fail("no flood filled its windows")
    assert min(result.full_windows) >= limit * 0.99
    # The answers agree with the cluster's count in number.
    assert result.counted == result.admitted
    assert result.refused > 0
    if quota is Quota.POSTS:
        # What was refused has changed nothing.
        written = result.admitted * users_each + neighbour.admitted
        assert len([key async for key in nodes.scan_iter(match="m:*")]) == written


@pytest.mark.parametrize("port", ["gateway", "direct"])
@pytest.mark.parametrize(
    ("name", "quota", "content"),
    [
        ("one-post", Quota.POSTS, None),
        ("one-post", Quota.POSTS, pb.ApplySegmentsRequest(rt_segment=[{}])),
        ("one-get", Quota.GETS, pb.GetMembershipsRequest(user_id="1")),
    ],
    ids=["rest", "posts", "gets"],
)
async def test_what_a_flood_is_refused_is_counted(
    limited: Service, tokens: dict[str, str], port: str, name: str, quota: Quota, content: Any
) -> None:
    """Every call, also those that the native host refuses itself, without a look at what they hold."""
    authorization = {"authorization": tokens[name]}
    async with limited.channel(port) as channel, limited.http(port, headers=authorization) as http:
        call, report = channel.unary_unary(PATHS[quota]), UsageServiceStub(channel)

        async def refused_so_far() -> int:
            member_id = MEMBERS[name]
            asked = usage_pb2.GetUsageRequest(hours=48, member_id=member_id)
            usage = await report.GetUsage(asked, metadata=(("authorization", tokens["admin"]),))
            failures = {each.failure: each.calls for each in usage.total.failed_calls}
            return failures.get(usage_pb2.CALL_FAILURE_RATE_LIMIT, 0)

        async def outcome(readable: bool) -> int:
            if content is None:
                return (await http.post("/rt-segment", content=json.dumps(users(1)) if readable else "{")).status_code
            try:
                await call(content.SerializeToString() if readable else b"\x0a", metadata=tuple(authorization.items()))
            except grpc.aio.AioRpcError as error:
                return {grpc.StatusCode.RESOURCE_EXHAUSTED: 429, grpc.StatusCode.INVALID_ARGUMENT: 400}[error.code()]
            return 200

        before, outcomes = await refused_so_far(), Counter[int]()

        async def an_unreadable_one_is_refused() -> None:
            outcomes.update(await asyncio.gather(*(outcome(readable=True) for _ in range(100))))
            last = await outcome(readable=False)
            outcomes[last] += 1
            assert last == (429 if limited.host_mode == "native" else 400)

        await eventually(an_unreadable_one_is_refused)

        async def all_are_counted() -> None:
            assert await refused_so_far() == before + outcomes[429]

        await eventually(all_are_counted)
    assert outcomes.keys() <= {200, 400, 429}
    assert outcomes[200] < 20 < outcomes[429]


async def refusal(call: Any) -> Any:
    """The first answer of a call that is repeated until it is refused: calls of one window, but for its end."""
    for _ in range(20):
        answer = await call()
        if answer.status_code != 200:
            return answer
    raise AssertionError("nothing was refused")


async def grpc_refusal(call: Any) -> grpc.aio.AioRpcError:
    """Likewise."""
    for _ in range(20):
        try:
            await call()
        except grpc.aio.AioRpcError as error:
            return error
    raise AssertionError("nothing was refused")


@pytest.mark.parametrize(
    ("name", "port", "request_", "text", "count"),
    [
        ("one-post", "gateway", ("POST", {"json": users(1)}), "1 writes per 1 seconds to rt-segment", "1"),
        ("one-post", "direct", ("POST", {"json": users(1)}), "1 writes per 1 seconds to rt-segment", "1"),
        ("one-get", "gateway", ("GET", {"params": {"user_id": "1"}}), "1 reads per 1 seconds to rt-segment", "1"),
        ("three-users", "gateway", ("POST", {"json": users(1, 2, 3, 4)}), "3 users per 1 seconds to rt-segment", "0"),
        ("three-users", "direct", ("POST", {"json": users(1, 2, 3, 4)}), "3 users per 1 seconds to rt-segment", "0"),
    ],
)
async def test_rest_callers_are_told(
    limited: Service, tokens: dict[str, str], name: str, port: str, request_: Any, text: str, count: str
) -> None:
    method, content = request_
    async with limited.http(port, headers={"authorization": tokens[name]}) as http:
        answer = await refusal(lambda: http.request(method, "/rt-segment", **content))
    assert answer.status_code == 429
    assert body_of(answer) == {
        "response": {
            "status": "ERROR",
            "error_id": "RATE_LIMIT_EXCEEDED",
            "error_code": "RATE_EXCEEDED",
            "error": f"Rate limit exceeded. You have exceeded your request limit of {text}, wait and try again or "
            "contact your administrator for higher limits",
        }
    }
    headers = {name: answer.headers[name] for name in ("retry-after", "x-ratelimit-code", "x-ratelimit-count")}
    assert headers == {"retry-after": "1", "x-ratelimit-code": "429", "x-ratelimit-count": count}


GETS = {
    "/rt-segment?user_id=1": "rt-segment",
    "/rt-segment-processed": "rt-segment-processed",
    "/segment": "segment",
    "/segment/meta": "segment",
    "/member": "member",
    "/public-key": "public-key",
    "/batch-segment": "batch-segment",
    "/batch-segment/meta": "batch-segment",
    "/batch-segment-config": "batch-segment",
}


@pytest.mark.parametrize(("path", "resource"), GETS.items(), ids=GETS)
async def test_every_get_counts(limited: Service, tokens: dict[str, str], path: str, resource: str) -> None:
    async with limited.http(headers={"authorization": tokens["one-get"]}) as http:
        answer = await refusal(lambda: http.get(path))
    assert_http_error(answer, 429, "RATE_LIMIT_EXCEEDED")
    assert f"1 reads per 1 seconds to {resource}, wait" in body_of(answer)["response"]["error"]


@pytest.mark.parametrize("port", ["gateway", "direct"])
@pytest.mark.parametrize(
    ("name", "quota", "request_", "text"),
    [
        ("one-post", Quota.POSTS, pb.ApplySegmentsRequest(), "1 writes per 1 seconds to rt-segment"),
        # What only checks counts as well.
        ("one-post", Quota.POSTS, pb.ApplySegmentsRequest(validate_only=True), "1 writes per 1 seconds"),
        ("one-get", Quota.GETS, pb.GetMembershipsRequest(user_id="1"), "1 reads per 1 seconds to rt-segment"),
        ("one-get", "BatchGetMemberships", pb.BatchGetMembershipsRequest(users=[{"user_id": "1"}] * 2), "1 reads"),
    ],
)
async def test_grpc_callers_are_told(
    limited: Service, tokens: dict[str, str], port: str, name: str, quota: Any, request_: Any, text: str
) -> None:
    path = PATHS.get(quota) or f"/instantaudience.v1.AudienceService/{quota}"
    async with limited.channel(port) as channel:
        call = channel.unary_unary(path)
        error = await grpc_refusal(
            lambda: call(request_.SerializeToString(), metadata=(("authorization", tokens[name]),))
        )
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert f"your request limit of {text}" in (error.details() or "")
    trailers = dict(error.trailing_metadata() or ())
    info, retry, failure = details(status_pb2.Status.FromString(trailers["grpc-status-details-bin"]))
    assert (info.reason, info.metadata["count"] in {"0", "1"}) == ("RATE_LIMIT_EXCEEDED", True)
    assert retry.retry_delay.seconds == 1
    (violation,) = failure.violations
    assert (violation.subject, violation.description) == (f"member:{MEMBERS[name]}", error.details())
    assert (trailers["x-ratelimit-code"], trailers["retry-after"]) == ("429", "1")
    assert trailers["grpc-retry-pushback-ms"] == "1000"


def details(status: status_pb2.Status) -> tuple[Any, Any, Any]:
    unpacked = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.QuotaFailure()
    for packed, message in zip(status.details, unpacked, strict=True):
        assert packed.Unpack(message)
    return unpacked


async def test_a_request_of_a_stream_is_refused_in_its_place(limited: Service, tokens: dict[str, str]) -> None:
    async with limited.channel("direct") as channel:
        stream = channel.stream_stream("/instantaudience.v1.AudienceService/StreamSegments")
        requests = [pb.StreamSegmentsRequest(rt_segment=[{}] * count) for count in (1, 4, 1, 4)]
        answers = stream(
            iter([request.SerializeToString() for request in requests]),
            metadata=(("authorization", tokens["three-users"]),),
        )
        outcomes = [pb.StreamSegmentsResponse.FromString(answer).WhichOneof("outcome") async for answer in answers]
    assert outcomes == ["response", "error"] * 2


async def test_requests_of_a_stream_wait_for_the_next_second_in_their_order(
    limited: Service, tokens: dict[str, str], nodes: RedisCluster
) -> None:
    """Four requests of two users each, where three users a second are allowed."""
    values = [5, 4, 3, 2]
    requests = []
    for value in values:
        request = pb.StreamSegmentsRequest()
        for user_id in ("77", "78"):
            request.rt_segment.add(user_id=user_id).seg_block.add(seg_id=SEGMENT, value=value, expiration=0)
        requests.append(request.SerializeToString())
    async with limited.channel("direct") as channel:
        stream = channel.stream_stream("/instantaudience.v1.AudienceService/StreamSegments")
        answers = stream(iter(requests), metadata=(("authorization", tokens["three-users"]),))
        outcomes = [pb.StreamSegmentsResponse.FromString(answer).WhichOneof("outcome") async for answer in answers]
    assert outcomes == ["response"] * len(values)
    assert await nodes.hgetall("m:p:77") == {str(SEGMENT).encode(): str(values[-1]).encode()}


class TestSizes:
    @pytest.fixture
    async def small(self, limited: Service, tokens: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
        """A member whose calls must be small."""
        async with limited.http(headers={"authorization": tokens["small"]}) as client:
            yield client

    async def test_users_and_segments_past_the_members_limit_are_skipped(self, small: httpx.AsyncClient) -> None:
        request = {"rt_segment": [{"user_id": "1", "seg_block": [{"seg_id": 1}, {"seg_id": 2}]}, *[{}] * 2]}
        response = body_of(await small.post("/rt-segment", json=request))["response"]
        assert response["message"] == {"users_in_request": 1, "segments_in_request": 1}
        assert [warning["message"] for warning in response["warnings"]] == [
            "Too many segments for user_id: 1.",
            "'user_id' is required and cannot be empty",
            "Too many user_ids in request.",
        ]

    @pytest.mark.parametrize("port", ["gateway", "direct"])
    @pytest.mark.parametrize("declared", [None, "1", "x"])
    async def test_a_rest_body_is_measured_as_it_was_sent(
        self, limited: Service, tokens: dict[str, str], port: str, declared: str | None
    ) -> None:
        """Spaces are no part of the message that is made of it, and a caller cannot say otherwise."""
        headers = {} if declared is None else {"x-request-body-bytes": declared}
        body = json.dumps(users(1)).ljust(300)
        async with limited.http(port, headers=headers | {"authorization": tokens["small"]}) as small:
            assert (await small.post("/rt-segment", content=body)).status_code == 200
            answer = await small.post("/rt-segment", content=body + " ")
        assert_http_error(answer, 413, "LIMIT")
        assert "301 bytes; at most 300 are allowed" in answer.text

    @pytest.mark.parametrize("port", ["gateway", "direct"])
    async def test_a_grpc_message_is_measured(self, limited: Service, tokens: dict[str, str], port: str) -> None:
        # Who calls cannot say that it is larger.
        metadata = (("authorization", tokens["small"]), ("x-request-body-bytes", "301"))
        async with limited.channel(port) as channel:
            call = channel.unary_unary(PATHS[Quota.POSTS])
            await call(padded(300), metadata=metadata)
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await call(padded(301), metadata=metadata)
            stream = channel.stream_stream("/instantaudience.v1.AudienceService/StreamSegments")
            answers = [
                pb.StreamSegmentsResponse.FromString(answer)
                async for answer in stream(iter([padded(300), padded(301)]), metadata=metadata)
            ]
        assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert failed.value.details() == "The request has 301 bytes; at most 300 are allowed"
        assert [answer.WhichOneof("outcome") for answer in answers] == ["response", "error"]
        assert answers[1].error.message == failed.value.details()


def padded(size: int) -> bytes:
    """A request of so many bytes."""
    request = pb.ApplySegmentsRequest(rt_segment=[{"user_id": "1" * (size - 5)}]).SerializeToString()
    assert len(request) in (size, size + 1)
    return pb.ApplySegmentsRequest(
        rt_segment=[{"user_id": "1" * (size - 5 - (len(request) - size))}]
    ).SerializeToString()


async def test_a_stream_that_waits_for_its_limit_waits_at_its_sender(limited: Service, tokens: dict[str, str]) -> None:
    """Behind the gateway, there is no more than its window and a little beside it."""
    message = frame(padded(300))
    async with connected(limited.http_address) as peer:
        stream_id = peer.begin(grpc_headers(STREAM, (b"authorization", tokens["one-post"].encode())))
        sent = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                while sent < 4 * 2**20:
                    await peer.send(stream_id, message)
                    sent += len(message)
    assert 2**20 <= sent <= 2 * 2**20


@needs_proc
async def test_what_the_cluster_does_not_answer_is_unavailable_and_changes_nothing(
    limited: Service, tokens: dict[str, str], nodes: RedisCluster
) -> None:
    """The node that counts a member's calls stands still; the users of the calls are on another one."""
    slot = key_slot(quota_key(MEMBERS["stopped"], Quota.POSTS))
    ranges = await limited.on_node(limited.node_ports[0], "CLUSTER", "SLOTS")
    (lost, port) = next((range(first, last + 1), node[1]) for first, last, node, *_ in ranges if first <= slot <= last)
    elsewhere = next(user_id for user_id in range(10**6, 10**7) if key_slot(b"m:p:%d" % user_id) not in lost)
    process_id = (await limited.on_node(port, "INFO", "server"))["process_id"]
    async with limited.http(headers={"authorization": tokens["stopped"]}) as http:
        assert (await http.post("/rt-segment", json=users(elsewhere + 1))).status_code == 200
        before = await nodes.exists(f"m:p:{elsewhere}")
        os.kill(process_id, signal.SIGSTOP)
        await asyncio.sleep(2 * SHARED_SECONDS)  # so long, readiness may be as it was
        try:
            answers = await asyncio.gather(
                *(http.post("/rt-segment", json=users(elsewhere)) for _ in range(4)),
                http.get("/readyz"),
            )
        finally:
            os.kill(process_id, signal.SIGCONT)
    for answer in answers:
        assert_http_error(answer, 503, "SYSTEM")
    assert (before, await nodes.exists(f"m:p:{elsewhere}")) == (0, 0)
