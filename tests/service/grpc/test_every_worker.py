"""Four workers: what is changed through one holds on every one within a second (contract, "Tokens", "/segment")."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import grpc
import httpx
import pytest
from instantaudience.v1 import audience_pb2, authentication_pb2
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience.v1.audience_pb2_grpc import AudienceServiceStub
from instantaudience.v1.authentication_pb2_grpc import AuthenticationServiceStub
from instantaudience.v1.catalog_pb2_grpc import CatalogServiceStub
from support.contract.answers import assert_failure, assert_grpc_error
from support.contract.messages import USER, apply_request, one_user, stream_request
from support.service.processes import needs_proc
from support.service.running import Service, credentials, running_service
from support.service.workers import RefusedError, WorkerPeer, connected_to_each

pytestmark = [pytest.mark.wide, needs_proc]

EFFECTIVE_SECONDS = 1.0 + 2.0
"""A busy machine may take longer."""
OLD, NEW = "Old-Passw0rd!", "New-Passw0rd!"
NOAUTH = (grpc.StatusCode.UNAUTHENTICATED.value[0], "NOAUTH")
DISABLED = (grpc.StatusCode.UNAUTHENTICATED.value[0], "NOAUTH_DISABLED")
UNAUTH = (grpc.StatusCode.PERMISSION_DENIED.value[0], "UNAUTH")
LIMITED = (grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], "RATE_LIMIT_EXCEEDED")
NAMES = (f"account-{number}" for number in itertools.count())


class Workers:
    """The workers of a service, and the account `admin` of it."""

    def __init__(self, peers: list[WorkerPeer], admin_token: str) -> None:
        self.peers = peers
        self._admin_token = admin_token

    async def admin(self, method: str, request: Any, answer: Any) -> Any:
        """A call of CatalogService by the account `admin`, to the first worker."""
        return await self.peers[0].call(f"CatalogService/{method}", request, answer, self._admin_token)

    async def new_user(self) -> tuple[pb.User, str]:
        """A user that every worker knows and has seen a token of, and that token."""
        request = pb.CreateUserRequest(user={"username": next(NAMES), "member_id": 123}, password=OLD)
        user: pb.User = (await self.admin("CreateUser", request, pb.CreateUserResponse)).user
        token = await sign_in(self.peers[0], user, OLD)
        for peer in self.peers:
            await until(lambda peer=peer: use(peer, token))  # type: ignore[misc]
        return user, token

    async def update(self, user: pb.User, **fields: Any) -> None:
        """Change fields of a user."""
        request = pb.UpdateUserRequest(user={"id": user.id, **fields}, update_mask={"paths": list(fields)})
        await self.admin("UpdateUser", request, pb.UpdateUserResponse)

    async def refused_everywhere(self, token: str, outcome: tuple[int, str]) -> None:
        """Within a second from now, every worker refuses the token this way."""
        started = time.monotonic()
        await asyncio.gather(*(until(lambda peer=peer: refused(use(peer, token), outcome)) for peer in self.peers))  # type: ignore[misc]
        assert time.monotonic() - started < EFFECTIVE_SECONDS


@pytest.fixture(scope="module")
async def four(host_mode: str) -> AsyncIterator[Service]:
    async with running_service("--workers", "4", host_mode=host_mode) as running:
        yield running
        assert "call_defect" not in running.log


@pytest.fixture
async def workers(four: Service) -> AsyncIterator[Workers]:
    token = await four.token("admin")
    async with connected_to_each(four) as peers:
        yield Workers(peers, token)


async def sign_in(peer: WorkerPeer, user: pb.User, password: str) -> str:
    """The token."""
    request = authentication_pb2.AuthenticateRequest(auth={"username": user.username, "password": password})
    answer = await peer.call("AuthenticationService/Authenticate", request, authentication_pb2.AuthenticateResponse)
    return answer.response.token


async def use(peer: WorkerPeer, token: str) -> None:
    """A call that every account may make."""
    request = audience_pb2.GetMembershipsRequest(user_id=USER)
    await peer.call("AudienceService/GetMemberships", request, audience_pb2.GetMembershipsResponse, token)


async def use_as_admin(peer: WorkerPeer, token: str) -> None:
    """A call that needs the role `admin`."""
    await peer.call("CatalogService/ListMembers", pb.ListMembersRequest(), pb.ListMembersResponse, token)


async def refused(call: Awaitable[object], outcome: tuple[int, str]) -> None:
    with pytest.raises(RefusedError) as error:
        await call
    assert error.value.args == outcome


async def until(check: Callable[[], Awaitable[object]]) -> None:
    """Until it holds; its time is checked by whoever asks."""
    async with asyncio.timeout(10):
        while True:
            try:
                await check()
            except (AssertionError, RefusedError, pytest.fail.Exception):
                await asyncio.sleep(0.02)
            else:
                return


async def test_deactivated(workers: Workers) -> None:
    user, token = await workers.new_user()
    await workers.update(user, deactivated=True)
    await workers.refused_everywhere(token, DISABLED)
    for peer in workers.peers:
        await refused(sign_in(peer, user, OLD), DISABLED)
        await refused(sign_in(peer, user, NEW), NOAUTH)
    await workers.update(user, deactivated=False)
    for peer in workers.peers:
        await until(lambda peer=peer: use(peer, token))  # type: ignore[misc]


async def test_deleted(workers: Workers) -> None:
    user, token = await workers.new_user()
    await workers.admin("DeleteUser", pb.DeleteUserRequest(id=user.id), pb.DeleteUserResponse)
    await workers.refused_everywhere(token, NOAUTH)
    for peer in workers.peers:
        await refused(sign_in(peer, user, OLD), NOAUTH)


async def test_another_role(workers: Workers) -> None:
    user, token = await workers.new_user()
    for peer in workers.peers:
        await refused(use_as_admin(peer, token), UNAUTH)
    for role in (pb.ROLE_ADMIN, pb.ROLE_MEMBER):
        await workers.update(user, role=role)
        started = time.monotonic()
        for peer in workers.peers:
            if role == pb.ROLE_ADMIN:
                await until(lambda peer=peer: use_as_admin(peer, token))  # type: ignore[misc]
            else:
                await until(lambda peer=peer: refused(use_as_admin(peer, token), UNAUTH))  # type: ignore[misc]
        assert time.monotonic() - started < EFFECTIVE_SECONDS


async def test_a_changed_password(workers: Workers) -> None:
    user, token = await workers.new_user()
    request = pb.ChangePasswordRequest(current_password=OLD, new_password=NEW)
    await workers.peers[2].call("CatalogService/ChangePassword", request, pb.ChangePasswordResponse, token)
    # The passwords count at once, and so does the new token, on workers that have not heard of the change.
    new_token = await sign_in(workers.peers[3], user, NEW)
    for peer in workers.peers:
        await use(peer, new_token)
    await workers.refused_everywhere(token, NOAUTH)
    for peer in workers.peers:
        await refused(sign_in(peer, user, OLD), NOAUTH)
        await use(peer, new_token)


async def test_revoked_tokens(workers: Workers) -> None:
    user, first = await workers.new_user()
    second = await sign_in(workers.peers[1], user, OLD)
    for peer in workers.peers:
        await use(peer, second)
    await workers.admin("RevokeTokens", pb.RevokeTokensRequest(id=user.id), pb.RevokeTokensResponse)
    new_token = await sign_in(workers.peers[3], user, OLD)
    for peer in workers.peers:
        await use(peer, new_token)
    for token in (first, second):
        await workers.refused_everywhere(token, NOAUTH)
    for peer in workers.peers:
        await use(peer, new_token)


async def test_a_revoked_token(workers: Workers) -> None:
    """It alone ends."""
    user, first = await workers.new_user()
    second = await sign_in(workers.peers[1], user, OLD)
    request, answer = authentication_pb2.RevokeTokenRequest(), authentication_pb2.RevokeTokenResponse
    await workers.peers[2].call("AuthenticationService/RevokeToken", request, answer, first)
    await workers.refused_everywhere(first, NOAUTH)
    for peer in workers.peers:
        await use(peer, second)


@pytest.mark.parametrize("port", ["gateway", "direct"])
async def test_a_token_that_is_revoked_in_the_middle_of_a_stream(four: Service, workers: Workers, port: str) -> None:
    """What was answered stays; from then on requests are refused in their places, and the stream ends well."""
    _, token = await workers.new_user()
    async with four.channel(port) as channel:
        stream = AudienceServiceStub(channel).StreamSegments(metadata=(("authorization", token),), timeout=60)
        await stream.write(stream_request(one_user()))
        assert (await stream.read()).response.status == "OK"
        request, answer = authentication_pb2.RevokeTokenRequest(), authentication_pb2.RevokeTokenResponse
        await workers.peers[0].call("AuthenticationService/RevokeToken", request, answer, token)
        await workers.refused_everywhere(token, NOAUTH)
        for _ in range(2):
            await stream.write(stream_request(one_user()))
            assert_failure((await stream.read()).error, grpc.StatusCode.UNAUTHENTICATED, "NOAUTH")
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK


async def test_ten_sign_ins_in_five_minutes_over_all_workers(workers: Workers) -> None:
    """Failed ones take nothing from them."""
    user, _ = await workers.new_user()
    for peer in workers.peers:
        await refused(sign_in(peer, user, NEW), NOAUTH)
    for number in range(9):
        await sign_in(workers.peers[number % len(workers.peers)], user, OLD)
    for peer in workers.peers:
        await refused(sign_in(peer, user, OLD), LIMITED)
    await refused(sign_in(workers.peers[0], user, NEW), NOAUTH)


class TestFailedSignIns:
    """Ten from an address in five minutes, over all workers; then the right password is refused too."""

    @pytest.mark.parametrize("known", [True, False], ids=["a user", "an unknown name"])
    async def test_ten_are_told_so_and_no_more(self, four: Service, workers: Workers, known: bool) -> None:
        user = (await workers.new_user())[0] if known else pb.User(username=next(NAMES))
        guesses = [outcome_of(sign_in(peer, user, f"wrong {turn}")) for turn in range(4) for peer in workers.peers]
        outcomes = await asyncio.gather(*guesses)
        assert [outcomes.count(NOAUTH), outcomes.count(LIMITED)] == [10, 6]
        for peer in workers.peers:
            await refused(sign_in(peer, user, OLD), LIMITED)
        for headers in ({}, {"x-forwarded-for": "203.0.113.7"}, {"x-caller-address": "203.0.113.7"}):
            answer = await sign_in_from("127.0.0.1", four, user, headers)
            assert (answer.status_code, answer.headers["x-ratelimit-count"]) == (429, "10")
            assert 240 < int(answer.headers["retry-after"]) <= 300
        elsewhere = await sign_in_from("127.0.0.2", four, user, {})
        assert elsewhere.status_code == (200 if known else 401)

    async def test_what_a_grpc_caller_says_of_its_address_and_its_beginning_counts_for_nothing(
        self, four: Service, workers: Workers
    ) -> None:
        user, _ = await workers.new_user()
        request = authentication_pb2.AuthenticateRequest(auth={"username": user.username, "password": NEW})
        for port in ("direct", "gateway"):
            async with four.channel(port) as channel:
                authenticate = AuthenticationServiceStub(channel).Authenticate
                for number in range(5):
                    address = f"203.0.113.{number}"
                    metadata = (("x-caller-address", address), ("x-forwarded-for", address), ("x-request-start", "0"))
                    with pytest.raises(grpc.aio.AioRpcError) as error:
                        await authenticate(request, metadata=metadata)
                    assert_grpc_error(error.value, grpc.StatusCode.UNAUTHENTICATED, "NOAUTH")
        await refused(sign_in(workers.peers[0], user, OLD), LIMITED)

    async def test_who_has_proxies_in_front_counts_their_callers(self, host_mode: str) -> None:
        """The last address that such a proxy has added is that of who came to it; what stands before may be made up."""
        async with running_service("--trusted-hops", "1", host_mode=host_mode) as behind:
            user = pb.User(username="nobody")
            for number in range(10):
                headers = {"x-forwarded-for": f"203.0.113.{number}, 2001:db8:1:2::{number}"}
                assert (await sign_in_from("127.0.0.1", behind, user, headers)).status_code == 401
            for address, status in (("2001:db8:1:2:ffff::1", 429), ("2001:db8:1:3::1", 401), ("203.0.113.1", 401)):
                assert (
                    await sign_in_from("127.0.0.1", behind, user, {"x-forwarded-for": address})
                ).status_code == status


async def test_a_segment_that_one_worker_creates_takes_users_on_every_one(four: Service, workers: Workers) -> None:
    token = await four.token()
    for creator in workers.peers:
        request = pb.CreateSegmentRequest(segment=pb.Segment(code=next(NAMES)))
        answer = await creator.call("CatalogService/CreateSegment", request, pb.CreateSegmentResponse, token)
        segment_id = answer.segment.id
        await takes_users(creator, token, segment_id)  # it knows the segment when it answers
        started = time.monotonic()
        for peer in workers.peers:
            await until(partial(takes_users, peer, token, segment_id))
        assert time.monotonic() - started < EFFECTIVE_SECONDS


async def takes_users(peer: WorkerPeer, token: str, segment_id: int) -> None:
    request = apply_request(one_user(seg_id=segment_id))
    answer = await peer.call("AudienceService/ApplySegments", request, audience_pb2.ApplySegmentsResponse, token)
    assert not answer.response.warnings


async def outcome_of(call: Awaitable[object]) -> Any:
    """How a call is refused; None when it is not."""
    try:
        await call
    except RefusedError as error:
        return error.args
    return None


async def sign_in_from(address: str, service: Service, user: pb.User, headers: dict[str, str]) -> httpx.Response:
    """Sign in over REST with the first password, from an address of this machine."""
    transport = httpx.AsyncHTTPTransport(local_address=address)
    async with service.http(transport=transport) as http:
        return await http.post("/auth", json=credentials(user.username, OLD), headers=headers)


CHANGES_REFUSED: dict[str, tuple[dict[str, Any], grpc.StatusCode, str]] = {
    "without the current one": ({}, grpc.StatusCode.INVALID_ARGUMENT, "SYNTAX"),
    "wrong current one": ({"current_password": OLD}, grpc.StatusCode.PERMISSION_DENIED, "UNAUTH"),
    "weak": ({"current_password": OLD, "new_password": "weak"}, grpc.StatusCode.INVALID_ARGUMENT, "SYNTAX"),
    "another's": ({"id": 1002, "current_password": OLD}, grpc.StatusCode.PERMISSION_DENIED, "UNAUTH"),
}


@pytest.mark.parametrize(("fields", "code", "reason"), CHANGES_REFUSED.values(), ids=CHANGES_REFUSED)
async def test_refused_changes_of_the_password(
    channel: grpc.aio.Channel, authorization: Any, fields: dict[str, Any], code: grpc.StatusCode, reason: str
) -> None:
    request = pb.ChangePasswordRequest(**{"new_password": NEW} | fields)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await CatalogServiceStub(channel).ChangePassword(request, metadata=authorization)
    assert_grpc_error(error.value, code, reason)
    assert OLD not in error.value.details()
    assert NEW not in error.value.details()
