"""An in-memory service for tests of programs that use the client: real gRPC on a local port, no cluster.

It applies well-formed requests like the service: the last block of a user and segment wins, -1 removes, an ID's case
does not matter. It skips users without an ID or blocks, and accepts all segments unless it is given a list; it checks
no other rule of the contract. It fails on demand: see `Fault`.
"""

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from instantaudience.users import REMOVE
from instantaudience.v1 import audience_pb2 as pb
from instantaudience.v1 import authentication_pb2, catalog_pb2

TOKEN_SECONDS = 24 * 3600
"""Lifetime of a token."""
FIRST_OF_CODES = 1_000_000
"""The ID of the first segment that is named by a code."""

_Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True)
class Fault:
    """What happens to the next apply request: a failure, a delay before it is served, or both."""

    code: grpc.StatusCode | None = None
    reason: str = ""
    retry_after_seconds: float | None = None
    pause_seconds: float = 0.0
    applies: bool = False
    """Whether the request is applied nevertheless, so that only the answer is lost."""
    ends_stream: bool = False
    """For streams: whether the failure ends the stream, instead of answering the request."""


class FakeService:
    """The service, an asynchronous context manager.

    `memberships` has the current state: {(domain, user_id): {seg_id: (value, expiration)}}, IDs in lower case.
    `codes` has the IDs of segments that are named by member and code: {(member_id, seg_code): seg_id}; without a list
    of segments, new ones get IDs from `FIRST_OF_CODES` on. `requests` has the user IDs of every apply request, in
    order. Sign-in needs the given `username` and `password`.
    """

    def __init__(
        self,
        *,
        username: str = "demo",
        password: str = "demo",  # noqa: S107  # a test's
        segments: Collection[int] | None = None,
    ) -> None:
        self.memberships: dict[tuple[str, str], dict[int, tuple[int, int]]] = {}
        self.codes: dict[tuple[int, str], int] = {}
        self.requests: list[list[str]] = []
        self.faults: deque[Fault] = deque()
        """Faults of the next requests, one each."""
        self.sign_ins = 0
        self.limits = catalog_pb2.Limits(
            posts_per_second=1_000_000, users_per_second=1_000_000, gets_per_second=1_000_000
        )
        self.endpoint = ""
        self._tokens: set[str] = set()
        self._credentials = (username, password)
        self._segments = segments
        self._server: grpc.aio.Server | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        """Start the service at `endpoint`."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the service."""
        await self.stop()

    async def start(self) -> None:
        """Start the service; after `stop`, on the same port."""
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers(self._handlers())
        self._port = self._server.add_insecure_port(f"127.0.0.1:{self._port}")
        self.endpoint = f"127.0.0.1:{self._port}"
        await self._server.start()

    async def stop(self, grace_seconds: float | None = None) -> None:
        """Stop the service, and cancel calls in flight after the grace period."""
        assert self._server is not None
        await self._server.stop(grace_seconds)

    def forget_tokens(self) -> None:
        """Invalidate all tokens."""
        self._tokens.clear()

    def _handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        unary, streaming = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        services: dict[str, dict[str, Any]] = {
            "AudienceService": {
                "ApplySegments": unary(
                    self._apply, pb.ApplySegmentsRequest.FromString, pb.ApplySegmentsResponse.SerializeToString
                ),
                "StreamSegments": streaming(
                    self._stream, pb.StreamSegmentsRequest.FromString, pb.StreamSegmentsResponse.SerializeToString
                ),
                "BatchGetMemberships": unary(
                    self._batch_get,
                    pb.BatchGetMembershipsRequest.FromString,
                    pb.BatchGetMembershipsResponse.SerializeToString,
                ),
            },
            "AuthenticationService": {
                "Authenticate": unary(
                    self._authenticate,
                    authentication_pb2.AuthenticateRequest.FromString,
                    authentication_pb2.AuthenticateResponse.SerializeToString,
                )
            },
            "CatalogService": {
                "GetUser": unary(
                    self._get_user, catalog_pb2.GetUserRequest.FromString, catalog_pb2.GetUserResponse.SerializeToString
                ),
                "GetMember": unary(
                    self._get_member,
                    catalog_pb2.GetMemberRequest.FromString,
                    catalog_pb2.GetMemberResponse.SerializeToString,
                ),
            },
        }
        return tuple(
            grpc.method_handlers_generic_handler(f"instantaudience.v1.{service}", methods)
            for service, methods in services.items()
        )

    async def _authenticate(
        self, request: authentication_pb2.AuthenticateRequest, context: _Context
    ) -> authentication_pb2.AuthenticateResponse:
        if (request.auth.username, request.auth.password) != self._credentials:
            await _fail(context, Fault(grpc.StatusCode.UNAUTHENTICATED, "NOAUTH"))
        self.sign_ins += 1
        token = f"hbapi:1:{uuid.uuid4().hex}:fake"
        self._tokens.add(token)
        return authentication_pb2.AuthenticateResponse(
            response=authentication_pb2.AuthenticateResult(
                status="OK", token=token, lifetime=Duration(seconds=TOKEN_SECONDS)
            )
        )

    async def _get_user(self, _: catalog_pb2.GetUserRequest, context: _Context) -> catalog_pb2.GetUserResponse:
        await self._check_token(context)
        return catalog_pb2.GetUserResponse(user=catalog_pb2.User(id=1, member_id=1))

    async def _get_member(self, _: catalog_pb2.GetMemberRequest, context: _Context) -> catalog_pb2.GetMemberResponse:
        await self._check_token(context)
        return catalog_pb2.GetMemberResponse(member=catalog_pb2.Member(id=1, limits=self.limits))

    async def _batch_get(
        self, request: pb.BatchGetMembershipsRequest, context: _Context
    ) -> pb.BatchGetMembershipsResponse:
        await self._check_token(context)
        answer = pb.BatchGetMembershipsResponse(response=pb.GetMembershipsResult(status="OK"))
        names = {seg_id: {"member_id": member_id, "seg_code": code} for (member_id, code), seg_id in self.codes.items()}
        for asked in request.users:
            user_id = asked.user_id.lower() if asked.domain else asked.user_id
            user = answer.response.rt_segment.add(user_id=user_id, domain=asked.domain or None)
            for seg_id, (value, expiration) in sorted(self.memberships.get(_key(asked), {}).items()):
                named: Any = names.get(seg_id, {})
                user.seg_block.add(seg_id=seg_id, value=value, expiration=expiration, **named)
        return answer

    async def _apply(self, request: pb.ApplySegmentsRequest, context: _Context) -> pb.ApplySegmentsResponse:
        await self._check_token(context)
        fault = self.faults.popleft() if self.faults else Fault()
        await asyncio.sleep(fault.pause_seconds)
        answer = pb.ApplySegmentsResponse()
        if fault.code is None or fault.applies:
            answer.response.CopyFrom(self._applied(request))
        if fault.code is not None:
            await _fail(context, fault)
        return answer

    async def _stream(
        self, requests: AsyncIterator[pb.StreamSegmentsRequest], context: _Context
    ) -> AsyncIterator[pb.StreamSegmentsResponse]:
        await self._check_token(context)
        async for request in requests:
            fault = self.faults.popleft() if self.faults else Fault()
            await asyncio.sleep(fault.pause_seconds)
            answer = pb.StreamSegmentsResponse()
            if fault.code is None or fault.applies:
                answer.response.CopyFrom(self._applied(request))
            if fault.code is not None and fault.ends_stream:
                await _fail(context, fault)
            if fault.code is not None:
                answer.error.CopyFrom(_status(fault))
            yield answer

    async def _check_token(self, context: _Context) -> None:
        sent = dict(context.invocation_metadata() or ())
        if sent.get("authorization") not in self._tokens:
            await _fail(context, Fault(grpc.StatusCode.UNAUTHENTICATED, "NOAUTH"))

    def _applied(self, request: pb.ApplySegmentsRequest | pb.StreamSegmentsRequest) -> pb.ApplySegmentsResult:
        self.requests.append([user.user_id for user in request.rt_segment])
        result = pb.ApplySegmentsResult(status="OK")
        for index, user in enumerate(request.rt_segment):
            path = f"rt_segment[{index}]"
            if not user.user_id:
                result.warnings.add(code=pb.WARNING_CODE_USER_ID_REQUIRED, path=path)
                continue
            if not user.seg_block:
                result.warnings.add(code=pb.WARNING_CODE_SEG_BLOCK_REQUIRED, path=path)
                continue
            result.message.users_in_request += 1
            result.message.segments_in_request += len(user.seg_block)
            for place, block in enumerate(user.seg_block):
                seg_id = self._segment(block)
                if seg_id is None:
                    name = f"{block.seg_code} of member {block.member_id}" if block.seg_code else block.seg_id
                    result.warnings.add(
                        code=pb.WARNING_CODE_UNKNOWN_SEGMENT,
                        path=f"{path}.seg_block[{place}]",
                        message=f"Invalid segment: {name}",
                    )
                elif not request.validate_only:
                    self._write(user, seg_id, block)
        if not result.message.users_in_request:
            result.warnings.add(code=pb.WARNING_CODE_NO_VALID_USERS)
        return result

    def _segment(self, block: pb.SegBlock) -> int | None:
        """The ID of the block's segment; None if there is none."""
        seg_id: int | None = block.seg_id
        if block.seg_code:
            code = (block.member_id, block.seg_code)
            if self._segments is None:
                self.codes.setdefault(code, FIRST_OF_CODES + len(self.codes))
            seg_id = self.codes.get(code)
        return seg_id if self._segments is None or seg_id in self._segments else None

    def _write(self, user: pb.RtSegment, seg_id: int, block: pb.SegBlock) -> None:
        stands = self.memberships.setdefault(_key(user), {})
        if block.expiration == REMOVE:
            stands.pop(seg_id, None)
        else:
            stands[seg_id] = (block.value, block.expiration)


def _key(user: pb.RtSegment | pb.GetMembershipsRequest) -> tuple[str, str]:
    return user.domain, user.user_id.lower()


def _status(fault: Fault) -> status_pb2.Status:
    assert fault.code is not None
    status = status_pb2.Status(code=fault.code.value[0], message="as the test asks for")
    if fault.reason:
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=fault.reason, domain="instantaudience"))
    if fault.retry_after_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(int(fault.retry_after_seconds * 1e9))
        status.details.add().Pack(retry)
    return status


async def _fail(context: _Context, fault: Fault) -> None:
    status = _status(fault)
    assert fault.code is not None
    await context.abort(fault.code, status.message, (("grpc-status-details-bin", status.SerializeToString()),))
